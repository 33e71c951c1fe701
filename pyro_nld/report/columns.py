"""Columns of a table for the terminal: numbers as text, titles with units, and everything in line.

Examples
--------
>>> from pyro_nld.report.columns import aligned, apart, titled
>>> print(aligned({"state": ["0", "1"], titled("level", "nm"): apart(np.array([1.2003, 1.2005]))}))
state  level (nm)
    0     1.20030
    1     1.20050
"""

from __future__ import annotations

import numpy as np
import xarray as xr


def digits(value: float) -> str:
    """Three significant digits; a dash where there is no number."""
    return f"{value:#.3g}".rstrip(".") if np.isfinite(value) else "–"


def apart(levels: np.ndarray) -> list[str]:
    """Levels with the digits that tell them apart, at least three; neighbours within 1 % of their range are one."""
    known = np.sort(levels[np.isfinite(levels)])
    gaps = (steps := np.diff(known))[steps > 0.01 * steps.sum()]
    if not len(gaps):
        return [digits(float(level)) for level in levels]
    figures = int(np.floor(np.log10(np.abs(known).max())) - np.floor(np.log10(gaps.min()))) + 2
    return [f"{level:#.{min(max(3, figures), 15)}g}".rstrip(".") if np.isfinite(level) else "–" for level in levels]


def titled(title: str, unit: str) -> str:
    """A title with a unit in parentheses, where there is one."""
    return f"{title} ({unit})" if unit else title


def unit(found: xr.Dataset, name: str) -> str:
    """The unit of a variable, or nothing."""
    return str(found[name].attrs.get("units", ""))


def interval(route: xr.Dataset, name: str) -> list[str]:
    """The ends of the interval of a variable, `<name>_low … <name>_high`."""
    ends = zip(route[f"{name}_low"].values, route[f"{name}_high"].values, strict=True)
    return [f"{digits(low)} … {digits(high)}" for low, high in ends]


def percent(share: xr.DataArray) -> str:
    """A share as whole per cents."""
    return f"{100 * float(share):.0f} %"


def numbers(values: xr.DataArray, decimals: int) -> list[str]:
    """Values with so many decimals."""
    return [f"{value:.{decimals}f}" for value in values.values]


def listed(lines: dict[str, str]) -> str:
    """One line each: its name, and what is to be said of it."""
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {line}" for name, line in lines.items())


def aligned(columns: dict[str, list[str]]) -> str:
    """Columns by title, in line on their right."""
    widths = [max(map(len, (name, *cells))) for name, cells in columns.items()]
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
