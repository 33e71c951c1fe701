"""A line in the spectrum of a channel: what repeats with a fixed period rolls down no landscape."""

from __future__ import annotations

import numpy as np

from .block_means import Recordings

CYCLES = 5  # in a recording, from which on a period can be told
BESIDE = (3, 10)  # frequencies from a spectral line, that it is compared with
LINE = 0.1  # of the variance, in a line that matters


def period(recordings: Recordings, step: float, odds: float) -> float:
    """The period of a spectral line in the longest recording at regular times; NaN where there is none.

    Parameters
    ----------
    recordings: of one channel, from `block_means.recordings`. step: the usual observation interval.
    odds: of a false alarm.

    Examples
    --------
    >>> from pyro_nld.checks.periods import period
    >>> times = np.arange(1000.0)
    >>> noise = np.random.default_rng(0).standard_normal(1000)
    >>> round(period([(times, np.sin(2 * np.pi * times / 25) + noise)], step=1.0, odds=0.001), 1)
    25.0
    """
    time, x = max(recordings, key=lambda one: len(one[0]), default=(np.zeros(0), np.zeros(0)))
    place = np.round((time - time[:1]) / step).astype(int)
    near, far = BESIDE
    if len(x) < 64 or np.abs(np.diff(time) / step - np.diff(place)).max() > 0.1 or place[-1] > 2 * len(x):
        return np.nan
    evenly = np.zeros(place[-1] + 1)
    evenly[place] = x - x.mean()
    power = np.abs(np.fft.rfft(evenly * np.hanning(len(evenly)))) ** 2
    beside = np.concatenate([-np.arange(near, far + 1), np.arange(near, far + 1)])
    at = np.arange(CYCLES, len(power) - far)
    around = power[np.maximum(at[:, None] + beside, 1)]
    # a mean of m exponential ordinates: P(power > r × mean) = (1 + r/m)^−m; the taper makes neighbours one of two
    count = len(beside) / 2
    chance = -count * np.log1p(power[at] / around.mean(1) / count)
    best = int(chance.argmin())
    share = power[at[best] - 1 : at[best] + 2].sum() / power[1:].sum()
    line = chance[best] < np.log(odds / len(at)) and share > LINE
    return float(len(evenly) * step / at[best]) if line else np.nan
