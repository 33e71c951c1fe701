"""The door: what comes in is checked once, and what goes out has names: validation, series, files, ArviZ's groups."""

from . import inference_data
from .series import as_tensors, cut, from_arrays, joined
from .files import load, save

__all__ = [
    "inference_data", "as_tensors", "cut", "from_arrays", "joined", "load", "save",
]  # fmt: skip
