"""Simulation by torchsde: the exact moments of linear equations, and our own steps along the same Brownian paths."""

import math

import numpy as np
import pytest
import torch
import torchsde
from pyro import distributions as dist
from scipy.linalg import expm, solve_continuous_lyapunov

import pyro_nld as nld
from pyro_nld.dynamics.paths import Grid, run
from pyro_nld.dynamics.simulation import _AsSDE, simulate

STIFFNESS, TEMPERATURE, FRICTION, MASS = 1.7, 0.6, 1.3, 0.8
TIMES = torch.tensor([0.0, 0.15, 0.5, 2.0], dtype=torch.float64)
PATHS = 4000


def overdamped(potential=None, temperature=TEMPERATURE):
    return nld.OverdampedLangevin(potential or nld.Quadratic([STIFFNESS]), temperature, FRICTION).double()


def underdamped(potential=None, temperature=TEMPERATURE):
    return nld.UnderdampedLangevin(potential or nld.Quadratic([STIFFNESS]), temperature, FRICTION, MASS).double()


def matrix(dynamics):
    """A and the noise D of dz = A z dt + √D dW, written down here from the equations."""
    if dynamics.state == 1:
        return np.array([[-STIFFNESS / FRICTION]]), np.array([[2 * TEMPERATURE / FRICTION]])
    return np.array([[0, 1 / MASS], [-STIFFNESS, -FRICTION / MASS]]), np.diag([0, 2 * FRICTION * TEMPERATURE])


def errors(dynamics, seed, method="srk"):
    """Means and covariances at all later times from a fixed start, in standard errors from the exact ones."""
    start = np.full(dynamics.state, 1.2)
    initial = torch.from_numpy(start).expand(PATHS, -1)
    path = simulate(dynamics, initial, TIMES, dt=0.02, method=method, seed=seed)
    drift, noise = matrix(dynamics)
    stationary = solve_continuous_lyapunov(drift, -noise)
    worst = []
    for k, t in enumerate(TIMES.tolist()[1:], start=1):
        flow = expm(drift * t)
        mean, covariance = flow @ start, stationary - flow @ stationary @ flow.T
        sample = path[:, k].numpy()
        spread = np.diag(covariance)
        found = np.atleast_2d(np.cov(sample.T))
        worst.append(np.abs((sample.mean(0) - mean) / np.sqrt(spread / PATHS)).max())
        worst.append(np.abs((found - covariance) / np.sqrt((np.outer(spread, spread) + covariance**2) / PATHS)).max())
    return np.array(worst)


@pytest.mark.parametrize("make", [overdamped, underdamped])
def test_exact_moments_of_linear_equations(make, seed):
    assert errors(make(), seed).max() < 5


@pytest.mark.parametrize("make", [overdamped, underdamped])
def test_another_temperature_would_be_seen(make, seed):
    assert errors(make(temperature=1.3 * TEMPERATURE), seed).max() > 5


def brownian(dynamics, paths, seed):
    return torchsde.BrownianInterval(
        t0=0.0, t1=1.0, size=(paths, dynamics.state), dtype=torch.float64, entropy=seed,
        levy_area_approximation="space-time",
    )  # fmt: skip


def stepped(dynamics, initial, steps, noise):
    """Our own scheme along a Brownian path: its noise of one step is the path's increment, √h ξ."""
    h = 1.0 / steps
    increments = [noise(k * h, (k + 1) * h)[:, -dynamics.latent :] for k in range(steps)]
    grid = Grid(torch.full((steps, 1), h, dtype=torch.float64), torch.ones(steps, dtype=torch.bool))
    integrator = nld.EulerMaruyama() if dynamics.state == dynamics.latent else nld.BAOA()
    path = nld.LangevinPath(dynamics, integrator, initial, grid)
    return run(path, dynamics.force, torch.stack(increments, -2) / math.sqrt(h))


def test_euler_maruyama_is_torchsdes_euler(seed):
    dynamics, initial = overdamped(nld.DoubleWell()), torch.full((5, 1), 0.3, dtype=torch.float64)
    noise = brownian(dynamics, 5, seed)
    ours = stepped(dynamics, initial, 16, noise)
    times = torch.linspace(0, 1, 17, dtype=torch.float64)
    theirs = simulate(dynamics, initial, times, dt=1 / 16, method="euler", seed=seed)
    torch.testing.assert_close(ours, theirs[:, 1:])


@pytest.mark.parametrize("make", [overdamped, underdamped])
def test_our_steps_converge_along_every_brownian_path(make, seed):
    """Additive noise: the strong order is 1, so that halving the step halves the distance to a fine srk solution."""
    dynamics = make(nld.DoubleWell(barrier=1.0))
    paths = 100
    initial = torch.full((paths, dynamics.state), 0.3, dtype=torch.float64)
    noise, ends = brownian(dynamics, paths, seed), torch.tensor([0.0, 1.0], dtype=torch.float64)
    with torch.no_grad():
        fine = torchsde.sdeint(_AsSDE(dynamics), initial, ends, bm=noise, method="srk", dt=1 / 256)[-1]
    distance = [
        float((stepped(dynamics, initial, steps, noise)[:, -1] - fine).norm(dim=-1).mean()) for steps in (16, 32)
    ]
    assert math.log2(distance[0] / distance[1]) == pytest.approx(1.0, abs=0.25)


def test_seeds_belong_to_the_call():
    dynamics, initial = overdamped(), torch.zeros(3, 1, dtype=torch.float64)
    before = torch.get_rng_state()
    first, again, other = (simulate(dynamics, initial, TIMES, dt=0.1, seed=seed) for seed in (0, 0, 1))
    assert bool((torch.get_rng_state() == before).all())
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first, other)


def test_the_first_state_is_the_initial_one_and_nothing_needs_a_gradient():
    potential = nld.NeuralPotential(2).double()
    initial = torch.ones(3, 2, dtype=torch.float64)
    path = simulate(nld.OverdampedLangevin(potential).double(), initial, TIMES, dt=0.07)
    torch.testing.assert_close(path[:, 0], initial)
    assert path.shape == (3, 4, 2)
    assert not path.requires_grad


def test_single_precision():
    dynamics = nld.OverdampedLangevin(nld.Quadratic([1.0]))
    assert simulate(dynamics, torch.zeros(2, 1), TIMES.float(), dt=0.1).dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        (
            {"initial": torch.zeros(3, 1)},
            nld.ShapeError,
            "initial states need 2 axes: got 1. Underdamped states are (q, p).",
        ),
        (
            {"times": torch.tensor([0.0, 1.0, 1.0])},
            nld.TimeGridError,
            "times must increase and dt be positive: got dt = 0.1. Sort the times.",
        ),
        (
            {"dt": 0.0},
            nld.TimeGridError,
            "times must increase and dt be positive: got dt = 0.0. Sort the times.",
        ),
        (
            {"dynamics": nld.UnderdampedLangevin(nld.Quadratic([1.0]), friction=dist.LogNormal(0.0, 1.0))},
            nld.PriorError,
            "a simulation needs numbers: friction is random. Assign one, for example dynamics.friction = 1.0.",
        ),
    ],
)
def test_what_is_refused(changes, error, sentence):
    given = {"dynamics": nld.UnderdampedLangevin(nld.Quadratic([1.0])), "initial": torch.zeros(3, 2)}
    given |= {"times": torch.tensor([0.0, 1.0]), "dt": 0.1}
    with pytest.raises(error) as caught:
        simulate(**given | changes)
    assert str(caught.value) == sentence
