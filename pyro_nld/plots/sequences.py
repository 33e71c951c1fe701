"""Figures of observed sequences with their states: a whole recording, and its short visits close up."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.patches import Patch

from .._typing import Array
from . import envelopes
from .envelopes import Labels
from .style import STATE_COLOURS, channel_names, colour, time_name

MOST_LINES = 6  # channels with an axis of their own; more are rows of colours
COLUMNS = 1000  # of one picture; a longer sequence is drawn by the range of the values in each column
CLOSE_UP = 150  # observations in a close-up
SHORT = 400  # observations of a sequence that needs no close-up
DOTS = 300  # observations up to which each has its dot
NAMED_ROWS = 25  # channels named beside rows of colours; of more, every second, third … is
UNDECIDED, UNDECIDED_LINE = "#DDDDDD", "#999999"


class _Sequence(NamedTuple):
    """What is drawn of one sequence, or of a part of it; everything is `(time, …)`."""

    times: Array
    values: Array
    probability: Array
    bars: dict[str, Labels]

    def part(self, begin: int, end: int) -> _Sequence:
        bars = {name: labels[begin:end] for name, labels in self.bars.items()}
        return _Sequence(self.times[begin:end], self.values[begin:end], self.probability[begin:end], bars)


class _Names(NamedTuple):
    """Words beside the axes."""

    channels: Sequence[str]
    time: str


class _CloseUp(NamedTuple):
    """A part of a sequence, from `begin` to before `end`, around the observation `at`."""

    title: str
    at: int
    begin: int
    end: int


def segmentation(
    segments: xr.Dataset,
    observations: xr.DataArray | xr.Dataset,
    truth: xr.Dataset | None = None,
    sequence: int = 0,
) -> Figure:
    """One sequence: its channels in the colours of the states, P(state | data), the labels, and the truth if known.

    A long one is drawn whole: each column of the picture spans all values in it, so that the shortest visit is seen.
    Below it stand the shortest and a typical visit of the state with the fewest observations, close up.

    Parameters
    ----------
    segments: from `segment`; of pieces, `datasets.joined(segments, data)`.
    observations: `(sequence, time, channel)`, or the Dataset that has them: coordinate `channel` names the channels,
        `unit (channel)` and the attribute `units` of the times say their units.
    truth: from `tables.score`: true or expert labels `states (sequence, time)` in the segments' numbers, -1 unknown.
    sequence: which.
    """
    data = observations if isinstance(observations, xr.Dataset) else observations.to_dataset(name="observations")
    one = _selected(segments, data, truth, sequence)
    names = _Names(channel_names(data), time_name(data))
    states = segments.sizes["state"]
    near = _close_ups(one, states)
    rows = _heights(len(names.channels), len(one.bars), states)
    figure = Figure(figsize=(11, sum(rows) * (1.8 if near else 1) + 1.0), layout="constrained")
    grid = figure.add_gridspec(2 if near else 1, 1, height_ratios=[1, 0.8] if near else [1])
    top = _panel(figure, grid[0], one, names, rows)
    top.set_title(_title(data, sequence, one), loc="left", pad=24 if near else 6)
    if near:
        below = grid[1].subgridspec(1, len(near))
        for place, close in enumerate(near):
            axes = _panel(figure, below[place], one.part(close.begin, close.end), names, rows)
            axes.set_title(close.title, loc="left", fontsize=10, pad=16)
            for where, letter in ((top, close.title[0]), (axes, "")):
                _point_at(where, one.times[close.at], letter)
    _name_states(figure, one, states)
    return figure


# What is drawn


def _selected(segments: xr.Dataset, data: xr.Dataset, truth: xr.Dataset | None, sequence: int) -> _Sequence:
    one = segments.isel(sequence=sequence)
    length = int(one["times"].notnull().sum())
    bars = {"label": one["label"].values[:length]}
    if truth is not None:
        bars["truth"] = truth["states"].isel(sequence=sequence).values[:length]
    values = data["observations"].transpose("sequence", "time", "channel").values[sequence, :length]
    probability = one["probability"].transpose("time", "state").values[:length]
    return _Sequence(one["times"].values[:length].astype(float), values.astype(float), probability, bars)


def _close_ups(one: _Sequence, states: int) -> list[_CloseUp]:
    """Where to look closer: a short and a typical visit of the state with the fewest observations."""
    label = one.bars["label"]
    if len(label) <= SHORT:
        return []
    count = np.bincount(label[label >= 0], minlength=states)
    if (count > 0).sum() < 2:
        return [_around(envelopes.Visit(0, *[len(label) // 2] * 2), f"a: {CLOSE_UP} observations", len(label))]
    rare = int(np.where(count > 0, count, len(label) + 1).argmin())
    found = [visit for visit in envelopes.visits(label, one.times) if visit.state == rare]
    whole = [visit for visit in found if visit.begin > 0 and visit.end < len(label)]  # not cut off by the recording
    found = sorted(whole or found, key=lambda visit: visit.end - visit.begin)
    chosen = [found[0]] if len(found) == 1 else [found[0], found[len(found) // 2]]
    words = ["the only visit"] if len(found) == 1 else ["a short visit", "a typical visit"]
    return [
        _around(visit, f"{letter}: {word} to state {rare}, {_count(visit.end - visit.begin)}", len(label))
        for letter, word, visit in zip("ab", words, chosen, strict=False)
    ]


def _around(visit: envelopes.Visit, title: str, length: int) -> _CloseUp:
    width = min(length, max(CLOSE_UP, 3 * (visit.end - visit.begin) // 2))
    at = (visit.begin + visit.end) // 2
    begin = int(np.clip(at - width // 2, 0, length - width))
    return _CloseUp(title, at, begin, begin + width)


def _heights(channels: int, bars: int, states: int) -> list[float]:
    """Inches of the rows of a panel: channels, probability, one bar for the labels and one for the truth."""
    lines = [max(0.85, 2.2 / channels)] * channels
    rows = lines if channels <= MOST_LINES else [min(max(2.2, 0.15 * channels), 4.5)]
    return [*rows, 1.0, *[0.12 * states + 0.1] * bars]


# Panels


def _panel(figure: Figure, place: SubplotSpec, one: _Sequence, names: _Names, heights: Sequence[float]) -> Axes:
    """All rows of one stretch of time; returns the uppermost."""
    grid = place.subgridspec(len(heights), 1, height_ratios=heights)
    top = figure.add_subplot(grid[0])
    rows = [top, *(figure.add_subplot(grid[row], sharex=top) for row in range(1, len(heights)))]
    columns = envelopes.columns(one.times, COLUMNS)
    *lines, middle = rows[: -len(one.bars)]
    if len(lines) == len(names.channels):
        for axes, values, name in zip(lines, one.values.T, names.channels, strict=True):
            _draw_channel(axes, one, values, columns)
            _name(axes, name)
    else:
        _draw_heat(lines[0], one.values, columns, names.channels)
    _draw_probability(middle, one.probability, columns)
    for axes, (name, labels) in zip(rows[-len(one.bars) :], one.bars.items(), strict=True):
        _draw_labels(axes, labels, columns, one.probability.shape[1])
        _name(axes, name)
    for axes in rows[:-1]:
        axes.tick_params(labelbottom=False)
    top.set_xlim(columns.edges[0], columns.edges[-1])
    rows[-1].set_xlabel(names.time)
    figure.align_ylabels(rows)
    return top


def _name(axes: Axes, name: str) -> None:
    axes.set_ylabel("\n".join(wrap(name, 14)), rotation=0, ha="right", va="center")


def _draw_channel(axes: Axes, one: _Sequence, values: Array, columns: envelopes.Columns) -> None:
    """A line in the colours of the states; where observations are many, all that each state shows in each column."""
    label, states = one.bars["label"], one.probability.shape[1]
    shades = np.array([*(colour(state) for state in range(states)), UNDECIDED_LINE])  # the last answers for -1
    if len(values) <= COLUMNS:
        seen = np.isfinite(values)
        strokes = _strokes(one.times, values)[seen]
        axes.add_collection(LineCollection(list(strokes), colors=shades[label[seen]], lw=0.8))
        if len(values) <= DOTS:
            axes.scatter(one.times[seen], values[seen], s=5, c=shades[label[seen]], linewidths=0)
        axes.autoscale_view()
        return
    for state in [-1, *np.argsort(-np.bincount(label[label >= 0], minlength=states))]:  # a rare one is not covered
        low, high = columns.range(values, label == state)
        at, low, high = np.stack([columns.centres, low, high])[:, np.isfinite(low)]
        axes.vlines(at, low, high, color=shades[state], lw=0.9, capstyle="projecting", rasterized=True)
        one = low == high  # a line of no length is not drawn: a brief visit to a rare state, a sparse part
        axes.plot(at[one], low[one], ".", color=shades[state], ms=2.5, rasterized=True)


def _strokes(times: Array, values: Array) -> Array:
    """What belongs to each observation: half the way from the one before and to the next, unless a pause is there."""
    points = np.stack([times, values], -1)
    middle = (points[1:] + points[:-1]) / 2
    cut = envelopes.pauses(times) | np.isnan(middle[:, 1])
    before, behind = points.copy(), points.copy()
    before[1:] = np.where(cut[:, None], points[1:], middle)
    behind[:-1] = np.where(cut[:, None], points[:-1], middle)
    return np.stack([before, points, behind], 1)


def _draw_heat(axes: Axes, values: Array, columns: envelopes.Columns, names: Sequence[str]) -> None:
    """One row of colours per channel, in its standard deviations."""
    seen = np.isfinite(values)
    count = np.maximum(seen.sum(0), 1)
    off = np.where(seen, values - np.where(seen, values, 0).sum(0) / count, np.nan)
    sd = np.sqrt(np.nan_to_num(off**2).sum(0) / count)
    shown = columns.mean(off / np.maximum(sd, np.finfo(float).tiny)).T
    rows = np.arange(len(names) + 1) - 0.5
    mesh = axes.pcolormesh(columns.edges, rows, shown, cmap="RdBu_r", vmin=-3, vmax=3, rasterized=True)
    every = slice(None, None, -(-len(names) // NAMED_ROWS))
    axes.set_yticks(np.arange(len(names))[every], names[every], fontsize=7)
    axes.set_ylabel("channel")
    axes.invert_yaxis()
    axes.figure.colorbar(mesh, ax=axes, label="in its own sd", pad=0.01)


def _draw_probability(axes: Axes, probability: Array, columns: envelopes.Columns) -> None:
    shares = np.cumsum(np.pad(columns.mean(probability), ((0, 0), (1, 0))), -1)
    for state in range(probability.shape[1]):
        axes.stairs(shares[:, state + 1], columns.edges, baseline=shares[:, state], fill=True, color=colour(state))
    axes.set_ylim(0, 1)
    _name(axes, "P(state | data)")


def _draw_labels(axes: Axes, labels: Labels, columns: envelopes.Columns, states: int) -> None:
    """A lane for each state, in its colour wherever a column has one observation of it; grey where none is decided."""
    lanes = np.stack([columns.holds(labels == state) for state in range(states)])
    numbers = np.arange(states)[:, None] % len(STATE_COLOURS) + 1
    shown = np.where(lanes, numbers, np.where(columns.holds(labels < 0) & ~lanes.any(0), 0, np.nan))
    colours = ListedColormap([UNDECIDED, *STATE_COLOURS])
    rows = np.arange(states + 1) - 0.5
    axes.pcolormesh(columns.edges, rows, shown, cmap=colours, vmin=-0.5, vmax=len(STATE_COLOURS) + 0.5, rasterized=True)
    axes.set_yticks(range(states), [str(state) for state in range(states)], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()


# Words


def _title(data: xr.Dataset, sequence: int, one: _Sequence) -> str:
    name = data["sequence"].values[sequence] if "sequence" in data.coords else sequence
    return f"sequence {name}: {_count(len(one.times))}"


def _count(observations: int) -> str:
    return f"{observations} observation" if observations == 1 else f"{observations} observations"


def _point_at(axes: Axes, time: float, letter: str) -> None:
    arrow = {"arrowstyle": "-|>", "color": "black"}
    above = axes.get_xaxis_transform()
    axes.annotate(letter, (time, 1), (0, 9), above, textcoords="offset points", ha="center", arrowprops=arrow)


def _name_states(figure: Figure, one: _Sequence, states: int) -> None:
    """The colours, with how often the label says each state."""
    label = one.bars["label"]
    found = envelopes.visits(label, one.times)
    patches = []
    for state in range(states):
        times = sum(visit.state == state for visit in found)
        share = f"{100 * (label == state).mean():.3g} % of the observations"
        words = f"state {state}: {share}, {times} visit{'' if times == 1 else 's'}"
        patches.append(Patch(color=colour(state), label=words))
    if any((labels < 0).any() for labels in one.bars.values()):
        patches.append(Patch(color=UNDECIDED, label="undecided or unknown"))
    figure.legend(handles=patches, loc="outside lower left", ncols=min(3, len(patches)), frameon=False, fontsize=9)
