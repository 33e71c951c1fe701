"""Scores of a fit on sequences it may not have seen: which of them tells how good a landscape is?

All are per observed value and higher is better, so that fits of different hypotheses to the same data can be compared.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from ..errors import DataError
from ..results import corrections, replicates
from ..results.fit import Fit
from . import predictive_checks

SCORES = ("elbo", "evidence", "future", "dwell")
"""Held-out ELBO; evidence by particles; evidence of the second half given the first; dwell times of replicates."""


def by_sequence(fit: Fit, data: object, score: str, *, particles: int = 32, seed: int = 0) -> xr.DataArray:
    """Score every sequence of `data` by `elbo`, `evidence` or `future`: `(sequence)`, nats.

    Parameters
    ----------
    fit: a fit. data: sequences with the channels of the fit. particles: paths per sequence, one of them for `elbo`.
    seed: of draws.

    Raises
    ------
    DataError: another score.
    """
    if score == "elbo":
        # the mean log weight of single paths is the ELBO given the globals
        single = [corrections.log_evidence(fit, data, particles=1, draws=1, seed=seed + repeat) for repeat in range(4)]
        return xr.concat(single, "repeat").mean("repeat")
    whole = corrections.log_evidence(fit, data, particles=particles, seed=seed)
    if score == "evidence":
        return whole
    if score == "future":
        half = fit.series(data)[0].shape[1] // 2
        return whole - corrections.log_evidence(fit, data, particles=particles, seed=seed, until=half)
    raise DataError(f"a score by sequence is elbo, evidence or future: got {score}. Choose one.")


def dwell(fit: Fit, data: xr.Dataset, classes: xr.Dataset, *, draws: int = 20, seed: int = 0) -> float:
    """−largest |log ratio| of mean dwell times in replicates and in the data: 0 where the prior holds states right.

    Parameters
    ----------
    fit: a fit. data: sequences to replicate. classes: from `predictive_checks.state_classes`, the same for all fits
        that are compared. draws, seed: of the replicates.
    """
    times, x = fit.series(data)
    made = replicates.from_fit(fit, data, draws=draws, seed=seed).isel(chain=0).values
    observed = predictive_checks.statistics(x.double().numpy(), times.numpy(), classes)
    drawn = [predictive_checks.statistics(one, times.numpy(), classes) for one in made]
    names = [name for name in observed if name.startswith("mean dwell")]
    ratio = [np.log(np.mean([one[name] for one in drawn]) / observed[name]) for name in names]
    return -float(np.abs(ratio).max()) if ratio and torch.isfinite(torch.tensor(ratio)).all() else -np.inf
