"""Wells of the package deeptime, with exact answers from a generator on a grid, seen through a random curved map."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import deeptime
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pyro_nld import datasets

Array = NDArray[np.float64]

CHANNELS, NOISE = 10, 0.1  # of the curved map; noise in standard deviations of each channel
HIDDEN = 20  # tanh units of the curved map
RELAXATIONS = 900  # of the slowest process, in a recording of wells, if FRAMES allow it
FRAMES = (20_000, 60_000)
STRETCH = 4.0  # a recording that would see its slowest process less than ten times is sampled more coarsely, up to this


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
    "quadruple_well_asymmetric": Wells(deeptime.data.quadruple_well_asymmetric, 0.18, 4, ((-2.0, 2.0, 90),) * 2, 1e-3),
}


def exact(system: Wells) -> xr.Dataset:
    """Stationary law, basins and relaxation times of a system, from its generator on a grid.

    Neighbouring cells exchange by the exponentially fitted rates D/h² · B(∓f h/D), B(x) = x/(eˣ − 1), which are exact
    for a constant force (Scharfetter and Gummel 1969). A basin is where steepest ascent of the law ends.

    Returns
    -------
    `weight (state)` from left to right along the first axis, `centre (state, axis)`, `relaxation (process)` in time,
    one more than states can carry: the last is the slowest process inside a well; `basin (*grid)`.
    """
    axes = [np.linspace(*edges) for edges in system.box]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    law, times = _spectrum(_generator(system, axes, grid), system.number)
    basin = _basins(law.reshape(grid.shape[:-1]), system.number)
    centres = np.array(
        [grid.reshape(-1, len(axes))[np.where(basin.ravel() == s, law, 0).argmax()] for s in range(basin.max() + 1)]
    )
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


def relaxation_among(system: Wells, answer: xr.Dataset, visited: NDArray[np.bool_]) -> Array:
    """Relaxation times `(process,)` between the states that a recording visited, from the generator on their basins.

    Nothing can be said of a state that a recording never was in: its cells are taken away, and nothing passes there.

    Parameters
    ----------
    answer: from `exact`. visited: which of its states `(state,)`.
    """
    axes = [np.linspace(*edges) for edges in system.box]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    kept = np.flatnonzero(visited[answer["basin"].values.ravel()])
    among = _generator(system, axes, grid)[kept][:, kept]
    among = among - scipy.sparse.diags(np.asarray(among.sum(1)).ravel())
    return _spectrum(among, int(visited.sum()))[1][:-1]


def _generator(system: Wells, axes: list[Array], grid: Array) -> scipy.sparse.csr_matrix:
    force = system.make().f
    place = np.arange(grid[..., 0].size).reshape(grid.shape[:-1])
    rows, columns, rates = [], [], []
    for axis, points in enumerate(axes):
        h = points[1] - points[0]
        low, high = (np.take(place, range(start, len(points) - 1 + start), axis).ravel() for start in (0, 1))
        middle = (grid.reshape(-1, len(axes))[low] + grid.reshape(-1, len(axes))[high]) / 2
        push = np.array([np.atleast_1d(force(0.0, point))[axis] for point in middle]) * h / system.diffusion
        push = np.where(np.abs(push) < 1e-6, 1e-6, np.clip(push, -300, 300))
        for start, end, x in ((low, high, -push), (high, low, push)):
            rows.append(start)
            columns.append(end)
            rates.append(system.diffusion / h**2 * x / np.expm1(x))
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
    """Where steepest ascent from each cell ends: the `number` heaviest maxima, lesser ones joined to the nearest."""
    around = sliding_window_view(np.pad(law, 1, constant_values=-1.0), (3,) * law.ndim).reshape(*law.shape, -1)
    shift = np.stack(np.unravel_index(around.argmax(-1), (3,) * law.ndim)) - 1
    up = np.ravel_multi_index(tuple(np.indices(law.shape) + shift), law.shape).ravel()
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


def simulated(name: str, seed: int, frames: int | None = None) -> xr.Dataset:
    """A system of `WELLS` from its stationary law on, seen through a random curved map with 10 % noise.

    `relaxation` holds the processes between the states that the recording visits.
    """
    system, answer = WELLS[name], exact(WELLS[name])
    random = np.random.default_rng((1, seed))
    interval, usual = sampling(answer["relaxation"].values)
    frames = usual if frames is None else frames
    path = followed(system, answer, interval, frames, random)
    states = _looked_up(path, answer["basin"].values, system.box)
    visited = np.isin(np.arange(system.number), states)
    times = answer["relaxation"].values[:-1] if visited.all() else relaxation_among(system, answer, visited)
    data = datasets.from_arrays(interval * np.arange(frames), curved(path, random)[None], states[None])
    return answered(data, "wells", system.number, interval, weights=answer["weight"].values, relaxation=times)


def followed(system: Wells, answer: xr.Dataset, interval: float, frames: int, random: np.random.Generator) -> Array:
    """True positions `(frame, axis)`, begun in a basin by its weight.

    Parameters
    ----------
    answer: from `exact`. random: of the beginning, and of the seed of the path.
    """
    model = system.make(h=system.step, n_steps=round(interval / system.step))
    start = answer["centre"].values[random.choice(system.number, p=answer["weight"].values)]
    return model.trajectory(start, frames + 20, seed=int(random.integers(2**31)), n_jobs=1)[20:]


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


def answered(data: xr.Dataset, kind: str, number: int, interval: float, **known: object) -> xr.Dataset:
    """A recording with its known answer in its attributes; see `recordings`."""
    lists = {name: np.asarray(value, float) for name, value in known.items()}
    return data.assign_attrs(kind=kind, number=number, interval=interval, **lists)
