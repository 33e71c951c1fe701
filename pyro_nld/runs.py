"""The run directory: what a fit leaves behind, written atomically, loaded by every recipe."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import math
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr

from . import datasets, training
from ._checks import CheckpointError, DataError, NLDError, RunDirectoryError
from .checkpoints import load_checkpoint, write_atomically
from .inference_data import Results, save_inference_data
from .results import Fit
from .training import Schedule

SCHEMA = 1
BUDGETS = {
    "smoke": Schedule(steps=20, batch_size=16),
    "default": Schedule(steps=600),
    "full": Schedule(steps=3000, batch_size=128),
}
"""How long a recipe fits: to prove that it runs, for a result worth reading, for papers."""


class Run(NamedTuple):
    """A finished run: its directory, settings, model file, data and fit."""

    path: Path
    config: dict
    source: ModuleType
    data: xr.Dataset
    fit: Fit


def load_model_file(path: Path) -> ModuleType:
    """Execute a model file by path and return its names: `PRIORS`, `build(data)`, `simulate(seed)`.

    Raises
    ------
    DataError: there is no such file, it fails, or a name is missing.
    """
    if not path.is_file() or path.suffix != ".py":
        raise DataError(f"{path} is no model file: expected an existing .py file. Look into models/ for examples.")
    spec = importlib.util.spec_from_file_location(f"model_file_{path.stem}", path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = source  # dataclasses and pickles of a file look their module up
    try:
        spec.loader.exec_module(source)
    except NLDError:
        raise
    except Exception as error:  # a user's file may fail in any way: say where
        raise DataError(f"{path} fails when run: {type(error).__name__}: {error}. Mend the file.") from error
    missing = [name for name in ("PRIORS", "build", "simulate") if not hasattr(source, name)]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}: a model file has PRIORS, build(data) and simulate(seed).")
    return source


def load_data(source: ModuleType, path: str | None, seed: int) -> xr.Dataset:
    """The data file at `path`, or the model file's own simulation when there is none."""
    return source.simulate(seed) if path is None else datasets.load(path)


def create(path: Path, model_file: Path, config: dict, resume: bool) -> dict:
    """Make a run directory (or go on in one), and return its settings.

    Raises
    ------
    RunDirectoryError: it exists already and `resume` is not set, or was made with other settings.
    """
    settings = path / "config.json"
    if settings.is_file():
        if not resume:
            raise RunDirectoryError(f"{path} holds a run already. Add --resume to go on with it, or choose another --out.")
        kept = json.loads(settings.read_text())
        if kept != config:
            changed = sorted(key for key in kept.keys() | config.keys() if kept.get(key) != config.get(key))
            raise RunDirectoryError(
                f"{path} was made with another {', '.join(changed)}. Resume with the same settings, or choose another --out."
            )
        return kept
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunDirectoryError(f"{path} exists and is no run directory. Choose another --out.")
    path.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model_file, path / "model.py")
    write_json(path / "config.json", config)  # last: from here on it is a run directory
    return config


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold `path` against a second process; the claim ends with this process, however it ends.

    Raises
    ------
    RunDirectoryError: another process works in it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirectoryError(f"{path} is in use by another process. Wait for it, or choose another --out.") from error
        yield


def load(path: Path) -> Run:
    """A finished run, ready to read.

    Raises
    ------
    RunDirectoryError: there is no run, or it is not finished. CheckpointError: it is damaged.
    """
    if not (path / "config.json").is_file():
        raise RunDirectoryError(f"{path} is no run directory: it has no config.json. Make one with inference/fit.py.")
    if not (path / "checkpoint.pt").is_file():
        raise RunDirectoryError(f"{path} has no checkpoint yet. Finish it with inference/fit.py … --resume.")
    config = json.loads((path / "config.json").read_text())
    source = load_model_file(path / "model.py")
    data = load_data(source, config["data"], config["seed"])
    state = load_checkpoint(path / "checkpoint.pt")
    if state["current"] is not None or not state["runs"]:
        raise RunDirectoryError(f"the fit in {path} is not finished. Go on with inference/fit.py … --resume.")
    model, guide = source.build(data)
    times, x = datasets.as_tensors(data)
    guide(times, x)  # lets the autoguide meet its sites, so that its parameters exist
    best = max(state["runs"], key=lambda run: run["elbo"])
    try:
        model.load_state_dict(best["model"])
        guide.load_state_dict(best["guide"])
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint in {path} does not fit its model.py. Fit again.") from error
    return Run(path, config, source, data, Fit(model, guide, times, x, training.history_dataset(best["history"]), state["runs"]))


