"""Kinetics by every route against what is known: Markov chains, quadrature, the generator, Kramers' law."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld import kinetics

STRONG = nld.DoubleWell(6.0)  # barrier 6 kT at T = 1


def chain(matrix, sequences, steps, seed):
    """States of a Markov chain, `(sequence, time)`."""
    draw = np.random.default_rng(seed)
    edges = np.asarray(matrix).cumsum(-1)
    states = np.zeros((sequences, steps), int)
    for k in range(1, steps):
        states[:, k] = (draw.random((sequences, 1)) > edges[states[:, k - 1]]).sum(-1)
    return states


def clock(states, interval=1.0):
    return np.broadcast_to(interval * np.arange(states.shape[-1], dtype=float), states.shape)


def wells_of(potential, temperature=1.0):
    starts = 2 * torch.randn(300, potential.latent, generator=torch.Generator().manual_seed(0))
    return nld.landscape.minima(potential, starts, temperature=temperature)


# Counting


def test_milestones_remember_the_last_core():
    labels = np.array([[-1, 0, -1, 1, -1, -1, 0], [2, -1, -1, -1, 2, -1, 1]])
    assert kinetics.milestones(labels).tolist() == [[-1, 0, 0, 1, 1, 1, 0], [2, 2, 2, 2, 2, 2, 1]]


def test_counting_by_hand():
    labels = np.array([[0, -1, 0, 1, 1, 0, 0], [-1, 1, 0, -1, -1, -1, -1]])
    times = np.array([[0.0, 1.0, 3.0, 4.0, 6.0, 7.0, 9.0], [0.0, 2.0, 3.0, 5.0, np.nan, np.nan, np.nan]])
    counts = kinetics.count(labels, times, 2)
    assert counts["exits"].values.tolist() == [[0, 1], [2, 0]]
    assert counts["time"].values.tolist() == [4.0 + 2.0 + 2.0, 3.0 + 1.0]
    assert counts["visit_state"].values.tolist() == [1, 0, 0]
    assert counts["visit_duration"].values.tolist() == [3.0, 2.0, 2.0]
    assert counts["visit_ended"].values.tolist() == [1, 0, 0]
    assert counts["half_exits"].sum("half").values.tolist() == [1, 2]
    assert counts["half_time"].sum("half").values.tolist() == [8.0, 4.0]
    assert counts["sparse_exits"].values.tolist() == [1, 1]  # of the first, third, … observation alone
    assert counts["sparse_time"].values.tolist() == [6.0, 3.0]


def test_draws_are_averaged():
    labels = np.array([[[0, 1, 1]], [[0, 0, 0]]])
    counts = kinetics.count(labels, np.array([[0.0, 1.0, 2.0]]), 2)
    assert counts["exits"].values.tolist() == [[0, 0.5], [0, 0]]
    assert counts["time"].values.tolist() == [1.5, 0.5]


def test_the_interval_of_a_dwell_time_covers_it():
    """A chain that leaves with probability 1/20 dwells 20 on average: 90 % of the intervals say so."""
    matrix = [[0.95, 0.05], [0.1, 0.9]]
    hits = []
    for seed in range(200):
        states = chain(matrix, 10, 100, seed)
        route = kinetics.by_counting(kinetics.count(states, clock(states), 2))
        hits.append(bool(route["dwell_low"][0] < 20 < route["dwell_high"][0]))
    assert abs(np.mean(hits) - 0.9) < 5 * math.sqrt(0.09 / 200)


def test_counting_is_blind_to_where_sequences_end():
    """Short sequences censor most visits; the estimate is that of long ones all the same."""
    matrix = [[0.95, 0.05], [0.1, 0.9]]
    states = chain(matrix, 40_000, 8, 1)
    counts = kinetics.count(states, clock(states), 2)
    exits = counts["exits"].sum("to").values
    dwell = kinetics.by_counting(counts)["dwell"].values
    assert np.abs(dwell / [20, 10] - 1).max() < 5 / math.sqrt(exits.min())
    complete = counts["visit_duration"].values[(counts["visit_state"] == 0) & (counts["visit_ended"] == 1)].mean()
    assert complete < 6  # what the naive mean of complete visits would say


def test_a_state_never_left_has_no_dwell_time():
    states = np.zeros((3, 10), int)
    route = kinetics.by_counting(kinetics.count(states, clock(states), 2))
    assert route["dwell"][0] == np.inf
    assert np.isnan(route["dwell"][1])
    assert 5 < float(route["dwell_low"][0]) < 27


def test_old_and_young_visits_of_a_chain_end_alike_and_of_a_hidden_one_do_not():
    plain = chain([[0.95, 0.05], [0.05, 0.95]], 200, 400, 2)
    hidden = np.minimum(chain([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.0, 0.01, 0.99]], 200, 400, 3), 1)
    rates = []
    for states in (plain, hidden):
        counts = kinetics.count(states, clock(states), 2)
        young, old = (counts["age_exits"] / counts["age_time"]).values[:, 1]
        rates.append(math.log(old / young))
    assert abs(rates[0]) < 0.15
    assert rates[1] < -1.0


def test_labels_must_fit_the_times():
    with pytest.raises(nld.ShapeError, match=r"labels must be .* got \(1, 2, 5\) for \(2, 4\)"):
        kinetics.count(np.zeros((2, 5), int), np.zeros((2, 4)), 2)


def test_the_unit_of_time_is_the_users():
    states = chain([[0.9, 0.1], [0.2, 0.8]], 10, 300, 4)
    seconds = kinetics.by_counting(kinetics.count(states, clock(states), 2))
    minutes = kinetics.in_unit(seconds, 1 / 60)
    both = kinetics.joined({"seconds": seconds, "minutes": minutes})
    for name, power in {"dwell": 1, "dwell_low": 1, "dwell_high": 1, "relaxation": 1, "rate": -1}.items():
        one, other = (both[name].sel(route=unit).values for unit in ("seconds", "minutes"))
        np.testing.assert_allclose(other, one * 60.0**-power)


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


def test_counting_crossings_of_the_ridge_instead_would_be_wrong():
    """The negative control of the test above: without cores every recrossing counts."""
    dynamics = nld.OverdampedLangevin(nld.DoubleWell(2.5))
    path = nld.LangevinPath(
        dynamics, nld.EulerMaruyama(), torch.ones(300, 1), nld.paths.refine(torch.arange(1500.0) * 0.02, 2)
    ).sample()[:, 1::2, 0]
    signs = (path > 0).long().numpy()
    naive = kinetics.by_counting(kinetics.count(signs, clock(signs, 0.02), 2))["dwell"].values
    exact = kinetics.exact(dynamics, wells_of(dynamics.potential))["dwell"].values
    assert (naive < 0.75 * exact).all()


# Matrices


def test_a_transition_matrix_and_its_timescales():
    matrix = np.array([[0.97, 0.02, 0.01], [0.04, 0.95, 0.01], [0.02, 0.02, 0.96]])
    states = chain(matrix, 400, 500, 5)
    found = kinetics.transition_matrix(states, 3)
    error = np.sqrt(matrix * (1 - matrix) / np.bincount(states[:, :-1].ravel())[:, None])
    assert (np.abs(found - matrix) < 5 * error).all()
    times = kinetics.implied_timescales(matrix, 2.0)
    np.testing.assert_allclose(times, -2 / np.log(np.sort(np.linalg.eigvals(matrix).real)[::-1][1:]))
    later = kinetics.implied_timescales(kinetics.transition_matrix(states, 3, lag=5), 10.0)
    np.testing.assert_allclose(later, times, rtol=0.15)


def test_unknown_labels_are_no_transition():
    labels = np.array([[0, -1, 1, 1, -1, 0]])
    assert np.isnan(kinetics.transition_matrix(labels, 2)[0]).all()
    assert kinetics.transition_matrix(labels, 2)[1].tolist() == [0.0, 1.0]


def test_relaxation_of_two_states_is_the_sum_of_their_rates():
    rate = np.array([[np.nan, 0.3], [0.1, np.nan]])
    assert kinetics.relaxation(rate) == pytest.approx([1 / 0.4])
    assert np.isnan(kinetics.relaxation(np.full((2, 2), np.nan))).all()
