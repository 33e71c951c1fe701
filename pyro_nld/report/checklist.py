"""Checks of a run in words, each with a light: good, look closer, or do not rely on this.

For the page of a run (`report`). Each says what was looked at, what was found, and where that is not good, what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from ..checks import diagnostics
from .tables import LARGEST_RHAT, OCCUPANCIES

Level = Literal["good", "look", "bad"]

OCCUPANCY_GAP = (0.05, 0.10)  # share of time by which two routes to an occupancy may differ
UNDECIDED_SHARE = (0.05, 0.20)  # share of observations that may stay undecided
STATUS_OF: dict[str, Level] = {"good": "good", "doubtful": "look", "bad": "bad"}  # any other word: look
ALWAYS_SHOWN = ("optimisation", "step")  # checks of inference/check.py that every page has


class Light(NamedTuple):
    """One check: how it came out, what was checked, and what was found in words."""

    level: Level
    title: str
    words: str


def of_run(story: xr.Dataset, segments: xr.Dataset, history: xr.Dataset, summary: dict) -> list[Light]:
    """Every check that a fit and its landscape allow.

    Parameters
    ----------
    story: `Fit.landscape()`. segments: from `segment`. history: `Fit.history`.
    summary: the content of `summary.json`: its temperature, checks and warnings.
    """
    return [
        _found("Has the fit settled?", diagnostics.optimisation(history).attrs),
        _found("Are the steps fine enough?", diagnostics.discretisation(story).attrs),
        _occupancies(story),
        *_sampling(story),
        _decided(segments),
        _temperature(summary["temperature"]),
        _kinetics(story),
        *_checked(summary["checks"]),
        *(Light("look", "Warning while computing", line) for line in summary["warnings"]),
    ]


def _occupancies(story: xr.Dataset) -> Light:
    """The landscape's word against the data's; `energy` leaves the width of a well out and is no check."""
    title = "Does the landscape hold its states as often as the data do?"
    routes = {route: abs(story[f"occupancy_{route}"] - story["occupancy_data"]) for route in ("sampled", "harmonic")}
    route = max(routes, key=lambda name: float(routes[name].max()))
    state, apart = int(routes[route].values.argmax()), float(routes[route].max())
    words = f"Shares of time agree within {100 * apart:.1f} points (state {state}, {OCCUPANCIES[route]} against data)."
    level = _graded(apart, OCCUPANCY_GAP)
    return Light(level, title, words if level == "good" else f"{words} Read the shares counted in the data.")


def _sampling(story: xr.Dataset) -> list[Light]:
    rhat = float(story["occupancy_rhat"].max())
    if np.isnan(rhat):  # one well: every draw is in it
        return []
    title, found = "Have the samples of the landscape mixed?", f"r̂ is {rhat:.3f}"
    if rhat <= LARGEST_RHAT:
        return [Light("good", title, f"{found}: independent chains agree.")]
    return [Light("look", title, f"{found}, above {LARGEST_RHAT}: read the sampled shares as approximate.")]


def _decided(segments: xr.Dataset) -> Light:
    there = segments["times"].notnull()
    share = float(((segments["label"] < 0) & there).sum() / there.sum())
    words = f"{100 * share:.1f} % of the observations stay undecided between states."
    level = _graded(share, UNDECIDED_SHARE)
    cure = " Use the probabilities instead of the labels there."
    return Light(level, "Can the states be told apart?", words if level == "good" else words + cure)


def _temperature(found: dict) -> Light:
    title = "Is the temperature known?"
    if found["q05"] is None:
        words = f"It was not random: T = {found['mean']:.3g}. Depths and barriers are given in kT, which needs no unit."
        return Light("good", title, words)
    span = f"T = {found['mean']:.3g}, 90 % between {found['q05']:.3g} and {found['q95']:.3g}"
    if found["verdict"] is None:  # a run of the first schema
        return Light("look", title, f"{span}. Whether the data tell it was not recorded: run inference/check.py.")
    return _found(title, {"verdict": found["verdict"], "message": f"{span}: {found['message']}"})


def _kinetics(story: xr.Dataset) -> Light:
    messages = " ".join(story.attrs["messages"].splitlines())
    return Light("good" if story.attrs["kinetics_agree"] else "bad", "Can the kinetics be believed?", messages)


def _checked(checks: dict) -> list[Light]:
    """What inference/check.py found, where it has been run."""
    verdicts, messages = checks["verdicts"] or {}, checks["messages"] or {}
    return [
        _found(f"Check: {name.replace('_', ' ')}", {"verdict": verdict, "message": messages[name]})
        for name, verdict in verdicts.items()
        if name not in ALWAYS_SHOWN
    ]


def _found(title: str, said: Mapping[str, str]) -> Light:
    """The light of a finding's attrs."""
    return Light(STATUS_OF.get(said["verdict"], "look"), title, said["message"])


def _graded(value: float, limits: tuple[float, float]) -> Level:
    if value <= limits[0]:
        return "good"
    return "look" if value <= limits[1] else "bad"
