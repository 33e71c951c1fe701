"""Data files: what is read, what is written, and one sentence for everything that cannot be."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import singledispatch
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
import xarray as xr

from ..errors import CheckpointError, DataError, NLDError, optional
from .covariates import AXES as INPUTS
from .covariates import with_covariates
from .frames import Titles, from_table
from .matching import centred
from .readers import Table, read_text
from .series import (
    as_labels,
    as_tensors,
    dataset_observations,
    dataset_states,
    dataset_times,
    from_arrays,
    from_the_start,
)  # fmt: skip

Entry = TypeVar("Entry")

UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What the readers below raise for files that are damaged, or are not what their name says."""


def load(
    path: str | PathLike[str],
    *,
    time: str | None = None,
    sequence: Titles | None = None,
    channels: Titles | None = None,
    missing: object = None,
    log: Titles | None = None,
    angle: Titles | None = None,
    covariates: Titles | None = None,
) -> xr.Dataset:
    """Read a data file into a Dataset, validated.

    Parameters
    ----------
    path: one of
        `.npz`: arrays times, observations, optionally states and covariates(sequence, time, input), shaped as in
        `from_arrays`; never unpickled;
        `.nc`: netCDF-4, the variables of a Dataset; units of time are left alone;
        `.csv`, `.tsv`, `.txt`, `.dat`, PLUMED's `COLVAR`, GROMACS' `.xvg`, Igor's `.itx`, all also compressed, and
        `.parquet`: a long table, one row per sequence and time, one column per channel.
    time, sequence, channels, missing, log, angle, covariates: of a table, as in `from_table`; what is left out is
        guessed, and what was guessed stands in `attrs["read_as"]`.

    Returns
    -------
    Dataset of observations(sequence, time, channel), with the names and units of the file. Channels far from zero count
    from an origin, see `centred`.

    Raises
    ------
    DataError, ShapeError, TimeGridError: naming the file, the place (rows as an editor counts them) and the remedy.
    MissingExtra: parquet without pyarrow.

    Warns
    -----
    DoubtfulDataWarning: what is probably not meant, see `from_table`.

    Not checked: what `check_series` asks only of a whole data set.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> table = np.array([[0.0, 1.5], [0.5, 1.7], [1.0, 1.4]])
    >>> with TemporaryDirectory() as folder:
    ...     np.savetxt(Path(folder) / "mine.txt", table, header="time force")
    ...     data = nld.load(Path(folder) / "mine.txt")
    >>> data.attrs["read_as"]
    'blank separated, names in row 1, time, one sequence, channel force'
    >>> data["time"].values
    array([0. , 0.5, 1. ])
    """
    path = Path(path)
    suffix = _suffix(path)
    if not path.is_file():
        raise DataError(f"{path} must be a data file: there is none. Check the path.")
    asked: dict[str, Any] = {"time": time, "sequence": sequence, "channels": channels, "missing": missing, "log": log}
    asked |= {"angle": angle, "covariates": covariates}
    try:
        if suffix in READERS:
            _refuse_options(asked)
            data = from_the_start(READERS[suffix](path))
        else:
            data = from_table(TABLES[suffix](path), **asked)
        as_tensors(data, torch.float64, whole=False)
        data = centred(data)
    except NLDError as error:
        raise type(error)(f"{path}: {error}") from error
    except UNREADABLE as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise DataError(f"{path} cannot be read as {suffix}: {reason}. Save it again, as plain numbers.") from error
    return data


@singledispatch
def save(data: Any, path: str | PathLike[str]) -> None:
    """Write a Dataset to `.nc`, with everything in it; series, states and covariates to `.npz`. A fit goes to `.pt`.

    A file of that name is replaced once the new one is complete.

    Raises
    ------
    DataError, ShapeError, TimeGridError: the Dataset is not valid, or the path not possible; nothing is written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=2, steps=5, seed=0)
    >>> with TemporaryDirectory() as folder:
    ...     nld.save(data, Path(folder) / "mine.nc")
    ...     nld.load(Path(folder) / "mine.nc").identical(data)
    True
    """
    path = Path(path)
    if not isinstance(data, xr.Dataset):
        got = type(data).__name__
        raise DataError(f"what is saved must be a Dataset or a fit: got {got}. Use nld.datasets.from_arrays.")
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


def _suffix(path: Path) -> str:
    """What kind of data file a path names: its suffix, before that of a compressed file."""
    name = path.with_suffix("") if path.suffix.lower() in PACKED else path
    if "colvar" in name.name.lower():
        return ".colvar"
    _by_suffix(dict.fromkeys([*READERS, *TABLES]), name)
    return name.suffix.lower()


def _refuse_options(asked: dict[str, object]) -> None:
    given = [f"--{name}" for name, value in asked.items() if value is not None]
    if given:
        raise DataError(f"{', '.join(given)} can be given for a table alone: its arrays have names. Leave it out.")


def _read_npz(path: Path) -> xr.Dataset:
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError("it holds one array without a name: times and observations are needed. Use np.savez.")
        absent = [name for name in ("times", "observations") if name not in archive]
        if absent:
            raise DataError(f"the array {absent[0]} is missing: it has {', '.join(archive)}. Add it.")
        data = from_arrays(archive["times"], archive["observations"], archive.get("states"))
        return data if "covariates" not in archive else with_covariates(data, archive["covariates"])


def _read_netcdf(path: Path) -> xr.Dataset:
    data = xr.load_dataset(path, engine="h5netcdf", decode_times=False)
    if "states" in data:
        states = dataset_states(data)
        data["states"] = ("sequence", "time"), as_labels(states, states.shape)
    return data


def _read_parquet(path: Path) -> pd.DataFrame:
    optional("pyarrow", "tables")
    table = pd.read_parquet(path)
    return table.set_axis(range(1, len(table) + 1)) if isinstance(table.index, pd.RangeIndex) else table


def _write_npz(data: xr.Dataset, path: Path) -> None:
    arrays = {"times": dataset_times(data), "observations": dataset_observations(data)}
    if "states" in data:
        arrays["states"] = dataset_states(data)
    if "covariates" in data:
        arrays["covariates"] = data["covariates"].transpose(*INPUTS).values
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _write_netcdf(data: xr.Dataset, path: Path) -> None:
    data.to_netcdf(path, engine="h5netcdf")


READERS: dict[str, Callable[[Path], xr.Dataset]] = {".npz": _read_npz, ".nc": _read_netcdf}
TABLES: dict[str, Callable[[Path], pd.DataFrame | Table]] = {
    ".parquet": _read_parquet,
    **dict.fromkeys(
        (".csv", ".tsv", ".tab", ".txt", ".dat", ".asc", ".prn", ".log", ".atf", ".itx", ".xvg", ".colvar"), read_text
    ),
}
PACKED = (".gz", ".bz2", ".xz")
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
