"""Block means of recordings, and what is slow in them: a trend, few changes between levels, a random walk, a drift.

Means of long blocks forget noise and what is fast. The slow causes are told apart by comparison with random walks on
the very same blocks: after a straight line, or two or three levels, has been taken away, does the rest come back to its
mean more strongly than what remains of a random walk?
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from .._typing import Array

States = NDArray[np.integer]
Recordings = list[tuple[Array, Array]]
"""Times and values of each recording, without what is missing."""

BLOCKS = 128  # block means in all, from which drifts are read
NARROW = 512  # block means in all, from which levels are read
RECORDINGS = 64  # the longest ones are looked at
FEWEST = 4  # block means in a recording
WALKS = 300  # random walks that the data are compared with
STEPS = 8  # of a random walk in a block
STILL = 0.95  # of the walks come back less than a channel that is none
LEVELS = (2, 3)  # numbers of levels that are tried
SURE = 0.99  # of the walks come back less to such levels, or to a straight line
CHANGES = 10  # between two levels, below which shares and times of states are unknown
FREE = 3.0  # coming back, per change, above which what changes is not all that there is
EXPLAINED = 0.3  # of the variance of block means, by a trend that matters
MOVED = 0.5  # standard deviations, by which a drift matters


class Slow(NamedTuple):
    """What is slow in one channel; `cause` is the first that fits: "trend", "few changes", "walk", "drift", or ""."""

    cause: str = ""
    back: float = np.nan  # how strongly it comes back to its mean
    walk: float = np.nan  # which 95 % of random walks stay below
    changes: int = 0  # between its two levels
    levels: tuple[float, float] = (np.nan, np.nan)
    rise: float = np.nan  # of the straight line, over the longest recording
    trend: float = np.nan  # its slope in standard errors
    drift: float = np.nan  # of the mean from the first third to the last, in standard errors
    thirds: tuple[float, float] = (np.nan, np.nan)


class _Blocks(NamedTuple):
    """Block means `(block,)`: of which recording, when, and where in it, between 0 and 1."""

    value: Array
    time: Array
    recording: States
    place: Array


def recordings(x: Array, times: Array) -> Recordings:
    """Every recording of one channel; pieces that follow one another in time are one recording.

    Parameters
    ----------
    x: `(sequence, time)`, NaN where missing. times: the same shape, NaN after the end of a sequence.

    Examples
    --------
    >>> ((times, values),) = recordings(np.array([[3.0, np.nan], [1.0, 2.0]]), np.array([[5.0, 6.0], [0.0, 1.0]]))
    >>> values.tolist()
    [1.0, 2.0, 3.0]
    """
    seen = np.isfinite(times) & np.isfinite(x)
    pieces = [(time[there], one[there]) for time, one, there in zip(times, x, seen, strict=True) if there.any()]
    pieces.sort(key=lambda piece: float(piece[0][0]))
    if pieces and all(one[0][-1] < other[0][0] for one, other in pairwise(pieces)):
        return [(np.concatenate([time for time, _ in pieces]), np.concatenate([one for _, one in pieces]))]
    return pieces


def slow(series: Recordings, odds: float) -> Slow:
    """The slow cause, if any, why a channel is not stationary.

    Parameters
    ----------
    series: from `recordings`. odds: of a trend or a drift by chance.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal(400)
    >>> slow([(np.arange(400.0), np.repeat([0.0, 5.0], 200) + noise)], 1e-3).cause
    'few changes'
    >>> slow([(np.arange(400.0), np.linspace(0, 5, 400) + noise)], 1e-3).cause
    'trend'
    """
    blocks = _blocks(series, BLOCKS, 2)
    value, recording = blocks.value, blocks.recording
    if len(value) < 2 * FEWEST or not value.std() > 0:
        return Slow()
    time, walks = _centred(blocks.time, recording), _of_walks(_lengths(recording))
    slope = float(time @ value / (time @ time))
    flat = _centred(value, recording) - slope * time
    back, settles = float(_coming_back(value, recording)), _coming_back(flat, recording) > walks.flat
    trend, drift, thirds = _trend(blocks, flat), *_drift(blocks)
    two, high = _two_levels(_blocks(series, NARROW, 1)), _split(value, 2) == 1
    changes = int((high[1:] != high[:-1])[np.diff(recording) == 0].sum())
    levels = float(value[~high].mean()), float(value[high].mean())
    limit = scipy.stats.t.isf(odds / 2, len(value) - 3)
    if (
        settles
        and abs(trend) > limit
        and flat.var() < _around_a_step(blocks)
        and flat.var() < (1 - EXPLAINED) * _centred(value, recording).var()
    ):
        cause = "trend"
    elif two and 0 < changes < CHANGES and back < FREE * CHANGES:
        cause = "few changes"
    elif back < walks.back:
        cause = "walk"
    elif abs(drift) > limit and abs(thirds[1] - thirds[0]) > MOVED * np.concatenate([x for _, x in series]).std():
        cause = "drift"
    else:
        cause = ""
    rise = slope * max(float(when[-1] - when[0]) for when, _ in series)
    return Slow(cause, back, walks.back, changes, levels, rise, trend, drift, thirds)


def _blocks(series: Recordings, blocks: int, size: int) -> _Blocks:
    """About so many block means in all, of at least `size` observations."""
    longest = sorted(series, key=lambda one: -len(one[0]))[:RECORDINGS]
    total = sum(len(time) for time, _ in longest)
    parts = [_Blocks(np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0))]
    for number, (time, x) in enumerate(longest):
        count = min(len(x) // size, max(FEWEST, round(blocks * len(x) / total)))
        if count >= FEWEST:
            edges = np.linspace(0, len(x), count + 1).astype(int)
            value, when = (np.add.reduceat(one, edges[:-1]) / np.diff(edges) for one in (x, time - time[0]))
            parts.append(_Blocks(value, when, np.full(count, number), (np.arange(count) + 0.5) / count))
    return _Blocks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _centred(value: Array, recording: States) -> Array:
    """Without the mean of its recording, `(*batch, block)`."""
    member = (recording[:, None] == np.unique(recording)).astype(float)
    return value - (value @ member / member.sum(0)) @ member.T


def _coming_back(value: Array, recording: States) -> Array:
    """(1 − φ) × blocks per recording, φ the correlation of successive block means about their recording's mean.

    For a stationary process it is about the length of a recording in correlation times; random walks have 3, and 95 %
    of them less than 9.

    References
    ----------
    D. A. Dickey, W. A. Fuller, Journal of the American Statistical Association 74:427, 1979.
    """
    own, same = _centred(value, recording), np.diff(recording) == 0
    before, after = own[..., :-1][..., same], own[..., 1:][..., same]
    lag = (before * after).sum(-1) / np.maximum((before * before).sum(-1), 1e-300)
    return np.asarray((1 - lag) * len(recording) / len(np.unique(recording)))


class _OfWalks(NamedTuple):
    """How strongly random walks come back at most: to their mean in `STILL` of the cases, else in `SURE` of them."""

    back: float  # to their mean
    flat: float  # to a straight line
    levels: tuple[float, ...]  # to so many levels


@lru_cache
def _of_walks(lengths: tuple[int, ...]) -> _OfWalks:
    """What random walks do in recordings of so many blocks; where one recording follows another does not matter."""
    recording = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.random.default_rng(0).standard_normal((WALKS, len(recording) * STEPS))
    walks = steps.cumsum(1).reshape(WALKS, len(recording), STEPS).mean(-1)
    time, own = _centred(np.arange(float(len(recording))), recording), _centred(walks, recording)
    flat = own - np.outer(own @ time / (time @ time), time)
    rest = [_coming_back(walks - _means(walks, _split(walks, count)), recording) for count in LEVELS]
    back = float(np.quantile(_coming_back(walks, recording), STILL))
    line = float(np.quantile(_coming_back(flat, recording), SURE))
    return _OfWalks(back, line, tuple(float(np.quantile(one, SURE)) for one in rest))


def _lengths(recording: States) -> tuple[int, ...]:
    """Blocks of each recording."""
    return tuple(np.unique(recording, return_counts=True)[1].tolist())


# Levels


def _two_levels(blocks: _Blocks) -> bool:
    """Whether the rest comes back to two or three levels more strongly than that of random walks."""
    value, recording = blocks.value, blocks.recording
    rest = [_coming_back(value - _means(value, _split(value, count)), recording) for count in LEVELS]
    return any(mine > theirs for mine, theirs in zip(rest, _of_walks(_lengths(recording)).levels, strict=True))


def _split(value: Array, levels: int) -> States:
    """The level of each of `(*batch, block)`: cut in two where that explains most, then the worse side again."""
    rank = (value > _cut(value, np.ones(value.shape, bool))).astype(int)
    for _ in range(levels - 2):
        apart = np.square(value - _means(value, rank))
        worst = np.stack([(apart * (rank == part)).sum(-1) for part in range(rank.max() + 1)], -1).argmax(-1)
        side = rank == worst[..., None]
        rank = np.where(side & (value > _cut(value, side)), rank.max() + 1, rank)
    return rank


def _cut(value: Array, side: NDArray[np.bool_]) -> Array:
    """The threshold `(*batch, 1)` between two means, among those on a side (N. Otsu, IEEE Trans. SMC 9:62, 1979)."""
    order = np.sort(np.where(side, value, np.inf), -1)
    there = np.isfinite(order)
    filled, total = np.where(there, order, 0.0), np.where(side, value, 0.0).sum(-1, keepdims=True)
    low = np.arange(1, order.shape[-1])
    high = np.maximum(there.sum(-1, keepdims=True) - low, 0)
    left = filled.cumsum(-1)[..., :-1]
    between = np.where(high > 0, (left / low - (total - left) / np.maximum(high, 1)) ** 2 * low * high, -1.0)
    return np.take_along_axis(filled, between.argmax(-1)[..., None], -1)


def _means(value: Array, rank: States) -> Array:
    """The mean of its level, for each of `(*batch, block)`."""
    found = np.zeros(value.shape)
    for part in range(rank.max() + 1):
        on = rank == part
        mean = (value * on).sum(-1, keepdims=True) / np.maximum(on.sum(-1, keepdims=True), 1)
        found = np.where(on, mean, found)
    return found


# Lines and thirds


def _persistence(rest: Array, recording: States, used: int) -> float:
    """φ of what remains when `used` numbers for each recording are fitted, corrected for what the fit takes away."""
    same = np.diff(recording) == 0
    lag = (rest[:-1] * rest[1:])[same].sum() / max((rest[:-1] ** 2)[same].sum(), 1e-300)
    return float(np.clip(lag + (used + (used + 2) * lag) * len(np.unique(recording)) / len(recording), 0.0, 0.98))


def _trend(blocks: _Blocks, flat: Array) -> float:
    """The slope in standard errors, where what remains is autocorrelated (Cochrane and Orcutt, 1949)."""
    lag, same = _persistence(flat, blocks.recording, 2), np.diff(blocks.recording) == 0
    y, u = (_centred(one, blocks.recording) for one in (blocks.value, blocks.time))
    y, u = ((one[1:] - lag * one[:-1])[same] for one in (y, u))
    y, u = y - y.mean(), u - u.mean()
    slope = (u @ y) / (u @ u)
    error = np.sqrt(np.square(y - slope * u).sum() / max(len(y) - 3, 1) / (u @ u))
    return float(slope / max(error, 1e-300))


def _around_a_step(blocks: _Blocks) -> float:
    """The variance that is left about the best single step in time."""
    own = _centred(blocks.value, blocks.recording)[np.argsort(blocks.place, kind="stable")]
    before, total = np.arange(1, len(own)), own.sum()
    left = own.cumsum()[:-1]
    between = (np.square(left) / before + np.square(total - left) / (len(own) - before)) / len(own)
    return float(np.square(own).mean() - between.max())


def _drift(blocks: _Blocks) -> tuple[float, tuple[float, float]]:
    """Last third less first: in standard errors, and both means."""
    third = np.minimum((3 * blocks.place).astype(int), 2)
    means = np.array([blocks.value[third == part].mean() for part in range(3)])
    rest = blocks.value - means[third]
    lag = _persistence(rest, blocks.recording, 3)
    error = rest.var() * (1 + lag) / (1 - lag) * sum(1 / (third == part).sum() for part in (0, 2))
    return float((means[2] - means[0]) / np.sqrt(max(error, 1e-300))), (float(means[0]), float(means[2]))
