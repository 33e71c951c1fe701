"""Matplotlib pictures of the library's Datasets; every function returns a Figure, and only `save` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from . import landscape
from ._drawing import ACCENT, CEILING, CLOUD, STATE_COLOURS, colour, energies, mark, window
from ._typing import Array
from .diagnostic_plots import checks, comparison, evidence, marginals, pareto_shapes, pit, ranks, restarts, statistics
from .fans import forecast
from .fields import arrows, gallery, isosurface, streamlines, surface
from .io.files import write_atomically
from .timings import dwell, rates, timescales

UNDECIDED = "#DDDDDD"
FEW = 4  # channels up to which lines can be told apart

__all__ = [
    "arrows",
    "checks",
    "comparison",
    "dwell",
    "energy",
    "evidence",
    "forecast",
    "gallery",
    "isosurface",
    "loss",
    "marginals",
    "pareto_shapes",
    "passes",
    "pit",
    "ranks",
    "rates",
    "restarts",
    "save",
    "segmentation",
    "statistics",
    "streamlines",
    "surface",
    "timescales",
]

TERMS = {"path_kl": "path", "initial_kl": "initial state", "global_kl": "other latents"}


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path` (its suffix says the format), atomically, making its folder when needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lstrip(".")
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, bbox_inches="tight"))


def loss(history: xr.Dataset) -> Figure:
    """The ELBO and its terms per observed value against the step, and what the optimiser did.

    Parameters
    ----------
    history: `Fit.history`.
    """
    figure = Figure(figsize=(11, 3.3), layout="constrained")
    bound, divergence, optimiser = figure.subplots(1, 3)
    elbo = history["log_likelihood"] - sum(history[name] for name in TERMS)
    bound.plot(history["step"], history["log_likelihood"], color=STATE_COLOURS[4], lw=0.8, label="log likelihood")
    bound.plot(history["step"], elbo, color="black", lw=0.8, label="ELBO")
    if late := elbo.values[len(elbo) // 20 :].tolist():  # the first steps would flatten all that follows
        lowest, highest = np.nanmin(late), np.nanmax(history["log_likelihood"])
        bound.set_ylim(lowest - 0.1 * (highest - lowest), highest + 0.1 * (highest - lowest))
    bound.set(title="bound, per observed value", xlabel="step")
    for shade, (name, label) in zip(STATE_COLOURS, TERMS.items(), strict=False):
        positive = history[name].where(history[name] > 0)
        if bool(positive.notnull().any()):
            divergence.semilogy(history["step"], positive, color=shade, lw=0.8, label=label)
    divergence.set(title="KL terms, per observed value", xlabel="step")
    optimiser.semilogy(history["step"], history["gradient_norm"], color="0.4", lw=0.8, label="norm of the gradient")
    optimiser.semilogy(history["step"], history["learning_rate"], color=ACCENT, lw=1, label="learning rate")
    optimiser.set(title="optimiser", xlabel="step")
    for axes in (bound, divergence, optimiser):
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def energy(
    potential: Callable[[Tensor], Tensor],
    wells: xr.Dataset,
    points: Tensor,
    path: Tensor | None = None,
    temperature: float = 1.0,
    resolution: int = 150,
) -> Figure:
    """U/T on the plane of the minima, with where the data are and one path through them.

    Parameters
    ----------
    potential: U.
    wells: minima, from `landscape.minima` or `Fit.landscape`.
    points: encoded data, `(point, latent)`: they choose the plane and are shown as a faint cloud.
    path: positions of one sequence, `(time, latent)`, drawn as a line.
    temperature: T, in the unit of U.
    resolution: grid points per axis.
    """
    view = landscape.plane(points, wells)
    cloud, centres = landscape.project(view, points), landscape.project(view, wells["position"].values)
    line = None if path is None else landscape.project(view, path)
    low, high = window(cloud, centres)
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    grid = np.stack(np.meshgrid(*np.linspace(low, high, resolution).T), -1)
    height = (energies(potential, landscape.lift(view, grid)) - float(wells["energy"].min())) / temperature
    if cloud.shape[-1] == 1:
        _draw_line(axes, grid, height, wells, temperature, cloud, line)
    else:
        _draw_plane(axes, grid, height, cloud, line)
        axes.set(xlabel="along the plane of the minima", ylabel="across", aspect="equal")
        for state, centre in enumerate(centres):
            mark(axes, state, centre)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False, fontsize=9, markerscale=4)
    axes.set_title(_title(wells))
    return figure


def segmentation(
    segments: xr.Dataset, observations: xr.DataArray, truth: xr.Dataset | None = None, sequence: int = 0
) -> Figure:
    """One sequence: its channels, P(state | data), the labels as a bar, and the truth below where it is known.

    Parameters
    ----------
    segments: from `segment`.
    observations: `(sequence, time, channel)`.
    truth: from `tables.score`: true or expert labels `states (sequence, time)` in the segments' numbers, -1 unknown.
    sequence: which.
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


