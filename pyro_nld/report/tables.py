"""What a person reads in a terminal: the states, and how they compare with a truth that is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from ..checks.accuracy import match, score  # noqa: F401 – `nld.tables.match` and `nld.tables.score`, as ever
from ..errors import NO_LANDSCAPE

LEVELS = 6  # channels in a table of levels
MIXED = 1.01  # largest r̂ of chains that have seen the same (Vehtari et al., Bayesian Analysis 16:667–718, 2021)
OCCUPANCIES = {"data": "in the data", "sampled": "sampled", "energy": "by energy", "harmonic": "harmonic"}
"""Routes to an occupancy, and what a table calls them."""

ROUTES = {"counted": "counted", "simulated": "simulated", "exact": "exact", "eyring_kramers": "Eyring–Kramers"}
"""Routes to a dwell time, and what a table calls them."""

WHY = {
    "persistence": "forgotten as fast as the place in it",
    "visits": "not come back to",
    "sampling": "shorter than two observations",
    "barrier": "shallower than asked for",
}
"""Why a minimum is no state of its own, by `minimum_reason`."""


def landscape(story: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """Everything there is to say of a landscape, table after table, and whether to believe its kinetics.

    Parameters
    ----------
    story: `Fit.landscape()`. truth: from `score`.
    """
    told = [f"{states(story, truth)}\n{findings(story, truth)}", levels(story), merged(story)]
    if story.sizes["state"] > 1:
        told += [visits(story), transitions(story), relaxations(story)]
    return "\n\n".join([table for table in told if table] + [verdict(story)])


def states(story: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """One row per state: depth, occupancies by every route (and the truth), the interval of the counts, curvatures.

    Parameters
    ----------
    story: `Fit.landscape()`.
    truth: from `score`.
    """
    temperature = story.attrs["temperature"]
    columns = {
        "state": [str(state) for state in range(story.sizes["state"])],
        "U/T": _numbers((story["energy"] - story["energy"].min()) / temperature, 2),
    }
    columns |= {title: _numbers(story[f"occupancy_{route}"], 3) for route, title in OCCUPANCIES.items()}
    if truth is not None:
        columns["truth"] = _numbers(truth["occupancy"], 3)
    if story.sizes["state"] > 1:
        columns["90 % of counts"] = _interval(story.sel(route="counted"), "stationary")
    curvature = story["curvature"].values[:, [0, -1]] / temperature
    columns["curvature/T"] = [f"{low:.1f} … {high:.1f}" for low, high in curvature]
    return _aligned(columns)


def levels(story: xr.Dataset) -> str:
    """One row per state: what the channels show there, by `decoded`; at most six, those that differ most.

    Parameters
    ----------
    story: `Fit.landscape()` or `Fit.attractors()`; channels are named by its coordinate, where it has one.
    """
    means = story["decoded"]
    apart = np.ptp(means.values, axis=0)
    shown = np.sort(np.argsort(-apart, kind="stable")[:LEVELS])
    columns = {"state": [str(state) for state in range(story.sizes["state"])]}
    for channel in shown:
        name = f"level of {means['channel'].values[channel]}"
        columns[name] = [_digits(level) for level in means.values[:, channel]]
    return _aligned(columns)


def merged(story: xr.Dataset) -> str:
    """One row per minimum that is no state of its own: what is there, why it joined, and which option keeps it.

    Parameters
    ----------
    story: `Fit.landscape()`.

    Returns
    -------
    Empty where every minimum is a state.
    """
    gone = np.flatnonzero(story["minimum_into"].values >= 0)
    if not len(gone):
        return ""
    some = story.isel(minimum=gone)
    level = some["minimum_decoded"].isel(channel=int(np.ptp(story["minimum_decoded"].values, axis=0).argmax()))
    columns = {
        "minimum": [str(minimum) for minimum in gone],
        f"level of {level['channel'].values}": [_digits(value) for value in level.values],
        "share": _numbers(some["minimum_share"], 3),
        "barrier kT": [_digits(value) for value in some["minimum_barrier"].values],
        "dwell": [_digits(value) for value in some["minimum_dwell"].values],
        "persistence": [_digits(value) for value in some["minimum_persistence"].values],
        "90 %": _interval(some, "minimum_persistence"),
        "in state": [str(state) for state in some["minimum_state"].values],
        "why": [WHY[str(reason)] for reason in some["minimum_reason"].values],
        "to keep it": [_keeping(some.isel(minimum=place)) for place in range(len(gone))],
    }
    return "Minima that are no states of their own:\n" + _aligned(columns)


def _keeping(minimum: xr.Dataset) -> str:
    """The option that makes a state of it."""
    if str(minimum["minimum_reason"].item()) == "barrier":
        return "--min-barrier 0"
    return f"--min-persistence {np.floor(100 * minimum['minimum_kept'].item()) / 100:g}"


def visits(story: xr.Dataset) -> str:
    """One row per state: how often it was visited according to the labels, for how long, and its share of the time.

    Parameters
    ----------
    story: `Fit.landscape()`, or from `kinetics.visits`.
    """
    columns = {
        "state": [str(state) for state in range(story.sizes["state"])],
        "visits": [f"{number:.0f}" for number in story["visits"].values],
        "mean": [_digits(time) for time in story["visit_mean"].values],
        "90 % of the mean": _interval(story, "visit_mean"),
        "median": [_digits(time) for time in story["visit_median"].values],
        "longest": [_digits(time) for time in story["visit_longest"].values],
        "share of time": _numbers(story["time_share"], 3),
    }
    return _aligned(columns)


def attractors(story: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """One row per attractor: share of the data (and the truth), how fast it draws in, how fast it turns.

    Parameters
    ----------
    story: `Fit.attractors()`.
    truth: from `score`.
    """
    columns = {
        "state": [str(state) for state in range(story.sizes["state"])],
        "in the data": _numbers(story["occupancy_data"], 3),
    }
    if truth is not None:
        columns["truth"] = _numbers(truth["occupancy"], 3)
    columns["slowest decay"] = [_digits(rate) for rate in story["decay"].values[:, 0]]
    columns["turning"] = [_digits(rate) for rate in story["turning"].values.max(-1)]
    lines = {} if truth is None else {"labels": agreement(truth)}
    lines["at rest nowhere"] = f"{100 * story.attrs['unsettled']:.1f} % of the points"
    return "\n".join([NO_LANDSCAPE, _aligned(columns), _listed(lines | {"step": _step(story)}), levels(story)])


def transitions(story: xr.Dataset) -> str:
    """One row per state: its dwell time by every route (with the interval of the counts), and barriers to the others.

    Parameters
    ----------
    story: `Fit.landscape()`.
    """
    columns = {"state": [str(state) for state in range(story.sizes["state"])]}
    for route, title in ROUTES.items():
        if route in story["route"]:
            columns[f"dwell {title}"] = [_digits(dwell) for dwell in story["dwell"].sel(route=route).values]
    columns["90 % of counts"] = _interval(story.sel(route="counted"), "dwell")
    for to in range(story.sizes["state"]):
        columns[f"kT to {to}"] = [_digits(height) for height in story["barrier"].values[:, to]]
    return _aligned(columns)


def relaxations(story: xr.Dataset) -> str:
    """One row per process by which what was known of the state is forgotten, slowest first: its time by every route.

    Parameters
    ----------
    story: `Fit.landscape()`.
    """
    columns = {"process": [str(mode + 1) for mode in range(story.sizes["mode"])]}
    for route, title in ROUTES.items():
        if route in story["route"]:
            columns[f"relaxation {title}"] = [_digits(time) for time in story["relaxation"].sel(route=route).values]
    columns["90 % of counts"] = _interval(story.sel(route="counted"), "relaxation")
    return _aligned(columns)


def verdict(story: xr.Dataset) -> str:
    """Whether to believe the kinetics, and why.

    Parameters
    ----------
    story: `Fit.landscape()`.
    """
    head = "believe them" if story.attrs["kinetics_agree"] else "do not believe the fitted prior"
    return "\n".join([f"kinetics: {head}", *(f"  {line}" for line in story.attrs["messages"].splitlines())])


def findings(story: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """What to say under the table of states: agreement with the truth, and whether the step was fine enough."""
    lines = {}
    if truth is not None:
        lines["labels"] = agreement(truth)
        errors = {
            title: float(abs(story[f"occupancy_{route}"] - truth["occupancy"]).sum())
            for route, title in OCCUPANCIES.items()
        }
        lines["occupancies"] = "ℓ1 error " + ", ".join(f"{error:.3f} {title}" for title, error in errors.items())
    rhat, ess = float(story["occupancy_rhat"].max()), float(story["occupancy_ess"].min())
    if not np.isnan(rhat):
        mixed = "mixed" if rhat <= MIXED else "not mixed; read the sampled occupancies as approximate"
        lines["sampling"] = f"r̂ {rhat:.3f}, {ess:.0f} effective draws: {mixed}"
    return _listed(lines | {"step": _step(story)})


def segments(segmented: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """Time spent in each state, what stayed undecided, and agreement with the truth.

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
    return _listed(lines if truth is None else lines | {"labels": agreement(truth)})


