"""The second verdict: do paths of the fitted prior go from state to state as those of the data do?

Barriers are read from the landscape, and mean something only if states are left by diffusion over them. Rates do not
tell: those of a balanced prior are the data's by construction.

Examples
--------
Two states whose transitions were cheap to make, behind a barrier of two kT:

>>> from pyro_nld.kinetics import crossings
>>> barrier = (("state", "to"), [[np.nan, 2.0], [2.0, np.nan]])
>>> story = xr.Dataset({"barrier": barrier}, attrs={"ok": 1, "balance_path_kl": 3.0, "balance_transitions": 100.0})
>>> routes = xr.Dataset(coords={"route": ["counted"]})
>>> crossings.price(story), crossings.doubts(story, routes)
(0.03, [])
>>> crossings.notes(story, routes)[1]
'The lowest barrier is 2.0 kT: rates by Eyring and Kramers are an order of magnitude there.'
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._typing import Array
from .routes import log_ratio
from .words import listed, named, times_of, where

STEEP = 3.0  # kT: barriers below it have no Eyring–Kramers law
FACTOR = 1.5  # within which Eyring–Kramers should be at barriers above that
LOOSE = 1.25  # factor between the dwell times of a chain and those of its own landscape, looked at as often
PRICE = 0.2  # nats per transition; finished fits of wells have .001 and .04, short ones up to .5, impostors .3 to .9
EXACT = 0.04  # the same after exact rounds: ten fits of wells have 6e-5 to .027, nine of ten impostors .044 to .97
TOLD = 0.4  # curvature × step up to which the dwell times of chain and landscape tell: a well's depth is off by .1 kT
ASIDE = 0.1  # committor at a saddle, or one less it, from which the saddle is no bottleneck


def doubts(story: xr.Dataset, routes: xr.Dataset) -> list[str]:
    """What speaks against the barriers, whatever the times are.

    Parameters
    ----------
    story, routes: as for `verdicts.kinetics`.
    """
    return [*_axes(story), *_step(story, routes), *_price(story), *_landscape(story, routes)]


def notes(story: xr.Dataset, routes: xr.Dataset) -> list[str]:
    """What speaks for the barriers, and what to know of them.

    Parameters
    ----------
    story, routes: as for `verdicts.kinetics`.
    """
    return [*_crossed(story), *_compared(story, routes), *_saddles(story)]


def price(story: xr.Dataset) -> float | None:
    """What balance cost, in nats per transition of the data; None where rates were not set.

    Parameters
    ----------
    story: as for `doubts`.
    """
    if "balance_path_kl" not in story.attrs:
        return None
    return float(story.attrs["balance_path_kl"]) / max(float(story.attrs["balance_transitions"]), 1.0)


def _limit(story: xr.Dataset) -> float:
    """The price that fits of Langevin data stay below."""
    return EXACT if story.attrs.get("balance_exact") else PRICE


def _axes(story: xr.Dataset) -> list[str]:
    """Several axes that a decoder was free to bend."""
    if not story.attrs.get("bent_axes"):
        return []
    return [
        "A decoder that bends several axes makes them uneven, by 20 to 45 % where wells are known, and barriers were "
        "off by up to half a kT, more than their intervals say. Read them so, or give a decoder that knows its axes."
    ]


def _step(story: xr.Dataset, routes: xr.Dataset) -> list[str]:
    """Steps that are too long, unless chain and landscape were compared; see `_landscape`."""
    if story.attrs["ok"] or _compared(story, routes):
        return []
    return [
        f"Curvature × step is {story.attrs['max_curvature_step']:.3f}: chain and landscape disagree, and barriers are "
        f"read from the landscape. Fit with substeps={story.attrs['substeps_needed']}."
    ]


def _compared(story: xr.Dataset, routes: xr.Dataset) -> list[str]:
    """That long steps were looked into."""
    if story.attrs["ok"] or story.attrs["max_curvature_step"] > TOLD or "dwell_seen" not in routes:
        return []
    if not np.isfinite(routes["dwell_seen"].sel(route="exact").values).all():
        return []
    return [
        f"Curvature × step is {story.attrs['max_curvature_step']:.3f}, which is long, but the chain leaves all states "
        f"as its landscape implies, within {100 * (LOOSE - 1):.0f} %: barriers may be a tenth or two of a kT off."
    ]


def _price(story: xr.Dataset) -> list[str]:
    """What it took to make the data's transitions."""
    paid = price(story)
    if paid is None or paid < _limit(story):
        return []
    return [
        f"To make the transitions of the data, the landscape was bent against what the paths say of it, for "
        f"{paid:.2g} nats per transition (below {_limit(story):g} in finished fits of Langevin data): either the paths "
        "have not yet told all that they know of the barriers, and a longer fit takes less, or states are left in "
        "another way than by diffusion in these axes. Barriers are effective ones: they make these times, and no more."
    ]


