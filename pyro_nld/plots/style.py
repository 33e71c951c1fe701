"""What all figures share: colours, marks of states, the window around the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .._typing import Array
from ..io.files import write_atomically

STATE_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
"""One colour per state: the palette of Okabe and Ito, whose colours differ for every kind of colour vision."""

ACCENT = "#D55E00"  # the one path among the points
CEILING = 12  # kT above the deepest well, above which energies are not drawn
CLOUD = 3000  # encoded points that are drawn


def colour(state: int) -> str:
    """The colour of a state, the same in every figure."""
    return STATE_COLOURS[state % len(STATE_COLOURS)]


def mark(axes: Axes, state: int, centre: Array) -> None:
    """Draw a disc with the number of the state."""
    axes.plot(*centre, "o", ms=13, color=colour(state), mec="white", zorder=4)
    where = (centre[0], centre[1])
    axes.annotate(str(state), where, color="white", ha="center", va="center_baseline", fontsize=9, zorder=5)


def window(cloud: Array, centres: Array) -> tuple[Array, Array]:
    """The lower and upper corner of a box around nearly all points and all minima."""
    low = np.minimum(np.quantile(cloud, 0.001, axis=0), centres.min(0))
    high = np.maximum(np.quantile(cloud, 0.999, axis=0), centres.max(0))
    margin = 0.15 * (high - low)
    return low - margin, high + margin


def channel_names(data: xr.Dataset) -> list[str]:
    """What stands beside the axes of channels: their names, with the units of the coordinate `unit (channel)`.

    Parameters
    ----------
    data: observations `(sequence, time, channel)`.
    """
    channels = data.sizes["channel"]
    plain = ["observed"] if channels == 1 else [f"channel {channel}" for channel in range(channels)]
    names = [str(name) for name in data["channel"].values] if "channel" in data.coords else plain
    units = data["unit"].values if "unit" in data.coords else [""] * channels
    return [f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True)]


def time_name(data: xr.Dataset) -> str:
    """What stands below an axis of time, with the unit in the attribute `units` of the times or of the Dataset."""
    clocks = [data[name] for name in ("times", "time") if name in data.variables]
    unit = next((str(one.attrs["units"]) for one in (*clocks, data) if one.attrs.get("units")), "")
    return f"time ({unit})" if unit else "time"


def in_unit(title: str, values: xr.DataArray) -> str:
    """A title with the unit in the attribute `units` of the values, where they have one."""
    unit = values.attrs.get("units", "")
    return f"{title} ({unit})" if unit else title


def energies(potential: Callable[[Tensor], Tensor], points: Array) -> Array:
    """U at points `(*any, latent)`."""
    with torch.no_grad():
        return potential(torch.as_tensor(points, dtype=torch.get_default_dtype())).numpy()


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path`, atomically. The suffix gives the format; the folder is made where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lstrip(".")
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, bbox_inches="tight"))
