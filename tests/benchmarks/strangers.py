"""Files as strangers bring them, by the commands that a new user types: what is found in each, beside what is true.

    python tests/benchmarks/strangers.py --out runs/strangers
    python tests/benchmarks/strangers.py --out runs/strangers --only genes --only flies

Every file is written as a table, and goes through `fit`, `landscape`, `check` and `report` with no knob turned. What
has a page already is only read. Prints one row per file; a command that fails is a row, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import typer
import xarray as xr
from numpy.typing import NDArray
from scipy.signal import lfilter
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
Array = NDArray[np.float64]


class Stranger(NamedTuple):
    """A table, the state of every row where it has states, and what a reader should find."""

    table: pd.DataFrame
    states: NDArray[np.integer] | None
    wanted: str


def chain(leave: Array, length: int, draw: np.random.Generator) -> NDArray[np.integer]:
    """A Markov chain from state 0, by the probabilities of every next state."""
    state, rising, chances = np.zeros(length, int), leave.cumsum(1), draw.random(length)
    for t in range(1, length):
        state[t] = np.searchsorted(rising[state[t - 1]], chances[t])
    return state


def diffusing(
    force: Callable[[Array], Array], start: list[float], length: int, interval: float, steps: int, temperature: float,
    draw: np.random.Generator,
) -> Array:  # fmt: skip
    """Overdamped motion with γ = 1, `(observation, axis)`."""
    z, h = np.array(start), interval / steps
    found = np.empty((length, len(z)))
    for k in range(length):
        for _ in range(steps):
            z = z + h * force(z) + np.sqrt(2 * h * temperature) * draw.standard_normal(len(z))
        found[k] = z
    return found


def five(draw: np.random.Generator) -> Stranger:
    """Five states of unequal noise in four channels; one is rare and brief."""
    leave = np.full((5, 5), 0.004)
    np.fill_diagonal(leave, 1 - 0.016)
    leave[4] = [0.02, 0.02, 0.02, 0.02, 0.92]
    states = chain(leave, 15_000, draw)
    levels, noise = draw.normal(0, 1.2, (5, 4)), np.array([0.2, 0.5, 0.3, 0.4, 0.25])
    x = levels[states] + noise[states][:, None] * draw.standard_normal((15_000, 4))
    table = pd.DataFrame(x, columns=list("abcd")).assign(t=0.5 * np.arange(15_000))
    return Stranger(table, states, "5 states")


def genes(draw: np.random.Generator) -> Stranger:
    """Two log-normal abundances that switch."""
    states = chain(np.array([[0.98, 0.02], [0.03, 0.97]]), 6_000, draw)
    x = np.exp(np.array([[0, 2.0], [2, 0.3]])[states] + 0.5 * draw.standard_normal((6_000, 2)))
    return Stranger(pd.DataFrame(x, columns=["geneA", "geneB"]).assign(hour=np.arange(6_000)), states, "2 states")


def flies(draw: np.random.Generator) -> Stranger:
    """Eight animals that rest, walk and run: a speed that is positive, a turn around zero, a height."""
    leave = np.array([[0.97, 0.03, 0], [0.02, 0.96, 0.02], [0, 0.05, 0.95]])
    parts, every = [], []
    for animal in range(8):
        states = chain(leave, 1500, draw)
        speed = draw.gamma(np.array([0.8, 4, 9.0])[states], np.array([0.3, 0.5, 0.6])[states])
        turn = np.array([0.9, 0.4, 0.1])[states] * draw.standard_normal(1500)
        height = np.array([1.0, 1.5, 3])[states] + 0.4 * draw.standard_normal(1500)
        columns = {"animal": f"fly{animal}", "seconds": np.arange(1500) / 30}
        parts.append(pd.DataFrame(columns | {"speed": speed, "turn": turn, "height": height}))
        every.append(states)
    return Stranger(pd.concat(parts), np.concatenate(every), "3 states")


def adc(draw: np.random.Generator) -> Stranger:
    """Two wells through a coarse converter; rows left out, values missing."""
    x = diffusing(lambda z: 4 * z * (1 - z * z), [1.0], 12_000, 0.2, 20, 1 / 2.2, draw)[:, 0]
    kept = draw.random(12_000) > 0.15
    x = np.round((x + 0.15 * draw.standard_normal(12_000)) / 0.25) * 0.25
    x[draw.random(12_000) < 0.1] = np.nan
    return Stranger(pd.DataFrame({"t": 0.2 * np.arange(12_000)[kept], "adc": x[kept]}), None, "2 states at −1 and 1")


def short_tracks(draw: np.random.Generator) -> Stranger:
    """Sixty short tracks of a particle with inertia in three wells, of which positions are seen."""
    rows, h = [], 0.02
    for track in range(60):
        q, p = float(draw.choice([-2, 0, 2.0])), 0.0
        for t in range(300):
            for _ in range(10):
                force = -2.2 * np.pi / 2 * np.sin(np.pi * q) * 0.8 if abs(q) < 3 else -6 * (q - 3 * np.sign(q))
                p += h * force - h * 0.8 * p + np.sqrt(2 * 0.8 * h) * draw.standard_normal()
                q += h * p
            rows.append((track, 0.2 * t, q + 0.1 * draw.standard_normal()))
    return Stranger(pd.DataFrame(rows, columns=["trajectory", "time", "q"]), None, "3 states at −2, 0 and 2")


def golf(draw: np.random.Generator) -> Stranger:
    """A narrow hole in a wide bowl: no barrier, and no time scale of its own."""
    hole = np.array([1.2, 0])

    def force(z: Array) -> Array:
        pull = 3.2 * 4 * (z - hole) * np.exp(-((z - hole) ** 2).sum() / 0.18) / 0.72 * 2
        return -0.5 * z - pull

    x = diffusing(force, [0.0, 0.0], 20_000, 0.1, 20, 1.0, draw)
    table = pd.DataFrame(x + 0.08 * draw.standard_normal(x.shape), columns=["cv1", "cv2"])
    return Stranger(table.assign(t=0.1 * np.arange(20_000)), None, "1 state, and a doubt")


def volatility(draw: np.random.Generator) -> Stranger:
    """Two regimes of noise about one level."""
    states = chain(np.array([[0.99, 0.01], [0.02, 0.98]]), 8_000, draw)
    x = np.where(states, 1.2, 0.3) * draw.standard_normal(8_000)
    return Stranger(pd.DataFrame({"t": np.arange(8_000), "ret": x}), None, "1 state, and a word on its noise")


def calcium(draw: np.random.Generator) -> Stranger:
    """Impulses that decay: no states."""
    impulses = (draw.random(8_000) < 0.02) * draw.gamma(4, 0.25, 8_000)
    x = lfilter([1], [1, -0.93], impulses) + 0.1 * draw.standard_normal(8_000)
    return Stranger(pd.DataFrame({"frame": np.arange(8_000), "dff": x}), None, "1 state")


STRANGERS = {one.__name__: one for one in (five, genes, flies, adc, short_tracks, golf, volatility, calcium)}


def read(name: str, out: Path) -> str:
    """The row of one file, which is fitted where it has no page yet."""
    stranger, run, failed = STRANGERS[name](np.random.default_rng(list(STRANGERS).index(name))), out / name, []
    if not (run / "report.html").is_file():
        out.mkdir(parents=True, exist_ok=True)
        stranger.table.to_csv(out / f"{name}.csv", index=False)
        recipe = ROOT / "models" / "my_data.py"
        given = {"fit": [recipe, "--data", out / f"{name}.csv", "--out", run]}
        for command in ("fit", "landscape", "check", "report"):
            program = [sys.executable, str(ROOT / "inference" / f"{command}.py"), *map(str, given.get(command, [run]))]
            done = subprocess.run(program, capture_output=True, text=True, check=False)
            failed += [f"{command}: {done.stderr.strip().splitlines()[-1]}"] if done.returncode else []
    if failed:
        return f"| {name} | {stranger.wanted} | {'; '.join(failed)} | | | |"
    landscape = xr.load_dataset(run / "landscape.nc", engine="h5netcdf")
    found = " ".join(f"{share:.3f}" for share in landscape["occupancy_data"].values)
    true = "–"
    if stranger.states is not None:
        true = " ".join(f"{(stranger.states == state).mean():.3f}" for state in range(stranger.states.max() + 1))
    checks = json.loads((run / "summary.json").read_text())["checks"]["messages"]
    said = [checks[name] for name in ("data", "states") if name in checks]
    return f"| {name} | {stranger.wanted} | {landscape.sizes['state']} | {found} | {true} | {' '.join(said)} |"


def main(
    out: Annotated[Path, typer.Option(help="Folder of the files and their runs.")],
    only: Annotated[list[str] | None, typer.Option(help="Names; all when left out.")] = None,
) -> None:
    """Fit and read every file."""
    rows = [read(name, out) for name in tqdm(only or list(STRANGERS))]
    head = ["file", "wanted", "states", "shares found", "true", "what is said of data and states"]
    print("\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *rows]))


if __name__ == "__main__":
    typer.run(main)
