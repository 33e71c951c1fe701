"""Minima of a landscape, the states that they make, and the basins that flow down to them.

Everything takes any callable U, `(*batch, latent)` to `(*batch,)`, and returns Datasets of float64 numbers. Flows go
down the gradient without an autograd graph, so that memory does not grow with their length.
"""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from ..dynamics.potentials import Energy, gradient, hessian, in_double
from ..errors import FitError
from . import flows
from .charts import Chart, chart
from .rest import newton, points_of_rest
from .strings import pass_heights

FLAT = 1e-6  # a minimum's largest gradient
CHUNK = 200_000  # points that flow at a time


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
    min_barrier: escape barrier in kT below which a minimum counts as part of the neighbour it opens to; 0 keeps all.
    moves: successive positions of the data, `(move, 2, latent)`. A minimum that does not count then belongs to the
        state that the data exchange most with it. Between states that are rarely left the data know little of the
        passes, and a cloud with two minima could open to another state's.

    Returns
    -------
    Dataset over `state`, by decreasing share of the starts: `position (state, latent)`, `energy`, `gradient_norm`,
    `curvature (state, latent)` (eigenvalues of ∇²U, ascending, all positive), `share`; over `minimum`, by decreasing
    share as well: `minimum_position (minimum, latent)`, `minimum_energy`, `minimum_share`, `minimum_barrier`, the
    lowest climb to another one in kT (NaN where there is none), and `minimum_state`, the state it belongs to. attrs:
    `unconverged_starts`, the share of starts that reached none.

    Raises
    ------
    FitError: no minimum was found.

    Not checked: whether there are minima that no start flows to.

    Notes
    -----
    Where U has `periods`, a minimum and its images are one, at an angle in (−P/2, P/2], see `charts`.
    """
    if round_axes := chart(potential, starts, temperature):
        moves = None if moves is None else round_axes.circles.lift(moves)
        lifted = round_axes.circles.lift(starts)
        return on_axes(
            round_axes, minima(round_axes, lifted, temperature=temperature, min_barrier=min_barrier, moves=moves)
        )
    exact = in_double(potential)
    found = points_of_rest(downhill(exact), starts, lambda ends, least: polish(exact, ends, least))
    if not len(found.position):
        raise FitError("no minimum was found: no start flows to one. Is the potential confining, and the fit finished?")
    with torch.no_grad():
        energy = exact(found.position)
    around = isinstance(potential, Chart)
    height = pass_heights(exact, found.position, around=around) if len(energy) > 1 else torch.full((1, 1), torch.nan)
    owner = _joined(exact, found.position, energy, height, min_barrier * temperature, moves)
    variables = {
        "minimum_position": (("minimum", "latent"), found.position),
        "minimum_energy": ("minimum", energy),
        "minimum_share": ("minimum", found.share),
        "minimum_barrier": ("minimum", (height.amin(1) - energy) / temperature),
    }
    arrays = {name: (dims, value.numpy()) for name, (dims, value) in variables.items()}
    return grouped(potential, xr.Dataset(arrays, attrs={"unconverged_starts": 1 - float(found.share.sum())}), owner)


def grouped(potential: Energy, wells: xr.Dataset, owner: Tensor) -> xr.Dataset:
    """Minima in groups, each of which is a state: the deepest of a group speaks for it.

    Parameters
    ----------
    potential: U. wells: from `minima`. owner: the group of each minimum, `(minimum,)`, any integers.

    Returns
    -------
    As `minima`; what else `wells` has over `minimum` is kept, what it has over `state` is not.
    """
    exact, members = in_double(potential), [(owner == group).nonzero()[:, 0] for group in owner.unique()]
    depth, part = (torch.as_tensor(wells[f"minimum_{name}"].values) for name in ("energy", "share"))
    share, order = torch.stack([part[some].sum() for some in members]).sort(descending=True, stable=True)
    members = [members[place] for place in order]
    position = torch.as_tensor(wells["minimum_position"].values)[[int(some[depth[some].argmin()]) for some in members]]
    state = torch.zeros(len(owner), dtype=torch.long)
    for number, some in enumerate(members):
        state[some] = number
    variables = {
        "position": (("state", "latent"), position),
        "energy": ("state", torch.stack([depth[some].min() for some in members])),
        "gradient_norm": ("state", gradient(exact, position).detach().norm(dim=-1)),
        "curvature": (("state", "latent"), torch.linalg.eigvalsh(hessian(exact, position))),
        "share": ("state", share),
        "minimum_state": ("minimum", state),
    }
    arrays = {name: (dims, value.detach().numpy()) for name, (dims, value) in variables.items()}
    return wells.drop_dims("state", errors="ignore").assign(arrays)


def on_axes(round_axes: Chart, found: xr.Dataset) -> xr.Dataset:
    """States found in the planes of circles, on the axes of U, with curvatures along these.

    Parameters
    ----------
    round_axes: the chart. found: what `minima` or `kinetics.metastable` says of it.
    """
    flat = round_axes.minima_back(found)
    again = grouped(round_axes.potential, flat, torch.as_tensor(found["minimum_state"].values))
    kept = {name: flat[name] for name in flat.data_vars if name not in again}
    return again.assign(kept).assign_attrs(found.attrs)


def basins(potential: Energy, wells: xr.Dataset, points: Tensor) -> Tensor:
    """The state each point flows down to, `(*batch, latent)` to `(*batch,)`; −1 where it reaches none.

    A point stops as soon as it enters the core of a minimum, an ellipsoid inside which everything was seen to flow
    inwards.

    Parameters
    ----------
    potential: U. wells: from `minima`. points: any number of them.
    """
    if round_axes := chart(potential, wells["minimum_position"].values):
        return basins(round_axes, round_axes.states(wells), round_axes.circles.lift(points))
    exact, centres = in_double(potential), torch.as_tensor(wells["minimum_position"].values)
    found = [core.to(points.dtype) for core in flows.cores(downhill(exact), centres, hessian(exact, centres))]
    owner = torch.as_tensor(wells["minimum_state"].values)
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

    def move(points: Tensor) -> Tensor:
        slope, matrix = gradient(potential, points).detach(), hessian(potential, points)
        value, vector = torch.linalg.eigh(matrix)
        # |eigenvalues|, floored: downhill also where the landscape is not convex yet
        scaled = (vector.mT @ slope.unsqueeze(-1)).squeeze(-1) / value.abs().clamp(min=1e-3 * float(value.abs().max()))
        return -(vector @ scaled.unsqueeze(-1)).squeeze(-1)

    points = newton(ends, least, move, steps)
    slope = gradient(potential, points).detach().norm(dim=-1)
    stiff = torch.linalg.eigvalsh(hessian(potential, points))
    return points[(slope < FLAT * stiff[:, -1].clamp(min=1.0)) & (stiff[:, 0] > 0)]


def _joined(
    potential: Energy, position: Tensor, energy: Tensor, height: Tensor, least: float, moves: Tensor | None
) -> Tensor:
    """Who speaks for each minimum: shallow ones join a neighbour, by the data or by the lowest pass.

    Parameters
    ----------
    height: of the passes, `(minimum, minimum)`. least: the lowest barrier that counts, in the unit of U.
    """
    owner = torch.arange(len(position))
    if not bool((height.amin(1) - energy < least).any()):
        return owner
    exchange = torch.zeros_like(height) if moves is None else _exchange(potential, position, moves)
    for shallow in energy.argsort(descending=True):
        free = owner != owner[shallow]
        if not bool(free.any()):
            continue
        passes = torch.where(free, height[shallow], torch.inf)
        lowest = int(passes.argmin())
        deeper = energy[owner[lowest]] <= energy[shallow]
        if bool(deeper) and float(passes[lowest] - energy[shallow]) < least:
            met = torch.where(free, exchange[~free].sum(0), 0.0)
            met = torch.zeros_like(met).index_add_(0, owner, met)
            both = torch.stack([owner[shallow], met.argmax() if bool(met.any()) else owner[lowest]])
            owner[torch.isin(owner, both)] = both[energy[both].argmin()]
    return owner


def _exchange(potential: Energy, centres: Tensor, moves: Tensor) -> Tensor:
    """How many moves lead from each minimum to each other one, or back: `(minimum, minimum)`."""
    every = range(len(centres))
    alone = xr.Dataset({"minimum_position": (("minimum", "latent"), centres), "minimum_state": ("minimum", every)})
    here, there = basins(potential, alone, moves.double()).T
    known = (here >= 0) & (there >= 0)
    count = torch.zeros(len(centres), len(centres), dtype=centres.dtype)
    count.index_put_((here[known], there[known]), count.new_ones(int(known.sum())), accumulate=True)
    return count + count.T
