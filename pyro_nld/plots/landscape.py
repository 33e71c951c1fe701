"""Figures of a landscape: U/T on the plane of its minima, and along the paths between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from .._typing import Array
from ..landscape import lift, plane, project
from .style import ACCENT, CEILING, CLOUD, colour, energies, mark, window


def energy(
    potential: Callable[[Tensor], Tensor],
    wells: xr.Dataset,
    points: Tensor,
    path: Tensor | None = None,
    temperature: float = 1.0,
    resolution: int = 150,
) -> Figure:
    """U/T on the plane of the minima, with the encoded data and the path of one sequence.

    Parameters
    ----------
    potential: U.
    wells: minima, from `landscape.minima` or `Fit.landscape`.
    points: encoded data, `(point, latent)`; they determine the plane and are drawn as points.
    path: positions of one sequence, `(time, latent)`, drawn as a line.
    temperature: T, in the unit of U.
    resolution: grid points per axis.
    """
    view = plane(points, wells)
    cloud, centres = project(view, points), project(view, wells["position"].values)
    line = None if path is None else project(view, path)
    others, owner, depth = _merged(wells)
    low, high = window(cloud, centres)
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    grid = np.stack(np.meshgrid(*np.linspace(low, high, resolution).T), -1)
    height = (energies(potential, lift(view, grid)) - float(wells["energy"].min())) / temperature
    if cloud.shape[-1] == 1:
        _draw_line(axes, grid, height, wells, temperature, cloud, line)
        lowest = float(wells["energy"].min())
        _draw_merged(axes, np.stack([others[:, 0], (depth - lowest) / temperature], -1), owner)
    else:
        _draw_plane(axes, grid, height, cloud, line)
        axes.set(xlabel="along the plane of the minima", ylabel="across", aspect="equal")
        _draw_merged(axes, project(view, others), owner)
        for state, centre in enumerate(centres):
            mark(axes, state, centre)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False, fontsize=9, markerscale=4)
    axes.set_title(_title(wells))
    return figure


def passes(landscape: xr.Dataset) -> Figure:
    """U/T along the minimum-energy path over every saddle, and the disconnectivity graph beside it.

    Parameters
    ----------
    landscape: `Fit.landscape()`, or minima merged with `saddles.saddles` and the attribute `temperature`.
    """
    temperature, lowest = landscape.attrs["temperature"], float(landscape["energy"].min())
    figure = Figure(figsize=(11, 4), layout="constrained")
    profile, tree = figure.subplots(1, 2, width_ratios=[2, 1], sharey=True)
    for ends, path, heights in zip(
        *(landscape[name].values for name in ("saddle_states", "saddle_path", "saddle_path_energy")), strict=True
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
    profile.set_title("minimum-energy paths" if landscape.sizes["saddle"] else "no path: there is one state")
    _draw_tree(tree, (landscape["pass_energy"].values - lowest) / temperature)
    for axes in (profile, tree):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


# Passes


def _draw_tree(axes: Axes, heights: Array) -> None:
    """A tree with its leaves at the minima; two branches join at the lowest saddle between them."""
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
    """The states in an order in which those that join first are neighbours."""
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
        # Time increases upwards, so that a path on one axis can be followed.
        clock = np.linspace(0, top, len(line))
        axes.plot(line[:, 0], clock, color=ACCENT, lw=0.5, alpha=0.7, label="one sequence, in time")
    for state, (place, depth) in enumerate(zip(wells["position"].values[:, 0], depths, strict=True)):
        mark(axes, state, np.array([place, depth]))
    axes.set(xlabel="latent position", ylabel="U/T above the deepest well", ylim=(-0.06 * top, top))


def _merged(wells: xr.Dataset) -> tuple[Array, NDArray[np.integer], Array]:
    """The minima that speak for no state: where they are `(minimum, latent)`, whose they are, and their energy."""
    place = wells["minimum_position"].values
    spoken_for = (place[:, None] == wells["position"].values).all(-1).any(-1)
    chosen = wells.isel(minimum=np.flatnonzero(~spoken_for))
    energy = chosen["minimum_energy"].values if "minimum_energy" in chosen else np.full(len(place), np.nan)
    return chosen["minimum_position"].values, chosen["minimum_state"].values, energy


def _draw_merged(axes: Axes, places: Array, owner: NDArray[np.integer]) -> None:
    """Rings in the colour of the state that a minimum belongs to."""
    for count, (place, state) in enumerate(zip(places, owner, strict=True)):
        label = None if count else "minimum, no state of its own"
        axes.plot(*place, "o", ms=9, mfc="white", mec=colour(int(state)), mew=2, ls="", zorder=3, label=label)


def _title(wells: xr.Dataset) -> str:
    """How many states, the share of the data in each, and how many minima are none."""
    count, others = wells.sizes["state"], wells.sizes["minimum"] - wells.sizes["state"]
    title = "one state" if count == 1 else f"{count} states"
    shares = wells.get("occupancy_data", wells["share"]).values
    if count > 1:
        percent = [f"{100 * share:.0f}" if share > 0.02 else f"{100 * share:.1g}" for share in shares]
        title += ", with " + ", ".join(f"{share} %" for share in percent) + " of the data"
    if others:
        title += f"; {others} more {'minimum' if others == 1 else 'minima'} (rings)"
    return title
