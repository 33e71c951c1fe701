"""Do the intervals of a model file mean what they say? Draw truths from its priors, data from those, and fit again.

    python inference/calibrate.py models/double_well.py --out runs/calibration
    python inference/calibrate.py models/double_well.py --out runs/calibration --simulations 200

What has no prior (landscape, decoder) is as in one fit of the model file's own simulation when data are drawn, and is
learned anew every time. A study that was stopped goes on, and can be asked for more simulations later.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

import pyro_nld as nld
from pyro_nld import command_line


def main(
    model: Annotated[Path, typer.Argument(help="Model file, for example models/double_well.py.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; one that was begun goes on.")],
    simulations: Annotated[int, typer.Option(min=2, help="How many, those done before included.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps of each fit.")] = 300,
    sequences: Annotated[int, typer.Option(min=1, help="Sequences of each simulation.")] = 16,
    particles: Annotated[int, typer.Option(min=0, help="Paths that correct intervals; 0: leave them.")] = 256,
    jobs: command_line.Jobs = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of all randomness.")] = 0,
) -> None:
    """Calibrate MODEL: coverage of 90 % intervals and ranks of the truth, before and after correction by particles."""
    with command_line.noted():
        source = nld.runs.model_files.load_model_file(model)
        data = nld.runs.model_files.load_data(source, None, seed)
        build = partial(nld.runs.model_files.build, source, seed=seed)
        settings = {
            "simulations": simulations, "steps": steps, "sequences": sequences, "particles": particles, "seed": seed,
        }  # fmt: skip
        with tqdm(total=simulations, desc="simulations") as bar:
            for table in nld.calibration.study(build, data, out, settings, jobs):
                bar.update(table.sizes["simulation"] - bar.n)
        judged = nld.calibration.judge(table)
        nld.plots.save(nld.plots.ranks(table), out / "figures" / "ranks.png")
    print(nld.tables.calibration(judged))
    print(f"Wrote {out}.")


if __name__ == "__main__":
    command_line.run(main)
