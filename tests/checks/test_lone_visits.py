"""A lone visit: found where it is, and nowhere in series that come back."""

import numpy as np
import pytest
from signals import autoregressive, telegraph

from pyro_nld.checks.lone_visits import lone_visit


@pytest.mark.parametrize("first", [1000, 5500])
@pytest.mark.parametrize("number", [100, 300])
def test_a_visit_is_found_to_the_observation(seed, first, number):
    """On a plane, beside two states that exchange; no single channel has it outside the others' range."""
    draw = np.random.default_rng(seed)
    x = np.concatenate([telegraph(draw, 6000, (80.0, 40.0), noise=0.0)[0]] * 2, 1)
    x += 0.1 * draw.standard_normal(x.shape)
    x[first : first + number] = [0.0, 1.0] + 0.1 * draw.standard_normal((number, 2))
    found = lone_visit(x)
    assert found is not None
    assert abs(found.first - first) <= 1
    assert abs(found.last - (first + number - 1)) <= 1
    assert found.number >= 0.95 * number
    np.testing.assert_allclose(found.inside, [0.0, 1.0], atol=0.1)


def test_twice_is_not_once(seed):
    draw = np.random.default_rng(seed)
    x = 0.2 * draw.standard_normal((6000, 1))
    x[1000:1100] += 3
    assert lone_visit(x) is not None
    x[4000:4100] += 3
    assert lone_visit(x) is None


@pytest.mark.parametrize("time", [1, 10, 100])
def test_series_that_come_back_have_none(seed, time):
    draw = np.random.default_rng(seed)
    for _ in range(10):
        x = autoregressive(draw, 4000, time)
        assert lone_visit(x) is None
        assert lone_visit(np.exp(x)) is None


def test_missing_values_and_few_observations_are_borne(seed):
    draw = np.random.default_rng(seed)
    x = 0.2 * draw.standard_normal((5000, 2))
    x[2000:2100] += 3
    x[:500, 1] = np.nan
    assert lone_visit(x).first == 2000
    assert lone_visit(x[1950:2150]) is None
    assert lone_visit(np.full((5000, 2), np.nan)) is None
