"""How sentences name states and numbers: one sentence for a cause, with all states that it holds for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from .._typing import Array


def listed(parts: Sequence[str]) -> str:
    """Parts with commas and one "and".

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def named(what: str, which: Collection[object], start: bool = False) -> str:
    """One thing or several of a kind, at the start of a sentence or inside it.

    Parameters
    ----------
    what: a noun that takes an s. which: names or numbers, at least one. start: with a capital.

    Examples
    --------
    >>> named("state", [0, 2], start=True)
    'States 0 and 2'
    """
    noun = what if len(which) == 1 else f"{what}s"
    return f"{noun.capitalize() if start else noun} {listed([str(one) for one in which])}"


def number(value: float, form: str = ".4g") -> str:
    """A number with the minus of mathematics.

    Parameters
    ----------
    value: the number. form: of Python's format language.

    Examples
    --------
    >>> number(-0.5)
    '−0.5'
    """
    return f"{value:{form}}".replace("-", "−")


def where(true: NDArray[np.bool_]) -> list[int]:
    """The states that something holds for.

    Examples
    --------
    >>> where(np.array([True, False, True]))
    [0, 2]
    """
    return [int(state) for state in np.flatnonzero(true)]


def times_of(factors: Array, form: str = ".2f") -> str:
    """1.20 times, or 1.20 and 1.35 times.

    Parameters
    ----------
    factors: at least one. form: of Python's format language.

    Examples
    --------
    >>> times_of(np.array([1.2, 1.35]))
    '1.20 and 1.35 times'
    """
    return f"{listed([f'{factor:{form}}' for factor in factors])} times"
