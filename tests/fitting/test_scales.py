"""How fast the prior moves, found by particles where the exact evidence is known, and left alone where it is."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

import pyro_nld as nld
from pyro_nld.datasets.oracles import LinearGaussian, kalman
from pyro_nld.fitting import scales
from pyro_nld.fitting.elbo import evaluate
from pyro_nld.fitting.em import follow
from pyro_nld.fitting.scales import fit_scales
from pyro_nld.io.validation import check_rows

STIFFNESS, FRICTION, NOISE, SUBSTEPS, INTERVAL = 1.3, 1.6, 0.3, 3, 0.3


def built(prior):
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), SUBSTEPS, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))


@pytest.fixture(scope="module")
def scene():
    """Sequences of a harmonic well, and a guide fitted to them while the friction is learned."""
    torch.manual_seed(0)
    truth = nld.OverdampedLangevin(nld.Quadratic([STIFFNESS]), friction=FRICTION)
    times = (INTERVAL * torch.arange(40.0)).expand(120, -1)
    grid = nld.dynamics.paths.refine(times[0], SUBSTEPS)
    start = torch.randn(120, 1) / math.sqrt(STIFFNESS)
    path = nld.LangevinPath(truth, nld.EulerMaruyama(), start, grid).sample()[:, SUBSTEPS - 1 :: SUBSTEPS]
    z = torch.cat([start.unsqueeze(1), path], 1)
    x = z + NOISE * torch.randn(z.shape)
    model, guide = built(nld.OverdampedLangevin(nld.Quadratic([STIFFNESS]), friction=None))
    nld.fit(model, guide, (times, x), nld.Schedule(steps=150, learning_rate=2e-2), progress=False)
    return model, guide, *check_rows(times, x)


def exact(model, x, friction):
    """log p(x | γ) of the Euler chain itself, on its fine grid, by Kalman's filter."""
    h = INTERVAL / SUBSTEPS / friction
    fine = np.full((len(x), SUBSTEPS * (x.shape[1] - 1) + 1, 1), math.nan)
    fine[:, ::SUBSTEPS] = x
    shape = (*fine[:, 1:].shape[:2], 1, 1)
    oracle = LinearGaussian(
        mean=model.initial_loc.detach().numpy(),
        covariance=np.diag(model.initial_scale.detach().numpy() ** 2),
        transition=np.full(shape, 1 - STIFFNESS * h),
        noise=np.full(shape, 2 * h),
        observation=np.eye(1),
        observation_noise=NOISE**2 * np.eye(1),
    )
    return float(kalman(fine, oracle)["log_evidence"].sum())


@pytest.fixture(scope="module")
def best(scene):
    """The most probable friction."""
    model, _, _, x = scene
    return minimize_scalar(lambda friction: -exact(model, x.numpy(), friction), bounds=(0.5, 4), method="bounded").x


@pytest.mark.parametrize("wrong", [0.9, 1.4])
def test_the_friction_becomes_the_most_probable_one(scene, best, wrong):
    model, guide, times, x = scene
    with torch.no_grad():
        model.dynamics.friction_unconstrained.fill_(math.log(wrong * best))
    fit_scales(model, guide, times, x)
    # the data themselves tell it within 3 %; started 10 and 40 % off
    assert float(model.dynamics.friction.detach()) == pytest.approx(best, rel=0.05)
    assert best == pytest.approx(FRICTION, rel=0.1)


def test_the_guide_follows_a_prior_that_has_changed(scene):
    """Until its bound is nearly as close to the exact evidence as it was; the prior stays, and can go on learning."""
    model, guide = copy.deepcopy(scene[:2])
    times, x = scene[2:]

    def gap():
        value = evaluate(model, guide, times, x, draws=20)["total"]
        return exact(model, x.numpy(), float(model.dynamics.friction.detach())) - value

    narrow = gap()
    with torch.no_grad():
        model.dynamics.friction_unconstrained.add_(math.log(2.5))
    prior = copy.deepcopy(model.state_dict())
    wide = gap()
    follow(model, guide, times, x)
    assert wide > 3 * narrow
    assert 0 < gap() < narrow + 0.3 * (wide - narrow)
    assert all(torch.equal(value, prior[name]) for name, value in model.state_dict().items())
    assert all(value.requires_grad for value in model.parameters())


def test_what_is_given_is_left_alone(scene):
    _, _, times, x = scene
    model, guide = built(nld.OverdampedLangevin(nld.Quadratic([STIFFNESS]), friction=FRICTION))
    assert fit_scales(model, guide, times, x) == {}
    assert float(model.dynamics.friction.detach()) == pytest.approx(FRICTION)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_maximum_of_a_quadratic_is_found_exactly(axes):
    """Less its prior: (bend + prior)⁻¹ bend · top."""
    torch.manual_seed(axes)
    root = torch.randn(axes, axes, dtype=torch.float64)
    top, bend = 0.1 * torch.rand(axes, dtype=torch.float64), 900 * (root @ root.mT + torch.eye(axes))
    places = scales._places(axes)
    offset = places - top
    heights = 7.0 - 0.5 * (offset @ bend * offset).sum(-1)
    expected = torch.linalg.solve(bend + scales.SCALE_PRECISION * torch.eye(axes), bend @ top)
    torch.testing.assert_close(scales._top(places, heights), expected)


def test_where_the_evidence_is_flat_or_not_finite_nothing_moves():
    places = scales._places(1)
    assert float(scales._top(places, torch.full((5,), 3.0).double())) == pytest.approx(0.0, abs=1e-9)
    assert float(scales._top(places, torch.full((5,), math.nan).double())) == 0.0
    assert float(scales._top(places, 1e6 * places[:, 0])) == pytest.approx(2 * scales.GRID_SPACING)


def test_the_callers_randomness_is_untouched(scene):
    model, guide, times, x = scene
    before = torch.get_rng_state()
    fit_scales(model, guide, times[:4], x[:4], particles=2)
    assert torch.equal(before, torch.get_rng_state())


def test_noise_that_is_learned_is_scaled_with_the_rest():
    torch.manual_seed(0)
    times, x = check_rows(0.2 * torch.arange(12.0), torch.randn(6, 12, 1))
    prior = nld.UnderdampedLangevin(nld.Quadratic([STIFFNESS]), friction=None, mass=None)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1)), SUBSTEPS, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
    guide(times, x, 1)

    def scales():
        values = model.dynamics.friction, model.dynamics.mass, model.likelihood.noise_scale
        return np.array([float(value.detach()) for value in values])

    before = scales()
    found = fit_scales(model, guide, times, x, particles=4)
    assert list(found) == ["friction", "mass", "noise_scale"]
    np.testing.assert_allclose(scales(), before * list(found.values()), rtol=1e-4)
