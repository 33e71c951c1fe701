"""A landscape that can be turned: the energy of a fit as a plotly figure, and plotly in a form to embed."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .. import landscape
from .._typing import Array
from ..errors import optional
from ..plots.style import ACCENT, CEILING, colour, energies, window

PLOTLY_EXTRA = "report"
GRID = 70  # grid points per axis of a surface: finer than a phone can show
DOTS = 600  # encoded points that are drawn
DRAWN_ABOVE = 0.12  # kT between the surface and the lines and dots, so that it does not hide them
DARK = "#1b2733"


def picture(
    potential: Callable[[Tensor], Tensor],
    points: Tensor,
    wells: xr.Dataset,
    path: Tensor | None = None,
    temperature: float = 1.0,
) -> Any:
    """U/T above the deepest well, as a surface over the plane of the minima; as a line where there is one axis.

    Parameters
    ----------
    potential: U.
    points: encoded data, `(point, latent)`; they determine the plane.
    wells: minima, from `landscape.minima` or `Fit.landscape`.
    path: positions of one sequence, `(time, latent)`, drawn as a line on the surface.
    temperature: T, in the unit of U.

    Returns
    -------
    A `plotly.graph_objects.Figure`.

    Raises
    ------
    MissingExtra: plotly is not installed.
    """
    draw = optional("plotly.graph_objects", PLOTLY_EXTRA)
    view = landscape.plane(points, wells)
    cloud, centres = landscape.project(view, points), landscape.project(view, wells["position"].values)
    low, high = window(cloud, centres)
    lowest = float(wells["energy"].min())

    def height(where: Array) -> Array:
        return np.minimum((energies(potential, landscape.lift(view, where)) - lowest) / temperature, CEILING)

    line = None if path is None else landscape.project(view, path)
    traces = _line(draw, low, high, height, line) if len(low) == 1 else _surface(draw, low, high, height, cloud, line)
    marks = _marks(draw, centres, height(centres))
    return draw.Figure([*traces, *marks], _layout(len(low)))


def library() -> str:
    """Plotly's JavaScript, gzipped and in base64: a third of its size. The browser unpacks it.

    Raises
    ------
    MissingExtra: plotly is not installed.
    """
    code: str = optional("plotly.offline", PLOTLY_EXTRA).get_plotlyjs()
    return base64.b64encode(gzip.compress(code.encode(), mtime=0)).decode()


def _surface(draw: Any, low: Array, high: Array, height: Callable, cloud: Array, line: Array | None) -> list:
    ticks = np.linspace(low, high, GRID).T
    grid = np.stack(np.meshgrid(*ticks), -1)
    inside = cloud[((cloud >= low) & (cloud <= high)).all(-1)][:DOTS]
    traces = [
        draw.Surface(
            x=_short(ticks[0]), y=_short(ticks[1]), z=_short(height(grid)), colorscale="Blues", reversescale=True,
            cmin=0, cmax=CEILING, showscale=False,
            contours={"z": {"show": True, "start": 0, "end": CEILING - 1, "size": 1, "color": "#44586a", "width": 1}},
            hovertemplate="%{z:.1f} kT above the deepest well<extra></extra>",
        ),
        draw.Scatter3d(
            x=_short(inside[:, 0]), y=_short(inside[:, 1]), z=_short(height(inside) + DRAWN_ABOVE), mode="markers",
            marker={"size": 1.6, "color": DARK, "opacity": 0.6}, name="encoded data", hoverinfo="skip",
        ),
    ]  # fmt: skip
    if line is not None:
        traces.append(
            draw.Scatter3d(
                x=_short(line[:, 0]), y=_short(line[:, 1]), z=_short(height(line) + DRAWN_ABOVE), mode="lines",
                line={"color": ACCENT, "width": 3}, name="one sequence", hoverinfo="skip",
            )
        )  # fmt: skip
    return traces


def _line(draw: Any, low: Array, high: Array, height: Callable, line: Array | None) -> list:
    grid = np.linspace(low, high, 4 * GRID)
    traces = [
        draw.Scatter(
            x=_short(grid[:, 0]), y=_short(height(grid)), mode="lines", line={"color": DARK, "width": 2}, name="U/T",
            hovertemplate="%{y:.1f} kT above the deepest well<extra></extra>",
        )
    ]  # fmt: skip
    if line is not None:
        traces.append(
            draw.Scatter(
                x=_short(line[:, 0]), y=_short(height(line) + DRAWN_ABOVE), mode="markers", name="one sequence",
                marker={"color": ACCENT, "size": 4, "opacity": 0.5}, hoverinfo="skip",
            )
        )  # fmt: skip
    return traces


def _marks(draw: Any, centres: Array, heights: Array) -> list:
    """A pin with a number in every minimum, high enough to be visible from all sides."""
    kind = draw.Scatter if centres.shape[-1] == 1 else draw.Scatter3d
    axes = ("x", "y")[: centres.shape[-1]]
    up = "y" if len(axes) == 1 else "z"
    return [
        kind(
            **{axis: [float(place)] * 2 for axis, place in zip(axes, centre, strict=True)},
            **{up: [float(depth) + DRAWN_ABOVE, CEILING]},
            mode="lines+markers+text", text=["", f"<b>{state}</b>"], name=f"state {state}", showlegend=False,
            textposition="top center", textfont={"size": 18, "color": DARK},
            line={"color": colour(state), "width": 4}, marker={"size": [7, 5], "color": colour(state)},
            hovertemplate=f"state {state}: {depth:.1f} kT above the deepest<extra></extra>",
        )
        for state, (centre, depth) in enumerate(zip(centres, heights, strict=True))
    ]  # fmt: skip


def _layout(axes: int) -> dict:
    shared = {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "legend": {"orientation": "h", "y": 0, "x": 0},
        "font": {"family": "system-ui, sans-serif", "color": DARK},
        "paper_bgcolor": "rgba(0,0,0,0)",
    }
    if axes == 1:
        titles = {"xaxis": {"title": {"text": "latent position"}}, "yaxis": {"title": {"text": "U/T, kT"}}}
        return shared | titles | {"margin": {"l": 60, "r": 10, "t": 10, "b": 50}, "plot_bgcolor": "white"}
    scene = {
        "xaxis": {"title": {"text": "along"}, "showticklabels": False},
        "yaxis": {"title": {"text": "across"}, "showticklabels": False},
        "zaxis": {"title": {"text": "U/T, kT"}, "range": [-0.5, CEILING + 1.5]},
        "aspectmode": "manual",
        "aspectratio": {"x": 1, "y": 1, "z": 0.6},
        "camera": {"eye": {"x": 0.95, "y": -1.15, "z": 1.15}, "center": {"x": 0, "y": 0, "z": -0.15}},
    }
    return shared | {"scene": scene}


def _short(values: Array | Tensor) -> Array:
    """Values in single precision, which halves their size in the page."""
    return np.asarray(values.detach() if isinstance(values, torch.Tensor) else values, np.float32)
