"""Flowing along a field, dz/ds = v(z), without an autograd graph, so that memory does not grow with the way.

Down a landscape, v = −∇U; or along any drift, to whatever draws points in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

Velocity = Callable[[Tensor], Tensor]
"""v: points `(point, latent)` to where each is led, `(point, latent)`."""


class Flow:
    """Points on their way along v: Heun's method, each point with a step of its own.

    A step is kept when it differs from Euler's by less than a tenth of its length. Merely asking for a lower energy
    would let points jump over ridges into the wrong basin.
    """

    def __init__(self, velocity: Velocity, points: Tensor) -> None:
        self.velocity, self.here = velocity, points.clone()
        self.which = torch.arange(len(points))
        self.rate = torch.full((len(points), 1), 1e-3, dtype=points.dtype)

    def advance(self) -> Tensor:
        """One step of every point; returns the speeds it started with."""
        speed = self.velocity(self.here)
        ahead = self.velocity(self.here + self.rate * speed)
        steepness = speed.norm(dim=-1, keepdim=True)
        deviation = 0.5 * (ahead - speed).norm(dim=-1, keepdim=True) / steepness.clamp(min=1e-300)
        self.here = torch.where(deviation < 0.1, self.here + 0.5 * self.rate * (speed + ahead), self.here)
        self.rate = self.rate * (0.05 / deviation.clamp(min=1e-6)).sqrt().clamp(0.2, 2.0)
        return steepness.squeeze(-1)

    def keep(self, chosen: Tensor) -> None:
        """Go on with these points alone."""
        self.which, self.here, self.rate = self.which[chosen], self.here[chosen], self.rate[chosen]


def some(points: Tensor, limit: int, seed: int = 0) -> Tensor:
    """No more than `limit` of the points, in random order: where flows start."""
    return points[np.random.default_rng(seed).permutation(len(points))[:limit]]


def follow(velocity: Velocity, points: Tensor, steps: int = 2000) -> Tensor:
    """Follow v until it is small."""
    ends, flow = points.clone(), Flow(velocity, points)
    with torch.no_grad():
        for _ in range(steps):
            if not len(flow.which):
                break
            steepness = flow.advance()
            ends[flow.which] = flow.here
            flow.keep((steepness > 1e-3) & flow.here.isfinite().all(-1))
    return ends


def settle(
    velocity: Velocity, core_of: Callable[[Tensor], Tensor], points: Tensor, steps: int = 2000
) -> Int[Tensor, "point"]:
    """Follow v until every point is inside a core; the number of that core, −1 for a point that meets none.

    Parameters
    ----------
    core_of: points to the core each is in, −1 for none; points that are in one drop out at once.
    """
    label, flow = torch.full((len(points),), -1), Flow(velocity, points)
    with torch.no_grad():
        for _ in range(steps):
            inside = core_of(flow.here)
            label[flow.which] = inside
            flow.keep((inside < 0) & flow.here.isfinite().all(-1))
            if not len(flow.which):
                break
            flow.advance()
    return label


def distinct(points: Tensor, radius: float) -> Tensor:
    """Of points `(point, latent)`, those that are further than `radius` from every one kept before."""
    kept: list[Tensor] = []
    left = points
    while len(left):
        kept.append(left[0])
        left = left[(left - left[0]).norm(dim=-1) > radius]
    return torch.stack(kept) if kept else points


# Cores: ellipsoids around points of rest, inside which everything was seen to flow inwards


class Core(NamedTuple):
    """(z − centre)ᵀ metric (z − centre) ≤ square."""

    centre: Tensor  # (latent,)
    metric: Tensor  # (latent, latent)
    square: float

    def to(self, dtype: torch.dtype) -> Core:
        """The same core in another precision."""
        return Core(self.centre.to(dtype), self.metric.to(dtype), self.square)


def cores(velocity: Velocity, centres: Tensor, metrics: Tensor) -> list[Core]:
    """The largest cores around points of rest `(core, latent)`, in metrics `(core, latent, latent)` of their own."""
    radii = [_inward_radius(velocity, centres, k, metrics[k]) for k in range(len(centres))]
    return [Core(centre, metric, radius**2) for centre, metric, radius in zip(centres, metrics, radii, strict=True)]


def core_of(found: list[Core], points: Tensor) -> Int[Tensor, "point"]:
    """The number of the core each point is in, −1 for none."""
    label = torch.full((len(points),), -1)
    for k, core in enumerate(found):
        offset = points - core.centre
        inside = ((offset @ core.metric) * offset).sum(-1) <= core.square
        label[inside & (label < 0)] = k
    return label


def _inward_radius(velocity: Velocity, centres: Tensor, which: int, metric: Tensor) -> float:
    """The largest radius, in the metric, within which all directions tried flow inwards.

    A thousand random ones, which in many axes miss the few that lead out; so the soft axes and those towards the other
    centres as well.
    """
    centre, latent = centres[which], centres.shape[-1]
    others = torch.cat([centres[:which], centres[which + 1 :]]) - centre
    apart = torch.einsum("ki,ij,kj->k", others, metric, others).sqrt()
    radius = 0.9 * float(apart.min()) if len(apart) else 6.0 * np.sqrt(latent)
    random = torch.randn(1000, latent, generator=torch.Generator().manual_seed(0), dtype=centre.dtype)
    spread = torch.linalg.solve_triangular(torch.linalg.cholesky(metric).mT, random.T, upper=True).T
    axes = torch.linalg.eigh(metric).eigenvectors.mT
    direction = torch.cat([spread, axes, -axes, others])
    direction = direction / torch.einsum("ki,ij,kj->k", direction, metric, direction).sqrt().unsqueeze(-1)
    shells = torch.linspace(0.1, 1.0, 10, dtype=centre.dtype).view(-1, 1, 1)
    while radius > 1e-6:
        offset = radius * shells * direction
        with torch.no_grad():
            led = velocity((centre + offset).flatten(0, 1)).view_as(offset)
        inwards = torch.einsum("ski,ij,skj->sk", led, metric, offset)
        if bool((inwards < 0).all()):
            return radius
        radius *= 0.85
    return radius
