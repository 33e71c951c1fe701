"""Axes that move against those of a decoder: volumes, an evidence that stays, a stretched axis that becomes even."""

import math

import pyro
import pytest
import torch

import pyro_nld as nld
from pyro_nld.fitting import exact
from pyro_nld.fitting.displacements import Displacement, say_the_same
from pyro_nld.fitting.point_masses import Lattice

RATE, NOISE = 1.5, 0.3


def bent(latent=1, seed=0):
    """Some displacement with centres 1 apart."""
    points = torch.cartesian_prod(*[torch.arange(-4.0, 5.0).double()] * latent).view(-1, latent)
    h = Displacement(points, torch.full((latent,), 1.5).double()).double()
    draw = torch.Generator().manual_seed(seed)
    h.amount.data = 0.08 * torch.randn(h.amount.shape, generator=draw).double()
    return h


@pytest.mark.parametrize("latent", [1, 2])
def test_the_volume_is_that_of_the_derivative(latent):
    h, z = bent(latent), torch.randn(5, latent, generator=torch.Generator().manual_seed(1)).double()
    slope = torch.stack([torch.autograd.functional.jacobian(h, one) for one in z])
    found = h.log_volume(z).detach()
    assert found.tolist() == pytest.approx(torch.linalg.det(slope).log().tolist())
    assert float(found.abs().max()) > 0.05


def test_centres_are_few_and_cover_the_lattice():
    points, spacing = torch.linspace(-3.0, 3.0, 61).double().unsqueeze(-1), torch.tensor([0.1]).double()
    h = Displacement.over(points, spacing)
    assert len(h.centres) <= 12
    assert float(torch.cdist(points, h.centres).min(1).values.max()) < float(h.width)
    assert torch.equal(h(points), points)


def seen_through(h, start="equilibrium"):
    """A harmonic well on the axis y, which a decoder sees as h(z): on its own axis z nothing is harmonic."""

    class Through(nld.Decoder):
        def __init__(self):
            super().__init__(1, 1, standardise=False)

        def decode(self, q):
            return h(q)

    prior = nld.OverdampedLangevin(nld.Quadratic([RATE]))
    return nld.LatentLangevin(prior, nld.Gaussian(Through(), NOISE), 5, 1.0, start)


@pytest.mark.parametrize("start", ["equilibrium", "normal"])
def test_the_evidence_is_that_on_the_axes_of_the_dynamics(start):
    h = bent()
    plain = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.Quadratic([RATE])), nld.Gaussian(nld.IdentityDecoder(1), NOISE), 5, 1.0, start
    )
    times = torch.arange(8.0).mul(0.3).repeat(3, 1)
    x = torch.randn(3, 8, 1, generator=torch.Generator().manual_seed(2))
    wanted = Lattice.line(plain, {}, -6.0, 6.0, 400)
    found = Lattice.line(seen_through(h, start), {}, -6.0, 6.0, 400)
    found.displacement = h
    assert found.evidence(times, x).tolist() == pytest.approx(wanted.evidence(times, x).tolist(), abs=1e-5)
    gap = torch.tensor(0.3)
    stiff = [float(one.coarseness(gap).detach().max()) for one in (found, wanted)]
    assert stiff[0] == pytest.approx(stiff[1], rel=1e-3)
    found.displacement = None
    assert found.evidence(times, x).tolist() != pytest.approx(wanted.evidence(times, x).tolist(), abs=1e-2)


def test_a_decoder_says_the_same_on_other_axes():
    torch.manual_seed(0)
    decoder, h = nld.MLPDecoder(1, 3).double(), bent()
    z = torch.linspace(-3.0, 3.0, 200).double().unsqueeze(-1)
    with torch.no_grad():
        told, y = decoder(z), h(z)
    left = say_the_same(decoder, z, y, torch.ones(200))
    off = (decoder(y) - told).detach() / told.std(0, correction=0)
    assert left == pytest.approx(off.square().mean().sqrt().item(), rel=0.05)
    assert left < 0.01


@pytest.mark.parametrize("held", [False, True])
def test_only_axes_that_are_free_move(held):
    """A straight decoder fixes its axis up to a unit; so does one that does not learn, or that a user wrote."""

    class Own(nld.Decoder):
        def __init__(self):
            super().__init__(1, 1, standardise=False)

        def decode(self, q):
            return torch.tanh(q)

    free = nld.MLPDecoder(1, 1)
    if held:
        free.requires_grad_(False)
    moving = []
    for decoder in (nld.LinearDecoder(1, 1), Own(), free):
        prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=1))
        model = nld.LatentLangevin(prior, nld.Gaussian(decoder, NOISE), 2, 1.0)
        guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))
        line = Lattice.line(model, {}, -1.0, 1.0, 20)
        exact._Learner(line, model, guide, torch.zeros(1, 2, 1))
        moving.append(line.displacement is not None)
    assert moving == [False, False, not held]


