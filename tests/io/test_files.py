"""Data files: what is written comes back, and whatever cannot be read says why and leaves nothing behind."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pyro_nld import datasets
from pyro_nld.errors import DataError, MissingExtra, NLDError, ShapeError, TimeGridError
from pyro_nld.io.files import load, save
from pyro_nld.io.series import from_arrays

SHAPE = (3, 6, 2)
TIMES = np.arange(6) * 0.5
X = np.random.default_rng(4).standard_normal(SHAPE)
STATES = np.random.default_rng(5).integers(-1, 3, SHAPE[:2])
TABLES = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path),
}


def series(ragged: bool) -> xr.Dataset:
    if not ragged:
        return from_arrays(TIMES, X, STATES)
    times, x, states = np.tile(TIMES, (3, 1)), X.copy(), STATES.copy()
    times[1, 4:], x[1, 4:], states[1, 4:] = np.nan, np.nan, -1
    return from_arrays(times, x, states)


def table(ragged: bool = False) -> pd.DataFrame:
    """`series` as a long table; unknown states and missing values are empty."""
    rows = pd.DataFrame(
        {
            "sequence": np.repeat(["c", "a", "b"], 6),
            "time": np.tile(TIMES, 3),
            "left": X[..., 0].ravel(),
            "right": X[..., 1].ravel(),
            "state": np.where(STATES < 0, np.nan, STATES).ravel(),
        }
    )
    return rows.drop(index=[10, 11]) if ragged else rows


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("suffix", [".npz", ".nc", ".NC"])
def test_what_is_saved_comes_back(tmp_path: Path, suffix: str, ragged: bool) -> None:
    data = series(ragged)
    data["observations"][0, 2, 1] = np.nan
    save(data, tmp_path / f"series{suffix}")
    xr.testing.assert_identical(load(tmp_path / f"series{suffix}"), data)
    assert [path.name for path in tmp_path.iterdir()] == [f"series{suffix}"]


@pytest.mark.parametrize("simulate", [datasets.three_state, datasets.ornstein_uhlenbeck])
def test_netcdf_keeps_the_truths(tmp_path: Path, simulate: Callable[..., xr.Dataset]) -> None:
    data = simulate(sequences=3, steps=5)
    save(data, str(tmp_path / "truth.nc"))
    xr.testing.assert_identical(load(str(tmp_path / "truth.nc")), data)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("shuffled", [False, True])
def test_long_tables_become_series(tmp_path: Path, suffix: str, ragged: bool, shuffled: bool) -> None:
    rows = table(ragged)
    if shuffled:
        rows = rows.sort_values("time", kind="stable")
    rows.loc[2, "right"] = np.nan
    TABLES[suffix](rows, tmp_path / f"rows{suffix}")
    data = load(tmp_path / f"rows{suffix}")
    wanted = series(ragged)
    wanted["observations"][0, 2, 1] = np.nan
    assert data["sequence"].to_numpy().tolist() == ["c", "a", "b"]
    assert data["channel"].to_numpy().tolist() == ["left", "right"]
    xr.testing.assert_allclose(data.drop_vars(["sequence", "channel"]), wanted, rtol=1e-14)


def test_a_table_needs_no_states_and_comes_back_from_netcdf(tmp_path: Path) -> None:
    table().drop(columns="state").to_csv(tmp_path / "rows.csv", index=False)
    data = load(tmp_path / "rows.csv")
    assert "states" not in data
    save(data, tmp_path / "rows.nc")
    xr.testing.assert_equal(load(tmp_path / "rows.nc"), data)


def test_numbers_label_sequences_too(tmp_path: Path) -> None:
    table().assign(sequence=np.repeat([7, 3, 5], 6)).to_csv(tmp_path / "rows.csv", index=False)
    assert load(tmp_path / "rows.csv")["sequence"].to_numpy().tolist() == [7, 3, 5]


def test_units_of_time_are_left_alone(tmp_path: Path) -> None:
    data = series(ragged=False)
    data["time"].attrs["units"] = "days since 2000-01-01"
    save(data, tmp_path / "days.nc")
    np.testing.assert_array_equal(load(tmp_path / "days.nc")["time"], TIMES)


Write = Callable[[Path], object]


def npz(**arrays: object) -> Write:
    """An archive of the example, some arrays replaced, those that are None left out."""
    kept = {"times": TIMES, "observations": X, "states": STATES} | arrays
    return lambda path: np.savez(path, **{name: array for name, array in kept.items() if array is not None})


def netcdf(change: Callable[[xr.Dataset], xr.Dataset]) -> Write:
    return lambda path: change(series(ragged=False)).to_netcdf(path, engine="h5netcdf")


def csv(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Write:
    return lambda path: change(table()).to_csv(path, index=False)


def parquet(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Write:
    return lambda path: change(table()).to_parquet(path)


def text(content: str | bytes) -> Write:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(write: Write, keep: float = 0.5) -> Write:
    """The first part of a file that was good."""

    def half(path: Path) -> None:
        write(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(keep * len(whole))])

    return half


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"times": TIMES, "observations": X}))


def single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


def swapped(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows 3 and 4 in the wrong order."""
    return rows.iloc[[0, 1, 2, 4, 3, *range(5, 18)]]


