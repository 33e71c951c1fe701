"""Data files: what is read, what is written, and one sentence for everything that cannot be."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from ..errors import CheckpointError, DataError, NLDError, optional
from .series import as_labels, as_tensors, dataset_observations, dataset_states, dataset_times, from_arrays

Entry = TypeVar("Entry")

UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What the readers below raise for files that are damaged, or are not what their name says."""


def load(path: str | PathLike[str]) -> xr.Dataset:
    """Read a data file into a Dataset, validated.

    Parameters
    ----------
    path: one of
        `.npz`: arrays times, observations, optionally states, shaped as in `from_arrays`; never unpickled;
        `.nc`: netCDF-4, the variables of a Dataset; units of time are left alone;
        `.csv`, `.parquet`: a long table with the columns time, optionally sequence (any label; without it the table is
        one recording) and state, and one column per channel; empty where missing, rows of a sequence in the order of
        time.

    Raises
    ------
    DataError, ShapeError, TimeGridError: naming the file, the place in it and the remedy.
    MissingExtra: parquet without pyarrow.

    Not checked: what `check_series` asks only of a whole data set.
    """
    path = Path(path)
    read = _by_suffix(READERS, path)
    if not path.is_file():
        raise DataError(f"{path} must be a data file: there is none. Check the path.")
    try:
        data = read(path)
        as_tensors(data, torch.float64, whole=False)
    except NLDError as error:
        raise type(error)(f"{path}: {error}") from error
    except UNREADABLE as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise DataError(
            f"{path} cannot be read as {path.suffix}: {reason}. Save it again, as plain numbers."
        ) from error
    return data


def save(data: xr.Dataset, path: str | PathLike[str]) -> None:
    """Write a Dataset to `.nc`, with everything in it, or to `.npz`, its series and states alone.

    A file of that name is replaced once the new one is complete.

    Raises
    ------
    DataError, ShapeError, TimeGridError: the Dataset is not valid, or the path not possible; nothing is written.
    """
    path = Path(path)
    write = _by_suffix(WRITERS, path)
    as_tensors(data, torch.float64, whole=False)
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} must be a directory: there is none. Create it first.")
    write_atomically(path, lambda unfinished: write(data, unfinished))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a temporary file beside `path`, then rename it: a kill leaves the last good file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _by_suffix(table: dict[str, Entry], path: Path) -> Entry:
    try:
        return table[path.suffix.lower()]
    except KeyError:
        raise DataError(f"a data file must end in {', '.join(table)}: got {path}. Convert or rename it.") from None


def _read_npz(path: Path) -> xr.Dataset:
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError("it holds one array without a name: times and observations are needed. Use np.savez.")
        absent = [name for name in ("times", "observations") if name not in archive]
        if absent:
            raise DataError(f"the array {absent[0]} is missing: it has {', '.join(archive)}. Add it.")
        return from_arrays(archive["times"], archive["observations"], archive.get("states"))


def _read_netcdf(path: Path) -> xr.Dataset:
    data = xr.load_dataset(path, engine="h5netcdf", decode_times=False)
    if "states" in data:
        states = dataset_states(data)
        data["states"] = ("sequence", "time"), as_labels(states, states.shape)
    return data


def _read_csv(path: Path) -> xr.Dataset:
    return _from_table(pd.read_csv(path, low_memory=False))


def _read_parquet(path: Path) -> xr.Dataset:
    optional("pyarrow", "tables")
    return _from_table(pd.read_parquet(path))


def _from_table(table: pd.DataFrame) -> xr.Dataset:
    channels = _channels(table)
    if "sequence" not in table:  # one recording
        table = table.assign(sequence=0)
    row, labels = pd.factorize(table["sequence"])
    column = table.groupby(row).cumcount().to_numpy()

    def padded(name: str) -> NDArray[np.float64]:
        values = np.full((len(labels), column.max() + 1), np.nan)
        values[row, column] = _numbers(table, name)
        return values

    times = padded("time")
    shared = bool((times == times[0]).all())
    observations = np.stack([padded(name) for name in channels], -1)
    states = padded("state") if "state" in table else None
    data = from_arrays(times[0] if shared else times, observations, states)
    return data.assign_coords(sequence=np.asarray(labels), channel=channels)


def _channels(table: pd.DataFrame) -> list[str]:
    """The names of the channels of a table that has everything it needs."""
    columns = [str(name) for name in table.columns]
    if "time" not in columns:
        raise DataError(f"the column time is missing: it has {', '.join(columns)}. Add or rename it.")
    for name in (name for name in ("sequence", "time") if name in columns):
        empty = np.flatnonzero(table[name].isna())
        if len(empty):
            raise DataError(f"every row needs a {name}: row {empty[0]} has none. Fill it in or drop the row.")
    nameless = [name for name in columns if name.startswith("Unnamed: ")]
    if nameless:
        raise DataError(f"every column needs a name: column {nameless[0][9:]} has none. Write the table without index.")
    channels = [name for name in columns if name not in ("sequence", "time", "state")]
    if not channels or table.empty:
        raise DataError("a table needs rows, and channels beside sequence and time: it has none. Add them.")
    return channels


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values = pd.to_numeric(table[name], errors="coerce")
    wrong = np.flatnonzero(values.isna() & table[name].notna())
    if len(wrong):
        raise DataError(
            f"the column {name} must hold numbers: got {table[name].iloc[wrong[0]]!r} in row {wrong[0]}. "
            "Correct it, or leave it empty where missing."
        )
    return np.asarray(values.to_numpy(float, na_value=np.nan))


def _write_npz(data: xr.Dataset, path: Path) -> None:
    arrays = {"times": dataset_times(data), "observations": dataset_observations(data)}
    if "states" in data:
        arrays["states"] = dataset_states(data)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _write_netcdf(data: xr.Dataset, path: Path) -> None:
    data.to_netcdf(path, engine="h5netcdf")


READERS: dict[str, Callable[[Path], xr.Dataset]] = {
    ".npz": _read_npz,
    ".nc": _read_netcdf,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
WRITERS: dict[str, Callable[[xr.Dataset, Path], None]] = {".npz": _write_npz, ".nc": _write_netcdf}


def read_plain(path: Path, remedy: str = "Delete it and fit again.") -> Any:
    """Whatever tensors and plain values a file holds; nothing in it is ever executed.

    Raises
    ------
    CheckpointError: the file is damaged, or holds anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch has views on the format of what may be no checkpoint at all
            return torch.load(path, weights_only=True, map_location="cpu")
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # damaged bytes may lead the reader anywhere
        reason = str(error).split("\n")[0][:200]
        raise CheckpointError(f"{path.name} is no checkpoint of tensors and plain values: {reason} {remedy}") from error
