"""The device of a fit: no tensor of home meets one of the device, and what is found is what is found without it."""

import math
import warnings

import elsewhere
import pyro.distributions as dist
import pytest
import torch

import pyro_nld as nld
from pyro_nld.fitting.devices import usable

SCHEDULE = nld.Schedule(steps=4, batch_size=4)


@pytest.fixture(autouse=True)
def _unread(monkeypatch):
    """A fit looks at its landscape in the end, at home, which is no matter of the device and costs most of the time."""
    monkeypatch.setattr(nld.Fit, "discretisation", lambda fit: None)


def data():
    """A ragged sequence and a missing value, irregular times."""
    draw = torch.Generator().manual_seed(0)
    times = torch.rand(6, 9, generator=draw).add(0.1).cumsum(-1)
    x = torch.randn(6, 9, 2, generator=draw)
    times[1, 6:], x[1, 6:] = math.nan, math.nan
    x[2, 3, 1] = math.nan
    return times, x


def built(prior, likelihood=None, substeps=2, encoder=nld.GRUEncoder, control=None, start="normal", schedule=SCHEDULE):
    model = nld.LatentLangevin(
        prior, likelihood or nld.Gaussian(nld.MLPDecoder(2, 2, hidden=(5,))), substeps, start=start
    )
    return model, nld.AmortizedGuide(model, encoder(2, size=4, hidden=4), control), schedule


def potential():
    return nld.NeuralPotential(2, hidden=(5,))


def circle():
    return nld.Periodic(nld.NeuralPotential(2, hidden=(5,)), periods=[2 * math.pi])


def overdamped(**given):
    return nld.OverdampedLangevin(potential(), **given)


PAIRS = {
    "plain": lambda: built(overdamped()),
    "random quantities": lambda: built(overdamped(temperature=dist.LogNormal(0.0, 0.5), friction=None)),
    "underdamped": lambda: built(nld.UnderdampedLangevin(potential(), friction=dist.LogNormal(0.0, 0.5))),
    "equilibrium": lambda: built(overdamped(), start="equilibrium"),
    "on a circle": lambda: built(nld.OverdampedLangevin(circle()), nld.Gaussian(nld.MLPDecoder(1, 2))),
    "leaky": lambda: built(overdamped(), encoder=nld.LeakyEncoder),
    "neural control": lambda: built(overdamped(), control=nld.NeuralControl(hidden=6)),
    "coarse": lambda: built(overdamped(), schedule=nld.Schedule(steps=4, batch_size=4, coarse=0.5)),
    "auto": lambda: built(overdamped(), substeps="auto", schedule=nld.Schedule(steps=5, batch_size=4)),
    "particles": lambda: built(overdamped(), schedule=nld.Schedule(steps=4, batch_size=4, particles=3)),
    "lead": lambda: built(overdamped(), schedule=nld.Schedule(steps=4, batch_size=4, lead=0.5)),
    "a force": lambda: built(nld.OverdampedSDE(nld.NeuralForce(2, hidden=(5,)))),
    "student": lambda: built(overdamped(), nld.StudentT(nld.LinearDecoder(2, 2))),
    "correlated": lambda: built(overdamped(), nld.CorrelatedGaussian(nld.LinearDecoder(2, 2))),
    "varying": lambda: built(overdamped(), nld.VaryingGaussian(nld.LinearDecoder(2, 2), nld.LinearDecoder(2, 2))),
}


def fitted(name, **options):
    torch.manual_seed(1)
    model, guide, schedule = PAIRS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nld.fit(model, guide, data(), schedule, progress=False, **options)


@pytest.mark.parametrize("name", PAIRS)
def test_all_tensors_follow_the_device_and_the_fit_is_the_same(name):
    with elsewhere.two_places() as marks:
        there = fitted(name, device=elsewhere.THERE)
        assert {marks.of(value) for value in there.model.parameters()} <= {"home", ""}
    here = fitted(name)
    for key, value in here.model.state_dict().items():
        torch.testing.assert_close(there.model.state_dict()[key], value, rtol=0, atol=0, equal_nan=True)
    assert here.history.equals(there.history.assign(seconds=here.history["seconds"]))


def test_a_tensor_that_stays_at_home_is_found():
    class Forgetful(nld.NeuralPotential):
        def gradient(self, z):
            return super().gradient(z) + torch.ones(2)

    model, guide, schedule = built(nld.OverdampedLangevin(Forgetful(2, hidden=(5,))))
    with elsewhere.two_places(), pytest.raises(elsewhere.MixedError, match=r"aten\.add"):
        nld.fit(model, guide, data(), schedule, progress=False, device=elsewhere.THERE)
    with elsewhere.two_places() as marks:
        nld.fit(model, guide, data(), schedule, progress=False)  # at home all is well
        assert {marks.of(value) for value in model.parameters()} <= {"home", ""}


def test_steps_are_taken_there_and_the_model_comes_home_even_from_an_error():
    model, guide, schedule = built(overdamped())
    seen = []

    def look(step, row):
        seen.append({marks.of(value) for value in guide.parameters()})
        raise ZeroDivisionError

    with elsewhere.two_places() as marks:
        with pytest.raises(ZeroDivisionError):
            nld.fit(model, guide, data(), schedule, progress=False, callbacks=[look], device=elsewhere.THERE)
        assert seen == [{"there"}]
        assert {marks.of(value) for value in guide.parameters()} == {"home"}


@pytest.mark.parametrize("device", ["cuda:99", "card"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(
        nld.FitError, match=rf"the device must be one of this machine: got '{device}', and there are cpu"
    ):
        usable(device)
    assert usable("cpu") == torch.device("cpu")
    assert usable(None) is None
