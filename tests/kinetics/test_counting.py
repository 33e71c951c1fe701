"""Counting against Markov chains whose rates and times are known, and by hand."""

import math

import numpy as np
import pytest
import torch
from chains import chain, clock

import pyro_nld as nld
from pyro_nld.kinetics import counting, markov

# Counting


def test_milestones_remember_the_last_core():
    labels = np.array([[-1, 0, -1, 1, -1, -1, 0], [2, -1, -1, -1, 2, -1, 1]])
    assert counting.milestones(labels).tolist() == [[-1, 0, 0, 1, 1, 1, 0], [2, 2, 2, 2, 2, 2, 1]]


def test_counting_by_hand():
    labels = np.array([[0, -1, 0, 1, 1, 0, 0], [-1, 1, 0, -1, -1, -1, -1]])
    times = np.array([[0.0, 1.0, 3.0, 4.0, 6.0, 7.0, 9.0], [0.0, 2.0, 3.0, 5.0, np.nan, np.nan, np.nan]])
    counts = counting.count(labels, times, 2)
    assert counts["exits"].values.tolist() == [[0, 1], [2, 0]]
    assert counts["time"].values.tolist() == [4.0 + 2.0 + 2.0, 3.0 + 1.0]
    assert counts["visit_state"].values.tolist() == [1, 0, 0]
    assert counts["visit_duration"].values.tolist() == [3.0, 2.0, 2.0]
    assert counts["visit_ended"].values.tolist() == [1, 0, 0]
    assert counts["half_exits"].values.tolist() == [[0, 1], [0, 1]]  # what happens from half to half is in neither
    assert counts["half_time"].values.tolist() == [[3.0, 1.0], [2.0, 3.0]]
    assert counts["sparse_exits"].values.tolist() == [1, 1]  # of the first, third, … observation alone
    assert counts["sparse_time"].values.tolist() == [6.0, 3.0]


def test_counting_begins_where_sequences_have_settled():
    labels = np.full((100, 40), 1)
    labels[:, 0] = -1
    labels[:10, :6] = -1
    labels[:3, :12] = -1
    labels[0] = -1
    assert counting.settled(labels) == 6
    assert counting.settled(np.full((2, 8), -1)) == 0
    assert counting.settled(labels[:3, :16]) == 4  # a quarter at most
    counts = counting.count(labels, clock(labels), 2)
    assert counts["time"].values.tolist() == [0, 97 * 33 + 2 * 27]


@pytest.mark.parametrize("length", [2, 3])
def test_the_shortest_sequences_can_be_counted(length):
    labels = np.array([[0, 1, 1], [-1, -1, 0]])[:, :length]
    counts = counting.count(labels, clock(labels), 2)
    assert counts["time"].values.tolist() == [[1, 0], [1, 1]][length - 2]
    assert counts["half_exits"].shape == (2, 2)


def test_short_sequences_dwell_like_long_ones():
    """A diffusing point that starts between cores has no state until it is in one: those that do are calmer."""
    potential = nld.Tilted(nld.DoubleWell(barrier=1.8, half_distance=1.5), [0.1])
    path = nld.datasets.langevin_wells(potential, 150, 2000, 0, interval=0.1)["path"].values
    wells = nld.landscape.minima(potential, torch.tensor([[-1.5], [1.5]]))
    labels = nld.kinetics.cores(potential, wells, torch.as_tensor(path)).numpy()
    cut = labels.reshape(-1, 100)
    long, short = (counting.count(some, clock(some, 0.1), 2) for some in (labels, cut))
    naive = counting._tally(counting._steps(counting.milestones(cut[None]), clock(cut, 0.1)), 2)
    dwell = counting.by_counting(long)["dwell"].values
    assert np.abs(counting.by_counting(short)["dwell"].values / dwell - 1).max() < 0.025
    assert (naive[1] / naive[0].sum(-1) / dwell - 1).max() > 0.04
    rate = short["half_exits"].values / short["half_time"].values
    error = math.sqrt((1 / short["half_exits"].sum("state").values).sum())
    assert abs(np.log(rate[1] / rate[0]).mean()) < 3 * error  # counted from the begin on they differ by 0.19, or 4.8


