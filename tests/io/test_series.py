"""Datasets to tensors and back: every legal spelling gives the same series, every illegal one a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

from pyro_nld.errors import DataError, DoubtfulDataWarning, NLDError, ShapeError, TimeGridError
from pyro_nld.io.matching import centred
from pyro_nld.io.series import (
    AXES,
    as_labels,
    as_tensors,
    cut,
    cut_long,
    dataset_times,
    from_arrays,
    from_the_start,
    joined,
)

SHAPE = (4, 25, 2)
TIMES = np.arange(25) * 0.5
X = np.random.default_rng(2).standard_normal(SHAPE)
STATES = np.random.default_rng(3).integers(0, 3, SHAPE[:2])


def example() -> xr.Dataset:
    return from_arrays(TIMES, X, STATES)


def ragged() -> xr.Dataset:
    times, x = np.tile(TIMES, (4, 1)), X.copy()
    times[1, 20:], x[1, 20:] = np.nan, np.nan
    return from_arrays(times, x)


DRAW = np.random.default_rng(9)
MASKED = np.ma.MaskedArray(X, np.isnan(X))

SPELLINGS: dict[str, Callable[[], object]] = {
    "dataset": example,
    "dataset, other order of axes": lambda: example().transpose("channel", "time", "sequence"),
    "dataset, times per sequence": lambda: (
        example().drop_vars("time").assign(times=(("sequence", "time"), [TIMES] * 4))
    ),
    "arrays": lambda: (TIMES, X),
    "list of both": lambda: [TIMES, X],
    "lists": lambda: (TIMES.tolist(), X.tolist()),
    "tensors": lambda: (torch.as_tensor(TIMES), torch.as_tensor(X)),
    "big-endian": lambda: (TIMES.astype(">f8"), X.astype(">f8")),
    "backward view": lambda: (TIMES[::-1][::-1], X[::-1][::-1]),
    "masked, nothing masked": lambda: (TIMES, MASKED),
    "labelled arrays": lambda: (xr.DataArray(TIMES), xr.DataArray(X)),
}


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_every_spelling_gives_the_same_series(name: str, dtype: torch.dtype | None) -> None:
    times, x = as_tensors(SPELLINGS[name](), dtype)
    wanted = dtype or torch.get_default_dtype()
    assert times.dtype == x.dtype == wanted
    torch.testing.assert_close(x, torch.as_tensor(X, dtype=wanted), rtol=0, atol=0)
    torch.testing.assert_close(times.expand(4, -1)[0], torch.as_tensor(TIMES, dtype=wanted), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.float16, np.bool_])
def test_counts_and_switches_become_floating(kind: type) -> None:
    counts = (X > 0).astype(kind)
    times, x = as_tensors((np.arange(25), counts))
    assert x.dtype == times.dtype == torch.get_default_dtype()
    np.testing.assert_array_equal(x.numpy(), counts.astype(float))


def test_the_data_are_copied() -> None:
    mine = X.copy()
    _, x = as_tensors((TIMES, mine), torch.float64)
    x[:] = 0
    np.testing.assert_array_equal(mine, X)


def test_a_mask_becomes_nan_and_ints_may_be_masked() -> None:
    hidden = np.stack([X[..., 0] > 0, X[..., 1] > np.inf], -1)
    _, x = as_tensors((TIMES, np.ma.MaskedArray((100 * X).astype(int), hidden)))
    np.testing.assert_array_equal(x.isnan().numpy(), hidden)


def test_ragged_sequences_go_through() -> None:
    data = ragged()
    assert "time" not in data.coords
    times, x = as_tensors(data)
    assert times.shape == SHAPE[:2]
    assert times[1].isnan().sum() == 5
    assert x[1, 20:].isnan().all()
    xr.testing.assert_identical(from_arrays(*as_tensors(data, torch.float64)), data)


def test_arrays_and_datasets_are_inverse() -> None:
    data = example()
    xr.testing.assert_identical(from_arrays(*as_tensors(data, torch.float64), data["states"]), data)
    np.testing.assert_array_equal(dataset_times(data), TIMES)


def test_a_subset_of_a_dataset_is_a_dataset() -> None:
    times, x = as_tensors(example().isel(sequence=[2, 0], time=slice(3, None)))
    np.testing.assert_array_equal(x.numpy(), X[[2, 0], 3:].astype(np.float32))
    assert times[0] == TIMES[3]


REFUSED: dict[str, tuple[Callable[[], object], type[NLDError], str]] = {
    "a word": (lambda: "data.csv", DataError, "got str. Use nld.datasets.load on a file."),
    "an array alone": (lambda: X, DataError, "data must be a Dataset or a pair (times, observations): got ndarray."),
    "three things": (lambda: (TIMES, X, STATES), DataError, "got tuple"),
    "rows of different lengths": (
        lambda: (TIMES, [[[1.0], [2.0]], [[1.0]]]),
        DataError,
        "observations must be one array: got rows of different lengths. Pad them with NaN.",
    ),
    "objects": (lambda: (TIMES, X.astype(object)), DataError, "observations must be real numbers: got object."),
    "words": (lambda: (TIMES, X.astype(str)), DataError, "observations must be real numbers: got <U"),
    "complex": (lambda: (TIMES, X * 1j), DataError, "got complex128"),
    "complex tensor": (lambda: (TIMES, torch.zeros(SHAPE, dtype=torch.cfloat)), DataError, "got torch.complex64"),
    "nothing": (lambda: (None, None), DataError, "times must be real numbers: got object."),
    "no observations": (
        lambda: example().rename(observations="signal"),
        DataError,
        "a Dataset needs the variable observations(sequence, time, channel): it has signal, states. Rename yours.",
    ),
    "no times": (lambda: example().drop_vars("time"), DataError, "needs the coordinate time or the variable times"),
    "other axes": (
        lambda: example().rename(channel="feature"),
        ShapeError,
        "got observations(sequence, time, feature). Rename or expand its axes.",
    ),
    "an axis too few": (lambda: example().isel(channel=0), ShapeError, "got observations(sequence, time)."),
    "times with channels": (
        lambda: example().assign(times=example()["observations"]),
        ShapeError,
        "variable times(sequence, time): got times(sequence, time, channel)",
    ),
    "times that repeat": (
        lambda: example().assign_coords(time=np.repeat(np.arange(5), 5)),
        TimeGridError,
        "every sequence has 0.0 after 0.0 (index 1)",
    ),
    "too large for float32": (lambda: (TIMES, 1e300 * X), DataError, "observations do not fit into torch.float32."),
    "too long for float32": (
        lambda: (np.append(1e6 * np.arange(24), 2.3e7 + 1e-3), X),
        TimeGridError,
        "times are too close together for torch.float32, which merges some of them. Cut long sequences with",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_in_which_words(name: str) -> None:
    make, kind, message = REFUSED[name]
    with pytest.raises(kind) as caught:
        as_tensors(make())
    assert message in str(caught.value)


def test_the_remedies_for_narrow_numbers_work() -> None:
    times, x = as_tensors((1.7e9 + TIMES, 1e300 * X), torch.float64)
    assert times.dtype == torch.float64
    assert bool(x.isfinite().all())


def test_intervals_that_a_narrow_type_changes_are_doubted() -> None:
    times = np.append(0, 1e5 + 0.1 * np.arange(24))
    with pytest.warns(DoubtfulDataWarning, match=r"torch.float32 changes intervals by up to \d+ %"):
        as_tensors((times, X), whole=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_tensors((times, X), torch.float64, whole=False)


@pytest.mark.parametrize("origin", [1e5, 1.7e9, -6e7])
def test_where_time_begins_does_not_matter(origin: float) -> None:
    often = TIMES / 5
    times, _ = as_tensors((origin + often, X))
    np.testing.assert_allclose(times.diff(), 0.1, rtol=1e-5)
    late = np.stack([origin + often + shift for shift in range(4)])
    times, _ = as_tensors((late, X))
    np.testing.assert_allclose(times, np.tile(often, (4, 1)), atol=1e-6)


def test_times_near_zero_stay_as_they_are() -> None:
    times, _ = as_tensors((3.0 + TIMES, X))
    np.testing.assert_array_equal(times, (3.0 + TIMES).astype(np.float32))


def test_lost_digits_are_said_with_their_remedy() -> None:
    far = X + np.array([0.0, 9192631770.0])
    with pytest.warns(
        DoubtfulDataWarning, match=r"torch.float32 rounds channel 1 to less than its values tell\. Subtra"
    ):
        as_tensors((TIMES, far))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_tensors((TIMES, far), torch.float64)
        _, x = as_tensors(centred(from_arrays(TIMES, far)))
    np.testing.assert_allclose(x.std((0, 1)), X.std((0, 1)), rtol=0.03)


def test_leading_nans_move_a_sequence_to_the_start() -> None:
    times, x = np.tile(TIMES, (4, 1)), X.copy()
    times[1, :5], x[1, :5] = np.nan, np.nan
    grid, series = as_tensors((times, x), torch.float64)
    np.testing.assert_array_equal(grid[1, :20], TIMES[5:])
    np.testing.assert_array_equal(series[1, :20], X[1, 5:])
    assert bool(grid[1, 20:].isnan().all() & series[1, 20:].isnan().all())
    np.testing.assert_array_equal(grid[0], TIMES)


def test_leading_nans_move_the_states_too() -> None:
    data = xr.Dataset(
        {"times": (AXES[:2], np.tile(TIMES, (4, 1))), "observations": (AXES, X), "states": (AXES[:2], STATES)}
    )
    late = data.where(data["times"] > 2.0)
    moved = from_the_start(late)
    np.testing.assert_array_equal(moved["states"][2, :20], STATES[2, 5:])
    np.testing.assert_array_equal(moved["times"][2, :20], TIMES[5:])
    xr.testing.assert_identical(from_the_start(data), data)


def test_a_nan_between_times_is_still_refused() -> None:
    times = np.tile(TIMES, (4, 1))
    times[2, [0, 7]] = np.nan
    with pytest.raises(TimeGridError, match="times may be NaN only after the end of a sequence"):
        as_tensors((times, X))


def test_a_few_sequences_are_held_to_less_than_a_data_set() -> None:
    silent = X.copy()
    silent[..., 1] = np.nan
    with pytest.raises(DataError, match="channel 1 is all NaN"):
        as_tensors((TIMES, silent))
    as_tensors((TIMES, silent), whole=False)


def test_unknown_states_become_minus_one() -> None:
    states = STATES.astype(float)
    states[0, :3] = np.nan
    labels = as_labels(states, SHAPE[:2])
    assert labels.dtype == np.int64
    assert (labels[0, :3] == -1).all()
    np.testing.assert_array_equal(labels[1:], STATES[1:])


@pytest.mark.parametrize(
    ("states", "kind", "message"),
    [
        (STATES[:2], ShapeError, r"states must be \(sequence, time\) = \(4, 25\): got \(2, 25\)"),
        (STATES + 0.5, DataError, r"got \d\.5 at sequence 0, time 0"),
        (STATES - 2, DataError, r"states must be 0, 1, … or -1 for unknown: got -2 at"),
        (np.where(STATES == 0, np.inf, 1), DataError, "got inf at"),
        (STATES.astype(str), DataError, "states must be real numbers: got <U"),
    ],
)
def test_states_must_be_numbers_of_states(states: np.ndarray, kind: type[NLDError], message: str) -> None:
    with pytest.raises(kind, match=message):
        from_arrays(TIMES, X, states)


def nights(hours: int) -> xr.Dataset:
    """One recording, hourly from 5 o'clock, with nothing for so many hours at night."""
    day = np.arange(24.0 - hours + 1)
    times = np.concatenate([5 + 24 * night + day for night in range(4)])
    return from_arrays(times, DRAW.normal(size=(1, len(times), 1)))


