"""Checkpoints: tensors and plain values, written atomically and read without executing code."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from glob import escape
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..guide.amortized import AmortizedGuide
from ..io.files import read_plain, write_atomically
from ..model.latent_langevin import LatentLangevin
from .schedule import Schedule

STATE = ("schedule", "initial", "runs", "current")
"""The entries of the state of a fit, see `training.train`."""


def save_checkpoint(state: dict, path: Path | None) -> None:
    """Write `state` to `path`, atomically; do nothing where there is no path."""
    if path is not None:
        write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint. Nothing in the file is executed.

    Raises
    ------
    CheckpointError: the file is damaged, holds something other than tensors and plain values, or is not the state of a
        fit.
    """
    state = read_plain(path)
    missing = [name for name in STATE if not isinstance(state, dict) or name not in state]
    if missing:
        raise CheckpointError(f"{path.name} is no checkpoint of a fit: it lacks {', '.join(missing)}. Fit again.")
    return state


def resumed(path: Path, schedule: Schedule) -> dict:
    """The state of a fit that is kept at `path`, if it was made with the same schedule, with runs that can go on.

    Raises
    ------
    CheckpointError: it was made with another one, more than the minutes.
    """
    state = load_checkpoint(path)
    kept = asdict(Schedule()) | state["schedule"]  # an older one knows less
    if kept | {"minutes": None} != asdict(schedule) | {"minutes": None}:
        raise CheckpointError(
            f"the checkpoint was made with another schedule: expected {asdict(schedule)}, got {kept}. "
            "Resume with the same settings, or start in a new place. Only the minutes may change."
        )
    waiting = [run for run in state["runs"] if can_go_on(run, schedule)]
    runs = [run for run in state["runs"] if not can_go_on(run, schedule)]
    again = [*state.get("waiting", []), *(run["cut_short"] for run in waiting)]
    return state | {"schedule": asdict(schedule), "runs": runs, "waiting": again}


def can_go_on(run: dict, schedule: Schedule) -> bool:
    """Whether a run was ended by a time limit that is higher now."""
    cut_short = run.get("cut_short")
    return cut_short is not None and schedule.time_left(cut_short["progress"][2])


def part_of(path: Path | None, run: int) -> Path | None:
    """Where one run keeps its state while several go side by side, for a fit that keeps its own at `path`."""
    return path and path.with_name(f"{path.stem}.run{run}{path.suffix}")


def queued(state: dict) -> list[dict]:
    """The states of runs that were begun, the first of which is the next run."""
    return [one for one in (state["current"], *state.get("waiting", [])) if one is not None]


def begun_part(state: dict, run: int, path: Path | None, schedule: Schedule) -> dict:
    """The state of one run of a fit alone: as it was left side by side with others, or else as the fit has it.

    Parameters
    ----------
    state, path, schedule: of the fit. run: its number.
    """
    part, place = part_of(path, run), run - len(state["runs"])
    kept = None if part is None or not part.exists() else resumed(part, schedule)
    begun = queued(state)[place : place + 1] if kept is None else queued(kept)[:1]
    own: dict = {"runs": [], "waiting": [], "current": begun[0] if begun else None}
    return state | own | {"runs": kept["runs"] if kept else []}


def forget_parts(path: Path | None) -> None:
    """Remove the states of single runs."""
    for part in [] if path is None else path.parent.glob(f"{escape(path.stem)}.run[0-9]*{path.suffix}"):
        part.unlink()


@contextmanager
def refusing_another_model() -> Iterator[None]:
    """Inside it, parameters of other names or shapes are a `CheckpointError`."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the checkpoint belongs to another model: {reason}. Build the model it was made with."
        ) from error


def kept_of(model: LatentLangevin, guide: AmortizedGuide) -> dict:
    """The parameters of model and guide, copied, and the substeps that they belong to."""
    kept = {"substeps": model.substeps, "model": model.state_dict(), "guide": guide.state_dict()}
    return copy.deepcopy(kept)


def load_parameters(model: LatentLangevin, guide: AmortizedGuide, kept: dict) -> None:
    """Give model and guide the parameters from `kept_of`, in place.

    Raises
    ------
    CheckpointError: they belong to another model.
    """
    with refusing_another_model():
        guide.refine(kept["substeps"])
        model.load_state_dict(kept["model"])
        guide.load_state_dict(kept["guide"])
