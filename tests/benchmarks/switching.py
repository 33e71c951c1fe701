"""The paper's benchmark over seeds, several at a time and with any schedule: one row per seed, none left out.

    python tests/benchmarks/switching.py --seeds 5 --steps 1000
    python tests/benchmarks/switching.py --seeds 5 --steps 1000 --chain asymmetric
    python tests/benchmarks/switching.py --seeds 5 --equation underdamped --latent 10

For the whole table, kept on disk, see `reproduce_paper.py`; both measure with `paper/reproduction.py`.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from paper import reproduction, table

import pyro_nld as nld
from pyro_nld.runs.directory import BUDGETS

MODELS = Path(__file__).parents[2] / "models"


def row(seed: int, cell: reproduction.Cell, schedule: nld.Schedule, first_state: int | None) -> dict:
    """One seed, on one thread."""
    torch.set_num_threads(1)
    return reproduction.run_cell(cell, seed, schedule, MODELS, first_state=first_state)


def main() -> None:
    """Print every row as it comes, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--equation", default="overdamped", choices=["overdamped", "underdamped"])
    parser.add_argument("--chain", default="symmetric", choices=["symmetric", "asymmetric"])
    parser.add_argument("--latent", type=int, default=3, help="axes")
    parser.add_argument("--settings", default="ours", choices=reproduction.SETTINGS)
    parser.add_argument("--stationary", action="store_true", help="start in the stationary law, not always in state 0")
    parser.add_argument("--budget", default="default", choices=sorted(BUDGETS))
    parser.add_argument("--batch", type=int, help="sequences per step, if not the budget's")
    parser.add_argument("--steps", type=int, help="gradient steps, if not the budget's")
    parser.add_argument("--polish", type=int, help="runs of particles that end a fit, if not the budget's")
    parser.add_argument("--no-balance", action="store_true", help="leave depths as paths tell them")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one thread each")
    args = parser.parse_args()
    asked = {"batch_size": args.batch, "steps": args.steps, "polish": args.polish}
    asked["balance"] = False if args.no_balance else None
    schedule = replace(BUDGETS[args.budget], **{name: value for name, value in asked.items() if value is not None})
    cell = reproduction.Cell(args.equation, args.chain, args.latent, args.settings)
    chosen = partial(row, cell=cell, schedule=schedule, first_state=None if args.stationary else 0)
    made = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for found in pool.map(chosen, range(args.first, args.first + args.seeds)):
            print(found, flush=True)
            made.append(found)
    print(table.written([made]))


if __name__ == "__main__":
    main()
