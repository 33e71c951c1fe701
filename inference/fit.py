"""Fit a model file to data, and leave a run directory behind.

    python inference/fit.py models/three_state_switching.py --out runs/first
    python inference/fit.py models/my_data.py --data mine.csv --out runs/mine
    python inference/fit.py models/my_data.py --data one_long_recording.csv --pieces 200 --out runs/long --budget full

Without --data the model file's own simulation is fitted. Ctrl-C keeps the last checkpoint; --resume goes on from it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pyro_nld import plots, runs
from pyro_nld.runs import command_line, model_files


def main(
    model: Annotated[Path, typer.Argument(help="Model file, for example models/three_state_switching.py.")],
    out: Annotated[Path, typer.Option(help="Run directory to make (or to go on in, with --resume).")],
    data: Annotated[Path | None, typer.Option(help="Data file: a table (.csv, .txt, .parquet …), .npz or .nc.")] = None,
    time: command_line.Time = None,
    sequence: command_line.Sequences = None,
    channels: command_line.Channels = None,
    missing: command_line.Missing = None,
    pieces: Annotated[int | None, typer.Option(min=2, help="Cut at long pauses, and into pieces so long.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all randomness.")] = 0,
    restarts: Annotated[int, typer.Option(min=1, help="Independent runs; the best is kept.")] = 1,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop each after so many minutes.")] = None,
    budget: Annotated[Literal["smoke", "default", "full"], typer.Option(help="How long to fit.")] = "default",
    jobs: command_line.Jobs = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Fit MODEL to data and write the run directory --out."""
    with command_line.noted() as warned:
        reading = command_line.reading(time, sequence, channels, missing)
        config = runs.settings(data, seed, restarts, minutes, budget, pieces, reading)
        source = model_files.load_model_file(model)
        series = model_files.load_data(source, data, seed, pieces, reading)
        pair = model_files.build(source, series, seed)
        with runs.opened(out, model, config, resume):
            command_line.tell(series)
            fit = runs.fit(out, pair, series, config, jobs)
            plots.save(plots.loss(fit.history), out / "figures" / "loss.png")
            summary = runs.record_fit(out, fit, warned)
    print(f"ELBO per observed value {summary['elbo']['per_observation']:.4f} after {summary['steps']} steps")
    print(f"Wrote {out}. Next: python inference/landscape.py {out}")


if __name__ == "__main__":
    command_line.run(main)
