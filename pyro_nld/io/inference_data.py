"""Results as ArviZ knows them: `InferenceData` on arviz 0.x, xarray's `DataTree` on 1.x.

The sole module that looks at ArviZ's version. What it takes are plain xarray Datasets, one per group.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import arviz as az
import numpy as np
import xarray as xr

from ..errors import DataError
from .files import write_atomically

Results = Any
"""`arviz.InferenceData` or `xarray.DataTree`; both give a group as an attribute or item."""

LEAST_SPREAD = 1e-4  # spread of log weights below which only rounding tells draws apart
_REMEDY = "Make them with Fit.inference_data()."


def to_inference_data(groups: Mapping[str, xr.Dataset]) -> Results:
    """Groups (`posterior`, `observed_data`, …) to the object the installed ArviZ works on.

    Parameters
    ----------
    groups: Dataset by group name; those of draws have dimensions `chain` and `draw` first.
    """
    labelled = {name: _label_draws(group) for name, group in groups.items()}
    if "InferenceData" in vars(az):  # asking ArviZ 1 for it warns
        return az.InferenceData(**cast(Any, labelled))
    return xr.DataTree.from_dict({f"/{name}": group for name, group in labelled.items()})


def save_inference_data(results: Results, path: Path) -> None:
    """Write all groups to one netCDF file, atomically."""
    engine = {"engine": "h5netcdf"}
    write_atomically(path, lambda temporary: results.to_netcdf(str(temporary), **engine))


def load_inference_data(path: Path) -> Results:
    """Read what `save_inference_data` wrote, with either generation of ArviZ."""
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        groups = {name: group.to_dataset().load() for name, group in tree.children.items()}
    return to_inference_data(groups)


def convergence(draws: xr.DataArray) -> xr.Dataset:
    """Split `rhat` and `ess`, the effective number of draws of the mean, by ArviZ.

    Parameters
    ----------
    draws: `(chain, draw, …)`; results have the other dimensions.
    """
    values = draws.to_dataset(name="x")
    with np.errstate(invalid="ignore"):  # chains that never move have no r̂, and that is said by NaN
        # by rank, the default, has no answer for indicators of a state
        return xr.Dataset({"rhat": az.rhat(values, method="split")["x"], "ess": az.ess(values, method="mean")["x"]})


def _label_draws(group: xr.Dataset) -> xr.Dataset:
    """Number chains and draws where they are not numbered; ArviZ selects by these coordinates."""
    missing = [name for name in ("chain", "draw") if name in group.dims and name not in group.coords]
    return group.assign_coords({name: np.arange(group.sizes[name]) for name in missing})


def groups(results: Results) -> list[str]:
    """The names of the groups that results have; an empty group is none."""
    if isinstance(results, xr.DataTree):
        return [name for name, held in results.children.items() if held.data_vars]
    return list(results.groups())


def group(results: Results, name: str, *variables: str) -> xr.Dataset:
    """One group of results as a plain Dataset, whichever container holds it.

    Parameters
    ----------
    results: from `to_inference_data` or `load_inference_data`. name: of the group. variables: what must be in it.

    Raises
    ------
    DataError: the group or one of the variables is missing.
    """
    if name not in groups(results):
        raise DataError(f"the results have no group {name}. {_REMEDY}")
    held = results[name]
    found = held.to_dataset() if isinstance(held, xr.DataTree) else held
    for variable in variables:
        if variable not in found:
            raise DataError(f"the group {name} needs {variable}: it has {', '.join(map(str, found))}. {_REMEDY}")
    return found


def pareto_shape(log_weights: xr.DataArray) -> xr.DataArray:
    """k̂ of importance weights over their draws, by ArviZ: the mean of weights has a finite variance where k < ½.

    Parameters
    ----------
    log_weights: `(draw, …)`; the result has the other dimensions, and −∞ where all draws weigh the same.

    References
    ----------
    A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, Pareto smoothed importance sampling, JMLR 25(72), 2024.
    """
    weights = log_weights.transpose(..., "draw")
    uneven = weights.std("draw") > LEAST_SPREAD
    # ArviZ has no answer for a tail without spread
    weights = weights.where(uneven, xr.DataArray(np.arange(float(weights.sizes["draw"])), dims="draw"))
    if "psislw" in vars(az):
        shape = uneven.copy(data=az.psislw(weights.values)[1])
    else:
        shape = (-weights).azstats.psislw(dim=["draw"])[1]  # it takes log densities to divide by
    return shape.where(uneven, -np.inf)
