"""The run directory: the files of a fit, which all recipes load.

It holds `model.py` (a copy), `config.json`, `checkpoint.pt`, `history.csv`, `posterior.nc`, `landscape.nc`,
`summary.json` and `figures/`. All files are written atomically. The directory appears together with the first two.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, TextIO

import xarray as xr

from .. import results
from ..checks import stationarity
from ..errors import DataError, RunDirectoryError
from ..fitting.checkpoints import can_go_on, load_checkpoint
from ..fitting.lattices import obstacle
from ..fitting.posterior import Pair
from ..fitting.schedule import Schedule
from ..io.matching import matched
from ..io.series import as_tensors, joined
from ..model.latent_langevin import LatentLangevin
from ..results.fit import Fit
from ..results.segmentation import segment
from . import summary
from .model_files import build, choose, load_data, load_model_file

BUDGETS = {
    "smoke": Schedule(steps=20, batch_size=16),
    "default": Schedule(steps=1600, batch_size=16, settle=1, lead=0.3, exact=10, balance=True),
    "full": Schedule(steps=6000, batch_size=32, settle=2, lead=0.3, polish=2, exact=10, balance=True),
}
"""How long a recipe fits: `smoke` shows that it runs, `default` gives a result worth reading, `full` is for papers."""

SHORT = 0.8  # of the steps, in fits that help to choose a model
CHECKPOINTS = 20  # per fit, so that a kill costs at most a twentieth of the work


LATER: dict[str, object] = {"reading": {}, "choice": None}
"""Settings that runs of the first schema lack, with the values that they imply."""


class Run(NamedTuple):
    """A finished run: its directory, settings, model file, data and fit."""

    path: Path
    config: dict
    source: ModuleType
    data: xr.Dataset
    fit: Fit


# The directory


def settings(
    data: Path | None,
    seed: int,
    restarts: int,
    minutes: float | None,
    budget: str,
    pieces: int | Literal["auto"] | None = "auto",
    reading: Mapping[str, str] | None = None,
) -> dict:
    """The settings of the command that makes a run, as `config.json` keeps them.

    Parameters
    ----------
    data: the data file. seed, restarts, minutes, budget: of the fit. pieces, reading: see `model_files.load_data`.

    Raises
    ------
    DataError: the data file does not exist.
    """
    if data is not None and not data.is_file():
        raise DataError(f"{data} must be a data file: there is none. Check the path.")
    return {
        "data": None if data is None else str(data.resolve()),
        "data_sha256": None if data is None else _digest(data),
        "pieces": pieces,
        "reading": dict(reading or {}),
        "seed": seed,
        "restarts": restarts,
        "schedule": asdict(replace(BUDGETS[budget], minutes=minutes)),
        "choice": None,
    }


def chosen(path: Path, source: ModuleType, data: xr.Dataset, config: dict, resume: bool) -> dict:
    """The settings with what the model file chooses for the data, once: a run that goes on keeps its choice.

    Parameters
    ----------
    path: of the run directory, there or not. source, data: to be fitted. config: from `settings`. resume: go on.

    Raises
    ------
    RunDirectoryError: as in `opened`, before the work is done. DataError: the model file fails.
    """
    if _is_run(path, resume):
        return config | {"choice": _kept(path)["choice"]}
    steps = max(2, round(SHORT * config["schedule"]["steps"]))
    return config | {"choice": summary.finite(choose(source, data, config["seed"], steps))}


@contextmanager
def opened(path: Path, model_file: Path, config: dict, resume: bool) -> Iterator[None]:
    """Make a run directory, or go on in an existing one, and lock it.

    Raises
    ------
    RunDirectoryError: there is a run and `resume` is not set; the run was made with another model file or other
        settings; the path is not a run directory; or another process works in it.
    """
    if not _is_run(path, resume):
        _create(path, model_file, config)
    with claimed(path):
        changed = _changed(path, model_file, config)
        if changed:
            raise RunDirectoryError(
                f"{path} was made with another {', '.join(changed)}. Resume with the same, or choose another --out."
            )
        summary.write_json(path / "config.json", config)  # the minutes may be others
        yield


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Lock a run directory against a second process. The lock ends with this process, however it ends.

    Raises
    ------
    RunDirectoryError: the path is not a run directory, or another process works in it.
    """
    _require_run(path)
    with _lock(path / ".lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirectoryError(f"{path} is in use by another process. Wait for it, or choose another.") from None
        for leftover in path.rglob(".*.[0-9]*"):  # left by a process that was killed while it wrote
            leftover.unlink()
        yield


def _lock(path: Path) -> TextIO:
    """The lock file, opened without following a link and without emptying what is there."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "r+")
    except OSError as error:
        raise RunDirectoryError(
            f"{path} must be a plain file: {error.strerror}. Delete what is there, or choose another run."
        ) from error


def load(path: str | Path) -> Run:
    """Load a finished run.

    Parameters
    ----------
    path: its directory.

    Raises
    ------
    RunDirectoryError: there is no run, it is not finished, or its data file is missing or has changed.
    CheckpointError: the checkpoint is damaged or does not fit the model.
    """
    path = Path(path)
    _require_run(path)
    config = _kept(path)
    state = load_checkpoint(path / "checkpoint.pt") if (path / "checkpoint.pt").is_file() else {"runs": []}
    schedule = Schedule(**config["schedule"])
    if len([run for run in state["runs"] if not can_go_on(run, schedule)]) < config["restarts"]:
        raise RunDirectoryError(f"the fit in {path} is not finished. Go on with pyro-nld fit … --resume.")
    source = load_model_file(path / "model.py")
    data = load_data(source, _unchanged_data(path, config), config["seed"], config["pieces"], config["reading"])
    pair = build(source, data, config["seed"], config["choice"])
    return Run(path, config, source, data, fit(path, pair, data, config))  # all runs are done: it only reads


def more_data(
    run: Run,
    path: str | Path,
    pieces: int | Literal["auto"] | None = None,
    reading: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Another data file, read like the data of the run, with the same channels in the same order and unit.

    Parameters
    ----------
    run: a finished run. path: of the other data. pieces: see `model_files.load_data`.
    reading: how its table is read, where that differs from the run's own.

    Raises
    ------
    DataError, ShapeError, TimeGridError: the file cannot be read, or lacks a channel of the run.
    """
    path = Path(path)
    table = path.suffix not in (".npz", ".nc")
    alike = {**(run.config["reading"] if table else {}), **(reading or {})}
    return matched(load_data(run.source, path, 0, pieces, alike), run.data)


def recorded_landscape(run: Run, min_persistence: float | None = None, min_barrier: float | None = None) -> xr.Dataset:
    """The landscape (or the attractors) of a run as recorded, so that states keep their numbers; otherwise read now.

    Parameters
    ----------
    run: from `load`. min_persistence, min_barrier: which minima are states, see `Fit.wells`; where either is given,
        they are read anew.
    """
    file = run.path / "landscape.nc"
    rule = {"min_persistence": min_persistence, "min_barrier": min_barrier}
    asked: dict[str, Any] = {name: value for name, value in rule.items() if value is not None}
    if file.is_file() and not asked:
        found = xr.load_dataset(file, engine="h5netcdf")
        if found.attrs.get("schema") == summary.SCHEMA:  # an older one knows less
            return found
    return read_landscape(run, **asked)


def read_landscape(run: Run, **rule: Any) -> xr.Dataset:
    """The landscape (or the attractors) of a run, read now, and what speaks against states of a stationary system.

    Parameters
    ----------
    run: from `load`. rule: `min_persistence` and `min_barrier`, which minima are states, see `Fit.wells`.

    Returns
    -------
    `Fit.landscape()` with the names of the channels; attrs `data_verdict` and `data_message`, from
    `checks.stationarity`.
    """
    found = run.fit.landscape(**rule) if run.fit.has_landscape else run.fit.attractors()
    labels = joined(segment(run.fit, wells=found), run.data)["label"].values
    doubts = stationarity.of_data(joined(run.data), labels, run.fit.model.likelihood.discrete).attrs
    said = {f"data_{name}": doubts[name] for name in ("verdict", "message")}
    return found.assign_coords(channel=run.data["channel"]).assign_attrs(said)


def _is_run(path: Path, resume: bool) -> bool:
    """Whether there is a run to go on with; False where there is room for a new one."""
    if (path / "config.json").is_file():
        if resume:
            return True
        raise RunDirectoryError(f"{path} holds a run already. Add --resume to go on with it, or choose another --out.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunDirectoryError(f"{path} exists and is no run directory. Choose another --out.")
    return False


def _create(path: Path, model_file: Path, config: dict) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        shutil.copyfile(model_file, unfinished / "model.py")
        summary.write_json(unfinished / "config.json", config)
        unfinished.rename(path)
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be made: {error.strerror}. Choose another --out.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _require_run(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise RunDirectoryError(f"{path} is no run directory: it has no config.json. Make one with pyro-nld fit.")


def _kept(path: Path) -> dict:
    config = LATER | summary.read_json(path / "config.json")
    config["schedule"] = asdict(Schedule()) | config.get("schedule", {})
    expected = settings(None, 0, 1, None, "smoke")
    if config.keys() != expected.keys() or config["schedule"].keys() != expected["schedule"].keys():
        raise RunDirectoryError(f"{path} was made by another version of pyro_nld. Fit again, in another place.")
    return config


def _changed(path: Path, model_file: Path, config: dict) -> list[str]:
    """The settings in which a run differs from a command that is to go on with it."""
    kept, asked = (one | {"schedule": one["schedule"] | {"minutes": None}} for one in (_kept(path), config))
    names = sorted(name for name in kept.keys() | asked.keys() if kept.get(name) != asked.get(name))
    same_model = (path / "model.py").read_bytes() == model_file.read_bytes()
    return names if same_model else ["model file", *names]


def _unchanged_data(path: Path, config: dict) -> str | None:
    file = config["data"]
    if file is not None and not (Path(file).is_file() and _digest(Path(file)) == config["data_sha256"]):
        raise RunDirectoryError(f"the data file {file} of {path} is gone or has changed. Put it back, or fit again.")
    return file


def _digest(file: Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(2**20):
            total.update(block)
    return total.hexdigest()


# What is done in it


def _rounds(model: LatentLangevin, data: xr.Dataset, most: int) -> int:
    """How many exact rounds a recipe takes.

    Only axes that bend need them, for states may switch at once; and three axes have too many cells. On a plane half as
    many bring nine tenths of the gain, and each takes longer.
    """
    axes, (times, x) = model.dynamics.latent, as_tensors(data)
    possible = model.likelihood.decoder.bends and axes <= 2 and not obstacle(model, times.expand(x.shape[:2]))
    return most // axes if possible else 0


def fit(path: Path, pair: Pair, data: xr.Dataset, config: dict, jobs: int | None = None) -> Fit:
    """Fit a model and guide, as built by `model_files.build`, with checkpoints in the run directory.

    Parameters
    ----------
    path: of the run directory. pair, data: what to fit, on what. config: from `settings`. jobs: restarts at once.
    """
    schedule = Schedule(**config["schedule"])
    begun = path / "checkpoint.pt"
    if begun.is_file():  # it goes on as it was begun, also where the recipe has changed
        exact = load_checkpoint(begun)["schedule"].get("exact", 0)
    else:
        exact = _rounds(pair[0], data, schedule.exact)
    schedule = replace(schedule, exact=exact)
    return results.fit(
        *pair,
        data,
        schedule,
        seed=config["seed"],
        restarts=config["restarts"],
        checkpoint=path / "checkpoint.pt",
        resume=True,
        every=max(1, schedule.steps // CHECKPOINTS),
        n_jobs=jobs,
    )
