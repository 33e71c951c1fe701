"""Reading a landscape: minima, basins, occupancies, the check of the step, the viewing plane.

Everything takes any callable U, `(*batch, latent)` to `(*batch,)`, and returns Datasets of float64 numbers. Flows go
down the gradient without an autograd graph, so that memory does not grow with their length.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import xarray as xr
from torch import Tensor

from ..dynamics.potentials import Energy, gradient, hessian, in_double
from ..errors import FitError
from . import flows
from .strings import pass_heights

STARTS = 2000  # points that flow in search of minima
LEAST = 1e-2  # spread of the ends, relative to that of the starts, that is told from none
FLAT = 1e-6  # a minimum's largest gradient
CHUNK = 200_000  # points that flow at a time
FAR = 1e3  # times the largest start: whoever gets there has escaped
MANY = 500  # clusters of ends polished at most


def minima(
    potential: Energy,
    starts: Tensor,
    *,
    temperature: float = 1.0,
    min_barrier: float = 1.0,
    moves: Tensor | None = None,
) -> xr.Dataset:
    """Minima of U that points flow down to: dz/ds = −∇U(z), then Newton's method to ‖∇U‖ < 10⁻⁶.

    Parameters
    ----------
    potential: U. Minima of a module are polished in a float64 copy.
    starts: where to start, `(point, latent)`, for example encoded data; at most 2000 of them are used.
    temperature: T, in the unit of U.
    min_barrier: escape barrier in kT below which a dent counts as part of the neighbour it opens to; 0 keeps all.
    moves: successive positions of the data, `(move, 2, latent)`. A dent that does not count then belongs to the state
        that the data exchange most with it. Between states that are rarely left the data know little of the passes,
        and a cloud with two dents could open to another state's.

    Returns
    -------
    Dataset over `state`, by decreasing share of the starts: `position (state, latent)`, `energy`, `gradient_norm`,
    `curvature (state, latent)` (eigenvalues of ∇²U, ascending, all positive), `share`; over `dent`: `dent_position
    (dent, latent)` and `dent_state (dent)`, all minima and the state each belongs to. attrs: `unsettled`, the share of
    starts that reached none.

    Raises
    ------
    FitError: no minimum was found.

    Not checked: whether there are minima that no start flows to.
    """
    exact = in_double(potential)
    points = starts.detach().double().reshape(-1, starts.shape[-1])
    points = flows.some(points, STARTS)
    ends = flows.follow(downhill(exact), points)
    ends = ends[ends.isfinite().all(-1) & (ends.abs() < FAR * points.abs().max()).all(-1)]
    least = LEAST * float(points.std(0).norm()) if len(points) > 1 else 0.0
    found = _merge(exact, polish(exact, ends, least) if len(ends) else ends)
    if not len(found.position):
        raise FitError("no minimum was found: no start flows to one. Is the potential confining, and the fit finished?")
    nearest = torch.cdist(ends, found.position)
    reached = torch.where(nearest.amin(1) < found.reach, nearest.argmin(1), -1)
    state = _joined(exact, found, temperature, min_barrier, moves)
    return _described(exact, found.position, state, reached, len(points))


class _Found(NamedTuple):
    position: Tensor  # (dent, latent)
    energy: Tensor  # (dent,)
    reach: float  # distance at which the end of a flow counts as this minimum


def basins(potential: Energy, wells: xr.Dataset, points: Tensor) -> Tensor:
    """The state each point flows down to, `(*batch, latent)` to `(*batch,)`; −1 where it reaches none.

    A point stops as soon as it enters the core of a minimum, an ellipsoid inside which everything was seen to flow
    inwards.

    Parameters
    ----------
    potential: U. wells: from `minima`. points: any number of them.
    """
    exact, dents = in_double(potential), torch.as_tensor(wells["dent_position"].values)
    found = [core.to(points.dtype) for core in flows.cores(downhill(exact), dents, hessian(exact, dents))]
    owner = torch.as_tensor(wells["dent_state"].values)
    chunks, way = points.detach().reshape(-1, points.shape[-1]).split(CHUNK), downhill(potential)
    label = torch.cat([flows.settle(way, lambda here: flows.core_of(found, here), chunk) for chunk in chunks])
    return torch.where(label < 0, -1, owner[label]).reshape(points.shape[:-1])


def downhill(potential: Energy) -> flows.Velocity:
    """v = −∇U, as `flows` wants it.

    Parameters
    ----------
    potential: U.
    """
    return lambda points: -gradient(potential, points)


# From ends of flows to states


def polish(potential: Energy, ends: Tensor, least: float, steps: int = 50) -> Tensor:
    """Newton's method from one representative of every cluster of ends; what is no minimum in the end is dropped.

    Its moves are short beside the spread of the ends, which in a single well may be nearly none: hence the `least`.

    Parameters
    ----------
    potential: U, in float64. ends: of flows, `(point, latent)`. least: spread they are taken to have at least.
    """
    spread = max(float(ends.std(0).norm()), least) if len(ends) > 1 else 1.0
    points = flows.distinct(ends, 1e-2 * spread + 1e-9)[:MANY]
    for _ in range(steps):
        slope, matrix = gradient(potential, points).detach(), hessian(potential, points)
        value, vector = torch.linalg.eigh(matrix)
        # |eigenvalues|, floored: downhill also where the landscape is not convex yet
        scaled = (vector.mT @ slope.unsqueeze(-1)).squeeze(-1) / value.abs().clamp(min=1e-3 * float(value.abs().max()))
        move = (vector @ scaled.unsqueeze(-1)).squeeze(-1)
        points = points - move * (0.1 * spread / move.norm(dim=-1, keepdim=True).clamp(min=0.1 * spread))
    slope = gradient(potential, points).detach().norm(dim=-1)
    stiff = torch.linalg.eigvalsh(hessian(potential, points))
    return points[(slope < FLAT * stiff[:, -1].clamp(min=1.0)) & (stiff[:, 0] > 0)]


def _merge(potential: Energy, points: Tensor) -> _Found:
    spread = float(points.std(0).norm()) if len(points) > 1 else 1.0
    distinct = flows.distinct(points, 1e-4 * spread + 1e-9)
    gaps = torch.cdist(distinct, distinct).fill_diagonal_(torch.inf)
    reach = 0.5 * float(gaps.min()) if len(distinct) > 1 else torch.inf
    with torch.no_grad():
        return _Found(distinct, potential(distinct) if len(distinct) else distinct.sum(-1), reach)


def _joined(potential: Energy, found: _Found, temperature: float, min_barrier: float, moves: Tensor | None) -> Tensor:
    """The dent that stands for each dent's state: shallow ones join a neighbour, by the data or by the lowest pass."""
    owner = torch.arange(len(found.position))
    if len(owner) < 2 or min_barrier <= 0:
        return owner
    height = pass_heights(potential, found.position)
    if not bool((height.amin(1) - found.energy < min_barrier * temperature).any()):
        return owner
    exchange = torch.zeros_like(height) if moves is None else _exchange(potential, found.position, moves)
    for dent in found.energy.argsort(descending=True):
        free = owner != owner[dent]
        if not bool(free.any()):
            continue
        passes = torch.where(free, height[dent], torch.inf)
        lowest = int(passes.argmin())
        deeper = found.energy[owner[lowest]] <= found.energy[dent]
        if bool(deeper) and float(passes[lowest] - found.energy[dent]) < min_barrier * temperature:
            met = torch.where(free, exchange[~free].sum(0), 0.0)
            met = torch.zeros_like(met).index_add_(0, owner, met)
            both = torch.stack([owner[dent], met.argmax() if bool(met.any()) else owner[lowest]])
            owner[torch.isin(owner, both)] = both[found.energy[both].argmin()]
    return owner


