"""Segment data with a run: which state, when, how sure.

python inference/segment.py runs/first --data mine.npz --out states.npz
"""

from pathlib import Path
from typing import Annotated

import typer

from pyro_nld import command_line, model_files, runs, segment, tables


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")],
    out: Annotated[Path, typer.Option(help="File to write, .npz.")],
    data: Annotated[Path | None, typer.Option(help="Data to segment; the run's own when left out.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Use the past and present alone.")] = False,
    draws: Annotated[int, typer.Option(min=1, help="Posterior draws per sequence.")] = 20,
) -> None:
    """Write probability (sequence, time, state), label (sequence, time; -1 undecided) and times to --out."""
    with command_line.noted():
        runs.require_output(out, ".npz")
        loaded = runs.load(run)
        series = loaded.data if data is None else model_files.load_data(loaded.source, data, 0)
        segments = segment(loaded.fit, series, draws=draws, online=online, wells=runs.story(loaded))
        runs.write_arrays(out, {name: segments[name].values for name in ("probability", "label", "times")})
    print(tables.segments(segments, tables.score(segments, series)))
    print(f"Wrote {out}.")


if __name__ == "__main__":
    command_line.run(main)
