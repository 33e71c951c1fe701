"""What the columns of a table are: which is the time, and which tell sequences apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._typing import Array
from ..errors import DataError, TimeGridError
from .clocks import Clock, of_parts, read_clock, usual_interval, with_dates
from .sheets import Sheet
from .titles import PARTS, SYMBOLS, TIMES, key, names_sequences, time_rank

MOSTLY = 0.6
"""Share of steps in one direction of what may be a time: noise has a half."""

FEW = 5  # cells that tell whether words are dates

ALTERNATING = 0.25
"""Share of rows whose time does not grow, from which rows of several sequences stand by turns."""


class Groups(NamedTuple):
    """Sequences of rows.

    Attributes
    ----------
    codes: number of each row's sequence, from 0 in the order of the rows.
    labels: their names.
    """

    codes: NDArray[np.int64]
    labels: NDArray[np.generic]


# The time


def clock_of(sheet: Sheet, titles: Sequence[str]) -> Clock:
    """The times of all rows, from these columns: one, dates and the time of day, or year, month, day and so on.

    Raises
    ------
    DataError: a cell is no time, naming its row.
    """
    sheet.take(titles)
    column = sheet.frame[titles[-1]]
    if len(titles) == 2:
        column = with_dates(sheet.frame[titles[0]], column)
    elif len(titles) > 2:
        column = of_parts(sheet.frame[list(titles)])
    named = SYMBOLS.get(titles[-1].casefold(), "") if len(titles[-1]) > 1 else ""  # seconds, ms, days
    clock = read_clock(column, sheet.units[titles[-1]] or named)
    sheet.times = column
    backwards = "age" in (key(titles[0]), key(titles[0]).removesuffix("bp")) and not clock.origin
    if backwards:
        clock = clock._replace(values=-clock.values)  # what is older was earlier
    for name in [name for name in sheet.free if time_rank(name) < 2 and sheet.kind(name) in ("date", "clock")]:
        sheet.leave(name, "another clock")
    title = "" if key(titles[0]) == "time" else f" by {'minus ' * backwards}{' and '.join(titles)}"
    unit = f" in {clock.unit}" if clock.unit else ""
    since = f" since {clock.origin.replace('T', ' ')}" if "T" in clock.origin else ""
    sheet.said += [f"time{unit}{since}{title}", *clock.said]
    return clock


def time_titles(sheet: Sheet) -> list[str]:
    """The column that is a time, a column of dates and one with the time of day, or the parts of a date.

    Raises
    ------
    DataError: no column looks like one, with what may be done.
    """
    for rank, words in enumerate(TIMES):
        if rank == 2 and (parts := _parts(sheet)):
            return parts
        ranked = [name for name in sheet.free if time_rank(name) == rank and _runs(sheet, name)]
        if ranked:
            best = min(ranked, key=lambda name: words.index(key(name)) if key(name) in words else len(words))
            return _with_partner(sheet, best)
    dated = [name for name in sheet.free if sheet.kind(name) == "date"]
    if dated:
        return _with_partner(sheet, dated[0])
    if sheet.free and sheet.free[0] == "column 1" and _runs(sheet, "column 1"):
        return ["column 1"]
    ordered = [
        name for name in sheet.free if sheet.frame[name].is_monotonic_increasing and sheet.kind(name) == "number"
    ]
    even = [name for name in ordered if _is_even(sheet.frame[name])]
    if len(even) == 1 and len(sheet.free) > 1:  # whatever its title is, a column that counts is a clock
        return even
    grows = [name for name in ordered if sheet.frame[name].is_unique]
    perhaps = f" (perhaps {grows[0]}, which only grows)" if grows else ""
    raise DataError(
        f"no column is a time: it has {', '.join(sheet.free)}. Name it with --time{perhaps}, or count the rows with "
        "--time rows."
    )


def _is_even(column: pd.Series) -> bool:
    """Whether numbers grow by the same step from row to row."""
    steps = np.diff(column.to_numpy(float))
    return bool(len(steps) > 1 and steps[0] > 0 and np.allclose(steps, steps[0], atol=0))


def _parts(sheet: Sheet) -> list[str]:
    """Columns beside each other that hold year, month and day, and perhaps hour, minute and second."""
    for first in range(len(sheet.free) - 2):
        there = sheet.free[first:]
        fitting = [key(name) in words for name, words in zip(there, PARTS, strict=False)]
        count = fitting.index(False) if False in fitting else len(fitting)
        if count > 2:
            return there[:count]
    return []


def _runs(sheet: Sheet, name: str) -> bool:
    """Whether a column with the title of a time runs forwards or backwards mostly, or is no number."""
    if key(name) in ("time", "times") or sheet.kind(name) in ("date", "clock"):
        return True
    if sheet.kind(name) == "word" and time_rank(name) < 2:
        return _is_spelled_out(sheet.frame[name])
    if sheet.kind(name) != "number":
        return False
    steps = pd.to_numeric(sheet.frame[name], errors="coerce").diff().dropna()
    one_way = max((steps >= 0).mean(), (steps <= 0).mean()) > MOSTLY
    return bool((steps != 0).any() and one_way)


def _is_spelled_out(column: pd.Series) -> bool:
    """Whether words are dates, such as `Mon Mar 1 06:00:00 2021`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of pandas, on formats that it has to guess
        return bool(pd.to_datetime(column.dropna().head(FEW), errors="coerce", utc=True).notna().all())


