"""Kinetics by every route against what is known: Markov chains, quadrature, the generator, Kramers' law."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from chains import chain, clock

import pyro_nld as nld
from pyro_nld import kinetics

STRONG = nld.DoubleWell(6.0)  # barrier 6 kT at T = 1


def wells_of(potential, temperature=1.0):
    starts = 2 * torch.randn(300, potential.latent, generator=torch.Generator().manual_seed(0))
    return nld.landscape.minima(potential, starts, temperature=temperature)


# Cores


def test_a_core_holds_half_of_a_harmonic_well():
    for latent in (1, 3, 8):
        well = nld.Quadratic(torch.linspace(1.0, 4.0, latent))
        draw = torch.randn(20_000, latent, generator=torch.Generator().manual_seed(latent))
        points = draw * (0.5 / torch.linspace(1.0, 4.0, latent)).sqrt()
        inside = kinetics.cores(well, wells_of(well), points, temperature=0.5) == 0
        assert abs(float(inside.float().mean()) - 0.5) < 5 * 0.5 / math.sqrt(20_000)


def test_cores_belong_to_their_states():
    well = nld.GaussianWells([[-1.5, 0.0], [1.5, 0.0], [0.0, 2.0]], widths=0.4)
    story = wells_of(well)
    points = torch.as_tensor(story["position"].values).float()
    assert kinetics.cores(well, story, points).tolist() == [0, 1, 2]
    assert int(kinetics.cores(well, story, torch.tensor([0.0, 0.7]))) == -1


# Landscape


@pytest.fixture(scope="module")
def double():
    wells = wells_of(STRONG)
    saddle = {
        "saddle_position": (("saddle", "latent"), np.zeros((1, 1))),
        "saddle_energy": ("saddle", np.array([6.0])),
        "saddle_states": (("saddle", "end"), np.array([[0, 1]])),
    }
    return wells, xr.Dataset(saddle)


def test_kramers_law_of_a_double_well(double):
    """√(U''_m |U''_s|)/(2πγ) exp(−ΔU/T) with U'' = 8 B at the minima and −4 B at the top."""
    wells, passes = double
    dynamics = nld.OverdampedLangevin(STRONG, temperature=0.8, friction=2.0)
    rate = kinetics.eyring_kramers(dynamics, wells, passes)["rate"].values
    expected = math.sqrt(48 * 24) / (2 * math.pi * 2.0) * math.exp(-6 / 0.8)
    assert rate[0, 1] == pytest.approx(expected, rel=1e-4)
    assert rate[1, 0] == pytest.approx(expected, rel=1e-4)


def test_momenta_slow_kramers_law_as_he_said(double):
    """λ₊ = (−γ + √(γ² + 4 M|U''_s|))/(2M): the underdamped prefactor, and the overdamped one at high friction."""
    wells, passes = double
    friction, mass = 3.0, 0.7
    growth = (-friction + math.sqrt(friction**2 + 4 * mass * 24)) / (2 * mass)
    dynamics = nld.UnderdampedLangevin(STRONG, 1.0, friction, mass)
    rate = float(kinetics.eyring_kramers(dynamics, wells, passes)["rate"][0, 1])
    assert rate == pytest.approx(growth / (2 * math.pi) * math.sqrt(2) * math.exp(-6), rel=1e-4)
    heavy = nld.UnderdampedLangevin(STRONG, 1.0, 1e4, mass)
    limit = nld.OverdampedLangevin(STRONG, 1.0, 1e4)
    slow, fast = (float(kinetics.eyring_kramers(one, wells, passes)["rate"][0, 1]) for one in (heavy, limit))
    assert slow == pytest.approx(fast, rel=1e-3)


@pytest.mark.parametrize(("barrier", "gap"), [(5.0, 0.12), (10.0, 0.06)])
def test_kramers_law_is_a_few_per_cent_off_the_exact_rate(barrier, gap):
    """The law's first correction is of order kT/barrier: 3–6 % at 10 kT, about twice as much at 5."""
    well = nld.DoubleWell(barrier)
    wells = wells_of(well)
    passes = xr.Dataset(
        {
            "saddle_position": (("saddle", "latent"), np.zeros((1, 1))),
            "saddle_energy": ("saddle", np.array([barrier])),
            "saddle_states": (("saddle", "end"), np.array([[0, 1]])),
        }
    )
    dynamics = nld.OverdampedLangevin(well)
    law = float(kinetics.eyring_kramers(dynamics, wells, passes)["dwell"][0])
    exact = float(kinetics.exact(dynamics, wells)["dwell"][0])
    assert 0.005 < abs(law / exact - 1) < gap


def test_the_simulated_chain_agrees_with_the_exact_landscape():
    dynamics = nld.OverdampedLangevin(nld.Tilted(nld.DoubleWell(2.5), [0.3]))
    wells = wells_of(dynamics.potential)
    starts = torch.as_tensor(wells["position"].values).float().repeat(150, 1)
    counts = kinetics.simulated(
        dynamics, nld.EulerMaruyama(), wells, starts, interval=0.02, substeps=4, intervals=1500, seed=3
    )
    dwell, exits = kinetics.by_counting(counts)["dwell"].values, counts["exits"].sum("to").values
    exact = kinetics.exact(dynamics, wells)["dwell"].values
    # looking every 0.02 misses entries of a core that are left at once: a few per cent
    assert np.abs(np.log(dwell / exact)).max() < 0.08 + 5 / math.sqrt(exits.min())
    assert exits.min() > 500


