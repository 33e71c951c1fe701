"""Integrators: moments on linear problems against exact answers, by linear algebra, with their theoretical order."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

import pyro_nld as nld

STIFFNESS, TEMPERATURE, FRICTION, MASS = 1.7, 0.6, 1.3, 0.8


def overdamped():
    return nld.OverdampedLangevin(nld.Quadratic([STIFFNESS]), TEMPERATURE, FRICTION).double()


def underdamped():
    return nld.UnderdampedLangevin(nld.Quadratic([STIFFNESS]), TEMPERATURE, FRICTION, MASS).double()


def affine_map(dynamics, integrator, h):
    """(A, B) of z' = A z + B ξ, by stepping from unit states and with unit noise."""
    h = torch.full((1, 1), h, dtype=torch.float64)

    def advance(z, xi):
        z = z.unsqueeze(0)
        step = integrator.step(dynamics, z, dynamics.force(z), h)
        return integrator.complete(step, step.loc + step.scale * xi).squeeze(0)

    units = torch.eye(dynamics.state, dtype=torch.float64)
    matrix = torch.stack([advance(unit, 0.0) for unit in units], -1)
    return matrix.numpy(), advance(torch.zeros_like(units[0]), 1.0).numpy()


def stationary_covariance(dynamics, integrator, h):
    matrix, kick = affine_map(dynamics, integrator, h)
    return solve_discrete_lyapunov(matrix, kick[:, None] * kick[None])


def test_euler_maruyama_has_the_variance_of_the_chain_not_of_the_equation():
    h = 0.2
    covariance = stationary_covariance(overdamped(), nld.EulerMaruyama(), h)
    kh = STIFFNESS * h / FRICTION
    assert covariance[0, 0] == pytest.approx(TEMPERATURE / STIFFNESS / (1 - kh / 2), rel=1e-6)


@pytest.mark.parametrize("h", [0.1, 1.0, 20.0])
def test_exponential_euler_moves_in_its_spring_as_the_equation_does(h):
    (matrix,), kick = affine_map(overdamped(), nld.ExponentialEuler(STIFFNESS), h)
    left = math.exp(-STIFFNESS * h / FRICTION)
    assert matrix[0] == pytest.approx(left, rel=1e-6, abs=1e-6)
    assert kick[0] ** 2 == pytest.approx(TEMPERATURE / STIFFNESS * (1 - left**2), rel=1e-6)


@pytest.mark.parametrize("spring", [0.0, 0.6, 3.0])
def test_exponential_euler_has_the_variance_that_its_coarse_stiffness_says(spring):
    dynamics, scheme, h = overdamped(), nld.ExponentialEuler(spring), 0.4
    coarse = float(scheme.coarse_stiffness(dynamics, torch.tensor([h], dtype=torch.float64)))
    wanted = TEMPERATURE / STIFFNESS / (1 - (STIFFNESS - spring) / (2 * coarse))
    assert stationary_covariance(dynamics, scheme, h)[0, 0] == pytest.approx(wanted, rel=1e-6)


def test_exponential_euler_without_a_spring_is_euler_maruyama():
    ways = [affine_map(overdamped(), scheme, 0.3) for scheme in (nld.ExponentialEuler(0.0), nld.EulerMaruyama())]
    assert all(np.allclose(*pair) for pair in zip(*ways, strict=True))


@pytest.mark.parametrize("stiffness", [-1.0, [1.0, float("nan")], [], "stiff", None])
def test_a_stiffness_that_is_none_is_refused(stiffness, untyped):
    with pytest.raises(nld.PriorError, match="stiffness must be a number of at least 0"):
        nld.ExponentialEuler(stiffness)


def test_a_scheme_of_other_axes_is_refused():
    prior = nld.OverdampedLangevin(nld.Quadratic([1.0]))
    with pytest.raises(nld.PriorError, match="stiffness of 2 axes"):
        nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1)), integrator=nld.ExponentialEuler([0.0, 1.0]))


def error_of(integrator, h):
    """Error of the stationary variance of the position, overdamped."""
    return abs(stationary_covariance(overdamped(), integrator, h)[0, 0] - TEMPERATURE / STIFFNESS)


