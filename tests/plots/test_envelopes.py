"""Columns hold every observation, and visits are counted by hand."""

import numpy as np
import pytest

from pyro_nld.plots import envelopes


def test_visits_are_runs_of_one_state():
    label = np.array([-1, 0, 0, -1, 0, 1, -1, -1, 1, 2])
    found = envelopes.visits(label, np.arange(10.0))
    assert found == [(0, 1, 5), (1, 5, 9), (2, 9, 10)]


def test_a_pause_ends_a_visit():
    times = np.array([0.0, 1, 2, 3, 13, 14, 15, 16])
    label = np.array([0, 0, 0, 0, -1, 0, 0, 0])
    assert envelopes.visits(label, times) == [(0, 0, 4), (0, 5, 8)]
    assert envelopes.visits(label, np.arange(8.0)) == [(0, 0, 8)]
    assert envelopes.ends(times).tolist() == [1, 2, 3, 4, 14, 15, 16, 17]


def test_a_column_for_each_observation_while_they_are_few():
    times = np.array([0.0, 1, 2, 30, 31])
    found = envelopes.columns(times, 100)
    assert found.edges.tolist() == [0, 1, 2, 3, 30, 31, 32]
    assert found.column.tolist() == [0, 1, 2, 4, 5]
    assert found.mean(times[:, None])[:, 0] == pytest.approx([0, 1, 2, np.nan, 30, 31], nan_ok=True)


def test_columns_keep_extremes_and_means(seed):
    draw = np.random.default_rng(seed)
    times, values = np.arange(10_000.0), draw.standard_normal(10_000)
    values[draw.random(10_000) < 0.1] = np.nan
    among = draw.random(10_000) < 0.3
    found = envelopes.columns(times, 100)
    parts = values.reshape(100, 100)
    np.testing.assert_allclose(found.mean(values[:, None])[:, 0], np.nanmean(parts, -1))
    low, high = found.range(values, among)
    chosen = np.where(among, values, np.nan).reshape(100, 100)
    np.testing.assert_array_equal(low, np.nanmin(chosen, -1))
    np.testing.assert_array_equal(high, np.nanmax(chosen, -1))
    one = np.zeros(10_000, bool)
    one[4321] = True
    assert np.flatnonzero(found.holds(one)).tolist() == [43]


def test_slow_sampling_leaves_no_holes_and_a_pause_does():
    """Ten slow observations among many fast ones fill their columns, in which only some of them begin."""
    fast, slow = np.arange(900.0), 900 + 9.0 * np.arange(50)
    times = np.concatenate([fast, slow, [3000.0]])
    found = envelopes.columns(times, 750)
    held = found.mean(times[:, None])[:, 0]
    centres = found.centres
    assert np.isfinite(held[centres < 1340]).all()
    assert np.isnan(held[(centres > 1352) & (centres < 2990)]).all()
    assert (np.abs(held - centres)[centres < 1340] < 9 + 4).all()
