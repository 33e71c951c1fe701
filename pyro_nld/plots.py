"""Matplotlib pictures of the library's Datasets; every function returns a Figure and saves nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from . import landscape
from ._files import write_atomically

STATE_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
"""One colour per state: the palette of Okabe and Ito, told apart with every kind of colour vision."""

UNDECIDED = "#DDDDDD"
CEILING = 12  # kT above the deepest well at which an energy picture stops


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path` (its suffix says the format), atomically, making its folder when needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lstrip(".")
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, bbox_inches="tight"))


def loss(history: xr.Dataset) -> Figure:
    """The terms of the ELBO per observed value against the step, and the norm of the gradient.

    Parameters
    ----------
    history: `Fit.history`.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    terms = {
        "log_likelihood": "log likelihood",
        "path_kl": "path KL",
        "initial_kl": "initial KL",
        "global_kl": "global KL",
    }
    left, middle, right = figure.subplots(1, 3)
    left.plot(history["step"], history["log_likelihood"], color=STATE_COLOURS[0], lw=0.8)
    left.set(title="log likelihood per value", xlabel="step")
    for colour, name in zip(STATE_COLOURS[1:], list(terms)[1:], strict=False):
        if bool((history[name] > 0).any()):
            middle.semilogy(
                history["step"], history[name].where(history[name] > 0), color=colour, lw=0.8, label=terms[name]
            )
    middle.set(title="KL per value", xlabel="step")
    middle.legend(frameon=False)
    right.semilogy(history["step"], history["gradient_norm"], color="0.4", lw=0.8)
    right.set(title="norm of the gradient", xlabel="step")
    return figure


def energy(
    potential: Callable[[Tensor], Tensor],
    wells: xr.Dataset,
    points: Tensor,
    path: Tensor | None = None,
    temperature: float = 1.0,
    resolution: int = 120,
) -> Figure:
    """U/T on the plane of the minima, with where the data are and one path through them.

    Parameters
    ----------
    potential: U.
    wells: minima, from `landscape.minima`.
    points: encoded data, `(point, latent)`: they choose the plane and are shown as a faint cloud.
    path: positions of one sequence, `(time, latent)`, drawn as a line.
    temperature: T, in the unit of U.
    resolution: grid points per axis.
    """
    plane = landscape.plane(points, wells)
    cloud, centres = landscape.project(plane, points), landscape.project(plane, wells["position"].values)
    if cloud.shape[-1] == 1:
        return _energy_line(potential, wells, cloud, temperature)
    low, high = _window(cloud, centres)
    first, second = (np.linspace(low[i], high[i], resolution) for i in range(2))
    grid = np.stack(np.meshgrid(first, second), -1)
    height = _energies(potential, landscape.lift(plane, grid), wells, temperature)
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    levels = np.arange(0, CEILING + 1)
    filled = axes.contourf(first, second, np.minimum(height, CEILING), levels, cmap="cividis")
    axes.contour(first, second, height, levels, colors="white", linewidths=0.4, alpha=0.6)
    axes.plot(*cloud[:2000].T, ".", color="white", ms=1, alpha=0.35)
    if path is not None:
        axes.plot(*landscape.project(plane, path).T, color="#D55E00", lw=0.8, label="one sequence")
        axes.legend(loc="upper right", fontsize=8)
    _mark(axes, centres)
    figure.colorbar(filled, label="U/T above the deepest well")
    axes.set(xlabel="first axis of the plane", ylabel="second axis of the plane", title="energy landscape and data")
    axes.set_xlim(first[0], first[-1])
    axes.set_ylim(second[0], second[-1])
    return figure


def segmentation(
    segments: xr.Dataset, observations: xr.DataArray, states: xr.DataArray | None = None, sequence: int = 0
) -> Figure:
    """One sequence: its channels, P(state | data), the labels as a bar, and the truth below where it is known.

    Parameters
    ----------
    segments: from `segment`.
    observations: `(sequence, time, channel)`.
    states: true or expert labels `(sequence, time)`, numbered like the segments' states; -1 unknown.
    sequence: which.
    """
    rows = 3 if states is None else 4
    figure = Figure(figsize=(10, 1.6 + 0.9 * rows), layout="constrained")
    heights = [2.2, 1.4] + [0.35] * (rows - 2)
    axes = figure.subplots(rows, 1, sharex=True, height_ratios=heights)
    one = segments.isel(sequence=sequence)
    times = one["times"].values
    axes[0].plot(times, observations.isel(sequence=sequence), lw=0.6)
    axes[0].set_ylabel("channels")
    axes[1].stackplot(times, one["probability"].values.T, colors=STATE_COLOURS)
    axes[1].set(ylabel="P(state)", ylim=(0, 1))
    _bar(axes[2], times, one["label"].values, "label")
    if states is not None:
        _bar(axes[3], times, states.isel(sequence=sequence).values, "truth")
    axes[-1].set_xlabel("time")
    return figure


def _energy_line(
    potential: Callable[[Tensor], Tensor], wells: xr.Dataset, cloud: np.ndarray, temperature: float
) -> Figure:
    centres = wells["position"].values[:, :1]
    low, high = _window(cloud, centres)
    line = np.linspace(low[0], high[0], 400)[:, None]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(line, _energies(potential, line, wells, temperature), color=STATE_COLOURS[0])
    weight, edges = np.histogram(cloud, bins=60, range=(low[0], high[0]))
    axes.stairs(CEILING / 3 * weight / weight.max(), edges, fill=True, color="0.85", label="encoded data")
    axes.plot(centres, _energies(potential, centres, wells, temperature), "o", color=STATE_COLOURS[5], label="minima")
    axes.set(
        xlabel="latent position", ylabel="U/T above the deepest well", ylim=(-0.3, CEILING), title="energy landscape"
    )
    axes.legend(frameon=False)
    return figure


def _energies(
    potential: Callable[[Tensor], Tensor], points: np.ndarray, wells: xr.Dataset, temperature: float
) -> np.ndarray:
    with torch.no_grad():
        energy = potential(torch.as_tensor(points, dtype=torch.get_default_dtype())).numpy()
    return (energy - float(wells["energy"].min())) / temperature


def _window(cloud: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low = np.minimum(np.quantile(cloud, 0.001, axis=0), centres.min(0))
    high = np.maximum(np.quantile(cloud, 0.999, axis=0), centres.max(0))
    margin = 0.15 * (high - low)
    return low - margin, high + margin


def _mark(axes: Axes, centres: np.ndarray) -> None:
    for state, centre in enumerate(centres):
        axes.plot(*centre, "o", ms=11, color=STATE_COLOURS[state % len(STATE_COLOURS)], mec="white")
        axes.annotate(str(state), centre, color="white", ha="center", va="center", fontsize=8)


def _bar(axes: Axes, times: np.ndarray, labels: np.ndarray, name: str) -> None:
    colours = ListedColormap([UNDECIDED, *STATE_COLOURS])
    ends = np.append(times, 2 * times[-1] - times[-2])
    shown = np.where(labels < 0, 0, labels % len(STATE_COLOURS) + 1)
    axes.pcolormesh(ends, [0, 1], shown[None], cmap=colours, vmin=0, vmax=len(STATE_COLOURS), rasterized=True)
    axes.set(yticks=[], ylabel=name)
