"""What in a table is legal but probably not what was meant: sentinels, counters, angles, names taken for channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._typing import Array

SENTINELS = (99.0, 999.0, 9999.0, 99999.0, 999999.0, 999.9, 99.9, 99.99, 9999.9, 32767.0, 32768.0, 65535.0)
"""Magnitudes that instruments write where they measured nothing; one of them far from all other values is enough."""

FAR_OFF = 5.0
"""Widths of all other values that a repeated value stands off them when it is taken for a mark."""

FAR_OUT, RARE = 5.0, 0.01
"""Standard deviations beyond the fitted range, and the share of values there, from which new data are doubted."""

TURNS = (360.0, 2 * np.pi)
"""What an angle goes round in."""

FILLED, ACROSS, FURTHER = 0.9, 0.75, 3.0
"""Shares of a turn that an angle fills and that a jump over its ends is, and how much further than others it goes."""

BLOCKS = 0.1
"""Changes per row up to which a whole-numbered channel looks like a name."""


def sentinels(channels: pd.DataFrame) -> list[str]:
    """Values far from all others that come again and again: one sentence for each.

    Parameters
    ----------
    channels: one column of numbers each, NaN where missing.
    """
    found: dict[float, dict[str, int]] = {}
    for name, column in channels.items():
        values = column.to_numpy(float)
        values = values[np.isfinite(values)]
        while (mark := _mark(values)) is not None:
            found.setdefault(mark, {})[str(name)] = int((values == mark).sum())
            values = values[values != mark]
    return [
        f"the value {mark:.10g} occurs {_times(sum(counts.values()))} (in {', '.join(counts)}) and is far from all "
        f"others: is it 'missing'? Then give --missing {mark:.10g}."
        for mark, counts in found.items()
    ]


def counters(channels: pd.DataFrame, sequence: NDArray[np.int64]) -> list[str]:
    """Channels that grow by the same step from row to row of every sequence.

    Parameters
    ----------
    channels: one column of numbers each. sequence: the number of each row's sequence.
    """
    same = np.diff(sequence) == 0
    found = []
    for name, column in channels.items():
        steps = np.diff(column.to_numpy(float))[same]
        if len(steps) > 2 and np.isfinite(steps).all() and steps[0] != 0 and np.allclose(steps, steps[0], atol=0):
            found.append(
                f"channel {name} grows by {steps[0]:g} from row to row: is it a counter or another clock? Then leave "
                "it out with --channels, or name it with --time."
            )
    return found


def angles(channels: pd.DataFrame, sequence: NDArray[np.int64]) -> list[str]:
    """Channels that fill one turn, of degrees or radians, and jump from one of its ends to the other: a sentence each.

    Across the ends they go on as they do elsewhere, which a channel that hops between two levels does not.

    Parameters
    ----------
    channels: one column of numbers each, rows in the order of time. sequence: the number of each row's sequence.
    """
    same = np.diff(sequence) == 0
    found = []
    for name, column in channels.items():
        values = column.to_numpy(float)
        steps = np.diff(values)[same]
        steps = steps[np.isfinite(steps)]
        if not len(steps):
            continue
        low, high = np.nanmin(values), np.nanmax(values)
        for turn in TURNS:
            slack = 1e-3 * turn
            within = any(start - slack <= low and high <= start + turn + slack for start in (0.0, -turn / 2))
            far = np.abs(steps) > ACROSS * turn
            if not within or high - low < FILLED * turn or far.sum() < 3 or far.all():
                continue
            across = np.median(turn - np.abs(steps[far]))
            if across < FURTHER * np.median(np.abs(steps[~far])):
                found.append(
                    f"channel {name} lies between {low:.4g} and {high:.4g} and jumps {_times(int(far.sum()))} from one "
                    f"end to the other: is it an angle? Then give --angle {name}, and its cosine and sine are read."
                )
                break
    return found


def identifiers(channels: pd.DataFrame) -> list[str]:
    """Whole-numbered channels that keep each value for a long while and never return to one.

    Parameters
    ----------
    channels: one column of numbers each, rows in the order of time.
    """
    found = []
    for name, column in channels.items():
        values = column.to_numpy(float)
        changes = int((np.diff(values) != 0).sum())
        whole = bool(np.isfinite(values).all()) and bool((values == np.round(values)).all())
        if whole and 0 < changes <= BLOCKS * len(values) and len(np.unique(values)) == changes + 1:
            found.append(
                f"channel {name} changes {_times(changes)} and is whole-numbered: is it the name of the sequences? "
                f"Then give --sequence {name}; else choose the channels with --channels."
            )
    return found


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def outside(new: Array, fitted: Array, names: Sequence[str]) -> list[str]:
    """Channels of which more than one value in a hundred lies far outside what a model was fitted to.

    Parameters
    ----------
    new, fitted: `(sequence, time, channel)`, NaN where missing. names: of the channels.
    """
    found = []
    for place, name in enumerate(names):
        old, values = fitted[..., place], new[..., place][np.isfinite(new[..., place])]
        low, high, spread = np.nanmin(old), np.nanmax(old), np.nanstd(old)
        share = np.mean((values < low - FAR_OUT * spread) | (values > high + FAR_OUT * spread)) if len(values) else 0.0
        if share > RARE:
            found.append(
                f"{100 * share:.3g} % of the values of channel {name} lie more than {FAR_OUT:g} standard deviations "
                f"outside what was fitted, {low:.4g} to {high:.4g}: is it another channel, or in another unit?"
            )
    return found


def _mark(values: Array) -> float | None:
    """The lowest or highest value, where it repeats or is a known mark, and stands far off the rest."""
    if len(values) < 3:
        return None
    for mark, sign in ((float(values.min()), -1), (float(values.max()), 1)):
        rest = values[values != mark]
        count, known = len(values) - len(rest), abs(mark) in SENTINELS or abs(mark) >= 1e20
        if len(rest) < 2 or not (known or count > 1):
            continue
        width = float(np.ptp(rest))
        gap = sign * (mark - (rest.max() if sign > 0 else rest.min()))
        if gap > FAR_OFF * width and (width > 0 or known):
            return mark
    return None
