"""Recordings whose states are known: wells of deeptime behind a curved map, switching signals, and systems without any.

Every function returns a Dataset in the library's form. Its attributes hold the known answer: `kind` ("wells",
"switching", "stationary", "changing"), `number` of states, and, where they are known, `weights` by state (of the law
that was simulated), `relaxation` and `dwell` times, `interval`. True labels are the variable `states`. Nothing here
looks at a fit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import deeptime
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import xarray as xr
from numpy.typing import NDArray

from pyro_nld import datasets

Array = NDArray[np.float64]

CHANNELS, NOISE = 10, 0.1  # of the curved map; noise in standard deviations of each channel
HIDDEN = 20  # tanh units of the curved map
RELAXATIONS = 300  # of the slowest process, in a recording of wells, if FRAMES allow it
FRAMES = (20_000, 60_000)
STRETCH = 4.0  # a recording that would see its slowest process less than ten times is sampled more coarsely, up to this
NULL_FRAMES = 6_000


# Wells of deeptime


class Wells(NamedTuple):
    """An overdamped system dX = f(X) dt + √(2D) dW of deeptime, with the box and grid that its generator is solved on.

    `box` holds one (low, high, points) per axis; `step` is that of the Euler scheme.
    """

    make: Callable
    diffusion: float
    number: int
    box: tuple[tuple[float, float, int], ...]
    step: float


WELLS = {
    "double_well_2d": Wells(deeptime.data.double_well_2d, 0.25, 2, ((-2.2, 2.2, 90), (-2.5, 2.5, 71)), 1e-3),
    "triple_well_2d": Wells(deeptime.data.triple_well_2d, 0.59405, 3, ((-2.2, 2.2, 90), (-1.8, 2.6, 90)), 5e-4),
    "prinz_potential": Wells(deeptime.data.prinz_potential, 1.0, 4, ((-1.3, 1.3, 1000),), 1e-5),
    "triple_well_1d": Wells(deeptime.data.triple_well_1d, 0.28125, 3, ((-0.3, 6.3, 1500),), 1e-3),
    "quadruple_well": Wells(deeptime.data.quadruple_well, 0.25, 4, ((-2.0, 2.0, 90),) * 2, 1e-3),
    "quadruple_well_asymmetric": Wells(
        deeptime.data.quadruple_well_asymmetric, 0.18, 4, ((-2.0, 2.0, 90),) * 2, 1e-3
    ),
}


def exact(wells: Wells) -> xr.Dataset:
    """Stationary law, basins and relaxation times of a system, from its generator on a grid.

    Neighbouring cells exchange by the exponentially fitted rates D/h² · B(∓f h/D), B(x) = x/(eˣ − 1), which are exact
    for a constant force (Scharfetter and Gummel 1969). A basin is where steepest ascent of the law ends.

    Returns
    -------
    `weight (state)` from left to right along the first axis, `centre (state, axis)`, `relaxation (process)` in time,
    one more than states can carry: the last is the slowest process inside a well; `basin (*grid)`.
    """
    axes = [np.linspace(*edges) for edges in wells.box]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    law, times = _spectrum(_generator(wells, axes, grid), wells.number)
    basin = _basins(law.reshape(grid.shape[:-1]), wells.number)
    centres = np.array([grid.reshape(-1, len(axes))[np.where(basin.ravel() == s, law, 0).argmax()] for s in range(basin.max() + 1)])
    order = np.lexsort(centres.T[::-1])
    basin = np.argsort(order)[basin]
    return xr.Dataset(
        {
            "weight": ("state", np.bincount(basin.ravel(), law)),
            "centre": (("state", "axis"), centres[order]),
            "relaxation": ("process", times),
            "basin": (tuple(f"grid_{axis}" for axis in range(len(axes))), basin),
        }
    )


def _generator(wells: Wells, axes: list[Array], grid: Array) -> scipy.sparse.csr_matrix:
    force = wells.make().f
    place = np.arange(grid[..., 0].size).reshape(grid.shape[:-1])
    rows, columns, rates = [], [], []
    for axis, points in enumerate(axes):
        h = points[1] - points[0]
        low, high = (np.take(place, range(start, len(points) - 1 + start), axis).ravel() for start in (0, 1))
        middle = (grid.reshape(-1, len(axes))[low] + grid.reshape(-1, len(axes))[high]) / 2
        push = np.array([np.atleast_1d(force(0.0, point))[axis] for point in middle]) * h / wells.diffusion
        push = np.where(np.abs(push) < 1e-6, 1e-6, np.clip(push, -300, 300))
        for start, end, x in ((low, high, -push), (high, low, push)):
            rows.append(start)
            columns.append(end)
            rates.append(wells.diffusion / h**2 * x / np.expm1(x))
    size = (place.size, place.size)
    off = scipy.sparse.csr_matrix((np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns))), size)
    return off - scipy.sparse.diags(np.asarray(off.sum(1)).ravel())


def _spectrum(generator: scipy.sparse.csr_matrix, count: int) -> tuple[Array, Array]:
    """Stationary law, and the `count` slowest relaxation times."""
    start = np.ones(generator.shape[0])
    values, vectors = scipy.sparse.linalg.eigs(generator.T.tocsc(), k=count + 3, sigma=1e-7, v0=start)
    order = np.argsort(-values.real)
    law = vectors[:, order[0]].real
    return law / law.sum(), -1 / values.real[order[1 : count + 1]]


def _basins(law: Array, number: int) -> NDArray[np.int64]:
    """The maximum where steepest ascent from each cell ends; a plateau of two cells at a maximum counts once."""
    padded = np.pad(law, 1, constant_values=-1.0)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * law.ndim, indexing="ij"), -1).reshape(-1, law.ndim)
    inside = [slice(1, size + 1) for size in law.shape]
    around = np.stack([padded[tuple(slice(s.start + d, s.stop + d) for s, d in zip(inside, shift))] for shift in shifts])
    cells = np.stack(np.meshgrid(*map(np.arange, law.shape), indexing="ij"), -1)
    up = np.ravel_multi_index(tuple(np.moveaxis(cells + shifts[around.argmax(0)], -1, 0)), law.shape).ravel()
    while not np.array_equal(up, up[up]):
        up = up[up]
    tops, basin = np.unique(up, return_inverse=True)
    held = np.bincount(basin, law.ravel())
    keep = np.sort(np.argsort(-held)[:number])
    near = np.array([np.argmin([_apart(top, tops[k], law.shape) for k in keep]) for top in tops])
    return near[basin].reshape(law.shape)


def _apart(one: int, other: int, shape: tuple[int, ...]) -> float:
    return float(np.linalg.norm(np.subtract(np.unravel_index(one, shape), np.unravel_index(other, shape))))


def sampling(relaxation: Array) -> tuple[float, int]:
    """Interval and frames for a system with these relaxation times, the last of which lies inside a well.

    The interval is that last time, so that a fit sees how a well is forgotten; where the longest recording would see
    the slowest process less than ten times, the interval is stretched, up to four times.
    """
    slowest, inside = relaxation[0], relaxation[-1]
    interval = float(np.clip(10 * slowest / FRAMES[1], inside, STRETCH * inside))
    return float(f"{interval:.2g}"), int(np.clip(RELAXATIONS * slowest / interval, *FRAMES))


def wells(name: str, seed: int, frames: int | None = None) -> xr.Dataset:
    """A system of `WELLS` from its stationary law on, seen through a random curved map with 10 % noise."""
    system, answer = WELLS[name], exact(WELLS[name])
    random = np.random.default_rng((1, seed))
    interval, usual = sampling(answer["relaxation"].values)
    frames = usual if frames is None else frames
    model = system.make(h=system.step, n_steps=round(interval / system.step))
    start = answer["centre"].values[random.choice(system.number, p=answer["weight"].values)]
    path = model.trajectory(start, frames + 20, seed=int(random.integers(2**31)), n_jobs=1)[20:]
    states = _looked_up(path, answer["basin"].values, system.box)
    data = datasets.from_arrays(interval * np.arange(frames), curved(path, random)[None], states[None])
    return _answered(
        data, "wells", system.number, interval,
        weights=answer["weight"].values, relaxation=answer["relaxation"].values[:-1],
    )  # fmt: skip


def _looked_up(path: Array, basin: NDArray, box: tuple[tuple[float, float, int], ...]) -> NDArray[np.int64]:
    """Basin of the nearest cell."""
    index = [
        np.clip(np.rint((path[:, axis] - low) / (high - low) * (points - 1)), 0, points - 1).astype(int)
        for axis, (low, high, points) in enumerate(box)
    ]
    return basin[tuple(index)]


def curved(path: Array, random: np.random.Generator, channels: int = CHANNELS) -> Array:
    """y = tanh(z W + b) V + noise:  a smooth random map of a standardised path into many channels, with 10 % noise."""
    z = (path - path.mean(0)) / path.std(0)
    first, bias = random.standard_normal((z.shape[1], HIDDEN)), random.standard_normal(HIDDEN)
    y = np.tanh(z @ first + bias) @ random.standard_normal((HIDDEN, channels)) / np.sqrt(HIDDEN)
    return y + NOISE * y.std(0) * random.standard_normal(y.shape)


# Switching signals


def telegraph(seed: int, frames: int = 20_000, dwell: float = 21.7) -> xr.Dataset:
    """Two levels, 0 and 1, that switch at once and hold for 21.7 observations on average, in noise of 0.2."""
    random = np.random.default_rng((2, seed))
    switched = random.random(frames) < 1 / dwell
    switched[0] = random.random() < 0.5
    states = np.cumsum(switched) % 2
    x = states + 0.2 * random.standard_normal(frames)
    data = datasets.from_arrays(np.arange(float(frames)), x[None, :, None], states[None])
    relaxation = -1 / np.log(1 - 2 / dwell)
    return _answered(data, "switching", 2, 1.0, weights=[0.5, 0.5], relaxation=[relaxation], dwell=[dwell, dwell])


def ion_channel(seed: int, frames: int = 40_000, openings: int = 34, share: float = 0.006) -> xr.Dataset:
    """A channel that opens 34 times and is open .6 % of the time: levels 0 and 1 in noise of 0.15."""
    random = np.random.default_rng((3, seed))
    mean = share * frames / openings
    lengths = random.geometric(1 / mean, openings)
    closed = frames - lengths.sum() - openings - 1  # every gap has one observation at least
    edges = np.sort(random.choice(closed + openings, openings, replace=False)) - np.arange(openings)
    gaps = np.diff(np.concatenate([[0], edges])) + 1
    states = np.zeros(frames, int)
    at = 0
    for gap, length in zip(gaps, lengths, strict=True):
        states[at + gap : at + gap + length] = 1
        at += gap + length
    x = states + 0.15 * random.standard_normal(frames)
    data = datasets.from_arrays(np.arange(float(frames)), x[None, :, None], states[None])
    dwell = [(1 - share) / share * mean, mean]
    return _answered(data, "switching", 2, 1.0, weights=[1 - share, share], dwell=dwell)


REACTION = {
    "lengths": (168, 134, 137), "leave": (0.084, 0.116), "weights": (0.624, 0.376),
    "level": (6.385, 5.510), "spread": (0.244, 0.192), "right": (0.90, 0.53),
}  # fmt: skip
"""The published two-state answer for the `speed` data of the R package depmixS4 (Visser and Speekenbrink 2010)."""


def reaction_times(seed: int) -> xr.Dataset:
    """Log reaction time and correctness of 439 answers in three series, from the published two-regime model."""
    random = np.random.default_rng((4, seed))
    longest = max(REACTION["lengths"])
    times = np.full((3, longest), np.nan)
    x, states = np.full((3, longest, 2), np.nan), np.full((3, longest), -1)
    for row, length in enumerate(REACTION["lengths"]):
        leave = np.asarray(REACTION["leave"])
        states[row, 0] = random.random() > REACTION["weights"][0]
        for t in range(1, length):
            now = states[row, t - 1]
            states[row, t] = 1 - now if random.random() < leave[now] else now
        held = states[row, :length]
        times[row, :length] = np.arange(length)
        level, spread, right = (np.asarray(REACTION[name])[held] for name in ("level", "spread", "right"))
        x[row, :length, 0] = level + spread * random.standard_normal(length)
        x[row, :length, 1] = random.random(length) < right
    data = datasets.from_arrays(times, x, states).assign_coords(channel=["rt", "correct"])
    dwell = 1 / np.asarray(REACTION["leave"])
    relaxation = -1 / np.log(1 - sum(REACTION["leave"]))
    return _answered(data, "switching", 2, 1.0, weights=REACTION["weights"], relaxation=[relaxation], dwell=dwell)


# Nothing there: one well, or no stationary law


def white_noise(seed: int, frames: int = NULL_FRAMES) -> xr.Dataset:
    """One channel without memory."""
    return _null(np.random.default_rng((5, seed)).standard_normal((frames, 1)), "stationary")


def autoregressive(channels: int, seed: int, frames: int = NULL_FRAMES) -> xr.Dataset:
    """xₜ₊₁ = φ xₜ + √(1 − φ²) ξ in independent channels, which remember for 5 to 20 observations."""
    random = np.random.default_rng((6, channels, seed))
    decay = np.exp(-1 / np.geomspace(20, 5, channels)) if channels > 1 else np.exp([-0.1])
    x = random.standard_normal((frames, channels))
    for t in range(1, frames):
        x[t] = decay * x[t - 1] + np.sqrt(1 - decay**2) * x[t]
    return _null(x, "stationary")


def flat_quartic(seed: int, frames: int = NULL_FRAMES) -> xr.Dataset:
    """dx = −x³ dt + √2 dW, one well with a flat bottom, every 0.2 in time, with 10 % noise."""
    random = np.random.default_rng((7, seed))
    x, now, step = np.empty(frames), 0.0, 0.01
    kicks = np.sqrt(2 * step) * random.standard_normal((frames, 20))
    for t in range(frames):
        for kick in kicks[t]:
            now += -step * now**3 + kick
        x[t] = now
    return _null((x + NOISE * x.std() * random.standard_normal(frames))[:, None], "stationary", 0.2)


def skewed(seed: int, frames: int = NULL_FRAMES) -> xr.Dataset:
    """exp(0.7 y) of an autoregressive y that remembers for ten observations: one well with a long tail."""
    x = autoregressive(1, seed + 10_000, frames)["observations"].values[0]
    return _null(np.exp(0.7 * x), "stationary")


def ring(seed: int, frames: int = NULL_FRAMES) -> xr.Dataset:
    """Diffusion on a circle, seen as cosine and sine with noise of 0.1; an angle is forgotten in 20 observations."""
    random = np.random.default_rng((8, seed))
    angle = random.uniform(0, 2 * np.pi) + np.cumsum(np.sqrt(2 / 20) * random.standard_normal(frames))
    x = np.stack([np.cos(angle), np.sin(angle)], -1)
    return _null(x + 0.1 * random.standard_normal(x.shape), "stationary")


def random_walk(seed: int, frames: int = NULL_FRAMES) -> xr.Dataset:
    """xₜ₊₁ = xₜ + ξ, seen exactly."""
    return _null(np.cumsum(np.random.default_rng((9, seed)).standard_normal((frames, 1)), 0), "changing")


def trend(seed: int, frames: int = NULL_FRAMES) -> xr.Dataset:
    """A straight line of ten standard deviations of the noise on it."""
    random = np.random.default_rng((10, seed))
    return _null(np.linspace(0, 10, frames)[:, None] + random.standard_normal((frames, 1)), "changing")


def sine(seed: int, frames: int = NULL_FRAMES) -> xr.Dataset:
    """A sine with a period of 50 observations, amplitude one, in noise of 0.2."""
    random = np.random.default_rng((11, seed))
    phase = 2 * np.pi * (np.arange(frames) / 50 + random.random())
    return _null(np.sin(phase)[:, None] + 0.2 * random.standard_normal((frames, 1)), "changing")


def _null(x: Array, kind: str, interval: float = 1.0) -> xr.Dataset:
    return _answered(datasets.from_arrays(interval * np.arange(len(x)), x[None]), kind, 1, interval)


def _answered(data: xr.Dataset, kind: str, number: int, interval: float, **known: object) -> xr.Dataset:
    """With the known answer in its attributes."""
    lists = {name: np.asarray(value, float) for name, value in known.items()}
    return data.assign_attrs(kind=kind, number=number, interval=interval, **lists)


# Recordings that may not be copied here: read from a folder that the user gives


def riboswitch(part: str, folder: Path) -> xr.Dataset:
    """Extension in nm of an add riboswitch in optical tweezers, every millisecond (Neupane et al. 2011)."""
    with np.load(folder / "riboswitch_tweezers.npz") as held:
        x, interval = held[part].astype(float), float(held["dt_ms"])
    data = datasets.from_arrays(interval * np.arange(len(x)), x[None, :, None])
    known = {"weights": [0.82, 0.18], "dwell": [119, 26], "relaxation": [20.8], "levels": [710.1, 702.6]}
    return _answered(data, "wells", 2, interval, **(known if part == "steady" else {}))


def ngrip(folder: Path) -> xr.Dataset:
    """δ¹⁸O and log dust of 60 to 11.7 thousand years ago, 20-year means; `states` are the experts' (1 is warm)."""
    with np.load(folder / "ngrip.npz") as held:
        data = datasets.from_arrays(held["times"], held["observations"][None].astype(float), held["warm"][None])
    return _answered(data, "wells", 2, 20.0, weights=[0.606, 0.394], dwell=[1330, 865])


