"""A landscape on circles: each well once, its saddles both ways round, its samples and rates those of the circle."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import cumulative_trapezoid, trapezoid

import pyro_nld as nld
from pyro_nld.kinetics import generators
from pyro_nld.landscape import basins, chart, minima, occupancies, on_axes
from pyro_nld.landscape.saddles import follow, saddles

TILT = 0.3


class Wells(nld.Potential):
    """−1.5 cos 2θ − 0.3 cos θ: minima at 0 and π, passes where cos θ = −.05."""

    latent, periods = 1, (2 * math.pi,)

    def forward(self, z):
        return -1.5 * torch.cos(2 * z[..., 0]) - TILT * torch.cos(z[..., 0])


class Flattened(Wells):
    """The broken version: it repeats, and does not say so."""

    periods = None


class Torus(nld.Potential):
    """Three wells along one circle, two along the other, of another length."""

    latent, periods = 2, (2 * math.pi, 4.0)

    def forward(self, z):
        return -2.0 * torch.cos(3 * z[..., 0]) - 1.5 * torch.cos(math.pi * z[..., 1])


def energy(angle):
    return -1.5 * np.cos(2 * angle) - TILT * np.cos(angle)


def starts(count, latent, seed=0):
    """Over several turns."""
    return 8 * torch.randn(count, latent, generator=torch.Generator().manual_seed(seed))


def test_a_well_and_its_images_are_one_state():
    wells = minima(Wells(), starts(400, 1))
    assert wells.sizes["state"] == wells.sizes["minimum"] == 2
    assert sorted(np.abs(wells["position"].values).ravel().round(6)) == [0.0, round(math.pi, 6)]
    assert minima(Flattened(), starts(400, 1)).sizes["state"] > 4
    curvature = 6 + TILT * np.cos(wells["position"].values)
    np.testing.assert_allclose(wells["curvature"].values, curvature, rtol=1e-6)


def test_both_ways_round_have_a_pass():
    wells = minima(Wells(), starts(400, 1))
    story = saddles(Wells(), wells)
    there = math.acos(-0.05)
    np.testing.assert_allclose(sorted(story["saddle_position"].values.ravel()), [-there, there], atol=1e-6)
    height = energy(there) - wells["energy"].values
    np.testing.assert_allclose(story["barrier"].values[[0, 1], [1, 0]], height, rtol=1e-6)
    np.testing.assert_allclose(wells["minimum_barrier"].values, height, atol=0.02)
    assert (story["saddle_curvature"].values < 0).all()
    path = story["saddle_path"].values[..., 0]
    assert np.abs(np.diff(path)).max() < 0.3  # it goes on over the end of the period
    assert {round(abs(float(end)), 2) % round(math.pi, 2) for end in path[:, [0, -1]].ravel()} <= {0.0, 3.14}
    again = follow(Wells(), wells, story)
    np.testing.assert_allclose(again["saddle_position"].values, story["saddle_position"].values, atol=1e-6)


def test_a_torus_has_each_well_once():
    wells = minima(Torus(), starts(2000, 2))
    assert wells.sizes["state"] == 6
    assert wells.attrs["unconverged_starts"] < 0.01
    story = saddles(Torus(), wells)
    lowest = np.nanmin(story["barrier"].values)
    assert lowest == pytest.approx(3.0, abs=1e-6)  # along the second circle
    assert set(story["saddle_energy"].values.round(6)) >= {0.5, -0.5}


def test_a_point_and_its_images_are_in_one_basin():
    wells = minima(Wells(), starts(400, 1))
    points = torch.linspace(-3.0, 3.0, 40).unsqueeze(-1)
    inside = basins(Wells(), wells, points)
    assert bool((inside >= 0).all())
    for turns in (-2, 1, 5):
        assert bool((basins(Wells(), wells, points + 2 * math.pi * turns) == inside).all())
    near = torch.as_tensor(np.abs(wells["position"].values[inside.numpy(), 0])) < 1
    assert bool((near == (points[:, 0].cos() > -0.05)).all())


def test_occupancies_are_those_of_the_circle():
    """Quadrature over the two basins; 5 standard errors of as many draws as the chains are worth."""
    wells = minima(Wells(), starts(400, 1))
    found = occupancies.sampled(Wells(), wells, starts(100, 1), temperature=1.0)
    angle = np.linspace(-math.pi, math.pi, 20001)
    weight, first = np.exp(-energy(angle)), np.cos(angle) > -0.05
    share = trapezoid(np.where(first, weight, 0.0), angle) / trapezoid(weight, angle)
    zero = int(np.abs(wells["position"].values[:, 0]).argmin())
    error = math.sqrt(share * (1 - share) / float(found["occupancy_ess"][zero]))
    assert abs(float(found["occupancy_sampled"][zero]) - share) < 5 * error


def test_angles_in_the_plane_are_distributed_as_on_the_circle():
    """exp(−U_plane) at any radius is that of the circle times a factor of the radius alone."""
    round_axes = chart(Wells(), starts(20, 1))
    angle = torch.linspace(-3.0, 3.0, 50).unsqueeze(-1)
    for radius in (0.7, 1.0, 1.2):
        difference = round_axes(radius * round_axes.circles.lift(angle)) - Wells()(angle)
        torch.testing.assert_close(difference, difference[:1].expand(50), rtol=1e-4, atol=1e-4)


def test_the_slope_in_the_plane_is_the_derivative_of_the_energy():
    round_axes = chart(Torus(), starts(20, 2)).double()
    points = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    (expected,) = torch.autograd.grad(round_axes(points).sum(), points)
    torch.testing.assert_close(round_axes.gradient(points), expected)


def test_the_generator_of_a_circle_goes_round():
    """Free diffusion on a circle of radius R relaxes in R²/D; between walls it takes (2πR/π)²/D."""

    class Free(nld.Potential):
        latent, periods = 1, (4 * math.pi,)

        def forward(self, z):
            return 0.0 * z[..., 0]

    dynamics = nld.OverdampedLangevin(Free(), temperature=0.5)
    circle = generators.generator(dynamics, [-2 * math.pi], [2 * math.pi], cells=400)
    np.testing.assert_allclose(generators.relaxation_times(circle, 2), [8.0, 8.0], rtol=1e-3)
    walled = generators.generator(dynamics, [-math.pi], [3.0], cells=400)
    assert generators.relaxation_times(walled, 1)[0] == pytest.approx(2 * ((3 + math.pi) / math.pi) ** 2, rel=1e-3)


def test_passage_times_are_those_of_the_circle():
    """τ = ∫₀^π e^U ∫₀^y e^−U, both ways round at once: reflecting at 0 by symmetry."""
    dynamics = nld.OverdampedLangevin(Wells())
    grid = generators.generator(dynamics, [-math.pi], [math.pi], cells=2000)
    there = np.abs(np.abs(grid.centres[:, 0]) - math.pi) < 0.02
    found = generators.passage_time(grid, there)[np.abs(grid.centres[:, 0]).argmin()]
    angle = np.linspace(0.0, math.pi - 0.02, 20001)
    inner = cumulative_trapezoid(np.exp(-energy(angle)), angle, initial=0.0)
    assert found == pytest.approx(trapezoid(np.exp(energy(angle)) * inner, angle), rel=5e-3)


def test_simulated_and_exact_dwells_agree_on_the_circle():
    """A chain that wanders over many turns is counted on the circle; 5 standard errors of its visits."""
    dynamics, integrator = nld.OverdampedLangevin(Wells()), nld.EulerMaruyama()
    wells = minima(Wells(), starts(400, 1))
    run = nld.kinetics.simulated(dynamics, integrator, wells, starts(100, 1), interval=0.02, substeps=2, intervals=2000)
    counted = nld.kinetics.by_counting(run)["dwell"].values
    exact = nld.kinetics.exact(dynamics, wells)["dwell"].values
    visits = run["exits"].values.sum(1)
    assert (np.abs(np.log(counted / exact)) < 5 / np.sqrt(visits) + 0.03).all()  # looks that are .02 apart miss a few


def test_states_on_a_circle_persist_and_are_held_as_long_as_they_are():
    """Cores from the density of paths in the plane: the dwell between them is the exact one; 5 standard errors."""
    data = nld.datasets.langevin_wells(Wells(), 60, 400, seed=1, interval=0.1, noise=0.0)
    paths = torch.as_tensor(data["path"].values)
    assert float(paths.abs().max()) > 2 * math.pi  # over several turns
    assert data.sizes["state"] == 2
    times = np.broadcast_to(data["time"].values, paths.shape[:2])
    wells = minima(Wells(), starts(400, 1))
    round_axes = chart(Wells(), starts(20, 1))
    lifted = round_axes.states(wells), round_axes.circles.lift(paths.unsqueeze(0))
    found = on_axes(round_axes, nld.kinetics.metastable(round_axes, *lifted, times))
    assert found.sizes["state"] == found.sizes["minimum"] == 2
    assert found.sizes["latent"] == 1
    assert (found["persistence"].values > 3).all()
    cores = nld.kinetics.cores(Wells(), found, paths)
    counts = nld.kinetics.count(cores.numpy(), times, 2)
    counted = nld.kinetics.by_counting(counts)["dwell"].values
    exact = nld.kinetics.exact(nld.OverdampedLangevin(Wells()), found)["dwell"].values
    assert (np.abs(np.log(counted / exact)) < 5 / np.sqrt(counts["exits"].values.sum(1)) + 0.05).all()
