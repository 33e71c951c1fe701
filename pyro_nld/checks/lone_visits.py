"""A level that is held once and never again: a rare state, a drift or an artefact, which one visit cannot tell apart.

Cells of a fine partition that a stationary recording visits, it visits again. A group of cells all of whose
observations lie in one stretch of time, which it fills, and which is entered and left by a jump, is a lone visit. An
excursion of a continuous path is none: just before it and just after, the path is near.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._typing import Array
from ..kinetics.partition import cells_of

STRETCH = 0.1  # of the recording, within which all observations of a cell lie
FILLS = 0.9  # of the stretch, that belong to the group
SHARE = 0.003  # of the observations, at least
FEWEST = 30  # observations of a visit
SHORTEST = 1000  # observations, below which nothing is said
BESIDE = 20  # observations before and after its ends, at most
JUMP = 4.0  # standard deviations of the group, beyond those of its own members, by which all beside it are off


class Visit(NamedTuple):
    """The first and last observation of a lone visit, their number, and the means inside and beside it by channel."""

    first: int
    last: int
    number: int
    inside: Array
    beside: Array


def lone_visit(x: Array, seed: int = 0) -> Visit | None:
    """The longest visit to a level that is held only once; None where there is none.

    Parameters
    ----------
    x: `(observation, channel)`, in the order of time, NaN where missing. seed: of the partition.

    Examples
    --------
    >>> from pyro_nld.checks.lone_visits import lone_visit
    >>> draw = np.random.default_rng(0)
    >>> level = np.arange(4000) // 200 % 2 + 3.0 * (np.arange(4000) // 100 == 20)
    >>> found = lone_visit(level[:, None] + 0.1 * draw.standard_normal((4000, 1)))
    >>> found.first, found.last
    (2000, 2099)
    """
    there = np.asarray(np.isfinite(x).all(-1))
    place = np.flatnonzero(there)
    if len(place) < SHORTEST:
        return None
    cell = cells_of(x[None], there[None], seed)[0][place]
    ends = {one: np.flatnonzero(cell == one)[[0, -1]] for one in np.unique(cell)}
    alone = {one: end for one, end in ends.items() if np.ptp(end) < STRETCH * len(place)}
    best: Visit | None = None
    for first, last in alone.values():
        group = [one for one, end in alone.items() if end[0] <= last and end[1] >= first]
        visit = _held(x[place], np.isin(cell, group))
        if visit is not None and (best is None or visit.number > best.number):
            best = visit._replace(first=int(place[visit.first]), last=int(place[visit.last]))
    return best


def _held(x: Array, mine: NDArray[np.bool_]) -> Visit | None:
    """The visit of a group of observations, if it is one."""
    first, last = np.flatnonzero(mine)[[0, -1]]
    number, width = int(mine.sum()), min(BESIDE, int(mine.sum()) // 4)
    fills = number >= FILLS * (last + 1 - first)
    if number < max(FEWEST, SHARE * len(x)) or not fills or first < width or last + width >= len(x):
        return None
    before, after = x[first - width : first], x[last + 1 : last + 1 + width]
    if min(_off(x[mine], before), _off(x[mine], after)) < JUMP:
        return None
    return Visit(int(first), int(last), number, x[mine].mean(0), np.concatenate([before, after]).mean(0))


def _off(group: Array, beside: Array) -> float:
    """The least distance of an observation beside a group from its mean, in standard deviations along the line there.

    A member is about √channels away in every direction, which is taken off.
    """
    steps, own = beside - group.mean(0), group - group.mean(0)
    length = np.linalg.norm(steps, axis=1)
    along = (own @ (steps / np.maximum(length, 1e-300)[:, None]).T).std(0)
    return float((length / np.maximum(along, 1e-300)).min() - np.sqrt(group.shape[1]))
