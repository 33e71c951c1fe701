"""Replicated data: new paths of the fitted prior, which start where the sequences start.

Examples
--------
In equilibrium, an observation of a harmonic well has the standard deviation √(T/k + noise²) = 1.1:

>>> _ = torch.manual_seed(0)
>>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=10, interval=0.5, noise=0.5)
>>> motion = nld.OverdampedLangevin(nld.Quadratic([1.0]), temperature=1.0)
>>> model = nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1), 0.5), 4, time_unit=1.0)
>>> guide = nld.AmortizedGuide(model, nld.GRUEncoder(1))
>>> fit = nld.fit(model, guide, data, nld.Schedule(steps=2), progress=False)
>>> new = nld.replicates.from_fit(fit, draws=100)
>>> new.shape
(1, 100, 10, 10, 1)
>>> round(float(new.isel(time=slice(5, None)).std()), 1)
1.1
"""

from __future__ import annotations

import pyro
import torch
import xarray as xr
from pyro import poutine

from ..fitting.draws import AXES, PRIOR_NUMBERS, inference_mode
from ..fitting.pairs import under
from ..guide.amortized import PATH_SITES
from .fit import Fit


def from_fit(fit: Fit, data: object = None, *, draws: int = 50, seed: int = 0) -> xr.DataArray:
    """x ~ p(x | z), z ~ p(z | z₀, globals), with z₀ and the globals drawn from the guide.

    The paths are new, so that dwell times and transitions are those of the fitted prior and not those of the data.

    Parameters
    ----------
    fit: a fit. data: the sequences to replicate (Dataset or `(times, x)`), with their times and missing values; the
        data of the fit when None. draws: number of replicated data sets. seed: of the draws.

    Returns
    -------
    `(chain, draw, sequence, time, channel)`, NaN where nothing was observed.
    """
    times, x = fit.series(data)
    size, drawn = times.numel() * fit.model.substeps * fit.model.dynamics.state, []
    with under(fit.model, data), inference_mode(seed):
        for some in torch.arange(draws).split(max(1, PRIOR_NUMBERS // size)):
            with pyro.plate("replicate", len(some), dim=-2):  # left of the sequences, as vectorised particles are
                sites = poutine.trace(fit.guide).get_trace(times, x).nodes
                held = {name: sites[name]["value"] for name in (*fit.medians, PATH_SITES[0])}
                drawn.append(poutine.condition(fit.model, data=held)(times))
    values = torch.where(x.isfinite(), torch.cat(drawn), torch.nan).unsqueeze(0)
    return xr.DataArray(values.numpy(), dims=("chain", "draw", *AXES))
