"""Whether to believe the kinetics of a fit: do independent routes agree, and if not, which to trust and why.

A verdict never repairs a number. It says yes only where the fitted prior's dwell times were checked against counts that
are sampled finely enough, steady in time, and so many that their own error leaves no more than TOLERANCE open;
everything else is a no, with the reason and what to do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from .._typing import Array

TOLERANCE = 0.15  # of a dwell time of the fitted prior, the error of the counts included
SURE = 1.645  # standard errors of a count that are added: 95 %, one-sided
FEW = 30  # exits of a state below which its dwell time is known worse than about 30 %
MISSED = 1.10  # growth of a dwell time without every second observation; what the others miss is then 10 to 20 %
STEEP = 3.0  # kT: barriers below it have no Eyring–Kramers law
FACTOR = 1.5  # within which Eyring–Kramers should be at barriers above that
LOOSE = 1.25  # factor between a chain and its own landscape
SIGMAS = 3.3  # of a comparison of two counts: about one false alarm in a thousand
UNEVEN = 1.5  # factor between exit rates of young and old visits that is more than statistics


class Verdict(NamedTuple):
    """`agree`: the dwell times of the fitted prior can be believed. `messages`: why, or why not and what to do."""

    agree: bool
    messages: list[str]


def kinetics(story: xr.Dataset, counts: xr.Dataset, routes: xr.Dataset) -> Verdict:
    """Judge the kinetics of a fit.

    Parameters
    ----------
    story: states and saddles: `barrier (state, to)` in kT, attrs `ok`, `max_curvature_step`, `substeps_needed`.
    counts: from `kinetics.count` of posterior paths of the data.
    routes: from `kinetics.joined`: `counted` and `simulated`, perhaps `eyring_kramers` and `exact`.
    """
    if story.sizes["state"] < 2:
        return Verdict(False, ["There is one well, so there are no transitions to time."])
    against = [
        *_data(counts),
        *_step(story),
        *_prior(routes),
        *_landscape(story, routes),
    ]
    if against:
        return Verdict(False, against)
    seen, most = (100 * np.expm1(part.max()) for part in _off(routes))
    agreement = (
        f"The fitted prior holds its states as long as the data do, within {seen:.0f} %; at most {most:.0f} % if the "
        "error of the counts is added."
    )
    return Verdict(True, [agreement, *_notes(story, counts)])


def _data(counts: xr.Dataset) -> list[str]:
    """What the data themselves cannot tell."""
    said = []
    exits = counts["exits"].sum("to").values
    for state in np.flatnonzero(exits < FEW):
        said.append(
            f"State {state} was left {exits[state]:.0f} times: too few for a dwell time (at least {FEW} are needed). "
            "Record longer, or read its interval."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        dwell = counts["time"].values / exits
        growth = counts["sparse_time"].values / counts["sparse_exits"].values / dwell
    for state in np.flatnonzero((growth > MISSED) & (exits >= FEW)):
        said.append(
            f"State {state} seems to last {growth[state]:.2f} times longer without every second observation: visits "
            "between observations are missed, and counted dwell times are too long. Sample more finely."
        )
    first, second = counts["half_exits"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log((second + 0.5) / (first + 0.5) * counts["half_time"][0].values / counts["half_time"][1].values)
    error = np.sqrt(1 / (first + 0.5) + 1 / (second + 0.5))
    for state in np.flatnonzero(np.abs(change) > SIGMAS * error):
        said.append(
            f"State {state} is left {np.exp(change[state]):.1f} times as often in the second half as in the first: the "
            "data are not stationary, and one landscape cannot describe both halves. Fit them apart."
        )
    return said


def _step(story: xr.Dataset) -> list[str]:
    if story.attrs["ok"]:
        return []
    return [
        f"Curvature × step is {story.attrs['max_curvature_step']:.2f}: chain and landscape disagree. Believe counts; "
        f"fit with substeps={story.attrs['substeps_needed']}."
    ]


def _prior(routes: xr.Dataset) -> list[str]:
    """The fitted chain against the data."""
    off, most = _off(routes)
    way = np.where(_log_ratio(routes, "simulated", "counted") > 0, "longer", "shorter")
    exits = routes["exits"].sel(route="counted").values
    said = []
    for state in np.flatnonzero(~(most <= np.log1p(TOLERANCE))):
        if not np.isfinite(off[state]):
            said.append(f"The fitted prior never left state {state} in simulation: trust the counted dwell time.")
        elif off[state] > np.log1p(TOLERANCE):
            said.append(
                f"The fitted prior holds state {state} {np.exp(off[state]):.2f} times {way[state]} than the data do: "
                "trust the counted dwell time. States that switch at once are not Langevin; otherwise use more "
                "substeps, a two-sided guide, or a longer fit."
            )
        elif exits[state] >= FEW:  # fewer were spoken of
            said.append(
                f"The fitted prior holds state {state} {np.exp(off[state]):.2f} times {way[state]} than the data do, "
                f"and after {exits[state]:.0f} exits it may as well be {np.exp(most[state]):.2f} times: trust the "
                "counted dwell time and its interval, or record longer."
            )
    return said


def _landscape(story: xr.Dataset, routes: xr.Dataset) -> list[str]:
    """The landscape against its own chain."""
    said = []
    if "exact" in routes["route"]:
        off = np.abs(_log_ratio(routes, "simulated", "exact"))
        for state in np.flatnonzero(off > np.log(LOOSE)):
            said.append(
                f"The chain leaves state {state} at a rate {np.exp(off[state]):.2f} times off what its landscape "
                "implies: the step or the observation interval is too long. Use more substeps, or sample more finely."
            )
    elif "eyring_kramers" in routes["route"] and _lowest(story) >= STEEP:
        off = np.abs(_log_ratio(routes, "simulated", "eyring_kramers"))
        for state in np.flatnonzero(off > np.log(2 * FACTOR)):
            said.append(
                f"Eyring–Kramers and the simulated prior differ by {np.exp(off[state]):.1f} in state {state} although "
                "barriers are high: the wells are not harmonic, or a saddle was missed. Trust the simulation."
            )
    return said


def _notes(story: xr.Dataset, counts: xr.Dataset) -> list[str]:
    """What to know beside a yes."""
    said = []
    lowest = _lowest(story)
    if lowest < STEEP:
        said.append(f"The lowest barrier is {lowest:.1f} kT: Eyring–Kramers rates are an order of magnitude there.")
    young, old = counts["age_exits"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log((old + 0.5) / (young + 0.5) * counts["age_time"][0].values / counts["age_time"][1].values)
    error = np.sqrt(1 / (young + 0.5) + 1 / (old + 0.5))
    for state in np.flatnonzero((np.abs(change) > SIGMAS * error) & (np.abs(change) > np.log(UNEVEN))):
        way = "less" if change[state] < 0 else "more"
        said.append(
            f"Old visits to state {state} end {way} often than young ones: dwell times are not exponential, and the "
            "state may hide others."
        )
    return said


def _lowest(story: xr.Dataset) -> float:
    heights = story["barrier"].values
    return float(np.nanmin(heights)) if np.isfinite(heights).any() else np.inf


def _off(routes: xr.Dataset) -> tuple[Array, Array]:
    """|log| of simulated over counted dwell times `(state,)`: as it is, and with the error of both counts added."""
    off = np.abs(_log_ratio(routes, "simulated", "counted"))
    with np.errstate(divide="ignore"):
        error = np.sqrt((1 / routes["exits"].sel(route=["simulated", "counted"]).values).sum(0))
    return off, off + SURE * error


def _log_ratio(routes: xr.Dataset, one: str, other: str) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        dwell = routes["dwell"]
        return np.asarray(np.log(dwell.sel(route=one).values / dwell.sel(route=other).values))
