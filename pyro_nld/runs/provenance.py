"""The origin of a run: model file, data, and the commands that repeat it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from .. import report
from ..fitting.schedule import Schedule
from .directory import BUDGETS, Run

READERS = ("landscape", "report")
"""Recipes that read a run and write into it, in order."""


def origin(run: Run) -> report.Origin:
    """The origin of a run for its report: names and checksums, but no folder of this machine."""
    config, documentation = run.config, run.source.__doc__ or ""
    if config["data"] is None:
        title = run.path.resolve().name
        data = f"Simulated by the model file itself, with seed {config['seed']}."
    else:
        title = Path(config["data"]).name
        data = f"Read from {title} (SHA-256 {config['data_sha256'][:16]}…)."
        if "read_as" in run.data.attrs:
            data += f" Read as: {run.data.attrs['read_as']}."
    if config["pieces"]:
        data += f" Cut at long pauses, and into pieces of at most {config['pieces']} observations."
    text = (run.path / "model.py").read_text("utf-8")
    return report.Origin(title, report.claim(documentation), text, data, commands(run))


def commands(run: Run) -> list[str]:
    """The command lines that repeat a run from its model file and data in one folder."""
    config, out = run.config, run.path.resolve().name
    options = ["--data", Path(config["data"]).name] if config["data"] else []
    options += ["--pieces", str(config["pieces"])] if config["pieces"] else []
    for name, value in config["reading"].items():
        options += [f"--{name}", value]
    options += ["--out", out, "--seed", str(config["seed"]), "--restarts", str(config["restarts"])]
    kept = Schedule(**config["schedule"])
    budget = next((name for name, known in BUDGETS.items() if replace(known, minutes=kept.minutes) == kept), "default")
    options += ["--budget", budget] + ([] if kept.minutes is None else ["--minutes", str(kept.minutes)])
    fitting = ["pyro-nld", "fit", "model.py", *options]
    return [shlex.join(words) for words in (fitting, *(["pyro-nld", name, out] for name in READERS))]
