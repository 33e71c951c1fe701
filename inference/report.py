"""One self-contained HTML page of a run, for somebody who was not there.

python inference/report.py runs/first
"""

from pathlib import Path
from typing import Annotated

import typer

import pyro_nld as nld
from pyro_nld import command_line


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by fit.")],
    min_persistence: Annotated[float | None, typer.Option(min=0, help=command_line.PERSISTENCE)] = None,
    min_barrier: Annotated[float | None, typer.Option(min=0, help=command_line.BARRIER)] = None,
) -> None:
    """Write RUN/report.html: states, landscape to turn, segmentation to leaf through, kinetics, checks.

    It needs no network and no other file: mail it, open it on a phone, print it. The landscape is read first where
    `landscape` has not done so.
    """
    nld.report.require_plotly()
    with command_line.noted() as warned, nld.runs.claimed(run):
        loaded = nld.runs.load(run)
        nld.report.require_landscape(loaded.fit)
        landscape = nld.runs.recorded_landscape(loaded, min_persistence, min_barrier)
        segments = nld.datasets.joined(nld.segment(loaded.fit, wells=landscape), loaded.data)
        known = nld.runs.summary.update(run, warned)
        if known["states"] is None or min_persistence is not None or min_barrier is not None:
            known = nld.runs.record_landscape(run, loaded.fit, landscape, warned)
        data = nld.datasets.joined(loaded.data)
        page = nld.report.page(loaded.fit, data, landscape, segments, known, nld.runs.origin(loaded))
        nld.runs.write_text(run / "report.html", page)
    print(f"Wrote {run / 'report.html'}: {len(page) / 1e6:.1f} MB, one file. Open it in a browser.")


if __name__ == "__main__":
    command_line.run(main)
