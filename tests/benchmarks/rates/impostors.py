"""Small systems: ten diffuse in a landscape, eleven look like it and do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

import pyro_nld as nld
from pyro_nld.dynamics.equations import Overdamped

SEQUENCES, STEPS, INTERVAL, FINE = 60, 100, 0.2, 20
NOISE = 0.2  # standard deviation of an observation
LEVEL = 1.5  # of two levels, above and below zero
DWELL = 12.0  # mean time in a state
PULL, HEAT = 4.0, 0.6  # of a level on what follows it: time constant ¼, variance HEAT/PULL

Series = NDArray[np.floating]
"""Observations `(sequence, time, channel)`."""


# Diffusion in a landscape


def diffusing(potential: nld.Potential, seed: int, box: tuple[float, float] = (-5.0, 5.0)) -> Series:
    """dz = −∇U dt + √2 dW, observed with noise."""
    data = nld.datasets.langevin_wells(potential, SEQUENCES, STEPS, seed, interval=INTERVAL, noise=NOISE, box=box)
    found: Series = data["observations"].values
    return found


def wells(*centres: tuple[float, ...], weights: tuple[float, ...] | None = None, widths: float | list = 0.5):
    """Gaussian wells at these places."""
    return nld.GaussianWells(list(map(list, centres)), weights=weights, widths=widths)


LANGEVIN: dict[str, Callable[[int], Series]] = {
    "two equal wells": partial(diffusing, nld.DoubleWell(2.0, 2.0)),
    "two wells, tilted": partial(diffusing, nld.Tilted(nld.DoubleWell(2.0, 2.0), [0.2])),
    "two wells, 3 kT": partial(diffusing, nld.DoubleWell(3.0, 1.8)),
    "two wells, 1.5 kT": partial(diffusing, nld.DoubleWell(1.5, 2.2)),
    "a narrow and a wide well": partial(diffusing, wells((-1.6,), (1.4,), widths=[0.45, 0.9])),
    "a deep and a shallow well": partial(diffusing, wells((-1.4,), (1.4,), weights=(0.8, 0.2), widths=0.6)),
    "three wells on a line": partial(diffusing, wells((-2.4,), (0.0,), (2.4,), widths=0.6)),
    "three unequal wells on a line": partial(diffusing, wells((-2.2,), (0.0,), (2.6,), weights=(0.5, 0.2, 0.3))),
    "three wells on a plane": partial(diffusing, wells((-1.4, -0.8), (1.4, -0.8), (0.0, 1.6), widths=0.55)),
    "two wells on a plane": partial(diffusing, wells((-1.3, -0.5), (1.3, 0.5), weights=(0.6, 0.4), widths=0.6)),
}  # fmt: skip


# And what is none


def held(draw: np.random.Generator, next_state: Callable[[int], int], dwell: Callable[[int], float], first: int):
    """The state at every fine time of one sequence that has gone on for a while."""
    times = np.arange(STEPS * FINE) * INTERVAL / FINE
    clock, state, changes, states = -20.0 * DWELL * draw.random() - DWELL, first, [], []
    while clock < times[-1]:
        changes.append(clock)
        states.append(state)
        clock, state = clock + dwell(state), next_state(state)
    return np.array(states)[np.searchsorted(changes, times, side="right") - 1]


def switching(
    seed: int,
    levels: Series,
    dwell: Callable[[np.random.Generator, int], float],
    order: Callable[[np.random.Generator, int], int] | None = None,
    followed: bool = False,
) -> Series:
    """Levels `(state, channel)` that switch, seen with noise; `followed`: by a particle that each level pulls."""
    draw, count = np.random.default_rng(seed), len(levels)
    turn = order or (lambda draw, state: (state + int(draw.integers(1, count))) % count)
    rows = []
    for _ in range(SEQUENCES):
        own = held(draw, lambda state: turn(draw, state), lambda state: dwell(draw, state), int(draw.integers(count)))
        path = levels[own]
        path = _follow(draw, path) if followed else path + np.sqrt(HEAT / PULL) * draw.standard_normal(path.shape)
        rows.append(path[::FINE])
    x = np.stack(rows)
    return x + NOISE * draw.standard_normal(x.shape)


def _follow(draw: np.random.Generator, level: Series) -> Series:
    """dx = −PULL (x − level) dt + √(2 HEAT) dW."""
    h, x, found = INTERVAL / FINE, level[0].copy(), np.empty_like(level)
    for place, target in enumerate(level):
        x = x - h * PULL * (x - target) + np.sqrt(2 * HEAT * h) * draw.standard_normal(x.shape)
        found[place] = x
    return found


def exponential(draw: np.random.Generator, state: int) -> float:
    """A dwell time without memory."""
    return float(draw.exponential(DWELL))


def regular(draw: np.random.Generator, state: int) -> float:
    """A dwell time that varies by a fifth."""
    return float(draw.gamma(25.0, DWELL / 25.0))


def heavy(draw: np.random.Generator, state: int) -> float:
    """Mostly short, sometimes very long dwell times."""
    return float(draw.exponential(0.3 * DWELL if draw.random() < 0.9 else 7.3 * DWELL))


def alike(draw: np.random.Generator, state: int) -> float:
    """States 0 and 1 show one level, 2 and 3 the other; 1 and 3 are left ten times sooner."""
    return float(draw.exponential(DWELL if state % 2 == 0 else DWELL / 10))


def turning(draw: np.random.Generator, state: int) -> int:
    """0 → 1 → 2 → 0."""
    return (state + 1) % 3


class Whirl(Overdamped):
    """dz = −(1 + c R) ∇U dt + √2 dW, R a quarter turn: exp(−U) stays stationary, and it goes round."""

    def __init__(self, energy: nld.Potential, circulation: float) -> None:
        super().__init__(energy.latent, 1.0, 1.0)
        self.energy, self.circulation = energy, circulation

    def force(self, z):
        """−(1 + c R) ∇U(z)."""
        slope = self.energy.gradient(z)
        return -(slope + self.circulation * slope.flip(-1) * slope.new_tensor([-1.0, 1.0]))


def whirling(seed: int) -> Series:
    """Three wells on a plane, in a flow that circles."""
    energy = wells((-1.4, -0.8), (1.4, -0.8), (0.0, 1.6), widths=0.55)
    dynamics, starts = (
        Whirl(energy, 3.0),
        0.5 * torch.randn(SEQUENCES, 2, generator=torch.Generator().manual_seed(seed)),
    )
    scheme = nld.dynamics.integrators.default_integrator(dynamics)
    path = nld.kinetics.chain(
        dynamics, scheme, starts, interval=INTERVAL, substeps=2 * FINE, intervals=STEPS + 50, seed=seed
    )[:, 50:]
    return path.numpy() + NOISE * np.random.default_rng(seed).standard_normal(path.shape)


def spiking(seed: int) -> Series:
    """A FitzHugh–Nagumo oscillator in noise, of which the fast variable is seen: it jumps when the slow one says so."""
    draw, h = np.random.default_rng(seed), INTERVAL / FINE
    v, w, found = draw.choice([-1.2, 1.2], SEQUENCES), draw.uniform(-0.4, 0.4, SEQUENCES), []
    for place in range((STEPS + 100) * FINE):
        if place % FINE == 0 and place >= 100 * FINE:
            found.append(v)
        rise = 3 * (v - v**3 / 3 - w)
        v, w = v + h * rise + 0.25 * np.sqrt(h) * draw.standard_normal(SEQUENCES), w + h * 0.15 * (v - 0.3 * w)
    x = np.stack(found, 1)[..., None]
    return x + NOISE * draw.standard_normal(x.shape)


TWO, THREE = np.array([[-LEVEL], [LEVEL]]), np.array([[-1.4, -0.8], [1.4, -0.8], [0.0, 1.6]])
OTHERS: dict[str, Callable[[int], Series]] = {
    "two levels that switch at once": partial(switching, levels=TWO, dwell=exponential),
    "three levels that switch at once": partial(switching, levels=THREE, dwell=exponential),
    "three levels in turn, at once": partial(switching, levels=THREE, dwell=exponential, order=turning),
    "two levels, regular dwell": partial(switching, levels=TWO, dwell=regular),
    "two levels, heavy-tailed dwell": partial(switching, levels=TWO, dwell=heavy),
    "four states, alike in pairs": partial(switching, levels=np.repeat(TWO, 2, 0), dwell=alike),
    "followed: regular dwell": partial(switching, levels=TWO, dwell=regular, followed=True),
    "followed: three levels in turn": partial(switching, levels=THREE, dwell=exponential, order=turning, followed=True),
    "followed: heavy-tailed dwell": partial(switching, levels=TWO, dwell=heavy, followed=True),
    "a landscape in a whirl": whirling,
    "an oscillator that jumps": spiking,
}
