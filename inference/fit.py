"""Fit a model file to data, and leave a run directory behind.

    python inference/fit.py models/three_state_switching.py --out runs/first
    python inference/fit.py models/three_state_switching.py --data mine.csv --out runs/mine --budget full

Without --data the model file's own simulation is fitted. Ctrl-C keeps the last checkpoint; --resume goes on from it.
"""

import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer

from pyro_nld import plots, runs
from pyro_nld.command_line import recipe


@recipe
def main(
    model: Annotated[Path, typer.Argument(help="Model file, for example models/three_state_switching.py.")],
    out: Annotated[Path, typer.Option(help="Run directory to make (or to go on in, with --resume).")],
    data: Annotated[Path | None, typer.Option(help="Data file: .npz, .nc, .csv or .parquet.")] = None,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    restarts: Annotated[int, typer.Option(min=1, help="Independent runs; the best is kept.")] = 1,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes.")] = None,
    budget: Annotated[Literal["smoke", "default", "full"], typer.Option(help="How long to fit.")] = "default",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Fit MODEL to data and write the run directory OUT."""
    config = runs.settings(data, seed, restarts, minutes, budget)
    source = runs.load_model_file(model)
    series = runs.load_data(source, config["data"], seed)
    with runs.claimed(out), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        runs.create(out, model, config, resume)
        fit = runs.fit(out, source, series, config)
        summary = runs.record_fit(out, fit, {str(warning.message) for warning in caught})
        plots.save(plots.loss(fit.history), out / "figures" / "loss.png")
    for message in summary["warnings"]:
        print(f"warning: {message}")
    print(f"ELBO per observed value {summary['elbo']['per_observation']:.4f} after {summary['steps']} steps")
    print(f"Wrote {out}. Next: python inference/landscape.py {out}")


if __name__ == "__main__":
    typer.run(main)
