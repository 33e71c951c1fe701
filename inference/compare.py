"""Which hypothesis predicts sequences best that none of the runs has seen?

    python inference/compare.py runs/three_wells runs/harmonic
    python inference/compare.py runs/a runs/b --data held_out.csv --score elbo

Without --data the first run's model file simulates anew. Scores are log predictive densities of the same sequences, so
that their differences are paired. Evidence ranks fits by the true error of their landscape: rank correlation .83 over
30 fits, .48 over the 16 of them with both wells, where no other score does better (tests/benchmarks/scores.py).
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

import pyro_nld as nld
from pyro_nld import command_line

FRESH = 1_000_003  # added to the seed of a run: data that it was not fitted to


def main(
    run: Annotated[list[Path], typer.Argument(help="Two run directories or more, made by fit.")],
    data: Annotated[Path | None, typer.Option(help="Held-out data; a fresh simulation when left out.")] = None,
    score: Annotated[Literal["evidence", "future", "elbo"], typer.Option(help="What to compare.")] = "evidence",
    sequences: Annotated[int, typer.Option(min=2, help="Score the first so many.")] = 100,
    particles: Annotated[int, typer.Option(min=1, help="Paths per sequence.")] = 32,
    jobs: command_line.Jobs = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the scores' draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.nc and comparison.png.")] = None,
) -> None:
    """Score every RUN on the same held-out sequences and print them, best first."""
    import xarray as xr

    with command_line.noted():
        loaded = [nld.runs.load(path) for path in run]
        first = loaded[0]
        fresh = (
            nld.runs.model_files.load_data(first.source, None, first.config["seed"] + FRESH) if data is None else None
        )
        series = (nld.runs.more_data(first, data) if fresh is None else fresh).isel(sequence=slice(sequences))
        of_run = partial(nld.scores.by_sequence, particles=particles, seed=seed)
        columns = nld.fitting.jobs.side_by_side(of_run, [(one.fit, series, score) for one in loaded], jobs)
        table = xr.concat(columns, xr.Variable("model", [str(path) for path in run]))
        compared = nld.comparisons.comparison(table)
        if out is not None:
            nld.plots.save(nld.plots.comparison(compared), out / "comparison.png")
            nld.runs.write_dataset(out / "comparison.nc", compared)
    print(nld.tables.comparison(compared))


if __name__ == "__main__":
    command_line.run(main)
