"""Figures of findings: guide, evidence, identifiability, replicates, calibration, model comparison."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._typing import Array
from .style import ACCENT, colour

SHADE = "0.85"
RANK_COUNT = 100  # possible ranks among 99 draws
RANK_BINS = 10


def checks(findings: Mapping[str, xr.Dataset], posterior: xr.Dataset, prior: xr.Dataset | None) -> dict[str, Figure]:
    """One figure for every finding that has one, by name.

    Parameters
    ----------
    findings: by the names in the recipe `check`; a check that was skipped has no figure.
    posterior, prior: the groups of these names; no prior where no quantity is random.
    """
    drawn = {
        "guide": pareto_shapes, "evidence": evidence, "replicates": statistics, "prior": statistics,
        "observations": pit, "restarts": restarts,
    }  # fmt: skip
    found = {name: draw(findings[name]) for name, draw in drawn.items() if _has_picture(findings.get(name))}
    return found if prior is None else found | {"identifiability": marginals(posterior, prior)}


def _has_picture(found: xr.Dataset | None) -> bool:
    return found is not None and all(found.sizes.values()) and len(found.data_vars) > 0


def pareto_shapes(found: xr.Dataset) -> Figure:
    """k̂ of every sequence, one colour per restart, and the limit below which the weights are reliable.

    Parameters
    ----------
    found: `diagnostics.guide`.
    """
    figure, axes = _picture(6.0, 3.2)
    for chain, shapes in enumerate(found["pareto_shape"].values):
        known = np.isfinite(shapes)
        axes.plot(np.flatnonzero(known), shapes[known], ".", color=colour(chain), ms=4)
    limit = float(found["limit"])
    axes.axhline(limit, color=ACCENT, lw=1)
    axes.text(0.0, limit, f"reliable below {limit:.2f}", va="bottom", fontsize=8)
    axes.set(xlabel="sequence", ylabel="k̂ of the guide's weights")
    return figure


def evidence(found: xr.Dataset) -> Figure:
    """The bound against the number of draws, with its standard error: where it levels off, it is the evidence.

    Parameters
    ----------
    found: `diagnostics.evidence`.
    """
    figure, axes = _picture(5.0, 3.2)
    for chain in range(found.sizes.get("chain", 1)):
        bound, error = found["bound"].values[chain], np.nan_to_num(found["error"].values[chain])
        axes.errorbar(found["count"], bound, error, color=colour(chain), marker="o", ms=3, label=f"run {chain}")
    axes.set(xscale="log", xlabel="draws per sequence (1: the ELBO)", ylabel="bound on the log evidence")
    axes.legend(frameon=False, fontsize=8)
    return figure


def marginals(posterior: xr.Dataset, prior: xr.Dataset) -> Figure:
    """Prior and posterior of every scalar, one colour per restart: where they coincide, the data do not determine it.

    Parameters
    ----------
    posterior, prior: the groups of these names.
    """
    names = [name for name, values in prior.data_vars.items() if values.ndim == 2 and name in posterior]
    figure = Figure(figsize=(4 * max(1, len(names)), 3), layout="constrained")
    for name, axes in zip(names, np.ravel(figure.subplots(1, max(1, len(names)), squeeze=False)), strict=False):
        wide = prior[name].values.ravel()
        edges = np.histogram_bin_edges(wide[wide <= np.quantile(wide, 0.98)], 30)
        axes.hist(wide, edges, density=True, color=SHADE, label="prior")
        for chain, drawn in enumerate(posterior[name].values):
            axes.hist(drawn, 20, density=True, histtype="step", color=colour(chain), lw=1.5, label="posterior")
        axes.set(xlabel=str(name), yticks=[])
        _plain(axes)
    if names:
        figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def statistics(found: xr.Dataset) -> Figure:
    """Every statistic of the data (a point) and the 90 % interval of the replicates (a line), in its half widths.

    Parameters
    ----------
    found: `predictive_checks.posterior` or `prior`.
    """
    names, half = found["statistic"].values, (found["high"] - found["low"]).values / 2
    half = np.where(half > 0, half, 1.0)
    middle = found["mean"].values
    figure, axes = _picture(6.0, 1 + 0.22 * len(names))
    rows = np.arange(len(names))[::-1]
    axes.hlines(rows, (found["low"] - middle) / half, (found["high"] - middle) / half, color="0.75", lw=4)
    place = (found["observed"].values - middle) / half
    outside = (found["observed"] < found["low"]).values | (found["observed"] > found["high"]).values
    for where, shade in ((~outside, "black"), (outside, ACCENT)):
        axes.plot(np.clip(place[where], -4, 4), rows[where], "o", color=shade, ms=4)
    axes.set(yticks=rows, xlim=(-4.2, 4.2), xlabel="half widths of the replicates' 90 % interval (cut at 4)")
    axes.set_yticklabels(names, fontsize=7)
    return figure


def pit(found: xr.Dataset) -> Figure:
    """The histogram of predictive probabilities, one line per channel: flat where noise and means are right.

    Parameters
    ----------
    found: `predictive_checks.pit`.
    """
    figure, axes = _picture(4.6, 3.2)
    for channel in range(found.sizes["channel"]):
        values = found["pit"].values[..., channel]
        heights, edges = np.histogram(values[np.isfinite(values)], bins=20, range=(0, 1), density=True)
        axes.stairs(heights, edges, color=colour(channel))
    axes.axhline(1.0, color="0.6", lw=0.8)
    axes.set(xlabel="P(draw below the observation)", ylabel="density", xlim=(0, 1))
    return figure


def restarts(found: xr.Dataset) -> Figure:
    """The share of equal labels for every pair of restarts.

    Parameters
    ----------
    found: `diagnostics.agreement` of two restarts or more.
    """
    pairs = found["restart"].values
    shares = np.eye(int(pairs.max()) + 1)
    shares[pairs[:, 0], pairs[:, 1]] = shares[pairs[:, 1], pairs[:, 0]] = found["labels"].values
    figure, axes = _picture(4.0, 3.4)
    drawn = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for row, column in np.ndindex(*shares.shape):
        axes.text(column, row, f"{shares[row, column]:.2f}", ha="center", va="center", fontsize=8)
    axes.set(xticks=range(len(shares)), yticks=range(len(shares)), xlabel="restart", ylabel="restart")
    figure.colorbar(drawn, label="labels alike")
    return figure


def ranks(table: xr.Dataset) -> Figure:
    """Ranks of the truth, with the band that holds 99 % of uniform ranks; below, the intervals against the truth.

    Parameters
    ----------
    table: simulations, as for `calibration.judge`.
    """
    routes = table["route"].values
    figure = Figure(figsize=(4 * len(routes), 6), layout="constrained")
    count = table.sizes["simulation"]
    band = scipy.stats.binom.ppf([0.005, 0.995], count, 1 / RANK_BINS)
    for column, route in zip(figure.subplots(2, len(routes), squeeze=False).T, routes, strict=True):
        chosen = table.sel(route=route)
        top, bottom = column
        top.axhspan(*band, color=SHADE, zorder=0)
        top.axhline(count / RANK_BINS, color="0.6", lw=0.8, zorder=0)
        for place, quantity in enumerate(table["quantity"].values):
            one = chosen.sel(quantity=quantity)
            heights, edges = np.histogram(one["rank"], bins=RANK_BINS, range=(0, RANK_COUNT))
            top.stairs(heights, edges, color=colour(place), label=str(quantity))
            _intervals(bottom, one, colour(place))
        top.set(title=str(route), xlabel="rank of the truth", ylabel="simulations")
        bottom.set(xlabel="truth", ylabel="90 % interval")
        for axes in column:
            _plain(axes)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def comparison(compared: xr.Dataset) -> Figure:
    """The difference of every hypothesis to the best one in nats, with two standard errors.

    Parameters
    ----------
    compared: `comparisons.comparison`.
    """
    names = compared["model"].values
    figure, axes = _picture(6.0, 1 + 0.4 * len(names))
    rows = np.arange(len(names))[::-1]
    axes.errorbar(compared["difference"], rows, xerr=2 * compared["error"], fmt="o", color="black", capsize=3)
    axes.axvline(0, color="0.6", lw=0.8)
    axes.set(yticks=rows, xlabel="log predictive density, difference to the best (nats, ± 2 errors)")
    axes.set_yticklabels(names)
    return figure


def _intervals(axes: Axes, one: xr.Dataset, shade: str) -> None:
    truth = one["truth"].values
    missed = (truth < one["low"].values) | (truth > one["high"].values)
    for where, drawn in ((~missed, shade), (missed, ACCENT)):
        axes.vlines(truth[where], one["low"].values[where], one["high"].values[where], color=drawn, lw=0.9)
    ends: Array = np.array([truth.min(), truth.max()])
    axes.plot(ends, ends, color="0.5", lw=0.8)


def _picture(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
