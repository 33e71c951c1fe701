"""Every error and warning of the library, and the import of optional packages.

A message has two sentences. The first says what was expected and what was found, with its index and value; the second
says what to do. Every class of errors is an `NLDError`, and also the built-in error that a caller would expect.

Examples
--------
>>> try:
...     nld.OverdampedLangevin(nld.DoubleWell(), temperature=-1.0)
... except nld.NLDError as error:
...     print(f"{type(error).__name__}: {error}")
PriorError: temperature must be positive and finite: got -1.0. Give a value above zero.
>>> issubclass(nld.PriorError, ValueError)
True
"""

from __future__ import annotations

import importlib
from types import ModuleType


class NLDError(Exception):
    """An operation that this library refuses. The message gives the reason and the remedy."""


class DataError(NLDError, ValueError):
    """Observations or a data file cannot be used as they are."""


class ShapeError(NLDError, ValueError):
    """The number or the length of axes is not as expected."""


class TimeGridError(NLDError, ValueError):
    """Times are not finite or do not increase."""


class PriorError(NLDError, ValueError):
    """A physical quantity, or the prior on it, is impossible."""


class CheckpointError(NLDError, ValueError):
    """A checkpoint is damaged or belongs to another model."""


class FitError(NLDError, RuntimeError):
    """A fit cannot start, or cannot continue."""


class RunDirectoryError(NLDError, OSError):
    """A run directory is in use, or is not one."""


class MissingExtra(NLDError, ImportError):
    """An optional package is not installed."""


class DoubtfulDataWarning(UserWarning):
    """Data that are valid, but probably not what was meant."""


class DoubtfulFitWarning(UserWarning):
    """A fit whose numbers may be wrong."""


NO_LANDSCAPE = (
    "this model's force is no gradient: depths, barriers, occupancies by energy and rates from them cannot be read. "
    "Attractors, segments and pictures of the force can: see Fit.attractors."
)
"""The message of every function that needs U, for a model without one."""


def optional(name: str, extra: str) -> ModuleType:
    """Import the optional module `name`, or say which extra installs it.

    Raises
    ------
    MissingExtra: the package is not installed. One that is installed but broken raises its own error.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise MissingExtra(f'{name} is needed here but not installed. Run: pip install "pyro_nld[{extra}]"') from error
