"""A fit in one file: what comes back is the fit that was saved, and nothing in a file is ever run."""

import os
import re

import numpy as np
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.nn import PyroSample
from torch import nn

import pyro_nld as nld
from pyro_nld.results import saving

TWO = [[0.0, 0.0], [1.0, 1.0]]


def potentials():
    return {
        "neural": nld.NeuralPotential(2, hidden=(5, 4), confinement=0.3),
        "residual": nld.ResidualPotential(2, features=4, width=8, blocks=1),
        "harmonic": nld.Quadratic([1.0, 2.0]),
        "published": nld.MuellerBrown(0.0005),
        "wells": nld.GaussianWells(TWO, [1.0, 2.0]),
        "tilted": nld.Tilted(nld.Quadratic([1.0, 2.0]), [0.1, 0.2]),
    }


def bayesian():
    """Weights with a prior, set by hand."""
    potential = potentials()["neural"]
    potential.output.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 4]).to_event(2))
    return nld.OverdampedLangevin(potential, temperature=1.0)


def dynamics():
    heat = dist.LogNormal(torch.tensor(0.1), 0.5)
    learned, force = nn.Parameter(torch.tensor(2.0)), nld.NeuralForce(2, hidden=(4,), confinement=0.2)
    momenta = nld.SumOfForces(nld.NeuralForce(2, hidden=(4,)), nld.NeuralForce(2, sees="momentum", hidden=(4,)))
    return {
        **{name: nld.OverdampedLangevin(potential, temperature=0.7) for name, potential in potentials().items()},
        "per axis": nld.OverdampedLangevin(nld.Quadratic([1.0, 2.0]), temperature=heat, friction=None),
        "learned": nld.UnderdampedLangevin(nld.Quadratic([1.0, 2.0]), temperature=learned, mass=dist.Gamma(2.0, 1.0)),
        "generic": nld.OverdampedSDE(force, temperature=dist.HalfNormal(1.0).expand([2])),
        "generic with momenta": nld.UnderdampedSDE(momenta),
        "random weights": bayesian(),
    }


def fitted(motion=None, decoder=None, steps=2, **options):
    torch.manual_seed(0)
    motion = nld.OverdampedLangevin(potentials()["neural"], dist.LogNormal(0.0, 0.5)) if motion is None else motion
    data = nld.datasets.three_state(6, 8, 0, means=[*TWO, [2.0, 0.0]], covariances=[0.1 * np.eye(2)] * 3)
    data = data.assign_coords(channel=["force", "extension"], sequence=list("abcdef")).assign_attrs(units="s")
    model = nld.LatentLangevin(motion, nld.Gaussian(decoder or nld.LinearDecoder(2, 2)), substeps=2, **options)
    control = nld.AffineControl(hidden=4)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=4, hidden=4), control, AutoMultivariateNormal)
    guide = guide if list(nld.nn.random_attributes(model)) else nld.AmortizedGuide(model, guide.encoder)
    return nld.fit(model, guide, data, nld.Schedule(steps=steps, batch_size=4), progress=False)


