"""Text of a table, as instruments, spreadsheets and simulation programs write it, to a pandas table with names.

What comes before the numbers (comments, preamble, titles, a line of units) and how cells are separated is found here
and said; pandas reads the numbers. The index of the table is the line of the file, as an editor counts it.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pandas as pd

from ..errors import DataError
from .titles import MISSING, SYMBOLS, is_unit, kind_of, names_sequences, time_rank

PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
}
"""First bytes of compressed files, whatever they are called."""

MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""First bytes that announce an encoding."""

SEPARATORS = {"\t": "tab", ";": ";", "|": "|", ",": "comma", " ": "blank"}
"""Between cells, in order of preference where two fit equally."""

SAMPLE = 200  # lines looked at to find out how a table is written
FEW = 20  # lines that are no preamble and numbers behind it

_FORTRAN = re.compile(r"(?<=[\d.])[dD](?=[+-]\d)")  # 1.0D+00
_DECIMAL_COMMA = re.compile(r"[+\-−]?\d*,\d+([eE][+-]?\d+)?|[+-]?\d{1,3}(\.\d{3})+,\d+")
_GROUPED = {",": re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+"), ".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")}
_UNITS_SAID = re.compile(r"units?\s*[:=]\s*(.+)", re.IGNORECASE)
_LEGEND = re.compile(r'@\s*(?:(xaxis|yaxis)\s+label|s\d+\s+legend)\s+"(.*)"')
_PERIODIC = re.compile(r"#!\s*SET\s+min_(\S+)")


@dataclass
class Table:
    """A table as it was found in a file.

    Attributes
    ----------
    frame: its columns; the index is the line of the file, counted from 1.
    units: of the columns, where a line of units or a comment says them, else "".
    read_as: what was guessed, in words.
    doubts: what is probably not meant, each with its remedy.
    """

    frame: pd.DataFrame
    units: list[str]
    read_as: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


@dataclass
class _Head:
    """What stands above the numbers: where they begin, and what the columns are called."""

    begin: int
    names: list[str]
    units: list[str]
    read_as: list[str]


Line = tuple[int, str]
"""Its number in the file, from 1, and its text."""


def read_text(path: Path) -> Table:
    """The table in a text file: `.csv`, `.tsv`, `.txt`, `.dat`, PLUMED's COLVAR, GROMACS' `.xvg`; compressed or not.

    Parameters
    ----------
    path: of the file.

    Raises
    ------
    DataError: it is no text, no table, or rows have more cells than there are columns; naming the row.
    """
    text, encoding = _decoded(path)
    text = _FORTRAN.sub("e", text.replace("−", "-"))
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    comments: list[Line] = []
    table: list[Line] = []
    for one in filled:
        (comments if _is_comment(one[1]) else table).append(one)
    if not filled:
        raise pd.errors.EmptyDataError("No columns to parse from file")  # as pandas says it
    if not table:
        raise DataError("it holds no table: every line is empty or a comment. Check the file.")
    separator, width = _separator([line for _, line in table[:SAMPLE]])
    head = _head(table[:SAMPLE], comments, separator, width)
    title = table[head.begin - 1][1] if head.begin else None
    body = [one for one in table[head.begin :] if one[1] != title]  # files put together repeat their titles
    said = [encoding] * (encoding != "utf-8") + [f"{SEPARATORS[separator]} separated"] * (width > 1)
    short = _short_rows(body, separator, len(head.names))
    frame, how = _numbers(body, separator, len(head.names))
    frame.columns = pd.Index(head.names)
    return Table(frame, head.units, [*said, *how, *head.read_as], [*short, *_periodic(comments)])


# From bytes to lines


def _decoded(path: Path) -> tuple[str, str]:
    """The text of a file and its encoding."""
    raw = path.read_bytes()
    for first, unpack in PACKED.items():
        if raw.startswith(first):
            raw = unpack(raw)
    for first, encoding in MARKS.items():
        if raw.startswith(first):
            return raw.decode(encoding), "utf-8" if encoding == "utf-8-sig" else encoding
    if raw.startswith(b"PK\x03\x04"):
        raise DataError("it is a zip archive or a spreadsheet, not text. Save the sheet as CSV, or unpack it.")
    if b"\0" in raw[:4096]:
        raise DataError("it is not text: it holds bytes of zero. Save it as CSV.")
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace"), "cp1252"  # what Western European Windows writes


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(("#", "@", "%", "&", "!", "//", '"#'))


def _cells(line: str, separator: str) -> list[str]:
    """The cells of one line."""
    text = " ".join(line.split()) if separator == " " else line
    if '"' not in text:
        return [cell.strip() for cell in text.split(separator)]
    return [cell.strip() for cell in next(csv.reader([text], delimiter=separator, skipinitialspace=True))]


def _separator(lines: Sequence[str]) -> tuple[str, int]:
    """What stands between cells, and how many there are: the one whose cells are numbers, in rows of one length."""
    best = (0.0, " ", 1)
    for separator in SEPARATORS:
        rows = [_cells(line, separator) for line in lines]
        width = Counter(map(len, rows[len(rows) // 2 :] if len(rows) > FEW else rows)).most_common(1)[0][0]
        if width > 1:
            whole = [row for row in rows if len(row) == width]
            cells = [kind_of(cell) for row in whole for cell in row]
            plain = sum(kind != "word" for kind in cells) / len(cells)
            score = (0.01 + plain) * len(whole) / len(rows)
            if score > best[0] + 1e-9:
                best = score, separator, width
    return best[1], best[2]


# What stands above the numbers


def _head(table: Sequence[Line], comments: Sequence[Line], separator: str, width: int) -> _Head:
    """Names and units of the columns, and the place in `table` where the numbers begin."""
    rows = [_cells(line, separator) for _, line in table]
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
    above = [place for place in range(begin) if len(rows[place]) in (width, width - 1)]
    units = next((at for at in reversed(above[-3:]) if at > above[0] and _is_units(rows[at], rows[at - 1])), None)
    titles = [place for place in above if place < (begin if units is None else units)]
    empty_last = all(len(row) == width and not row[-1] for row in rows[begin:])
    if titles and titles[-1] >= begin - 3:
        number, names = table[titles[-1]][0], _fitted(rows[titles[-1]], kinds, empty_last)
        said = [] if titles[-1] == 0 and number == 1 else [f"names in row {number}"]
    else:
        names, said = _from_comments(comments, separator, table[begin][0] if begin < len(table) else 0, kinds)
    if units is not None:
        said.append(f"units in row {table[units][0]}")
        cells = _fitted(rows[units], kinds, empty_last)
    else:
        cells = _units_in(comments, separator, width)
    return _Head(begin, names, [cell.strip("()[]{} ") for cell in cells], said)


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
    return _cells(line.strip().strip('"').lstrip("#%@!/ \t"), separator)


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


# The numbers


def _numbers(body: Sequence[Line], separator: str, width: int) -> tuple[pd.DataFrame, list[str]]:
    """The rows as pandas reads them, and how numbers were found to be written."""
    sample = [cell for _, line in body[:SAMPLE] for cell in _cells(line, separator)]
    decimal = "," if any(_DECIMAL_COMMA.fullmatch(cell) for cell in sample) else "."
    if decimal == "," and any(_GROUPED["."].fullmatch(cell) and "." in cell for cell in sample):
        decimal = "."
    thousands = next((cell for cell in sample if _GROUPED[decimal].fullmatch(cell)), None)
    frame = pd.read_csv(
        io.StringIO("\n".join(line.strip() if separator == " " else line for _, line in body)),
        sep=r"\s+" if separator == " " else separator,
        decimal=decimal,
        thousands=None if thousands is None else {",": ".", ".": ","}[decimal],
        header=None,
        names=range(width),
        index_col=False,
        skipinitialspace=True,
        na_values=list(MISSING),
        low_memory=False,
    )
    if len(frame) == len(body):  # not where a cell in quotes goes over several lines
        frame.index = pd.Index([number for number, _ in body])
    said = ["decimal comma"] * (decimal == ",")
    return frame, said + ([] if thousands is None else [f"thousands as in {thousands}"])


def _short_rows(body: Sequence[Line], separator: str, width: int) -> list[str]:
    """Refuse rows with more cells than columns, and, where blanks separate, with fewer; doubt other short rows."""
    short = []
    for number, line in body:
        if '"' in line:
            continue  # a cell in quotes may go on in the next line; pandas knows
        count = len(line.split()) if separator == " " else line.count(separator) + 1
        if count < width and separator != " ":
            short.append((number, count))
        elif count < width or (count > width and any(_cells(line, separator)[width:])):
            remedy = (
                "Write nan where a value is missing."
                if count < width
                else "Text that holds the separator needs quotes."
            )
            raise DataError(f"row {number} has {count} cells for {width} columns: {line.strip()[:60]!r}. {remedy}")
    if not short:
        return []
    number, count = short[0]
    return [
        f"row {number} has {count} cells for {width} columns, as one of {len(short)}: the last are taken as missing. "
        "Complete such rows unless that is meant."
    ]


def _periodic(comments: Sequence[Line]) -> list[str]:
    """What is to be said of columns that PLUMED declares to be periodic."""
    names = [found[1] for _, line in comments if (found := _PERIODIC.match(line))]
    if not names:
        return []
    return [
        f"{', '.join(dict.fromkeys(names))}: the file says that this is periodic, and a value beyond the end comes "
        "back at the other. Give its sine and cosine as channels."
    ]
