"""What is asked of arguments: one typed sentence for every number that cannot be."""

import inspect
import math
from typing import Literal

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import pyro_nld as nld
from pyro_nld.errors import Amount, Count, Finite, Positive, Share, Whole, checked


@checked
def sample(
    draws: Count = 1, seed: Whole = 0, step: Positive = 0.1, share: Share | None = None,
    shift: Finite = 0.0, cost: Amount = 0.0, steps: Count | Literal["auto"] = 5,
) -> tuple:  # fmt: skip
    return draws, seed, step, share, shift, cost, steps


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"draws": 0}, "draws must be a whole number of at least 1: got 0. Give such a number."),
        ({"draws": 2.0}, "draws must be a whole number of at least 1: got 2.0."),
        ({"draws": True}, "draws must be a whole number of at least 1: got True."),
        ({"seed": -1}, "seed must be a whole number of at least 0: got -1."),
        ({"step": 0.0}, "step must be a finite number above 0: got 0.0."),
        ({"step": math.nan}, "step must be a finite number above 0: got nan."),
        ({"step": "fast"}, "step must be a finite number above 0: got 'fast'."),
        ({"share": 1.5}, "share must be a finite number of at least 0 and at most 1, or None: got 1.5."),
        ({"shift": math.inf}, "shift must be a finite number: got inf."),
        ({"cost": -1e-9}, "cost must be a finite number of at least 0: got -1e-09."),
        ({"steps": "all"}, "steps must be a whole number of at least 1, or 'auto': got 'all'."),
        ({"steps": None}, "steps must be a whole number of at least 1, or 'auto': got None."),
    ],
)
def test_a_number_that_cannot_be_is_one_sentence(given, message):
    with pytest.raises(nld.NLDError) as caught:
        sample(**given)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, nld.ShapeError if "whole" in message else nld.PriorError)


def test_numbers_that_can_be_pass():
    given = (np.int64(3), 0, np.float32(0.5), None, -2, 0, "auto")
    assert sample(*given) == given
    assert sample(draws=torch.tensor(4), step=torch.tensor(0.5))[0] == 4


POTENTIAL, WRONG = nld.DoubleWell(), [-1, math.nan, math.inf, "x", [], torch.tensor([1.0, -1.0])]
WHOLE, REAL = [*WRONG, 0, 1.5, True, None], [*WRONG, 0.0, None]
MADE = {
    "NeuralPotential": {"latent": 2}, "ResidualPotential": {"latent": 2}, "DoubleWell": {}, "MuellerBrown": {},
    "NeuralForce": {"latent": 2}, "IdentityDecoder": {"latent": 2}, "LinearDecoder": {"latent": 2, "channels": 3},
    "OrthonormalDecoder": {"latent": 2, "channels": 3}, "MLPDecoder": {"latent": 2, "channels": 3},
    "GRUEncoder": {"channels": 2}, "Schedule": {},
    "LatentLangevin": {
        "dynamics": nld.OverdampedLangevin(POTENTIAL), "likelihood": nld.Gaussian(nld.IdentityDecoder(1)),
    },
}  # fmt: skip
COUNTS = ["latent", "channels", "width", "features", "blocks", "size", "steps", "batch_size", "substeps"]
NUMBERS = ["barrier", "half_distance", "stiffness", "scale", "confinement", "learning_rate", "clip"]


def _wrong(kind: str, name: str) -> list:
    """Values that the number `name` of `kind` cannot have; a residual network may have no blocks."""
    if name not in COUNTS:
        return REAL
    return [*WRONG, 1.5, True, None] if (kind, name) == ("ResidualPotential", "blocks") else WHOLE


@pytest.mark.parametrize("kind", MADE)
def test_no_constructor_takes_a_number_that_cannot_be(kind):
    make, right = getattr(nld, kind), MADE[kind]
    make(**right)
    names = set(inspect.signature(make).parameters) & {*COUNTS, *NUMBERS}
    assert names
    for name in names:
        for value in _wrong(kind, name):
            with pytest.raises(nld.NLDError, match=f"^{name} must be"):
                make(**right | {name: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nld.NeuralControl(gain=-0.1), "gain must be a finite number of at least 0: got -0.1."),
        (lambda: nld.AffineControl(hidden=0), "hidden must be a whole number of at least 1: got 0."),
        (lambda: nld.PathELBO(path_weight=-1.0), "path_weight must be a finite number of at least 0: got -1.0."),
        (lambda: nld.PathELBO(path_stride=0), "path_stride must be a whole number of at least 1: got 0."),
        (
            lambda: nld.Quadratic(torch.tensor(2.0)),
            "stiffness needs a number per axis, or a square",
        ),
        (
            lambda: nld.Quadratic(torch.ones(2, 3)),
            "stiffness needs a number per axis, or a square",
        ),
        (lambda: nld.Quadratic([1.0], centre=[0.0, 1.0]), r"centre needs one entry per axis: got \(2,\) for 1\."),
    ],
)
def test_and_these_say_so_too(make, message):
    with pytest.raises(nld.NLDError, match=message):
        make()


@pytest.mark.parametrize("name", ["temperature", "friction", "mass"])
@pytest.mark.parametrize("value", [-1.0, 0.0, math.nan, math.inf, torch.zeros(0), dist.Normal(0.0, 1.0)])
def test_no_physical_quantity_is_impossible(name, value):
    with pytest.raises(nld.PriorError, match=f"^{name} "):
        nld.UnderdampedLangevin(POTENTIAL, **{name: value})


@pytest.mark.parametrize(
    "given",
    [
        {"warmup": -0.1}, {"anneal": 1.1}, {"anneal_from": math.nan}, {"coarse": 2.0}, {"minutes": 0.0},
        {"minutes": -1.0}, {"particles": -1}, {"refine": "x"}, {"polish": 0.5},
    ],
)  # fmt: skip
def test_no_schedule_is_impossible(given):
    with pytest.raises(nld.FitError, match=f"^{next(iter(given))} must be"):
        nld.Schedule(**given)


@pytest.fixture(scope="module")
def fit():
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(nld.IdentityDecoder(1)), 2)
    data = nld.datasets.ornstein_uhlenbeck(sequences=3, steps=5)
    return nld.Fit(model, nld.AmortizedGuide(model, nld.GRUEncoder(1, 4, 4)), *nld.as_tensors(data))


@pytest.mark.parametrize(
    "reading",
    [
        lambda fit: nld.segment(fit, draws=0),
        lambda fit: nld.segment(fit, sure=1.5),
        lambda fit: nld.forecast(fit, 1.0, draws=-3),
        lambda fit: fit.wells(min_persistence=-1.0),
        lambda fit: fit.landscape(min_barrier=math.nan),
        lambda fit: fit.inference_data(draws=0),
        lambda fit: fit.inference_data(particles=0),
        lambda fit: nld.fit(fit.model, fit.guide, (fit.times, fit.x), restarts=0),
        lambda fit: nld.fit(fit.model, fit.guide, (fit.times, fit.x), seed=-1),
    ],
)
def test_no_reading_is_asked_for_what_cannot_be(fit, reading):
    with pytest.raises(nld.FitError, match=r"^\w+ must be"):
        reading(fit)