@pytest.mark.parametrize("steps", [5, 20])
def test_relaxation_behind_a_low_barrier_is_that_of_the_generator(steps):
    """Where a path is between two cores for long, and comes and goes between two looks, rates alone are too slow."""
    dynamics = nld.OverdampedLangevin(nld.Tilted(nld.DoubleWell(1.2), [0.2]))
    wells = wells_of(dynamics.potential)
    starts = torch.as_tensor(wells["position"].values).float().repeat(100, 1)
    counts = kinetics.simulated(
        dynamics, nld.EulerMaruyama(), wells, starts, interval=0.005 * steps, substeps=steps, intervals=9000 // steps,
        seed=3,
    )  # fmt: skip
    route = kinetics.by_counting(counts)
    exact = float(kinetics.exact(dynamics, wells)["relaxation"][0])
    assert exact == pytest.approx(nld.generators.relaxation_times(grid_of(dynamics), 1)[0], rel=1e-3)
    assert float(route["relaxation"][0]) == pytest.approx(exact, rel=0.07)
    assert float(kinetics.relaxation(route["rate"].values)[0]) > 1.2 * exact
    assert route["relaxation_low"][0] < route["relaxation"][0] < route["relaxation_high"][0]


def grid_of(dynamics):
    return nld.generators.generator(dynamics, [-2.5], [2.5])


def test_counting_crossings_of_the_ridge_instead_would_be_wrong():
    """The negative control of the test above: without cores every recrossing counts."""
    dynamics = nld.OverdampedLangevin(nld.DoubleWell(2.5))
    path = nld.LangevinPath(
        dynamics, nld.EulerMaruyama(), torch.ones(300, 1), nld.dynamics.paths.refine(torch.arange(1500.0) * 0.02, 2)
    ).sample()[:, 1::2, 0]
    signs = (path > 0).long().numpy()
    naive = kinetics.by_counting(kinetics.count(signs, clock(signs, 0.02), 2))["dwell"].values
    exact = kinetics.exact(dynamics, wells_of(dynamics.potential))["dwell"].values
    assert (naive < 0.75 * exact).all()


def test_routes_with_other_lags_stand_side_by_side():
    states = chain([[0.9, 0.1], [0.2, 0.8]], 10, 300, 4)
    long, short = (kinetics.by_counting(kinetics.count(part, clock(part), 2)) for part in (states, states[:, :60]))
    law = kinetics.of_rates(long["rate"].values)
    table = kinetics.joined({"counted": long, "simulated": short, "eyring_kramers": law})
    assert table["lag"].values.tolist() == [1, 2, 4, 8, 16, 32, 64]
    known = np.isfinite(table["implied"]).sum(["lag", "mode"]).values
    assert known.tolist() == [7, 4, 0]


# Committors


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_shooting_finds_the_committor_of_the_grid(slope):
    dynamics = nld.OverdampedLangevin(nld.Tilted(nld.DoubleWell(2.5), [slope]))
    wells = wells_of(dynamics.potential)
    points = torch.tensor([[-0.3], [0.0], [0.1], [0.4]])
    shots = 1500
    found = kinetics.committor(
        dynamics, nld.EulerMaruyama(), wells, points, 0, 1, step=0.001, shots=shots, seed=2
    ).numpy()
    grid = nld.generators.generator(dynamics, [-2.5], [2.5])
    core = kinetics.cores(dynamics.potential, wells, torch.as_tensor(grid.centres)).numpy()
    exact = np.interp(points[:, 0], grid.centres[:, 0], nld.generators.committor(grid, core == 0, core == 1))
    error = np.sqrt(exact * (1 - exact) / shots)
    # steps of h see an edge about 0.58 √(2 h T/γ) late, which is 0.026 of length here
    slack = 0.03 * np.abs(np.gradient(exact, points[:, 0].numpy())).max()
    assert (np.abs(found - exact) < 5 * error + slack).all()


def test_the_committor_at_a_symmetric_saddle_is_a_half_in_many_axes_and_with_momenta():
    well = nld.DoubleWell(3.0, latent=6, stiffness=4.0)
    wells, saddle = wells_of(well), torch.zeros(1, 6)
    for dynamics in (nld.OverdampedLangevin(well), nld.UnderdampedLangevin(well, friction=2.0, mass=0.3)):
        scheme = nld.integrators.default_integrator(dynamics)
        share = float(kinetics.committor(dynamics, scheme, wells, saddle, 0, 1, step=0.01, shots=800, seed=1))
        assert abs(share - 0.5) < 5 * math.sqrt(0.25 / 800)
        aside = float(kinetics.committor(dynamics, scheme, wells, saddle + 0.3, 0, 1, step=0.01, shots=800, seed=1))
        assert abs(aside - 0.5) > 5 * math.sqrt(0.25 / 800)


def test_paths_that_never_arrive_have_no_committor():
    dynamics = nld.OverdampedLangevin(nld.DoubleWell(3.0))
    wells = wells_of(dynamics.potential)
    share = kinetics.committor(dynamics, nld.EulerMaruyama(), wells, torch.zeros(1, 1), 0, 1, step=1e-6, most=20)
    assert bool(share.isnan().all())


# Units


def test_the_unit_of_time_is_the_users():
    states = chain([[0.9, 0.1], [0.2, 0.8]], 10, 300, 4)
    seconds = kinetics.by_counting(kinetics.count(states, clock(states), 2))
    minutes = kinetics.in_unit(seconds, 1 / 60)
    both = kinetics.joined({"seconds": seconds, "minutes": minutes})
    powers = dict.fromkeys(["dwell", "dwell_low", "dwell_high", "relaxation", "passage", "implied"], 1)
    for name, power in (powers | dict.fromkeys(["rate", "rate_low", "rate_high"], -1)).items():
        one, other = (both[name].sel(route=unit).values for unit in ("seconds", "minutes"))
        np.testing.assert_allclose(other, one * 60.0**-power)
