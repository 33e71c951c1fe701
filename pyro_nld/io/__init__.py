"""The door: what comes in is checked once, what goes out has names: validation, tables, series, files, ArviZ."""

from . import inference_data
from .frames import from_table
from .matching import centred, matched
from .series import as_tensors, cut, from_arrays
from .files import load, save

__all__ = [
    "inference_data", "from_table", "centred", "matched", "as_tensors", "cut", "from_arrays", "load", "save",
]  # fmt: skip
