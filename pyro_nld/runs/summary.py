"""`summary.json`: what a run says of itself in numbers, every one of them finite or null."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from torch.distributions import Distribution

from ..dynamics.equations import Dynamics
from ..errors import NO_LANDSCAPE, RunDirectoryError
from ..io.files import write_atomically
from ..io.inference_data import Results
from ..results.fit import Fit

SCHEMA = 1
FIELDS: dict[str, tuple[str, ...]] = {
    "elbo": ("total", "log_likelihood", "path_kl", "initial_kl", "per_observation"),
    "heldout_elbo_per_observation": (),
    "seconds": (),
    "steps": (),
    "temperature": ("mean", "q05", "q95", "contraction"),
    "states": (),
    "occupancy": ("sampled", "energy", "harmonic", "data"),
    "minima": (),
    "decoded_minima": (),
    "barriers_kT": (),
    "rates": ("eyring_kramers", "simulated", "counted"),
    "dwell": ("simulated", "counted"),
    "merged": (),
    "discretisation": ("max_curvature_step", "ok"),
    "verdict": ("kinetics_agree", "messages"),
    "checks": ("verdicts", "messages"),
}
"""Every field of the schema and the fields below it; a field without any is a number, a list or null."""


def write_json(path: Path, content: dict) -> None:
    """Write JSON atomically; numbers that are not finite become null."""
    text = json.dumps(_finite(content), indent=1, allow_nan=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def read_json(path: Path) -> dict:
    """Read what `write_json` wrote.

    Raises
    ------
    RunDirectoryError: it is not JSON.
    """
    try:
        content: dict = json.loads(path.read_text())
    except ValueError as error:
        raise RunDirectoryError(f"{path} is damaged: {error}. Delete its run directory and fit again.") from error
    return content


def update(path: Path, warned: Iterable[str] = (), **fields: object) -> dict:
    """Merge fields and new warnings into the summary in the run directory `path`, and return it whole."""
    file = path / "summary.json"
    summary = read_json(file) if file.is_file() else empty()
    warnings = [*summary["warnings"], *(line for line in warned if line not in summary["warnings"])]
    summary |= fields | {"warnings": warnings}
    write_json(file, summary)
    return read_json(file)


def empty() -> dict:
    """The summary before anything is known: every field of the schema, null."""
    fields = {name: dict.fromkeys(below) if below else None for name, below in FIELDS.items()}
    return {"schema": SCHEMA} | fields | {"warnings": []}


def of_fit(fit: Fit, posterior: Results) -> dict:
    """The fields known after a fit.

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


def of_landscape(story: xr.Dataset) -> dict:
    """The fields known after reading the landscape.

    Parameters
    ----------
    story: `fit.landscape()`.
    """
    return {
        "states": story.sizes["state"],
        "occupancy": {route: story[f"occupancy_{route}"].values for route in FIELDS["occupancy"]},
        "minima": story["position"].values,
        "decoded_minima": story["decoded"].values,
        "barriers_kT": story["barrier"].values,
        "rates": {route: story["rate"].sel(route=route).values for route in FIELDS["rates"]},
        "dwell": {route: story["dwell"].sel(route=route).values for route in FIELDS["dwell"]},
        "merged": _merged(story),
        "discretisation": {"max_curvature_step": story.attrs["max_curvature_step"], "ok": bool(story.attrs["ok"])},
        "verdict": {
            "kinetics_agree": bool(story.attrs["kinetics_agree"]),
            "messages": story.attrs["messages"].splitlines(),
        },
    }


def _merged(story: xr.Dataset) -> list[dict]:
    """The minima that are no states of their own, as numbers; `kept_below` is the `min_persistence` that keeps it."""
    names = {"share": "share", "barrier_kT": "barrier", "dwell": "dwell", "persistence": "persistence"}
    names |= {"persistence_low": "persistence_low", "into": "state", "reason": "reason", "kept_below": "kept"}
    return [
        {"level": story["minimum_decoded"].values[place]}
        | {field: story[f"minimum_{name}"].values[place] for field, name in names.items()}
        for place in np.flatnonzero(story["minimum_into"].values >= 0)
    ]


def of_attractors(story: xr.Dataset) -> dict:
    """The fields known where there is no landscape; what needs one is null, and a message says so.

    Parameters
    ----------
    story: `fit.attractors()`.
    """
    return {
        "states": story.sizes["state"],
        "occupancy": dict.fromkeys(FIELDS["occupancy"]) | {"data": story["occupancy_data"].values},
        "minima": story["position"].values,
        "decoded_minima": story["decoded"].values,
        "discretisation": {"max_curvature_step": story.attrs["max_curvature_step"], "ok": bool(story.attrs["ok"])},
        "verdict": {"kinetics_agree": None, "messages": [NO_LANDSCAPE]},
    }


def of_checks(findings: Mapping[str, xr.Dataset]) -> dict:
    """The field known after the checks: the word and the sentence of every one, by name.

    Parameters
    ----------
    findings: by name, from `diagnostics` and `predictive_checks`.
    """
    verdicts, messages = (
        {name: found.attrs[what] for name, found in findings.items()} for what in ("verdict", "message")
    )
    return {"checks": {"verdicts": verdicts, "messages": messages}}


def _temperature(fit: Fit, posterior: Results) -> dict:
    draws = posterior["posterior"].get("temperature")
    if draws is None:
        return dict.fromkeys(FIELDS["temperature"]) | {"mean": fit.temperature}
    low, high = np.quantile(draws, [0.05, 0.95])
    contraction = _contraction(fit.model.dynamics, float(draws.std()))
    return {"mean": float(draws.mean()), "q05": low, "q95": high, "contraction": contraction}


def _contraction(dynamics: Dynamics, spread: float) -> float | None:
    """1 − sd posterior/sd prior: 1 when the data say it all, 0 when T echoes its prior; None for a prior without sd."""
    prior = dynamics._pyro_samples["temperature"]
    prior = prior if isinstance(prior, Distribution) else prior(dynamics)
    try:
        return 1 - spread / float(prior.stddev)
    except (NotImplementedError, RuntimeError):  # it knows no sd, or has one per axis
        return None


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _finite(value.tolist())
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
