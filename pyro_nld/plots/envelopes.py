"""Long sequences in some hundred columns, so that no visit is lost, however short: which observations each holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._typing import Array

Labels = NDArray[np.integer]

PAUSE = 10 * (1 - 1e-6)  # median times between observations that are drawn as a gap: as in `cut`, but for rounding


class Visit(NamedTuple):
    """A stay in a state: `begin` is its first observation, `end` the one behind its last."""

    state: int
    begin: int
    end: int


class Columns(NamedTuple):
    """Columns of a picture, and the observations that are in each of them.

    `edges (column + 1,)`: where columns end, in time. `column`, `observation`: one entry for every observation in a
    column; a column in a pause has none.
    """

    edges: Array
    column: NDArray[np.integer]
    observation: NDArray[np.integer]

    @property
    def number(self) -> int:
        """How many columns there are."""
        return len(self.edges) - 1

    @property
    def centres(self) -> Array:
        """Times in the middle of the columns."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    def mean(self, values: Array) -> Array:
        """Mean `(column, any)` of values `(observation, any)`, NaN left out; NaN where nothing is."""
        chosen = values[self.observation]
        total, count = np.zeros((2, self.number, values.shape[1]))
        np.add.at(total, self.column, np.nan_to_num(chosen))
        np.add.at(count, self.column, np.isfinite(chosen))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def range(self, values: Array, among: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Lowest and highest `(column,)` of values `(observation,)`, those `among` alone; NaN where nothing is."""
        low, high = np.full((2, self.number), np.nan)
        chosen = among[self.observation]
        column, value = self.column[chosen], values[self.observation[chosen]]
        np.fmin.at(low, column, value)
        np.fmax.at(high, column, value)
        return low, high

    def holds(self, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether a column `(column,)` has one observation of those `among`, or more."""
        found = np.zeros(self.number, bool)
        found[self.column[among[self.observation]]] = True
        return found


def visits(label: Labels, times: Array) -> list[Visit]:
    """The stays in one state, in order. An undecided observation (-1) counts as the one before; a pause ends a stay.

    Parameters
    ----------
    label: `(time,)`, -1 undecided. times: `(time,)`, increasing.
    """
    place = np.arange(len(label))
    begins = np.append(True, pauses(times))
    known = np.maximum.accumulate(np.where((label >= 0) | begins, place, 0))
    state = label[known]
    first = np.flatnonzero(begins | np.append(True, np.diff(state) != 0))
    stays = zip(state[first], first, np.append(first[1:], len(label)), strict=True)
    return [Visit(int(one), int(begin), int(end)) for one, begin, end in stays if one >= 0]


def pauses(times: Array) -> NDArray[np.bool_]:
    """Whether a pause lies between an observation and the next, `(time - 1,)`."""
    gaps = np.diff(times)
    return gaps > PAUSE * np.median(gaps) if len(gaps) else np.zeros(0, bool)


def ends(times: Array) -> Array:
    """Until when each observation is drawn: until the next one, or for a median interval before a pause.

    Parameters
    ----------
    times: `(time,)`, increasing.
    """
    gaps = np.diff(times)
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    return np.append(np.where(pauses(times), times[:-1] + usual, times[1:]), times[-1] + usual)


def columns(times: Array, most: int) -> Columns:
    """One column for every observation while there are no more than `most`, then `most` of one width.

    Parameters
    ----------
    times: `(time,)`, increasing.
    most: columns.
    """
    until = ends(times)
    if len(times) <= most:
        edges = np.union1d(times, until)
        return Columns(edges, np.searchsorted(edges, times), np.arange(len(times)))
    edges = np.linspace(times[0], until[-1], most + 1)
    column = np.clip(np.searchsorted(edges, times, "right") - 1, 0, most - 1)
    # A column in which no observation begins shows the one that lasts.
    empty = np.setdiff1d(np.arange(most), column)
    lasting = np.searchsorted(times, edges[empty], "right") - 1
    there = edges[empty] < until[lasting]
    return Columns(edges, np.append(column, empty[there]), np.append(np.arange(len(times)), lasting[there]))
