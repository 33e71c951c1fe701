"""Segment data with a run: which state, when, how sure.

python inference/segment.py runs/first --data mine.npz --out states.npz
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pyro_nld import runs, segment
from pyro_nld._files import write_atomically
from pyro_nld.command_line import recipe


@recipe
def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")],
    out: Annotated[Path, typer.Option(help="File to write, .npz.")],
    data: Annotated[Path | None, typer.Option(help="Data to segment; the run's own when left out.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Use the past and present alone.")] = False,
    draws: Annotated[int, typer.Option(min=1, help="Posterior draws per sequence.")] = 20,
) -> None:
    """Write probability (sequence, time, state), label (sequence, time; -1 undecided) and times to OUT."""
    loaded = runs.load(run)
    series = loaded.data if data is None else runs.load_data(loaded.source, str(data), 0)
    segments = segment(loaded.fit, series, draws=draws, online=online)
    arrays = {name: segments[name].values for name in ("probability", "label", "times")}

    def write(file: Path) -> None:
        with file.open("wb") as handle:
            np.savez_compressed(handle, **arrays)

    write_atomically(out, write)
    shares = segments["probability"].mean(("sequence", "time")).values
    print(f"Wrote {out}. Time spent in each state: " + ", ".join(f"{share:.3f}" for share in shares))


if __name__ == "__main__":
    typer.run(main)