def test_euler_maruyama_is_of_weak_order_one():
    errors = [error_of(nld.EulerMaruyama(), h) for h in (0.02, 0.01)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("h", [0.4, 0.1, 0.01])
def test_baoa_samples_a_harmonic_well_exactly_at_any_step(h):
    """Positions T/k; momenta M T (equipartition), where the paper's eq. 20 prints 1/M; staggered by half a step."""
    covariance = stationary_covariance(underdamped(), nld.BAOA(), h)
    assert covariance[0, 0] == pytest.approx(TEMPERATURE / STIFFNESS, rel=1e-6)
    assert covariance[1, 1] == pytest.approx(TEMPERATURE * MASS, rel=1e-6)
    assert covariance[0, 1] == pytest.approx(TEMPERATURE * h / 2, rel=1e-6)


def test_leapfrog_is_of_second_order_with_known_errors():
    """As in its docstring; positions T/k, momenta M T (equipartition) as h → 0."""
    for h in (0.2, 0.05):
        covariance = stationary_covariance(underdamped(), nld.Leapfrog(), h)
        x = FRICTION * h / MASS
        decay, weight = math.exp(-x), (1 - math.exp(-x)) / x
        excess = 1 / (1 - weight * h**2 * STIFFNESS / (2 * MASS * (1 + decay)))
        assert covariance[0, 0] == pytest.approx(TEMPERATURE / STIFFNESS * excess, rel=1e-6)
        assert covariance[1, 1] == pytest.approx(TEMPERATURE * MASS * 2 * math.tanh(x / 2) / x * excess, rel=1e-6)


def test_leapfrog_drifts_exactly_under_a_constant_force():
    h = torch.full((1, 1), 0.3, dtype=torch.float64)
    dynamics, z, force = underdamped(), torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for _ in range(200):
        step = nld.Leapfrog().step(dynamics, z, force, h)
        z = nld.Leapfrog().complete(step, step.loc)
    assert float(z[0, 1]) / MASS == pytest.approx(1 / FRICTION, rel=1e-6)


def test_one_step_agrees_with_the_exact_ou_moments_to_second_order():
    """Local error of mean and variance is O(h²): halving h quarters it."""
    rate = STIFFNESS / FRICTION

    def errors(h):
        matrix, kick = affine_map(overdamped(), nld.EulerMaruyama(), h)
        variance = TEMPERATURE / STIFFNESS * (1 - math.exp(-2 * rate * h))
        return abs(matrix[0, 0] - math.exp(-rate * h)), abs(kick[0] ** 2 - variance)

    for coarse, fine in zip(errors(0.02), errors(0.01), strict=True):
        assert math.log2(coarse / fine) == pytest.approx(2.0, abs=0.05)


def test_baoa_conserves_energy_without_friction_to_second_order():
    dynamics = nld.UnderdampedLangevin(nld.Quadratic([STIFFNESS]), TEMPERATURE, 1e-12, MASS).double()

    def drift_of_energy(h):
        matrix, _ = affine_map(dynamics, nld.BAOA(), h)
        z = torch.tensor([1.0, 0.0], dtype=torch.float64).numpy()
        energies = []
        for _ in range(round(2.0 / h)):
            z = matrix @ z
            half_kick = z[1] - 0.5 * h * STIFFNESS * z[0]
            energies.append(0.5 * STIFFNESS * z[0] ** 2 + 0.5 * half_kick**2 / MASS)
        return max(abs(energy - 0.5 * STIFFNESS) for energy in energies)

    assert math.log2(drift_of_energy(0.04) / drift_of_energy(0.02)) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    ("make", "integrator"),
    [(overdamped, nld.EulerMaruyama()), (overdamped, nld.ExponentialEuler(2.0)), (underdamped, nld.Leapfrog())],
    ids=["O", "X", "U"],
)
def test_a_spring_of_unit_stiffness_closes_the_gap_in_one_step(make, integrator):
    dynamics, h = make(), torch.full((1, 1), 0.1, dtype=torch.float64)
    z = torch.zeros(1, dynamics.state, dtype=torch.float64)
    force = integrator.unit_stiffness(dynamics, h) * (2.0 - z[..., :1])
    step = integrator.step(dynamics, z, force, h)
    reached = integrator.complete(step, step.loc)[0, 0]
    assert float(reached) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("make", "integrator"),
    [
        (overdamped, nld.EulerMaruyama()),
        (overdamped, nld.ExponentialEuler(0.7)),
        (underdamped, nld.Leapfrog()),
        (underdamped, nld.BAOA()),
    ],
    ids=["Euler", "exponential", "leapfrog", "BAOA"],
)
def test_steps_explode_at_twice_the_coarse_stiffness(make, integrator):
    dynamics, h = make(), 0.4
    coarse = float(integrator.coarse_stiffness(dynamics, torch.tensor([h], dtype=torch.float64)))
    for share, stable in ((1.99, True), (2.01, False)):
        dynamics.potential = nld.Quadratic([integrator.stiffness[0] + share * coarse]).double()
        matrix, _ = affine_map(dynamics, integrator, h)
        assert bool(abs(np.linalg.eigvals(matrix)).max() < 1) == stable


def test_wrong_noise_would_be_caught():
    class Cold(nld.EulerMaruyama):
        def step(self, dynamics, z, force, h):
            step = super().step(dynamics, z, force, h)
            return step._replace(scale=step.scale / math.sqrt(2))

    errors = [error_of(Cold(), h) for h in (0.02, 0.01)]
    assert errors[1] > 0.1