def _crossed(story: xr.Dataset) -> list[str]:
    """What speaks for the barriers."""
    paid = price(story)
    if paid is None:
        return ["The rates of the data came out of the landscape by themselves: nothing was set by counts."]
    return [
        f"To make the transitions of the data took {paid:.2g} nats per transition (below {_limit(story):g} in finished "
        "fits of Langevin data): the paths say the same of the barriers as the counts do."
    ]


def _landscape(story: xr.Dataset, routes: xr.Dataset) -> list[str]:
    """The landscape against its own chain."""
    if "dwell_seen" in routes:
        exact = routes.sel(route="exact")
        with np.errstate(divide="ignore", invalid="ignore"):
            missed = np.log(exact["dwell_seen"].values / exact["dwell"].values)  # by looking once an interval
            states, factors = _apart(log_ratio(routes, "simulated", "exact") - missed, LOOSE)
        if states:
            return [
                f"The chain leaves {named('state', states)} at a rate {factors} off what its landscape implies for one "
                "who looks as often: the steps are too long. Use more substeps."
            ]
        states, factors = _apart(missed, LOOSE)
        if states and not story.attrs.get("balance_exact"):
            return [
                f"Visits to {named('state', states)} would be {factors} shorter for one who never looks away: paths "
                "cross between two observations, and nobody sees how. Sample more finely."
            ]
    elif "eyring_kramers" in routes["route"] and _lowest(story) >= STEEP:
        states, factors = _apart(log_ratio(routes, "simulated", "eyring_kramers"), 2 * FACTOR, ".2g")
        if states:
            return [
                f"The law of Eyring and Kramers is {factors} off the simulated prior in {named('state', states)} "
                "although barriers are high: the wells are not harmonic, or a saddle was missed. Trust the simulation."
            ]
    return []


def _apart(ratio: Array, factor: float, form: str = ".2f") -> tuple[list[int], str]:
    """States whose dwell times are more than a factor apart, by the logarithm of their ratio; and which, in words."""
    off = np.abs(ratio)
    states = where((off > np.log(factor)) & np.isfinite(off))
    return states, times_of(np.exp(off[states]), form) if states else ""


def _saddles(story: xr.Dataset) -> list[str]:
    """What to know beside a yes for barriers."""
    said = []
    lowest = _lowest(story)
    if lowest < STEEP:
        said.append(
            f"The lowest barrier is {lowest:.1f} kT: rates by Eyring and Kramers are an order of magnitude there."
        )
    if "saddle_committor" in story:
        aside = np.flatnonzero(np.abs(story["saddle_committor"].values - 0.5) > 0.5 - ASIDE)
        ends = [f"{first} and {second}" for first, second in story["saddle_states"].values[aside]]
        if ends:
            said.append(
                f"The saddle between states {listed(ends)} is not where paths decide (committor near 0 or 1): read the "
                "barrier as a height, not as a rate."
            )
    return said


def _lowest(story: xr.Dataset) -> float:
    heights = story["barrier"].values
    return float(np.nanmin(heights)) if np.isfinite(heights).any() else np.inf
