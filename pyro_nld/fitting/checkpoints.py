"""Checkpoints: tensors and plain values, written atomically and read without executing code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from glob import escape
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..io.files import read_plain, write_atomically
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
    """The state of a fit that is kept at `path`, if it was made with the same schedule.

    Raises
    ------
    CheckpointError: it was made with another one, or see `load_checkpoint`.
    """
    state = load_checkpoint(path)
    if state["schedule"] != asdict(schedule):
        raise CheckpointError(
            f"the checkpoint was made with another schedule: expected {asdict(schedule)}, got {state['schedule']}. "
            "Resume with the same settings, or start in a new place."
        )
    return state


def part_of(path: Path | None, run: int | str) -> Path | None:
    """Where one run keeps its state while several go side by side, for a fit that keeps its own at `path`."""
    return path and path.with_name(f"{path.stem}.run{run}{path.suffix}")


def begun_part(state: dict, run: int, path: Path | None, schedule: Schedule) -> dict:
    """The state of one run of a fit alone: as it was left side by side with others, or else as the fit has it.

    Parameters
    ----------
    state, path, schedule: of the fit. run: its number.
    """
    part = part_of(path, run)
    if part is not None and part.exists():
        return resumed(part, schedule)
    return state | {"runs": [], "current": state["current"] if run == len(state["runs"]) else None}


def forget_parts(path: Path | None) -> None:
    """Remove the states of single runs."""
    for part in [] if path is None else path.parent.glob(f"{escape(path.stem)}.run[0-9]*{path.suffix}"):
        part.unlink()


@contextmanager
def refusing_another_model() -> Iterator[None]:
    """A scope in which a state that does not fit the model is a `CheckpointError`."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the checkpoint belongs to another model: {reason}. Build the model it was made with."
        ) from error
