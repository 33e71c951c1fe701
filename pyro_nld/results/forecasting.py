"""Forecasts: posterior paths up to the last observation, then simulations of the fitted prior from there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pyro
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ..dynamics.paths import LangevinPath, refine
from ..errors import Count, FitError, ShapeError, TimeGridError, Whole, checked
from ..fitting.draws import inference_mode
from ..fitting.pairs import under
from ..nn import condition_on
from .fit import Fit
from .naming import named

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
VALUES_AT_A_TIME = 20_000_000  # values simulated at a time


@partial(checked, error=FitError)
def forecast(
    fit: Fit,
    horizon: float,
    data: object = None,
    *,
    draws: Count = 200,
    wells: xr.Dataset | None = None,
    covariates: Tensor | Sequence[float] | None = None,
    seed: Whole = 0,
) -> xr.Dataset:
    """p(x_{T+τ} | x₁…x_T) = ∫ p(x | z_{T+τ}) p(z_{T+τ} | z_T, globals) q(z_T, globals | x₁…x_T), by simulation.

    The prior is simulated with the integrator and the substeps of the fit. It starts from posterior draws of the last
    state and of all random quantities.

    Parameters
    ----------
    fit: a fitted model and guide.
    horizon: the time to forecast beyond the last observation of every sequence, user's unit, > 0.
    data: the sequences to continue (Dataset or `(times, x)`); the data of the fit when None.
    draws: simulated futures per sequence.
    wells: the states, from `fit.wells()`, `fit.attractors()` or `fit.landscape()`; found when None.
    covariates: the stimulus to come, where one acts: one number per input if it stays, or the stimulus from every lead
        to the next, `(sequence, lead − 1, input)`.
    seed: of the draws.

    Returns
    -------
    Dataset over `lead`, time since the last observation, from 0 (the present) to the horizon in steps of the fit's
    median interval or a little less: `mean`, `sd (sequence, lead, channel)` of a new observation; `quantiles (sequence,
    lead, channel, quantile)` of it; `probability (sequence, lead, state)`, the share of futures in each basin; `times
    (sequence, lead)`; attr `draws`.

    Raises
    ------
    TimeGridError: the horizon is not positive, or not finite. FitError: the fitted prior explodes. ShapeError: a
    stimulus acts, and that to come is not given. Errors of the data as in `fit.series`.

    Not checked: that states of the fitted prior last as long as in the data. All but the nearest future depends on it,
    and the verdict of `fit.landscape()` says it.

    Examples
    --------
    Far ahead, a harmonic well is in equilibrium. An observation then has the standard deviation √(T/k + noise²) = 1.1:

    >>> _ = torch.manual_seed(0)
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=10, interval=0.5, noise=0.5)
    >>> motion = nld.OverdampedLangevin(nld.Quadratic([1.0]), temperature=1.0)
    >>> model = nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1), 0.5), 4, time_unit=1.0)
    >>> guide = nld.AmortizedGuide(model, nld.GRUEncoder(1))
    >>> fit = nld.fit(model, guide, data, nld.Schedule(steps=2), progress=False)
    >>> ahead = nld.forecast(fit, horizon=4.0, draws=500)
    >>> ahead["lead"].values.tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    >>> round(float(ahead["sd"].isel(lead=-1).mean()), 1)
    1.1
    """
    if not (math.isfinite(horizon) and horizon > 0):
        raise TimeGridError(
            f"the horizon must be positive and finite: got {horizon}. Give it in the data's unit of time."
        )
    times, x = fit.series(data)
    intervals = math.ceil(horizon / float(fit.times.diff().nanmedian()) - 1e-3)
    lead = np.linspace(0.0, horizon, intervals + 1)
    wells = fit.states(seed=seed) if wells is None else wells
    model, longest = fit.model, (times.shape[1] - 1) * fit.model.substeps
    each = draws * max(longest * model.dynamics.state, len(lead) * max(model.dynamics.latent, x.shape[-1]))
    drive = _ahead(fit, covariates, len(x), len(lead) - 1)
    with under(fit.model, data), inference_mode(seed), pyro.validation_enabled(False):
        rows = torch.arange(len(x)).split(max(1, VALUES_AT_A_TIME // each))
        found = [_summarised(fit, _futures(fit, times, x, some, lead, draws, drive), wells) for some in rows]
    ends = times.nan_to_num(-math.inf).amax(-1, keepdim=True).double().numpy()
    whole = xr.concat(found, "sequence").assign_coords(lead=lead, quantile=list(QUANTILES))
    ahead = whole.assign(times=(("sequence", "lead"), ends + lead)).assign_attrs(draws=draws)
    return named(ahead, fit.labels(data))


class _Futures(NamedTuple):
    """Simulated futures: positions `(draw, sequence, lead, latent)`, what is seen of them, and globals by site."""

    positions: Tensor
    seen: Tensor  # what the likelihood is given, the same unless the instrument averages
    globals: dict[str, Tensor]


def _ahead(fit: Fit, covariates: Tensor | Sequence[float] | None, sequences: int, intervals: int) -> Tensor | None:
    """The stimulus to come, checked, `(sequence, interval, input)`; None where none acts."""
    acting = getattr(fit.model.dynamics, "covariates", None)
    if acting is None:
        if covariates is not None:
            raise ShapeError("no stimulus acts in this model, and one to come changes nothing. Leave it out.")
        return None
    expected = (sequences, intervals, acting.shape[-1])
    given = None if covariates is None else torch.as_tensor(covariates, dtype=acting.dtype, device=acting.device)
    if given is not None and given.shape == expected[-1:]:
        given = given.expand(expected)
    if given is None or given.shape != expected:
        raise ShapeError(
            f"a stimulus acts in this model, and its future must be known: expected covariates (sequence, lead − 1, "
            f"input) = {expected}, or one number per input that stays, got "
            f"{None if given is None else tuple(given.shape)}. Give forecast(…, covariates=…) or predict … --ahead, "
            "zeros where nothing acts."
        )
    return given


def _futures(
    fit: Fit, times: Tensor, x: Tensor, some: Tensor, lead: np.ndarray, draws: int, drive: Tensor | None
) -> _Futures:
    known = fit.guide.numbers(some, len(x))
    times, x = times[some], x[some]
    model, last = fit.model, times.isfinite().sum(-1) - 1
    with pyro.plate("future", draws, dim=-2):  # left of the sequences, as vectorised particles are
        sites = poutine.trace(fit.guide).get_trace(times, x, **known).nodes
    drawn = {name: sites[name]["value"] for name in fit.medians}
    path = sites["z"]["value"]
    state = path[:, torch.arange(len(x)), last * model.substeps - 1]
    positions = [model.dynamics.position(state)]
    seen = [model.seen_positions(sites["z0"]["value"], path)[:, torch.arange(len(x)), last]]
    grid = refine(torch.tensor([0.0, lead[1] / fit.time_unit], dtype=state.dtype), model.substeps)
    for place in range(len(lead) - 1):
        if drive is not None:
            grid = grid._replace(drive=drive[some, place].unsqueeze(-2).expand(-1, model.substeps, -1))
        path = LangevinPath(model.dynamics, model.integrator, state, grid, drawn).sample()
        seen.append(model.seen_positions(state, path)[..., -1, :])
        state = path[..., -1, :]
        positions.append(model.dynamics.position(state))
    if lost := int((~state.isfinite().all(-1)).sum()):
        raise FitError(
            f"the fitted prior explodes: {lost} of {state[..., 0].numel()} futures are not finite. Its steps are too "
            "coarse for it; fit again with more substeps."
        )
    return _Futures(torch.stack(positions, -2), torch.stack(seen, -2), drawn)


def _summarised(fit: Fit, futures: _Futures, wells: xr.Dataset) -> xr.Dataset:
    """Moments and quantiles of new observations, and the share of futures in each basin."""
    with condition_on(fit.model, futures.globals):
        law = fit.model.likelihood(futures.seen)
    mean, new, axes = law.mean.double(), law.sample().double(), ("sequence", "lead", "channel")
    sd = (mean.var(0) + law.variance.double().mean(0)).sqrt()  # the variance of the noise is known, not drawn
    labels = fit.basins(wells, futures.positions)
    states = torch.arange(wells.sizes["state"])
    return xr.Dataset(
        {
            "mean": (axes, mean.mean(0).numpy()),
            "sd": (axes, sd.numpy()),
            "quantiles": ((*axes, "quantile"), np.moveaxis(np.quantile(new.numpy(), QUANTILES, axis=0), 0, -1)),
            "probability": (("sequence", "lead", "state"), (labels.unsqueeze(-1) == states).double().mean(0).numpy()),
        }
    )
