"""New data from a fit: the fitted prior, run anew from where the sequences start."""

from __future__ import annotations

import torch
import xarray as xr
from pyro import poutine

from ..fitting.draws import AXES, inference_mode
from ..guide.amortized import PATH_SITES
from .fit import Fit


def from_fit(fit: Fit, data: object = None, *, draws: int = 50, seed: int = 0) -> xr.DataArray:
    """x ~ p(x | z), z ~ p(z | z₀, globals), with z₀ and globals from the guide: what the fit expects of such sequences.

    Paths are new, so that dwell times and transitions are the fitted prior's and not the data's.

    Parameters
    ----------
    fit: a fit. data: sequences to replicate (Dataset or `(times, x)`), with their times and what is missing in them;
        the fit's own when None. draws: how many sets. seed: of them.

    Returns
    -------
    `(chain, draw, sequence, time, channel)`, NaN where nothing was observed.
    """
    times, x = fit.series(data)
    drawn = []
    with inference_mode(seed):
        for _ in range(draws):
            sites = poutine.trace(fit.guide).get_trace(times, x).nodes
            held = {name: sites[name]["value"] for name in (*fit.medians, PATH_SITES[0])}
            drawn.append(poutine.condition(fit.model, data=held)(times))
    values = torch.where(x.isfinite(), torch.stack(drawn), torch.nan).unsqueeze(0)
    return xr.DataArray(values.numpy(), dims=("chain", "draw", *AXES))
