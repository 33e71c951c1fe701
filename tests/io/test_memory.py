"""What users hold in memory goes in as it is: every kind gives the same numbers, and what is none says so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from pyro_nld.errors import DataError, NLDError, ShapeError
from pyro_nld.io import as_tensors, from_arrays

DRAW = np.random.default_rng(11)
TIMES, LONG, SHORT = np.arange(30.0), DRAW.normal(size=(30, 2)), DRAW.normal(size=(24, 2))
LONG_TABLE = pd.DataFrame({"time": TIMES, "a": LONG[:, 0], "b": LONG[:, 1]})


class Polars:
    """What other frames have in common."""

    def to_pandas(self) -> pd.DataFrame:
        return LONG_TABLE


ONE: dict[str, Callable[[], object]] = {
    "frame": lambda: LONG_TABLE,
    "frame with the times as index": lambda: LONG_TABLE.set_index("time"),
    "another kind of frame": Polars,
    "labelled array": lambda: xr.DataArray(LONG, dims=("time", "channel"), coords={"time": TIMES}),
    "labelled array, other names": lambda: xr.DataArray(LONG.T, dims=("electrode", "t"), coords={"t": TIMES}),
    "labelled array of three axes": lambda: xr.DataArray(
        LONG[None], dims=("trial", "time", "x"), coords={"time": TIMES}
    ),
    "dataset of one variable": lambda: xr.Dataset({"eeg": (("trial", "channels", "t"), LONG.T[None])}, {"t": TIMES}),
    "list of one": lambda: [LONG],
    "list of one tensor": lambda: [torch.as_tensor(LONG)],
    "list of one pair": lambda: [(TIMES, LONG)],
}
TWO: dict[str, Callable[[], object]] = {
    "list": lambda: [LONG, SHORT],
    "tuple": lambda: (LONG, SHORT),
    "list of pairs": lambda: [(TIMES, LONG), (TIMES[:24], SHORT)],
    "pair of lists": lambda: ([TIMES, TIMES[:24]], [LONG, SHORT]),
    "tensors": lambda: [torch.as_tensor(LONG), torch.as_tensor(SHORT)],
    "frame with two keys": lambda: pd.concat(
        {"x": LONG_TABLE, "y": LONG_TABLE[:24].assign(a=SHORT[:, 0], b=SHORT[:, 1])}, names=["id"]
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_one_recording_in_every_kind(name: str) -> None:
    times, x = as_tensors(ONE[name](), torch.float64)
    np.testing.assert_array_equal(times.reshape(-1), TIMES)
    np.testing.assert_array_equal(x[0], LONG)


@pytest.mark.parametrize("name", TWO)
def test_two_recordings_of_unequal_length(name: str) -> None:
    times, x = as_tensors(TWO[name](), torch.float64)
    np.testing.assert_array_equal(x[0], LONG)
    np.testing.assert_array_equal(x[1, :24], SHORT)
    np.testing.assert_array_equal(times[1, :24], TIMES[:24])
    assert bool(x[1, 24:].isnan().all() & times[1, 24:].isnan().all())


def test_channels_alone() -> None:
    for data in (pd.Series(LONG[:, 0], index=pd.Index(TIMES, name="time")),
                 xr.DataArray(LONG[:, 0], dims="time", coords={"time": TIMES}),
                 ([TIMES], [LONG[:, 0]])):  # fmt: skip
        np.testing.assert_array_equal(as_tensors(data, torch.float64)[1][0, :, 0], LONG[:, 0])


HOURS = pd.date_range("2021-03-01", periods=30, freq="h")


@pytest.mark.parametrize(
    ("data", "step"),
    [
        (pd.DataFrame({"a": LONG[:, 0]}, index=HOURS), 1.0),
        (xr.DataArray(LONG, dims=("time", "channel"), coords={"time": HOURS}), 1.0),
        (from_arrays(TIMES, LONG[None]).assign_coords(time=HOURS), 1.0),
        ((HOURS.values, LONG[None]), 3600.0),
        (([HOURS.values, HOURS.values[:24]], [LONG, SHORT]), 3600.0),
    ],
    ids=["frame", "labelled array", "dataset", "array", "list"],
)
def test_dates_count_from_the_first(data: object, step: float) -> None:
    """In hours where the unit can be kept, in seconds where it cannot."""
    times, _ = as_tensors(data)
    np.testing.assert_array_equal(times.reshape(-1)[:30], step * TIMES)


REFUSED: dict[str, tuple[object, type[NLDError], str]] = {
    "times and observations that lack an axis": (
        (np.tile(TIMES, (4, 1)), DRAW.normal(size=(4, 30))),
        ShapeError,
        "observations must be (sequence, time, channel), none of them empty: got (4, 30). Add the axis that is missing",
    ),
    "other channels": (
        [LONG, SHORT, LONG[:, :1]],
        ShapeError,
        "sequence 2 has 1, sequence 0 has 2. Give the same ones.",
    ),
    "a time too few": ([(TIMES[1:], LONG)], ShapeError, "sequence 0 has 29 times for 30 rows. Give one time per"),
    "no times": (xr.DataArray(LONG, dims=("time", "channel")), DataError, "needs an axis time with its coordinate"),
    "axes without names": (
        xr.DataArray(np.zeros((2, 3, 4, 5)), dims=("w", "time", "y", "z"), coords={"time": TIMES[:3]}),
        ShapeError,
        "a DataArray needs the axes sequence, time and channel: got (w, time, y, z). Rename its axes.",
    ),
    "a frame without times": (
        LONG_TABLE[["a", "b"]],
        DataError,
        "no column is a time: it has a, b. Name it with --time",
    ),
    "an empty list": ([], DataError, "data must be a Dataset or a pair (times, observations): got list."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_in_which_words(name: str) -> None:
    data, kind, message = REFUSED[name]
    with pytest.raises(kind) as caught:
        as_tensors(data)
    assert message in str(caught.value)
