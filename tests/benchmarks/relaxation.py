"""Relaxation times of a double well whose generator is known, by counting, against how often one looks.

    python tests/benchmarks/relaxation.py

Paths of the true dynamics, without noise and without a fit. One row per barrier and interval: observations per
relaxation time, how much longer visits seem without every second observation, and times over the exact ones: dwell
between cores, relaxation as `kinetics.by_counting` has it, and that of the matrix of rates.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
import typer

import pyro_nld as nld
from pyro_nld import kinetics

STEP, CHAINS = 0.01, 150
EVERY = (1, 5, 10, 20, 40, 80)


def rows(barrier: float, steps: int) -> list[str]:
    """One row per interval."""
    dynamics = nld.OverdampedLangevin(nld.Tilted(nld.DoubleWell(barrier), [0.1]))
    wells = nld.landscape.minima(dynamics.potential, torch.tensor([[-1.0], [1.0]]))
    exact = kinetics.exact(dynamics, wells)
    slowest = float(exact["relaxation"][0])
    starts = torch.as_tensor(wells["position"].values).float().repeat(CHAINS // 2, 1)
    path = kinetics.chain(dynamics, nld.EulerMaruyama(), starts, interval=STEP, substeps=2, intervals=steps, seed=1)
    labels, found = kinetics.cores(dynamics.potential, wells, path).numpy(), []
    for every in EVERY:
        seen = labels[:, ::every]
        counts = kinetics.count(seen, np.broadcast_to(STEP * every * np.arange(float(seen.shape[1])), seen.shape), 2)
        route = kinetics.by_counting(counts)
        growth = counts["sparse_time"] / counts["sparse_exits"] / (counts["time"] / counts["exits"].sum("to"))
        dwell, plain = route["dwell"] / exact["dwell"], kinetics.relaxation(route["rate"].values)[0] / slowest
        found.append(
            f"| {barrier:g} | {slowest / STEP / every:.1f} | {float(growth.mean()):.2f} | {float(dwell.mean()):.2f} | "
            f"{float(route['relaxation'][0]) / slowest:.3f} | {plain:.2f} |"
        )
    return found


def main(steps: Annotated[int, typer.Option(help="Of every path.")] = 6000) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    head = ["barrier, kT", "looks per relaxation", "growth", "dwell", "relaxation", "of rates"]
    print("\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]))
    for barrier in (1.2, 1.5, 2.5):
        print("\n".join(rows(barrier, steps)))


if __name__ == "__main__":
    typer.run(main)
