"""Visits: recordings put together, paths with hysteresis, runs of labels, all by hand."""

import numpy as np
import pytest
from chains import chain, clock

from pyro_nld import kinetics
from pyro_nld.kinetics.visits import joined, levels, most_probable, parted, recordings, state_paths, visits

NAN = np.nan
TIMES = np.array([[0.0, 1, 2, 3], [4.0, 5, NAN, NAN], [0.0, 1, 2, NAN], [9.0, 10, 11, 12]])


def test_pieces_of_a_recording_go_on_where_they_were_cut():
    order = recordings(TIMES)
    assert order.tolist() == [[0, 1, 2, 3, 4, 5], [8, 9, 10, -1, -1, -1], [12, 13, 14, 15, -1, -1]]
    long = joined(TIMES, order)
    assert long[0].tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(parted(long, order, TIMES.shape), TIMES)
    labels = np.arange(32).reshape(2, 4, 4)
    back = parted(joined(labels, order, -1), order, TIMES.shape, -1)
    assert (back == np.where(np.isnan(TIMES), -1, labels)).all()


def test_sequences_that_begin_anew_are_recordings_of_their_own():
    assert recordings(np.tile(np.arange(5.0), (3, 1))).shape == (3, 5)
    assert recordings(np.arange(6.0).reshape(2, 3)).shape == (1, 6)
    assert recordings(np.array([[0.0, 1, 2], [6.0, 7, 8]])).shape == (2, 3)  # a pause


def held(*first):
    """Memberships of two states, from those of the first."""
    return np.stack([np.array(first), 1 - np.array(first)], -1)


@pytest.mark.parametrize(
    ("first", "ahead"),
    [
        ([1, 0.6, 0.4, 0.6, 1], [0, 0, 0, 0, 0]),  # it turned back
        ([1, 0.6, 0.4, 0.2, 0], [0, 0, 1, 1, 1]),
        ([1, 0.4, 0.6, 0.2, 0], [0, 0, 0, 1, 1]),  # where it left the other side for good
        ([0.4, 0.6, 0.2, 0, 1], [1, 1, 1, 1, 0]),  # before the first core
        ([0.4, 1, 0.2, NAN, NAN], [0, 0, 0, -1, -1]),
        ([1, 0, 1, 0, 0.5], [0, 1, 0, 1, 1]),
        ([0.6, 0.5, 0.4], [-1, -1, -1]),
    ],
)
def test_a_path_changes_its_state_when_it_gets_to_a_core(first, ahead):
    assert state_paths(held(*first)).tolist() == ahead


def test_visits_by_hand():
    labels = np.array([[0, 0, 1, 1], [1, 0, -1, -1], [-1, 1, 1, -1], [0, 0, -1, 0]])
    found = visits(labels, TIMES, 3)
    assert found["visits"].values.tolist() == [3, 2, 0]
    # state 0: 2 (ended), 0 and 3 cut short; state 1: 3 (ended), 1 cut short
    assert found["visit_mean"].values[:2].tolist() == [5.0, 4.0]
    assert found["visit_longest"].values.tolist() == [3.0, 3.0, 0.0]
    assert found["visit_median"].values[:2].tolist() == [2.0, 3.0]
    assert found["time_share"].values.tolist() == [5 / 9, 4 / 9, 0]
    assert np.isnan(found["visit_mean"].values[2])
    assert found["visit_mean_low"][0] < 5 < found["visit_mean_high"][0]


def test_a_state_never_left_has_no_mean():
    found = visits(np.zeros((2, 10), int), np.tile(np.arange(10.0), (2, 1)), 1)
    assert np.isnan(found["visit_mean"][0])
    assert np.isnan(found["visit_median"][0])
    assert np.isnan(found["visit_mean_high"][0])
    assert float(found["visit_mean_low"][0]) == pytest.approx(2 * 18 / 3.841, rel=1e-3)
    assert found["visits"].item() == 2


def test_nothing_decided_is_no_visit():
    found = visits(np.full((2, 4), -1), np.tile(np.arange(4.0), (2, 1)), 2)
    assert found["visits"].values.tolist() == found["time_share"].values.tolist() == [0, 0]


def test_visits_are_what_counting_says():
    """Runs of labels and core counts of the same labels are one: a mean is a dwell time."""
    states = chain([[0.95, 0.05], [0.1, 0.9]], 20, 500, 2)
    found, route = visits(states, clock(states), 2), kinetics.by_counting(kinetics.count(states, clock(states), 2))
    for name, other in (("visit_mean", "dwell"), ("visit_mean_low", "dwell_low"), ("visit_mean_high", "dwell_high")):
        np.testing.assert_allclose(found[name], route[other])
    median = np.log(0.5) / np.log([0.95, 0.9])
    np.testing.assert_allclose(found["visit_median"], median, rtol=0.15)


def test_a_label_needs_some_probability():
    share = np.array([[0.6, 0.4], [0.5, 0.5], [NAN, NAN], [0.0, 0.0]])
    assert most_probable(share).tolist() == [0, 0, -1, -1]
    assert most_probable(share, 0.55).tolist() == [0, -1, -1, -1]


def test_levels_are_the_means_of_the_rows_of_a_state():
    """What is undecided or missing does not count; a state without rows has no level."""
    x = np.array([[[1.0, 5.0], [3.0, np.nan], [9.0, 9.0]], [[10.0, 1.0], [20.0, 3.0], [np.nan, 8.0]]])
    labels = np.array([[0, 0, -1], [1, 1, 1]])
    np.testing.assert_array_equal(levels(labels, x, 3), [[2.0, 5.0], [15.0, 4.0], [np.nan, np.nan]])
