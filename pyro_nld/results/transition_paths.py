"""Transition paths of the fitted prior, in the units of the data."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import xarray as xr

from .. import kinetics
from ..dynamics.circles import circles_of
from ..errors import Count, FitError, Whole, checked
from .fit import Fit
from .naming import named

VISITS = 5  # to the state that is held longest, of every chain
STEPS = (100, 20_000)  # fewest and most of a chain


@partial(checked, error=FitError)
def transition_paths(fit: Fit, wells: xr.Dataset | None = None, *, chains: Count = 50, seed: Whole = 0) -> xr.Dataset:
    """How the fitted prior goes from state to state: its passages, their tube, and first passage times, by simulation.

    Parameters
    ----------
    fit: of a model with a landscape. wells: its states, `fit.wells()` or `fit.landscape()`; read now when None.
    chains: simulated side by side, each from encoded data. seed: of the noise.

    Returns
    -------
    As `kinetics.passages`, times in the user's unit, with `decoded (state, to, share, channel)`, the channels' means
    along the middle of each tube, and `committor (state, to, share)` there, the share of the chain's paths through a
    neighbourhood that go on to the second state. On a circle these are the ways round that are most frequent.

    Raises
    ------
    FitError: there are fewer than two states, or no landscape.
    """
    wells = fit.wells(seed) if wells is None else wells
    states = wells.sizes["state"]
    if states < 2:
        raise FitError(f"transition paths need two states: got {states}. Read the landscape first.")
    dwell = wells["minimum_dwell"].values
    longest = dwell[np.isfinite(dwell)].max(initial=0.0) / fit.time_unit  # 0 where no state was ever left
    steps = int(np.clip(VISITS * longest / fit.step, *STEPS))
    starts = fit.encoded(limit=chains, seed=seed)
    with torch.no_grad():
        positions = kinetics.chain(
            fit.dynamics, fit.model.integrator, starts, interval=fit.step, substeps=1, intervals=steps, seed=seed
        )
        cores = kinetics.cores(fit.potential, wells, positions, fit.temperature)
        circles = circles_of(fit.potential)
        periods, plane = (None, _line) if circles is None else (circles.periods, circles.lift)
        found = kinetics.passages(positions, cores, fit.step * fit.time_unit, states, periods)
        middle = torch.as_tensor(found["tube"].sel(quantile=0.5).values)
        met = kinetics.reactive.next_cores(cores)
        known = met >= 0
        committor = kinetics.reactive.committors(plane(positions[known]), met[known], lambda z: z**2, states)
        reached = committor(plane(middle.nan_to_num().flatten(0, 2))).reshape(*middle.shape[:-1], states)
    gone, levels = middle.isnan().any(-1), fit.decode(middle.nan_to_num())
    to = reached.diagonal(dim1=1, dim2=3).permute(0, 2, 1)  # that of the state a tube leads to
    found = found.assign(
        decoded=(("state", "to", "share", "channel"), torch.where(gone.unsqueeze(-1), torch.nan, levels)),
        committor=(("state", "to", "share"), torch.where(gone, torch.nan, to)),
    )
    return named(found, fit.about)


def _line(z: torch.Tensor) -> torch.Tensor:
    """Where no axis is a circle, a point is its own plane."""
    return z