MALFORMED: dict[str, tuple[str, Write, type[NLDError], str]] = {
    "no file": (".npz", lambda path: None, DataError, "must be a data file: there is none. Check the path."),
    "a directory": (".npz", lambda path: path.mkdir(), DataError, "must be a data file: there is none."),
    "no suffix": ("", text("x"), DataError, "a data file must end in .npz, .nc, .parquet, .csv,"),
    "unknown suffix": (".xlsx", text("x"), DataError, "Convert or rename it."),
    "empty npz": (".npz", text(""), DataError, "cannot be read as .npz: No data left in file. Save it again"),
    "words named npz": (".npz", text("sequence,time"), DataError, "cannot be read as .npz"),
    "npz cut short": (".npz", cut(npz()), DataError, "cannot be read as .npz"),
    "pickle named npz": (".npz", pickled, DataError, "cannot be read as .npz"),
    "one array named npz": (".npz", single_array, DataError, "it holds one array without a name: times and"),
    "npz of objects": (".npz", npz(observations=X.astype(object)), DataError, "Object arrays cannot be loaded"),
    "npz without observations": (
        ".npz",
        npz(observations=None),
        DataError,
        "the array observations is missing: it has times, states. Add it.",
    ),
    "npz without times": (
        ".npz",
        npz(times=None),
        DataError,
        "the array times is missing: it has observations, states.",
    ),
    "npz of two axes": (".npz", npz(observations=X[..., 0]), ShapeError, "none of them empty: got (3, 6)."),
    "npz of words": (".npz", npz(observations=X.astype(str)), DataError, "observations must be real numbers: got <U"),
    "npz with infinity": (
        ".npz",
        npz(observations=np.where(np.isin(X, X[1, 2, 0]), np.inf, X)),
        DataError,
        "got inf at sequence 1, time 2, channel 0.",
    ),
    "npz with fewer times": (".npz", npz(times=TIMES[1:]), ShapeError, "got times (5,) for observations (3, 6, 2)."),
    "npz with equal times": (".npz", npz(times=np.zeros(6)), TimeGridError, "has 0.0 after 0.0 (index 1)."),
    "npz with states of another shape": (".npz", npz(states=STATES.T), ShapeError, "= (3, 6): got (6, 3)."),
    "npz with fractional states": (".npz", npz(states=STATES + 0.5), DataError, "states must be 0, 1, … or -1"),
    "words named nc": (".nc", text("sequence,time"), DataError, "cannot be read as .nc"),
    "nc cut short": (".nc", cut(netcdf(lambda data: data)), DataError, "cannot be read as .nc"),
    "nc without observations": (
        ".nc",
        netcdf(lambda data: data.rename(observations="signal")),
        DataError,
        "a Dataset needs the variable observations(sequence, time, channel): it has",
    ),
    "nc without times": (".nc", netcdf(lambda data: data.drop_vars("time")), DataError, "it has neither. Assign one."),
    "nc with other axes": (
        ".nc",
        netcdf(lambda data: data.rename(channel="feature")),
        ShapeError,
        "got observations(sequence, time, feature).",
    ),
    "nc with states of a channel": (
        ".nc",
        netcdf(lambda data: data.assign(states=data["observations"])),
        ShapeError,
        "variable states(sequence, time): got states(sequence, time, channel)",
    ),
    "nc with fractional states": (
        ".nc",
        netcdf(lambda data: data.assign(states=data["states"] + 0.5)),
        DataError,
        "states must be 0, 1, … or -1",
    ),
    "nc that is plain HDF5": (".nc", lambda path: h5py.File(path, "w").close(), DataError, "needs"),
    "empty csv": (".csv", text(""), DataError, "cannot be read as .csv: No columns to parse from file. Save it again"),
    "csv of bytes": (".csv", text(b"\xff\xfe\x00sequence"), DataError, "cannot be read as .csv"),
    "csv with ragged rows": (".csv", text("sequence,time,a\n1,2\n1,2,3,4,5\n"), DataError, "row 3 has 5 cells for 3 "),
    "csv without rows": (".csv", csv(lambda rows: rows[:0]), DataError, "a table needs rows, and channels"),
    "csv without time": (".csv", csv(lambda rows: rows.rename(columns={"time": "x"})), DataError, "no column is a ti"),
    "csv without channels": (
        ".csv",
        csv(lambda rows: rows[["sequence", "time", "state"]]),
        DataError,
        "a table needs rows, and channels beside sequence and time",
    ),
    "csv with a nameless column": (
        ".csv",
        csv(lambda rows: rows.rename(columns={"left": ""})),
        DataError,
        "every column needs a name: column 3 has none. Write one above it, or empty the column.",
    ),
    "csv with an empty time": (
        ".csv",
        csv(lambda rows: rows.assign(time=rows["time"].mask(rows.index == 4))),
        DataError,
        "every row needs a time: row 6 has none. Fill it in or drop the row.",
    ),
    "csv with an empty sequence": (
        ".csv",
        csv(lambda rows: rows.assign(sequence=rows["sequence"].mask(rows.index == 7))),
        DataError,
        "every row needs a sequence: row 9 has none.",
    ),
    "csv with a word": (
        ".csv",
        csv(lambda rows: rows.assign(left=rows["left"].astype(object).mask(rows.index == 3, "high"))),
        DataError,
        "the column left must hold numbers: got 'high' in row 5. Correct it, leave it empty where missing, or give "
        "--missing high.",
    ),
    "csv with a word among the times": (
        ".csv",
        csv(lambda rows: rows.assign(time=rows["time"].astype(object).mask(rows.index == 3, "noon"))),
        DataError,
        "the column time must hold numbers or dates: got 'noon' in row 5. Correct it or drop the row.",
    ),
    "csv out of order": (
        ".csv",
        csv(swapped),
        TimeGridError,
        "times must increase within a sequence: row 6 (sequence c) has 1.5 after 2.0 in row 5. Sort or drop it;",
    ),
    "csv with a row twice": (
        ".csv",
        csv(lambda rows: rows.iloc[[0, 1, 1, *range(2, 18)]]),
        TimeGridError,
        "row 4 (sequence c) has 0.5 after 0.5 in row 3.",
    ),
    "csv with a lone row": (
        ".csv",
        csv(lambda rows: rows[:13]),
        TimeGridError,
        "a sequence needs at least 2 observation times: sequence b has 1 (row 14).",
    ),
    "csv with infinity": (
        ".csv",
        csv(lambda rows: rows.assign(right=rows["right"].mask(rows.index == 8, np.inf))),
        DataError,
        "the column right must hold finite numbers: got inf in row 10. Leave it empty where missing, or drop",
    ),
    "csv with half a state": (
        ".csv",
        csv(lambda rows: rows.assign(state=0.5)),
        DataError,
        "the column state must hold states 0, 1, … or -1 for unknown: got 0.5 in row 2.",
    ),
    "words named parquet": (".parquet", text("sequence,time"), DataError, "cannot be read as .parquet"),
    "parquet cut short": (".parquet", cut(parquet(lambda rows: rows)), DataError, "cannot be read as .parquet"),
    "parquet without time": (
        ".parquet",
        parquet(lambda rows: rows.drop(columns="time")),
        DataError,
        "no column is a time: it has sequence, left, right, state. Name it with --time, or",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_name_themselves_the_place_and_the_remedy(tmp_path: Path, name: str) -> None:
    suffix, write, kind, message = MALFORMED[name]
    path = tmp_path / f"input{suffix}"
    write(path)
    with pytest.raises(kind) as caught:
        load(path)
    answer = str(caught.value)
    assert message in answer
    assert str(path) in answer
    assert "\n" not in answer
    assert answer.endswith(".")


def test_there_are_enough_ways_to_go_wrong() -> None:
    assert len(MALFORMED) >= 25


def test_parquet_without_pyarrow_answers_with_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table().to_parquet(tmp_path / "rows.parquet")

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtra, match=r'Run: pip install "pyro_nld\[tables\]"'):
        load(tmp_path / "rows.parquet")


UNSAVABLE: dict[str, tuple[str, Callable[[], xr.Dataset], str]] = {
    "table": ("rows.csv", lambda: series(ragged=False), "a data file must end in .npz, .nc: got"),
    "no such directory": (
        "absent/series.nc",
        lambda: series(ragged=False),
        "must be a directory: there is none. Create",
    ),
    "no series": ("series.nc", xr.Dataset, "a Dataset needs the coordinate time or the variable times"),
    "infinite": ("series.npz", lambda: series(ragged=False) / 0, "observations must be finite"),
}


@pytest.mark.parametrize("name", UNSAVABLE)
def test_what_cannot_be_saved_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    file, make, message = UNSAVABLE[name]
    with np.errstate(all="ignore"), pytest.raises(DataError) as caught:
        save(make(), tmp_path / file)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_a_save_that_breaks_leaves_the_last_good_file(tmp_path: Path, suffix: str) -> None:
    good, path = series(ragged=False), tmp_path / f"series{suffix}"
    save(good, path)
    broken = good.assign_attrs(bad=object()) if suffix == ".nc" else good.assign(states=good["states"].astype(object))
    with pytest.raises((TypeError, ValueError)):
        save(broken, path)
    xr.testing.assert_identical(load(path), good)
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_without_sequence_is_one_recording(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("time,left,right\n0.5,1,2\n0.9,,3\n2,4,5\n")
    data = load(path)
    assert data["observations"].shape == (1, 3, 2)
    np.testing.assert_array_equal(data["time"], [0.5, 0.9, 2.0])
    np.testing.assert_array_equal(data["observations"][0], [[1, 2], [np.nan, 3], [4, 5]])
    assert data["channel"].values.tolist() == ["left", "right"]
