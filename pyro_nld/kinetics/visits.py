"""From memberships to labels, and from labels to visits: how often, how long, which share of the time.

What the table of visits says is counted on the labels that a user is given, and on nothing else.
"""

from __future__ import annotations

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from .._typing import Array
from .memberships import CORE

Integers = NDArray[np.integer]

TAIL = 0.05  # of an interval, on either side
SAME = 1.5  # observation intervals after which a sequence may begin and still go on where another ended


def recordings(times: Array) -> Integers:
    """Which observations follow each other: places `(recording, time)` in `times.ravel()`, −1 behind the end of one.

    A sequence that begins one interval after the one before it ended is the same recording, cut in pieces.

    Parameters
    ----------
    times: `(sequence, time)`, NaN after the end of a sequence.

    Examples
    --------
    >>> import numpy as np, pyro_nld as nld
    >>> nld.kinetics.recordings(np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]]))
    array([[ 0,  1,  2,  3],
           [ 4,  5, -1, -1]])
    """
    there = np.isfinite(times)
    last = np.where(there.any(-1), np.nanmax(np.where(there, times, -np.inf), -1), np.nan)
    pause = times[1:, 0] - last[:-1]
    goes_on = (pause > 0) & (pause <= SAME * np.nanmedian(np.diff(times)))
    recording = np.concatenate([[0], np.cumsum(~goes_on)])
    place = np.flatnonzero(there.ravel())
    row = np.repeat(recording, there.sum(-1))
    length = np.bincount(row, minlength=recording[-1] + 1)
    joined = np.full((len(length), length.max()), -1)
    joined[row, np.concatenate([np.arange(n) for n in length])] = place
    return joined


def joined(values: NDArray, order: Integers, fill: float | int = np.nan) -> NDArray:
    """Values `(*batch, sequence, time)` of sequences as those of `recordings`, `(*batch, recording, time)`.

    Parameters
    ----------
    values: one per observation. order: from `recordings`. fill: stands behind the end of a recording.
    """
    return np.where(order >= 0, values.reshape(*values.shape[:-2], -1)[..., order], fill).astype(values.dtype)


def parted(values: NDArray, order: Integers, shape: tuple[int, int], fill: float | int = np.nan) -> NDArray:
    """The way back from `joined`: `(*batch, recording, time)` to `(*batch, sequence, time)`.

    Parameters
    ----------
    values: from `joined`. order: from `recordings`. shape: sequences and times. fill: where nothing was observed.
    """
    found = np.full((*values.shape[:-2], shape[0] * shape[1]), fill, values.dtype)
    found[..., order[order >= 0]] = values[..., order >= 0]
    return found.reshape(*values.shape[:-2], *shape)


def state_paths(membership: Array) -> Integers:
    """The state at every time, `(*batch, time)`: it changes where the path last left the others before it is in a core.

    A path that turns back before it reaches the core of another state has not been there.

    Parameters
    ----------
    membership: `(*batch, time, state)`, NaN after the end.

    Returns
    -------
    Labels; −1 after the end, and throughout a path that is never in a core.

    Examples
    --------
    >>> import numpy as np, pyro_nld as nld
    >>> first = np.array([1.0, 0.4, 0.6, 1.0, 0.4, 0.2, 0.0])  # it turns back once, and crosses once
    >>> nld.kinetics.state_paths(np.stack([first, 1 - first], -1))
    array([0, 0, 0, 0, 1, 1, 1])
    """
    side = np.where(np.isnan(membership[..., 0]), -1, membership.argmax(-1))
    core = np.where(np.nan_to_num(membership).max(-1) >= CORE, side, -1)
    place = np.arange(core.shape[-1])
    last = np.maximum.accumulate(np.where(core >= 0, place, -1), -1)
    before = np.where(last >= 0, np.take_along_axis(core, np.maximum(last, 0), -1), -1)
    coming = _coming(core >= 0)
    after = np.where(coming < len(place), np.take_along_axis(core, np.minimum(coming, len(place) - 1), -1), -1)
    sure = _coming(side != after) > coming  # from here to the core never on another side
    return np.where(side < 0, -1, np.where((before < 0) | ((after >= 0) & sure), after, before))


