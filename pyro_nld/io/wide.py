"""Wide tables: the titles are the names of sequences (trial1, trial2, …), or times (0.0, 0.1, …)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._typing import Array
from ..errors import DataError
from .columns import time_titles
from .sheets import Sheet
from .titles import SEQUENCES, key, kind_of, names_sequences, time_rank
from .values import numbers

ROWS, COLUMNS = "rows", "columns"
"""What `time` and `sequence` may be instead of a title: times are the numbers of the rows, or stand in the titles;
every column is a sequence."""

REPEATED = SEQUENCES - {"cell", "particle", "id", "segment", "sample", "animal", "ind", "series", "chain"}
"""Stems of titles that are sequences where they are numbered: cell1, cell2, … may have been recorded at once."""

NAMES = frozenset({"variable", "channel", "sensor", "parameter", "signal", "quantity", "measure", "feature", "probe"})
"""Titles of a column that names the channel of every row."""


def wide_in(sheet: Sheet) -> str:
    """What the titles of a wide table are: "sequence" for trial1, trial2, …, "time" for 0.0, 0.1, …, "" for neither."""
    stems = [re.fullmatch(r"([a-z]+)\d+", key(name)) for name in sheet.free]
    named = [found[1] for found in stems if found and found[1] in REPEATED]
    others = [name for name, found in zip(sheet.free, stems, strict=True) if not (found and found[1] in REPEATED)]
    alike = len(set(named)) == 1 and len({sheet.units[name] for name in sheet.free if name not in others}) == 1
    if len(named) > 1 and alike and len(others) == 1 and time_rank(others[0]) < 2:
        return "sequence"
    counted = [name for name in sheet.free if kind_of(name) == "number"]
    timed = any(time_rank(name) < 3 for name in sheet.free)
    if timed or len(counted) < 3 or len(sheet.free) > len(counted) + 2:
        return ""
    grows = bool((np.diff([float(name) for name in counted]) > 0).all())
    return "time" if grows else ""


def narrow_in(sheet: Sheet) -> tuple[str, str] | None:
    """The titles of the names of channels and of their values, where every row is one value of one channel."""
    named = [name for name in sheet.free if key(name) in NAMES and sheet.kind(name) == "word"]
    others = [name for name in sheet.free if name not in named and not (time_rank(name) < 3 or names_sequences(name))]
    numbered = [name for name in others if sheet.kind(name) == "number"]
    return (named[0], numbered[0]) if len(named) == 1 and len(numbered) == 1 else None


def unfolded(sheet: Sheet, named: str, value: str, marks: list) -> Sheet:
    """A sheet with one column for each channel, of one whose rows name theirs.

    Raises
    ------
    DataError: a channel comes twice at a time, naming the row.
    """
    frame = sheet.frame.assign(**{value: numbers(sheet.frame[value], marks)})
    beside = [name for name in sheet.free if name not in (named, value)]
    twice = frame.duplicated([*beside, named])
    if twice.any():
        row = frame.index[twice][0]
        raise DataError(f"{named} {frame[named][row]} comes twice at the same time: again in row {row}. Drop one.")
    place = frame.groupby(beside, sort=False, dropna=False).ngroup()
    channels = frame.assign(place=place).pivot(index="place", columns=named, values=value)
    first = ~place.duplicated()
    wide = pd.concat([frame.loc[first, beside], channels.set_axis(frame.index[first])], axis=1)
    names = [*beside, *(str(name) for name in channels.columns)]
    kept = {name: sheet.units.get(name, "") for name in names}
    return Sheet(wide.set_axis(names, axis=1), kept, names, [*sheet.said, f"every row is one {named}"], sheet.left)


def lengthened(
    sheet: Sheet, across: str, time: str | None, asked: list[str], wanted: list[str] | None, marks: list
) -> tuple[Sheet, str | None, list[str], list[str]]:
    """A long sheet of one whose titles are sequences or times, and what its columns are."""
    if across == "sequence":
        beside = time_titles(sheet) if time in (None, ROWS) else sheet.find([str(time)])
        beside = [] if time == ROWS else beside
    else:
        beside = asked or [name for name in sheet.free if not _is_number(name)]
        _refuse_counted_titles(sheet, beside, time)
    titles = wanted or [name for name in sheet.free if name not in beside]
    frame = _melted(sheet, beside, {name: numbers(sheet.frame[name], marks) for name in titles}, across)
    if across == "time" and not beside:
        frame.insert(0, "sequence", frame.index)
        beside = ["sequence"]
    units = {sheet.units[name] for name in titles}
    said = [*sheet.said, "every column is a sequence" if across == "sequence" else "every row is a sequence"]
    names = [str(name) for name in frame.columns]
    kept = {name: sheet.units.get(name, "") for name in names} | {"value": units.pop() if len(units) == 1 else ""}
    long = Sheet(frame, kept, names, said, sheet.left)
    if across == "sequence":
        return long, ROWS if time == ROWS else ",".join(beside) if len(beside) == 1 else None, ["sequence"], ["value"]
    return long, "time", beside, ["value"]


def _refuse_counted_titles(sheet: Sheet, beside: Sequence[str], time: str | None) -> None:
    """Titles 0, 1, 2, … and nothing beside: pandas' numbers of channels, or times?"""
    counted = [float(name) for name in sheet.free if name not in beside]
    if time is None and not beside and counted == list(range(len(counted))):
        raise DataError(
            f"no column is a time, and the titles count from 0 to {len(counted) - 1}. Give --time rows where they are "
            "channels and every row is a time, --time columns where they are times and every row is a sequence."
        )


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _melted(sheet: Sheet, time: list[str], numbers: dict[str, Array], across: str) -> pd.DataFrame:
    """A long frame of a wide one: its columns are sequences, or times where `across` is "time".

    Parameters
    ----------
    sheet: the wide one. time: columns that stay beside every value. numbers: the values, by title.
    across: what the titles are, "sequence" or "time".
    """
    wide = pd.DataFrame(numbers, index=sheet.frame.index)
    kept = sheet.frame[time]
    long = pd.concat([kept, wide], axis=1).melt(id_vars=time, var_name=across, value_name="value", ignore_index=False)
    return long.astype({across: float}) if across == "time" else long
