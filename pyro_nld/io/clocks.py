"""A column of times, dates or clock readings to numbers in one unit, counted from an origin that is kept."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from .._typing import Array
from ..errors import DataError
from .titles import time_symbol

FAR = 1e5
"""Intervals from zero at which a first time is subtracted: single precision would change the intervals by a percent."""

LENGTHS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""Units in which dates are counted, in seconds."""

TOGETHER = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Dates without marks, by their number of digits."""

EPOCHS = {"s": 1e9, "ms": 1e12, "us": 1e15, "ns": 1e18}
"""About where counts since 1970 stand today, by their unit."""

_LASTING = re.compile(r"(-?\d+ days?,? ?)?(\d{1,3}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?)?")
"""A clock reading such as 6:30, or what Python and pandas print of a duration, such as 1 days 06:30:00."""

_ZONE = re.compile(r":\d{2}\S*(?:Z|[+-]\d{2}:?\d{2})$")

HALF_A_DAY = pd.Timedelta(hours=12)


class Clock(NamedTuple):
    """Times as numbers.

    Attributes
    ----------
    values: one per row, float64; NaN where the cell is empty.
    unit: its symbol, "" where nobody said.
    origin: what was subtracted, as ISO date or as number; "" where nothing was.
    said: what was guessed, in words.
    """

    values: Array
    unit: str
    origin: str
    said: list[str]


def read_clock(column: pd.Series, unit: str = "") -> Clock:
    """Numbers from a column of numbers, dates, clock readings or durations.

    Parameters
    ----------
    column: one cell per row; its name and index are used in errors. unit: of numbers, where it is known.

    Raises
    ------
    DataError: a cell is none of these, naming its row.

    Examples
    --------
    >>> import pandas as pd
    >>> from pyro_nld.io.clocks import read_clock
    >>> clock = read_clock(pd.Series(["2021-03-01 06:00", "2021-03-01 08:00"], name="time"))
    >>> clock.values.tolist(), clock.unit, clock.origin
    ([0.0, 2.0], 'h', '2021-03-01T06:00:00')
    """
    if pd.api.types.is_timedelta64_dtype(column):
        return _lasting(column)
    if pd.api.types.is_datetime64_any_dtype(column):
        return _dated(pd.to_datetime(column, utc=True), [])
    numbers = column if pd.api.types.is_numeric_dtype(column) else pd.to_numeric(column, errors="coerce")
    if 2 * (numbers.isna() & column.notna()).sum() < max(1, column.notna().sum()):
        refuse(column, numbers)
        dates = _written_together(numbers)
        return _counted(numbers, unit) if dates is None else _dated(dates, [])
    text = column.where(column.isna(), column.astype(str).str.strip().str.replace(",", "."))
    if 2 * text.dropna().str.fullmatch(_LASTING).sum() > column.notna().sum():
        lasting = pd.to_timedelta(text.where(text.isna(), text.astype(str).map(_with_seconds)), errors="coerce")
        refuse(column, lasting)
        short = text.dropna().str.fullmatch(r"\d+:\d{2}").any()
        return _lasting(lasting, ["clock as hours:minutes"] if short else [])
    dates, said = _dates(text)
    refuse(column, dates)
    zoned = text.dropna().str.contains(_ZONE)
    return _dated(dates, [*said, "dates in UTC"] if zoned.any() else said)


def refuse(column: pd.Series, read: pd.Series) -> None:
    """Name the first cell that is filled but could not be read."""
    wrong = np.flatnonzero(read.isna() & column.notna())
    if len(wrong):
        raise DataError(
            f"the column {column.name} must hold numbers or dates: got {column.iloc[wrong[0]]!r} in row "
            f"{column.index[wrong[0]]}. Correct it or drop the row."
        )


def with_dates(dates: pd.Series, clock: pd.Series) -> pd.Series:
    """Dates in one column and the time of day in another, joined."""
    joined = dates.astype(str).str.strip() + " " + clock.astype(str).str.strip().map(_with_seconds)
    return joined.where(dates.notna() & clock.notna()).rename(clock.name)


def of_parts(parts: pd.DataFrame) -> pd.Series:
    """Dates of which year, month, day, and perhaps hour, minute and second stand in columns of their own.

    Raises
    ------
    DataError: a row holds no date.
    """
    names = ("year", "month", "day", "hour", "minute", "second")[: parts.shape[1]]
    numbers = parts.set_axis(list(names), axis=1).apply(pd.to_numeric, errors="coerce")
    numbers["year"] = numbers["year"].where(numbers["year"] > 99, numbers["year"] + 1900 + 100 * (numbers["year"] < 70))
    dates = pd.to_datetime(numbers, errors="coerce").rename(str(parts.columns[0]))
    refuse(parts.iloc[:, 0].rename(dates.name), dates)
    return dates


def usual_interval(values: Array) -> float:
    """The median time between neighbours, whatever the order of the rows."""
    steps = np.diff(np.unique(values[np.isfinite(values)]))
    return float(np.median(steps)) if len(steps) else 1.0


def _written_together(numbers: pd.Series) -> pd.Series | None:
    """Dates written as whole numbers such as 20210301 or 202103010600; None where that is not what they are."""
    if not pd.api.types.is_integer_dtype(numbers) or len(numbers) < 2:
        return None
    text = numbers.astype(str)
    length = len(text.iloc[0])
    if length not in TOGETHER or not (text.str.len() == length).all():
        return None
    dates = pd.to_datetime(text, format=TOGETHER[length], utc=True, errors="coerce")
    return dates if bool(dates.dt.year.between(1800, 2200).all()) else None


def _with_seconds(text: str) -> str:
    """`6:30` as `6:30:00`, which pandas knows, also where an afternoon is written `6:30 PM`."""
    found = re.fullmatch(r"(\d+):(\d{2})(:\d{2}(?:\.\d+)?)? ?([AaPp])?[Mm]?", text)
    if not found:
        return text
    hour = int(found[1]) % 12 + 12 * (found[4] in "Pp") if found[4] else int(found[1])
    return f"{hour:02d}:{found[2]}{found[3] or ':00'}"


def _counted(numbers: pd.Series, unit: str) -> Clock:
    """Numbers as they are, or from the first where that lies far from zero."""
    values = numbers.to_numpy(float, na_value=np.nan)
    if not np.isfinite(values).any():
        return Clock(values, time_symbol(unit), "", [])
    first = numbers.min()
    if abs(float(first)) < FAR * usual_interval(values):
        return Clock(values, time_symbol(unit), "", [])
    origin, unit = _origin(float(first), time_symbol(unit))
    kept = (numbers - first).to_numpy(float, na_value=np.nan)  # of whole numbers, before they lose digits
    return Clock(kept, unit, origin or f"{first:.15g}", [] if origin else [f"first time {first:.15g} subtracted"])


def _origin(first: float, unit: str) -> tuple[str, str]:
    """The date of a count since 1970, and its unit."""
    for symbol, now in EPOCHS.items():
        if unit in ("", symbol) and 0.3 * now < first < 4 * now:
            return _iso(pd.Timestamp(first / EPOCHS[symbol] * 1e9, unit="s")), symbol
    return "", unit


def _lasting(durations: pd.Series, said: Sequence[str] = ()) -> Clock:
    """Durations, or the time of day: past midnight it counts on."""
    days = (durations.diff() < -HALF_A_DAY).cumsum()
    seconds = (durations + pd.to_timedelta(days, unit="D")).dt.total_seconds().to_numpy(float, na_value=np.nan)
    return Clock(seconds, "s", "", [*said, *(["counted on past midnight"] if days.any() else [])])


def _dated(dates: pd.Series, said: list[str]) -> Clock:
    """Dates from the first, in the largest unit that does not exceed the usual interval."""
    seconds = (dates - dates.min()).dt.total_seconds().to_numpy(float, na_value=np.nan)
    usual = usual_interval(seconds)
    unit = max((symbol for symbol, length in LENGTHS.items() if length <= usual), key=LENGTHS.__getitem__, default="s")
    return Clock(seconds / LENGTHS[unit], unit, _iso(dates.min()), said)


def _iso(date: pd.Timestamp) -> str:
    return date.tz_localize(None).isoformat() if date is not pd.NaT else ""


def _dates(text: pd.Series) -> tuple[pd.Series, list[str]]:
    """Dates as written: year first, or whichever of day and month makes them run forwards and evenly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of pandas, on formats that it has to guess
        iso = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
        if not (iso.isna() & text.notna()).any():
            return iso, []
        read = {
            words: pd.to_datetime(text, dayfirst=first, utc=True, errors="coerce")
            for words, first in (("day/month/year", True), ("month/day/year", False))
        }
        if text.dropna().str.match(r"\d{4}").all():
            return read["month/day/year"], []  # the year stands first
    words = min(read, key=lambda one: _disorder(read[one]))
    said = [f"dates as {words}"] * bool((read["day/month/year"] != read["month/day/year"]).any())
    return read[words], said


def _disorder(dates: pd.Series) -> tuple[int, int, float]:
    """Cells that are no dates, steps backwards, and how uneven the steps are."""
    steps = dates.dropna().diff().dt.total_seconds().to_numpy()[1:]
    uneven = float(np.std(steps) / (np.abs(np.mean(steps)) + 1e-9)) if len(steps) else 0.0
    return int(dates.isna().sum()), int((steps < 0).sum()), uneven
