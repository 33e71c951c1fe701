"""One self-contained HTML page of a run, for somebody who was not there.

python inference/report.py runs/first
"""

from pathlib import Path
from typing import Annotated

import typer

from pyro_nld import datasets, report, runs, segment
from pyro_nld.runs import command_line, summary


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")],
    min_persistence: Annotated[float | None, typer.Option(min=0, help=command_line.PERSISTENCE)] = None,
    min_barrier: Annotated[float | None, typer.Option(min=0, help=command_line.BARRIER)] = None,
) -> None:
    """Write RUN/report.html: states, landscape to turn, segmentation to leaf through, kinetics, checks.

    It needs no network and no other file: mail it, open it on a phone, print it. The landscape is read first where
    inference/landscape.py has not done so.
    """
    report.require_plotly()
    with command_line.noted() as warned, runs.claimed(run):
        loaded = runs.load(run)
        report.require_landscape(loaded.fit)
        landscape = runs.recorded_landscape(loaded, min_persistence, min_barrier)
        segments = datasets.joined(segment(loaded.fit, wells=landscape), loaded.data)
        known = summary.update(run, warned)
        if known["states"] is None or min_persistence is not None or min_barrier is not None:
            known = runs.record_landscape(run, loaded.fit, landscape, warned)
        page = report.page(loaded.fit, datasets.joined(loaded.data), landscape, segments, known, runs.origin(loaded))
        runs.write_text(run / "report.html", page)
    print(f"Wrote {run / 'report.html'}: {len(page) / 1e6:.1f} MB, one file. Open it in a browser.")


if __name__ == "__main__":
    command_line.run(main)
