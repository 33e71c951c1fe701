"""Fluctuations whose size changes slowly: regimes that differ in noise alone, which no level tells apart.

The innovation of an observation is what the one before it does not tell, in standard deviations of those that follow
the same value. In a process with one law of noise its size is forgotten as fast as the innovation itself; where the
noise has regimes, large innovations follow large ones for as long as a regime lasts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from .._typing import Array
from .block_means import Recordings

BINS = 20  # of the observation before, by which innovations are standardised
LAGS = (3, 10)  # observations, between which sizes are compared: what is shorter may be the memory of noise
MATTERS = 0.1  # rank correlation of sizes from which on it matters
OCTAVE = 12  # lags from one to twice as many observations
SURE = 5.0  # standard errors above 0
FEWEST, MOST = 1000, 100_000  # observations: below nothing is said, and no more are looked at


class Regimes(NamedTuple):
    """How strongly sizes are remembered, for how many observations, and a large one over a small one."""

    memory: float
    lasts: float
    ratio: float


def regimes(recordings: Recordings) -> Regimes | None:
    """Whether the size of fluctuations changes slowly; None where it does not, or where one cannot tell.

    Parameters
    ----------
    recordings: of one channel, from `block_means.recordings`.

    Examples
    --------
    >>> from pyro_nld.checks.noise_levels import regimes
    >>> draw = np.random.default_rng(0)
    >>> noise = draw.standard_normal(8000)
    >>> regimes([(np.arange(8000.0), noise)]) is None
    True
    >>> found = regimes([(np.arange(8000.0), noise * (1 + 3 * (np.arange(8000) // 100 % 2)))])
    >>> 3 < found.ratio < 5, 20 < found.lasts < 60
    (True, True)
    """
    long = [x[:MOST] for _, x in recordings if len(x) > 2 * LAGS[1]]
    long = [x for x, before in zip(long, np.cumsum([0, *map(len, long)]), strict=False) if before < MOST]
    if sum(map(len, long)) < FEWEST or not np.concatenate(long).std() > 0:
        return None
    series = _innovations(long)
    known = np.concatenate(series)
    count = len(known)
    ranks = scipy.stats.rankdata(np.abs(known)) / count - 0.5
    sizes = np.split(ranks, np.cumsum([len(one) for one in series])[:-1])
    first = [_memory(sizes, lag) - max(0.0, _memory(series, lag)) ** 2 for lag in range(*LAGS)]
    memory = float(np.mean(first))
    if memory < MATTERS or memory * np.sqrt(count / 2) < SURE:
        return None
    lasts = _forgotten(sizes, memory / np.e)
    window = max(LAGS[1], lasts // 2)
    local = [np.convolve(one**2, np.ones(window) / window, "valid") for one in series if len(one) > window]
    if not local:
        return None
    low, high = np.sqrt(np.quantile(np.concatenate(local), (0.1, 0.9)))
    return Regimes(memory, float(lasts), float(high / max(low, 1e-300)))


def _innovations(series: list[Array]) -> list[Array]:
    """Observations, standardised among those that follow the same value."""
    before, after = (np.concatenate([x[side] for x in series]) for side in (slice(None, -1), slice(1, None)))
    place = (scipy.stats.rankdata(before, "min") - 1) * BINS // len(before)
    _, place = np.unique(place, return_inverse=True)
    number = np.bincount(place)

    def mean(values: Array) -> Array:
        return (np.bincount(place, values) / number)[place]

    # a line in every bin, since what a slow series does in a wide one is no noise
    along, found = before - mean(before), after - mean(after)
    found = found - along * mean(along * found) / np.maximum(mean(along**2), 1e-300)
    found = found / np.maximum(np.sqrt(mean(found**2)), 1e-300)
    return np.split(found, np.cumsum([len(x) - 1 for x in series])[:-1])


def _forgotten(sizes: list[Array], little: float) -> int:
    """The lag at which the correlation of sizes is little, as a mean over an octave.

    The size of what oscillates comes and goes within a period, and alone each lag would tell that.
    """
    longest = max(map(len, sizes))
    for lag in np.unique(np.geomspace(LAGS[1] / np.sqrt(2), longest / 2, 100).astype(int)):
        octave = np.unique(np.linspace(lag, 2 * lag, OCTAVE).astype(int)).tolist()
        if np.mean([_memory(sizes, one) for one in octave]) < little:
            return int(np.sqrt(2) * lag)
    return longest


def _memory(series: list[Array], lag: int) -> float:
    """The correlation with what comes so many observations later."""
    one, other = (np.concatenate([x[part] for x in series]) for part in (slice(None, -lag), slice(lag, None)))
    return float(np.corrcoef(one, other)[0, 1]) if len(one) > 1 and one.std() * other.std() > 0 else 0.0
