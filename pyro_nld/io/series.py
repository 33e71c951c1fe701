"""From labelled Datasets to tensors and back: the names of an observed series, and its conversion."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from .._typing import Array, Series, Times
from ..errors import DataError, DoubtfulDataWarning, ShapeError, TimeGridError
from .matching import DIGITS
from .memory import dated, recognised
from .validation import PAUSE, ROUNDING, check_series, check_times

AXES = ("sequence", "time", "channel")

LONG = 400  # observations in a sequence, above which `cut_long` cuts it

CHANGE = 0.01
"""Share of an interval that a narrow type may change before it is said."""


def as_tensors(data: object, dtype: torch.dtype | None = None, *, whole: bool = True) -> tuple[Times, Series]:
    """(times, x) of a Dataset, a table or arrays, validated: the input of models, guides and `svi.step`.

    Parameters
    ----------
    data: a Dataset with observations(sequence, time, channel), NaN where missing, and either the coordinate `time` or
        times(sequence, time), NaN after the end of a ragged sequence; or a pair (times, observations) of such arrays
        or tensors. A tensor stays on its device; masked entries of a masked array become NaN. Also a long table
        (a DataFrame of pandas or polars, see `from_table`), a DataArray, lists of arrays of different lengths, and a
        list of arrays (time, channel), whose times are 0, 1, 2, …. Dates count from the first, in seconds where they
        come in a plain array. A sequence whose times begin with NaN is moved to the start.
    dtype: of the result; torch's default when not given. Where it could not tell the times apart, they count from
        the first of each sequence: where time begins does not matter.
    whole: the data are a whole data set, as in `check_series`; False to look at any few sequences with a fitted model.

    Raises
    ------
    DataError, ShapeError, TimeGridError: with the first offending index and its value.

    Warns
    -----
    DoubtfulDataWarning: as in `check_series`, and when `dtype` changes an interval by more than 1 %, or leaves few of
        the digits in which a channel varies.

    Not checked: whether `states`, if any, fit the observations.

    Examples
    --------
    >>> long, short = np.sin(np.arange(40.0))[:, None], np.cos(np.arange(30.0))[:, None]
    >>> times, x = nld.as_tensors([long, short])
    >>> tuple(times.shape), tuple(x.shape), int(x.isnan().sum())
    ((2, 40), (2, 40, 1), 10)
    """
    times, observations = _parts(data)
    started = _from_the_start(_real("times", times), _real("observations", observations))
    grid, x = check_series(*started, whole=whole)
    dtype = dtype or torch.get_default_dtype()
    narrow = x.to(dtype)
    if narrow.isinf().any():
        raise DataError(f"observations do not fit into {dtype}. Rescale them, or pass dtype=torch.float64.")
    _doubt_digits(x, narrow)
    return _narrow_times(grid, dtype), narrow


def from_arrays(times: object, observations: object, states: object = None) -> xr.Dataset:
    """A Dataset from plain arrays or tensors: the inverse of `as_tensors`.

    Parameters
    ----------
    times: `(time,)` or `(sequence, time)`, user's unit. observations: `(sequence, time, channel)`.
    states: `(sequence, time)`, integers, -1 or NaN where not known; may be left out.

    Raises
    ------
    DataError, ShapeError, TimeGridError: as in `as_tensors`.
    """
    grid, x = check_series(_real("times", times), _real("observations", observations), whole=False)
    data = xr.Dataset({"observations": (AXES, x.numpy(force=True))})
    if states is not None:
        data["states"] = AXES[:2], as_labels(states, tuple(x.shape[:2]))
    numbers = grid.numpy(force=True)
    return data.assign_coords(time=numbers) if numbers.ndim == 1 else data.assign(times=(AXES[:2], numbers))


def as_labels(states: object, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """States as integers, with -1 for NaN. Other values are refused.

    Raises
    ------
    ShapeError, DataError: the shape is not that of the observations, or a value is neither 0, 1, … nor -1.
    """
    values = _array("states", states)
    if values.shape != shape:
        raise ShapeError(f"states must be (sequence, time) = {shape}: got {values.shape}. Give one per observation.")
    known = np.where(np.isnan(values), -1, values)
    wrong = np.argwhere((known != np.round(known)) | (known < -1) | np.isinf(known))
    if len(wrong):
        at = tuple(int(index) for index in wrong[0])
        raise DataError(
            f"states must be 0, 1, … or -1 for unknown: got {known[at]:g} at sequence {at[0]}, time {at[1]}. "
            "Number them."
        )
    return known.astype(np.int64)


def dataset_times(data: xr.Dataset) -> NDArray[np.generic]:
    """The variable `times` where sequences have times of their own, otherwise the coordinate `time`."""
    if "times" in data:
        return _variable(data, "times", AXES[:2])
    if "time" not in data.coords:
        raise DataError("a Dataset needs the coordinate time or the variable times: it has neither. Assign one.")
    return _variable(data, "time", AXES[1:2])


def dataset_observations(data: xr.Dataset) -> NDArray[np.generic]:
    """The variable `observations`, its axes in the order sequence, time, channel."""
    return _variable(data, "observations", AXES)


def dataset_states(data: xr.Dataset) -> NDArray[np.generic]:
    """The variable `states`, its axes in the order sequence, time."""
    return _variable(data, "states", AXES[:2])


def _parts(data: object) -> tuple[object, object]:
    """Times and observations, not converted yet."""
    found = recognised(data)
    return (dataset_times(found), dataset_observations(found)) if isinstance(found, xr.Dataset) else found


def _variable(data: xr.Dataset, name: str, axes: tuple[str, ...]) -> NDArray[np.generic]:
    label = f"{name}({', '.join(axes)})"
    if name not in data:
        raise DataError(f"a Dataset needs the variable {label}: it has {', '.join(map(str, data))}. Rename yours.")
    if set(data[name].dims) != set(axes):
        got = ", ".join(map(str, data[name].dims))
        raise ShapeError(f"a Dataset needs the variable {label}: got {name}({got}). Rename or expand its axes.")
    return data[name].transpose(*axes).to_numpy()


def _real(name: str, values: object) -> Tensor:
    """A floating tensor in the precision of the values."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(_array(name, values))
    if tensor.is_complex():
        raise DataError(f"{name} must be real numbers: got {tensor.dtype}. Convert them.")
    return tensor if tensor.is_floating_point() else tensor.double()


