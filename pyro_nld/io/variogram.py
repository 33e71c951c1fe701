"""The variogram of a series, and its nugget: how much of a channel is noise, before anything is fitted."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .._typing import Series, Times
from .series import as_tensors, channel_moments


def nugget(data: object) -> Float[Tensor, "channel"]:
    """√γ(0), where γ(h) = ½ E (x(t+h) − x(t))² is extrapolated to h = 0 along a straight line: the noise of a channel.

    What changes steadily contributes nothing at h = 0; what is drawn anew at every observation stays. γ is estimated at
    the first two lags. For a jump process and white noise the line is exact to first order in h. Where a channel
    forgets within few observations, it is an estimate on the low side.

    Parameters
    ----------
    data: whatever `as_tensors` takes.

    Returns
    -------
    `(channel,)`, in standard deviations of the channel, between 0 and 1. Where the second lag is missing, √γ at the
    first; where both are, 0.

    References
    ----------
    N. A. C. Cressie, Statistics for Spatial Data, 1993, §2.4.

    Examples
    --------
    A harmonic well, whose variance is 1, seen with noise of 0.5:

    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=200, steps=200, interval=0.05, noise=0.5)
    >>> round(nld.io.nugget(data).item(), 1), round((0.5**2 / (1 + 0.5**2)) ** 0.5, 1)
    (0.4, 0.4)
    """
    times, x = as_tensors(data, whole=False)
    times = times.expand(x.shape[:2])
    lags, values = zip(*(_half_mean_square(times, x, lag) for lag in (1, 2)), strict=True)
    slope = (values[1] - values[0]) / (lags[1] - lags[0])
    line = values[0] - torch.where(slope.isfinite(), slope, 0.0) * lags[0].nan_to_num()
    return (line.nan_to_num().clamp(min=0).sqrt() / channel_moments(x)[1]).clamp(max=1)


def _half_mean_square(times: Times, x: Series, lag: int) -> tuple[Tensor, Tensor]:
    """Mean lag and γ there, `(channel,)` each; NaN without a pair."""
    apart, change = (times[:, lag:] - times[:, :-lag]).unsqueeze(-1), x[:, lag:] - x[:, :-lag]
    seen = change.isfinite() & apart.isfinite()
    count = seen.sum((0, 1))
    mean_lag = torch.where(seen, apart, 0.0).sum((0, 1)) / count
    return mean_lag, torch.where(seen, change.square(), 0.0).sum((0, 1)) / count / 2