def small_fit():
    """A double well behind its own axis, and its data."""
    data = nld.datasets.langevin_wells(nld.DoubleWell(2.0), 10, 20, 0, interval=0.1, noise=0.1)
    torch.manual_seed(0)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=1, hidden=(8,)))
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.1), 4, 1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
    return nld.fit(model, guide, data, nld.Schedule(steps=100), progress=False)


def test_a_guide_that_does_not_follow_leaves_the_fit_as_it_was(monkeypatch):
    """All that is read of a fit is read along the guide's paths: on one recording some of them had no end."""

    def astray(model, guide, *_, **__):
        with torch.no_grad():
            for value in guide.parameters():
                value.add_(3.0)

    fit = small_fit()
    model, guide = fit.model, fit.guide
    monkeypatch.setattr(exact, "follow", astray)
    before = [value.clone() for part in (model, guide) for value in part.parameters()]
    with pytest.raises(nld.FitError, match="the guide does not follow the prior that has learned exactly: the bound"):
        exact.learn(model, guide, fit.times, fit.x, rounds=1)
    after = [value for part in (model, guide) for value in part.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_a_lattice_that_is_below_the_bound_is_refused(monkeypatch):
    """No bound is above the evidence; a lattice that ends where data go on would say so, and learn nonsense."""
    fit = small_fit()
    model, guide = fit.model, fit.guide
    monkeypatch.setattr(exact, "lattice_of", lambda *_: Lattice.line(model, {}, 0.0, 2.0, 64))
    before = [value.clone() for value in model.parameters()]
    with pytest.raises(nld.FitError, match="the lattice does not hold this posterior: its evidence is"):
        exact.learn(model, guide, fit.times, fit.x)
    assert all(torch.equal(value, old) for value, old in zip(model.parameters(), before, strict=True))


def test_a_stretched_axis_becomes_even(monkeypatch):
    """A double well of 2 kT in two channels; the decoder begins on an axis that is twice as long at one end."""

    def seen(y):
        return torch.cat([torch.sin(y), torch.cos(0.7 * y)], -1)

    data = nld.datasets.langevin_wells(nld.DoubleWell(2.0), 80, 80, 0, interval=0.1)
    x = seen(torch.tensor(data["path"].values).double())
    x = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    times = torch.tensor(data["time"].values).float().expand(len(x), -1)
    torch.manual_seed(0)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=1, hidden=(16, 16)))
    seen_as = nld.Gaussian(nld.MLPDecoder(1, 2), torch.nn.Parameter(torch.full((2,), 0.2)))
    model = nld.LatentLangevin(prior, seen_as, 8, 1.0, "equilibrium")
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=8, hidden=8))
    guide.take_units(times, x.float())
    y = torch.linspace(-2.4, 2.4, 200).double().unsqueeze(-1)
    z = y + 0.18 * y.square()  # 0.57 to 1.43 times as long at its ends

    def fit_decoder(decoder, z):
        optimizer = torch.optim.LBFGS(decoder.parameters(), max_iter=500, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            loss = (decoder(z) - seen(y)).square().mean()
            loss.backward()
            return loss

        with pyro.get_param_store().scope():  # it would go on with the parameters of the first call
            optimizer.step(closure)

    fit_decoder(model.double().likelihood.decoder, z)
    lattice = Lattice.line(model.float(), {}, float(z.min()) - 0.1, float(z.max()) + 0.1, 64)
    monkeypatch.setattr(exact, "lattice_of", lambda *_: lattice)
    monkeypatch.setattr(exact, "GUIDE_STEPS", (1, 1))
    monkeypatch.setattr(exact, "FALL", math.inf)  # its guide never learned
    with pyro.get_param_store().scope():
        told, _ = exact.learn(model, guide, times, x.float(), rounds=12)
    assert told == sorted(told)

    def places(model):
        """Where the decoder has y = −1.2, −0.6, 0, 0.6, 1.2."""
        marks = seen(torch.linspace(-1.2, 1.2, 5).unsqueeze(-1))
        axis = torch.linspace(-2.0, 2.0, 4001).unsqueeze(-1)
        return axis[(model.likelihood.decoder(axis).unsqueeze(1) - marks).square().sum(-1).argmin(0), 0].detach()

    found = places(model)
    assert found.diff().tolist() == pytest.approx([0.6] * 4, rel=0.15)  # 0.4 to 0.8 before
    axis = torch.linspace(float(found[0]), float(found[-1]), 200).unsqueeze(-1)
    with torch.no_grad():
        energy = model.dynamics.potential(axis)
    heights = energy[80:120].max() - torch.stack([energy[:100].min(), energy[100:].min()])
    assert heights.tolist() == pytest.approx([2.0, 2.0], abs=0.3)