def futures(predicted: xr.Dataset) -> str:
    """Five rows from now to the horizon, averaged over sequences: P(state), and how uncertain an observation is.

    Parameters
    ----------
    predicted: from `forecast`.
    """
    rows = predicted.isel(lead=np.linspace(0, predicted.sizes["lead"] - 1, 5).round().astype(int))
    chance = rows["probability"].mean("sequence")
    ends = rows["quantiles"].sel(quantile=[0.05, 0.95]).mean(("sequence", "channel"))
    columns = {"time ahead": [_digits(lead) for lead in rows["lead"].values]}
    columns |= {f"P(state {state})": _numbers(chance.sel(state=state), 3) for state in range(chance.sizes["state"])}
    columns["90 % of an observation"] = [f"± {_digits(half)}" for half in (ends.diff("quantile") / 2).values.ravel()]
    return _aligned(columns)


def _step(story: xr.Dataset) -> str:
    check = "fine" if story.attrs["ok"] else f"too coarse; substeps={story.attrs['substeps_needed']} would do"
    return f"largest curvature × step {story.attrs['max_curvature_step']:.2f}: {check}"


def checks(findings: Mapping[str, xr.Dataset]) -> str:
    """One line per finding: its name, good, doubtful or bad, and its sentence.

    Parameters
    ----------
    findings: by name, from `diagnostics`, `predictive_checks` or `calibration`.
    """
    names, said = max(map(len, findings)), [found.attrs for found in findings.values()]
    words = max(len(one["verdict"]) for one in said)
    rows = zip(findings, said, strict=True)
    return "\n".join(f"{name:<{names}}  {one['verdict']:<{words}}  {one['message']}" for name, one in rows)


