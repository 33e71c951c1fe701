"""The door: what comes in is checked once, and what goes out has names: validation, series, files, ArviZ's groups."""

from . import inference_data
from .files import load
from .files import save
from .series import as_tensors
from .series import cut
from .series import from_arrays

__all__ = ["as_tensors", "from_arrays", "cut", "load", "save", "inference_data"]
