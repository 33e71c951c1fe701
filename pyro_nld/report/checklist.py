"""The checklist of a report: one item per check, each with a status (good, look closer, do not rely on it).

Each item says what was checked and what was found. Where the status is not good, it also says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from ..checks import diagnostics
from .tables import LARGEST_RHAT, OCCUPANCIES

Status = Literal["good", "look", "bad"]

OCCUPANCY_GAP = (0.05, 0.10)  # between two routes to an occupancy, above which to look closer, and not to rely on it
UNDECIDED_SHARE = (0.05, 0.20)  # of the observations, above which to look closer, and not to rely on labels
STATUS_OF: dict[str, Status] = {"good": "good", "doubtful": "look", "bad": "bad"}  # any other verdict: look
ALWAYS_SHOWN = ("optimisation", "step")  # checks of the recipe `check` that are in every checklist


class Item(NamedTuple):
    """One item of the checklist: its status, what was checked, and what was found."""

    status: Status
    title: str
    words: str


def of_run(landscape: xr.Dataset, segments: xr.Dataset, history: xr.Dataset, summary: dict) -> list[Item]:
    """The items of all checks that a fit and its landscape allow.

    Parameters
    ----------
    landscape: `Fit.landscape()`. segments: from `segment`. history: `Fit.history`.
    summary: the content of `summary.json`: its temperature, checks and warnings.
    """
    return [
        _found("Has the fit settled?", diagnostics.optimisation(history).attrs),
        _found("Are the steps fine enough?", diagnostics.discretisation(landscape).attrs),
        _occupancies(landscape),
        *_sampling(landscape),
        _decided(segments),
        _temperature(summary["temperature"]),
        *_kinetics(landscape),
        *_checked(summary["checks"]),
        *(Item("look", "Warning while computing", line) for line in summary["warnings"]),
    ]


def _occupancies(landscape: xr.Dataset) -> Item:
    """Occupancies of the landscape against those of the data. `energy` ignores the widths of wells and is no check."""
    title = "Does the landscape hold its states as often as the data do?"
    data = landscape["occupancy_data"]
    routes = {route: abs(landscape[f"occupancy_{route}"] - data) for route in ("sampled", "harmonic")}
    route = max(routes, key=lambda name: float(routes[name].max()))
    state, apart = int(routes[route].values.argmax()), float(routes[route].max())
    words = f"Shares of time agree within {100 * apart:.1f} points (state {state}, {OCCUPANCIES[route]} against data)."
    status = _graded(apart, OCCUPANCY_GAP)
    return Item(status, title, words if status == "good" else f"{words} Read the shares counted in the data.")


def _sampling(landscape: xr.Dataset) -> list[Item]:
    rhat = float(landscape["occupancy_rhat"].max())
    if np.isnan(rhat):  # one well, which holds every draw
        return []
    title, found = "Have the samples of the landscape mixed?", f"r̂ is {rhat:.3f}"
    if rhat <= LARGEST_RHAT:
        return [Item("good", title, f"{found}: independent chains agree.")]
    return [Item("look", title, f"{found}, above {LARGEST_RHAT}: read the sampled shares as approximate.")]


def _decided(segments: xr.Dataset) -> Item:
    there = segments["times"].notnull()
    share = float(((segments["label"] < 0) & there).sum() / there.sum())
    words = f"{100 * share:.1f} % of the observations stay undecided between states."
    status = _graded(share, UNDECIDED_SHARE)
    cure = " Use the probabilities instead of the labels there."
    return Item(status, "Can the states be told apart?", words if status == "good" else words + cure)


def _temperature(found: dict) -> Item:
    title = "Is the temperature known?"
    if found["q05"] is None:
        words = f"It was not random: T = {found['mean']:.3g}. Depths and barriers are given in kT, which needs no unit."
        return Item("good", title, words)
    span = f"T = {found['mean']:.3g}, 90 % between {found['q05']:.3g} and {found['q95']:.3g}"
    if found["verdict"] is None:  # a run of the first schema
        return Item("look", title, f"{span}. Whether the data tell it was not recorded: run pyro-nld check.")
    return _found(title, {"verdict": found["verdict"], "message": f"{span}: {found['message']}"})


def _kinetics(landscape: xr.Dataset) -> list[Item]:
    """Of times and of barriers; those without a message, of one state or an older run, are left out."""
    said = landscape.attrs
    times = Item(
        "good" if said["kinetics_agree"] else "bad", "Can the prior's times be believed?", _told(said["messages"])
    )
    if not said.get("barrier_messages"):
        return [times]
    status: Status = "good" if said["barriers_agree"] else "look"
    return [times, Item(status, "Can the barriers be believed?", _told(said["barrier_messages"]))]


def _told(messages: str) -> str:
    return " ".join(messages.splitlines())


def _checked(checks: dict) -> list[Item]:
    """The items of what the recipe `check` found, where it was run."""
    verdicts, messages = checks["verdicts"] or {}, checks["messages"] or {}
    return [
        _found(f"Check: {name.replace('_', ' ')}", {"verdict": verdict, "message": messages[name]})
        for name, verdict in verdicts.items()
        if name not in ALWAYS_SHOWN
    ]


def _found(title: str, attrs: Mapping[str, str]) -> Item:
    """The item of a finding, from its attrs."""
    return Item(STATUS_OF.get(attrs["verdict"], "look"), title, attrs["message"])


def _graded(value: float, limits: tuple[float, float]) -> Status:
    if value <= limits[0]:
        return "good"
    return "look" if value <= limits[1] else "bad"
