"""Figures of the force field and the energy: arrows, streamlines, surfaces and isosurfaces.

They show the plane of the minima, or with `axes=3` the space of the three principal axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from contourpy import contour_generator
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from torch import Tensor

from .. import landscape
from .._typing import Array
from ..errors import ShapeError
from .style import CEILING, colour, energies, mark, window

Force = Callable[[Tensor], Tensor]
"""Maps points `(point, latent)` to the force there, for example `Fit.dynamics.rest_force` or any drift."""

FLOW_LINES = 200  # in space
FLOW_STEPS = 80  # of each flow line
SLICES = 15  # per axis of an isosurface
CUBE = 48  # grid points per axis of an isosurface
ISOSURFACE_MARGIN = 1.5  # kT above the shallowest minimum at which an isosurface lies


def gallery(
    force: Force,
    potential: Callable[[Tensor], Tensor] | None,
    points: Tensor,
    wells: xr.Dataset,
    temperature: float = 1.0,
) -> dict[str, Figure]:
    """All figures of this module that the number of latent axes allows, by name.

    Parameters
    ----------
    force: for example `Fit.dynamics.rest_force`. potential: U; where it is None, only the force is drawn.
    points, wells, temperature: as for `arrows` and `surface`.
    """
    found: dict[str, Figure] = {}
    if points.shape[-1] > 1:
        found |= {"arrows": arrows(force, points, wells), "streamlines": streamlines(force, points, wells)}
    if points.shape[-1] > 2:
        found |= {"arrows_3d": arrows(force, points, wells, 3), "streamlines_3d": streamlines(force, points, wells, 3)}
    if potential is not None and points.shape[-1] > 1:
        found["surface"] = surface(potential, points, wells, temperature)
    if potential is not None and points.shape[-1] > 2:
        found["isosurface"] = isosurface(potential, points, wells, temperature)
    return found


def arrows(force: Force, points: Tensor, wells: xr.Dataset | None = None, axes: int = 2) -> Figure:
    """The force as arrows of equal length; their colour gives its strength.

    Parameters
    ----------
    force: points `(point, latent)` to vectors `(point, latent)`.
    points: encoded data, `(point, latent)`; they determine the view. wells: minima or attractors to mark, or None.
    axes: 2 for the plane of the minima, 3 for space.

    Raises
    ------
    ShapeError: there are fewer latent axes than `axes`.
    """
    scene, grid = _scene(points, wells, axes), 25 if axes == 2 else 9
    where = scene.grid(grid)
    vectors = scene.along(force, where)
    strength = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-12)
    unit = vectors / strength[..., None]
    figure, canvas = scene.canvas("force")
    norm = LogNorm(*np.quantile(strength, [0.02, 0.98]))
    if axes == 2:
        drawn = canvas.quiver(*np.moveaxis(where, -1, 0), *np.moveaxis(unit, -1, 0), strength, norm=norm, scale=30)
    else:
        flat, direction = where.reshape(-1, 3), unit.reshape(-1, 3)
        length = 0.6 * float((scene.high - scene.low).min()) / grid
        drawn = canvas.quiver(*flat.T, *direction.T, length=length, lw=0.8, norm=norm)
        # matplotlib draws every arrow of space as three lines: the shafts first, then both sides of all heads
        drawn.set_array(np.concatenate([strength.ravel(), strength.ravel().repeat(2)]))
    figure.colorbar(drawn, ax=canvas, label="strength of the force", shrink=0.8)
    return figure


def streamlines(force: Force, points: Tensor, wells: xr.Dataset | None = None, axes: int = 2) -> Figure:
    """Streamlines of the force: everywhere on the plane, and in space from encoded points to their wells.

    Parameters
    ----------
    force, points, wells, axes: as for `arrows`.
    """
    scene = _scene(points, wells, axes)
    figure, canvas = scene.canvas("lines of flow")
    if axes == 2:
        where = scene.grid(60)
        vectors = scene.along(force, where)
        speed = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-12)
        # lines of matplotlib are long where the speed is high; at equal speed they cover the plane
        canvas.streamplot(
            where[0, :, 0], where[:, 0, 1], *np.moveaxis(vectors / speed[..., None], -1, 0),
            color=np.log(speed), cmap="viridis", linewidth=0.8, density=1.6, arrowsize=0.8,
        )  # fmt: skip
        return figure
    lines = _flow(force, points[:FLOW_LINES], 0.02 * float((scene.high - scene.low).max()))
    if wells is None:
        shades = ["0.3"] * len(lines)
    else:
        ends = np.linalg.norm(lines[:, -1, None] - wells["position"].values, axis=-1).argmin(-1)
        shades = [colour(state) for state in ends.tolist()]
    shown = landscape.project(scene.view, lines)
    canvas.add_collection3d(Line3DCollection(shown, colors=shades, linewidths=0.7, alpha=0.7))
    canvas.scatter(*shown[:, 0].T, s=3, color="0.2", depthshade=False)
    return figure


def surface(
    potential: Callable[[Tensor], Tensor], points: Tensor, wells: xr.Dataset, temperature: float = 1.0
) -> Figure:
    """U/T above the deepest well as a surface over the plane of the minima, cut off at 12 kT.

    Parameters
    ----------
    potential: U. points: encoded data, `(point, latent)`. wells: minima. temperature: T, in the unit of U.
    """
    scene = _scene(points, wells, 2)
    where = scene.grid(120)
    height = np.minimum(scene.height(potential, where, wells, temperature), CEILING)
    figure, canvas = scene.canvas("energy", space=True)
    canvas.plot_surface(*np.moveaxis(where, -1, 0), height, cmap="Blues_r", rcount=90, ccount=90, lw=0, alpha=0.9)
    depth = (wells["energy"].values - float(wells["energy"].min())) / temperature
    for state, (centre, low) in enumerate(zip(scene.centres, depth, strict=True)):
        canvas.plot([centre[0]] * 2, [centre[1]] * 2, [low, CEILING], color=colour(state), lw=1, zorder=10)
        canvas.text(centre[0], centre[1], CEILING, f" {state}", color=colour(state), weight="bold", zorder=11)
    canvas.set(zlabel="U/T", zlim=(0, CEILING))
    canvas.view_init(45, -60)
    return figure


def isosurface(
    potential: Callable[[Tensor], Tensor],
    points: Tensor,
    wells: xr.Dataset,
    temperature: float = 1.0,
    level: float | None = None,
) -> Figure:
    """The surface where U/T has a given height, in the space of three axes, drawn by its outlines in slices.

    Parameters
    ----------
    potential, points, wells, temperature: as for `surface`.
    level: height above the deepest well, kT; when None, 1.5 kT above the shallowest well, so that all wells are shown.

    Raises
    ------
    ShapeError: there are fewer than three latent axes.
    """
    scene = _scene(points, wells, 3)
    depth = (wells["energy"].values - float(wells["energy"].min())) / temperature
    level = float(depth.max()) + ISOSURFACE_MARGIN if level is None else level
    height = scene.height(potential, scene.grid(CUBE), wells, temperature).swapaxes(0, 1)  # indexed by x, y, z
    ticks = [np.linspace(low, high, CUBE) for low, high in zip(scene.low, scene.high, strict=True)]
    outlines = [line for axis in range(3) for line in _outlines(height, ticks, axis, level)]
    figure, canvas = scene.canvas(f"where U is {level:.1f} kT above the deepest well")
    for line in outlines:
        state = int(np.linalg.norm(line.mean(0) - scene.centres, axis=-1).argmin())
        canvas.plot(*line.T, color=colour(state), lw=0.6, alpha=0.8)
    return figure


class _Scene(NamedTuple):
    view: xr.Dataset
    low: Array
    high: Array
    centres: Array  # of the wells, in the view

    def grid(self, count: int) -> Array:
        """Coordinates `(…, axis)` of a grid over the window, laid out as matplotlib's `meshgrid`."""
        return np.stack(np.meshgrid(*np.linspace(self.low, self.high, count).T), -1)

    def along(self, force: Force, where: Array) -> Array:
        """The force's components in the view."""
        with torch.no_grad():
            points = torch.as_tensor(landscape.lift(self.view, where), dtype=torch.get_default_dtype())
            vectors = force(points.flatten(0, -2)).reshape(points.shape)
        return vectors.double().numpy() @ self.view["axes"].values.T

    def height(self, potential: Callable[[Tensor], Tensor], where: Array, wells: xr.Dataset, t: float) -> Array:
        """U/T above the deepest well."""
        return (energies(potential, landscape.lift(self.view, where)) - float(wells["energy"].min())) / t

    def canvas(self, title: str, space: bool = False) -> tuple[Figure, Any]:
        """Empty axes for the window, with marks at the wells unless energy is the third axis."""
        figure = Figure(figsize=(7, 5.6), layout="constrained")
        deep = space or len(self.low) == 3
        canvas: Any = figure.subplots(subplot_kw={"projection": "3d"} if deep else {})
        canvas.set(title=title, xlim=(self.low[0], self.high[0]), ylim=(self.low[1], self.high[1]))
        canvas.set(xlabel="along the plane of the minima", ylabel="across")
        if len(self.low) == 3:
            canvas.set(zlabel="out of the plane", zlim=(self.low[2], self.high[2]))
            for state, centre in enumerate(self.centres):
                canvas.scatter(*centre, s=70, color=colour(state), ec="white", depthshade=False)
                canvas.text(*centre, f"  {state}", color=colour(state), weight="bold", zorder=10)
        elif not space:
            canvas.set_aspect("equal")
            for state, centre in enumerate(self.centres):
                mark(canvas, state, centre)
        return figure, canvas


