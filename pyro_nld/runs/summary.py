"""`summary.json`: the numbers of a run, each of them finite or null."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..checks import diagnostics
from ..errors import NO_LANDSCAPE, RunDirectoryError
from ..io.files import write_atomically
from ..io.inference_data import Results
from ..results.fit import Fit

SCHEMA = 5
FIELDS: dict[str, tuple[str, ...]] = {
    "elbo": ("total", "log_likelihood", "path_kl", "initial_kl", "per_observation"),
    "heldout_elbo_per_observation": (),
    "seconds": (),
    "steps": (),
    "temperature": ("mean", "q05", "q95", "contraction", "verdict", "message"),
    "states": (),
    "occupancy": ("sampled", "energy", "harmonic", "anharmonic", "data"),
    "minima": (),
    "decoded_minima": (),
    "levels": (),
    "barriers_kT": (),
    "intervals": ("occupancy", "barriers_kT", "dwell", "relaxation"),
    "rates": ("eyring_kramers", "simulated", "counted"),
    "dwell": ("simulated", "counted"),
    "visits": ("number", "mean", "median", "longest", "time_share"),
    "merged": (),
    "discretisation": ("max_curvature_step", "ok"),
    "verdict": ("kinetics_agree", "messages", "barriers_agree", "barrier_messages"),
    "checks": ("verdicts", "messages"),
}
"""Every field of the schema and its subfields; a field without subfields is a number, a list or null."""


def write_json(path: Path, content: dict) -> None:
    """Write JSON atomically. Numbers that are not finite become null."""
    text = json.dumps(finite(content), indent=1, allow_nan=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def read_json(path: Path) -> dict:
    """Read what `write_json` wrote.

    Raises
    ------
    RunDirectoryError: the file is not JSON.
    """
    try:
        content: dict = json.loads(path.read_text())
    except ValueError as error:
        raise RunDirectoryError(f"{path} is damaged: {error}. Delete its run directory and fit again.") from error
    return content


def update(path: Path, warned: Iterable[str] = (), **fields: object) -> dict:
    """Merge fields and new warnings into the summary in the run directory `path`, and return the summary."""
    file = path / "summary.json"
    summary = upgraded(read_json(file)) if file.is_file() else empty()
    warnings = [*summary["warnings"], *(line for line in warned if line not in summary["warnings"])]
    summary |= fields | {"warnings": warnings}
    write_json(file, summary)
    return read_json(file)


def upgraded(summary: dict) -> dict:
    """A summary of any schema in the present schema; fields that an older one lacks are null."""
    whole = empty()
    for name, below in FIELDS.items():
        kept = summary.get(name)
        whole[name] = (
            {**whole[name], **kept} if below and isinstance(kept, dict) else kept if not below else whole[name]
        )
    return whole | {"warnings": summary.get("warnings", [])}


def empty() -> dict:
    """The empty summary, in which every field of the schema is null."""
    fields = {name: dict.fromkeys(below) if below else None for name, below in FIELDS.items()}
    return {"schema": SCHEMA} | fields | {"warnings": []}


def of_fit(fit: Fit, posterior: Results) -> dict:
    """The fields that are known after a fit.

    Parameters
    ----------
    posterior: `fit.inference_data()`.
    """
    elbo, history = fit.elbo(), fit.history
    return {
        "elbo": {name: elbo[name] for name in FIELDS["elbo"]},
        "seconds": float(history["seconds"][-1]),
        "steps": history.sizes["step"],
        "temperature": _temperature(fit, posterior),
    }


def of_landscape(landscape: xr.Dataset) -> dict:
    """The fields that are known once the landscape is read.

    Parameters
    ----------
    landscape: `fit.landscape()`.
    """
    return {
        "states": landscape.sizes["state"],
        "occupancy": {route: landscape[f"occupancy_{route}"].values for route in FIELDS["occupancy"]},
        "minima": landscape["position"].values,
        "decoded_minima": landscape["decoded"].values,
        "levels": landscape["level"].values if "level" in landscape else None,
        "barriers_kT": landscape["barrier"].values,
        "intervals": _intervals(landscape),
        "rates": {route: landscape["rate"].sel(route=route).values for route in FIELDS["rates"]},
        "dwell": {route: landscape["dwell"].sel(route=route).values for route in FIELDS["dwell"]},
        "visits": {
            "number": landscape["visits"].values,
            **{name: landscape[f"visit_{name}"].values for name in ("mean", "median", "longest")},
            "time_share": landscape["time_share"].values,
        },
        "merged": _merged(landscape),
        "discretisation": _step(landscape),
        "verdict": {
            "kinetics_agree": bool(landscape.attrs["kinetics_agree"]),
            "messages": landscape.attrs["messages"].splitlines(),
            "barriers_agree": bool(landscape.attrs["barriers_agree"]),
            "barrier_messages": landscape.attrs["barrier_messages"].splitlines(),
        },
    }


def _intervals(landscape: xr.Dataset) -> dict[str, list | None]:
    """Lower and upper ends of 90 %: those of counted times, and of the landscape where rates were balanced."""
    counted = landscape.sel(route="counted")
    told = {"occupancy": (landscape, "occupancy"), "barriers_kT": (landscape, "barrier")}
    told |= {"dwell": (counted, "dwell"), "relaxation": (counted, "relaxation")}
    return {
        field: [where[f"{name}_{end}"].values for end in ("low", "high")] if f"{name}_low" in where else None
        for field, (where, name) in told.items()
    }


def _merged(landscape: xr.Dataset) -> list[dict]:
    """The minima that are no states of their own, as numbers; `kept_below` is the `min_persistence` that keeps it."""
    names = {"share": "share", "barrier_kT": "barrier", "dwell": "dwell", "persistence": "persistence"}
    names |= {"persistence_low": "persistence_low", "into": "state", "reason": "reason", "kept_below": "kept"}
    return [
        {"level": landscape["minimum_decoded"].values[place]}
        | {field: landscape[f"minimum_{name}"].values[place] for field, name in names.items()}
        for place in np.flatnonzero(landscape["minimum_into"].values >= 0)
    ]


def of_attractors(attractors: xr.Dataset) -> dict:
    """The fields that are known without a landscape. Those that need one are null, and a message says so.

    Parameters
    ----------
    attractors: `fit.attractors()`.
    """
    return {
        "states": attractors.sizes["state"],
        "occupancy": dict.fromkeys(FIELDS["occupancy"]) | {"data": attractors["occupancy_data"].values},
        "minima": attractors["position"].values,
        "decoded_minima": attractors["decoded"].values,
        "discretisation": _step(attractors),
        "verdict": dict.fromkeys(FIELDS["verdict"]) | {"messages": [NO_LANDSCAPE]},
    }


def _step(states: xr.Dataset) -> dict:
    return {"max_curvature_step": states.attrs["max_curvature_step"], "ok": bool(states.attrs["ok"])}


def of_checks(findings: Mapping[str, xr.Dataset]) -> dict:
    """The field that is known after the checks: the verdict and the message of each, by name.

    Parameters
    ----------
    findings: by name, from `diagnostics` and `predictive_checks`.
    """
    verdicts, messages = (
        {name: found.attrs[what] for name, found in findings.items()} for what in ("verdict", "message")
    )
    return {"checks": {"verdicts": verdicts, "messages": messages}}


def _temperature(fit: Fit, posterior: Results) -> dict:
    """T, with its grade by `diagnostics.identifiability`, so that all pages and tables say the same."""
    draws = posterior["posterior"].get("temperature")
    if draws is None:
        return dict.fromkeys(FIELDS["temperature"]) | {"mean": fit.temperature}
    low, high = np.quantile(draws, [0.05, 0.95])
    contraction, verdict, message = diagnostics.of_quantity(posterior, "temperature")
    interval = {"mean": float(draws.mean()), "q05": low, "q95": high}
    return interval | {"contraction": contraction, "verdict": verdict, "message": message}


def finite(value: object) -> Any:
    """The value as JSON keeps it: lists in place of arrays, None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return finite(value.tolist())
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