def _array(name: str, values: object) -> NDArray[np.floating]:
    """A copy as float32 or float64, whatever number type, byte order or mask it had."""
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(float), np.nan)
    try:
        array = np.array(values.cpu() if isinstance(values, Tensor) else values)
    except ValueError as error:
        raise DataError(f"{name} must be one array: got rows of different lengths. Pad them with NaN.") from error
    if array.dtype.kind in "mM":
        array = dated(array)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} must be real numbers: got {array.dtype}. Convert them.")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _narrow_times(times: Times, dtype: torch.dtype) -> Times:
    """Times in the requested precision; counted from the first of each sequence where they would lose digits."""
    if _change(times, dtype) > CHANGE:
        times = times - times[..., :1]
    try:
        narrow = check_times(times.to(dtype))
    except TimeGridError as error:
        raise TimeGridError(
            f"times are too close together for {dtype}, which merges some of them. Cut long sequences with "
            "nld.datasets.cut, or pass dtype=torch.float64."
        ) from error
    off = _change(times, dtype)
    if off > CHANGE:
        warnings.warn(
            f"{dtype} changes intervals by up to {100 * off:.0f} %. Cut long sequences with nld.datasets.cut, or pass "
            "dtype=torch.float64.",
            DoubtfulDataWarning,
            stacklevel=3,
        )
    return narrow


def _change(times: Times, dtype: torch.dtype) -> float:
    """The largest relative change of an interval by the precision."""
    return float((times.to(dtype).to(times.dtype).diff() / times.diff() - 1).abs().nan_to_num().max())


def _doubt_digits(x: Series, narrow: Series) -> None:
    """Warn of a channel whose digits are lost in a narrow type."""
    if narrow.dtype == x.dtype:
        return
    error = (narrow.to(x.dtype) - x).abs().nan_to_num().amax((0, 1))
    lost = (error > DIGITS * channel_moments(x)[1]).nonzero().flatten().tolist()
    if lost:
        warnings.warn(
            f"{narrow.dtype} rounds channel {lost[0]} to less than its values tell. Subtract what they have in common, "
            "with nld.datasets.centred on a Dataset, or pass dtype=torch.float64.",
            DoubtfulDataWarning,
            stacklevel=3,
        )


