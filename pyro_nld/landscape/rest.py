"""Where flows come to rest: one search, for the minima of a potential and for the stable points of any force.

Points flow along dz/ds = v(z); one of every cluster of ends is polished by Newton's method, and what is certified is
told apart. A minimum of U is a point of rest of v = −∇U.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import flows

STARTS = 2000  # points that flow
LEAST = 1e-2  # spread of the ends, relative to that of the starts, that is told from none
FAR = 1e3  # times the largest start: whoever gets there has escaped
MANY = 500  # clusters of ends that are polished at most
LONGEST = 0.1  # move of Newton's method, relative to the spread of the ends


class Rest(NamedTuple):
    """Points of rest, by decreasing share of the starts that flow to them."""

    position: Tensor  # (rest, latent)
    share: Tensor  # (rest,)


def points_of_rest(
    velocity: flows.Velocity, starts: Tensor, polish: Callable[[Tensor, float], Tensor], slowest: float = math.inf
) -> Rest:
    """Points z with v(z) = 0 that starts flow to.

    Parameters
    ----------
    velocity: v, in float64. starts: `(point, latent)`, of which at most 2000 are used.
    polish: ends `(point, latent)` and the spread that they have at least, to the certified points of rest among them.
    slowest: largest speed at the end of a flow that has come to rest.

    Examples
    --------
    >>> from pyro_nld.landscape.rest import points_of_rest
    >>> found = points_of_rest(lambda z: 1 - z, torch.linspace(-1.0, 2.0, 30)[:, None], lambda ends, _: ends[:1])
    >>> found.position.round(decimals=2).tolist(), found.share.tolist()
    ([[1.0]], [1.0])
    """
    points = flows.some(starts.detach().double().reshape(-1, starts.shape[-1]), STARTS)
    ends = flows.follow(velocity, points)
    ends = ends[ends.isfinite().all(-1) & (ends.abs() < FAR * points.abs().max()).all(-1)]
    with torch.no_grad():
        ends = ends[velocity(ends).norm(dim=-1) < slowest]
    least = LEAST * float(points.std(0).norm()) if len(points) > 1 else 0.0
    found = polish(ends, least) if len(ends) else ends
    found = flows.distinct(found, 1e-4 * spread(found, least) + 1e-9)
    gaps = torch.cdist(found, found).fill_diagonal_(torch.inf)
    reach = 0.5 * float(gaps.min()) if len(found) > 1 else torch.inf
    nearest = torch.cdist(ends, found)
    reached = nearest.argmin(1)[nearest.amin(1) < reach] if len(found) else torch.zeros(0, dtype=torch.long)
    share = reached.bincount(minlength=len(found)).double() / max(len(points), 1)
    order = share.argsort(descending=True, stable=True)
    return Rest(found[order], share[order])


def newton(ends: Tensor, least: float, move: Callable[[Tensor], Tensor], steps: int = 50) -> Tensor:
    """Newton's method from one of every cluster of ends, its moves short beside their spread.

    Parameters
    ----------
    ends: `(point, latent)`. least: spread they are taken to have at least, for that of a single well is nearly none.
    move: points to the move from each.
    """
    wide = spread(ends, least)
    points = flows.distinct(ends, 1e-2 * wide + 1e-9)[:MANY]
    longest = LONGEST * wide
    for _ in range(steps):
        step = move(points)
        points = points + step * (longest / step.norm(dim=-1, keepdim=True).clamp(min=longest))
    return points


def spread(points: Tensor, least: float = 0.0) -> float:
    """The norm of their standard deviations, not below `least`; 1 for a lone point."""
    return max(float(points.std(0).norm()), least) if len(points) > 1 else 1.0
