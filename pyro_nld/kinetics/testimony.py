"""What the witness says: a verdict on slow processes inside states, with their times and levels, in sentences."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._typing import Array
from .words import number

ALIKE = 0.1  # standard deviations of a channel, within which two levels are the same
HARMONIC = 0.55  # of the slowest time, from which on a process is its own; a Gaussian one brings half and less


def said(found: xr.Dataset, states: int, spread: Array) -> tuple[str, str]:
    """A verdict on slow processes inside states, "good", "doubtful" or "bad", and its sentences.

    Parameters
    ----------
    found: from `witness.processes`. states: how many there are. spread: standard deviation of each channel.

    Examples
    --------
    >>> from pyro_nld.kinetics.testimony import said
    >>> said(xr.Dataset({"kind": ("process", []), "time": ("process", [])}), 2, np.ones(1))
    ('good', 'No process that hops is left inside a state.')
    """
    kinds = found["kind"].values
    if (kinds == "hopping").any():
        hopping = [found.isel(process=i) for i in np.flatnonzero(kinds == "hopping")]
        remedy = "Keep minima that were merged (a lower min_persistence), use more latent axes, or fit longer."
        if all(_contrast(one, spread).max() < ALIKE for one in hopping):
            remedy = (
                "What differs between its ends is no level, and makes no states: give it as a channel of its own, such "
                "as the size of the fluctuations in short windows."
            )
        return "bad", " ".join([*(_sentence(one, spread) for one in hopping), remedy])
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
    """The channel that differs most, in its own standard deviations, if one does."""
    contrast = _contrast(one, spread)
    most = int(contrast.argmax())
    if contrast[most] < ALIKE:
        return " between two ends with the same level in every channel"
    low, high = (number(level) for level in sorted(float(one[f"{end}_level"][most]) for end in ("from", "to")))
    return f" between {low} and {high} in channel {one['channel'].values[most]}"


def _contrast(one: xr.Dataset, spread: Array) -> Array:
    """How far the levels of its ends are apart in each channel, in standard deviations."""
    apart = np.abs(one["to_level"].values - one["from_level"].values)
    return np.nan_to_num(apart / np.where(spread > 0, spread, np.inf))
