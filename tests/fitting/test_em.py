"""The exact M-step: on paths that data show it is ordinary least squares, and it says what the bound cannot see."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from polynomials import INTERVAL, NOISE, SEQUENCES, Polynomial, follower, recording

import pyro_nld as nld
from pyro_nld.dynamics.stationary import StationaryLaw
from pyro_nld.fitting import em, training
from pyro_nld.fitting.em import feature_slope, learn_layers, solve_coefficients

TRUE = [-1.0, 0.25]


def quartic(coefficients):
    """U(z) = a z² + b z⁴."""
    return Polynomial((2, 4), coefficients)


@pytest.fixture(scope="module")
def scene():
    """Long double-well paths, and a guide that follows them."""
    times, _, x = recording(quartic(TRUE))
    model, guide = follower(quartic([0.3, 0.05]))
    nld.fit(model, guide, (times, x), nld.Schedule(steps=300, batch_size=16), progress=False)
    return model, guide, times, x


def least_squares(x):
    """What the data say directly: increments against −∇φ h."""
    q, increment = x[:, :-1, 0].flatten().double(), x.diff(dim=1).flatten().double()
    response = -INTERVAL * torch.stack([2 * q, 4 * q**3], -1)
    return torch.linalg.lstsq(response, increment).solution


def test_paths_that_data_show_give_ordinary_least_squares(scene, monkeypatch):
    monkeypatch.setattr(em, "PARTICLE_CHUNK", SEQUENCES)  # a filter takes as long for a few of them as for all
    model, guide, times, x = scene
    with torch.no_grad():
        model.dynamics.potential.weight.copy_(torch.tensor([0.0, 0.1]))
    gain = solve_coefficients(model, guide, times, x, draws=4)
    found = model.dynamics.potential.weight.detach()
    np.testing.assert_allclose(found, least_squares(x), rtol=0.1, atol=0.02)
    np.testing.assert_allclose(found, TRUE, rtol=0.25)
    assert gain > 0.1
    again = solve_coefficients(model, guide, times, x, draws=4)
    assert abs(again) < 0.02 * gain


def network(scene):
    """A fresh network in place of the scene's potential, with its guide."""
    torch.manual_seed(0)
    model, guide = copy.deepcopy(scene[:2])
    model.dynamics.potential = nld.NeuralPotential(1, hidden=(16, 16))
    return model, guide


def force_error(model):
    """Root mean square of what a network's force misses of the true one, where paths often are."""
    z = torch.linspace(-2, 2, 41).unsqueeze(-1)
    missed = model.dynamics.potential.gradient(z) - quartic(TRUE).gradient(z)
    return float(missed.detach().square().mean().sqrt())


def test_all_layers_learn_the_force_from_paths(scene, monkeypatch):
    """Solved for alone, random hidden layers give no such force."""
    monkeypatch.setattr(em, "POTENTIAL_BATCH", 512)
    monkeypatch.setattr(em, "LEARNING_RATE", 2e-2)  # they are far from it, unlike those of a fit
    errors = []
    for gradient_steps in (0, 500):
        model, guide = network(scene)
        learn_layers(model, guide, *scene[2:], gradient_steps=gradient_steps)
        solve_coefficients(model, guide, *scene[2:])
        errors.append(force_error(model))
    assert errors[1] < 0.3  # in each of nine bins, 19 200 steps tell it within √(2 / (h · 19 200 / 9)) = 0.14
    assert errors[0] > 2 * errors[1]


def test_sequences_that_start_in_equilibrium_pull_by_where_they_start(scene, monkeypatch):
    """Slope and bend of Σ log p(z₀), with its norm by quadrature."""
    model, _, _, x = scene
    law, potential = StationaryLaw(1), model.dynamics.potential
    monkeypatch.setattr(model, "equilibrium", law)
    for _ in range(100):
        law.distribution(model.dynamics)  # settles
    origins = x[:40].expand(2, 40, *x.shape[1:])
    (part,) = em._start(model, em.Steps({}, origins, origins))
    line = potential.features(torch.linspace(-6, 6, 4001).unsqueeze(-1)).double()
    first = potential.features(origins[:, :, 0]).double()

    def told(weight):
        norm = (-line @ weight).logsumexp(0)
        return (-first @ weight - norm).sum()

    weight = potential.weight.detach().double()
    bend = -torch.autograd.functional.hessian(told, weight)
    slope = torch.autograd.functional.jacobian(told, weight)
    scatter = bend.diagonal().sqrt()  # of what 80 starts tell; the norm by 4096 points scatters by a part of it
    assert ((part.moment - slope).abs() < 0.4 * scatter).all()
    torch.testing.assert_close(part.normal, bend, rtol=0.15, atol=0.0)