def comparison(compared: xr.Dataset) -> str:
    """One row per hypothesis, best first, then the sentence.

    Parameters
    ----------
    compared: from `comparisons.comparison`.
    """
    columns = {
        "hypothesis": [str(name) for name in compared["model"].values],
        "log density": _numbers(compared["total"], 1),
        "behind": _numbers(0.0 - compared["difference"], 1),
        "±": _numbers(compared["error"], 1),
    }
    return f"{_aligned(columns)}\n{compared.attrs['message']}"


def calibration(judged: xr.Dataset) -> str:
    """One row per route and quantity: coverage of the 90 % intervals, its own interval, p of uniform ranks.

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
        "90 % covers": [_percent(row["coverage"]) for row in rows],
        "between": [_percent(row["coverage_low"]) + " … " + _percent(row["coverage_high"]) for row in rows],
        "p of ranks": [f"{float(row['p']):.2g}" for row in rows],
    }
    return f"{_aligned(columns)}\n{judged.attrs['message']}"


def agreement(truth: xr.Dataset) -> str:
    """How often labels are right, beside the best that any method could do where that is known.

    Parameters
    ----------
    truth: from `score`.
    """
    kind = "online" if truth.attrs["online"] else "offline"
    line = f"{100 * float(truth['accuracy']):.2f} % right ({kind})"
    if "best" in truth:
        line += f"; {100 * float(truth['best']):.2f} % is the best possible, with the true parameters known"
    return line


def _digits(value: float) -> str:
    """Three significant digits; a dash where there is no number."""
    return f"{value:#.3g}".rstrip(".") if np.isfinite(value) else "–"


def _interval(route: xr.Dataset, name: str) -> list[str]:
    ends = zip(route[f"{name}_low"].values, route[f"{name}_high"].values, strict=True)
    return [f"{_digits(low)} … {_digits(high)}" for low, high in ends]


def _percent(share: xr.DataArray) -> str:
    return f"{100 * float(share):.0f} %"


def _numbers(values: xr.DataArray, digits: int) -> list[str]:
    return [f"{value:.{digits}f}" for value in values.values]


def _listed(lines: dict[str, str]) -> str:
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {line}" for name, line in lines.items())


def _aligned(columns: dict[str, list[str]]) -> str:
    widths = [max(map(len, (name, *cells))) for name, cells in columns.items()]
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