def passes(story: xr.Dataset) -> Figure:
    """U/T along the minimum-energy path over every saddle, and the disconnectivity graph beside it.

    Parameters
    ----------
    story: `Fit.landscape()`, or minima merged with `saddles.saddles` and the attribute `temperature`.
    """
    temperature, lowest = story.attrs["temperature"], float(story["energy"].min())
    figure = Figure(figsize=(11, 4), layout="constrained")
    profile, tree = figure.subplots(1, 2, width_ratios=[2, 1], sharey=True)
    for ends, path, heights in zip(
        story["saddle_states"].values, story["saddle_path"].values, story["saddle_path_energy"].values, strict=True
    ):
        length = np.concatenate([[0.0], np.linalg.norm(np.diff(path, axis=0), axis=-1).cumsum()])
        share, scaled = length / length[-1], (heights - lowest) / temperature
        profile.plot(share, scaled, color="0.3", lw=1.2)
        top = int(scaled.argmax())
        where = (share[top], scaled[top])
        profile.annotate(f"{scaled[top]:.1f}", where, (0, 4), textcoords="offset points", ha="center")
        for state, at in zip(ends, (0, -1), strict=True):
            mark(profile, int(state), np.array([share[at], scaled[at]]))
    profile.set(xlabel="share of the path from one minimum to the other", ylabel="U/T above the deepest well")
    profile.set_title("minimum-energy paths" if story.sizes["saddle"] else "no path: there is one well")
    _draw_tree(tree, (story["pass_energy"].values - lowest) / temperature)
    for axes in (profile, tree):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


# Passes


def _draw_tree(axes: Axes, heights: Array) -> None:
    """Leaves at the minima; two branches join at the lowest pass between them."""
    axes.set(title="disconnectivity graph", xticks=[])
    axes.spines["bottom"].set_visible(False)
    place: dict[frozenset[int], tuple[float, float]] = {}
    order = _leaves(heights)
    for position, state in enumerate(order):
        place[frozenset([state])] = (position, float(heights[state, state]))
    while len(place) > 1:
        pairs = [(float(np.nanmin(heights[np.ix_([*a], [*b])])), a, b) for a in place for b in place if min(a) < min(b)]
        known = [pair for pair in pairs if np.isfinite(pair[0])]
        if not known:
            break
        height, one, other = min(known, key=lambda pair: pair[0])
        (left, low), (right, deep) = place.pop(one), place.pop(other)
        axes.plot([left, left, right, right], [low, height, height, deep], color="0.3", lw=1.2)
        place[one | other] = ((left + right) / 2, height)
    top = float(np.nanmax(heights))
    for middle, start in place.values():
        axes.plot([middle, middle], [start, top + 0.1 * (abs(top) + 1)], color="0.3", lw=1.2)
    for position, state in enumerate(order):
        mark(axes, state, np.array([position, heights[state, state]]))


def _leaves(heights: Array) -> list[int]:
    """States ordered so that those that join first stand side by side."""
    groups = [[state] for state in range(len(heights))]
    while len(groups) > 1:
        pairs = [
            (np.nan_to_num(heights[np.ix_(groups[i], groups[j])], nan=np.inf).min(), i, j)
            for i in range(len(groups))
            for j in range(i)
        ]
        _, i, j = min(pairs)
        groups[j] = groups[j] + groups.pop(i)
    return groups[0]


# Energy


def _draw_plane(axes: Axes, grid: Array, height: Array, cloud: Array, line: Array | None) -> None:
    levels = np.arange(CEILING + 1)
    filled = axes.contourf(grid[..., 0], grid[..., 1], height, levels, cmap="Blues_r")
    axes.contour(grid[..., 0], grid[..., 1], height, levels, colors="0.25", linewidths=0.3)
    axes.plot(*cloud[:CLOUD].T, ".", color="black", ms=2, mew=0, alpha=0.6, label="encoded data")
    if line is not None:
        axes.plot(*line.T, color=ACCENT, lw=0.5, alpha=0.7, label="one sequence")
    axes.set(xlim=(grid[0, 0, 0], grid[0, -1, 0]), ylim=(grid[0, 0, 1], grid[-1, 0, 1]))
    axes.figure.colorbar(filled, ax=axes, label="U/T above the deepest well; white is higher")


def _draw_line(
    axes: Axes, grid: Array, height: Array, wells: xr.Dataset, temperature: float, cloud: Array, line: Array | None
) -> None:
    depths = (wells["energy"].values - wells["energy"].values.min()) / temperature
    top = min(CEILING, 1.1 * float(height.max()))
    weight, edges = np.histogram(cloud, bins=80, range=(grid.min(), grid.max()))
    axes.stairs(0.35 * top * weight / weight.max(), edges, fill=True, color="0.85", label="encoded data")
    axes.plot(grid[:, 0], height, color="black", lw=1.2)
    if line is not None:
        # Time runs upwards, so that a path on one axis can be followed.
        clock = np.linspace(0, top, len(line))
        axes.plot(line[:, 0], clock, color=ACCENT, lw=0.5, alpha=0.7, label="one sequence, in time")
    for state, (place, depth) in enumerate(zip(wells["position"].values[:, 0], depths, strict=True)):
        mark(axes, state, np.array([place, depth]))
    axes.set(xlabel="latent position", ylabel="U/T above the deepest well", ylim=(-0.06 * top, top))


def _title(wells: xr.Dataset) -> str:
    """How many wells, and the share of the data in each."""
    count = wells.sizes["state"]
    title = "one well" if count == 1 else f"{count} wells"
    shares = wells.get("occupancy_data", wells["share"]).values
    return title if count == 1 else f"{title}, with " + ", ".join(f"{100 * s:.0f} %" for s in shares) + " of the data"


# Segmentation


def _draw_channels(axes: Axes, times: Array, edges: Array, values: Array) -> None:
    """Lines where they can be told apart, otherwise one row of colours per channel, in its standard deviations."""
    if values.shape[-1] <= FEW:
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
    """Borders of bars that begin at each time; the last is as wide as the one before."""
    return np.append(times, 2 * times[-1] - times[-2])
