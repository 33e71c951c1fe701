"""What a page says of the states: shares, levels, visits, and the minima that are no states of their own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import xarray as xr

from ..plots.style import colour
from . import tables
from .html import badge, folded, number, table

FOLDED_ABOVE = 20  # channels; the table of more is folded


def section(landscape: xr.Dataset, summary: dict, data: xr.Dataset, names: Sequence[str]) -> str:
    """The states: how often and how deep, what the channels show there, visits, and minima that joined them.

    Parameters
    ----------
    landscape: `Fit.landscape()`. summary: the content of `summary.json`. data: what was fitted. names: of its channels.
    """
    depth = (landscape["energy"] - landscape["energy"].min()).values / landscape.attrs["temperature"]
    head = ["state", *(f"share of time,<br>{title}" for title in tables.OCCUPANCIES.values()), "bottom, kT"]
    rows = [
        [
            badge(state),
            *(
                number(summary["occupancy"][route][state], ".3f", name=f"occupancy-{route}-{state}")
                for route in tables.OCCUPANCIES
            ),
            number(float(depth[state]), ".2f"),
        ]
        for state in range(landscape.sizes["state"])
    ]
    table_of_states = table("How often, and how deep.", head, rows)
    minima = np.asarray(summary["decoded_minima"], float)
    levels = landscape["level"].values if "level" in landscape else minima
    looks = _levels(levels, minima, data["observations"].values, names)
    return table_of_states + looks + _visits(landscape) + _merged(landscape, names)


def _visits(landscape: xr.Dataset) -> str:
    """Visits to every state, counted on the labels of this page."""
    if landscape.sizes["state"] == 1:
        return ""
    head = ["state", "visits", "mean", "90 % of the mean", "median", "longest", "share of time"]
    rows = [
        [
            badge(state),
            number(float(one["visits"]), ".0f"),
            number(float(one["visit_mean"]), name=f"visit-mean-{state}"),
            f"{number(float(one['visit_mean_low']))} … {number(float(one['visit_mean_high']))}",
            *(number(float(one[name])) for name in ("visit_median", "visit_longest")),
            number(float(one["time_share"]), ".3f"),
        ]
        for state, one in enumerate(landscape.isel(state=k) for k in range(landscape.sizes["state"]))
    ]
    unit = unit_of_time(landscape)
    caption = f"How often each state was visited, and for how long, in {unit}: counted on the labels below."
    return table(caption, head, rows)


def unit_of_time(landscape: xr.Dataset) -> str:
    """The unit of time that the data say, in words, not escaped."""
    return str(landscape["dwell"].attrs.get("units", "")) or "the data's unit of time"


def _merged(landscape: xr.Dataset, names: Sequence[str]) -> str:
    """The minima that are no states of their own: what they show, why they are none, and what keeps them."""
    gone = np.flatnonzero(landscape["minimum_into"].values >= 0)
    if not len(gone):
        return ""
    channel = int(np.ptp(landscape["minimum_decoded"].values, axis=0).argmax())
    head = [
        f"level of {escape(names[channel])}", "share of time", "escape barrier, kT", "dwell", "persistence", "joined",
        "why", "kept by",
    ]  # fmt: skip
    rows = [
        [
            number(float(one["minimum_decoded"][channel]), "#.4g"),
            number(float(one["minimum_share"]), ".3f"),
            *(number(float(one[f"minimum_{name}"])) for name in ("barrier", "dwell", "persistence")),
            badge(int(one["minimum_state"])),
            escape(tables.WHY[str(one["minimum_reason"].item())]),
            f"<code>{escape(tables.keeping(one))}</code>",
        ]
        for one in (landscape.isel(minimum=place) for place in gone)
    ]
    caption = (
        "Minima of the landscape that are no states of their own: the data forget them as fast as the place in them."
    )
    return folded(
        "1 minimum that joined a state" if len(gone) == 1 else f"{len(gone)} minima that joined a state",
        table(caption, head, rows),
    )


def _levels(levels: np.ndarray, minima: np.ndarray, x: np.ndarray, names: Sequence[str]) -> str:
    """What the channels show in each state and at its minimum, beside the range in which the data lie."""
    flat = x.reshape(-1, x.shape[-1])
    low, high = np.nanquantile(flat, [0.05, 0.95], axis=0)
    shown = np.where(np.isfinite(levels), levels, minima)  # nothing was observed in a state that is never the label
    head = ["channel", "states within the data's range", *(badge(state) for state in range(len(levels)))]
    rows = [
        [
            escape(name),
            _strip(shown[:, c], low[c], high[c]),
            *(_level(levels[state, c], minima[state, c], f"{state}-{c}") for state in range(len(levels))),
        ]
        for c, name in enumerate(names)
    ]
    caption = (
        "What the channels show in each state, in their own units: the mean of the observations with its label, and "
        "below it the value at its minimum. The grey band holds 90 % of the data."
    )
    drawn = table(caption, head, rows)
    if len(names) <= FOLDED_ABOVE:
        return f"<h3>What each state looks like</h3>{drawn}"
    return "<h3>What each state looks like</h3>" + folded(f"all {len(names)} channels", drawn)


def _level(level: float, minimum: float, place: str) -> str:
    below = number(float(minimum), "#.3g", name=f"mean-{place}")
    return f"{number(float(level), '#.3g', name=f'level-{place}')}<br><small>{below}</small>"


def _strip(means: np.ndarray, low: float, high: float) -> str:
    start, end = min(low, float(means.min())), max(high, float(means.max()))
    span = max(end - start, 1e-300)

    def at(value: float) -> float:
        return 4 + 92 * (value - start) / span

    lane = 11  # pixels; every state has its own, so that states with one mean do not hide each other
    height = lane * len(means) + 4
    discs = "".join(
        f'<circle cx="{at(float(mean)):.1f}%" cy="{lane * state + 2 + lane / 2}" r="5" fill="{colour(state)}" '
        f'stroke="#fff" stroke-width="1"/>'
        for state, mean in enumerate(means)
    )
    band = f'<rect x="{at(low):.1f}%" width="{at(high) - at(low):.1f}%" height="{height}" rx="3" fill="#e3eaf0"/>'
    return f'<svg class="strip" height="{height}" aria-hidden="true">{band}{discs}</svg>'