def _with_partner(sheet: Sheet, name: str) -> list[str]:
    """A column of dates with its column of the time of day, or the reverse; a column that needs none alone."""
    wanted = {"date": "clock", "clock": "date"}.get(sheet.kind(name))
    if wanted is None or (wanted == "clock" and sheet.frame[name].astype(str).str.contains(":").any()):
        return [name]
    others = [other for other in sheet.free if other != name and sheet.kind(other) == wanted]
    if not others:
        return [name]
    return [name, others[0]] if wanted == "clock" else [others[0], name]


# Sequences


def groups_of(sheet: Sheet, times: Array | None, asked: Sequence[str]) -> Groups:
    """Which rows belong together.

    Parameters
    ----------
    sheet: its free columns may tell sequences apart. times: of the rows; None where they are still to be counted.
    asked: the columns that do, where somebody said.

    Raises
    ------
    DataError, TimeGridError: a row has no name; times go back, and no column says why.
    """
    titles = list(asked) or [name for name in sheet.free if names_sequences(name) and sheet.tells_apart(name)]
    falls = np.flatnonzero(np.diff(times) <= 0) + 1 if times is not None else np.array([], int)
    for name in [name for name in titles if name not in asked and len(sheet.frame) > 2]:
        counts = not len(falls) and _counts(sheet.frame[name])
        if counts or sheet.frame[name].is_unique:
            titles.remove(name)
            sheet.leave(name, "counts the rows" if counts else "another in every row")
    if titles:
        return _by(sheet, titles)
    if not len(falls) or times is None or bool((np.diff(times) < 0).all()):
        sheet.said.append("one sequence")
        return Groups(np.zeros(len(sheet.frame), np.int64), np.array([0]))
    found = [name for name in sheet.free if sheet.tells_apart(name) and _increase(_codes(sheet, name), times)]
    if found:
        return _by(sheet, [min(found, key=lambda name: sheet.frame[name].nunique())])
    return _anew(sheet, times, falls)


def _counts(column: pd.Series) -> bool:
    """Whether a column counts rows, perhaps from zero again and again, as the packets of an amplifier do."""
    return pd.api.types.is_numeric_dtype(column) and bool((column.diff() == 1).mean() > 0.5)


def _by(sheet: Sheet, titles: Sequence[str]) -> Groups:
    """Rows that have the same names in these columns."""
    for name in titles:
        empty = np.flatnonzero(sheet.frame[name].isna())
        if len(empty):
            raise DataError(
                f"every row needs a {name}: row {sheet.frame.index[empty[0]]} has none. Fill it in or drop the row."
            )
    sheet.take(titles)
    parts = [_whole(sheet.frame[name]) for name in titles]
    names = parts[0] if len(parts) == 1 else pd.Series(["/".join(map(str, row)) for row in zip(*parts, strict=True)])
    codes, labels = pd.factorize(names)
    count = f"{len(labels)} sequences" if len(labels) > 1 else "one sequence"
    sheet.said.append(f"{count} by {' and '.join(titles)}")
    return Groups(codes.astype(np.int64), np.asarray(labels))


def _anew(sheet: Sheet, times: Array, falls: NDArray[np.int64]) -> Groups:
    """Sequences that begin where the time does, if every one begins at about the same time."""
    begins = times[[0, *falls]]
    if not np.allclose(begins, begins[0], rtol=0, atol=usual_interval(times)) or np.diff([0, *falls]).min() < 3:
        raise TimeGridError(sheet.goes_back(int(falls[0]) - 1, int(falls[0])))
    sheet.said.append(f"{len(begins)} sequences: time begins anew in row {sheet.frame.index[falls[0]]}")
    codes = np.zeros(len(times), np.int64)
    codes[falls] = 1
    return Groups(codes.cumsum(), np.arange(len(begins)))


def _codes(sheet: Sheet, name: str) -> NDArray[np.int64]:
    return pd.factorize(sheet.frame[name], use_na_sentinel=False)[0].astype(np.int64)


def _increase(codes: NDArray[np.int64], times: Array) -> bool:
    """Whether a column says why times go back: it changes just there, or rows of several sequences alternate."""
    falls, changes = np.diff(times) <= 0, np.diff(codes) != 0
    if not (falls == changes).all() and falls.mean() < ALTERNATING:
        return False
    order = np.argsort(codes, kind="stable")
    same = np.diff(codes[order]) == 0
    return bool((np.diff(times[order])[same] > 0).all()) and int(np.bincount(codes).min()) > 1


def _whole(column: pd.Series) -> pd.Series:
    """Names without the decimal point that a gap in a column of whole numbers leaves."""
    return column.astype(np.int64) if pd.api.types.is_float_dtype(column) and bool((column % 1 == 0).all()) else column
