"""Predictive scores of a fit, on sequences that it may not have been fitted to. Higher is better.

They are used to compare fits of different hypotheses to the same data.

Examples
--------
The evidence of a harmonic well in noise, which Kalman's filter gives exactly; the ELBO is below:

>>> _ = torch.manual_seed(1)
>>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=3, interval=0.5, noise=1.0)
>>> motion = nld.OverdampedLangevin(nld.Quadratic([1.0]))
>>> likelihood = nld.Gaussian(nld.IdentityDecoder(1), 1.0)
>>> model = nld.LatentLangevin(motion, likelihood, substeps=4, time_unit=1.0, start="equilibrium")
>>> fit = nld.fit(model, nld.AmortizedGuide(model, nld.GRUEncoder(1)), data, nld.Schedule(steps=5), progress=False)
>>> elbo, evidence = (nld.scores.by_sequence(fit, data, name, particles=500) for name in ("elbo", "evidence"))
>>> exact = nld.oracles.ornstein_uhlenbeck_posterior(data)["log_evidence"]
>>> bool(elbo.mean() < evidence.mean()), round(float(evidence.mean()), 1), round(float(exact.mean()), 1)
(True, -4.6, -4.6)
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
"""ELBO; evidence by particles; evidence of the second half given the first; dwell times of replicates."""


def by_sequence(fit: Fit, data: object, score: str, *, particles: int = 32, seed: int = 0) -> xr.DataArray:
    """Score every sequence of `data` by `elbo`, `evidence` or `future`: `(sequence)`, nats.

    Parameters
    ----------
    fit: a fit. data: sequences with the channels of the fit. score: which one.
    particles: paths per sequence; `elbo` takes one. seed: of the draws.

    Raises
    ------
    DataError: there is no such score.
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
    """−max |log ratio| of the mean dwell times in replicates and in data: 0 where states last as long as in the data.

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
