"""A table to a Dataset, with the names and units of its columns.

Everything that is guessed is said in `attrs["read_as"]`, everything doubtful is a warning with its remedy, and what is
refused names the row, the column and the cause.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from .._typing import Array
from ..errors import DataError, DoubtfulDataWarning, TimeGridError
from . import doubts
from .clocks import Clock
from .columns import Groups, clock_of, groups_of, time_titles
from .readers import Table
from .sheets import Sheet, sheet_of
from .values import Values, circles, logarithms, numbers, values_of
from .wide import COLUMNS, ROWS, lengthened, narrow_in, unfolded, wide_in

LISTED = 6  # channels that are named in one line

Titles = str | Sequence[str]
"""Titles of columns: a list, or one string with commas."""


def from_table(
    table: pd.DataFrame | Table,
    *,
    time: str | None = None,
    sequence: Titles | None = None,
    channels: Titles | None = None,
    missing: object = None,
    log: Titles | None = None,
    angle: Titles | None = None,
    covariates: Titles | None = None,
) -> xr.Dataset:
    """The Dataset of a long table: one row per sequence and time, one column per channel.

    Parameters
    ----------
    table: a DataFrame. A named index becomes a column.
    time: title of the column of times (numbers, dates, clock readings); "rows" counts the rows of each sequence;
        "columns" takes times from the titles, where every row is a sequence. Guessed when None.
    sequence: titles of the columns that tell sequences apart, a list or with commas; "columns" where every column is a
        sequence. Guessed when None.
    channels: titles of the channels, in this order; all columns of numbers when None.
    missing: what stands for a missing value beside the empty cell: a number, a word, or several.
    log: titles of channels of which the natural logarithm is taken, `log x`: concentrations, intensities.
    angle: titles of channels that are angles, degrees or radians: each becomes two, `cos x` and `sin x`, since a value
        that leaves at one end of a turn and comes back at the other has not moved.
    covariates: titles of what acts from outside, a stimulus or a force, and is no channel; of a long table alone.

    Returns
    -------
    Dataset with observations(sequence, time, channel), the coordinate time or times(sequence, time), the names of
    sequences and channels as coordinates, unit(channel) where one is known, and states(sequence, time) and
    covariates(sequence, time, input), 0 after the end of a sequence, where there are;
    `attrs`: `units` of the times, `time_origin` where the first time was subtracted, `read_as` with all guesses.
    A column of words that is constant in every sequence is a coordinate of the sequences.

    Raises
    ------
    DataError, TimeGridError: naming row and column, also of a gap in a covariate.

    Warns
    -----
    DoubtfulDataWarning: sentinels, counters, angles, names of sequences among the channels, titles that come twice.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"trial": ["a", "a", "b", "b"], "time (ms)": [0, 1, 0, 1], "force (pN)": [1.0, 2.0, 1.5, 3.0]}
    >>> data = nld.datasets.from_table(pd.DataFrame(rows))
    >>> dict(data.sizes), data["sequence"].values.tolist(), data["unit"].values.tolist()
    ({'sequence': 2, 'time': 2, 'channel': 1}, ['a', 'b'], ['pN'])
    >>> data.attrs["read_as"]
    'time in ms, 2 sequences by trial, channel force'
    """
    sheet = sheet_of(table)
    marks = _listed(missing)
    wanted = None if channels is None else sheet.find(_listed(channels, sheet.free))
    asked = [] if sequence in (None, COLUMNS) else sheet.find(_listed(sequence, sheet.free))
    acting = sheet.find(_listed(covariates, sheet.free))
    sheet.take(acting)
    across = "time" if time == COLUMNS else "sequence" if sequence == COLUMNS else ""
    if across and acting:
        raise DataError("covariates are columns of a long table: got one whose titles are times or sequences. Melt it.")
    if acting:
        sheet.said.append(f"acting {', '.join(acting)}")
    elif not across and time is None and sequence is None and wanted is None:
        across = wide_in(sheet)
    if not across and not acting and wanted is None and not asked and (narrow := narrow_in(sheet)):
        sheet = unfolded(sheet, *narrow, marks)
    if across:
        sheet, time, asked, wanted = lengthened(sheet, across, time, asked, wanted, marks)
    sheet.take([*asked, *(wanted or [])])
    titles = [] if time == ROWS else time_titles(sheet) if time is None else sheet.find(_listed(time, sheet.free))
    clock = clock_of(sheet, titles) if titles else None
    groups = groups_of(sheet, None if clock is None else clock.values, asked)
    clock = clock or Clock(pd.Series(groups.codes).groupby(groups.codes).cumcount().to_numpy(float), "", "", [])
    values = logarithms(values_of(sheet, wanted, marks), sheet.find(_listed(log, sheet.free)), sheet)
    values = circles(values, sheet.find(_listed(angle, sheet.free)), sheet)
    _doubt_periodic([name for name in getattr(table, "periodic", []) if name in values.channels])
    return _dataset(sheet, clock, groups, values, {name: numbers(sheet.frame[name], marks) for name in acting})


# The Dataset


def _dataset(sheet: Sheet, clock: Clock, groups: Groups, values: Values, acting: Mapping[str, Array]) -> xr.Dataset:
    order = _in_order(sheet, clock.values, groups, values.channels)
    row = groups.codes[order]
    place = pd.Series(row).groupby(row).cumcount().to_numpy()
    shape = (len(groups.labels), int(place.max()) + 1)

    def padded(column: Array, fill: float = np.nan) -> Array:
        whole = np.full(shape, fill)
        whole[row, place] = column[order]
        return whole

    times = padded(clock.values)
    names = list(values.channels)
    observations = np.stack([padded(values.channels[name].to_numpy()) for name in names], -1)
    data = xr.Dataset({"observations": (("sequence", "time", "channel"), observations)})
    data = data.assign_coords(sequence=groups.labels, channel=names)
    if (times == times[0]).all():
        data = data.assign_coords(time=("time", times[0], {"units": clock.unit} if clock.unit else {}))
    else:
        data["times"] = ("sequence", "time"), times, {"units": clock.unit} if clock.unit else {}
    if values.states is not None:
        states = np.nan_to_num(padded(values.states), nan=-1).astype(np.int64)
        data["states"] = ("sequence", "time"), states, {"names": values.state_names} if values.state_names else {}
    if acting:
        data["covariates"] = ("sequence", "time", "input"), _acting(sheet, order, acting, padded)
        data = data.assign_coords(input=list(acting))
    units = [sheet.units.get(name, "") for name in names]
    if any(units):
        data = data.assign_coords(unit=("channel", units))
    for name, column in values.words.items():
        data = _with_words(data, name, column.to_numpy()[order], row, sheet)
    _doubt(values.channels.iloc[order], row)
    data.attrs = {"units": clock.unit} if clock.unit else {}
    data.attrs |= {"time_origin": clock.origin} if clock.origin else {}
    return data.assign_attrs(read_as=", ".join([*sheet.said, _channels_said(names), *_left_said(sheet)]))


def _acting(
    sheet: Sheet, order: NDArray[np.int64], columns: Mapping[str, Array], padded: Callable[[Array, float], Array]
) -> Array:
    """Covariates `(sequence, time, input)`, which have no gaps."""
    for name, column in columns.items():
        if len(gaps := order[~np.isfinite(column[order])]):
            raise DataError(
                f"a covariate has no gaps: {name} has one in row {sheet.frame.index[gaps.min()]}. Fill it in: it "
                "keeps its value until the next observation."
            )
    return np.stack([padded(column, 0.0) for column in columns.values()], -1)


def _in_order(sheet: Sheet, times: Array, groups: Groups, channels: pd.DataFrame) -> NDArray[np.int64]:
    """The rows of each sequence in the order of time, without those that hold nothing."""
    order = np.argsort(groups.codes, kind="stable")
    empty = np.isnan(times)
    timeless = np.flatnonzero(empty & channels.notna().any(axis=1).to_numpy())
    if len(timeless):
        row = sheet.frame.index[timeless[0]]
        raise DataError(f"every row needs a time: row {row} has none. Fill it in or drop the row.")
    order = order[~empty[order]]
    steps, same = np.diff(times[order]), np.diff(groups.codes[order]) == 0
    if same.any() and bool((steps[same] < 0).all()):
        sheet.said.append("the last row first")
        return order[np.lexsort((times[order], groups.codes[order]))]
    wrong = np.flatnonzero(same & (steps <= 0))
    if len(wrong):
        before, after = (int(row) for row in order[wrong[0] : wrong[0] + 2])
        label = f" (sequence {groups.labels[groups.codes[after]]})" if len(groups.labels) > 1 else ""
        raise TimeGridError(sheet.goes_back(before, after, label))
    counts = np.bincount(groups.codes[order], minlength=len(groups.labels))
    lone = np.flatnonzero(counts < 2)
    if len(lone):
        at = int(np.flatnonzero(groups.codes == lone[0])[0])
        raise TimeGridError(
            f"a sequence needs at least 2 observation times: sequence {groups.labels[lone[0]]} has {counts[lone[0]]} "
            f"(row {sheet.frame.index[at]}). Drop or merge it."
        )
    return order


def _with_words(
    data: xr.Dataset, name: str, words: NDArray[np.object_], row: NDArray[np.int64], sheet: Sheet
) -> xr.Dataset:
    """Words that are the same throughout every sequence, as a coordinate; others are left out, and said."""
    first = words[np.unique(row, return_index=True)[1]]
    if name in (*data.dims, *data.variables, "unit") or any(pd.isna(first)) or not (words == first[row]).all():
        sheet.leave(name, "words")
        return data
    sheet.said.append(f"{name} of every sequence")
    return data.assign_coords({name: ("sequence", first.astype(str))})


def _doubt_periodic(titles: Sequence[str]) -> None:
    if titles:
        doubt = (
            f"{', '.join(titles)}: the file says that this is periodic, and a value beyond the end comes back at the "
            f"other. Give --angle {','.join(titles)}, and cosine and sine are read."
        )
        warnings.warn(doubt, DoubtfulDataWarning, stacklevel=4)


def _doubt(channels: pd.DataFrame, row: NDArray[np.int64]) -> None:
    found = [*doubts.sentinels(channels), *doubts.counters(channels, row), *doubts.angles(channels, row)]
    if row.max() == 0:
        found += doubts.identifiers(channels)
    for doubt in found:
        warnings.warn(doubt, DoubtfulDataWarning, stacklevel=4)


def _channels_said(names: Sequence[str]) -> str:
    if len(names) > LISTED:
        return f"{len(names)} channels"
    return f"channel{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _left_said(sheet: Sheet) -> list[str]:
    return [f"left out: {', '.join(sheet.left)}"] if sheet.left else []


def _listed(given: object, names: Sequence[str] = ()) -> list:
    """One or several, as a list; a string that is no title itself is cut at its commas."""
    if given is None:
        return []
    if isinstance(given, str):
        return [given] if given in names else [part.strip() for part in given.split(",")]
    return list(given) if isinstance(given, list | tuple | set | np.ndarray | pd.Index) else [given]
