"""Data beside each other: values near zero, which single precision can hold, and new data in the terms of the old."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from .._typing import Array
from ..errors import DataError, DoubtfulDataWarning
from .titles import key

DIGITS = 0.01
"""Standard deviations of a channel that two neighbouring numbers in single precision may lie apart."""

SECONDS = {
    "fs": 1e-15, "ps": 1e-12, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0,
    "yr": 31557600.0, "kyr": 3.15576e10,
}  # fmt: skip
"""Units of time."""


def centred(data: xr.Dataset) -> xr.Dataset:
    """x − origin for channels whose values are so far from zero that single precision would lose what they tell.

    Parameters
    ----------
    data: with observations(sequence, time, channel), in double precision.

    Returns
    -------
    The same Dataset where no channel needs it; otherwise with the coordinate `origin (channel)`, what was subtracted, a
    round number near the median; the names of such channels say so, as in "frequency - 9192631770", and so does
    `attrs["read_as"]`.

    Examples
    --------
    >>> frequency = 9192631770.0 + np.arange(4.0)
    >>> data = nld.datasets.centred(nld.datasets.from_arrays(np.arange(4.0), frequency[None, :, None]))
    >>> data["observations"].values.ravel().tolist(), data["channel"].values.tolist()
    ([0.0, 1.0, 2.0, 3.0], ['0 - 9192631770'])
    """
    x = data["observations"].transpose("sequence", "time", "channel").values
    if x.dtype != np.float64 or not x.size:
        return data
    origin = np.array([_origin(x[..., channel]) for channel in range(x.shape[-1])])
    if not origin.any():
        return data
    names = names_of(data)
    before = data["origin"].values if "origin" in data.coords else 0.0
    said = [f"{value:.15g} subtracted from {name}" for value, name in zip(origin, names, strict=True) if value]
    titles = [f"{name} - {value:.15g}" if value else name for value, name in zip(origin + before, names, strict=True)]
    moved = data.assign(observations=(("sequence", "time", "channel"), x - origin, data["observations"].attrs))
    moved = moved.assign_coords(origin=("channel", origin + before), channel=titles)
    return moved.assign_attrs(read_as=", ".join([data.attrs["read_as"], *said] if "read_as" in data.attrs else said))


def names_of(data: xr.Dataset) -> list[str]:
    """The names of the channels as their file has them, without an origin; their numbers where they have none."""
    if "channel" not in data.coords:
        return [str(channel) for channel in range(data.sizes["channel"])]
    names = [str(name) for name in data["channel"].values]
    if "origin" not in data.coords:
        return names
    origins = data["origin"].values
    return [name.removesuffix(f" - {value:.15g}") for name, value in zip(names, origins, strict=True)]


def matched(data: xr.Dataset, fitted: xr.Dataset) -> xr.Dataset:
    """New data in the terms of those that a model was fitted to: the same channels in the same order, origins and unit.

    Parameters
    ----------
    data: the new ones. fitted: the old ones. Channels without names are taken to be in the same order.

    Raises
    ------
    DataError: a channel of the fit is missing, with the names on both sides.

    Warns
    -----
    DoubtfulDataWarning: a channel, or time, has another unit than in the fit, and it is not known how to convert it.

    Examples
    --------
    >>> x = np.arange(12.0).reshape(1, 6, 2)
    >>> fitted = nld.datasets.from_arrays(np.arange(6.0), x).assign_coords(channel=["force", "extension"])
    >>> swapped = fitted.isel(channel=[1, 0])
    >>> bool((nld.datasets.matched(swapped, fitted)["observations"] == fitted["observations"]).all())
    True
    """
    if "channel" in data.coords and "channel" in fitted.coords:
        data = data.isel(channel=_places(data, fitted))
    _doubt_units(data, fitted)
    return _in_unit(_from_origin(data, fitted), fitted)


def dates_of(data: xr.Dataset, times: Array) -> np.ndarray | None:
    """The dates of times that count from one, to the microsecond; None where the origin or the unit is not known.

    Parameters
    ----------
    data: says origin and unit in its attributes. times: of any shape, NaN after the end of a sequence.
    """
    origin, unit = data.attrs.get("time_origin", ""), data.attrs.get("units", "")
    if "T" not in origin or unit not in SECONDS:
        return None
    ended = np.isnan(times)
    passed = np.where(ended, 0.0, times) * (SECONDS[unit] * 1e6)
    dates = np.datetime64(origin, "us") + np.round(passed).astype("timedelta64[us]")
    return np.where(ended, np.datetime64("NaT"), dates)


def _origin(values: Array) -> float:
    """A round number near the median where values need one, else 0."""
    values = values[np.isfinite(values)]
    spread = float(values.std()) if len(values) else 0.0
    if spread == 0 or float(np.spacing(np.float32(np.abs(values).max()))) < DIGITS * spread:
        return 0.0
    unit = 10.0 ** np.ceil(np.log10(spread))
    return float(np.round(np.median(values) / unit) * unit)


def _places(data: xr.Dataset, fitted: xr.Dataset) -> list[int]:
    """Where the channels of the fit stand among those of the data."""
    have, want = names_of(data), names_of(fitted)
    alike = {key(name): place for place, name in enumerate(have)}
    lacking = [name for name in want if name not in have and key(name) not in alike]
    if lacking:
        raise DataError(
            f"the data need the channels of the fit, {', '.join(want)}: they have {', '.join(have)}. Name "
            f"{', '.join(lacking)} alike."
        )
    return [have.index(name) if name in have else alike[key(name)] for name in want]


def _from_origin(data: xr.Dataset, fitted: xr.Dataset) -> xr.Dataset:
    """Values counted from the origins of the fit."""
    if "origin" not in data.coords and "origin" not in fitted.coords:
        return data
    mine, theirs = (one["origin"].values if "origin" in one.coords else 0.0 for one in (data, fitted))
    x = data["observations"].transpose("sequence", "time", "channel")
    moved = data.drop_vars("origin", errors="ignore").assign(observations=(x.dims, x.values + (mine - theirs), x.attrs))
    kept = {name: fitted[name] for name in ("channel", "origin") if name in fitted.coords}
    return moved.assign_coords(kept)


def _doubt_units(data: xr.Dataset, fitted: xr.Dataset) -> None:
    if "unit" not in data.coords or "unit" not in fitted.coords:
        return
    for name, mine, theirs in zip(names_of(fitted), data["unit"].values, fitted["unit"].values, strict=True):
        if mine and theirs and mine != theirs:
            _doubt(f"channel {name} is in {mine}, and was in {theirs} in the fit. Convert it unless that is meant.")


def _in_unit(data: xr.Dataset, fitted: xr.Dataset) -> xr.Dataset:
    """Times in the unit of the fit, where both are known."""
    mine, theirs = (one.attrs.get("units", "") for one in (data, fitted))
    if mine == theirs or not mine or not theirs:
        return data
    if mine not in SECONDS or theirs not in SECONDS:
        _doubt(f"time is in {mine}, and was in {theirs} in the fit. Convert it unless that is meant.")
        return data
    name = "times" if "times" in data else "time"
    times = data[name].dims, data[name].values * (SECONDS[mine] / SECONDS[theirs]), {"units": theirs}
    put = data.assign if name == "times" else data.assign_coords
    return put({name: times}).assign_attrs(units=theirs)


def _doubt(message: str) -> None:
    warnings.warn(message, DoubtfulDataWarning, stacklevel=4)
