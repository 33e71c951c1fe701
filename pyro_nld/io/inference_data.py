"""Results for ArviZ: `InferenceData` for arviz 0.x, xarray's `DataTree` for 1.x.

This is the only module that depends on the version of ArviZ. Its input are xarray Datasets, one per group.

Examples
--------
Four chains of independent draws have converged: r̂ is 1.

>>> import xarray as xr
>>> draws = np.random.default_rng(0).standard_normal((4, 500))
>>> results = nld.inference_data.to_inference_data({"posterior": xr.Dataset({"x": (("chain", "draw"), draws)})})
>>> nld.inference_data.groups(results)
['posterior']
>>> posterior = nld.inference_data.group(results, "posterior", "x")
>>> float(nld.inference_data.convergence(posterior["x"])["rhat"].round(2))
1.0
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import xarray as xr

from ..errors import DataError
from .files import write_atomically

Results = Any
"""`arviz.InferenceData` or `xarray.DataTree`. Both give a group as an attribute and as an item."""

LEAST_SPREAD = 1e-4  # of log weights; draws that differ by less differ only by rounding
_REMEDY = "Make them with Fit.inference_data()."


def to_inference_data(groups: Mapping[str, xr.Dataset]) -> Results:
    """From groups (`posterior`, `observed_data`, …) to the object that the installed ArviZ expects.

    Parameters
    ----------
    groups: Dataset by group name; those of draws have dimensions `chain` and `draw` first.
    """
    labelled = {name: _label_draws(group) for name, group in groups.items()}
    az = _arviz()
    if "InferenceData" in vars(az):  # asking ArviZ 1 for it warns
        return az.InferenceData(**cast(Any, labelled))
    return xr.DataTree.from_dict({f"/{name}": group for name, group in labelled.items()})


def save_inference_data(results: Results, path: Path) -> None:
    """Write all groups to one netCDF file, atomically."""
    engine = {"engine": "h5netcdf"}
    write_atomically(path, lambda temporary: results.to_netcdf(str(temporary), **engine))


def load_inference_data(path: Path) -> Results:
    """Read a file that `save_inference_data` wrote, with either generation of ArviZ."""
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        groups = {name: group.to_dataset().load() for name, group in tree.children.items()}
    return to_inference_data(groups)


def convergence(draws: xr.DataArray) -> xr.Dataset:
    """Split r̂ as `rhat`, and the effective number of draws for the mean as `ess`, both by ArviZ.

    Parameters
    ----------
    draws: `(chain, draw, …)`; results have the other dimensions.
    """
    values, az = draws.to_dataset(name="x"), _arviz()
    with np.errstate(invalid="ignore"):  # chains that never move have no r̂; it is NaN
        # r̂ by rank, the default, does not exist for indicators of a state
        return xr.Dataset({"rhat": az.rhat(values, method="split")["x"], "ess": az.ess(values, method="mean")["x"]})


def _label_draws(group: xr.Dataset) -> xr.Dataset:
    """Number chains and draws that have no coordinate; ArviZ selects by it."""
    missing = [name for name in ("chain", "draw") if name in group.dims and name not in group.coords]
    return group.assign_coords({name: np.arange(group.sizes[name]) for name in missing})


def groups(results: Results) -> list[str]:
    """The names of the groups of results. Empty groups are left out."""
    if isinstance(results, xr.DataTree):
        return [name for name, held in results.children.items() if held.data_vars]
    return list(results.groups())


def group(results: Results, name: str, *variables: str) -> xr.Dataset:
    """One group of results as a plain Dataset.

    Parameters
    ----------
    results: from `to_inference_data` or `load_inference_data`.
    name: of the group.
    variables: names that the group must contain.

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
    """k̂ of importance weights over their draws, by ArviZ. Where k < ½, the mean of the weights has a finite variance.

    Parameters
    ----------
    log_weights: `(draw, …)`. The result has the other dimensions, and is −∞ where all draws have the same weight.

    References
    ----------
    A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, Pareto smoothed importance sampling, JMLR 25(72), 2024.
    """
    weights = log_weights.transpose(..., "draw")
    uneven = weights.std("draw") > LEAST_SPREAD
    # ArviZ fails for a tail without spread
    weights = weights.where(uneven, xr.DataArray(np.arange(float(weights.sizes["draw"])), dims="draw"))
    az = _arviz()
    if "psislw" in vars(az):
        shape = uneven.copy(data=az.psislw(weights.values)[1])
    else:
        shape = (-weights).azstats.psislw(dim=["draw"])[1]  # it takes log densities to divide by
    return shape.where(uneven, -np.inf)


def _arviz() -> ModuleType:
    """ArviZ, which takes as long to import as torch. What it then says of its future is not our message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz
