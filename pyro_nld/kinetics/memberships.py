"""Which minimum holds a point, between 0 and 1: committors from the density of the data between every two minima.

Between minima i and j, along the axis u that tells their basins apart best (u = 0 at i, 1 at j; Fisher's discriminant),
the committor of a diffusion with the density p is q(u) = ∫₀ᵘ p⁻¹ du / ∫₀¹ p⁻¹ du. It needs no height of U: where the
data never are, q jumps, and all of a well is sure; where they come and go as they like, q is a straight line.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

CORE = 0.9  # membership from which a point is in the core of a state
KNOTS = 41  # values of a committor between two minima
FEW = 10  # points of the rarer basin that a bin should hold, if that leaves
LEAST = 8  # bins or more
SHRINK = 0.1  # of the covariance of all points, in that of a basin, as if as many more points as axes had been seen
NUMBERS = 400_000  # committors evaluated at a time: more would leave the cache of the processor


def between(
    points: Float[Tensor, "point latent"], basins: Int[Tensor, "point"], minima: Float[Tensor, "minimum latent"]
) -> xr.Dataset:
    """q_ij(u) of every two minima, from the density of the points in their two basins.

    Parameters
    ----------
    points: of the data, `(point, latent)`. basins: the minimum each flows to, −1 for none. minima: where they are.

    Returns
    -------
    `minimum_position (minimum, latent)`; `core_axis (minimum, to_minimum, latent)`, w with u = w · (z − z_i);
    `core_committor (minimum, to_minimum, knot)`, q at u from 0 to 1.
    """
    z, label, centre = (values.detach().cpu().numpy() for values in (points.double(), basins, minima.double()))
    count, latent = centre.shape
    axis, committor = np.zeros((count, count, latent)), np.zeros((count, count, KNOTS))
    spread = [_covariance(z, label == k) for k in range(count)]
    for i in range(count):
        for j in range(i + 1, count):
            way = np.linalg.solve(spread[i] + spread[j], centre[j] - centre[i])
            way /= way @ (centre[j] - centre[i])
            both = (z[(label == i) | (label == j)] - centre[i]) @ way
            rarer = min((label == i).sum(), (label == j).sum())
            axis[i, j], axis[j, i] = way, -way
            committor[i, j] = _committor(both, int(np.clip(rarer // FEW, LEAST, KNOTS - 1)))
            committor[j, i] = 1 - committor[i, j, ::-1]
    return xr.Dataset(
        {
            "minimum_position": (("minimum", "latent"), centre),
            "core_axis": (("minimum", "to_minimum", "latent"), axis),
            "core_committor": (("minimum", "to_minimum", "knot"), committor),
        }
    )


def _covariance(points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """That of the chosen points, drawn towards that of all where they are few."""
    latent, some = points.shape[-1], points[chosen]
    every = np.cov(points, rowvar=False, bias=True).reshape(latent, latent) + 1e-12 * np.eye(latent)
    own = np.cov(some, rowvar=False, bias=True).reshape(latent, latent) if len(some) else 0 * every
    return (len(some) * own + latent * SHRINK * every) / (len(some) + latent)


def _committor(inside: np.ndarray, bins: int) -> np.ndarray:
    """q at the knots; half a point is added to every bin, so that empty ones have a density."""
    held, edges = np.histogram(inside, bins, (0.0, 1.0))
    risen = np.concatenate([[0.0], np.cumsum(1 / (held + 0.5))])
    return np.interp(np.linspace(0, 1, KNOTS), edges, risen / risen[-1])


def memberships(
    tables: xr.Dataset, points: Float[Tensor, "*batch latent"], owner: NDArray[np.integer] | None = None
) -> Float[Tensor, "*batch state"]:
    """χ_k = max over minima i of k, min over minima j of other states, 1 − q_ij: the surest hold of state k.

    Of two states one has more than ½ at most. A core is where χ ≥ 0.9.

    Parameters
    ----------
    tables: from `between`, or `landscape.minima` with its variables. points: `(*batch, latent)`.
    owner: the state of each minimum, `minimum_state` when None.
    """
    owner = tables["minimum_state"].values if owner is None else owner
    state = torch.as_tensor(owner, device=points.device)
    apart = (state.unsqueeze(0) != state.unsqueeze(1)).to(points)
    members = [(state == k).nonzero()[:, 0] for k in range(int(state.max()) + 1)]
    held = []
    for some in points.reshape(-1, points.shape[-1]).split(max(1, NUMBERS // len(state) ** 2)):
        sure = 1 - (_committors(tables, some) * apart).amax(-1)
        held.append(torch.stack([sure[:, own].amax(-1) for own in members], -1))
    return torch.cat(held).reshape(*points.shape[:-1], len(members))


def _committors(tables: xr.Dataset, points: Float[Tensor, "point latent"]) -> Float[Tensor, "point minimum minimum"]:
    """q_ij: near 0 where a path is i's, near 1 where it is j's; 0 on the diagonal."""
    names = ("minimum_position", "core_axis", "core_committor")
    centre, axis, table = (torch.as_tensor(tables[name].values).to(points) for name in names)
    count = len(centre)
    row = KNOTS * torch.arange(count * count, device=points.device).view(count, count)
    along = torch.einsum("pl,ijl->pij", points, axis) - (centre.unsqueeze(1) * axis).sum(-1)
    along = along.nan_to_num().clamp(0, 1) * (KNOTS - 1)
    knot = along.long().clamp(max=KNOTS - 2)
    low, high = table.view(-1)[row + knot], table.view(-1)[row + knot + 1]
    return low + (high - low) * (along - knot)


def core_labels(membership: Float[Tensor, "*batch state"]) -> Int[Tensor, "*batch"]:
    """The state whose core a point is in, −1 for none.

    Parameters
    ----------
    membership: from `memberships`.
    """
    largest, state = membership.max(-1)
    return torch.where(largest >= CORE, state, -1)
