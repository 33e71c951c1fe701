"""Figures of the kinetics: dwell times, rates and timescales by every route, beside the counted ones."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .._typing import Array
from .style import STATE_COLOURS, colour, in_unit

ROUTE_STYLES: dict[str, dict] = {
    "counted": {"color": "black", "ls": "-", "lw": 0.8},
    "simulated": {"color": "black", "ls": "--", "lw": 0.8},
    "eyring_kramers": {"color": "black", "ls": ":", "lw": 0.8},
    "exact": {"color": "black", "ls": "-.", "lw": 0.8},
}
"""The style of the line of each route to a dwell time."""


def dwell(landscape: xr.Dataset) -> Figure:
    """The share of visits that last longer than a time, per state, beside the exponential law of each route.

    Visits that are cut off by the end of a sequence are censored (Kaplan and Meier, 1958).

    Parameters
    ----------
    landscape: `Fit.landscape()`.
    """
    states = landscape.sizes["state"]
    figure = Figure(figsize=(3.6 * states, 3.4), layout="constrained")
    for state, axes in enumerate(figure.subplots(1, states, squeeze=False)[0]):
        mine = landscape["visit_state"].values == state
        times, left = _survival(landscape["visit_duration"].values[mine], landscape["visit_ended"].values[mine])
        axes.step(times, left, where="post", color=colour(state), lw=2, label="visits in the data")
        end = times[-1] if len(times) > 1 else 1.0
        for route, style in ROUTE_STYLES.items():
            mean = landscape["dwell"].sel(route=route).values[state] if route in landscape["route"] else np.nan
            if np.isfinite(mean):
                axes.plot(np.linspace(0, end, 200), np.exp(-np.linspace(0, end, 200) / mean), label=route, **style)
        axes.set(
            title=f"state {state}",
            xlabel=in_unit("time since entry", landscape["dwell"]),
            yscale="log",
            ylim=(5e-3, 1.2),
            xlim=(0, end),
        )
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("share of visits that last longer")
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def rates(landscape: xr.Dataset) -> Figure:
    """The rates of every route against the counted ones, one point per pair of states; on the line they are equal.

    Parameters
    ----------
    landscape: `Fit.landscape()`.
    """
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    counted = landscape["rate"].sel(route="counted").values
    positive = np.isfinite(counted) & (counted > 0)
    for place, route in enumerate(name for name in ROUTE_STYLES if name != "counted" and name in landscape["route"]):
        other = landscape["rate"].sel(route=route).values
        both = positive & np.isfinite(other) & (other > 0)
        axes.loglog(counted[both], other[both], "os^"[place], color=STATE_COLOURS[place], label=route.replace("_", "–"))
    if positive.any():
        ends = np.array([counted[positive].min() / 2, counted[positive].max() * 2])
        axes.plot(ends, ends, color="0.6", lw=0.8)
        axes.fill_between(ends, ends / 1.15, ends * 1.15, color="0.9", label="within 15 %", zorder=0)
        axes.legend(frameon=False, fontsize=8)
    axes.set(
        xlabel=in_unit("rate counted in the data", landscape["rate"]),
        ylabel=in_unit("rate by another route", landscape["rate"]),
    )
    return figure


def timescales(landscape: xr.Dataset) -> Figure:
    """Implied timescales of the processes between states against the lag, one panel per mode.

    Where they still rise, cores do not tell the process apart from faster ones at shorter lags. In the grey wedge a
    process is faster than the lag. Horizontal lines are the relaxation times of each route.

    Parameters
    ----------
    landscape: `Fit.landscape()`.
    """
    modes, lags = landscape.sizes["mode"], landscape["lag"].values * landscape.attrs["interval"]
    figure = Figure(figsize=(3.8 * max(modes, 1), 3.4), layout="constrained")
    for mode, axes in enumerate(figure.subplots(1, max(modes, 1), squeeze=False)[0][:modes]):
        for route, style in ROUTE_STYLES.items():
            if route not in landscape["route"]:
                continue
            one = landscape.sel(route=route).isel(mode=mode)
            if np.isfinite(one["implied"]).any():
                axes.plot(lags, one["implied"].values, marker="o", ms=3, **style)
            if np.isfinite(one["relaxation"]):
                level = float(one["relaxation"])
                axes.axhline(level, alpha=0.5, label=f"{route.replace('_', '–')} {level:.3g}", **style)
        if len(lags):
            axes.fill_between(lags, 0, lags, color="0.92", zorder=0)
            axes.set(xscale="log", xlim=(lags[0], lags[-1]))
        axes.set(yscale="log", title=f"process {mode + 1}", xlabel=in_unit("lag", landscape["implied"]))
        axes.legend(frameon=False, fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(in_unit("implied timescale", landscape["implied"]))
    return figure


def _survival(durations: Array, ended: NDArray[np.integer]) -> tuple[Array, Array]:
    """Kaplan and Meier's estimate of the share of visits that last longer, at the times where visits end."""
    times = np.unique(durations[ended == 1])
    at_risk = len(durations) - np.searchsorted(np.sort(durations), times - 1e-9 * np.abs(times))
    ends = np.searchsorted(np.sort(durations[ended == 1]), times, "right")
    deaths = np.diff(ends, prepend=0)
    return np.append(0.0, times), np.append(1.0, np.cumprod(1 - deaths / np.maximum(at_risk, 1)))
