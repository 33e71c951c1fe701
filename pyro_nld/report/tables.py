"""Tables for the terminal: states, transitions, checks, and their agreement with a known truth.

Examples
--------
What two channels show in each of two states:

>>> import xarray as xr
>>> means = xr.DataArray([[0.2, 51.0], [0.8, 48.0]], dims=("state", "channel"), coords={"channel": ["FRET", "sum"]})
>>> print(nld.tables.levels(xr.Dataset({"decoded": means})))
state  level of FRET  level of sum
    0          0.200          51.0
    1          0.800          48.0
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from ..checks.accuracy import match, score  # noqa: F401 – `nld.tables.match` and `nld.tables.score`, as ever
from ..errors import NO_LANDSCAPE
from .columns import aligned, apart, digits, interval, listed, numbers, percent, titled, unit

LEVEL_CHANNELS = 6  # in a table of levels
LARGEST_RHAT = 1.01  # of chains that have mixed (Vehtari et al., Bayesian Analysis 16:667–718, 2021)
OCCUPANCIES = {
    "data": "in the data", "sampled": "sampled", "energy": "by energy", "harmonic": "harmonic",
    "anharmonic": "anharmonic",
}  # fmt: skip
"""The routes to an occupancy, and their names in a table."""

ROUTES = {"counted": "counted", "simulated": "simulated", "exact": "exact", "eyring_kramers": "Eyring–Kramers"}
"""The routes to a dwell time, and their names in a table."""

WHY = {
    "persistence": "forgotten as fast as the place in it",
    "visits": "not come back to",
    "sampling": "shorter than two observations",
    "barrier": "shallower than asked for",
}
"""Why a minimum is no state of its own, by `minimum_reason`."""


def landscape(found: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """Everything there is to say of a landscape, table after table, and whether to believe its kinetics.

    Parameters
    ----------
    found: `Fit.landscape()`. truth: from `score`.
    """
    told = [f"{states(found, truth)}\n{findings(found, truth)}", levels(found), merged(found)]
    if found.sizes["state"] > 1:
        told += [visits(found), transitions(found), relaxations(found)]
    return "\n\n".join([table for table in told if table] + [verdict(found), *_data(found)])


def states(landscape: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """One row per state: depth, occupancy by every route (and the true one), the interval of the counts, curvatures.

    Parameters
    ----------
    landscape: `Fit.landscape()`.
    truth: from `score`.
    """
    temperature = landscape.attrs["temperature"]
    columns = {
        "state": [str(state) for state in range(landscape.sizes["state"])],
        "U/T": numbers((landscape["energy"] - landscape["energy"].min()) / temperature, 2),
    }
    columns |= {title: numbers(landscape[f"occupancy_{route}"], 3) for route, title in OCCUPANCIES.items()}
    if truth is not None:
        columns["truth"] = numbers(truth["occupancy"], 3)
    if landscape.sizes["state"] > 1:
        columns["90 % of counts"] = interval(landscape.sel(route="counted"), "stationary")
    if "occupancy_low" in landscape:
        columns["90 % of U"] = interval(landscape, "occupancy")
    curvature = landscape["curvature"].values[:, [0, -1]] / temperature
    columns["curvature/T"] = [f"{low:.1f} … {high:.1f}" for low, high in curvature]
    return aligned(columns)


def levels(states: xr.Dataset) -> str:
    """One row per state: the mean of its observations in each channel, and what the channel shows at its minimum.

    At most six channels, those that differ most; the minima where there are three or fewer. Where no observations were
    labelled, the level is that of the minimum.

    Parameters
    ----------
    states: `Fit.landscape()` or `Fit.attractors()`; its coordinate `channel` names the channels, where it exists.
    """
    means = states["level"] if "level" in states else states["decoded"]
    spread = np.nan_to_num(np.ptp(means.values, axis=0))
    shown = np.sort(np.argsort(-spread, kind="stable")[:LEVEL_CHANNELS])
    names = states["decoded"]["channel"].values
    columns = {"state": [str(state) for state in range(states.sizes["state"])]}
    for channel in shown:
        name = f"level of {names[channel]}"
        measured = str(states["unit"].values[channel]) if "unit" in states.coords else ""
        columns[titled(name, measured)] = apart(means.values[:, channel])
    if "level" in states and len(shown) <= LEVEL_CHANNELS // 2:
        for channel in shown:
            columns[f"{names[channel]} at its minimum"] = apart(states["decoded"].values[:, channel])
    return aligned(columns)


def merged(landscape: xr.Dataset) -> str:
    """One row per minimum that is no state of its own: what is there, why it joined, and which option keeps it.

    Parameters
    ----------
    landscape: `Fit.landscape()`.

    Returns
    -------
    Empty where every minimum is a state.
    """
    gone = np.flatnonzero(landscape["minimum_into"].values >= 0)
    if not len(gone):
        return ""
    some = landscape.isel(minimum=gone)
    channel = int(np.ptp(landscape["minimum_decoded"].values, axis=0).argmax())
    level, name = some["minimum_decoded"].values[:, channel], some["minimum_decoded"]["channel"].values[channel]
    columns = {
        "minimum": [str(minimum) for minimum in gone],
        f"level of {name}": [digits(value) for value in level],
        "share": numbers(some["minimum_share"], 3),
        "barrier kT": [digits(value) for value in some["minimum_barrier"].values],
        titled("dwell", unit(some, "minimum_dwell")): [digits(value) for value in some["minimum_dwell"].values],
        "persistence": [digits(value) for value in some["minimum_persistence"].values],
        "90 %": interval(some, "minimum_persistence"),
        "in state": [str(state) for state in some["minimum_state"].values],
        "why": [WHY[str(reason)] for reason in some["minimum_reason"].values],
        "to keep it": [keeping(some.isel(minimum=place)) for place in range(len(gone))],
    }
    return "Minima that are no states of their own:\n" + aligned(columns)


def keeping(minimum: xr.Dataset) -> str:
    """The option of the recipe `landscape` that makes a state of a minimum.

    Parameters
    ----------
    minimum: one of `Fit.landscape()`, selected along `minimum`.
    """
    if str(minimum["minimum_reason"].item()) == "barrier":
        return "--min-barrier 0"
    return f"--min-persistence {np.floor(100 * minimum['minimum_kept'].item()) / 100:g}"


def visits(landscape: xr.Dataset) -> str:
    """One row per state: how often it was visited according to the labels, for how long, and its share of the time.

    Parameters
    ----------
    landscape: `Fit.landscape()`, or from `kinetics.visits`.
    """
    columns = {
        "state": [str(state) for state in range(landscape.sizes["state"])],
        "visits": [f"{number:.0f}" for number in landscape["visits"].values],
        titled("mean", unit(landscape, "visit_mean")): [digits(time) for time in landscape["visit_mean"].values],
        "90 % of the mean": interval(landscape, "visit_mean"),
        "median": [digits(time) for time in landscape["visit_median"].values],
        "longest": [digits(time) for time in landscape["visit_longest"].values],
        "share of time": numbers(landscape["time_share"], 3),
    }
    return aligned(columns)


def attractors(states: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """One row per attractor: share of the data (and the true one), slowest decay rate, angular frequency.

    Parameters
    ----------
    states: `Fit.attractors()`.
    truth: from `score`.
    """
    columns = {
        "state": [str(state) for state in range(states.sizes["state"])],
        "in the data": numbers(states["occupancy_data"], 3),
    }
    if truth is not None:
        columns["truth"] = numbers(truth["occupancy"], 3)
    columns[titled("slowest decay", unit(states, "decay"))] = [digits(rate) for rate in states["decay"].values[:, 0]]
    columns["angular frequency"] = [digits(rate) for rate in states["angular_frequency"].values.max(-1)]
    lines = {} if truth is None else {"labels": agreement(truth)}
    lines["at rest nowhere"] = f"{100 * states.attrs['unconverged_starts']:.1f} % of the points"
    return "\n".join([NO_LANDSCAPE, aligned(columns), listed(lines | {"step": _step(states)}), levels(states)])


def transitions(landscape: xr.Dataset) -> str:
    """One row per state: its dwell time by every route (with the interval of the counts), and its barriers.

    Barriers have their 90 % intervals where rates were balanced.

    Parameters
    ----------
    landscape: `Fit.landscape()`.
    """
    columns = {"state": [str(state) for state in range(landscape.sizes["state"])]}
    for route, title in ROUTES.items():
        if route in landscape["route"]:
            named = titled(f"dwell {title}", unit(landscape, "dwell"))
            columns[named] = [digits(dwell) for dwell in landscape["dwell"].sel(route=route).values]
    columns["90 % of counts"] = interval(landscape.sel(route="counted"), "dwell")
    for to in range(landscape.sizes["state"]):
        columns[f"kT to {to}"] = [digits(height) for height in landscape["barrier"].values[:, to]]
        if "barrier_low" in landscape:
            columns[f"90 % of kT to {to}"] = interval(landscape.isel(to=to), "barrier")
    return aligned(columns)


def relaxations(landscape: xr.Dataset) -> str:
    """One row per relaxation process, slowest first: its relaxation time by every route.

    Parameters
    ----------
    landscape: `Fit.landscape()`.
    """
    columns = {"process": [str(mode + 1) for mode in range(landscape.sizes["mode"])]}
    for route, title in ROUTES.items():
        if route in landscape["route"]:
            named = titled(f"relaxation {title}", unit(landscape, "relaxation"))
            columns[named] = [digits(time) for time in landscape["relaxation"].sel(route=route).values]
    columns["90 % of counts"] = interval(landscape.sel(route="counted"), "relaxation")
    return aligned(columns)


def verdict(landscape: xr.Dataset) -> str:
    """The verdicts on times and on barriers, and their reasons.

    Parameters
    ----------
    landscape: `Fit.landscape()`.
    """
    said, lines = landscape.attrs, []
    for what, agree, reasons in (
        ("times: {} those of the fitted prior", "kinetics_agree", "messages"),
        ("barriers: {} them", "barriers_agree", "barrier_messages"),
    ):
        if said.get(reasons):  # one state has no barriers
            lines += [what.format("believe" if said[agree] else "do not believe")]
            lines += [f"  {line}" for line in said[reasons].splitlines()]
    return "\n".join(lines)


def _data(landscape: xr.Dataset) -> list[str]:
    """What the data say against states of a stationary system, where they were asked."""
    if landscape.attrs.get("data_verdict", "good") == "good":
        return []
    return [f"data: look at them first\n  {landscape.attrs['data_message']}"]


def findings(landscape: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """The lines below the table of states: agreement with the truth, mixing of the samples, and the time step."""
    lines = {}
    if truth is not None:
        lines["labels"] = agreement(truth)
        errors = {
            title: float(abs(landscape[f"occupancy_{route}"] - truth["occupancy"]).sum())
            for route, title in OCCUPANCIES.items()
        }
        lines["occupancies"] = "ℓ1 error " + ", ".join(f"{error:.3f} {title}" for title, error in errors.items())
    rhat, ess = float(landscape["occupancy_rhat"].max()), float(landscape["occupancy_ess"].min())
    if not np.isnan(rhat):
        mixed = "mixed" if rhat <= LARGEST_RHAT else "not mixed; read the sampled occupancies as approximate"
        lines["sampling"] = f"r̂ {rhat:.3f}, {ess:.0f} effective draws: {mixed}"
    return listed(lines | {"step": _step(landscape)})


def segments(segmented: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """The time in each state, the share of undecided observations, and the agreement with the truth.

    Parameters
    ----------
    segmented: from `segment`. truth: from `score`.
    """
    shares = segmented["probability"].mean(("sequence", "time")).values
    undecided = float(
        ((segmented["label"] < 0) & segmented["times"].notnull()).sum() / segmented["times"].notnull().sum()
    )
    lines = {
        "time in each state": ", ".join(f"{share:.3f}" for share in shares),
        "undecided": f"{100 * undecided:.2f} %",
    }
    return listed(lines if truth is None else lines | {"labels": agreement(truth)})


def futures(predicted: xr.Dataset) -> str:
    """Five rows from the present to the horizon, averaged over sequences: P(state), and the width of an observation.

    Parameters
    ----------
    predicted: from `forecast`.
    """
    rows = predicted.isel(lead=np.linspace(0, predicted.sizes["lead"] - 1, 5).round().astype(int))
    chance = rows["probability"].mean("sequence")
    ends = rows["quantiles"].sel(quantile=[0.05, 0.95]).mean(("sequence", "channel"))
    columns = {titled("time ahead", unit(rows, "times")): [digits(lead) for lead in rows["lead"].values]}
    columns |= {f"P(state {state})": numbers(chance.sel(state=state), 3) for state in range(chance.sizes["state"])}
    columns["90 % of an observation"] = [f"± {digits(half)}" for half in (ends.diff("quantile") / 2).values.ravel()]
    return aligned(columns)


def _step(states: xr.Dataset) -> str:
    check = "fine" if states.attrs["ok"] else f"too coarse; substeps={states.attrs['substeps_needed']} would do"
    return f"largest curvature × step {states.attrs['max_curvature_step']:.3f}: {check}"


def checks(findings: Mapping[str, xr.Dataset]) -> str:
    """One line per finding: its name, its verdict (good, doubtful or bad), and its message.

    Parameters
    ----------
    findings: by name, from `diagnostics`, `predictive_checks` or `calibration`.
    """
    names, attrs = max(map(len, findings)), [found.attrs for found in findings.values()]
    words = max(len(one["verdict"]) for one in attrs)
    rows = zip(findings, attrs, strict=True)
    return "\n".join(f"{name:<{names}}  {one['verdict']:<{words}}  {one['message']}" for name, one in rows)


def comparison(compared: xr.Dataset) -> str:
    """One row per hypothesis, best first, then the message.

    Parameters
    ----------
    compared: from `comparisons.comparison`.
    """
    columns = {
        "hypothesis": [str(name) for name in compared["model"].values],
        "log density": numbers(compared["total"], 1),
        "behind": numbers(0.0 - compared["difference"], 1),
        "±": numbers(compared["error"], 1),
    }
    return f"{aligned(columns)}\n{compared.attrs['message']}"


def calibration(judged: xr.Dataset) -> str:
    """One row per route and quantity: coverage of the 90 % intervals with its interval, p-value of uniform ranks.

    Parameters
    ----------
    judged: from `calibration.judge`.
    """
    rows = [
        judged.sel(route=route, quantity=quantity)
        for quantity in judged["quantity"].values
        for route in judged["route"].values
    ]
    columns = {
        "quantity": [str(row["quantity"].values) for row in rows],
        "interval": [str(row["route"].values) for row in rows],
        "90 % covers": [percent(row["coverage"]) for row in rows],
        "between": [percent(row["coverage_low"]) + " … " + percent(row["coverage_high"]) for row in rows],
        "p of ranks": [f"{float(row['p']):.2g}" for row in rows],
    }
    return f"{aligned(columns)}\n{judged.attrs['message']}"


def agreement(truth: xr.Dataset) -> str:
    """The share of correct labels, beside the largest share that any method could reach, where that is known.

    Parameters
    ----------
    truth: from `score`.
    """
    kind = "online" if truth.attrs["online"] else "offline"
    line = f"{100 * float(truth['accuracy']):.2f} % right ({kind})"
    if "best" in truth:
        line += f"; {100 * float(truth['best']):.2f} % is the best possible, with the true parameters known"
    return line
