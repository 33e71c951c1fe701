"""Simulation-based calibration: draw a truth from the prior and data from it, fit, and rank the truth in the posterior.

If the inference is right, then over many simulations the rank of the truth among posterior draws is uniform, and a 90 %
interval contains the truth in 90 % of them. Quantities without a prior (a neural landscape, a decoder) have the values
of a reference fit when data are drawn, and are learned anew in every simulation.

Examples
--------
Of θ ~ N(0, 1), observed as x = θ + N(0, 1), the posterior is N(x/2, ½). The ranks of θ in it are uniform; those in a
posterior of half that width are not:

>>> draw = np.random.default_rng(0)
>>> truth = draw.normal(size=300)
>>> mean = (truth + draw.normal(size=300)) / 2
>>> def ranks(sd):
...     return (mean + sd * draw.normal(size=(99, 300)) < truth).sum(0)
>>> [nld.calibration.uniformity(ranks(sd)) > 0.01 for sd in (0.71, 0.35)]  # p-values
[True, False]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import scipy
import torch
import xarray as xr
from pyro import poutine

from .. import results
from ..errors import FitError, PriorError, RunDirectoryError
from ..fitting.draws import inference_mode
from ..fitting.jobs import side_by_side
from ..fitting.posterior import Pair
from ..fitting.schedule import Schedule
from ..io.files import write_atomically
from ..io.series import from_arrays
from ..results import corrections
from ..results.fit import Fit
from .findings import finding

POSTERIOR_DRAWS = 99  # per simulation, so that ranks are 0 … 99
RANK_BINS = 10  # for the χ² test
RANKS_PER_BIN = 5  # expected in each bin, below which there is no χ² test
COVERAGE = 0.90  # nominal, of the intervals
UNIFORMITY_P = (0.05, 1e-3)  # p-values of uniform ranks below which a result is doubtful, and bad


def simulate(reference: Fit, seed: int, sequences: int | None = None) -> tuple[dict[str, torch.Tensor], xr.Dataset]:
    """A truth from the prior, and data drawn from it at the times of the reference, with the same missing values.

    Parameters
    ----------
    reference: the fit that gives the values of quantities without a prior. seed: of all draws.
    sequences: use the times of the first so many sequences; all when None.

    Returns
    -------
    The truth by site, and the data as a Dataset.

    Raises
    ------
    PriorError: no quantity is random. FitError: a path explodes, because the prior allows values for which the steps
        are too coarse.
    """
    times, observed = reference.times[:sequences], reference.x[:sequences].isfinite()
    with inference_mode(seed):
        sites = poutine.trace(reference.model).get_trace(times).nodes
        truth = {name: sites[name]["value"] for name in reference.medians}
    if not truth:
        raise PriorError("no quantity is random, so there is nothing to calibrate. Give the temperature a prior.")
    x = torch.where(observed, sites["x"]["value"], torch.nan)
    if not bool(x.isfinite().eq(observed).all()):
        values = ", ".join(f"{name} = {value.tolist()}" for name, value in truth.items())
        raise FitError(f"a path drawn from the prior explodes at {values}. Narrow the prior, or use more substeps.")
    return truth, from_arrays(times, x)


def repeat(
    build: Callable[[xr.Dataset], Pair],
    reference: Fit,
    seed: int,
    schedule: Schedule,
    *,
    sequences: int | None = None,
    particles: int = 256,
) -> xr.Dataset:
    """One simulation: a truth, data, a new fit, and the rank of the truth in its posterior, as fitted and corrected.

    Parameters
    ----------
    build: makes (model, guide) for data, not yet fitted.
    reference, seed, sequences: as for `simulate`. schedule: of the fit.
    particles: of `corrections.posterior`; 0 leaves the correction out.

    Returns
    -------
    `truth (quantity)`; by route and quantity `rank` among 99 draws, `centre`, `low` and `high` of the 90 % interval.
    """
    truth, data = simulate(reference, seed, sequences)
    torch.manual_seed(seed)
    fit = results.fit(*build(data), data, schedule, seed=seed, progress=False)
    drawn = {"variational": _guided(fit, seed)}
    if particles:
        drawn["corrected"] = corrections.posterior(fit, particles=particles, draws=POSTERIOR_DRAWS, seed=seed)
    flat = [_flat({str(name): values.values[0] for name, values in group.items()}) for group in drawn.values()]
    true = _flat({name: value.unsqueeze(0).numpy() for name, value in truth.items()})
    names = list(true)
    exact = np.array([true[name][0] for name in names])
    table = np.array([[values[name] for name in names] for values in flat])  # (route, quantity, draw)
    low, centre, high = np.quantile(table, [(1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2], axis=-1)
    over = ("route", "quantity")
    variables = {
        "rank": (over, (table < exact[:, None]).sum(-1)), "centre": (over, centre), "low": (over, low),
        "high": (over, high), "truth": ("quantity", exact), "seed": seed,
    }  # fmt: skip
    return xr.Dataset(variables, coords={"route": list(drawn), "quantity": names})


def study(
    build: Callable[[xr.Dataset], Pair],
    data: xr.Dataset,
    folder: Path,
    settings: Mapping[str, int],
    n_jobs: int | None = None,
) -> Iterator[xr.Dataset]:
    """All simulations so far, after each one. They are kept in `folder`, so that a stopped study can go on from there.

    Parameters
    ----------
    build: makes (model, guide) for data. data: the data of the reference fit.
    folder: for `reference.pt` and `calibration.nc`.
    settings: `simulations`, `steps` of a fit, `sequences`, `particles`, `seed`; all but the first must be those of
        the study so far.
    n_jobs: simulations at once, see `fitting.jobs.side_by_side`; results are the same.

    Raises
    ------
    RunDirectoryError: the folder holds a study with other settings.
    """
    file, schedule, seed = folder / "calibration.nc", Schedule(steps=settings["steps"]), settings["seed"]
    done = xr.load_dataset(file, engine="h5netcdf") if file.is_file() else None
    fixed = {name: int(value) for name, value in settings.items() if name != "simulations"}
    if done is not None and {name: int(done.attrs[name]) for name in fixed} != fixed:
        raise RunDirectoryError(
            f"{folder} holds a study with other settings. Go on with those, or choose another --out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    reference = results.fit(
        *build(data), data, schedule, seed=seed, checkpoint=folder / "reference.pt", resume=True, progress=False
    )
    if done is not None:
        yield done
    left = range(0 if done is None else done.sizes["simulation"], settings["simulations"])
    task = partial(repeat, sequences=settings["sequences"], particles=settings["particles"])
    for found in side_by_side(task, [(build, reference, seed + 1 + place, schedule) for place in left], n_jobs):
        one = found.expand_dims("simulation")
        done = one.assign_attrs(fixed) if done is None else xr.concat([done, one], "simulation")
        _write(done, file)
        yield done


def _write(table: xr.Dataset, file: Path) -> None:
    write_atomically(file, lambda path: table.to_netcdf(path, engine="h5netcdf"))


def judge(table: xr.Dataset) -> xr.Dataset:
    """The coverage of the 90 % intervals and a test of uniform ranks, by route and quantity.

    Parameters
    ----------
    table: simulations from `repeat`, side by side over `simulation`.

    Returns
    -------
    `coverage`, with its 90 % interval `coverage_low`, `coverage_high` (Clopper and Pearson); `p`, the p-value of
    uniform ranks (`uniformity`). The verdict is on the last route.

    References
    ----------
    S. Talts, M. Betancourt, D. Simpson, A. Vehtari, A. Gelman, arXiv 1804.06788, 2018.
    """
    inside = (table["low"] <= table["truth"]) & (table["truth"] <= table["high"])
    count, hits = table.sizes["simulation"], inside.sum("simulation")
    tail = (1 - COVERAGE) / 2
    low = xr.where(hits > 0, scipy.stats.beta.ppf(tail, hits, count - hits + 1), 0.0)
    high = xr.where(hits < count, scipy.stats.beta.ppf(1 - tail, hits + 1, count - hits), 1.0)
    p = xr.apply_ufunc(uniformity, table["rank"], input_core_dims=[["simulation"]], vectorize=True)
    best = str(table["route"].values[-1])
    worst = str(p["quantity"].values[int(p.sel(route=best).argmin("quantity"))])
    chance, share = float(p.sel(route=best, quantity=worst)), hits.sel(route=best) / count
    kept = bool(((low <= COVERAGE) & (high >= COVERAGE)).sel(route=best).all())
    verdict = "bad" if chance < UNIFORMITY_P[1] else "doubtful" if chance < UNIFORMITY_P[0] or not kept else "good"
    message = (
        f"In {count} simulations the {best} 90 % intervals hold the truth in {100 * float(share.min()):.0f} % (p of "
        f"uniform ranks {chance:.2g}, {worst}). "
    ) + {
        "good": "Intervals mean what they say.",
        "doubtful": "Run more simulations before you rely on intervals.",
        "bad": "Intervals do not mean what they say: fit longer, with more substeps or particles.",
    }[verdict]
    variables = {"coverage": hits / count, "coverage_low": low, "coverage_high": high, "p": p}
    return finding(variables, verdict, message)


def uniformity(ranks: np.ndarray) -> float:
    """The p-value of ranks among 99 draws under the hypothesis that they are uniform.

    It is twice the smaller one of two p-values, of a χ² test in ten bins and of Kolmogorov–Smirnov. Fewer than fifty
    ranks are too few for χ², and then the p-value is that of Kolmogorov–Smirnov.

    Parameters
    ----------
    ranks: integers from 0 to 99, one per simulation.
    """
    # each rank is spread evenly over a unit interval, so that the law is continuous
    spread = (np.asarray(ranks) + np.random.default_rng(0).random(len(ranks))) / (POSTERIOR_DRAWS + 1)
    p = float(scipy.stats.kstest(spread, "uniform").pvalue)
    if len(ranks) < RANKS_PER_BIN * RANK_BINS:
        return p
    bins = np.bincount(np.asarray(ranks) * RANK_BINS // (POSTERIOR_DRAWS + 1), minlength=RANK_BINS)
    return float(min(1.0, 2 * min(scipy.stats.chisquare(bins).pvalue, p)))


def _guided(fit: Fit, seed: int) -> xr.Dataset:
    """Draws of the globals from the guide, as a Dataset."""
    with inference_mode(seed):
        drawn = [fit.guide.others(fit.times[:1], fit.x[:1]) for _ in range(POSTERIOR_DRAWS)]
    values = {name: torch.stack([one[name] for one in drawn]).unsqueeze(0) for name in fit.medians}
    return xr.Dataset(
        {
            name: (("chain", "draw", *(f"{name}_dim_{i}" for i in range(value.dim() - 2))), value.numpy())
            for name, value in values.items()
        }
    )


def _flat(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Draws `(draw)` by name; the entries of a vector are named `noise_scale[1]`."""
    found: dict[str, np.ndarray] = {}
    for name, value in values.items():
        columns = value.reshape(len(value), -1).T
        names = [name] if len(columns) == 1 else [f"{name}[{i}]" for i in range(len(columns))]
        found |= dict(zip(names, columns, strict=True))
    return found
