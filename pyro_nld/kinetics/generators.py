"""The exact kinetics of an overdamped landscape of one or two axes: its generator on a grid.

A generator L acts on functions of the cells: (L f)_i = Σ_j L_ij (f_j − f_i), L_ij the rate of hops from cell i to its
neighbour j. Committors, passage times and relaxation times are linear algebra with it. Where a grid is too large, in
three axes or more, the same questions are answered by simulation (`kinetics`).

Examples
--------
In a harmonic well the slowest relaxation time is γ/k:

>>> dynamics = nld.OverdampedLangevin(nld.Quadratic([2.0]), temperature=1.0, friction=1.0)
>>> grid = nld.generators.generator(dynamics, [-4.0], [4.0], cells=400)
>>> nld.generators.relaxation_times(grid, 1).round(2).tolist()
[0.5]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import eigsh, spsolve
from scipy.special import exprel

from .._typing import Array
from ..dynamics.circles import circles_of
from ..dynamics.equations import OverdampedLangevin
from ..errors import ShapeError

Mask = NDArray[np.bool_]
CELLS = {1: 2000, 2: 150}  # per axis
FAINT = 1e-7  # weight of a cell beside the largest, below which nobody is there
NOWHERE = 1e-12  # chance of being in no core ever after, so that a place from which none is reached has an answer
SPARE = 4  # slow processes beyond those of the states, which may go on inside one of them


class Generator(NamedTuple):
    """Cells and the rates between them; time in the dynamics' unit."""

    centres: Array  # (cell, latent)
    weight: Array  # (cell,), exp(−U/T), normalised
    rates: sparse.csr_matrix  # (cell, cell), rows sum to zero
    shape: tuple[int, ...]


def generator(
    dynamics: OverdampedLangevin, low: Sequence[float] | Array, high: Sequence[float] | Array, cells: int | None = None
) -> Generator:
    """L_ij = (T/γ h²) b((U_j − U_i)/T), b(x) = x/(eˣ − 1): hops between neighbouring cells, reflected at the box.

    An axis on which U has a period, and that the box covers once, is a circle: its last cell is beside its first.

    Where γ depends on the position, 1/γ is the mean of two cells. Detailed balance with exp(−U/T) holds exactly; on one
    axis the scheme is exact for a piecewise linear U.

    Parameters
    ----------
    dynamics: overdamped, of one or two axes, with fixed quantities.
    low, high: corners of the box, `(latent,)`.
    cells: per axis; 2000 on one axis and 150 on each of two when None.

    Raises
    ------
    ShapeError: more than two axes, or corners that are not a box.

    References
    ----------
    D. L. Scharfetter, H. K. Gummel, IEEE Transactions on Electron Devices 16:64–77, 1969.
    """
    latent = dynamics.latent
    corners = np.asarray([low, high], float)
    if latent > 2 or corners.shape != (2, latent) or not (corners[0] < corners[1]).all():
        raise ShapeError(
            f"a grid needs one or two axes and a lowest and highest corner: got {latent} axes and corners "
            f"{corners.tolist()}. In more axes, simulate."
        )
    circles, count = circles_of(dynamics.potential), cells or CELLS[latent]
    across = corners[1] - corners[0]
    closed = [axis for axis in circles.round if np.isclose(across[axis], circles.periods[axis])] if circles else []
    width = across / count
    axes = [corners[0, k] + width[k] * (np.arange(count) + 0.5) for k in range(latent)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, latent)
    temperature = float(dynamics.temperature)
    with torch.no_grad():
        friction = dynamics.friction_at(torch.as_tensor(centres, dtype=torch.get_default_dtype()))
        mobility = (1 / friction.double()).expand(len(centres), latent).numpy()
    energy = _energies(dynamics, centres) / temperature
    shape = (count,) * latent
    number = np.arange(len(centres)).reshape(shape)
    rows, columns, rates = [], [], []
    for axis in range(latent):
        pairs = count if axis in closed else count - 1
        here, there = (number.take(part, axis).ravel() for part in (range(pairs), [*range(1, count), 0][:pairs]))
        rate = temperature / width[axis] ** 2 * 0.5 * (mobility[here, axis] + mobility[there, axis])
        for i, j in ((here, there), (there, here)):
            rows.append(i)
            columns.append(j)
            rates.append(rate / exprel(energy[j] - energy[i]))
    hops = sparse.coo_matrix(
        (np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns))), shape=(len(centres),) * 2
    ).tocsr()
    stay = sparse.diags(np.asarray(hops.sum(1)).ravel())
    weight = np.exp(energy.min() - energy)
    return Generator(centres, weight / weight.sum(), (hops - stay).tocsr(), shape)


def committor(grid: Generator, source: Mask, target: Mask) -> Array:
    """Q, the probability to enter `target` before `source`: L q = 0 outside, q = 0 in source, 1 in target.

    Parameters
    ----------
    grid: from `generator`. source, target: which cells, `(cell,)`, disjoint and not empty.
    """
    value = target.astype(float)
    free = ~(source | target)
    value[free] = spsolve(grid.rates[free][:, free].tocsc(), -grid.rates[free] @ value)
    return value


def passage_time(grid: Generator, target: Mask) -> Array:
    """Mean first passage time to `target` from every cell: L τ = −1 outside, τ = 0 inside.

    Parameters
    ----------
    grid: from `generator`. target: which cells, `(cell,)`, not empty.
    """
    time = np.zeros(len(target))
    time[~target] = spsolve(grid.rates[~target][:, ~target].tocsc(), -np.ones((~target).sum()))
    return time


