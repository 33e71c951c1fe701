"""Data in and results out: input is checked once, results carry names. Validation, tables, series, files, ArviZ.

Examples
--------
Two sequences of three times in one channel; one value is missing.

>>> data = nld.io.from_arrays([0.0, 0.5, 1.0], [[[1.0], [2.0], [1.5]], [[0.0], [np.nan], [0.5]]])
>>> dict(data["observations"].sizes)
{'sequence': 2, 'time': 3, 'channel': 1}
"""

from . import inference_data
from .covariates import covariates
from .frames import from_table
from .matching import centred, matched
from .series import as_tensors, cut, from_arrays, joined
from .files import load, save

__all__ = [
    "inference_data", "from_table", "centred", "matched", "as_tensors", "cut", "from_arrays", "joined", "load", "save",
    "covariates",
]  # fmt: skip
