"""How sentences name states and numbers: one sentence for a cause, with all states that it holds for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import xarray as xr

from .._typing import Array

HARMONIC = 0.55  # of the slowest time, from which on a process is its own; a Gaussian one brings half and less


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


def testimony(found: xr.Dataset, states: int, spread: Array) -> tuple[str, str]:
    """A verdict on slow processes inside states, "good", "doubtful" or "bad", and its sentences.

    Parameters
    ----------
    found: from `witness.processes`. states: how many there are. spread: standard deviation of each channel.

    Examples
    --------
    >>> from pyro_nld.kinetics.words import testimony
    >>> testimony(xr.Dataset({"kind": ("process", []), "time": ("process", [])}), 2, np.ones(1))
    ('good', 'No process that hops is left inside a state.')
    """
    kinds = found["kind"].values
    if (kinds == "hopping").any():
        words = [_sentence(found.isel(process=i), spread) for i in np.flatnonzero(kinds == "hopping")]
        remedy = "Keep minima that were merged (a lower min_persistence), use more latent axes, or fit longer."
        return "bad", " ".join([*words, remedy])
    if states > 1:
        return "good", "No process that hops is left inside a state."
    slow = found["time"].values >= HARMONIC * found["time"].values.max(initial=0.0)
    if (slow & (kinds == "open")).any():
        one = found.isel(process=int((slow & (kinds == "open")).argmax()))
        return "doubtful", (
            f"A process takes {_span(one)}{_between(one, spread)}, and the data do not tell whether it hops "
            "over a low barrier or diffuses in a flat well: that there is one state is not a finding."
        )
    if len(kinds):
        one = found.isel(process=0)
        return "good", f"The slowest process takes {_span(one)} and diffuses inside one well: nothing hops."
    return "good", "No process was found that lasts longer than two observations and comes and goes: nothing hops."


def _sentence(one: xr.Dataset, spread: Array) -> str:
    where = f"inside state {int(one['state'])}{_between(one, spread)}"
    return f"A process of {_span(one)} hops {where}, and no pair of states carries it."


def _span(one: xr.Dataset) -> str:
    low, time, high = (float(one[name]) for name in ("low", "time", "high"))
    upper = f"{high:.3g}" if high < 100 * time else "much more"
    return f"{time:.3g} ({low:.3g} to {upper})"


def _between(one: xr.Dataset, spread: Array) -> str:
    """The channel that differs most, in its own standard deviations."""
    levels = one["from_level"].values, one["to_level"].values
    contrast = np.abs(levels[1] - levels[0]) / np.where(spread > 0, spread, np.inf)
    most = int(np.nan_to_num(contrast).argmax())
    low, high = (number(level) for level in sorted(float(level[most]) for level in levels))
    return f" between {low} and {high} in channel {one['channel'].values[most]}"