def gisp2(folder: Path) -> xr.Dataset:
    """δ¹⁸O of the GISP2 core at irregular times (Grootes and Stuiver 1997): weak evidence for two states."""
    with np.load(folder / "gisp2.npz") as held:
        data = datasets.from_arrays(held["times"], held["observations"][None])
    return _answered(data, "wells", 2, float(np.median(np.diff(data["time"]))))


def alanine(folder: Path) -> xr.Dataset:
    """45 distances of alanine dipeptide; `states` are its basins β, α_R, α_L by φ and ψ."""
    with np.load(folder / "alanine_dipeptide.npz") as held:
        data = datasets.from_arrays(held["times"], held["observations"].astype(float), held["basin"])
    return _answered(data, "wells", 3, 1.0, weights=[0.591, 0.360, 0.049], relaxation=[250, 7.5])


SYSTEMS: dict[str, Callable[[int], xr.Dataset]] = {
    **{name: partial(wells, name) for name in WELLS},
    "reaction_times": reaction_times,
    "ion_channel": ion_channel,
    "telegraph": telegraph,
    "white_noise": white_noise,
    **{f"ar1_{channels}": partial(autoregressive, channels) for channels in (1, 2, 5)},
    "flat_quartic": flat_quartic,
    "skewed": skewed,
    "ring": ring,
    "random_walk": random_walk,
    "trend": trend,
    "sine": sine,
}
"""What is simulated, by seed."""

RECORDINGS: dict[str, Callable[[Path], xr.Dataset]] = {
    "riboswitch_steady": partial(riboswitch, "steady"),
    "riboswitch_drifting": partial(riboswitch, "drifting"),
    "ngrip": ngrip,
    "gisp2": gisp2,
    "alanine": alanine,
}
"""What is read from a folder."""


def made(name: str, seed: int, folder: Path | None) -> xr.Dataset:
    """A system by its name; `folder` holds the recordings that are not simulated."""
    return SYSTEMS[name](seed) if name in SYSTEMS else RECORDINGS[name](folder)
