"""The throughput of one fit in two processes against one, for the same parts of the same batches.

    python tests/benchmarks/processes.py
    python tests/benchmarks/processes.py --batch 128 --length 200 --steps 20

Both take the same steps in turns, each with one thread per process, and their losses have to agree to 1e-5. The time is
that of the gradient steps, without the start of the processes. Needs `pip install 'pyro_nld[scale]'` and two cores.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer

import pyro_nld as nld

CHANNELS, LATENT = 15, 3


def timed(processes: int, batch: int, length: int, steps: int, into: Path) -> None:
    """Fit in as many processes; the first writes its losses and its seconds per step."""
    from lightning_fabric import Fabric

    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
    fabric.launch()
    torch.manual_seed(0)
    data = nld.datasets.three_state(batch, length, 0)
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.NeuralPotential(LATENT)), nld.Gaussian(nld.MLPDecoder(LATENT, CHANNELS)), 1
    )
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS))
    schedule = nld.Schedule(steps, batch_size=batch, parts=2, coarse=0.0)
    history = nld.fit(model, guide, data, schedule, device=fabric, progress=False).history
    if fabric.is_global_zero:
        seconds = history["seconds"].diff("step").values
        into.write_text(json.dumps({"loss": history["loss"].values.tolist(), "seconds": seconds.tolist()}))


def main(
    batch: Annotated[int, typer.Option(min=2, help="Sequences in a step.")] = 128,
    length: Annotated[int, typer.Option(min=2, help="Observations in a sequence.")] = 200,
    steps: Annotated[int, typer.Option(min=3, help="Gradient steps in a turn.")] = 12,
    turns: Annotated[int, typer.Option(min=1, help="Fits of each kind.")] = 3,
    processes: Annotated[int, typer.Option(hidden=True)] = 0,
    into: Annotated[Path, typer.Option(hidden=True)] = Path("found.json"),
) -> None:
    """Time both and print one line."""
    if processes:
        timed(processes, batch, length, steps, into)
        return
    medians: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(turns):
            losses = []
            for number, own in medians.items():
                file = Path(folder) / f"{number}.json"
                sizes = [f"--batch={batch}", f"--length={length}", f"--steps={steps}"]
                command = [sys.executable, __file__, *sizes, f"--processes={number}", f"--into={file}"]
                subprocess.run(command, check=True, capture_output=True)
                found = json.loads(file.read_text())
                own.append(statistics.median(found["seconds"]))
                losses.append(torch.tensor(found["loss"]))
            torch.testing.assert_close(*losses, rtol=0, atol=1e-5)
    ratios = [one / two for one, two in zip(*medians.values(), strict=True)]
    print(
        f"batch {batch} × {length}: {statistics.median(medians[1]):.3f} s per step in one process, "
        f"{statistics.median(medians[2]):.3f} in two: {statistics.median(ratios):.2f} × the throughput "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    typer.run(main)