def relaxation_times(grid: Generator, count: int) -> Array:
    """−1/λ of the `count` slowest processes, longest first.

    Parameters
    ----------
    grid: from `generator`. count: how many.
    """
    return _times(_slowest(grid, count)[0])


def core_relaxation_times(grid: Generator, core: NDArray[np.integer], states: int) -> Array:
    """−1/λ of the `states` − 1 processes that the cores tell apart best, longest first.

    A slow process may go on inside a state that has merged two wells. Those are taken whose function of z lies closest
    to the space of the committors q_k of the cores.

    Parameters
    ----------
    grid, core, states: as for `core_kinetics`.
    """
    if states == 1:
        return np.empty(0)
    value, function = _slowest(grid, states - 1 + SPARE)
    space = np.linalg.qr((_core_committors(grid, core, states) * np.sqrt(grid.weight)).T)[0]
    near = np.square(space.T @ function).sum(0)
    return _times(np.sort(value[np.argsort(-near)[: states - 1]]))


def _times(value: Array) -> Array:
    """1/λ; NaN where a process is too slow to be told from none."""
    return np.where(value > 0, 1 / np.where(value > 0, value, 1.0), np.nan)


def _slowest(grid: Generator, count: int) -> tuple[Array, Array]:
    """Rates λ > 0 `(process,)`, slowest first, and eigenfunctions times √weight `(cell, process)`, of norm 1."""
    value, vector = eigsh((-_symmetric(grid.rates)).tocsc(), count + 1, sigma=-1e-9, which="LM")
    order = np.argsort(value)[1:]
    return value[order], vector[:, order]


def _symmetric(rates: sparse.csr_matrix) -> sparse.csr_matrix:
    """√π L /√π, with the elements √(L_ij L_ji), since π_i L_ij = π_j L_ji: also where π is too small for a division."""
    stay = sparse.diags(rates.diagonal())
    hops = rates - stay
    return hops.multiply(hops.T).sqrt() + stay


def core_kinetics(grid: Generator, core: NDArray[np.integer], states: int) -> tuple[Array, Array]:
    """Mean dwell `(state,)` and rates `(state, to)` of the process that remembers which core it visited last.

    With q_k the committor to core k and not to any other: dwell_k = ⟨q_k⟩ / capacity_k, and the rate from k to l is
    the flux of reactive paths over ⟨q_k⟩. Exact for continuous observation.

    Parameters
    ----------
    grid: from `generator`.
    core: core each cell belongs to, `(cell,)`, −1 for none.
    states: number of cores, each of at least one cell.

    References
    ----------
    Ch. Schütte et al., Markov state models based on milestoning, J. Chem. Phys. 134:204105, 2011.
    """
    last = _core_committors(grid, core, states)
    share = last @ grid.weight
    # ⟨q_k, L q_l⟩ is the flow from k to l, since L q_l vanishes outside the cores
    flux = (last * grid.weight) @ (grid.rates @ last.T)
    rates = flux / share[:, None]
    np.fill_diagonal(rates, np.nan)
    return 1 / np.nansum(rates, 1) if states > 1 else np.full(states, np.inf), rates


def seen_dwell(grid: Generator, core: NDArray[np.integer], states: int, interval: float) -> Array:
    """Mean dwell `(state,)` for an observer who looks once an interval Δt, as `core_kinetics` for one who never stops.

    With P = exp(L Δt) and q_k = P q_k outside the cores, the chance that of all cores k was seen last: the exits are
    ⟨q_k, P 1_l⟩, and dwell_k = Δt ⟨q_k⟩ / Σ_l ⟨q_k, P 1_l⟩. It is longer, for visits between two looks are not seen.

    Parameters
    ----------
    grid, core, states: as for `core_kinetics`; of some hundred cells, for P is dense. interval: Δt.
    """
    there = grid.weight > FAINT * grid.weight.max()  # reflected where nobody is
    hops = grid.rates[there][:, there]
    hops = hops - sparse.diags(np.asarray(hops.sum(1)).ravel())
    value, vector = linalg.eigh(_symmetric(hops).toarray(), overwrite_a=True)
    step = (vector * np.exp(value * interval)) @ vector.T  # √π P /√π
    root, core = np.sqrt(grid.weight[there]), core[there]
    ends = np.stack([root * (core == k) for k in range(states)])  # √π 1_k
    free, last = core < 0, ends.copy()
    outside = (1 + NOWHERE) * np.eye(free.sum()) - step[free][:, free]
    last[:, free] = linalg.solve(outside, step[free] @ ends.T, assume_a="pos").T
    exits = last @ step @ ends.T
    np.fill_diagonal(exits, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):  # never left, or with a core between two cells
        return np.asarray(interval * (last @ root) / exits.sum(1))


def _core_committors(grid: Generator, core: NDArray[np.integer], states: int) -> Array:
    """To be in core k before any other `(state, cell)`, which is to have been there last."""
    return np.stack([committor(grid, (core >= 0) & (core != k), core == k) for k in range(states)])


def core_passage_times(grid: Generator, core: NDArray[np.integer], states: int) -> Array:
    """Mean first passage times `(state, to)` from core to core, averaged over exp(−U/T) in the first.

    Parameters
    ----------
    grid, core, states: as for `core_kinetics`.
    """
    passage = np.zeros((states, states))
    for to in range(states):
        time = passage_time(grid, core == to)
        for state in range(states):
            passage[state, to] = np.average(time[core == state], weights=grid.weight[core == state])
    return passage


def _energies(dynamics: OverdampedLangevin, points: Array) -> Array:
    with torch.no_grad():
        parts = torch.as_tensor(points, dtype=torch.get_default_dtype()).split(100_000)
        return torch.cat([dynamics.potential(part) for part in parts]).double().numpy()
