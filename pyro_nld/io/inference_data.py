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
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pyro
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ..errors import Count, DataError, checked
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


@checked
def from_pyro_svi(
    model: Callable[..., object],
    guide: Callable[..., object],
    *,
    args: Sequence[object] = (),
    kwargs: Mapping[str, object] | None = None,
    num_samples: Count = 1000,
    posterior: Mapping[str, Tensor] | None = None,
    prior: Mapping[str, Tensor] | None = None,
    posterior_predictive: Mapping[str, Tensor] | None = None,
    constant_data: Mapping[str, Tensor] | None = None,
    log_likelihood: bool = True,
    log_prior: bool = True,
    coords: Mapping[str, Sequence[object]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    sample_dims: Sequence[str] = ("chain", "draw"),
) -> Results:
    """What `SVI` learned, for ArviZ: any model and guide of Pyro, not only ours.

    Groups and arguments have the names of ArviZ's converters: `from_pyro` takes a run of MCMC, this a guide.

    Parameters
    ----------
    model, guide: as given to `SVI`. args, kwargs: what both were trained with; all rows of the data, no subsample.
    num_samples: draws of the guide, and of the prior.
    posterior, prior, posterior_predictive: draws by site, the draw first, where they exist already; made when None. An
        empty mapping leaves the group out, but for the posterior.
    constant_data: values by name, for the group of that name.
    log_likelihood, log_prior: whether to make these groups, which `az.loo` and `az.psens` read.
    coords: values of dimensions. dims: names of the dimensions of a site; others are `<site>_dim_0` and so on.
    sample_dims: of the draws; ("sample",) where there is to be one.

    Returns
    -------
    posterior: latent and deterministic sites. posterior_predictive, observed_data, log_likelihood: observed sites, the
    last without their event dimensions. prior, prior_predictive: likewise, where the model was not conditioned.
    log_prior: log density of every latent site, given those before it.

    Raises
    ------
    DataError: draws are of sites that the model does not have, or of several numbers.

    Examples
    --------
    >>> import pyro
    >>> from pyro.distributions import Normal
    >>> def model(x):
    ...     level = pyro.sample("level", Normal(0.0, 1.0))
    ...     with pyro.plate("row", len(x)):
    ...         pyro.sample("x", Normal(level, 1.0), obs=x)
    >>> guide = pyro.infer.autoguide.AutoNormal(model)
    >>> results = nld.inference_data.from_pyro_svi(model, guide, args=[torch.ones(4)], num_samples=10)
    >>> dict(results["posterior"].sizes), results["log_likelihood"]["x"].dims
    ({'chain': 1, 'draw': 10}, ('chain', 'draw', 'x_dim_0'))
    """
    given, axes, names = kwargs or {}, dims or {}, coords or {}
    if len(sample_dims) not in (1, 2):
        raise DataError(f"sample_dims are one or two names: got {len(sample_dims)}. Give (chain, draw) or (sample,).")

    def traced(program: Callable[..., object], latents: Mapping[str, Tensor]) -> poutine.Trace:
        found = poutine.trace(poutine.condition(program, data=latents)).get_trace(*args, **given)
        return poutine.util.prune_subsample_sites(found)

    with torch.no_grad(), poutine.block():
        blank, free = traced(model, {}), poutine.uncondition(model)
        latent = list(blank.stochastic_nodes)
        fixed = [name for name in blank.observation_nodes if blank.nodes[name]["infer"].get("_deterministic")]
        # a factor observes nothing
        seen = [name for name in blank.observation_nodes if name not in fixed and blank.nodes[name]["value"].numel()]
        if posterior is None:
            sources = [_values(traced(guide, {})) for _ in range(num_samples)]
        else:
            sources = _rows(posterior, latent)
        drawn = [traced(model, {name: one[name] for name in latent if name in one}) for one in sources]
        held = [_values(trace) for trace in drawn]
        if posterior_predictive is None:
            again = [_values(traced(free, {name: one[name] for name in latent})) for one in held]
            posterior_predictive = _gathered(seen, again)
        if prior is None:
            prior = _gathered([*latent, *fixed, *seen], [_values(traced(free, {})) for _ in range(num_samples)])
        groups = {
            "posterior": _gathered([*latent, *fixed], held),
            "posterior_predictive": posterior_predictive,
            "prior": {name: values for name, values in prior.items() if name not in seen},
            "prior_predictive": {name: values for name, values in prior.items() if name in seen},
            "log_likelihood": _gathered(seen, [_log_densities(one, seen) for one in drawn]) if log_likelihood else {},
            "log_prior": _gathered(latent, [_log_densities(one, latent) for one in drawn]) if log_prior else {},
        }
    data = {"observed_data": {name: blank.nodes[name]["value"] for name in seen}, "constant_data": constant_data or {}}
    made = {name: _dataset(group, axes, names, sample_dims) for name, group in groups.items() if group}
    return to_inference_data(made | {name: _dataset(group, axes, names, ()) for name, group in data.items() if group})


def _rows(posterior: Mapping[str, Tensor], latent: Sequence[str]) -> list[dict[str, Tensor]]:
    """Draws one by one."""
    counts = {len(values) for values in posterior.values()}
    if unknown := sorted(set(posterior) - set(latent)):
        raise DataError(f"the model has no latent site {unknown[0]}: it has {', '.join(latent)}. Leave it out.")
    if len(counts) != 1:
        raise DataError(f"every site needs the same number of draws: got {sorted(counts)}. Give the draw first.")
    return [{name: values[row] for name, values in posterior.items()} for row in range(counts.pop())]


def _gathered(sites: Sequence[str], draws: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {site: torch.stack([draw[site] for draw in draws]) for site in sites}


def _values(trace: poutine.Trace) -> dict[str, Tensor]:
    return {name: site["value"] for name, site in trace.nodes.items() if site["type"] == "sample"}


def _log_densities(trace: poutine.Trace, sites: Sequence[str]) -> dict[str, Tensor]:
    """log p of every site given those before it, without scales: a point of the data counts once."""
    found = {}
    for name in sites:
        site = trace.nodes[name]
        density = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
        found[name] = density if site["mask"] is None else density * site["mask"]
    return found


def _dataset(
    values: Mapping[str, Tensor],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[object]],
    sample_dims: Sequence[str],
) -> xr.Dataset:
    """Named variables with the attributes that ArviZ gives; one chain where there are chains."""
    found = {}
    for name, value in values.items():
        array = value.detach().cpu().numpy()
        array = array[None] if len(sample_dims) == 2 else array
        axes = [f"{name}_dim_{axis}" for axis in range(array.ndim - len(sample_dims))]
        named = list(dims.get(name, ()))[: len(axes)]
        found[name] = ((*sample_dims, *named, *axes[len(named) :]), array)
    made = xr.Dataset(found)
    library = {"inference_library": "pyro", "inference_library_version": pyro.__version__}
    made.attrs = {"created_at": datetime.now(timezone.utc).isoformat(), **library}
    fitting = {name: list(points) for name, points in coords.items() if name in made.dims}
    return made.assign_coords(
        fitting | {name: np.arange(made.sizes[name]) for name in made.dims if name not in fitting}
    )


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
