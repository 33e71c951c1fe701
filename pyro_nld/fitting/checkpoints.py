"""Checkpoints: tensors and plain values, written atomically and read without executing code."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import CheckpointError
from ..io.files import read_plain, write_atomically

STATE = ("schedule", "initial", "runs", "current")
"""The entries of the state of a fit, see `training.train`."""


def save_checkpoint(state: dict, path: Path) -> None:
    """Write `state` to `path`, atomically."""
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
