"""Figures of observed sequences with their states."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .._typing import Array
from .style import STATE_COLOURS, colour

MOST_LINES = 4  # one per channel; more could not be told apart
UNDECIDED = "#DDDDDD"


def segmentation(
    segments: xr.Dataset, observations: xr.DataArray, truth: xr.Dataset | None = None, sequence: int = 0
) -> Figure:
    """One sequence: its channels, P(state | data), the labels, and the true states where they are known.

    Parameters
    ----------
    segments: from `segment`.
    observations: `(sequence, time, channel)`.
    truth: from `tables.score`: true or expert labels `states (sequence, time)` in the numbers of the segments, -1 where
        unknown.
    sequence: the number of the sequence.
    """
    one = segments.isel(sequence=sequence)
    length = int(one["times"].notnull().sum())
    times, one = one["times"].values[:length], one.isel(time=slice(length))
    bars = {"label": one["label"].values}
    if truth is not None:
        bars["truth"] = truth["states"].isel(sequence=sequence).values[:length]
    figure = Figure(figsize=(11, 4.4 + 0.35 * len(bars)), layout="constrained")
    top, middle, *strips = figure.subplots(2 + len(bars), 1, sharex=True, height_ratios=[2.4, 1.4] + [0.35] * len(bars))
    edges = _edges(times)
    _draw_channels(top, times, edges, observations.isel(sequence=sequence).values[:length])
    shares = np.cumsum(np.pad(one["probability"].values, ((0, 0), (1, 0))), -1)
    for state in range(segments.sizes["state"]):
        middle.stairs(shares[:, state + 1], edges, baseline=shares[:, state], fill=True, color=colour(state))
    middle.set(ylabel="P(state | data)", ylim=(0, 1))
    for axes, (name, labels) in zip(strips, bars.items(), strict=True):
        _bar(axes, edges, labels, name)
    strips[-1].set_xlabel("time")
    _name_states(figure, segments.sizes["state"], any((labels < 0).any() for labels in bars.values()))
    top.set_title(f"sequence {sequence}")
    return figure


# Segmentation


def _draw_channels(axes: Axes, times: Array, edges: Array, values: Array) -> None:
    """One line per channel where there are few; otherwise a row of colours per channel, in standard deviations."""
    if values.shape[-1] <= MOST_LINES:
        for shade, channel in zip(np.linspace(0, 0.6, values.shape[-1]), values.T, strict=True):
            axes.plot(times, channel, lw=0.7, color=str(shade))
        axes.set_ylabel("observed")
        return
    standard = (values - np.nanmean(values, 0)) / np.maximum(np.nanstd(values, 0), np.finfo(float).tiny)
    rows = np.arange(values.shape[-1] + 1) - 0.5
    mesh = axes.pcolormesh(edges, rows, standard.T, cmap="RdBu_r", vmin=-3, vmax=3, rasterized=True)
    axes.set_ylabel("channel")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.figure.colorbar(mesh, ax=axes, label="in its own sd", pad=0.01)


def _bar(axes: Axes, edges: Array, labels: NDArray[np.integer], name: str) -> None:
    colours = ListedColormap([UNDECIDED, *STATE_COLOURS])
    shown = np.where(labels < 0, 0, labels % len(STATE_COLOURS) + 1)
    axes.pcolormesh(edges, [0, 1], shown[None], cmap=colours, vmin=0, vmax=len(STATE_COLOURS), rasterized=True)
    axes.set(yticks=[])
    axes.set_ylabel(name, rotation=0, ha="right", va="center")


def _name_states(figure: Figure, states: int, undecided: bool) -> None:
    patches = [Patch(color=colour(state), label=f"state {state}") for state in range(states)]
    if undecided:
        patches.append(Patch(color=UNDECIDED, label="undecided or unknown"))
    figure.legend(handles=patches, loc="outside upper right", ncols=len(patches), frameon=False, fontsize=8)


def _edges(times: Array) -> Array:
    """The edges of bars that begin at each time; the last bar is as wide as the one before."""
    return np.append(times, 2 * times[-1] - times[-2])
