"""Wall time to the quality of the paper's Table 1, against the paper's loop on the same data.

    python tests/benchmarks/time_to_quality.py --seeds 5
    python tests/benchmarks/time_to_quality.py --seeds 5 --paper-steps 3000   (hours)

Good enough is what the paper prints for its best five overdamped models: three wells, an ℓ1 error of the harmonic
occupancies of 0.040, 92.6 % of the labels right. Seconds are those of the fit; reading and judging come after.

The paper's loop needs hours, so it is priced and not run: one of its steps, taken by torchsde in this very process
before the fits, times a number of steps after which the paper's model is judged. That model is trained here, with this
library's solver, whose likelihood and path KL `gradient_step.py` checks to be those of the loop. If it is not good
enough by then, the ratio is a lower bound; if it is, an upper one.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from gradient_step import papers_way, timed

import pyro_nld as nld
from pyro_nld import reproduction
from pyro_nld.runs import BUDGETS

MODELS = Path(__file__).parents[2] / "models"
HARMONIC, ACCURACY = 0.040, 0.926


def good(row: dict) -> bool:
    """As good as what the paper prints."""
    return not row["failed"] and row["wells"] == 3 and row["l1_harmonic"] <= HARMONIC and row["accuracy"] >= ACCURACY


def told(row: dict) -> str:
    """One line."""
    if row["failed"]:
        return f"seed {row['seed']}: {row['failed']}"
    return (
        f"seed {row['seed']}: {row['steps']} steps, {row['seconds']:.0f} s, {row['wells']} wells, ℓ1 harmonic "
        f"{row['l1_harmonic']:.3f}, sampled {row['l1_sampled']:.3f}, accuracy {100 * row['accuracy']:.2f} %: "
        f"{'good enough' if good(row) else 'not good enough'}"
    )


def price(repeats: int, seed: int) -> float:
    """Seconds of one step of the paper's loop: its batch and smaller sizes, the median of some steps."""
    cell = reproduction.Cell(settings="paper")
    data = reproduction.draw(cell, (reproduction.BATCH, reproduction.TRAIN[1]), seed)
    loop = papers_way(nld.as_tensors(data), **reproduction.SIZES)
    return statistics.median(timed({"loop": loop}, repeats, warm=2)["loop"])


def main(
    seeds: Annotated[int, typer.Option(min=1, help="How many; each has its own data.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps of this library's fits.")] = 400,
    paper_steps: Annotated[int, typer.Option(help="Steps of the paper's settings, seed 0; 0: not run.")] = 0,
    repeats: Annotated[int, typer.Option(min=3, help="Steps of the loop that are timed.")] = 7,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 2,
) -> None:
    """Price the loop, fit every seed, print a line for each and the ratio."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = price(repeats, seed=0)
    print(f"one step of the paper's loop: {step:.2f} s, {threads} threads, torch {torch.__version__}")
    short = replace(BUDGETS["default"], steps=steps)
    rows = []
    for seed in range(seeds):
        rows.append(reproduction.measured(reproduction.Cell(), seed, short, MODELS))
        print(told(rows[-1]), flush=True)
    mine = statistics.mean(row["seconds"] for row in rows)
    print(f"{sum(map(good, rows))} of {seeds} good enough, after {mine:.0f} s on average")
    print(f"in which the paper's loop takes {mine / step:.0f} steps")
    if paper_steps:
        long = replace(BUDGETS["default"], steps=paper_steps)
        theirs = reproduction.measured(reproduction.Cell(settings="paper"), 0, long, MODELS)
        print("the paper's settings,", told(theirs))
        bound = "at most " if good(theirs) else "more than "
        hours = paper_steps * step / 3600
        print(f"the paper's loop: {bound}{hours:.1f} hours, {bound}{3600 * hours / mine:.0f} times as long")


if __name__ == "__main__":
    typer.run(main)
