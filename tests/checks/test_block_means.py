"""Block means, the strength with which they come back, and levels, against what is known of them."""

import numpy as np
import pytest
from signals import autoregressive, telegraph

from pyro_nld.checks import block_means


@pytest.fixture
def draw(seed) -> np.random.Generator:
    return np.random.default_rng(seed)


def one(x):
    return block_means.recordings(x[None], np.arange(float(len(x)))[None])


def test_recordings_drop_what_is_missing_and_join_pieces():
    x = np.array([[1.0, np.nan, 2.0], [3.0, 4.0, np.nan]])
    apart = block_means.recordings(x, np.array([[0.0, 1.0, 2.0], [0.0, 1.0, np.nan]]))
    assert [part[1].tolist() for part in apart] == [[1.0, 2.0], [3.0, 4.0]]
    ((times, values),) = block_means.recordings(x, np.array([[5.0, 6.0, 7.0], [0.0, 1.0, np.nan]]))
    assert times.tolist() == [0.0, 1.0, 5.0, 7.0]
    assert values.tolist() == [3.0, 4.0, 1.0, 2.0]


@pytest.mark.parametrize("time", [50, 100])
def test_coming_back_counts_correlation_times(draw, time):
    """Successive means over b correlation times are correlated by (1 − e⁻ᵇ)²/2(b − 1 + e⁻ᵇ); a mean adds some."""
    found = [block_means.slow(one(autoregressive(draw, 8000, time)[:, 0]), 1e-3).back for _ in range(30)]
    long = 8000 / 128 / time
    expected = 128 * (1 - (1 - np.exp(-long)) ** 2 / 2 / (long - 1 + np.exp(-long)))
    assert expected < np.mean(found) < expected + 8  # 30 of them know it within 1.6


def test_19_of_20_random_walks_stay_below_the_limit(draw):
    found = [block_means.slow(one(draw.standard_normal(2000).cumsum()), 1e-3) for _ in range(200)]
    below = sum(some.back < some.walk for some in found)
    assert 174 <= below < 200  # 190 ± 3.1, five standard errors


def test_levels_and_their_changes(draw):
    x = np.repeat([1.0, 5.0, 1.0, 5.0], [500, 300, 700, 500]) + draw.standard_normal(2000)
    found = block_means.slow(one(x), 1e-3)
    assert found.cause == "few changes"
    assert found.changes == 3
    np.testing.assert_allclose(found.levels, (1, 5), atol=0.2)


def test_a_line_has_its_rise(draw):
    found = block_means.slow(one(np.linspace(2, 7, 1000) + 0.3 * draw.standard_normal(1000)), 1e-3)
    assert found.cause == "trend"
    assert found.rise == pytest.approx(5, abs=0.15)


def test_standard_errors_of_a_drift_are_right_where_observations_are_correlated(draw):
    scores = [block_means.slow(one(autoregressive(draw, 4000, 40)[:, 0]), 1e-3).drift for _ in range(150)]
    assert 0.75 < np.std(scores) < 1.25  # 150 of them know it within 6 %


def test_standard_errors_of_a_trend_are_right_where_observations_are_correlated(draw):
    scores = [block_means.slow(one(autoregressive(draw, 4000, 40)[:, 0]), 1e-3).trend for _ in range(150)]
    assert 0.75 < np.std(scores) < 1.25


def test_thirds_are_the_means_of_thirds(draw):
    x = telegraph(draw, 6000)[0][:, 0]
    found = block_means.slow(one(x), 1e-3)
    np.testing.assert_allclose(found.thirds, (x[:2000].mean(), x[4000:].mean()), atol=0.01)


def test_a_constant_and_a_short_series_say_nothing():
    assert block_means.slow(one(np.ones(1000)), 1e-3) == block_means.Slow()
    assert block_means.slow(one(np.arange(6.0)), 1e-3).cause == ""
