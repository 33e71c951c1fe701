"""What users hold in memory, to times and observations: frames of pandas or polars, labelled arrays, lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr

from ..errors import DataError, ShapeError
from .clocks import read_clock
from .frames import from_table
from .titles import names_sequences, time_rank

CHANNELS = ("channel", "channels", "feature", "features", "variable", "sensor", "electrode", "component", "space")
"""Names of the axis of channels."""


def recognised(data: object) -> xr.Dataset | tuple[object, object]:
    """A Dataset, or a pair (times, observations) still as it came.

    Parameters
    ----------
    data: a Dataset; a DataFrame of pandas, polars or anything else with `to_pandas`; a DataArray; a pair of arrays or
        of lists of arrays; a list of arrays (time, channel), whose times are 0, 1, 2, …; a list of pairs, one for each
        sequence.

    Raises
    ------
    DataError: it is none of these.
    """
    if isinstance(data, xr.Dataset):
        alone = len(data.data_vars) == 1 and "observations" not in data
        return _undated(_labelled(next(iter(data.data_vars.values()))) if alone else data)
    if isinstance(data, xr.DataArray):
        return _undated(_labelled(data))
    if isinstance(data, pd.Series):
        return from_table(data.to_frame(data.name or "value"))
    if isinstance(data, pd.DataFrame):
        return from_table(data)
    if hasattr(data, "to_pandas"):
        return recognised(data.to_pandas())
    if isinstance(data, tuple | list) and len(data):
        return _listed(data)
    raise DataError(
        f"data must be a Dataset or a pair (times, observations): got {type(data).__name__}. "
        "Use nld.datasets.load on a file."
    )


def _labelled(array: xr.DataArray) -> xr.Dataset:
    """A labelled array of one, two or three axes, told apart by their names."""
    time = next((name for name in array.dims if time_rank(str(name)) < 2), None)
    if time is None or time not in array.coords:
        raise DataError(
            f"a DataArray needs an axis time with its coordinate: got {_axes(array)}. Rename an axis, or "
            "assign_coords(time=…)."
        )
    others = [name for name in array.dims if name != time]
    channel = next((name for name in others if str(name).casefold() in CHANNELS), None)
    sequence = next((name for name in others if name != channel and names_sequences(str(name))), None)
    left = [name for name in others if name not in (channel, sequence)]
    if len(left) == 1 and channel is None:
        channel = left.pop()
    elif len(left) == 1 and sequence is None:
        sequence = left.pop()
    if left:
        raise ShapeError(f"a DataArray needs the axes sequence, time and channel: got {_axes(array)}. Rename its axes.")
    names = {old: new for old, new in ((time, "time"), (channel, "channel"), (sequence, "sequence")) if old is not None}
    found = array.reset_coords(drop=True).rename(names)
    found = found.expand_dims([name for name in ("sequence", "channel") if name not in found.dims])
    unit = found["time"].attrs.get("units", "")
    data = found.transpose("sequence", "time", "channel").to_dataset(name="observations")
    return data.assign_attrs({"units": unit} if unit else {})


def _undated(data: xr.Dataset) -> xr.Dataset:
    """Dates of the coordinate `time` as numbers, with their unit and origin."""
    if "time" not in data.coords or data["time"].dtype.kind != "M":
        return data
    clock = read_clock(pd.Series(data["time"].values, name="time"))
    times = ("time", clock.values, {"units": clock.unit})
    return data.assign_coords(time=times).assign_attrs(units=clock.unit, time_origin=clock.origin)


def _axes(array: xr.DataArray) -> str:
    return f"({', '.join(map(str, array.dims))})"


def _listed(data: Sequence[object]) -> tuple[object, object]:
    """A pair of arrays or lists, or a list of sequences."""
    if all(_is_pair(one) for one in data):
        return _padded([one[0] for one in data], [one[1] for one in data])  # type: ignore[index]
    if all(_axes_of(one) == 2 for one in data) and (len(data) != 2 or _alike(*data)):
        return _padded([np.arange(len(one)) for one in data], list(data))  # type: ignore[arg-type]
    if len(data) == 2:
        return _padded(data[0], data[1]) if _are_lists(*data) else (data[0], data[1])  # type: ignore[arg-type]
    raise DataError(
        f"data must be a pair (times, observations), or a list of arrays (time, channel): got {type(data).__name__} of "
        f"{len(data)}. Use nld.datasets.from_arrays for a Dataset."
    )


def _axes_of(one: object) -> int:
    """The number of axes of an array; -1 of anything else."""
    return len(one.shape) if isinstance(one, np.ndarray | torch.Tensor) else -1


def _is_pair(one: object) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and _axes_of(one[0]) == 1 and _axes_of(one[1]) in (1, 2)


def _are_lists(times: object, x: object) -> bool:
    """Whether both are lists of one array for each sequence."""
    if not (isinstance(times, tuple | list) and isinstance(x, tuple | list) and len(times) == len(x)):
        return False
    return all(_axes_of(one) == 1 for one in times) and all(_axes_of(one) in (1, 2) for one in x)


def _alike(first: object, second: object) -> bool:
    """Two sequences of the same channels, rather than times (sequence, time) and observations that lack an axis."""
    one, two = np.asarray(first), np.asarray(second)
    times = one.shape == two.shape and not (np.diff(one, axis=1) <= 0).any()
    return one.shape[1] == two.shape[1] and not times


def _padded(times: Sequence[object], x: Sequence[object]) -> tuple[object, object]:
    """One array each, sequences in NaN after their end."""
    clocks = [_plain(one) for one in times]
    values = [_plain(one).reshape(len(_plain(one)), -1) for one in x]
    for place, (clock, value) in enumerate(zip(clocks, values, strict=True)):
        if len(clock) != len(value):
            raise ShapeError(
                f"a sequence needs one time per row: sequence {place} has {len(clock)} times for {len(value)} rows. "
                "Give one time per observation."
            )
        if value.shape[1] != values[0].shape[1]:
            raise ShapeError(
                f"all sequences need the same channels: sequence {place} has {value.shape[1]}, sequence 0 has "
                f"{values[0].shape[1]}. Give the same ones."
            )
    longest = max(map(len, clocks))
    return (
        np.stack([np.pad(clock, (0, longest - len(clock)), constant_values=np.nan) for clock in clocks]),
        np.stack([np.pad(one, ((0, longest - len(one)), (0, 0)), constant_values=np.nan) for one in values]),
    )


def _plain(one: object) -> np.ndarray:
    """An array of double precision; dates in seconds."""
    array = one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else np.asarray(one)
    return dated(array) if array.dtype.kind in "mM" else array.astype(float)


def dated(array: np.ndarray) -> np.ndarray:
    """Dates and durations as seconds since the first, so that two recordings have the same unit."""
    if array.dtype.kind == "M":
        array = array - np.nanmin(array)
    return array / np.timedelta64(1, "s")
