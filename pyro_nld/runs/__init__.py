"""Runs: the run directory, its records and their origin, model files, and the command line.

Examples
--------
>>> {name: schedule.steps for name, schedule in nld.runs.BUDGETS.items()}  # gradient steps of each --budget
{'smoke': 20, 'default': 800, 'full': 3000}
"""

from . import command_line
from . import model_files
from . import published
from . import summary
from .directory import BUDGETS
from .directory import Run
from .directory import claimed
from .directory import fit
from .directory import load
from .directory import opened
from .directory import settings
from .directory import recorded_landscape
from .records import record_checks
from .records import record_fit
from .records import record_landscape
from .records import require_output
from .records import write_arrays
from .records import write_dataset
from .records import write_segments
from .records import write_text  # fmt: skip
from .provenance import READERS
from .provenance import commands
from .provenance import origin

__all__ = [
    "command_line", "model_files", "published", "summary", "BUDGETS", "Run", "settings", "opened", "claimed", "load",
    "recorded_landscape", "fit", "record_fit", "record_landscape", "record_checks", "require_output", "write_arrays",
    "write_dataset", "write_segments", "write_text", "READERS", "commands", "origin",
]  # fmt: skip
