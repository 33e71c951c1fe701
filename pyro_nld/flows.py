"""Flowing down dz/ds = −∇U(z), without an autograd graph, so that memory does not grow with the way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor

from .potentials import Energy, gradient


class Flow:
    """Points on their way down −∇U: Heun's method, each point with a step of its own.

    A step is kept when it differs from Euler's by less than a tenth of its length. Merely asking for a lower energy
    would let points jump over ridges into the wrong basin.
    """

    def __init__(self, potential: Energy, points: Tensor) -> None:
        self.potential, self.here = potential, points.clone()
        self.which = torch.arange(len(points))
        self.rate = torch.full((len(points), 1), 1e-3, dtype=points.dtype)

    def advance(self) -> Tensor:
        """One step of every point; returns the norms of the gradients it started from."""
        slope = gradient(self.potential, self.here)
        ahead = gradient(self.potential, self.here - self.rate * slope)
        steepness = slope.norm(dim=-1, keepdim=True)
        deviation = 0.5 * (ahead - slope).norm(dim=-1, keepdim=True) / steepness.clamp(min=1e-300)
        self.here = torch.where(deviation < 0.1, self.here - 0.5 * self.rate * (slope + ahead), self.here)
        self.rate = self.rate * (0.05 / deviation.clamp(min=1e-6)).sqrt().clamp(0.2, 2.0)
        return steepness.squeeze(-1)

    def keep(self, chosen: Tensor) -> None:
        """Go on with these points alone."""
        self.which, self.here, self.rate = self.which[chosen], self.here[chosen], self.rate[chosen]


def descend(potential: Energy, points: Tensor, steps: int = 2000) -> Tensor:
    """Follow −∇U until the gradient is small."""
    ends, flow = points.clone(), Flow(potential, points)
    with torch.no_grad():
        for _ in range(steps):
            if not len(flow.which):
                break
            steepness = flow.advance()
            ends[flow.which] = flow.here
            flow.keep((steepness > 1e-3) & flow.here.isfinite().all(-1))
    return ends


def settle(
    potential: Energy, core_of: Callable[[Tensor], Tensor], points: Tensor, steps: int = 2000
) -> Int[Tensor, "point"]:
    """Follow −∇U until every point is inside a core; the number of that core, −1 for a point that meets none.

    Parameters
    ----------
    core_of: points to the core each is in, −1 for none; points that are in one drop out at once.
    """
    label, flow = torch.full((len(points),), -1), Flow(potential, points)
    with torch.no_grad():
        for _ in range(steps):
            inside = core_of(flow.here)
            label[flow.which] = inside
            flow.keep((inside < 0) & flow.here.isfinite().all(-1))
            if not len(flow.which):
                break
            flow.advance()
    return label
