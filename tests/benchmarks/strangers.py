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


def dihedrals(draw: np.random.Generator) -> Stranger:
    """Two angles in degrees, cut at ±180, where the first of three basins lies."""
    states = chain(np.array([[0.985, 0.012, 0.003], [0.018, 0.98, 0.002], [0.01, 0.01, 0.98]]), 12_000, draw)
    off = lfilter([11.2], [1, -0.6], draw.standard_normal((12_000, 2)), axis=0)
    x = (np.array([[-75, 165.0], [-65, -40.0], [55, 45.0]])[states] + off + 180) % 360 - 180
    return Stranger(pd.DataFrame(x, columns=["phi", "psi"]).assign(time_ps=np.arange(12_000)), states, "3 states")


def photons(draw: np.random.Generator) -> Stranger:
    """Few counts in a bin, at two rates."""
    states = chain(np.array([[0.99, 0.01], [0.02, 0.98]]), 10_000, draw)
    counts = draw.poisson(np.array([2.0, 7.0])[states])
    return Stranger(pd.DataFrame({"bin": np.arange(10_000), "counts": counts}), states, "2 states")


def gaits(draw: np.random.Generator) -> Stranger:
    """An accelerometer at rest, in walking and in running: two of three states oscillate."""
    leave = np.array([[0.998, 0.002, 0], [0.002, 0.996, 0.002], [0, 0.003, 0.997]])
    states = chain(leave, 20_000, draw)
    size, phase = np.array([0.02, 0.35, 1.1])[states], (2 * np.pi * np.array([0, 1.8, 2.8])[states] / 25).cumsum()
    x = np.stack([size * np.sin(phase), 0.6 * size * np.sin(2 * phase + 0.4), 1 + 0.8 * size * np.cos(phase)], 1)
    table = pd.DataFrame(x + 0.05 * draw.standard_normal(x.shape), columns=["ax", "ay", "az"])
    return Stranger(table.assign(t=np.arange(20_000) / 25), states, "a word: what oscillates is no state")


def fret(draw: np.random.Generator) -> Stranger:
    """Eighty short traces of two dyes that end in bleaching."""
    parts, every = [], []
    for molecule in range(80):
        length, bleached = int(draw.integers(80, 300)), int(draw.geometric(1 / 250))
        states = chain(np.array([[0.95, 0.05], [0.08, 0.92]]), length, draw)
        share, light = np.array([0.3, 0.75])[states], np.where(np.arange(length) < bleached, 400.0, 0.0)
        noise = 20 * draw.standard_normal((2, length))
        columns = {"donor": light * (1 - share) + 40 + noise[0], "acceptor": light * share + 30 + noise[1]}
        parts.append(pd.DataFrame({"molecule": molecule, "frame": np.arange(length)} | columns))
        every.append(np.where(light > 0, states, 2))
    return Stranger(pd.concat(parts), np.concatenate(every), "2 states and the dark one")


def microstates(draw: np.random.Generator) -> Stranger:
    """Four patterns of eight electrodes."""
    leave = np.full((4, 4), 0.05 / 3)
    np.fill_diagonal(leave, 0.95)
    states, patterns = chain(leave, 16_000, draw), draw.standard_normal((4, 8))
    x = (1.5 + 0.3 * draw.standard_normal((16_000, 1))) * patterns[states] + 0.6 * draw.standard_normal((16_000, 8))
    table = pd.DataFrame(x, columns=[f"E{electrode}" for electrode in range(8)])
    return Stranger(table.assign(time=0.004 * np.arange(16_000)), states, "4 states")


FIRST = (five, genes, flies, adc, short_tracks, golf, volatility, calcium)
SECOND = (dihedrals, photons, gaits, fret, microstates)
STRANGERS = {one.__name__: one for one in (*FIRST, *SECOND)}


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
