"""The history of a fit, and whether the bound has stopped rising in it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from torch import Tensor

from .._typing import Array
from ..errors import DoubtfulFitWarning
from .elbo import TERMS

COLUMNS = ("loss", *TERMS, "gradient_norm", "learning_rate", "seconds")
LATE_GAIN = (0.005, 0.02)  # share of the whole rise of the ELBO that is gained late: doubtful, and bad
FEWEST_STEPS = 100  # below which noise hides any rise
RISE_SIGMAS = 3.3  # standard errors of a rise that is not chance: about one false alarm in a thousand
RESTART = 1.5  # factor by which the learning rate jumps where another round begins


class Rise(NamedTuple):
    """What the bound gained late, its standard error, and the whole rise; nats per observed value."""

    gain: float
    error: float
    whole: float

    @property
    def goes_on(self) -> bool:
        """Whether the gain is more than chance and more than a two hundredth of the whole."""
        return self.gain > max(RISE_SIGMAS * self.error, LATE_GAIN[0] * self.whole)


def history_dataset(history: Tensor) -> xr.Dataset:
    """A history tensor `(step, column)` with its columns named."""
    columns = {name: ("step", column.numpy()) for name, column in zip(COLUMNS, history.unbind(-1), strict=True)}
    return xr.Dataset(columns, coords={"step": range(len(history))})


def best_run(runs: Sequence[dict]) -> int:
    """The number of the run with the highest ELBO among `Fit.runs`."""
    return int(np.nan_to_num([run["elbo"] for run in runs], nan=-np.inf, posinf=-np.inf).argmax())


def late_rise(history: xr.Dataset) -> Rise:
    """Mean bound of the last quarter of the steps minus that of the quarter before, without the trend in the noise.

    After another round of the schedule (see `Schedule.settle`) the last quarter of it is compared with the end of the
    round before, where the learning rate was as low. Fewer than 100 steps say nothing, and give zeros.

    Parameters
    ----------
    history: `Fit.history`, per observed value, by `step`. Steps that are not finite are left out.
    """
    elbo, rate = bound(history), history["learning_rate"].values
    elbo, rate = elbo[np.isfinite(elbo)], rate[np.isfinite(elbo)]
    if len(elbo) < FEWEST_STEPS:
        return Rise(0.0, 0.0, 0.0)
    again = np.flatnonzero(rate[1:] > RESTART * rate[:-1]) + 1
    again = again[again > len(elbo) // 2]  # the warm-up is no other round
    width = max(4, (len(elbo) - (again[-1] if len(again) else 0)) // 4)
    end = again[-1] if len(again) else len(elbo) - width
    early, late = elbo[end - width : end], elbo[-width:]
    gain = float(late.mean() - early.mean())
    trend = (0.0 if len(again) else gain / width) * np.arange(width)
    start = elbo[: max(4, len(elbo) // 20)].mean()
    return Rise(gain, float(np.hypot(_error(early - trend), _error(late - trend))), float(late.mean() - start))


def bound(history: xr.Dataset) -> Array:
    """The ELBO by step, of full weight; nats per observed value."""
    return (history["log_likelihood"] - history["path_kl"] - history["initial_kl"] - history["global_kl"]).values


def settled(history: Tensor) -> bool:
    """Whether the bound does not rise any more, by a history tensor `(step, column)`."""
    return not late_rise(history_dataset(history)).goes_on


def say_rise(history: Tensor) -> None:
    """Warn where the bound still rises at the end of a history `(step, column)`.

    Warns
    -----
    DoubtfulFitWarning: it does.
    """
    rise = late_rise(history_dataset(history))
    if rise.goes_on:
        warnings.warn(
            f"the bound has not settled: it gained {rise.gain:.4f} ± {rise.error:.4f} nats per observed value at the "
            f"end of {len(history)} steps. Give it more: --budget full, or a Schedule of more steps.",
            DoubtfulFitWarning,
            stacklevel=4,
        )


def _error(values: Array, batches: int = 4) -> float:
    """Standard error of a mean of dependent values, from the means of a few batches."""
    return float(np.std([part.mean() for part in np.array_split(values, batches)], ddof=1) / np.sqrt(batches))
