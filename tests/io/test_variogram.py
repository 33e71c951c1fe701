"""The nugget of a variogram: known for white noise, for a jump process in noise, and for what is seen exactly."""

from __future__ import annotations

import numpy as np
import pytest

import pyro_nld as nld

FRAMES = 20_000


def telegraph(draw: np.random.Generator) -> np.ndarray:
    """±1, changing with probability 1/50 a step."""
    return 1.0 - 2.0 * (np.cumsum(draw.random(FRAMES) < 0.02) % 2)


@pytest.fixture
def draw(seed):
    return np.random.default_rng(seed)


def found(x: np.ndarray, times: np.ndarray | None = None) -> float:
    clock = np.arange(float(len(x))) if times is None else times
    return nld.io.nugget(nld.io.from_arrays(clock, x[None, :, None])).item()


def test_noise_on_a_jump_process_is_found(draw):
    noisy = telegraph(draw) + 0.4 * draw.standard_normal(FRAMES)
    # γ₁ has a relative standard error of about √(3/n): the noise is known to a percent
    assert found(noisy) * noisy.std() == pytest.approx(0.4, rel=0.1)
    assert found(100 * noisy - 7) == pytest.approx(found(noisy), rel=1e-4)


def test_noise_alone_is_all_noise_and_a_walk_has_none(draw):
    assert found(draw.standard_normal(FRAMES)) > 0.95
    assert found(np.cumsum(draw.standard_normal(FRAMES))) < 0.05


def test_gaps_do_not_count(draw):
    """Values that are missing, and times that are irregular: the line is drawn over time, not over rows."""
    times = np.cumsum(draw.choice([0.5, 2.0], FRAMES))
    walk = np.cumsum(draw.standard_normal(FRAMES) * np.sqrt(np.diff(times, prepend=0.0)))
    noisy = np.where(draw.random(FRAMES) < 0.1, np.nan, walk + 2.0 * draw.standard_normal(FRAMES))
    assert found(noisy, times) * np.nanstd(noisy) == pytest.approx(2.0, rel=0.1)


def test_what_is_too_short_has_no_noise():
    assert nld.io.nugget([np.array([[1.0], [3.0]])] * 3).item() <= 1.0
