"""Checkpoints: tensors and plain values only, written atomically, read without unpickling code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from ._files import write_atomically
from .errors import CheckpointError

STATE = ("schedule", "initial", "runs", "current")
"""What the state of a fit consists of: see `training.fit`."""


def save_checkpoint(state: dict, path: Path) -> None:
    """Write `state` to `path`, atomically."""
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint; nothing in it is ever executed.

    Raises
    ------
    CheckpointError: the file is damaged, holds anything beside tensors and plain values, or is no state of a fit.
    """
    state = read_plain(path)
    missing = [name for name in STATE if not isinstance(state, dict) or name not in state]
    if missing:
        raise CheckpointError(f"{path.name} is no checkpoint of a fit: it lacks {', '.join(missing)}. Fit again.")
    return state


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
