"""Fit a model file to data, and leave a run directory behind.

    python inference/fit.py models/three_state_switching.py --out runs/first
    python inference/fit.py --data mine.csv --out runs/mine
    python inference/fit.py --data one_long_recording.csv --out runs/long --budget full

A long recording is cut into pieces of 200 observations, from which a fit learns sooner; states are read from the whole.
Without --data the model file's own simulation is fitted; without a model file, models/my_data.py is fitted to --data.
Ctrl-C keeps the last checkpoint; --resume goes on from it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

import pyro_nld as nld
from pyro_nld import command_line


def main(
    out: Annotated[Path, typer.Option(help="Run directory to make (or to go on in, with --resume).")],
    model: Annotated[Path | None, typer.Argument(help="Model file; my_data.py when left out and --data given.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data file: a table (.csv, .txt, .parquet …), .npz or .nc.")] = None,
    time: command_line.Time = None,
    sequence: command_line.Sequences = None,
    channels: command_line.Channels = None,
    missing: command_line.Missing = None,
    log: command_line.Log = None,
    angle: command_line.Angle = None,
    covariates: command_line.Covariates = None,
    pieces: Annotated[int | None, typer.Option(min=2, help="Most observations in a piece. [200 where long]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all randomness.")] = 0,
    restarts: Annotated[int, typer.Option(min=1, help="Independent runs; the best is kept.")] = 1,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Spread each over so many minutes.")] = None,
    budget: Annotated[Literal["smoke", "default", "full"], typer.Option(help="How long to fit.")] = "default",
    jobs: command_line.Jobs = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Fit MODEL to data and write the run directory --out."""
    with command_line.noted() as warned:
        reading = command_line.reading(time, sequence, channels, missing, log, angle, covariates)
        model = nld.runs.model_files.named(model, data)
        config = nld.runs.settings(data, seed, restarts, minutes, budget, pieces or "auto", reading)
        source = nld.runs.model_files.load_model_file(model)
        series = nld.runs.model_files.load_data(source, data, seed, config["pieces"], reading)
        config = nld.runs.chosen(out, source, series, config, resume)
        pair = nld.runs.model_files.build(source, series, seed, config["choice"])
        with nld.runs.opened(out, model, config, resume):
            command_line.tell(series.attrs)
            command_line.tell_choice(config["choice"])
            fit = nld.runs.fit(out, pair, series, config, jobs)
            summary = nld.runs.record_fit(out, fit, warned)
            nld.plots.save(nld.plots.loss(fit.history), out / "figures" / "loss.png")
    print(f"ELBO per observed value {summary['elbo']['per_observation']:.4f} after {summary['steps']} steps")
    print(f"Wrote {out}. Next: {command_line.spelled('landscape', out)}")


if __name__ == "__main__":
    command_line.run(main)
