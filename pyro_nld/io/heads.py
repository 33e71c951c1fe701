"""What stands above the numbers of a table: titles, units, comments, and a preamble that is neither."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from ..errors import DataError
from .titles import SYMBOLS, is_unit, kind_of, names_sequences, time_rank

TITLES = 3  # lines of names, units and the like, at most

_UNITS_SAID = re.compile(r"units?\s*[:=]\s*(.+)", re.IGNORECASE)
_LEGEND = re.compile(r'@\s*(?:(xaxis|yaxis)\s+label|s\d+\s+legend)\s+"(.*)"')

Line = tuple[int, str]
"""Its number in the file, from 1, and its text."""


class Head(NamedTuple):
    """What stands above the numbers.

    Attributes
    ----------
    begin: the place of the first row of numbers, among the lines that are no comments.
    names, units: of the columns; "" where there is none.
    read_as: what was guessed, in words.
    """

    begin: int
    names: list[str]
    units: list[str]
    read_as: list[str]


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of one line."""
    text = " ".join(line.split()) if separator == " " else line.replace("\n", " ")
    if '"' not in text:
        return [cell.strip() for cell in text.split(separator)]
    return [cell.strip() for cell in next(csv.reader([text], delimiter=separator, skipinitialspace=True))]


def head_of(table: Sequence[Line], comments: Sequence[Line], separator: str, width: int) -> Head:
    """Names and units of the columns, and the place in `table` where the numbers begin.

    Parameters
    ----------
    table: lines that are no comments, those of the sample. comments: the others, of the whole file.
    separator: between cells; a blank stands for any number of blanks. width: cells in a row.

    Raises
    ------
    DataError: there are no numbers.
    """
    rows = [_trimmed(cells_of(line, separator), width) for _, line in table]
    kinds = [_kinds_of(rows, column) for column in range(width)]
    if len(rows) == 1 and not any(kinds):
        raise DataError("a table needs rows, and channels beside sequence and time: it has none. Add them.")
    if not any(kinds):
        raise DataError(
            f"it holds no table of numbers: row {table[-1][0]} is {table[-1][1].strip()[:40]!r}. Give one row per "
            "time, one column per channel."
        )
    data = [place for place, row in enumerate(rows) if _is_data(row, kinds)]
    begin = next((place for place in data if len(rows[place]) == width), min(data, default=len(rows)))
    if begin < len(rows) and _is_title(rows[begin], kinds) and not (begin and len(rows[begin - 1]) == width):
        begin += 1  # titles that are mostly numbers
    above = [place for place in range(begin) if len(rows[place]) in (width, width - 1) and any(rows[place])]
    units = next((at for at in reversed(above[-TITLES:]) if at > above[0] and _is_units(rows[at], rows[at - 1])), None)
    titles = [place for place in above if place < (begin if units is None else units)]
    empty_last = all(len(row) == width and not row[-1] for row in rows[begin:])
    if titles and titles[-1] >= begin - TITLES:
        number, names = table[titles[-1]][0], _fitted(rows[titles[-1]], kinds, empty_last)
        said = [] if titles[-1] == 0 and number == 1 else [f"names in row {number}"]
    else:
        names, said = _from_comments(comments, separator, table[begin][0] if begin < len(table) else 0, kinds)
    if units is not None:
        said.append(f"units in row {table[units][0]}")
        cells = _fitted(rows[units], kinds, empty_last)
    else:
        cells = _units_in(comments, separator, width)
    return Head(begin, names, [cell.strip("()[]{} ") for cell in cells], said)


def _trimmed(row: list[str], width: int) -> list[str]:
    """A row without empty cells beyond the last column."""
    return row if any(row[width:]) else row[:width]


