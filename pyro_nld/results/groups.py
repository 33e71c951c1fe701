"""Draws in the groups of ArviZ: prior, posterior, predictive, log likelihood, sample statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ..fitting.draws import AXES, Draw, prior
from ..fitting.elbo import TERMS
from ..model.latent_langevin import LatentLangevin
from ..nn import group_count, random_parts

GROUPS = (
    "posterior", "posterior_predictive", "prior", "log_likelihood", "sample_stats", "observed_data", "constant_data",
)  # fmt: skip
"""What `Fit.inference_data` makes unless asked for more or less, by the names that ArviZ knows."""

PREDICTED = {"posterior_predictive", "prior_predictive"}
NUMBERS = 2_000_000  # values of a path, or of predicted data, that are kept before sequences are left out


def of_prior(
    model: LatentLangevin, globals_: Mapping[str, Tensor], draws: int, times: Tensor, x: Tensor | None
) -> dict[str, xr.Dataset]:
    """The groups prior and prior_predictive, as one chain. The latter needs a simulation and is made unless x is None.

    Parameters
    ----------
    model, globals_, draws, times: as for `prior`. x: the data, NaN where nothing was observed.
    """
    drawn = prior(model, times if x is not None else times[:, :2], draws, globals_)
    dims = axes(model, globals_)
    hidden = {name: (("chain", "draw", *dims[name]), drawn[name][None].numpy()) for name in globals_}
    found = {"prior": xr.Dataset(hidden, {"chain": [0], "draw": range(draws)})}
    if x is not None:
        new = torch.where(x.isfinite(), drawn["x"], torch.nan)[None].numpy()
        found["prior_predictive"] = xr.Dataset({"x": (("chain", "draw", *AXES), new)})
    return found


def of_posterior(model: LatentLangevin, chains: Sequence[Sequence[Draw]], x: Tensor) -> dict[str, xr.Dataset]:
    """The groups posterior, posterior_predictive, log_likelihood and sample_stats, from draws `(chain, draw)`.

    Parameters
    ----------
    model: gives the axes of its sites. chains: draws from `posterior`. x: the data.
    """

    def every(value: Callable[[Draw], Tensor], *dims: str) -> tuple[tuple[str, ...], np.ndarray]:
        drawn = torch.stack([torch.stack([value(draw) for draw in chain]) for chain in chains])
        return ("chain", "draw", *dims), drawn.cpu().numpy()

    def of_global(name: str, dims: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
        return every(lambda draw: draw.globals[name], *dims)

    def of_bound(name: str) -> tuple[tuple[str, ...], np.ndarray]:
        return every(lambda draw: draw.terms[name])

    observed = x.isfinite().any(-1)
    where = zip(("at_sequence", "at_time"), np.nonzero(observed.cpu().numpy()), strict=True)
    hidden = {name: of_global(name, dims) for name, dims in axes(model, chains[0][0].globals).items()}
    statistics = {name: of_bound(name) for name in TERMS}
    statistics |= {"log_weight": every(lambda draw: draw.log_weight, "sequence")}
    statistics |= {"log_prob": every(lambda draw: draw.log_likelihood[observed], "observation")}
    return {
        "posterior": xr.Dataset(hidden | {"z": every(lambda draw: draw.z, "sequence", "time", "latent")}),
        "posterior_predictive": xr.Dataset({"x": every(lambda draw: draw.x, *AXES)}),
        # one variable, so that ArviZ needs no name
        "log_likelihood": xr.Dataset({"x": every(lambda draw: draw.evidence, "sequence")}),
        "sample_stats": xr.Dataset(statistics, {name: ("observation", index) for name, index in where}),
    }


def axes(model: LatentLangevin, globals_: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """The names of the axes of every global site: `latent` or `channel` for a physical quantity, or that of its groups.

    Those of other sites are numbered.
    """
    known = dict.fromkeys(model.dynamics.quantities, "latent") | dict.fromkeys(model.likelihood.quantities, "channel")
    known |= {name: f"{name}_group" for part, name in random_parts(model) if group_count(part, name)}
    return {
        name: (known[name],)
        if name in known and value.dim() == 1
        else tuple(f"{name}_dim_{place}" for place in range(value.dim()))
        for name, value in globals_.items()
    }
