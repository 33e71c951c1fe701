"""Cells to numbers: channels, states, and columns of words that are neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._typing import Array
from ..errors import DataError
from .sheets import Sheet
from .titles import STATES, key


class Values(NamedTuple):
    """What stands beside the times.

    Attributes
    ----------
    channels: one column of numbers each, NaN where missing; the index is the row.
    states: one per row, NaN where unknown; None where there are none. state_names: of them, where they are words.
    words: the columns of words.
    """

    channels: pd.DataFrame
    states: Array | None
    state_names: list[str]
    words: dict[str, pd.Series]


def values_of(sheet: Sheet, wanted: list[str] | None, marks: list) -> Values:
    """Channels, states and words among the columns that are neither times nor names.

    Parameters
    ----------
    sheet: its free columns are looked at. wanted: the channels, where somebody said. marks: what means missing.

    Raises
    ------
    DataError: a cell holds no number, naming row and column, or there is no channel.
    """
    channels: dict[str, Array] = {}
    words: dict[str, pd.Series] = {}
    states: Array | None = None
    state_names: list[str] = []
    for name in [*sheet.free, *(wanted or [])]:
        column = sheet.frame[name]
        if name in (wanted or []):
            channels[name] = numbers(column, marks)
        elif key(name) in STATES:
            states, state_names = _states(column, marks)
        elif column.isna().all():
            sheet.leave(name, "empty")
        elif _is_words(column, marks):
            words[name] = column
        elif wanted is None:
            channels[name] = numbers(column, marks)
    if not channels:
        raise DataError("a table needs rows, and channels beside sequence and time: it has none. Add them.")
    order = wanted or list(channels)
    return Values(pd.DataFrame(channels, sheet.frame.index)[order], states, state_names, words)


def numbers(column: pd.Series, marks: Sequence[object] = ()) -> Array:
    """A column as numbers, NaN where it is empty or holds one of `marks`.

    Raises
    ------
    DataError: a cell holds something else, naming row and column.
    """
    values, wrong = _parsed(column, marks)
    if len(wrong):
        cell, row = column.iloc[wrong[0]], column.index[wrong[0]]
        raise DataError(
            f"the column {column.name} must hold numbers: got {cell!r} in row {row}. "
            f"Correct it, leave it empty where missing, or give --missing {cell}."
        )
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(
            f"the column {column.name} must hold finite numbers: got {values[infinite[0]]} in row "
            f"{column.index[infinite[0]]}. Leave it empty where missing, or drop the row."
        )
    return values


def _parsed(column: pd.Series, marks: Sequence[object]) -> tuple[Array, NDArray[np.int64]]:
    """The numbers of a column, NaN where there is none, and where something else stands."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return np.full(len(column), np.nan), np.flatnonzero(column.notna())
    if not pd.api.types.is_numeric_dtype(column):
        text = column.where(column.isna(), column.astype(str).str.strip())
        column = text.mask(text.isin([str(mark) for mark in marks]))
        numbers = pd.to_numeric(column.where(column.isna(), column.astype(str).str.removesuffix("%")), errors="coerce")
    else:
        numbers = column
    values = np.array(numbers.to_numpy(float, na_value=np.nan))
    wrong = np.flatnonzero(np.isnan(values) & column.notna().to_numpy())
    for mark in marks:
        if (number := _as_number(mark)) is not None:
            values[values == number] = np.nan
    return values, wrong


def logarithms(values: Values, titles: Sequence[str], sheet: Sheet) -> Values:
    """The channels with some of them replaced by their natural logarithms, named `log x`, in the unit `log(unit)`.

    Raises
    ------
    DataError: one of the titles is no channel, or a value has no logarithm.
    """
    _check_titles("--log", titles, values)
    renamed, channels = {}, values.channels.copy()
    for title in titles:
        column = channels[title]
        wrong = column.index[(column <= 0).to_numpy()]
        if len(wrong):
            raise DataError(
                f"the logarithm of {title} needs values above 0: got {column[wrong[0]]:g} in row {wrong[0]}. Leave it "
                "out of --log, or say with --missing that this is no value."
            )
        channels[title], renamed[title] = np.log(column), f"log {title}"
        if unit := sheet.units.get(title):
            sheet.units[renamed[title]] = f"log({unit})"
    return values._replace(channels=channels.rename(columns=renamed))


def circles(values: Values, titles: Sequence[str], sheet: Sheet) -> Values:
    """The channels with some of them, angles, replaced by their cosine and sine, `cos x` and `sin x`.

    An angle is in the unit of its title; without one in degrees, unless it fits into a turn of 2π.

    Raises
    ------
    DataError: one of the titles is no channel.
    """
    _check_titles("--angle", titles, values)
    parts = []
    for title, column in values.channels.items():
        if title not in titles:
            parts.append(column)
            continue
        unit = sheet.units.get(str(title), "").lower()
        degrees = unit.startswith(("deg", "°")) or (not unit.startswith("rad") and column.abs().max() > 2.01 * np.pi)
        turned = np.radians(column) if degrees else column
        parts += [np.cos(turned).rename(f"cos {title}"), np.sin(turned).rename(f"sin {title}")]
    return values._replace(channels=pd.concat(parts, axis=1))


def _check_titles(option: str, titles: Sequence[str], values: Values) -> None:
    for title in titles:
        if title not in values.channels:
            every = ", ".join(values.channels)
            raise DataError(f"{option} must name channels: {title} is none of {every}. Leave it out.")


def _as_number(mark: object) -> float | None:
    try:
        return float(mark)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _is_words(column: pd.Series, marks: Sequence[object]) -> bool:
    """Whether more than half of what is filled in is no number."""
    return 2 * len(_parsed(column, marks)[1]) > int(column.notna().sum())


def _states(column: pd.Series, marks: Sequence[object]) -> tuple[Array, list[str]]:
    """States as numbers, NaN where unknown, and their names where they are words."""
    if _is_words(column, marks):
        codes, names = pd.factorize(column, sort=True)
        return np.where(codes < 0, np.nan, codes), [str(name) for name in names]
    values = numbers(column, marks)
    wrong = np.flatnonzero((values != np.round(values)) & ~np.isnan(values) | (values < -1))
    if len(wrong):
        raise DataError(
            f"the column {column.name} must hold states 0, 1, … or -1 for unknown: got {values[wrong[0]]:g} in row "
            f"{column.index[wrong[0]]}. Number them."
        )
    return values, []
