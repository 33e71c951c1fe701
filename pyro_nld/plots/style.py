"""What all figures share: colours, marks of states, the window around the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
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


def energies(potential: Callable[[Tensor], Tensor], points: Array) -> Array:
    """U at points `(*any, latent)`."""
    with torch.no_grad():
        return potential(torch.as_tensor(points, dtype=torch.get_default_dtype())).numpy()


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path`, atomically. The suffix gives the format; the folder is made where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lstrip(".")
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, bbox_inches="tight"))
