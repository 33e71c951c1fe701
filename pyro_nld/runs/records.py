"""The records in a run directory, written atomically."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from ..errors import DataError
from ..io.files import write_atomically
from ..io.inference_data import load_inference_data, save_inference_data
from ..results.fit import Fit
from ..results.rereading import with_states
from ..results.segmentation import tabulated
from . import summary

RECORDED_DRAWS = 50  # posterior draws in `posterior.nc`
READ = ("summary.json", "landscape.nc", "checks.nc", "forecast.nc", "report.html")
"""Files of what is read from a fit."""

RECORDED_GROUPS = ("posterior", "prior", "log_likelihood", "sample_stats", "observed_data", "constant_data")


def record_fit(path: Path, fitted: Fit, warned: Iterable[str] = ()) -> dict:
    """Write `history.csv`, `posterior.nc` and the fit's part of `summary.json`; return the summary.

    `heldout_elbo_per_observation` is that of the choice in `config.json`: the bound that the short fit of the chosen
    model gives to the quarter of the pieces that it had not seen (see `fitting.select`). This fit has seen all data,
    and its own bound holds for what it has seen. Null where nothing was held out.

    A fit that went on after it had been read (with more minutes) is another one: what was read of it before is removed.
    """
    before = summary.read_json(path / "summary.json")["steps"] if (path / "summary.json").is_file() else None
    if before not in (None, fitted.history.sizes["step"]):
        for stale in [path / name for name in READ] + [*(path / "figures").glob("*.png")]:
            stale.unlink(missing_ok=True)
    write_atomically(path / "history.csv", lambda file: fitted.history.to_dataframe().to_csv(file))
    posterior = fitted.inference_data(RECORDED_DRAWS, groups=RECORDED_GROUPS, states=False)
    save_inference_data(posterior, path / "posterior.nc")
    config = path / "config.json"
    choice = (summary.read_json(config) if config.is_file() else {}).get("choice") or {}
    heldout = {name: choice.get(name) for name in ("heldout_elbo_per_observation",)}
    return summary.update(path, warned, **summary.of_fit(fitted, posterior), **heldout)


def record_landscape(path: Path, fitted: Fit, landscape: xr.Dataset, warned: Iterable[str] = ()) -> dict:
    """Write `landscape.nc`, the states in `posterior.nc` and their part of `summary.json`; return the summary.

    Parameters
    ----------
    landscape: `Fit.landscape()`, or `Fit.attractors()` where there is no landscape.
    """
    write_dataset(path / "landscape.nc", landscape.assign_attrs(schema=summary.SCHEMA))
    known = path / "posterior.nc"
    if known.is_file():  # the draws are those of the same fit
        posterior = with_states(fitted, load_inference_data(known), landscape)
    else:
        posterior = fitted.inference_data(RECORDED_DRAWS, groups=RECORDED_GROUPS, states=landscape)
    save_inference_data(posterior, known)
    read = summary.of_landscape if fitted.has_landscape else summary.of_attractors
    return summary.update(path, warned, **read(landscape))


def record_checks(path: Path, findings: Mapping[str, xr.Dataset], warned: Iterable[str] = ()) -> dict:
    """Write `checks.nc`, one group per finding, and the verdicts into `summary.json`; return the summary."""
    tree = xr.DataTree.from_dict({f"/{name}": found for name, found in findings.items()})
    write_atomically(path / "checks.nc", lambda file: tree.to_netcdf(file, engine="h5netcdf"))
    return summary.update(path, warned, **summary.of_checks(findings))


def write_dataset(path: Path, data: xr.Dataset) -> None:
    """Write a Dataset to netCDF, atomically."""
    write_atomically(path, lambda file: data.to_netcdf(file, engine="h5netcdf"))


def require_output(path: Path, *suffixes: str) -> None:
    """Check that a file can be written, before the work is done.

    Raises
    ------
    DataError: the suffix is another one, or the folder does not exist.
    """
    if path.suffix not in suffixes:
        raise DataError(f"the output must end in {' or '.join(suffixes)}: got {path}. Rename it.")
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} must be a directory: there is none. Create it first.")


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically."""
    write_atomically(path, lambda file: file.write_text(text, "utf-8"))


def write_segments(path: Path, segments: xr.Dataset, data: xr.Dataset) -> None:
    """Write a segmentation: arrays (probability, label, times) to `.npz`, or a row per observation to `.csv`."""
    if path.suffix == ".csv":
        rows = tabulated(segments, data)
        write_atomically(path, lambda file: rows.to_csv(file, index=False, float_format="%.10g"))
    else:
        write_arrays(path, {name: segments[name].values for name in ("probability", "label", "times")})


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays to an .npz file, atomically."""

    def write(file: Path) -> None:
        with file.open("wb") as handle:
            np.savez_compressed(handle, allow_pickle=False, **arrays)

    write_atomically(path, write)
