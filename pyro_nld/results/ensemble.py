"""The landscape of every posterior draw, with the states of all draws in one numbering.

Where the potential is not random, all draws have the minima and saddles of the posterior median; only temperature,
friction and mass differ from draw to draw. Where its weights are random, the minima of a draw are found by going
downhill from the minima of the median.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .. import kinetics, landscape
from .._typing import Array
from ..dynamics.equations import Dynamics
from ..dynamics.potentials import Energy, hessian, in_double
from ..errors import DoubtfulFitWarning, FitError
from ..fitting.draws import Draw
from ..landscape import flows, saddles
from ..model.decoders import IdentityDecoder
from ..model.latent_langevin import LatentLangevin
from ..model.likelihoods import Likelihood
from ..nn import at_values, random_attributes

Numbers = NDArray[np.integer]


def read(model: LatentLangevin, draws: Sequence[Draw], median: xr.Dataset) -> xr.Dataset:
    """The states and the landscape of every draw.

    Parameters
    ----------
    model: with its priors. draws: from its posterior.
    median: minima and saddles at the posterior median, from `landscape.minima` and `saddles.saddles`.

    Returns
    -------
    Dataset over `draw` and the states of `median`, NaN where a draw lacks a state:
        `basin (draw, sequence, time)`, the state in whose basin z is; NaN where it is in none, or z is NaN;
        `minimum (draw, state, latent)`, and `decoded (draw, state, channel)`, the means of the channels there;
        `depth (draw, state)`, U/T above the deepest minimum; `occupancy (draw, state)`, harmonic;
        `barrier (draw, state, to)`, kT, the lowest over all routes, 0 on the diagonal; NaN where there is no route;
        `rate (draw, state, to)`, Eyring–Kramers, 1/user's time, 0 where no saddle joins the two states;
        `dwell (draw, state)`, user's time; NaN where no saddle leads out of the state.
    """
    moving = bool(random_attributes(model.dynamics.potential))
    found, basins = [], []
    for draw in draws:
        dynamics, here, over = at_values(model.dynamics, draw.globals), median, median
        if moving:
            here = follow(dynamics.potential, median)
            over = saddles.follow(dynamics.potential, here, median, temperature=float(dynamics.temperature))
            basins.append(_basins(dynamics.potential, here, draw.z))
        likelihood = at_values(model.likelihood, draw.globals)
        found.append(_numbers(dynamics, likelihood, here, over, float(model.time_unit)))
    if not moving:
        basins = list(_basins(model.dynamics.potential, median, torch.stack([draw.z for draw in draws])))
    states = np.arange(median.sizes["state"])
    numbers = xr.concat([one.reindex(state=states, to=states) for one in found], "draw").drop_vars(["state", "to"])
    return numbers.assign(basin=(("draw", "sequence", "time"), np.stack(basins)))


def of_fit(fit: Any, draws: Sequence[Draw], states: xr.Dataset | None, rule: dict) -> xr.Dataset | None:
    """`read` of a fit; None where there is no minimum, or no potential. What is doubtful, `Fit.landscape` says.

    Parameters
    ----------
    fit: a `Fit`. draws: from its posterior. states: its `wells` or `landscape`; read by `rule` when None.
    """
    with warnings.catch_warnings(), suppress(FitError):
        warnings.simplefilter("ignore", DoubtfulFitWarning)
        if fit.has_landscape:
            found = fit.wells(**rule) if states is None else states
            if "saddle" not in found.dims:
                passes = saddles.saddles(fit.potential, found, temperature=fit.temperature)
                found = xr.merge([found, passes], combine_attrs="drop")
            return read(fit.model, draws, found)
    return None


def follow(potential: Energy, wells: xr.Dataset) -> xr.Dataset:
    """The minima of another potential that are reached downhill from the minima in `wells`, with their numbers.

    Where two states lead to one minimum, the nearer state keeps it, and the other one is missing.

    Parameters
    ----------
    potential: U. wells: from `landscape.minima` of a similar potential.

    Returns
    -------
    The variables of `landscape.minima` that are read here, with the coordinate `state`: the numbers that are kept.

    Raises
    ------
    FitError: no minimum is reached.
    """
    exact = in_double(potential)
    own, other = (torch.as_tensor(wells[name].values) for name in ("position", "minimum_position"))
    starts = torch.cat([own, other])
    ends = flows.follow(landscape.downhill(exact), starts)
    spread = float(starts.std(0).norm()) if len(starts) > 1 else 1.0
    minima = landscape.polish(exact, ends, spread)
    if not len(minima):
        raise FitError("a draw of the posterior has no minimum: none of the median's flows to one. Is it confining?")
    below = torch.cdist(ends, minima).argmin(1)
    home: dict[int, int] = {}  # from a minimum to the state that keeps it
    for state in (own - minima[below[: len(own)]]).norm(dim=-1).argsort(stable=True).tolist():
        home.setdefault(int(below[state]), state)
    kept = sorted(home.values())
    owner = dict(home)
    for minimum, state in zip(below[len(own) :].tolist(), wells["minimum_state"].values.tolist(), strict=True):
        if state in kept:
            owner.setdefault(minimum, state)
    position = minima[sorted(home, key=lambda one: home[one])]
    with torch.no_grad():
        energy = exact(position)
    variables = {
        "position": (("state", "latent"), position),
        "energy": ("state", energy),
        "curvature": (("state", "latent"), torch.linalg.eigvalsh(hessian(exact, position))),
        "minimum_position": (("minimum", "latent"), minima[list(owner)]),
        "minimum_state": ("minimum", torch.tensor([kept.index(state) for state in owner.values()])),
    }
    return xr.Dataset({name: (dims, value.numpy()) for name, (dims, value) in variables.items()}, {"state": kept})


def gauge_free(model: LatentLangevin) -> set[str]:
    """The posterior variables that do not depend on the choice of the latent axes, or whose axes the data fix.

    Parameters
    ----------
    model: its decoder says whether the unit and the directions of the latent axes are fixed.
    """
    free = {"basin", "decoded", "depth", "occupancy", "barrier", "rate", "dwell", *model.likelihood.quantities}
    if model.likelihood.fixes_gauge:
        free |= set(model.dynamics.quantities)
    if isinstance(model.likelihood.decoder, IdentityDecoder):
        free |= {"z", "minimum"}
    return free


def together(readings: Sequence[xr.Dataset | None], own: xr.Dataset, scale: Array) -> xr.Dataset:
    """The results of `read` for all chains, in the numbering of `own`; NaN in chains with another number of states.

    Parameters
    ----------
    readings: from `read`, one per chain; None where there are no states. own: the reading that gives the numbers.
    scale: standard deviation of each channel.
    """
    found = []
    for reading in readings:
        if reading is None or reading.sizes["state"] != own.sizes["state"]:
            found.append(xr.full_like(own, np.nan))
        else:
            shown, wanted = (one["decoded"].median("draw").values for one in (reading, own))
            found.append(renumber(reading, match(shown, wanted, scale)))
    return xr.concat(found, "chain")


def match(decoded: Array, reference: Array, scale: Array) -> Numbers:
    """For every state of `reference`, the matching state of `decoded`: the assignment with the least distance.

    Distances are between the means of the channels. Latent positions of two runs cannot be compared, because a free
    decoder has other latent axes in every run.

    Parameters
    ----------
    decoded, reference: means of the channels at the minima, `(state, channel)`. scale: standard deviation of each
        channel.
    """
    apart = np.square((reference[:, None] - decoded) / scale).sum(-1)
    order: Numbers = linear_sum_assignment(apart)[1]
    return order


def renumber(reading: xr.Dataset, order: Numbers) -> xr.Dataset:
    """A result of `read`, with state `order[k]` renumbered to k."""
    basin = reading["basin"].values
    known = np.isfinite(basin)
    name = np.argsort(order)[np.where(known, basin, 0).astype(int)]
    return reading.isel(state=order, to=order).assign(basin=(reading["basin"].dims, np.where(known, name, np.nan)))


def _basins(potential: Energy, wells: xr.Dataset, z: Tensor) -> Array:
    label = landscape.basins(potential, wells, z).numpy()
    return np.where(label < 0, np.nan, wells["state"].values[label])  # a dimension without coordinate counts from 0


def _numbers(
    dynamics: Dynamics, likelihood: Likelihood, wells: xr.Dataset, passes: xr.Dataset, unit: float
) -> xr.Dataset:
    """The landscape of one draw. `unit` is the unit of time of the model in that of the user."""
    temperature, energy = float(dynamics.temperature), wells["energy"].values
    route = kinetics.in_unit(kinetics.eyring_kramers(dynamics, wells, passes), unit)
    decoded = likelihood.levels(torch.as_tensor(wells["position"].values).to(likelihood.decoder.loc))
    states = wells["state"].values
    return xr.Dataset(
        {
            "minimum": (("state", "latent"), wells["position"].values),
            "decoded": (("state", "channel"), decoded.double().numpy()),
            "depth": ("state", (energy - energy.min()) / temperature),
            "occupancy": ("state", landscape.occupancy(wells, temperature)["harmonic"].values),
            "barrier": (("state", "to"), (passes["pass_energy"].values - energy[:, None]) / temperature),
            "rate": (("state", "to"), np.nan_to_num(route["rate"].values)),
            "dwell": ("state", route["dwell"].values),
        },
        coords={"state": states, "to": states},
    )