def _exchange(potential: Energy, dents: Tensor, moves: Tensor) -> Tensor:
    """How many moves lead from each dent to each other one, or back: `(dent, dent)`."""
    alone = xr.Dataset({"dent_position": (("dent", "latent"), dents), "dent_state": ("dent", range(len(dents)))})
    here, there = basins(potential, alone, moves.double()).T
    known = (here >= 0) & (there >= 0)
    count = torch.zeros(len(dents), len(dents), dtype=dents.dtype)
    count.index_put_((here[known], there[known]), count.new_ones(int(known.sum())), accumulate=True)
    return count + count.T


def _described(potential: Energy, dents: Tensor, owner: Tensor, reached: Tensor, starts: int) -> xr.Dataset:
    """The Dataset of `minima`: the deepest dent speaks for its state."""
    counts = torch.stack(
        [(owner[reached.clamp(min=0)] == k).logical_and(reached >= 0).sum() for k in range(len(dents))]
    )
    states = [int(k) for k in counts.argsort(descending=True, stable=True) if int(owner[k]) == int(k)]
    number = {dent: state for state, dent in enumerate(states)}
    position = dents[states]
    with torch.no_grad():
        energy = potential(position)
    share = counts[states].double() / starts
    variables = {
        "position": (("state", "latent"), position),
        "energy": ("state", energy),
        "gradient_norm": ("state", gradient(potential, position).detach().norm(dim=-1)),
        "curvature": (("state", "latent"), torch.linalg.eigvalsh(hessian(potential, position))),
        "share": ("state", share),
        "dent_position": (("dent", "latent"), dents),
        "dent_state": ("dent", torch.tensor([number[int(k)] for k in owner])),
    }
    arrays = {name: (dims, value.detach().numpy()) for name, (dims, value) in variables.items()}
    return xr.Dataset(arrays, attrs={"unsettled": 1 - float((reached >= 0).sum()) / starts})