def test_a_fit_can_end_with_it(scene, monkeypatch):
    """What changes is told, and not how far: few steps will do."""
    for name in ("learn_layers", "follow"):
        monkeypatch.setattr(em, name, partial(getattr(em, name), gradient_steps=20))
    _, _, times, x = scene
    fits = []
    for polish in (0, 2):
        torch.manual_seed(1)
        prior = nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(8,)))
        model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), 2, time_unit=1.0)
        guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
        schedule = nld.Schedule(steps=30, batch_size=8, polish=polish)
        fits.append(nld.fit(model, guide, (times[:16, :60], x[:16, :60]), schedule, progress=False).model.state_dict())
    changed = {name for name in fits[0] if not torch.equal(fits[0][name], fits[1][name])}
    assert "dynamics.potential.layers.0.weight" in changed
    assert all(name.startswith("dynamics.potential.") for name in changed)


@pytest.mark.parametrize(
    "potential",
    [
        nld.NeuralPotential(2, hidden=(5, 4)),
        nld.ResidualPotential(2, features=4, width=6, blocks=2),
        nld.Tilted(nld.NeuralPotential(2, hidden=(3,)), [0.5, 1.0]),
    ],
    ids=["neural", "residual", "tilted"],
)
def test_u_is_linear_in_its_coefficients(potential):
    z = torch.randn(7, 2)
    weight = potential.coefficients
    for point, feature in zip(z, potential.features(z), strict=True):
        (slope,) = torch.autograd.grad(potential(point), weight)
        torch.testing.assert_close(slope.flatten(), feature)
    before = potential.gradient(z)
    with torch.no_grad():
        change = torch.randn_like(weight)
        weight += change
    for axis in range(2):
        moved = feature_slope(potential, z, axis) @ change.flatten()
        torch.testing.assert_close((potential.gradient(z) - before)[:, axis], moved, rtol=1e-4, atol=1e-5)


def test_what_is_not_learned_is_left_alone(scene, monkeypatch):
    model, guide, times, x = scene
    assert nld.DoubleWell().coefficients is None
    held = nld.NeuralPotential(1)
    held.output.weight.requires_grad_(False)
    assert held.coefficients is None
    monkeypatch.setattr(Polynomial, "coefficients", property(lambda self: None))
    assert solve_coefficients(model, guide, times, x) == 0.0
    before = model.dynamics.potential.weight.clone()
    learn_layers(model, guide, times, x)
    assert torch.equal(model.dynamics.potential.weight, before)


@pytest.mark.parametrize(("learn", "what"), [(solve_coefficients, "last layer"), (learn_layers, "layers")])
def test_paths_that_are_not_finite_change_nothing(scene, monkeypatch, learn, what):
    (model, guide), (times, x) = network(scene), scene[2:]
    broken = em.Steps({}, *torch.full((2, 1, 50, 299, 1), torch.nan))
    monkeypatch.setattr(em, "particle_steps", lambda *given: broken)
    monkeypatch.setattr(em, "POTENTIAL_STEPS", 3)
    before = copy.deepcopy(model.dynamics.potential.state_dict())
    with pytest.warns(nld.DoubtfulFitWarning, match=f"the {what} of the potential did not learn"):
        learn(model, guide, times[:50], x[:50])
    assert all(torch.equal(value, before[name]) for name, value in model.dynamics.potential.state_dict().items())


def test_ctrl_c_during_it_ends_a_fit_without_it(scene, monkeypatch):
    _, _, times, x = scene

    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "maximise", interrupted)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(4,)))
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), 1, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))
    with pytest.warns(UserWarning, match="before the last M-step"):
        fitted = nld.fit(model, guide, (times[:4], x[:4]), nld.Schedule(steps=3, polish=1), progress=False)
    assert len(fitted.history["step"]) == 3