def test_draws_are_averaged():
    labels = np.array([[[0, 1, 1]], [[0, 0, 0]]])
    counts = counting.count(labels, np.array([[0.0, 1.0, 2.0]]), 2)
    assert counts["exits"].values.tolist() == [[0, 0.5], [0, 0]]
    assert counts["time"].values.tolist() == [1.5, 0.5]


def test_the_interval_of_a_dwell_time_covers_it():
    """A chain that leaves with probability 1/20 dwells 20 on average: 90 % of the intervals say so."""
    matrix = [[0.95, 0.05], [0.1, 0.9]]
    hits = []
    for seed in range(200):
        states = chain(matrix, 10, 100, seed)
        route = counting.by_counting(counting.count(states, clock(states), 2))
        hits.append(bool(route["dwell_low"][0] < 20 < route["dwell_high"][0]))
    assert abs(np.mean(hits) - 0.9) < 5 * math.sqrt(0.09 / 200)


def test_counting_is_blind_to_where_sequences_end():
    """Short sequences censor most visits; the estimate is that of long ones all the same."""
    matrix = [[0.95, 0.05], [0.1, 0.9]]
    states = chain(matrix, 40_000, 8, 1)
    counts = counting.count(states, clock(states), 2)
    exits = counts["exits"].sum("to").values
    dwell = counting.by_counting(counts)["dwell"].values
    assert np.abs(dwell / [20, 10] - 1).max() < 5 / math.sqrt(exits.min())
    complete = counts["visit_duration"].values[(counts["visit_state"] == 0) & (counts["visit_ended"] == 1)].mean()
    assert complete < 6  # what the naive mean of complete visits would say


def test_a_state_never_left_has_no_dwell_time():
    states = np.zeros((3, 10), int)
    route = counting.by_counting(counting.count(states, clock(states), 2))
    assert route["dwell"][0] == np.inf
    assert np.isnan(route["dwell"][1])
    assert 5 < float(route["dwell_low"][0]) < 27


def test_old_and_young_visits_of_a_chain_end_alike_and_of_a_hidden_one_do_not():
    plain = chain([[0.95, 0.05], [0.05, 0.95]], 200, 400, 2)
    hidden = np.minimum(chain([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.0, 0.01, 0.99]], 200, 400, 3), 1)
    rates = []
    for states in (plain, hidden):
        counts = counting.count(states, clock(states), 2)
        young, old = (counts["age_exits"] / counts["age_time"]).values[:, 1]
        rates.append(math.log(old / young))
    assert abs(rates[0]) < 0.15
    assert rates[1] < -1.0


def test_labels_must_fit_the_times():
    with pytest.raises(nld.ShapeError, match=r"labels must be .* got \(1, 2, 5\) for \(2, 4\)"):
        counting.count(np.zeros((2, 5), int), np.zeros((2, 4)), 2)


def test_pairs_of_lagged_states_by_hand():
    states = np.array([[0, 0, 1, 1, 0, 0, 1, -1], [1, 1, 1, 0, 0, 0, 0, 0]])
    counts = counting.count(states, clock(states), 2)
    assert counts["lag"].values.tolist() == [1, 2]
    # No core comes after the seventh of the first sequence.
    assert counts["lagged"].sel(lag=1).values.tolist() == [[6, 2], [2, 3]]
    assert counts["lagged"].sel(lag=2).values.tolist() == [[3, 3], [4, 1]]
    assert counts["overlap"].sel(lag=1).values.tolist() == [[8, 0], [0, 5]]


def test_what_is_between_two_cores_belongs_to_both_by_hand():
    """A B in core, − between: the one visited last, and the one visited next, in sequences of two lengths."""
    states = np.array([[0, -1, 1, -1, -1, 1, 0, 0], [0, -1, 1, 1, 1, 1, 0, -1]])
    times = clock(states).copy()
    times[1, 7] = np.nan
    counts = counting.count(states, times, 2).sel(lag=1)
    assert counts["overlap"].values.tolist() == [[3, 2], [0, 8]]
    assert counts["lagged"].values.tolist() == [[1, 4], [2, 6]]


