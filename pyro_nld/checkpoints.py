"""Checkpoints: tensors and plain values only, written atomically, read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from ._checks import CheckpointError
from ._files import write_atomically


def save_checkpoint(state: dict, path: Path) -> None:
    """Write `state` to `path`, atomically."""
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint; nothing in it is ever executed.

    Raises
    ------
    CheckpointError: the file is damaged, or holds anything beside tensors and plain values.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise CheckpointError(
            f"{path.name} is no checkpoint of tensors and plain values: {reason} Delete it and fit again."
        ) from error
