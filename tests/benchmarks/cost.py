"""What a fit and its labels cost, in time and memory, against the length of a recording and the number of recordings.

    python tests/benchmarks/cost.py --out docs/evidence/speed

Every size is done in a process of its own, with one thread: a signal that hops between two levels is cut into pieces as
the recipes do it, fitted for a few gradient steps with `models/my_data.py`'s parts, and segmented. Writes a table and a
picture. Memory is the largest that the process has held, beyond what it holds after the imports. Seconds are those of
the processor.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from tqdm import tqdm

import pyro_nld as nld

STEPS = 10
LENGTHS = [(1, 10**power) for power in range(2, 7)]  # one recording
NUMBERS = [(10**power, 100) for power in range(1, 5)]  # recordings of 100
MEASURED = ("step", "bound", "segment", "memory_fit", "memory_segment")


def held() -> float:
    """The largest memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(sequences: int, length: int) -> dict[str, float]:
    """Seconds per gradient step, for what `fit` does after them, and to segment; MB until the end of each."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    before = held()
    random = np.random.default_rng(0)
    states = np.cumsum(random.random((sequences, length)) < 0.05, axis=1) % 2
    x = (states + 0.2 * random.standard_normal(states.shape))[..., None]
    data = nld.io.series.cut_long(nld.datasets.from_arrays(np.arange(float(length)), x))
    torch.manual_seed(0)
    noise = torch.nn.Parameter(nld.io.nugget(data).clamp(min=0.1))
    prior = nld.OverdampedLangevin(nld.DoubleWell(barrier=2.0), friction=None)  # two states after any number of steps
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.LinearDecoder(1, 1), noise_scale=noise), substeps=5)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1))
    began = time.process_time()
    ticks: list[float] = []
    tick = [lambda step, row: ticks.append(time.process_time())]
    fit = nld.fit(model, guide, data, nld.Schedule(STEPS, coarse=0.0), progress=False, callbacks=tick)
    whole, memory, step = time.process_time() - began, held(), float(np.median(np.diff(ticks)))
    began = time.process_time()
    nld.segment(fit)
    seconds = time.process_time() - began
    return {
        "step": step, "bound": whole - (ticks[-1] - began), "segment": seconds,
        "memory_fit": memory - before, "memory_segment": held() - before,
    }  # fmt: skip


def table(rows: dict[tuple[int, int], dict[str, float]]) -> str:
    """Markdown."""
    head = ["recordings", "observations each", "s per gradient step", "s after the steps", "s to segment"]
    head += ["MB to fit", "MB to segment"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for (sequences, length), row in rows.items():
        cells = [f"{sequences}", f"{length}", f"{row['step']:.3f}", *(f"{row[name]:.1f}" for name in MEASURED[1:3])]
        lines.append("| " + " | ".join([*cells, *(f"{row[name]:.0f}" for name in MEASURED[3:])]) + " |")
    return "\n".join(lines)


def picture(rows: dict[tuple[int, int], dict[str, float]], file: Path) -> None:
    """Seconds and memory against the number of observations, of one recording and of many."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for kind, marker in ((LENGTHS, "o-"), (NUMBERS, "s--")):
        told = "one recording" if kind is LENGTHS else "recordings of 100"
        sizes, found = [sequences * length for sequences, length in kind], [rows[size] for size in kind]
        for number, name in enumerate(MEASURED):
            panel, label = panels[int(name.startswith("memory"))], f"{LABELS[name]}, {told}"
            panel.plot(sizes, [row[name] for row in found], marker, color=f"C{number}", label=label)
    for panel, what in zip(panels, ("seconds of the processor", "MB beyond the imports"), strict=True):
        panel.set(xscale="log", xlabel="observations of one channel", ylabel=what, ylim=(0, None))
        panel.legend(fontsize=8)
    panels[0].set(yscale="log", ylim=(0.01, 2e3))
    figure.savefig(file, dpi=110)


LABELS = {
    "step": "a gradient step", "bound": "what follows the steps", "segment": "labels",
    "memory_fit": "fit", "memory_segment": "and labels",
}  # fmt: skip


def main(
    out: Annotated[Path, typer.Option(help="Folder for `cost.md` and `cost.png`.")] = Path("docs/evidence/speed"),
    most: Annotated[int, typer.Option(help="Leave out what has more observations.")] = 10**6,
    one: Annotated[tuple[int, int], typer.Option(hidden=True)] = (0, 0),
) -> None:
    """Measure every size, and write a table and a picture."""
    if one[0]:
        print(json.dumps(measured(*one)))
        return
    rows = {}
    for size in tqdm([size for size in dict.fromkeys(LENGTHS + NUMBERS) if size[0] * size[1] <= most]):
        command = [sys.executable, __file__, "--one", *map(str, size)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows[size] = json.loads(said.splitlines()[-1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "cost.md").write_text(table(rows) + "\n")
    print(table(rows))
    if most >= 10**6:
        picture(rows, out / "cost.png")


if __name__ == "__main__":
    typer.run(main)