def _from_the_start(times: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Sequences moved to the start of their row where their times begin with NaN, which moves to the end."""
    if times.dim() != 2 or x.shape[:2] != times.shape or not bool(times[:, 0].isnan().any()):
        return times, x
    first = times.isfinite().to(torch.uint8).argmax(1, keepdim=True)
    index = (torch.arange(times.shape[1], device=times.device) + first) % times.shape[1]
    return times.gather(1, index), x.gather(1, index.unsqueeze(-1).expand_as(x))


def from_the_start(data: xr.Dataset) -> xr.Dataset:
    """The Dataset with every sequence moved to the start of its row, where its times begin with NaN; states too."""
    if "times" not in data or data["times"].dims != AXES[:2]:
        return data
    there = np.isfinite(data["times"].values)
    if there[:, 0].all():
        return data
    index = (np.arange(there.shape[1]) + there.argmax(1)[:, None]) % there.shape[1]
    return data.isel(
        time=xr.DataArray(index, dims=AXES[:2]), sequence=xr.DataArray(np.arange(len(index)), dims=AXES[0])
    )


def channel_moments(x: Series) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, `(channel,)`. NaN is ignored; a constant channel has scale 1."""
    observed = x.isfinite()
    count = observed.sum((0, 1)).clamp(min=1)
    loc = torch.where(observed, x, 0.0).sum((0, 1)) / count
    scale = (torch.where(observed, x - loc, 0.0).square().sum((0, 1)) / count).sqrt()
    return loc, torch.where(scale > 0, scale, 1.0)


def cut_long(data: xr.Dataset) -> xr.Dataset:
    """`cut` where a sequence has more than 400 observations or pauses for long; all others come back as they are."""
    times = np.broadcast_to(np.asarray(dataset_times(data), float), dataset_observations(data).shape[:2])
    gaps = np.diff(times)
    gaps = gaps[np.isfinite(gaps)]
    pauses = len(gaps) > 0 and gaps.max() >= PAUSE * np.median(gaps) * (1 - ROUNDING)
    return cut(data) if pauses or np.isfinite(times).sum(1).max() > LONG else data


def cut(data: xr.Dataset, length: int = 200, pause: float = PAUSE) -> xr.Dataset:
    """Sequences cut at long pauses, and into pieces of at most `length` observations and of nearly equal length.

    The steps of a fit are as long as the longest time between two observations requires, and a fit learns faster from
    many short sequences than from a long one.

    Parameters
    ----------
    data: sequences of any length.
    length: largest number of observations in a piece.
    pause: in median times between observations; a sequence is cut where it pauses for so long or longer.

    Returns
    -------
    Dataset with the same observations, and states and covariates where known. `sequence` names the pieces, and
    `recording (sequence)` the sequence that each is a part of. A single observation between two pauses is dropped.

    Raises
    ------
    ShapeError: `length` is below 2. TimeGridError: every observation is alone between pauses.

    Warns
    -----
    DoubtfulDataWarning: some are alone, and are left out.

    Examples
    --------
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=1, steps=500)
    >>> pieces = nld.io.cut(data, length=200)
    >>> dict(pieces["observations"].sizes)  # 500 observations are 3 pieces of 166 or 167
    {'sequence': 3, 'time': 167, 'channel': 1}
    """
    if length < 2:
        raise ShapeError(f"a piece needs 2 observations or more: got length={length}. Ask for longer pieces.")
    x = dataset_observations(data)
    times = np.broadcast_to(np.asarray(dataset_times(data), float), x.shape[:2])
    gaps = np.diff(times)
    longest = pause * np.nanmedian(gaps)
    names = data["sequence"].values if "sequence" in data.coords else np.arange(len(x))
    pieces = [(row, piece) for row in range(len(x)) for piece in _pieces(times[row], longest * (1 - ROUNDING), length)]
    if not pieces:
        raise TimeGridError(f"every time between observations exceeds {longest:.6g}: nothing is left. Raise pause.")
    if left := int(np.isfinite(times).sum()) - sum(len(piece) for _, piece in pieces):
        alone = f"observations left out, since they are alone between pauses of {longest:.4g} or more: {left}. "
        warnings.warn(alone + "Fit parts apart that were observed so rarely.", DoubtfulDataWarning, stacklevel=2)
    widest = max(len(piece) for _, piece in pieces)

    def padded(values: NDArray, fill: float) -> NDArray:
        whole = np.full((len(pieces), widest, *values.shape[2:]), fill, values.dtype)
        for place, (row, piece) in enumerate(pieces):
            whole[place, : len(piece)] = values[row, piece]
        return whole

    states = padded(np.asarray(dataset_states(data), float), -1.0) if "states" in data else None
    found = from_arrays(padded(times, np.nan), padded(np.asarray(x, float), np.nan), states)
    if "covariates" in data:
        acting = data["covariates"].transpose(*AXES[:2], ...)
        found["covariates"] = acting.dims, padded(np.asarray(acting.values, float), 0.0)
    rows = [row for row, _ in pieces]
    called = [f"{names[row]}/{rows[:place].count(row)}" for place, row in enumerate(rows)]
    found = found.assign_coords(sequence=called, recording=("sequence", names[rows])).assign_attrs(data.attrs)
    found["times"].attrs = dict(data["times" if "times" in data else "time"].attrs)
    kept = {name: values for name, values in data.coords.items() if values.dims in (("channel",), ("input",))}
    of_sequences = {
        name: ("sequence", values.values[rows])
        for name, values in data.coords.items()
        if values.dims == ("sequence",) and name not in ("sequence", "recording")
    }
    return found.assign_coords(kept | of_sequences)


def _pieces(times: Array, longest: float, length: int) -> list[NDArray[np.int64]]:
    """Indices of the pieces of one sequence."""
    there = np.flatnonzero(np.isfinite(times))
    runs = np.split(there, np.flatnonzero(np.diff(times[there]) >= longest) + 1)
    return [
        piece for run in runs for piece in np.array_split(run, -(-len(run) // length)) if len(run) and len(piece) > 1
    ]


def joined(data: xr.Dataset, pieces: xr.Dataset | None = None) -> xr.Dataset:
    """Whole recordings out of their pieces: the inverse of `cut`, also for what was found piece by piece.

    Parameters
    ----------
    data: variables over (sequence, time, …): pieces from `cut`, or what `segment` found in them.
    pieces: from `cut`, when `data` has no coordinate `recording` itself.

    Returns
    -------
    Dataset with one sequence per recording, padded with NaN (-1 for integers); `sequence` names the recordings. The
    times jump where a pause was cut out. A coordinate of sequences is that of the first piece; a variable with one
    value per piece is left out. Data without `recording`, and pieces that overlap in time, come back as they are.

    Raises
    ------
    ShapeError: `data` and `pieces` have other sequences or times.

    Examples
    --------
    >>> import pyro_nld as nld
    >>> recording = nld.datasets.three_state(sequences=1, steps=1000, seed=0)
    >>> pieces = nld.datasets.cut(recording, length=200)
    >>> whole = nld.datasets.joined(pieces)
    >>> pieces.sizes["sequence"], whole.sizes["sequence"], whole.sizes["time"]
    (5, 1, 1000)
    """
    pieces = data if pieces is None else pieces
    if "recording" not in pieces.coords:
        return data
    shape, found = ([one.sizes[axis] for axis in AXES[:2]] for one in (pieces, data))
    if shape != found:
        raise ShapeError(f"data must have the sequences and times of their pieces, {shape}: got {found}. Pass both.")
    times = np.broadcast_to(np.asarray(dataset_times(pieces), float), shape)
    number, names = pd.factorize(pieces["recording"].values)
    row, column = np.nonzero(np.isfinite(times))
    order = np.argsort(number[row], kind="stable")
    row, column = row[order], column[order]
    if (np.diff(times[row, column])[np.diff(number[row]) == 0] <= 0).any():
        return data
    place = np.arange(len(row)) - np.searchsorted(number[row], number[row])  # within the recording

    def whole(values: xr.Variable) -> xr.Variable:
        moved = values.transpose(*AXES[:2], ...)
        found = np.zeros((len(names), int(place.max()) + 1, *moved.shape[2:]), moved.dtype)
        if moved.dtype.kind in "fiM":
            found[...] = {"f": np.nan, "i": -1, "M": np.datetime64("NaT")}[moved.dtype.kind]
        found[number[row], place] = moved.values[row, column]
        return xr.Variable(moved.dims, found, values.attrs)

    first = np.unique(number, return_index=True)[1]
    return _with_rows(data, whole, first, times).assign_coords(sequence=np.asarray(names, pieces["recording"].dtype))


def _with_rows(
    data: xr.Dataset, whole: Callable[[xr.Variable], xr.Variable], first: NDArray[np.integer], times: Array
) -> xr.Dataset:
    """The Dataset with its variables over sequence and time made whole, and the coordinates of the first pieces."""
    over = {str(name): {*AXES[:2]} & {*values.dims} for name, values in data.variables.items()}
    long = {name: whole(data.variables[name]) for name, axes in over.items() if len(axes) == 2}
    if "time" in data.coords:  # one clock for all pieces: each recording has one of its own
        long["times"] = whole(xr.Variable(AXES[:2], times, data["time"].attrs))
    short = {name: data.variables[name] for name, axes in over.items() if not axes and name in data.data_vars}
    coords = data.isel(sequence=first).drop_vars(["recording", "time"], errors="ignore").coords
    rows = {name: values for name, values in coords.items() if "time" not in values.dims}
    return xr.Dataset(long | short, rows, data.attrs).set_coords([name for name in long if name in data.coords])
