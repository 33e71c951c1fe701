"""A table whose columns have names of their own and units, before it is known what each column is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from ..errors import DataError, DoubtfulDataWarning
from .readers import Table
from .titles import INDEXES, key, kind_of, split_unit, time_rank

LOOK = 50  # cells that tell what a column holds


@dataclass
class Sheet:
    """Named columns.

    Attributes
    ----------
    frame: the table; the index is the row as errors name it.
    units: of the columns, "" where nobody said.
    free: columns whose part is not known yet.
    said: what was guessed, in words. left: columns left out, and why. times: the cells that were read as times.
    """

    frame: pd.DataFrame
    units: dict[str, str]
    free: list[str]
    said: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    times: pd.Series | None = None

    def goes_back(self, before: int, after: int, whose: str = "") -> str:
        """What is said where the time does not grow from one row, by its place, to another."""
        cells, rows = self.times, self.frame.index
        was, now = ("", "") if cells is None else (f"{cells.iloc[before]} ", f"{cells.iloc[after]} ")
        remedy = "Sort or drop it"
        if was and was == now:
            remedy = "Drop or average what has one time, or count the rows with --time rows where a clock is too coarse"
        return (
            f"times must increase within a sequence: row {rows[after]}{whose} has {now}after {was}in row "
            f"{rows[before]}. {remedy}; where they are several recordings, name the column that tells them "
            "apart with --sequence."
        )

    def find(self, titles: Sequence[str]) -> list[str]:
        """The columns that are meant by these titles, with or without their unit, in any case.

        Raises
        ------
        DataError: there is no such column.
        """
        names = list(self.frame.columns)
        found = []
        for title in titles:
            same = [name for name in names if name == title] or [name for name in names if key(name) == key(title)]
            if not same:
                raise DataError(f"there is no column {title}: it has {', '.join(names)}. Name one of these.")
            found.append(same[0])
        return found

    def take(self, names: Sequence[str]) -> None:
        """Say that the part of these columns is known now."""
        self.free = [name for name in self.free if name not in names]

    def leave(self, name: str, why: str) -> None:
        """Leave a column out, and say why."""
        self.take([name])
        self.left.append(f"{name} ({why})")

    def kind(self, name: str) -> str:
        """What most cells of a column hold: number, date, clock, word, or nothing."""
        column = self.frame[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            return "date"
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
            return "number"
        kinds = column.dropna().head(LOOK).astype(str).str.strip().map(kind_of)
        return str(kinds.mode().iloc[0]) if len(kinds) else ""

    def tells_apart(self, name: str) -> bool:
        """Whether a column may hold names: words, or whole numbers."""
        column = self.frame[name].dropna()
        if not pd.api.types.is_numeric_dtype(column):
            return self.kind(name) != "date"
        return bool((column == column.round()).all())


def sheet_of(table: pd.DataFrame | Table) -> Sheet:
    """The sheet of a table that was read or is held in memory.

    Raises
    ------
    DataError: it has no rows, or a column has no name.
    """
    if isinstance(table, Table):
        frame, units, said = table.frame, table.units, list(table.read_as)
        for doubt in table.doubts:
            warnings.warn(doubt, DoubtfulDataWarning, stacklevel=4)
    else:
        frame, units, said = _with_index(table), [""] * 0, []
    titles = ["" if str(title).startswith("Unnamed: ") else _text(title) for title in frame.columns]
    parts = [split_unit(title) for title in titles]
    names = [name for name, _ in parts]
    units = [given or unit for (_, unit), given in zip(parts, units or [""] * len(parts), strict=True)]
    frame = frame.set_axis(pd.RangeIndex(len(names)), axis=1)
    kept = [place for place, name in enumerate(names) if name or frame[place].notna().any()]
    sheet = Sheet(frame[kept].dropna(how="all"), {}, [], said)
    final = [_name(names[place], place, sheet) for place in kept]
    final = _apart(final, sheet)
    sheet.frame.columns = pd.Index(final)
    sheet.units = {name: units[place] for name, place in zip(final, kept, strict=True)}
    sheet.free = final
    if sheet.frame.empty:
        raise DataError("a table needs rows, and channels beside sequence and time: it has none. Add them.")
    _leave_index(sheet, names)
    return sheet


def _text(title: object) -> str:
    return "_".join(str(part) for part in title if str(part)) if isinstance(title, tuple) else str(title).strip()


def _with_index(table: pd.DataFrame) -> pd.DataFrame:
    """A frame in memory with its index as columns, where that says more than the number of the row."""
    if table.index.nlevels > 1:
        nameless = [level for level, name in enumerate(table.index.names) if name is None]
        return table.reset_index(nameless, drop=True).reset_index()
    counts = table.index.name is None and pd.api.types.is_integer_dtype(table.index)
    return table.reset_index(drop=counts)


def _name(name: str, place: int, sheet: Sheet) -> str:
    """The name of a column: its own, or one by its place where that can be told what it is."""
    if name:
        return name
    column = sheet.frame[place].dropna().head(LOOK).astype(str).str.strip()
    if place == 0 or (len(column) and column.map(kind_of).eq("clock").all()):
        return f"column {place + 1}"
    raise DataError(f"every column needs a name: column {place + 1} has none. Write one above it, or empty the column.")


def _apart(names: list[str], sheet: Sheet) -> list[str]:
    """Names with a number where they come again."""
    seen: dict[str, int] = {}
    final = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        final.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    twice = [name for name, count in seen.items() if count > 1]
    if twice:
        warnings.warn(
            f"several columns are called {', '.join(twice)}: they are read as {twice[0]}, {twice[0]}.2, … Give each a "
            "name of its own, or choose with --channels.",
            DoubtfulDataWarning,
            stacklevel=5,
        )
    return final


def _leave_index(sheet: Sheet, names: Sequence[str]) -> None:
    """Leave out a first column that only counts the rows, and has no name or one that says so."""
    name, first = str(sheet.frame.columns[0]), sheet.frame.iloc[:, 0]
    named = bool(names and names[0])
    if named and (key(name) not in INDEXES or len(sheet.free) < 3 or min(map(time_rank, sheet.free[1:])) > 2):
        return
    if pd.api.types.is_integer_dtype(first) and bool((first.diff().iloc[1:] == 1).all()):
        sheet.leave(name, "counts the rows")
