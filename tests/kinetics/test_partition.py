"""Cells, pairs and slow functions against what is known of Gaussian pairs and of reversible chains."""

import numpy as np
import pytest
from signals import autoregressive, telegraph

from pyro_nld.kinetics import implied_timescales, partition


@pytest.fixture
def draw(seed) -> np.random.Generator:
    return np.random.default_rng(seed)


def series(x, times=None):
    times = np.arange(float(len(x)))[None] if times is None else times
    return partition.Series(x[None], times, partition.step_of(times), partition.lags_of(times))


def test_every_observation_is_in_the_cell_of_the_nearest_centre(draw):
    x = np.concatenate([draw.normal(centre, 0.01, (100, 2)) for centre in ([0, 0], [0, 9], [9, 0], [9, 9])])
    there = np.ones((1, 400), bool)
    there[0, :3] = False
    cell = partition.cells_of(x[None], there, seed=0)
    assert cell[0, :3].tolist() == [-1] * 3
    sets = [set(cell[0, max(start, 3) : start + 100]) for start in range(0, 400, 100)]
    assert not set.intersection(*sets)
    assert cell.max() + 1 == 397 // partition.POINTS


def test_pairs_by_hand():
    times = np.array([[0.0, 1.0, 2.0, 9.0, 10.0, np.nan], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
    there = np.isfinite(times)
    there[1, 2] = False
    begin, end = partition.Series(np.zeros((2, 6, 1)), times, 1.0, [1]).pairs(there, 1)
    assert begin.tolist() == [0, 1, 3, 6, 9, 10]  # none from 2 to 9, none to what is not there
    assert (end - begin == 1).all()


def test_pairs_of_a_gaussian_process_have_geometric_correlations(draw):
    x = autoregressive(draw, 40_000, 10)
    one = series(x)
    there = np.ones((1, len(x)), bool)
    cell = partition.cells_of(one.positions, there, 0).ravel()
    begin, end = one.pairs(there, 4)
    values = np.linalg.eigvalsh(partition.whitened(partition.both_ways(cell[begin], cell[end], int(cell.max()) + 1))[0])
    expected = np.exp(-0.4 * np.arange(1, 4))
    np.testing.assert_allclose(np.sort(values)[::-1][:3], expected, atol=0.04)


def test_the_slowest_function_of_a_gaussian_process_is_its_coordinate(draw):
    x = autoregressive(draw, 40_000, 10)
    one = series(x)
    there = np.ones((1, len(x)), bool)
    cell = partition.cells_of(one.positions, there, 0).ravel()
    begin, end = one.pairs(there, 4)
    function = partition.slowest(partition.both_ways(cell[begin], cell[end], int(cell.max()) + 1))[:, 0]
    assert abs(np.corrcoef(function[cell], x[:, 0])[0, 1]) > 0.97


def test_timescales_of_labels_are_those_of_their_reversible_chain(draw):
    x, states = telegraph(draw, 5000)
    found = partition.timescales(series(x), states[None], 0)
    counts = partition.both_ways(states[:-1], states[1:], 2)
    expected = implied_timescales(counts / counts.sum(1, keepdims=True), 1.0)
    np.testing.assert_allclose(found["states"][1][0], expected, rtol=1e-8)
    assert found["carried"][1][:3, 0].min() > 0.98


def test_a_handful_of_observations_has_no_timescales():
    found = partition.timescales(series(np.arange(40.0)[:, None]), np.zeros((1, 40), int), 0)
    assert np.isnan(found["partition"][1]).all()