@pytest.mark.parametrize("hours", [10, 11])
def test_a_pause_of_ten_intervals_is_one(hours: int) -> None:
    data = nights(hours)
    with pytest.warns(DoubtfulDataWarning, match=f"pauses for {hours} times the usual interval after 1"):
        as_tensors(data)
    assert dict(cut(data)["observations"].sizes) == {"sequence": 4, "time": 25 - hours, "channel": 1}


def test_a_pause_of_nine_intervals_is_none() -> None:
    data = nights(9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_tensors(data)
    assert cut(data).sizes["sequence"] == 1


def test_pieces_keep_names_units_and_origins() -> None:
    data = from_arrays(np.arange(30.0), DRAW.normal(size=(2, 30, 2)))
    data = data.assign_coords(sequence=["x", "y"], site=("sequence", ["north", "south"]), unit=("channel", ["pA", ""]))
    data = data.assign_coords(channel=["a", "b"]).assign_attrs(units="s", time_origin="2021-03-01T00:00:00")
    data["time"].attrs["units"] = "s"
    pieces = cut(data, 10)
    assert pieces["site"].values.tolist() == ["north"] * 3 + ["south"] * 3
    assert pieces["unit"].values.tolist() == ["pA", ""]
    assert pieces["times"].attrs == {"units": "s"}
    assert pieces.attrs == data.attrs


# Pieces, joined


def recordings() -> xr.Dataset:
    """Two recordings of 9 and 5 observations at uneven times; the first pauses for 50 after its fifth."""
    draw = np.random.default_rng(7)
    times = np.cumsum(draw.uniform(0.6, 1.4, (2, 9)), -1)
    times[0, 5:] += 50
    times[1, 5:] = np.nan
    x = np.where(np.isnan(times)[..., None], np.nan, draw.standard_normal((2, 9, 2)))
    x[0, 2, 1] = np.nan
    states = np.where(np.isnan(times), -1, np.arange(9) % 3)
    names = {"sequence": ["long", "short"], "channel": ["fret", "intensity"]}
    return from_arrays(times, x, states).assign_coords(names)


@pytest.mark.parametrize("length", [3, 4, 200])
def test_pieces_joined_are_what_was_cut(length: int) -> None:
    data = recordings()
    pieces = cut(data, length)
    assert pieces.sizes["sequence"] > 2
    xr.testing.assert_identical(joined(pieces), data)


def test_observations_alone_between_pauses_are_told() -> None:
    """An interval that grows: at last every one is a pause beside those before."""
    times = np.concatenate([np.arange(50.0), 100.0 + 30 * np.arange(7)])
    data = from_arrays(times, np.zeros((1, 57, 1)))
    with pytest.warns(DoubtfulDataWarning, match="alone between pauses of 10 or more: 7[.]"):
        assert cut(data)["times"].notnull().sum() == 50


def test_a_regular_series_comes_back_with_times_of_its_own() -> None:
    data = example()
    whole = joined(cut(data, 7))
    np.testing.assert_array_equal(whole["observations"], data["observations"])
    np.testing.assert_array_equal(whole["states"], data["states"])
    np.testing.assert_array_equal(whole["times"], np.tile(TIMES, (4, 1)))
    assert whole["sequence"].values.tolist() == [0, 1, 2, 3]


def test_what_was_found_in_pieces_is_joined_as_they_are() -> None:
    """Segments know nothing of recordings; their numbers go where the observations go."""
    data = recordings()
    pieces = cut(data, 3)
    there = pieces["times"].notnull()
    found = xr.Dataset(
        {
            "probability": pieces["observations"].rename(channel="state"),
            "label": pieces["states"],
            "times": pieces["times"].astype("float32"),
            "log_evidence": ("sequence", np.arange(pieces.sizes["sequence"])),
            "partner": ("state", [1, 0]),
        },
        attrs={"online": 0},
    ).drop_vars(["sequence", "recording", "state"])
    whole = joined(found, pieces)
    np.testing.assert_array_equal(whole["probability"], data["observations"])
    np.testing.assert_array_equal(whole["label"], data["states"])
    assert whole["label"].dtype == data["states"].dtype
    np.testing.assert_array_equal(whole["times"], data["times"].astype("float32"))
    assert whole["sequence"].values.tolist() == ["long", "short"]
    assert whole["partner"].values.tolist() == [1, 0]
    assert "log_evidence" not in whole
    assert whole.attrs == {"online": 0}
    assert int(whole["times"].notnull().sum()) == int(there.sum())


def test_names_and_units_stay_with_a_joined_recording() -> None:
    pieces = cut(recordings(), 3).assign_coords(unit=("channel", ["", "kHz"])).assign_attrs(units="s")
    pieces["times"].attrs["units"] = "s"
    pieces = pieces.assign_coords(group=("sequence", [3.0] * 3 + [4.0] * (pieces.sizes["sequence"] - 3)))
    whole = joined(pieces)
    assert whole["unit"].values.tolist() == ["", "kHz"]
    assert (whole.attrs, whole["times"].attrs) == ({"units": "s"}, {"units": "s"})
    assert whole["group"].dims == ("sequence",)
    assert "recording" not in whole.coords


def test_what_is_no_piece_comes_back_as_it_is() -> None:
    data = recordings()
    assert joined(data) is data
    segments = data.drop_vars("sequence")
    assert joined(segments, data) is segments
    trials = data.assign_coords(recording=("sequence", ["one", "one"]))  # both begin at the same time
    assert joined(trials) is trials


def test_pieces_of_other_data_are_refused() -> None:
    pieces = cut(recordings(), 3)
    with pytest.raises(ShapeError, match=r"data must have the sequences and times of their pieces, \[6, 3\]: got"):
        joined(pieces.isel(sequence=slice(2)), pieces)


def test_what_is_long_or_pauses_is_cut_and_nothing_else() -> None:
    x = np.random.default_rng(0).normal(size=(2, 400, 1))
    short = from_arrays(np.arange(400.0), x)
    assert cut_long(short) is short
    ragged = short.isel(sequence=slice(1)).drop_vars("time")
    times = np.where(np.arange(400) < 300, np.arange(400.0), np.arange(400.0) + 8.5)
    assert cut_long(ragged.assign(times=(("sequence", "time"), times[None]))).sizes["sequence"] == 1
    times = np.where(np.arange(400) < 300, np.arange(400.0), np.arange(400.0) + 9.0)
    paused = cut_long(ragged.assign(times=(("sequence", "time"), times[None])))
    assert paused["times"].notnull().sum("time").values.tolist() == [150, 150, 100]
    long = from_arrays(np.arange(401.0), np.random.default_rng(0).normal(size=(1, 401, 1)))
    assert cut_long(long)["times"].notnull().sum("time").values.tolist() == [134, 134, 133]
