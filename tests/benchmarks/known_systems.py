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

import numpy as np
import xarray as xr
from benchmarks.known_wells import NOISE, WELLS, answered, wells
from numpy.typing import NDArray

from pyro_nld import datasets

Array = NDArray[np.float64]

NULL_FRAMES = 6_000
CORE = 30.0  # degrees around the centre of a basin of alanine


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
    return answered(data, "switching", 2, 1.0, weights=[0.5, 0.5], relaxation=[relaxation], dwell=[dwell, dwell])


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
    return answered(data, "switching", 2, 1.0, weights=[1 - share, share], dwell=dwell)


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
    data["smoothed"] = ("sequence", "time"), _smoothed(x)
    dwell = 1 / np.asarray(REACTION["leave"])
    relaxation = -1 / np.log(1 - sum(REACTION["leave"]))
    return answered(data, "switching", 2, 1.0, weights=REACTION["weights"], relaxation=[relaxation], dwell=dwell)


def _smoothed(x: Array) -> NDArray[np.int64]:
    """Labels of the smoother that knows the two-regime model; −1 after the end of a series."""
    level, spread, right, leave = (np.asarray(REACTION[name]) for name in ("level", "spread", "right", "leave"))
    hit = np.where(x[..., 1:] > 0.5, right, 1 - right)
    density = np.exp(-0.5 * ((x[..., :1] - level) / spread) ** 2) / spread * hit
    chain = np.array([[1 - leave[0], leave[0]], [leave[1], 1 - leave[1]]])
    labels = np.full(x.shape[:2], -1)
    for row, length in enumerate(REACTION["lengths"]):
        labels[row, :length] = smoother(density[row, :length], chain, np.asarray(REACTION["weights"])).argmax(-1)
    return labels


def smoother(density: Array, chain: Array, initial: Array) -> Array:
    """P(state at t | all observations) `(time, state)` of a hidden chain, forward and backward.

    Parameters
    ----------
    density: p(xₜ | state), `(time, state)`. chain: P(state → next), rows sum to one. initial: law of the first state.
    """
    forward, backward = density.copy(), np.ones_like(density)
    forward[0] *= initial
    for t in range(1, len(density)):
        forward[t] *= forward[t - 1] @ chain / forward[t - 1].sum()
    for t in range(len(density) - 2, -1, -1):
        backward[t] = chain @ (density[t + 1] * backward[t + 1])
        backward[t] /= backward[t].sum()
    both = forward * backward
    return both / both.sum(-1, keepdims=True)


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
    return answered(datasets.from_arrays(interval * np.arange(len(x)), x[None]), kind, 1, interval)


# Recordings that may not be copied here: read from a folder that the user gives


def riboswitch(part: str, folder: Path) -> xr.Dataset:
    """Extension in nm of an add riboswitch in optical tweezers, every millisecond (Neupane et al. 2011)."""
    with np.load(folder / "riboswitch_tweezers.npz") as held:
        x, interval = held[part].astype(float), float(held["dt_ms"])
    data = datasets.from_arrays(interval * np.arange(len(x)), x[None, :, None])
    known = {"weights": [0.82, 0.18], "dwell": [119, 26], "relaxation": [20.8], "levels": [710.1, 702.6]}
    return answered(data, "wells", 2, interval, **(known if part == "steady" else {}))


def ngrip(folder: Path) -> xr.Dataset:
    """δ¹⁸O and log dust of 60 to 11.7 thousand years ago, 20-year means; `states` are the experts' (1 is warm)."""
    with np.load(folder / "ngrip.npz") as held:
        data = datasets.from_arrays(held["times"], held["observations"][None].astype(float), held["warm"][None])
    return answered(data, "wells", 2, 20.0, weights=[0.606, 0.394], dwell=[1330, 865])


def gisp2(folder: Path) -> xr.Dataset:
    """δ¹⁸O of the GISP2 core at irregular times (Grootes and Stuiver 1997): weak evidence for two states."""
    with np.load(folder / "gisp2.npz") as held:
        data = datasets.from_arrays(held["times"], held["observations"][None])
    return answered(data, "wells", 2, float(np.median(np.diff(data["time"]))))


def alanine(folder: Path) -> xr.Dataset:
    """45 distances of alanine dipeptide; `states` are its basins β, α_R, α_L by φ and ψ, `core` their middles."""
    with np.load(folder / "alanine_dipeptide.npz") as held:
        data = datasets.from_arrays(held["times"], held["observations"].astype(float), held["basin"])
        phase = np.exp(1j * np.deg2rad(np.stack([held["phi"], held["psi"]], -1).astype(float)))
    core = np.full(data["states"].shape, -1)
    for state in range(3):
        centre = phase[data["states"].values == state].mean(0)
        off = np.rad2deg(np.abs(np.angle(phase / centre)))
        core[(data["states"].values == state) & (np.linalg.norm(off, axis=-1) < CORE)] = state
    data["core"] = ("sequence", "time"), core
    return answered(data, "wells", 3, 1.0, weights=[0.591, 0.360, 0.049], relaxation=[250, 7.5])


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

NULLS = ("white_noise", "ar1_1", "ar1_2", "ar1_5", "flat_quartic", "skewed", "ring", "random_walk", "trend", "sine")
"""Those without states."""


def names(folder: Path | None) -> list[str]:
    """All that can be made; without a folder only those that are simulated."""
    return [*SYSTEMS, *(RECORDINGS if folder is not None else {})]


def made(name: str, seed: int, folder: Path | None) -> xr.Dataset:
    """A system by its name; `folder` holds the recordings that are not simulated."""
    return SYSTEMS[name](seed) if name in SYSTEMS else RECORDINGS[name](folder)