def _scene(points: Tensor, wells: xr.Dataset | None, axes: int) -> _Scene:
    if points.shape[-1] < axes:
        raise ShapeError(f"a picture with {axes} axes needs as many latent ones: got {points.shape[-1]}. Draw fewer.")
    view = landscape.plane(points, wells, axes)
    cloud = landscape.project(view, points)
    centres = cloud[:0] if wells is None else landscape.project(view, wells["position"].values)
    return _Scene(view, *window(cloud, centres if len(centres) else cloud[:1]), centres)


def _flow(force: Force, starts: Tensor, length: float) -> Array:
    """Lines `(line, step, latent)` along the force, in steps of at most `length`, that end in a minimum."""
    here, lines = starts.detach(), [starts.detach()]
    with torch.no_grad():
        for _ in range(FLOW_STEPS):
            vectors = force(here)
            ahead = force(here + 0.5 * length * vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12))
            steady = (vectors * ahead).sum(-1, keepdim=True) > 0  # else the minimum lies in between
            unit = ahead / ahead.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            here = torch.where(steady, here + length * unit, here)
            lines.append(here)
    return torch.stack(lines, 1).numpy()


def _outlines(height: Array, ticks: list[Array], axis: int, level: float) -> list[Array]:
    """The contour lines `(point, 3)` of a level, on slices across one axis of a cube indexed (x, y, z)."""
    one, other = [side for side in range(3) if side != axis]
    found: list[Array] = []
    for place in np.linspace(0, len(ticks[axis]) - 1, SLICES + 2).round().astype(int)[1:-1]:
        sheet = np.take(height, place, axis)  # indexed (one, other); contours want (other, one)
        for flat in contour_generator(ticks[one], ticks[other], sheet.T).lines(level):
            line = np.empty((len(flat), 3))
            line[:, [one, other]], line[:, axis] = flat, ticks[axis][place]
            found.append(line)
    return found