def _kinds_of(rows: Sequence[Sequence[str]], column: int) -> str:
    """What most cells in the later half of a column hold; nothing where that is words."""
    later = [row[column] for row in rows[len(rows) // 2 :] if len(row) > column]
    counts = Counter(kind for cell in later if (kind := kind_of(cell)))
    kind = counts.most_common(1)[0][0] if counts else ""
    return "" if kind == "word" else kind


def _is_data(row: Sequence[str], kinds: Sequence[str]) -> bool:
    """Whether most cells that should hold numbers or dates do."""
    found = [(kind_of(cell), kind) for cell, kind in zip(row, kinds, strict=False) if kind and kind_of(cell)]
    same = sum(cell == kind for cell, kind in found)
    return len(row) in (len(kinds) - 1, len(kinds)) and 2 * same > len(found)


def _is_title(row: Sequence[str], kinds: Sequence[str]) -> bool:
    """Whether a row that is mostly numbers holds titles: a word above numbers, or numbers that count on."""
    if len(row) != len(kinds):
        return False
    if any(kind_of(cell) == "word" and kind for cell, kind in zip(row, kinds, strict=True)):
        return True
    first, *rest = row
    if len(rest) < 3 or any(kind_of(cell) != "number" for cell in rest) or not (not first or names_sequences(first)):
        return False
    numbers = [float(cell.replace(",", ".")) for cell in rest]
    return all(before < after for before, after in pairwise(numbers))


def _is_units(row: Sequence[str], titles: Sequence[str] = ()) -> bool:
    """Whether at least half of a row are units, or there is one of time below the title of a time."""
    if any(time_rank(title) < 2 and cell.strip("()[] ") in SYMBOLS for title, cell in zip(titles, row, strict=False)):
        return True
    filled = [cell for cell in row if cell]
    known = sum(is_unit(cell) for cell in filled)
    return bool(filled) and 2 * known >= len(filled) and not any(time_rank(cell) == 0 for cell in filled)


def _fitted(names: Sequence[str], kinds: Sequence[str], empty_last: bool) -> list[str]:
    """As many names as columns: one is missing above row names, above a date and its clock, or at the end."""
    if len(names) == len(kinds):
        return list(names)
    clock = next((place for place in range(1, len(kinds)) if kinds[place - 1 : place + 1] == ["date", "clock"]), 0)
    place = len(names) if empty_last else clock
    return [*names[:place], "", *names[place:]]


def _from_comments(
    comments: Sequence[Line], separator: str, first: int, kinds: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Names out of comments: `#! FIELDS`, the legends of an .xvg, or the last comment with as many words as columns."""
    width = len(kinds)
    for number, line in comments:
        if (words := line.split())[:2] == ["#!", "FIELDS"] and len(words) == width + 2:
            return words[2:], [f"names in row {number}"]
    found = [match for _, line in comments if (match := _LEGEND.match(line.strip()))]
    if axes := {match[1]: match[2] for match in found if match[1]}:
        series = [match[2] for match in found if not match[1]]
        legend = series if len(series) == width - 1 else [axes.get("yaxis", "y")] * (width - 1)
        return [axes.get("xaxis", "time"), *legend], ["names in the legend"]
    above = [(number, _uncommented(line, separator)) for number, line in comments if number < first]
    fitting = [(number, names) for number, names in above if len(names) == width and all(map(_is_word, names))]
    if len(fitting) > 1 and _is_units(fitting[-1][1], fitting[-2][1]):
        fitting.pop()
    if fitting:
        return fitting[-1][1], [f"names in row {fitting[-1][0]}"]
    return [f"column {column + 1}" for column in range(width)], ["no names: columns are numbered"]


def _uncommented(line: str, separator: str) -> list[str]:
    return cells_of(line.strip().strip('"').lstrip("#%@!/ \t"), separator)


def _is_word(cell: str) -> bool:
    return kind_of(cell) == "word"


def _units_in(comments: Sequence[Line], separator: str, width: int) -> list[str]:
    """Units in a comment such as `# units: s, pA, mV`, or one that is a row of them."""
    for _, line in comments:
        if found := _UNITS_SAID.search(line):
            units = re.split(r"[,;\t]\s*|\s+", found[1].strip().strip('"'))
            if len(units) == width:
                return units
    rows = [_uncommented(line, separator) for _, line in comments]
    return next((row for row in rows if len(row) == width and _is_units(row)), [""] * width)