def _coming(where: NDArray[np.bool_]) -> Integers:
    """The next place at which it is so, from each one on; the length where there is none."""
    length = where.shape[-1]
    place = np.where(where, np.arange(length), length)
    return np.minimum.accumulate(place[..., ::-1], -1)[..., ::-1]


def most_probable(probability: Array, sure: float = 0.5) -> Integers:
    """The most probable state, −1 where it has less than the probability `sure` or where there is none.

    Parameters
    ----------
    probability: `(*batch, state)`, NaN where nothing was observed.

    Examples
    --------
    >>> import numpy as np, pyro_nld as nld
    >>> nld.kinetics.most_probable(np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]), sure=0.55)
    array([ 0,  1, -1])
    """
    known = np.nan_to_num(probability)
    return np.where(known.max(-1) < max(sure, 1e-9), -1, known.argmax(-1))


def visits(labels: Integers, times: Array, states: int) -> xr.Dataset:
    """How often each state was visited, and for how long: every run of a label is a visit.

    Parameters
    ----------
    labels: `(sequence, time)`, −1 undecided: as before. times: `(sequence, time)`, user's unit, NaN after the end.
    states: how many.

    Returns
    -------
    Over `state`: `visits`; `visit_mean`, time over visits whose end was seen, so that those cut short by the end of a
    recording count rightly, with its 90 % interval `visit_mean_low` and `visit_mean_high`; `visit_median` (Kaplan and
    Meier), NaN where fewer than half can be said to have ended; `visit_longest`; `time_share`.

    Examples
    --------
    >>> import numpy as np, pyro_nld as nld
    >>> found = nld.kinetics.visits(np.array([[0, 0, 0, 1, 1, 0]]), np.arange(6.0)[None], 2)
    >>> found["visits"].values, found["visit_mean"].values
    (array([2., 1.]), array([3., 2.]))
    """
    order = recordings(times)
    state, time = joined(labels, order, -1), joined(times, order)
    place = np.maximum.accumulate(np.where(state >= 0, np.arange(state.shape[-1]), 0), -1)
    state = np.where(np.isfinite(time), np.take_along_axis(state, place, -1), -1)
    known = state >= 0
    first = known & (np.diff(state, axis=-1, prepend=-1) != 0)
    final = known & ~np.concatenate([known[:, 1:], np.zeros_like(known[:, :1])], -1)
    held, begun = state[first], time[first]
    recording = np.nonzero(first)[0]
    ended = np.append(recording[1:] == recording[:-1], False) if len(recording) else np.zeros(0, bool)
    until = np.where(ended, np.append(begun[1:], np.nan), time[final][np.searchsorted(np.unique(recording), recording)])
    rows = [_row((until - begun)[held == k], ended[held == k]) for k in range(states)]
    total = sum(row["time"] for row in rows)
    found = {name: [row[name] for row in rows] for name in rows[0] if name != "time"}
    found["time_share"] = [row["time"] / total if total else 0.0 for row in rows]
    return xr.Dataset({name: ("state", values) for name, values in found.items()})


def _row(duration: Array, ended: NDArray[np.bool_]) -> dict[str, float | int]:
    """One state's visits."""
    time, ends = float(duration.sum()), int(ended.sum())
    low, high = (2 * time / scipy.stats.chi2.ppf(level, 2 * ends + 1) for level in (1 - TAIL, TAIL))
    return {
        "visits": float(len(duration)),
        "visit_mean": time / ends if ends else np.nan,
        "visit_mean_low": low,
        "visit_mean_high": high if ends else np.nan,
        "visit_median": _median(duration, ended),
        "visit_longest": float(duration.max(initial=0.0)),
        "time": time,
    }


def _median(duration: Array, ended: NDArray[np.bool_]) -> float:
    """Where half of the visits have ended; those cut short count as long as they were seen (Kaplan and Meier 1958)."""
    order = np.lexsort([~ended, duration])
    left = np.cumprod(1 - ended[order] / np.arange(len(order), 0, -1))
    over = np.flatnonzero(left <= 0.5)
    return float(duration[order][over[0]]) if len(over) else np.nan
