"""Regimes that differ in noise alone: found, timed, and not mistaken for what a process with one noise does."""

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter

from pyro_nld.checks.noise_levels import regimes
from pyro_nld.checks.stationarity import examine

LENGTH, SMALL, LARGE = 8000, 0.3, 1.2


def switched(seed, leave=(0.01, 0.02)):
    """Small and large noise about 0; each regime lasts 100 and 50 observations on average."""
    draw, state = np.random.default_rng(seed), np.zeros(LENGTH, int)
    for t in range(1, LENGTH):
        state[t] = state[t - 1] ^ (draw.random() < leave[state[t - 1]])
    return np.where(state, LARGE, SMALL) * draw.standard_normal(LENGTH)


def recording(x):
    return [(np.arange(float(len(x))), x)]


@pytest.mark.parametrize("seed", range(5))
def test_regimes_are_found_with_their_time(seed):
    found = regimes(recording(switched(seed)))
    assert 0.5 * LARGE / SMALL < found.ratio < 1.2 * LARGE / SMALL
    assert 15 < found.lasts < 70  # the chain forgets within 33


@pytest.mark.parametrize("seed", range(3))
def test_what_oscillates_does_not_seem_to_change_within_a_period(seed):
    """An accelerometer at rest and in walking, 500 observations each, with a period of 14: forgotten within 500."""
    states = np.arange(20_000) // 500 % 2
    x = np.where(states, 0.6, 0.02) * np.sin(2 * np.pi * np.arange(20_000) / 14)
    found = regimes(recording(x + 0.05 * np.random.default_rng(seed).standard_normal(20_000)))
    assert 100 < found.lasts < 500


def one_noise(kind, seed):
    draw = np.random.default_rng((seed, 7))
    noise = draw.standard_normal(LENGTH)
    slow = lfilter([0.3], [1, -0.95], noise)
    return {
        "white": noise, "slow": slow, "slow in noise": slow + 0.5 * draw.standard_normal(LENGTH),
        "skewed": np.exp(slow), "alternating": lfilter([1], [1, 0.6], noise), "walk": noise.cumsum(),
        "heavy tails": draw.standard_t(3, LENGTH), "whole numbers": np.round(2 * slow),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["white", "slow", "slow in noise", "skewed", "alternating", "walk", "heavy tails", "whole numbers"]
)
def test_one_law_of_noise_has_no_regimes(kind):
    assert [regimes(recording(one_noise(kind, seed))) for seed in range(5)] == 5 * [None]


def test_little_or_nothing_says_nothing():
    assert regimes(recording(switched(0)[:500])) is None
    assert regimes(recording(np.ones(LENGTH))) is None
    assert regimes([]) is None


def test_it_is_said_where_there_is_one_state():
    x = xr.DataArray(switched(0)[None, :, None], dims=("sequence", "time", "channel"))
    times, one = 0.5 * np.arange(float(LENGTH))[None], np.zeros((1, LENGTH), int)
    found = examine(x, times, one, "s")
    assert found.attrs["causes"] == "changing noise"
    assert "times as large for about" in found.attrs["message"]
    assert " s: regimes that differ in noise and not in level" in found.attrs["message"]
    assert examine(x, times).attrs["causes"] == ""  # who has not looked for states may find that they explain it
    two = np.arange(LENGTH)[None] // 100 % 2
    assert "changing noise" not in examine(x, times, two).attrs["causes"]
