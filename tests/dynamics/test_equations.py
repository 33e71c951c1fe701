"""Dynamics: one contract for all; the stationary density is checked in the Fokker–Planck equation itself."""

import pytest
import torch
from pyro import distributions as dist

import pyro_nld as nld
from pyro_nld.nn import condition_on

FRICTION, MASS = torch.tensor([0.6, 1.7], dtype=torch.float64), torch.tensor([0.4, 2.0], dtype=torch.float64)
POTENTIALS = {
    "quadratic": lambda: nld.Quadratic([[2.0, 0.5], [0.5, 1.0]], centre=[0.3, -0.2]),
    "double well": lambda: nld.DoubleWell(latent=2),
    "neural": lambda: nld.NeuralPotential(2, hidden=(8, 7)),
}
MEMBERS = {
    "overdamped": lambda potential: nld.OverdampedLangevin(potential, 0.7, 1.3),
    "overdamped, friction per axis": lambda potential: nld.OverdampedLangevin(potential, 0.7, FRICTION),
    "underdamped": lambda potential: nld.UnderdampedLangevin(potential, 0.7, 1.3, 0.5),
    "underdamped, friction and mass per axis": lambda potential: nld.UnderdampedLangevin(
        potential, 0.7, FRICTION, MASS
    ),
}


@pytest.fixture(params=POTENTIALS, ids=list(POTENTIALS))
def potential(request):
    return POTENTIALS[request.param]()


@pytest.fixture(params=MEMBERS, ids=list(MEMBERS))
def dynamics(request, potential):
    return MEMBERS[request.param](potential).double()


def states(dynamics, *shape):
    return torch.randn(*shape, 3, dynamics.state, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_shapes(dynamics):
    assert dynamics.state in (dynamics.latent, 2 * dynamics.latent)
    for shape in [(), (4,), (2, 4)]:
        z = states(dynamics, *shape)
        assert dynamics.force(z).shape == (*shape, 3, dynamics.latent)
        assert dynamics.drift(z).shape == dynamics.diffusion(z).shape == z.shape
        assert dynamics.position(z).shape == (*shape, 3, dynamics.latent)
        assert dynamics.stationary_log_density(z).shape == (*shape, 3)
    assert dynamics.thermal_scale().shape == (dynamics.state - dynamics.latent,)


def test_the_force_of_a_landscape_is_that_of_the_potential(dynamics):
    if dynamics.landscape is None:  # another force with the same stationary density
        return
    z = states(dynamics)
    position = z[..., :2].clone().requires_grad_()
    (slope,) = torch.autograd.grad(dynamics.landscape(position).sum(), position)
    torch.testing.assert_close(dynamics.force(z), -slope)


def flow_of_probability(dynamics, density, z):
    """−Σ ∂(f p) + ½ Σ ∂²(g² p), divided by p: zero where p is stationary (g does not depend on z)."""

    def one(state):
        return density(state.unsqueeze(0)).squeeze(0)

    residuals = []
    for state in z:
        slope = torch.autograd.functional.jacobian(one, state)
        curvature = torch.autograd.functional.hessian(one, state).diagonal()
        drift = dynamics.drift(state.unsqueeze(0)).squeeze(0)
        divergence = torch.autograd.functional.jacobian(
            lambda s: dynamics.drift(s.unsqueeze(0)).squeeze(0), state
        ).diagonal()
        spread = dynamics.diffusion(state.unsqueeze(0)).squeeze(0).square()
        residuals.append((0.5 * spread * (curvature + slope.square()) - divergence - drift * slope).sum())
    return torch.stack(residuals).detach()


def test_the_stationary_density_solves_the_fokker_planck_equation(dynamics):
    flow = flow_of_probability(dynamics, dynamics.stationary_log_density, states(dynamics))
    torch.testing.assert_close(flow, torch.zeros(3, dtype=torch.float64))


def test_the_papers_momentum_covariance_does_not():
    """Its eq. 20 prints N(p; 0, M⁻¹) where the equation has N(p; 0, M T)."""
    dynamics = MEMBERS["underdamped, friction and mass per axis"](nld.DoubleWell(latent=2)).double()

    def printed(z):
        kinetic = 0.5 * (z[..., 2:].square() * MASS).sum(-1)
        return -dynamics.potential(z[..., :2]) / 0.7 - kinetic

    assert float(flow_of_probability(dynamics, printed, states(dynamics)).abs().min()) > 0.01


def test_another_temperature_does_not():
    dynamics = MEMBERS["overdamped"](nld.DoubleWell(latent=2)).double()
    flow = flow_of_probability(dynamics, lambda z: 0.9 * dynamics.stationary_log_density(z), states(dynamics))
    assert float(flow.abs().min()) > 0.01


def test_thermal_scale_is_that_of_the_stationary_momentum():
    dynamics = MEMBERS["underdamped, friction and mass per axis"](nld.DoubleWell(latent=2)).double()
    torch.testing.assert_close(dynamics.thermal_scale(), (0.7 * MASS).sqrt())


@pytest.mark.parametrize("particles", [2, 3])
def test_thermal_scale_of_random_quantities_keeps_particles_left_of_sequences(particles):
    """Drawn under a vectorised plate, T has shape (particle, 1); mass is per axis, (particle, 1, latent)."""
    dynamics = nld.UnderdampedLangevin(
        nld.Quadratic([1.0, 2.0]), dist.LogNormal(0.0, 1.0), mass=dist.LogNormal(torch.zeros(2), 1.0)
    )
    temperature, mass = torch.rand(particles, 1) + 0.1, torch.rand(particles, 1, 2) + 0.1
    with condition_on(dynamics, {"temperature": temperature, "mass": mass}):
        scale = dynamics.thermal_scale()
    torch.testing.assert_close(scale, (temperature.unsqueeze(-1) * mass).sqrt())


def test_drift_and_diffusion_of_the_overdamped_equation():
    dynamics = MEMBERS["overdamped, friction per axis"](nld.Quadratic([2.0, 3.0])).double()
    z = states(dynamics)
    torch.testing.assert_close(dynamics.drift(z), -z * torch.tensor([2.0, 3.0]) / FRICTION)
    torch.testing.assert_close(dynamics.diffusion(z), (2 * 0.7 / FRICTION).sqrt().expand_as(z))


def test_drift_and_diffusion_of_the_underdamped_equation():
    dynamics = MEMBERS["underdamped, friction and mass per axis"](nld.Quadratic([2.0, 3.0])).double()
    z = states(dynamics)
    q, p = z.chunk(2, -1)
    torch.testing.assert_close(dynamics.drift(z)[..., :2], p / MASS)
    torch.testing.assert_close(dynamics.drift(z)[..., 2:], -q * torch.tensor([2.0, 3.0]) - FRICTION * p / MASS)
    assert bool((dynamics.diffusion(z)[..., :2] == 0).all())
    torch.testing.assert_close(dynamics.diffusion(z)[..., 2:], (2 * 0.7 * FRICTION).sqrt().expand_as(p))


def test_what_is_not_given_is_learned_per_axis():
    dynamics = nld.UnderdampedLangevin(nld.Quadratic([2.0, 3.0]), friction=None, mass=None)
    torch.testing.assert_close(dynamics.friction, torch.ones(2))
    torch.testing.assert_close(dynamics.mass, torch.full((2,), 0.1))
    assert {name for name, _ in dynamics.named_parameters()} == {"friction_unconstrained", "mass_unconstrained"}
    assert nld.OverdampedLangevin(nld.Quadratic([2.0]), friction=None).friction.shape == (1,)
