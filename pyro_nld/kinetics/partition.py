"""A fine partition of encoded data: cells, counts of pairs of cells, slow functions of a cell, implied timescales."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from .._typing import Array

States = NDArray[np.integer]
Where = NDArray[np.bool_]

CELLS = 40  # of the partition, at most
POINTS = 50  # in a cell on average, at least
SAMPLE = 20_000  # points that cells are found from
LAGS = 11  # lags of 1, 2, 4, … observations, up to an eighth of the longest sequence
MODES = 4  # slowest functions
FEWEST = 200  # observations below which nothing is counted


class Series(NamedTuple):
    """Encoded data `(sequence, time, latent)` with their times, and the lags to look at."""

    positions: Array
    times: Array
    step: float  # the usual observation interval
    lags: list[int]

    def pairs(self, there: Where, lag: int) -> tuple[States, States]:
        """Flat indices of observations `lag` intervals apart that are both there; none across a pause."""
        off = np.abs(self.times[:, lag:] - self.times[:, :-lag] - lag * self.step)
        both = there[:, :-lag] & there[:, lag:] & (off <= 0.5 * lag * self.step)
        begin = np.flatnonzero(np.pad(both, ((0, 0), (0, lag))))
        return begin, begin + lag


def step_of(times: Array) -> float:
    """The usual observation interval."""
    gaps = np.diff(times)
    return float(np.median(gaps[np.isfinite(gaps)])) if np.isfinite(gaps).any() else np.nan


def lags_of(times: Array) -> list[int]:
    """1, 2, 4, … observations, up to an eighth of the longest sequence."""
    longest = int(np.isfinite(times).sum(-1).max(initial=0))
    return [2**power for power in range(LAGS) if 8 * 2**power <= longest]


def cells_of(positions: Array, there: Where, seed: int) -> States:
    """The cell of every observation `(sequence, time)`, −1 where there is none, by k-means."""
    points = positions[there]
    points = (points - points.mean(0)) / np.maximum(points.std(0), 1e-300)
    draw = np.random.default_rng(seed)
    some = points if len(points) <= SAMPLE else draw.choice(points, SAMPLE, replace=False)
    count = int(np.clip(len(points) / POINTS, 4, CELLS))
    centres = np.unique(some, axis=0)
    if len(centres) > count:  # otherwise each place is a cell: channels may be discrete
        centres, _ = kmeans2(some, count, minit="++", seed=draw)
    cell = np.full(there.shape, -1)
    cell[there] = cKDTree(centres).query(points)[1]
    return cell


def both_ways(here: States, to: States, cells: int) -> Array:
    """Pairs in both directions."""
    counts = np.bincount(here * cells + to, minlength=cells**2).reshape(cells, cells).astype(float)
    return counts + counts.T


def whitened(counts: Array) -> tuple[Array, Array]:
    """Π^-½ C Π^-½ without its stationary part, and √Π, of symmetric counts `(*batch, cell, cell)`."""
    joint = counts / counts.sum((-1, -2), keepdims=True)
    root = np.sqrt(joint.sum(-1))
    safe = np.where(root > 0, root, 1.0)
    outer = root[..., :, None] * root[..., None, :]
    return joint / safe[..., :, None] / safe[..., None, :] - outer, root


def slowest(counts: Array) -> Array:
    """The slowest functions of a cell `(cell, mode)`."""
    matrix, root = whitened(counts)
    vectors = np.linalg.eigh(matrix)[1][:, ::-1][:, :MODES]
    return np.asarray(vectors / np.where(root > 0, root, np.inf)[:, None])


def timescales(series: Series, labels: States, seed: int) -> dict[str, tuple[tuple[str, str], Array]]:
    """Implied timescales of partition and states at every lag, and how much of the former the states carry."""
    there = np.isfinite(series.times) & np.isfinite(series.positions).all(-1) & (labels >= 0)
    states, rows = int(labels.max(initial=0)) + 1, len(series.lags)
    fine, coarse, carried = (np.full((rows, columns), np.nan) for columns in (MODES, states - 1, MODES))
    cell = cells_of(series.positions, there, seed) if there.sum() >= FEWEST else np.zeros(there.shape, int)
    cells = int(cell.max(initial=0)) + 1
    both = (cell * states + labels).ravel()
    for row, lag in enumerate(series.lags):
        begin, end = series.pairs(there, lag)
        if there.sum() < FEWEST or len(begin) < FEWEST:
            continue
        counts = both_ways(both[begin], both[end], cells * states).reshape(cells, states, cells, states)
        of_cells, of_states = counts.sum((1, 3)), counts.sum((0, 2))
        slow = min(MODES, cells - 1)  # few places have few processes between them
        fine[row, :slow] = _implied(of_cells, lag * series.step)[:MODES]
        coarse[row] = _implied(of_states, lag * series.step)
        carried[row, :slow] = _carried(slowest(of_cells), of_cells, counts.sum((1, 2)), of_states)[:slow]
    return {"partition": (("lag", "mode"), fine), "states": (("lag", "state_mode"), coarse),
            "carried": (("lag", "mode"), carried)}  # fmt: skip


def carried(value: Array, labels: States, series: Series, lag: int) -> float:
    """How much of a function of the data the states carry: E[f·1]E[1·1]⁻¹E[1·f]/E[f·f], of pairs a lag apart.

    Noise that is new in every observation leaves such pairs alone. 1 where the function is one of the state alone.

    Parameters
    ----------
    value: mean 0, of every observation `(sequence, time)`, NaN where it is not known. labels: of every observation, −1
        for none. series: with their times. lag: between observations of a pair, from one on.

    Examples
    --------
    >>> from pyro_nld.kinetics.partition import Series, carried
    >>> level = (np.arange(4000) // 50 % 2)[None]
    >>> series = Series(level[..., None].astype(float), np.arange(4000.0)[None], 1.0, [1, 2, 4])
    >>> round(carried(level - 0.5, level, series, 4), 2), round(carried(level - 0.5, 0 * level, series, 4), 2)
    (1.0, 0.0)
    """
    longest = labels.shape[1] - 1
    begin, end = series.pairs((labels >= 0) & np.isfinite(value), min(max(lag, 1), longest))
    f, state = np.asarray(value).ravel(), np.eye(int(labels.max(initial=0)) + 1)[labels.ravel()]
    across = (f[end] @ state[begin] + f[begin] @ state[end]) / 2
    own = (state[begin].T @ state[end] + state[end].T @ state[begin]) / 2
    total = f[begin] @ f[end]
    return float(_explained(across[None], own, np.array([total]))[0]) if total > 0 else 0.0


def _implied(counts: Array, length: float) -> Array:
    value = np.sort(np.linalg.eigvalsh(whitened(counts)[0]))[::-1][: len(counts) - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(value > 0, -length / np.log(np.minimum(value, 1 - 1e-12)), np.nan))


def _carried(functions: Array, cells: Array, mixed: Array, states: Array) -> Array:
    """Cψs C⁻¹ss Csψ / Cψψ, from pairs a lag apart, which noise leaves alone."""
    across, own = functions.T @ (mixed - np.outer(cells.sum(1), states.sum(0)) / cells.sum()), states / states.sum()
    own = own - np.outer(own.sum(1), own.sum(1))
    across = across / cells.sum()
    total = np.einsum("cm,cd,dm->m", functions, cells / cells.sum(), functions)
    return _explained(across, own, total)


def _explained(across: Array, own: Array, total: Array) -> Array:
    """Cψs C⁻¹ss Csψ / Cψψ of functions ψ `(mode,)` by states s."""
    parts = np.einsum("ms,st,mt->m", across, np.linalg.pinv(own), across)
    return np.asarray(np.clip(parts / np.maximum(total, 1e-300), 0, 1))
