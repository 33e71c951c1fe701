"""Where the time goes from data to page: the share of every stage of `fit.py`, `landscape.py` and `report.py`.

    python tests/benchmarks/where_time_goes.py
    python tests/benchmarks/where_time_goes.py --model models/three_state_switching.py --budget default

Prints one table. Seconds are those of the processor, by Python's profiler, in one thread: what else the machine does
does not count, and the profiler itself adds a little to what consists of many small calls. A stage that stands further
to the right is part of the one above it; the rest of a recipe is what no stage accounts for.
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import pstats
import runpy
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

ROOT = Path(__file__).parents[2]

STAGES: dict[str, dict[str, tuple[str, str]]] = {
    "fit": {
        "read or simulate data": ("model_files.py", "load_data"),
        "build the model": ("model_files.py", "build"),
        "gradient steps": ("training.py", "advance"),
        "  the bound": ("elbo.py", "terms"),
        "  encoder": ("encoders.py", "contexts"),
        "M-steps and balance": ("training.py", "_polish"),
        "bound of all data": ("training.py", "_finish"),
        "history, posterior.nc": ("records.py", "record_fit"),
    },
    "landscape": {
        "load the run": ("directory.py", "load"),
        "read the landscape": ("directory.py", "read_landscape"),
        "  states": ("fit.py", "wells"),
        "  probability of states": ("posterior.py", "probability"),
        "  kinetics by all routes": ("routes.py", "routes"),
        "  sampled occupancies": ("occupancies.py", "sampled"),
        "  committors of saddles": ("routes.py", "saddle_committors"),
        "  is it stationary": ("stationarity.py", "of_data"),
        "make figures": ("landscape.py", "_of_landscape"),
        "write figures": ("style.py", "save"),
        "landscape.nc, posterior.nc": ("records.py", "record_landscape"),
    },
    "report": {
        "load the run": ("directory.py", "load"),
        "labels": ("segmentation.py", "segment"),
        "the page": ("document.py", "page"),
    },
}
"""By recipe: the name of a stage, and the file and function whose time it is."""


def profiled(recipe: str, *arguments: object) -> pstats.Stats:
    """Run a recipe in this process, under the profiler, without what it prints."""
    profile, file = cProfile.Profile(time.process_time), ROOT / "inference" / f"{recipe}.py"
    before, sys.argv = sys.argv, [str(file), *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            profile.runcall(runpy.run_path, str(file), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise SystemExit(f"{recipe}.py failed: {said.getvalue().splitlines()[-1]}") from None
    finally:
        sys.argv = before
    return pstats.Stats(profile)


def seconds_of(stats: pstats.Stats, file: str, function: str) -> float:
    """Cumulative seconds of one function."""
    return sum(
        row[3]
        for (path, _, name), row in stats.stats.items()
        if name == function and Path(path).name == file and ROOT in Path(path).parents
    )


def rows(recipe: str, stats: pstats.Stats) -> list[tuple[str, float]]:
    """(stage, seconds) of a recipe: all of it, its stages, and the rest."""
    found = [(name, seconds_of(stats, *where)) for name, where in STAGES[recipe].items()]
    told = sum(seconds for name, seconds in found if not name.startswith(" "))
    total = seconds_of(stats, f"{recipe}.py", "<module>")
    return [(f"{recipe}.py", total), *((f"  {name}", seconds) for name, seconds in found), ("  rest", total - told)]


def main(
    model: Annotated[Path, typer.Option(help="Model file.")] = ROOT / "models" / "double_well.py",
    budget: Annotated[str, typer.Option(help="Of the fit: smoke, default or full.")] = "smoke",
) -> None:
    """Fit, read and report MODEL, and print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        found = [
            *rows("fit", profiled("fit", model, "--out", run, "--budget", budget)),
            *rows("landscape", profiled("landscape", run)),
            *rows("report", profiled("report", run)),
        ]
    total = sum(seconds for name, seconds in found if not name.startswith(" "))
    print(f"{model.name}, budget {budget}, torch {torch.__version__}, one thread\n")
    print("| stage | CPU seconds | share |\n|---|---|---|")
    for name, seconds in found:
        print(f"| {name.replace('  ', '· ')} | {seconds:.1f} | {100 * seconds / total:.0f} % |")
    print(f"| all | {total:.1f} | 100 % |")


if __name__ == "__main__":
    typer.run(main)