def test_timescales_of_a_markov_chain_do_not_depend_on_the_lag():
    matrix = np.array([[0.97, 0.02, 0.01], [0.04, 0.95, 0.01], [0.02, 0.02, 0.96]])
    states = chain(matrix, 400, 800, 7)
    route = counting.by_counting(counting.count(states, clock(states, 0.5), 3))
    exact = markov.implied_timescales(matrix, 0.5)
    assert route["lag"].values.tolist() == [1, 2, 4, 8, 16, 32, 64, 128]
    np.testing.assert_allclose(route["implied"].sel(lag=[1, 2, 4, 8, 16]), np.tile(exact, (5, 1)), rtol=0.1)


def test_timescales_of_a_chain_with_a_hidden_state_rise_with_the_lag():
    hidden = np.minimum(chain([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.0, 0.01, 0.99]], 200, 400, 3), 1)
    implied = counting.by_counting(counting.count(hidden, clock(hidden), 2))["implied"].values[:, 0]
    assert implied[3] > 1.5 * implied[0]


def test_irregular_times_have_no_lags():
    states = chain([[0.9, 0.1], [0.2, 0.8]], 3, 50, 1)
    times = clock(states) + 0.2 * np.random.default_rng(0).random(states.shape)
    route = counting.by_counting(counting.count(states, times, 2))
    assert route["implied"].shape == (0, 1)
    assert np.isfinite(route["dwell"]).all()


def test_intervals_of_rates_cover_them():
    matrix = [[0.95, 0.03, 0.02], [0.1, 0.9, 0.0], [0.05, 0.05, 0.9]]
    rate = -np.log(1 - 0.05) * 0.03 / 0.05  # of a chain seen once per unit of time
    hits = []
    for seed in range(200):
        states = chain(matrix, 20, 100, seed)
        route = counting.by_counting(counting.count(states, clock(states), 3))
        hits.append(bool(route["rate_low"][0, 1] < rate < route["rate_high"][0, 1]))
    assert abs(np.mean(hits) - 0.9) < 5 * math.sqrt(0.09 / 200)


def test_passage_times_by_hand():
    """From 0 the chain goes to 1 in 1/2 on average, from 1 back or on to 2: τ₀₂ = 1/2 + τ₁₂ and τ₁₂ = 1/4 + 3/4 τ₀₂."""
    rate = np.array([[np.nan, 2.0, 0.0], [3.0, np.nan, 1.0], [0.0, 5.0, np.nan]])
    passage = markov.passage_times(rate)
    assert passage[0, 1] == pytest.approx(1 / 2)
    assert passage[0, 2] == pytest.approx(3.0)
    assert passage[1, 2] == pytest.approx(2.5)
    assert passage[2, 0] == pytest.approx((1 / 5 + 1 / 4) / (1 - 1 / 4))
    assert np.diag(passage).tolist() == [0.0, 0.0, 0.0]


def test_whoever_may_get_lost_has_no_passage_time():
    """From 0 the chain may end in 2, which is never left: only 1 → 0 is sure."""
    rate = np.array([[np.nan, 1.0, 1.0], [1.0, np.nan, 0.0], [0.0, 0.0, np.nan]])
    passage = markov.passage_times(rate)
    assert passage[1, 0] == pytest.approx(1.0)
    assert np.isinf(passage[[0, 2, 2], [1, 0, 1]]).all()
    assert np.isfinite(passage[:, 2]).all()
    assert np.isinf(markov.passage_times(np.full((2, 2), np.nan))[0, 1])


# Matrices


def test_the_stationary_shares_balance_the_flows():
    rate = np.array([[np.nan, 0.2, 0.1], [0.3, np.nan, 0.4], [0.5, 0.0, np.nan]])
    share = markov.stationary(rate)
    hops = np.nan_to_num(rate)
    assert share.sum() == pytest.approx(1)
    np.testing.assert_allclose(share @ hops, share * hops.sum(-1))
    np.testing.assert_allclose(markov.stationary(np.array([[9.0, 1.0], [3.0, 9.0]])), [0.75, 0.25])


