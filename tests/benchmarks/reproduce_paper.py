"""Reproduce the paper's Table 1 and Figures 2 and 3 on every seed, beside a neural SDE and hidden Markov models.

    python tests/benchmarks/reproduce_paper.py --out runs/paper --seeds 5 --settings ours --settings hmm
    python tests/benchmarks/reproduce_paper.py --out runs/paper                   (everything: days on two cores)
    python tests/benchmarks/reproduce_paper.py --out docs/evidence/paper --read   (the seeds that are done)

Every finished seed is kept in --out, and the table is written anew after each: stop with Ctrl-C, and give the same
command to go on.
"""

from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import typer
from paper import reproduction, table
from tqdm import tqdm

from pyro_nld import runs
from pyro_nld.runs import command_line

MODELS = Path(__file__).parents[2] / "models"
EQUATIONS, CHAINS, LATENTS, SETTINGS = reproduction.EQUATIONS, reproduction.CHAINS, [2, 3, 5, 10], reproduction.SETTINGS


def main(
    out: Annotated[Path, typer.Option(help="Folder to make, or to go on in.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many; each has its own data.")] = 20,
    equation: Annotated[list[str], typer.Option(help="Which; repeat for several.")] = EQUATIONS,
    chain: Annotated[list[str], typer.Option(help="Which; repeat for several.")] = CHAINS,
    latent: Annotated[list[int], typer.Option(min=1, help="Latent axes; repeat for several.")] = LATENTS,
    settings: Annotated[list[str], typer.Option(help="Whose; repeat for several.")] = SETTINGS,
    budget: Annotated[Literal["smoke", "default", "full"], typer.Option(help="How long to fit.")] = "default",
    read: Annotated[bool, typer.Option("--read", help="Fit nothing: a table of all rows in --out.")] = False,
) -> None:
    """Fit every cell of the table on every seed; write table.md, rows/ and figures/ in --out.

    Settings: ours; two-sided, ours with an encoder that sees the whole sequence; the paper's; sde, a generic neural SDE
    with the same guide; hmm, a Gaussian hidden Markov model.
    """
    if read:
        table.write(out / "table.md", reproduction.rows_in(out))
        print(f"Wrote {out / 'table.md'}.")
        return
    with command_line.noted():
        made: dict[reproduction.Cell, list[dict]] = {
            cell: [] for cell in reproduction.cells(equation, chain, latent, settings)
        }
        sizes = reproduction.SMALL if budget == "smoke" else reproduction.Sizes()
        for seed, cell in tqdm(list(product(range(seeds), made)), desc="seeds of cells", unit="fit"):
            made[cell].append(reproduction.cached_row(cell, seed, out, runs.BUDGETS[budget], MODELS, sizes, seed == 0))
            table.write(out / "table.md", list(made.values()))
    print(f"Wrote {out / 'table.md'} and {out / 'figures'}.")


if __name__ == "__main__":
    command_line.run(main)
