"""Runs: the run directory, its records and their origin, model files, and the command line.

Examples
--------
>>> {name: schedule.steps for name, schedule in nld.runs.BUDGETS.items()}  # gradient steps of each --budget
{'smoke': 20, 'default': 1600, 'full': 6000}
"""

from .. import command_line
from . import model_files, published, summary
from .directory import (
    BUDGETS, Run, chosen, claimed, fit, load, more_data, opened, read_landscape, recorded_landscape, settings,
)  # fmt: skip
from .records import (
    record_checks, record_fit, record_landscape, require_output, write_arrays, write_dataset, write_segments,
    write_text,
)  # fmt: skip
from .provenance import READERS, commands, origin

__all__ = [
    "command_line", "model_files", "published", "summary", "BUDGETS", "Run", "settings", "chosen", "opened", "claimed",
    "load", "more_data", "read_landscape", "recorded_landscape", "fit", "record_fit", "record_landscape",
    "record_checks", "require_output", "write_arrays", "write_dataset", "write_segments", "write_text", "READERS",
    "commands", "origin",
]  # fmt: skip
