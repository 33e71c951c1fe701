"""Every error and warning of the library, what is asked of arguments, and the import of optional packages.

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

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints


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


class Within(NamedTuple):
    """What is asked of a number: finite, from `low` to `high`, without `low` itself where `above`."""

    low: float
    high: float = math.inf
    above: bool = False


Count = Annotated[int, Within(1)]
Whole = Annotated[int, Within(0)]
Finite = Annotated[float, Within(-math.inf)]
Amount = Annotated[float, Within(0.0)]
Positive = Annotated[float, Within(0.0, above=True)]
Share = Annotated[float, Within(0.0, 1.0)]
"""Annotations of arguments, which `checked` looks at."""


def checked(target: Any, error: type[NLDError] | None = None) -> Any:
    """A function, or the constructor of a class, that checks the arguments whose annotations say what is asked of them.

    Parameters
    ----------
    target: what is decorated; annotated with `Count`, `Positive` and the like, or with a union of one and others.
    error: what is raised; ShapeError for whole numbers and PriorError for others when None.

    Raises
    ------
    ShapeError, PriorError, `error`: at a call, a number is none, or is too small, too large or not finite.
    """
    if isinstance(target, type):
        target.__init__ = checked(target.__init__, error)  # type: ignore[misc]
        return target
    asked: dict[str, tuple[Within, bool, tuple[object, ...]]] = {}

    @functools.wraps(target)
    def check(*args: Any, **kwargs: Any) -> Any:
        if not asked:
            asked.update(_asked(target))
        given = signature.bind_partial(*args, **kwargs).arguments
        for name in asked.keys() & given.keys():
            _require(name, given[name], *asked[name], error)
        return target(*args, **kwargs)

    signature = inspect.signature(target)
    return check


def _asked(target: Callable) -> Iterator[tuple[str, tuple[Within, bool, tuple[object, ...]]]]:
    for name, hint in get_type_hints(target, include_extras=True).items():
        kinds = [hint] if get_origin(hint) is Annotated else get_args(hint)
        for kind in kinds:
            for within in getattr(kind, "__metadata__", ()):
                if isinstance(within, Within):
                    others = [value for one in kinds if get_origin(one) is Literal for value in get_args(one)]
                    others += [None] * (type(None) in kinds)
                    yield name, (within, get_args(kind)[0] is int, tuple(others))


def _require(
    name: str, value: Any, within: Within, whole: bool, others: tuple[object, ...], error: type[NLDError] | None
) -> None:
    if any(value is other or (isinstance(value, str) and value == other) for other in others):
        return
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    right = isinstance(value, Integral if whole else Real) and not isinstance(value, bool) and math.isfinite(value)
    if right and within.low <= value <= within.high and not (within.above and value == within.low):
        return
    kind = "a whole number" if whole else "a finite number"
    low = "" if within.low == -math.inf else f" {'above' if within.above else 'of at least'} {within.low:g}"
    high = "" if within.high == math.inf else f" and at most {within.high:g}"
    instead = "".join(f", or {other!r}" for other in others)
    raise (error or (ShapeError if whole else PriorError))(
        f"{name} must be {kind}{low}{high}{instead}: got {value!r}. Give such a number."
    )


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
