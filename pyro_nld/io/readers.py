"""Text of a table, as instruments, spreadsheets and simulation programs write it, to a pandas table with names.

What comes before the numbers (comments, preamble, titles, a line of units) and how cells are separated is found here
and said; pandas reads the numbers. The index of the table is the line of the file, as an editor counts it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..errors import DataError
from .heads import TITLES, Line, cells_of, head_of
from .titles import MISSING, kind_of

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
CELL = 20  # lines that one cell in quotes may have

_FORTRAN = re.compile(  # 1.0D+00, 1D-3 and 1.5d2, but no part of a name
    r"(?<![\w.])([+-]?(?:\d*\.\d*(?=[dD][+-]?\d)|\d+(?=[dD][+-]\d)))[dD]([+-]?\d{1,3})(?!\w)"
)
_SPACED = re.compile(r"(?<![\w.,'’])\d{1,3}(?:['’\u00a0\u202f]\d{3})+(?!\d)")  # 1'234.5 and 1 234,5 with hard blanks
_DECIMAL_COMMA = re.compile(r"[+\-−]?\d*,\d+([eE][+-]?\d+)?|[+-]?\d{1,3}(\.\d{3})+,\d+")
_GROUPED = {",": re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+"), ".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")}
_FIELD = re.compile(r"(\w+)=\t(.*)")  # of LabChart
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
    periodic: titles of columns that the file declares to be.
    """

    frame: pd.DataFrame
    units: list[str]
    read_as: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    periodic: list[str] = field(default_factory=list)


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
    text = _FORTRAN.sub(r"\1e\2", text.replace("−", "-"))
    spaced = _SPACED.search(text) if ";" in text or "\t" in text else None  # blanks separate nothing else then
    if spaced:
        text = _SPACED.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    lines = _plain(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    filled = [(number, line) for number, line in _whole(lines) if line.strip()]
    comments: list[Line] = []
    table: list[Line] = []
    for one in filled:
        (comments if _is_comment(one[1]) else table).append(one)
    if not filled:
        raise pd.errors.EmptyDataError("No columns to parse from file")  # as pandas says it
    if not table:
        raise DataError("it holds no table: every line is empty or a comment. Check the file.")
    separator, width = _separator([line for _, line in table[:SAMPLE]])
    head = head_of(table[:SAMPLE], comments, separator, width)
    titles = {line for _, line in table[max(0, head.begin - TITLES) : head.begin]}
    body = [one for one in table[head.begin :] if one[1] not in titles]  # files put together repeat their titles
    said = [encoding] * (encoding != "utf-8") + [f"{SEPARATORS[separator]} separated"] * (width > 1)
    short = _short_rows(body, separator, len(head.names))
    frame, how = _numbers(body, separator, len(head.names))
    said += [f"thousands as in {spaced[0]}"] if spaced else []
    mixed = _pointed(frame, "." if "decimal comma" in how else ",") if how else []
    frame.columns = pd.Index(head.names)
    return Table(frame, head.units, [*said, *how, *head.read_as], [*short, *mixed], _periodic(comments))


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


def _plain(lines: list[str]) -> list[str]:
    """Text of Igor and LabChart with their words for names and units as titles; the place of every line is kept."""
    if lines[0].strip() == "IGOR":
        words = re.compile(r"(IGOR|BEGIN|END)\s*$|X\s")
        return ["" if words.match(line) else re.sub(r"^WAVES\S*\s", "", line).strip() for line in lines]
    fields = {found[1]: found[2].split("\t") for line in lines if (found := _FIELD.match(line))}
    if "ChannelTitle" not in fields:
        return lines
    unit = fields.get("Interval", [""])[0].split()[-1:] or [""]
    titles = {"ChannelTitle": "time", "UnitName": unit[0]}

    def plain(line: str) -> str:
        found = _FIELD.match(line)
        return line if found is None else f"{titles[found[1]]}\t{found[2]}" if found[1] in titles else ""

    return list(map(plain, lines))


def _whole(lines: Sequence[str]) -> Iterator[Line]:
    """Lines with their number; one whose quotes stay open goes on in the next, where they are closed soon."""
    place = 0
    while place < len(lines):
        line, end = lines[place], place + 1
        if line.count('"') % 2:
            more = range(end, min(end + CELL, len(lines)))
            closed = next((at + 1 for at in more if lines[at].count('"') % 2), end)
            line, end = "\n".join(lines[place:closed]), closed
        yield place + 1, line
        place = end


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(("#", "@", "%", "&", "!", "//", '"#'))


def _separator(lines: Sequence[str]) -> tuple[str, int]:
    """What stands between cells, and how many there are: the one whose cells are numbers, in rows of one length."""
    best = (0.0, " ", 1)
    for separator in SEPARATORS:
        rows = [cells_of(line, separator) for line in lines]
        widths = Counter(map(len, rows[len(rows) // 2 :] if len(rows) > FEW else rows)).most_common()
        width = widths[0][0]
        if width > 1 and len(widths) == 1 and separator in "\t;|":
            return separator, width  # nobody writes these into every row for anything else
        if width > 1:
            whole = [row for row in rows if len(row) == width]
            cells = [kind_of(cell) for row in whole for cell in row]
            plain = sum(kind != "word" for kind in cells) / len(cells)
            score = (0.01 + plain) * len(whole) / len(rows)
            if score > best[0] + 1e-9:
                best = score, separator, width
    return best[1], best[2]


# The numbers


def _numbers(body: Sequence[Line], separator: str, width: int) -> tuple[pd.DataFrame, list[str]]:
    """The rows as pandas reads them, and how numbers were found to be written."""
    telling = body[:SAMPLE] if separator == "," else [*body[:SAMPLE], *[one for one in body if "," in one[1]][:SAMPLE]]
    sample = [cell for _, line in telling for cell in cells_of(line, separator)]
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
    frame.index = pd.Index([number for number, _ in body])
    said = ["decimal comma"] * (decimal == ",")
    return frame, said + ([] if thousands is None else [f"thousands as in {thousands}"])


def _pointed(frame: pd.DataFrame, thousands: str) -> list[str]:
    """Give columns that hold a word their numbers with a decimal point, as pandas does where there is none.

    Returns
    -------
    A doubt where some numbers had a decimal point already, among others with a comma.
    """
    mixed = []
    for name in frame.columns:
        if pd.api.types.is_numeric_dtype(frame[name]):
            continue
        text = frame[name].str.strip()
        grouped = text.str.fullmatch(_GROUPED["," if thousands == "." else "."]).eq(True)
        text = text.mask(grouped, text.str.replace(thousands, "", regex=False))
        commas = text.str.fullmatch(_DECIMAL_COMMA).eq(True)
        points = text.str.fullmatch(r"[+-]?\d*\.\d+").eq(True) & ~grouped
        if thousands == "." and commas.any() and points.any():
            row = frame.index[points][0]
            mixed.append(f"row {row} has {text[row]} among numbers with decimal commas: it is read as a decimal point.")
        frame[name] = text.mask(commas, text.str.replace(",", ".", regex=False)) if thousands == "." else text
    return [mixed[0] + " Write all numbers alike."] if mixed else []


def _short_rows(body: Sequence[Line], separator: str, width: int) -> list[str]:
    """Refuse rows with more cells than columns, and, where blanks separate, with fewer; doubt other short rows."""
    short = []
    for number, line in body:
        quoted = '"' in line
        count = len(cells_of(line, separator)) if quoted or separator == " " else line.count(separator) + 1
        if count < width and separator != " ":
            short.append((number, count))
        elif count < width or (count > width and any(cells_of(line, separator)[width:])):
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
    """The columns that PLUMED declares to be periodic."""
    return list(dict.fromkeys(found[1] for _, line in comments if (found := _PERIODIC.match(line))))
