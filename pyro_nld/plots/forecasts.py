"""Figures of forecasts: quantiles of future observations, and probabilities of future states."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..errors import DataError
from ..io.series import as_tensors
from ..io.validation import check_rows
from .style import ACCENT, channel_names, colour, time_name

MOST_PANELS = 4  # one per channel


def forecast(predicted: xr.Dataset, data: xr.Dataset, sequence: int = 0) -> Figure:
    """One sequence: its last observations, quantiles of the future ones, and P(state) against time.

    Parameters
    ----------
    predicted: from `forecast`. data: the sequences that were continued; at least as much past as future is shown.
    sequence: the number of the sequence.

    Raises
    ------
    DataError: there is no sequence of this number.
    """
    if not 0 <= sequence < predicted.sizes["sequence"]:
        raise DataError(f"sequence must be below {predicted.sizes['sequence']}: got {sequence}. Choose one there is.")
    one = predicted.isel(sequence=sequence)
    clock, x = (values[sequence].numpy() for values in check_rows(*as_tensors(data, torch.float64, whole=False)))
    ahead, now = one["times"].values, float(one["times"][0])
    past = np.isfinite(clock) & (clock >= min(2 * now - ahead[-1], clock[np.isfinite(clock)][-20:][0]))
    channels = min(MOST_PANELS, x.shape[-1])
    figure = Figure(figsize=(11, 1.9 * channels + 1.7), layout="constrained")
    *panels, bottom = figure.subplots(channels + 1, 1, sharex=True, squeeze=False)[:, 0]
    names = channel_names(data)
    called = predicted["sequence"].values[sequence] if "sequence" in predicted.coords else sequence
    for channel, axes in enumerate(panels):
        low, inner, middle, outer, high = one["quantiles"].values[:, channel].T
        axes.plot(clock[past], x[past, channel], ".-", color="0.3", ms=3, lw=0.6)
        axes.fill_between(ahead, low, high, color=ACCENT, alpha=0.2, lw=0)
        axes.fill_between(ahead, inner, outer, color=ACCENT, alpha=0.35, lw=0)
        axes.plot(ahead, middle, color=ACCENT, lw=1.2)
        axes.set_ylabel(names[channel])
        axes.spines[["top", "right"]].set_visible(False)
    bottom.stackplot(
        ahead, one["probability"].values.T, colors=[colour(state) for state in range(predicted.sizes["state"])], lw=0
    )
    bottom.set(xlabel=time_name(predicted), ylabel="P(state)", ylim=(0, 1), xlim=(clock[past][0], ahead[-1]))
    for axes in (*panels, bottom):
        axes.axvline(now, color="black", lw=0.8, ls=":")
    shown = "" if channels == x.shape[-1] else f", {channels} of {x.shape[-1]} channels"
    panels[0].set_title(f"sequence {called}{shown}: median, half and 90 % of the futures", loc="left", fontsize=10)
    patches = [Patch(color=colour(state), label=f"state {state}") for state in range(predicted.sizes["state"])]
    figure.legend(handles=patches, loc="outside upper right", ncols=len(patches), frameon=False, fontsize=8)
    return figure
