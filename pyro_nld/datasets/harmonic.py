"""The Ornstein–Uhlenbeck process, observed with noise: everything about it is known in closed form."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._typing import Numbers
from ..errors import PriorError, ShapeError
from ..io.series import from_arrays
from .oracles import ornstein_uhlenbeck_chain
from .switching import DRAW_STREAM, require_counts


def ornstein_uhlenbeck(
    sequences: int = 100,
    steps: int = 100,
    seed: int = 0,
    *,
    rate: Numbers = 1.0,
    temperature: float = 1.0,
    noise: float = 0.1,
    interval: Numbers = 0.1,
) -> xr.Dataset:
    """dz = −k z dt + √(2T) dW, observed as x = z + noise·ξ. The draws are exact, from the stationary law N(0, T/k) on.

    This is overdamped Langevin dynamics in U = k z²/2 with friction 1 and an identity decoder.

    Parameters
    ----------
    sequences: number of sequences.
    steps: number of observations in each.
    seed: of path and noise.
    rate: k > 0, 1/time; one number per axis. temperature: T > 0, length²/time. noise: standard deviation > 0, length.
    interval: time between observations > 0; one number, or one for each of the `steps - 1` intervals.

    Returns
    -------
    Dataset with the truths path(sequence, time, channel), rate(channel), temperature, noise. The exact evidence and
    smoother of it are given by `oracles.ornstein_uhlenbeck_posterior`.

    Raises
    ------
    PriorError: a quantity is not positive. ShapeError: the number of intervals is wrong.

    Examples
    --------
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=1000, steps=2, rate=4.0, temperature=1.0)
    >>> round(float(data["path"].var()), 2)  # T/k
    0.25
    """
    require_counts(sequences, steps)
    _require_positive(rate=rate, temperature=temperature, noise=noise, interval=interval)
    if np.ndim(interval) and np.shape(interval) != (steps - 1,):
        raise ShapeError(f"interval must be a number or {steps - 1} numbers: got shape {np.shape(interval)}. Count it.")
    times = np.concatenate([[0.0], np.broadcast_to(interval, (steps - 1,)).cumsum()])
    chain = ornstein_uhlenbeck_chain(times, rate, temperature, noise)
    decay, kick = (np.diagonal(part, axis1=-2, axis2=-1) for part in (chain.transition, np.sqrt(chain.noise)))
    random = np.random.default_rng((DRAW_STREAM, seed))
    path = random.standard_normal((sequences, steps, decay.shape[-1]))
    path[:, 0] *= np.sqrt(np.diagonal(chain.covariance))
    for k in range(steps - 1):
        path[:, k + 1] = decay[k] * path[:, k] + kick[k] * path[:, k + 1]
    return (
        from_arrays(times, path + noise * random.standard_normal(path.shape))
        .assign(
            path=(("sequence", "time", "channel"), path),
            rate=("channel", np.atleast_1d(np.asarray(rate, float))),
            temperature=float(temperature),
            noise=float(noise),
        )
        .assign_attrs(description="Ornstein–Uhlenbeck process observed with Gaussian noise", seed=seed)
    )


def _require_positive(**quantities: Numbers) -> None:
    for name, value in quantities.items():
        values = np.asarray(value, float)
        if not (values > 0).all() or not np.isfinite(values).all():
            raise PriorError(f"{name} must be positive: got {values.tolist()}. Give a number above zero.")
