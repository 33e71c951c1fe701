"""Which state is the system in, when, and how sure: P(state at t | data) from posterior paths."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import Count, FitError, Share, Whole, checked
from ..fitting.posterior import DRAWS
from ..io.matching import dates_of
from ..io.series import dataset_times
from ..kinetics import most_probable
from .fit import Fit
from .naming import named


@partial(checked, error=FitError)
def segment(
    fit: Fit,
    data: object = None,
    *,
    draws: Count = DRAWS,
    online: bool = False,
    wells: xr.Dataset | None = None,
    sure: Share = 0.5,
    seed: Whole = 0,
) -> xr.Dataset:
    """P(state = k at t | data) = share of posterior path draws that are in state k at t.

    A path that turns back before it reaches the core of another state stays where it was; see `Fit.probability`. Where
    there is no landscape, a state is what the force at rest leads to one stable point, see `attractors`.

    Parameters
    ----------
    fit: a fitted model and guide.
    data: what to segment (Dataset or `(times, x)`); the data of the fit when None.
    draws: posterior draws per sequence.
    online: insist on probabilities that use the past and present alone: needs a causal encoder.
    wells: the states, from `fit.wells()`, `fit.attractors()` or `landscape.minima`; found when None.
    sure: label -1 (undecided) where the most probable state has less than this probability.
    seed: of the draws.

    Returns
    -------
    Dataset with `probability (sequence, time, state)`, `label (sequence, time)` (-1: undecided, or after the end of the
    sequence), `times (sequence, time)`; names, units and dates of the data, see `naming`; attrs `online`, `draws`.

    Raises
    ------
    FitError: `online` with an encoder that sees the future; no state was found.

    Examples
    --------
    In one harmonic well every observation is in its one state:

    >>> _ = torch.manual_seed(0)
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=4, steps=10)
    >>> motion = nld.OverdampedLangevin(nld.Quadratic([1.0]))
    >>> model = nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1), 0.1), substeps=2)
    >>> fit = nld.Fit(model, nld.AmortizedGuide(model, nld.GRUEncoder(1)), *nld.as_tensors(data))
    >>> found = nld.segment(fit, draws=2)
    >>> found["label"].values.max().item(), found["probability"].values.min().item()
    (0, 1.0)
    """
    causal = fit.guide.encoder.causal
    if online and not causal:
        raise FitError(
            "online segmentation needs an encoder that sees the past alone: this fit's is two-sided. "
            "Fit again with causal=True in the encoder, or segment without online."
        )
    wells = fit.states(seed=seed) if wells is None else wells
    probability = fit.probability(wells, data, draws, seed)
    found = xr.Dataset(
        {
            "probability": (("sequence", "time", "state"), probability),
            "label": (("sequence", "time"), most_probable(probability, sure)),
            "times": (("sequence", "time"), fit.series(data)[0].numpy()),
        },
        attrs={"online": int(causal), "draws": draws},
    )
    return named(found, fit.labels(data))


def tabulated(segments: xr.Dataset, data: xr.Dataset) -> pd.DataFrame:
    """One row per observation: sequence, time, state (empty where undecided), probability_0, probability_1, …

    Where the times count from a date, the date stands behind the time.

    Parameters
    ----------
    segments: from `segment`.
    data: what was segmented: its sequences' names, those of the recordings where they are pieces (`datasets.cut`).
    """
    length = segments.sizes["time"]
    name = "recording" if "recording" in data.coords else "sequence"
    names = data[name].values if name in data.coords else np.arange(segments.sizes["sequence"])
    label = segments["label"].values.ravel()
    times = segments["times"].values
    if "times" in data or "time" in data.coords:  # with all the digits that were given
        times = np.where(np.isnan(times), np.nan, dataset_times(data))
    columns: dict[str, object] = {"sequence": np.repeat(names, length), "time": times.ravel()}
    if (dates := dates_of(data, times)) is not None:
        columns["date"] = dates.ravel()
    columns["state"] = pd.Series(label, dtype="Int64").mask(label < 0)
    shares = segments["probability"].values.reshape(len(label), -1)
    columns |= {f"probability_{state}": share for state, share in enumerate(shares.T)}
    rows = pd.DataFrame(columns)
    return rows[rows["time"].notna()].reset_index(drop=True)
