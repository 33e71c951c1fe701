"""Segment data with a run: which state, when, how sure.

python inference/segment.py runs/first --out states.csv
python inference/segment.py runs/first --data more.csv --out more_states.csv --online
"""

from pathlib import Path
from typing import Annotated

import typer

import pyro_nld as nld
from pyro_nld import command_line


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by fit.")],
    out: Annotated[Path, typer.Option(help="File to write: .csv, one row per observation, or .npz.")],
    data: Annotated[Path | None, typer.Option(help="Data to segment; the run's own when left out.")] = None,
    time: command_line.Time = None,
    sequence: command_line.Sequences = None,
    channels: command_line.Channels = None,
    missing: command_line.Missing = None,
    log: command_line.Log = None,
    angle: command_line.Angle = None,
    covariates: command_line.Covariates = None,
    online: Annotated[bool, typer.Option("--online", help="Use the past and present alone.")] = False,
    draws: Annotated[int, typer.Option(min=1, help="Posterior draws per sequence.")] = 20,
    min_persistence: Annotated[float | None, typer.Option(min=0, help=command_line.PERSISTENCE)] = None,
    min_barrier: Annotated[float | None, typer.Option(min=0, help=command_line.BARRIER)] = None,
) -> None:
    """Write the state of every observation of RUN's data, or of other data, to --out.

    .csv: sequence, time, state (empty where undecided), probability_0, probability_1, …  .npz: the arrays probability
    (sequence, time, state), label (sequence, time; -1 undecided) and times.
    """
    with command_line.noted():
        nld.runs.require_output(out, ".npz", ".csv")
        loaded = nld.runs.load(run)
        series = loaded.data
        if data is not None:
            reading = command_line.reading(time, sequence, channels, missing, log, angle, covariates)
            series = nld.runs.more_data(loaded, data, loaded.config["pieces"], reading)
            command_line.tell(series.attrs)
        found = nld.runs.recorded_landscape(loaded, min_persistence, min_barrier)
        segments = nld.segment(loaded.fit, series, draws=draws, online=online, wells=found)
        nld.runs.write_segments(out, segments, series)
    print(nld.tables.segments(segments, nld.tables.score(segments, series)))
    print(f"Wrote {out}.")


if __name__ == "__main__":
    command_line.run(main)
