"""What single cells say: a title its name, its unit, whether it is a time or names a sequence; others their kind."""

from __future__ import annotations

import re

TIMES = (
    ("time", "times", "t", "zeit", "temps", "tiempo"),
    ("timestamp", "datetime", "date", "datum", "utc"),
    tuple(
        "elapsed clock second sec millisecond ms us ns ps minute min hour day year yr kyr age epoch".split()  # noqa: SIM905
    ),
    ("frame", "step", "sample", "index", "tick"),
)
"""Titles of times, the clearest first. The last two groups count only where no other column is a time."""

SEQUENCES = frozenset(
    """
    sequence seq series trial id recording rec record run session night subject subj patient participant person animal
    individual ind mouse rat bird fish molecule mol trace traj trajectory track particle cell sample specimen replicate
    rep repeat realization realisation episode experiment segment piece chain walker
    """.split()  # noqa: SIM905
)
"""Titles of columns that tell recordings apart."""

INDEXES = frozenset("index row rownumber rowid rownames obs observation line lineno nr no n x1 v1 1".split())  # noqa: SIM905
"""Titles of columns that may count the rows and say nothing else."""

PARTS = (
    ("year", "yyyy", "yy", "yr", "jahr"),
    ("month", "mm", "mo", "mon", "monat"),
    ("day", "dd", "dy", "tag"),
    ("hour", "hours", "hh", "hr", "h", "stunde"),
    ("minute", "minutes", "mm", "min", "mn", "mi"),
    ("second", "seconds", "ss", "sec", "s"),
)
"""Titles of columns that hold a date in parts, in order."""

STATES = frozenset({"state", "states", "truestate", "hiddenstate"})
"""Titles of columns that hold the truth, used for scoring alone."""

COUNTED = ("", "id", "no", "nr", "num", "number", "name", "index", "s", "ids")
"""What may follow such a title."""

SYMBOLS = {
    symbol: known[0]
    for known in (
        ("fs", "femtosecond", "femtoseconds"),
        ("ps", "picosecond", "picoseconds"),
        ("ns", "nanosecond", "nanoseconds"),
        ("us", "µs", "μs", "usec", "microsecond", "microseconds"),
        ("ms", "msec", "millisecond", "milliseconds"),
        ("s", "sec", "secs", "second", "seconds", "sekunden"),
        ("min", "mins", "minute", "minutes"),
        ("h", "hr", "hrs", "hour", "hours"),
        ("d", "day", "days"),
        ("yr", "yrs", "year", "years", "a"),
        ("kyr", "ka"),
    )
    for symbol in known
}
"""Units of time by their symbol; written out ("days") some readers of netCDF would decode them."""

UNITS = frozenset(
    """
    hz khz mhz ghz v mv uv µv kv volts a ma ua µa na pa fa amps n mn pn nn m cm mm um µm nm pm km å ang angstrom k c f
    degc degf °c °f hpa kpa bar mbar pa % ‰ permil ppm ppb a.u. au arb arb. rad deg ° kt kj kcal mol ev mev j w mw m²
    um² mum count counts cps photons mmol g kg mg l ml m/s cm/s µm/s um/s rad/s deg/s db ts rn nr tr dimensionless - 1
    pixel pixels px bp
    """.split()  # noqa: SIM905
)
"""Units of channels that make a second line of titles a line of units."""

LETTERS = frozenset("shdmgKCFVANWJL1-%‰°Å")
"""Units of one letter."""

MISSING = (
    "-", "--", "---", ".", "..", "?", "*", "n.a.", "n.d.", "na", "NAN", "Nan", "missing", "Missing", "NaT",
    "#NV", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!",
)  # fmt: skip
"""What stands for a missing value beside the empty cell and the words pandas knows (NA, NaN, null, #N/A …)."""

_NUMBER = re.compile(r"[+\-−]?(\d[\d.,]*|[.,]\d+)([eEdD][+-]?\d+)?%?|[+-]?(inf|infinity)", re.IGNORECASE)
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/. ](\d{1,2}|[A-Za-z]{3})[-/. ]\d{2,4}( .*)?")
_CLOCK = re.compile(r"\d{1,3}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?")
_IDENTIFIER = re.compile(r"([ _.-](id|ID|Id|nr|no)|[a-z]ID|identifier)$")
_BRACKETS = re.compile(r"^(.*?)\s*[(\[{]\s*([^()\[\]{}]*?)\s*[)\]}]$")
_SLASH = re.compile(r"^([^/]*\w)\s*/\s*([^/\d\s][^/\s]*)$")
_TIME_UNIT = re.compile(r"^(time|t|elapsed|timestamp)[ _.]([^\W\d_]+)$", re.IGNORECASE)


def split_unit(title: str) -> tuple[str, str]:
    """Name and unit of a title such as `time (s)`, `force [pN]`, `t/ps` or `time_ms`; the unit "" where it has none.

    Examples
    --------
    >>> from pyro_nld.io.titles import split_unit
    >>> split_unit("force [pN]"), split_unit("time_ms"), split_unit("left")
    (('force', 'pN'), ('time', 'ms'), ('left', ''))
    """
    text = title.strip()
    if (found := _BRACKETS.match(text)) and found[1]:
        return found[1], time_symbol(found[2])
    if (found := _SLASH.match(text)) and is_unit(found[2]):
        return found[1].rstrip(), time_symbol(found[2])
    if (found := _TIME_UNIT.match(text)) and found[2].casefold() in SYMBOLS:
        return found[1], time_symbol(found[2])
    return text, ""


def time_symbol(unit: str) -> str:
    """The symbol of a unit of time; any other unit as it is."""
    text = unit.strip()
    return SYMBOLS.get(text if len(text) < 3 else text.casefold(), text)


def is_unit(text: str) -> bool:
    """Whether a cell names a unit."""
    short = text.strip().strip("()[]{}")
    if len(short) == 1:
        return short in LETTERS  # a, b and c are names of columns
    bare = short.casefold()
    parts = [part.rstrip("0123456789-+^²") for part in re.split(r"[/·*\s]+", bare) if part]
    return bare in UNITS or (bool(parts) and all(part in UNITS or part in SYMBOLS for part in parts))


def key(title: str) -> str:
    """A title without its unit, case, blanks and marks: `Trial #` is `trial`."""
    return re.sub(r"[\W_]+", "", split_unit(title)[0].casefold())


def time_rank(title: str) -> int:
    """How clearly a title is one of a time: 0 is the clearest; `len(TIMES)` and above mean that it is none."""
    word = key(title)
    for rank, titles in enumerate(TIMES):
        if word in titles or (rank > 1 and word.removesuffix("s") in titles):
            return rank
    alike = word.startswith(("time", "datetime")) or word.endswith(("time", "timestamp", "date", "datum", "zeit"))
    return 1 if alike else len(TIMES)


def names_sequences(title: str) -> bool:
    """Whether a title is one of a column that tells recordings apart, such as `trial`, `Subject ID` or `cell_no`."""
    word = key(title)
    return any(word.removesuffix(tail) in SEQUENCES for tail in COUNTED) or bool(_IDENTIFIER.search(title.strip()))


def kind_of(cell: str) -> str:
    """What a cell holds: "number", "date", "clock", "word", or "" where it is missing."""
    if not cell or cell in MISSING or cell.casefold() in ("nan", "na", "n/a", "null", "none", "#n/a"):
        return ""
    for kind, pattern in (("clock", _CLOCK), ("date", _DATE), ("number", _NUMBER)):
        if pattern.fullmatch(cell):
            return kind
    return "word"