def test_more_than_one_stationary_law_is_none():
    assert np.isnan(markov.stationary(np.array([[9.0, 0.0], [0.0, 9.0]]))).all()
    assert markov.stationary(np.array([[9.0, 2.0], [0.0, 9.0]])).tolist() == [0.0, 1.0]


def test_intervals_of_what_follows_from_all_rates_hold_the_truth_as_often_as_they_say():
    """100 recordings of two states, 20 visits each: 90 of the intervals hold the truth, give or take three errors."""
    truth = {"stationary": [5 / 7, 2 / 7], "relaxation": [1 / 0.7], "passage": [[0.0, 5.0], [2.0, 0.0]]}
    draw, inside = np.random.default_rng(8), []
    empty = counting.count(np.array([[0, 1]]), np.array([[0.0, 1.0]]), 2)
    for _ in range(100):
        spent = draw.exponential([5.0, 2.0], (20, 2)).sum(0)
        counts = empty.assign(exits=(("state", "to"), [[0.0, 20.0], [20.0, 0.0]]), time=("state", spent))
        route = counting.by_counting(counts)
        inside.append([_holds(route, name, value) for name, value in truth.items()])
    for found in zip(*inside, strict=True):
        assert (np.mean(found, 0) > 0.9 - 3 * 0.03).all()
    assert 0.81 < np.mean([found[1] for found in inside]) < 0.99


def test_passages_of_many_chains_are_those_of_each():
    rate = np.random.default_rng(9).exponential(1.0, (4, 5, 5))
    each = np.stack([markov.passage_times(one) for one in rate])
    np.testing.assert_allclose(markov.ergodic_passage_times(rate, markov.stationary(rate)), each, atol=1e-12)


def _holds(route, name, value):
    return (route[f"{name}_low"].values <= value) & (value <= route[f"{name}_high"].values)


def test_nothing_is_said_of_old_visits_that_sequences_are_too_short_for():
    """Visits whose begin is seen are one observation old at most, and the mean dwell is four."""
    labels = np.array([[0, 0, 0, 1, 1], [1, 1, 1, 0, 0]])
    counts = counting.count(labels, np.tile(np.arange(5.0), (2, 1)), 2)
    assert counts["age_time"].values.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    route = counting.by_counting(counts)
    assert np.isnan(route["ageing"]).all()
    assert route["dwell"].values.tolist() == [4.0, 4.0]


def test_a_transition_matrix_and_its_timescales():
    matrix = np.array([[0.97, 0.02, 0.01], [0.04, 0.95, 0.01], [0.02, 0.02, 0.96]])
    states = chain(matrix, 400, 500, 5)
    found = counting.transition_matrix(states, 3)
    error = np.sqrt(matrix * (1 - matrix) / np.bincount(states[:, :-1].ravel())[:, None])
    assert (np.abs(found - matrix) < 5 * error).all()
    times = markov.implied_timescales(matrix, 2.0)
    np.testing.assert_allclose(times, -2 / np.log(np.sort(np.linalg.eigvals(matrix).real)[::-1][1:]))
    later = markov.implied_timescales(counting.transition_matrix(states, 3, lag=5), 10.0)
    np.testing.assert_allclose(later, times, rtol=0.15)


def test_unknown_labels_are_no_transition():
    labels = np.array([[0, -1, 1, 1, -1, 0]])
    assert np.isnan(counting.transition_matrix(labels, 2)[0]).all()
    assert counting.transition_matrix(labels, 2)[1].tolist() == [0.0, 1.0]


def test_relaxation_of_two_states_is_the_sum_of_their_rates():
    rate = np.array([[np.nan, 0.3], [0.1, np.nan]])
    assert markov.relaxation(rate) == pytest.approx([1 / 0.4])
    assert np.isnan(markov.relaxation(np.full((2, 2), np.nan))).all()