@pytest.mark.parametrize("name", dynamics())
def test_every_motion_comes_back(name, tmp_path):
    fit = fitted(dynamics()[name])
    nld.save(fit, tmp_path / "fit.pt")
    again = nld.load_fit(tmp_path / "fit.pt")
    assert (repr(again.model), repr(again.guide)) == (repr(fit.model), repr(fit.guide))
    assert again.elbo(draws=1) == fit.elbo(draws=1)
    torch.testing.assert_close(again.positions(), fit.positions(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("decoder", "options"),
    [
        (nld.OrthonormalDecoder(2, 2, standardise=True), {"start": "equilibrium"}),
        (nld.MLPDecoder(2, 2, hidden=(3,)), {"time_unit": 2.0}),
        (nld.IdentityDecoder(2), {"integrator": nld.EulerMaruyama()}),
    ],
)
def test_the_rest_of_a_model_comes_back(decoder, options, tmp_path):
    fit = fitted(decoder=decoder, **options)
    nld.save(fit, tmp_path / "fit.pt")
    again = nld.load_fit(tmp_path / "fit.pt")
    assert again.elbo(draws=1) == fit.elbo(draws=1)
    xr.testing.assert_identical(again.history, fit.history)
    assert again.about.identical(fit.about)
    assert [one["elbo"] for one in again.runs] == [one["elbo"] for one in fit.runs]


@pytest.mark.parametrize("given", [{}, {"autoguide": AutoNormal}])
def test_an_autoguide_comes_back(given, tmp_path):
    fit = fitted()
    guide = nld.AmortizedGuide(fit.model, fit.guide.encoder, **given)
    fit = nld.fit(fit.model, guide, (fit.times, fit.x), nld.Schedule(steps=2), progress=False)
    nld.save(fit, tmp_path / "fit.pt")
    again = nld.load_fit(tmp_path / "fit.pt")
    assert again.guide._autoguide is given.get("autoguide")
    assert again.elbo() == fit.elbo()


def test_a_swapped_prior_comes_back(tmp_path):
    fit = fitted()
    fit.model.dynamics.temperature = PyroSample(dist.Gamma(3.0, 2.0))
    fit.guide._follow_swapped_priors()
    again = nld.Fit(fit.model, fit.guide, fit.times, fit.x)
    nld.save(again, tmp_path / "fit.pt")
    assert "Gamma(3, 2)" in repr(nld.load_fit(tmp_path / "fit.pt").model)


class Bowl(nld.Potential):
    latent = 2

    def forward(self, z):
        return z.square().sum(-1)


def hierarchical():
    return nld.OverdampedLangevin(nld.Quadratic([1.0, 1.0]), PyroSample(lambda self: dist.LogNormal(0.0, 1.0)))


def widened():
    """A layer changed behind the back of the constructor."""
    potential = potentials()["neural"]
    potential.output.extra = nn.Parameter(torch.zeros(1, 1))
    return nld.OverdampedLangevin(potential, temperature=1.0)


@pytest.mark.parametrize(
    ("motion", "message"),
    [
        (
            lambda: nld.OverdampedLangevin(Bowl()),
            "model.dynamics.potential cannot be saved: Bowl is not a part",
        ),
        (widened, "this fit was changed after its parts were made: the checkpoint belongs to another model"),
        (
            lambda: nld.OverdampedLangevin(
                nld.Quadratic([1.0, 1.0]), PyroSample(lambda self: dist.LogNormal(0.0, 1.0))
            ),
            "the prior of model.dynamics.temperature cannot be saved: function is no law of Pyro.",
        ),
    ],
)
def test_what_cannot_come_back_is_said_before_anything_is_written(motion, message, tmp_path):
    fit = fitted(motion())
    with pytest.raises(nld.DataError, match=re.escape(message)) as caught:
        nld.save(fit, tmp_path / "fit.pt")
    assert "load the run with nld.runs.load" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [("fit.nc", "a fit is saved as .pt: got"), ("nowhere/fit.pt", "nowhere must be a directory: there is none.")],
)
def test_a_path_that_is_none_is_refused(path, message, tmp_path):
    with pytest.raises(nld.DataError, match=message):
        nld.save(fitted(), tmp_path / path)


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(nld.DataError, match="what is saved must be a Dataset or a fit: got dict"):
        nld.save({"x": 1}, tmp_path / "x.nc")


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("owned",)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "fit.pt"
    nld.save(fitted(), path)
    return torch.load(path, weights_only=True)


def part(name, **arguments):
    return {"part": name, "arguments": arguments}


@pytest.mark.parametrize(
    "change",
    [
        {"model": Hostile()},
        {"model": part("runs.model_files.load_model_file", path="evil.py")},
        {"model": part("model...os.system", command="true")},
        {"model": part("dynamics.paths.run")},
        {"model": part("model.likelihoods.Decoder")},
        {"guide": {"autoguide": "AutoGuideList"}},
        {"state": {"substeps": 2, "model": {}, "guide": {}}},
        {"data": {"times": torch.zeros(2), "x": torch.zeros(2), "about": None}},
        {"history": torch.zeros(3, 2)},
        {"format": "pyro_nld fit 0"},
    ],
)
def test_a_hostile_or_damaged_file_is_refused(content, change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content | change, tmp_path / "fit.pt")
    with pytest.raises(nld.CheckpointError):
        nld.load_fit("fit.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["fit.pt"]


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(nld.DataError, match=re.escape("gone.pt must be a saved fit: there is none.")):
        nld.load_fit("gone.pt")


def test_only_classes_of_three_rooms_are_known():
    assert saving.ROOMS == ("dynamics", "model", "guide")
