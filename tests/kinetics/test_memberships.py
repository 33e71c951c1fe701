"""Memberships: committors of known densities, cores that hold what is sure, counts of what was simulated."""

import numpy as np
import pytest
import torch
from chains import chain, clock

import pyro_nld as nld
from pyro_nld import kinetics
from pyro_nld.kinetics.memberships import CORE, between, core_labels, memberships

WELL = nld.DoubleWell(barrier=2.0, half_distance=1.0)


def telegraph(dwell, length, noise, seed):
    """Levels −1 and 1 that hold for `dwell` observations, in white noise."""
    states = chain([[1 - 1 / dwell, 1 / dwell]] * 2 if dwell == 2 else _leaving(1 / dwell), 1, length, seed)
    random = np.random.default_rng((seed, 1))
    return states, (2.0 * states - 1 + noise * random.standard_normal(states.shape))[..., None]


def _leaving(rate):
    return [[1 - rate, rate], [rate, 1 - rate]]


def tables(points, centres):
    basins = torch.cdist(points.double(), centres.double()).argmin(-1)
    return between(points, basins, centres).assign(minimum_state=("minimum", np.arange(len(centres))))


def boltzmann(number=400_000):
    """Exact draws of exp(−U) in the double well, by rejection."""
    random = torch.Generator().manual_seed(0)
    points = 4 * torch.rand(number, 1, generator=random) - 2
    return points[torch.rand(number, generator=random) < torch.exp(-WELL(points))]


def test_the_committor_of_a_known_density():
    """q(x) = ∫ e^U over the part up to x; both wells are symmetric, and the ridge is at ½."""
    at = torch.linspace(-0.95, 0.95, 39)[:, None]
    fine = torch.linspace(-1, 1, 4001)[:, None].double()
    risen = torch.cumsum(torch.exp(WELL(fine)), 0)
    exact = np.interp(at[:, 0], fine[:, 0], risen / risen[-1])
    held = memberships(tables(boltzmann(), torch.tensor([[-1.0], [1.0]])), at)
    np.testing.assert_allclose(held[:, 1], exact, atol=0.01)
    np.testing.assert_allclose(held.sum(-1), 1, atol=1e-6)


def test_beyond_the_minima_all_is_sure_and_a_minimum_can_belong_to_another():
    centres = torch.tensor([[-1.0], [1.0]])
    table = tables(boltzmann(20_000), centres)
    assert core_labels(memberships(table, torch.tensor([[-3.0], [0.0], [3.0]]))).tolist() == [0, -1, 1]
    one = memberships(table, torch.tensor([[-3.0], [0.0]]), np.array([0, 0]))
    assert one.tolist() == [[1.0], [1.0]]
    assert memberships(table, torch.zeros(2, 5, 1)).shape == (2, 5, 2)


def test_three_minima_have_cores_that_do_not_overlap():
    centres = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    random = torch.Generator().manual_seed(1)
    points = centres.repeat(2000, 1) + 0.5 * torch.randn(6000, 2, generator=random)
    held = memberships(tables(points, centres), points)
    assert ((held >= CORE).sum(-1) <= 1).all()
    right = core_labels(held) == torch.arange(6000) % 3
    assert float(right.double().mean()) > 0.97
    assert core_labels(memberships(tables(points, centres), torch.tensor([[1.5, 0.0]]))).item() == -1


def test_a_basin_without_points_has_a_committor():
    table = between(torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), torch.tensor([[0.0], [1.0]]))
    assert np.isfinite(table["core_committor"]).all()
    assert (table["core_committor"].diff("knot") >= -1e-12)[0, 1].all()


@pytest.mark.parametrize(("dwell", "noise"), [(21.7, 0.3), (21.7, 0.5), (5.0, 0.3)])
def test_short_visits_count(dwell, noise):
    """What is counted between cores is what was simulated; half-mass cores miss one visit in ten and more."""
    states, x = telegraph(dwell, 40_000, noise, 3)
    points = torch.as_tensor(x[0]).float()
    wells = tables(points, torch.tensor([[-1.0], [1.0]]))
    labels = kinetics.cores(WELL, wells, points).numpy()[None]
    true, counted = (kinetics.by_counting(kinetics.count(some, clock(some), 2)) for some in (states, labels))
    off = counted["dwell"].values / true["dwell"].values - 1
    assert np.abs(off).max() < 0.04
    half = torch.erfinv(torch.tensor(0.5)).item() * np.sqrt(2) * noise  # half the mass of a level
    naive = np.where(np.abs(np.abs(x[..., 0]) - 1) < half, x[..., 0] > 0, -1)
    wrong = kinetics.by_counting(kinetics.count(naive, clock(naive), 2))["dwell"].values / true["dwell"].values - 1
    assert wrong.min() > 0.08


def diffusion(barrier, sequences, steps, interval, seed, fine=4):
    """Positions in U = barrier (z² − 1)², begun in either well; small Euler steps."""
    random = np.random.default_rng((seed, 2))
    z, path, h = np.sign(random.standard_normal(sequences)), [], interval / fine
    for step in range(fine * steps):
        z = z - 4 * barrier * z * (z**2 - 1) * h + np.sqrt(2 * h) * random.standard_normal(sequences)
        if step % fine == 0:
            path.append(z)
    return np.stack(path, -1)[..., None]


@pytest.mark.parametrize(("barrier", "exact"), [(1.0, 2.671), (2.0, 4.400), (3.0, 8.269)])
def test_diffusion_dwells_as_long_as_its_relaxation_says(barrier, exact):
    """In a symmetric well it dwells for 2/λ₁, the first eigenvalue of the generator, known from a fine grid.

    How long exactly depends on where cores end: within 15 % and three standard errors it does not.
    """
    well = nld.DoubleWell(barrier=barrier, half_distance=1.0)
    points = torch.as_tensor(diffusion(barrier, 60, 4000, 0.02, 0)).float()
    wells = tables(points.flatten(0, 1)[::7], torch.tensor([[-1.0], [1.0]]))
    labels = kinetics.cores(well, wells, points).numpy()
    counts = kinetics.count(labels, clock(labels, 0.02), 2)
    exits = float(counts["exits"].sum())
    assert abs(np.log(float(counts["time"].sum()) / exits / exact)) < 0.15 + 3 / np.sqrt(exits)