def write_json(path: Path, content: dict) -> None:
    """Write JSON atomically, every number finite or null."""
    text = json.dumps(_finite(content), indent=1, allow_nan=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def update_summary(path: Path, **fields: object) -> dict:
    """Merge fields into `summary.json` and return it whole; unknown so far is null."""
    summary_file = path / "summary.json"
    summary = json.loads(summary_file.read_text()) if summary_file.is_file() else empty_summary()
    summary |= _finite(fields)
    write_json(summary_file, summary)
    return summary


def empty_summary() -> dict:
    """`summary.json` before anything is known: every field of the schema, null."""
    shape = {
        "elbo": ("total", "log_likelihood", "path_kl", "initial_kl", "per_observation"),
        "temperature": ("mean", "q05", "q95", "contraction"),
        "occupancy": ("sampled", "energy", "harmonic", "data"),
        "rates": ("eyring_kramers", "simulated", "counted"),
        "dwell": ("simulated", "counted"),
        "discretisation": ("max_curvature_step", "ok"),
        "verdict": ("kinetics_agree", "messages"),
    }
    flat = ("heldout_elbo_per_observation", "seconds", "steps", "states", "minima", "decoded_minima", "barriers_kT")
    empty = dict.fromkeys(flat) | {name: dict.fromkeys(fields) for name, fields in shape.items()}
    return {"schema": SCHEMA} | empty | {"warnings": []}


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _finite(value.tolist())
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def settings(data: Path | None, seed: int, restarts: int, minutes: float | None, budget: str) -> dict:
    """What a run directory remembers of the command that made it."""
    schedule = replace(BUDGETS[budget], minutes=minutes)
    source = None if data is None else str(data.resolve())
    return {"data": source, "seed": seed, "restarts": restarts, "schedule": asdict(schedule)}


def fit(path: Path, source: ModuleType, data: xr.Dataset, config: dict) -> Fit:
    """Build the model file's model and guide from the seed, and fit them with checkpoints in the run directory."""
    torch.manual_seed(config["seed"])
    model, guide = source.build(data)
    return training.fit(
        model,
        guide,
        data,
        Schedule(**config["schedule"]),
        seed=config["seed"],
        restarts=config["restarts"],
        checkpoint=path / "checkpoint.pt",
        resume=True,
    )


def record_fit(path: Path, fitted: Fit, warned: Iterable[str]) -> dict:
    """Write `history.csv`, `posterior.nc` and the fit's part of `summary.json`; returns the summary."""
    history = fitted.history
    write_atomically(path / "history.csv", lambda file: history.to_dataframe().to_csv(file))
    posterior = fitted.inference_data(draws=50)
    save_inference_data(posterior, path / "posterior.nc")
    elbo = fitted.elbo()
    return update_summary(
        path,
        elbo={name: elbo[name] for name in ("total", "log_likelihood", "path_kl", "initial_kl", "per_observation")},
        seconds=float(history["seconds"][-1]),
        steps=history.sizes["step"],
        temperature=_temperature(fitted, posterior),
        warnings=list(warned),
    )


def record_landscape(path: Path, story: xr.Dataset) -> dict:
    """Write `landscape.nc` and the landscape's part of `summary.json`; returns the summary."""
    write_atomically(path / "landscape.nc", lambda file: story.to_netcdf(file, engine="h5netcdf"))
    occupancy = {route: story[f"occupancy_{route}"].values for route in ("energy", "harmonic", "data")}
    return update_summary(
        path,
        states=story.sizes["state"],
        occupancy={"sampled": None} | occupancy,
        minima=story["position"].values,
        decoded_minima=story["decoded"].values,
        discretisation={"max_curvature_step": story.attrs["max_curvature_step"], "ok": bool(story.attrs["ok"])},
    )


def _temperature(fitted: Fit, posterior: Results) -> dict:
    draws = posterior["posterior"].get("temperature")
    if draws is None:
        return {"mean": fitted.temperature, "q05": None, "q95": None, "contraction": None}
    low, high = np.quantile(draws, [0.05, 0.95])
    return {"mean": float(draws.mean()), "q05": low, "q95": high, "contraction": None}
