"""Axes that are circles: an angle lives on the line that covers its circle, where U repeats after a period.

Paths, encoders and integrators see the line, on which nothing tears. What reads a landscape sees the circle, in a plane
of its own: z is at (R cos z/R, R sin z/R) with R = P/2π, where an angle and its images are one point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ShapeError
from .potentials import Energy, Potential


class Circles:
    """Which axes are circles, and how long: from the line that covers them to their planes, and back.

    Parameters
    ----------
    periods: P > 0 of every axis, length; infinite where an axis is a line.

    Raises
    ------
    ShapeError: a period is not above zero.

    Examples
    --------
    >>> from pyro_nld.dynamics.circles import Circles
    >>> circle = Circles([2 * np.pi])
    >>> turned = torch.tensor([[0.5], [0.5 + 2 * np.pi]], dtype=torch.float64)
    >>> circle.lift(turned).round(decimals=3).tolist()
    [[0.878, 0.479], [0.878, 0.479]]
    >>> circle.fold(turned).round(decimals=3).flatten().tolist()
    [0.5, 0.5]
    """

    def __init__(self, periods: Sequence[float]) -> None:
        self.periods = tuple(float(period) for period in periods)
        if not self.periods or not all(period > 0 for period in self.periods):
            raise ShapeError(
                f"periods need a length above zero for every axis: got {list(self.periods)}. Give for example "
                "[2 * math.pi], and math.inf for an axis that is a line."
            )
        self.round = [axis for axis, period in enumerate(self.periods) if math.isfinite(period)]
        self.straight = [axis for axis, period in enumerate(self.periods) if not math.isfinite(period)]

    def radius(self, like: Tensor) -> Float[Tensor, "circle"]:
        """R = P/2π of every circle."""
        return like.new_tensor([self.periods[axis] / (2 * math.pi) for axis in self.round])

    def lift(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch axis"]:
        """(R cos z/R, R sin z/R) of the circles, and then the lines."""
        radius = self.radius(z)
        turn = z[..., self.round] / radius
        return torch.cat([radius * turn.cos(), radius * turn.sin(), z[..., self.straight]], -1)

    def lower(self, points: Float[Tensor, "*batch axis"]) -> Float[Tensor, "*batch latent"]:
        """The angle of a point in the plane, in (−P/2, P/2], whatever its distance from the centre."""
        count = len(self.round)
        first, second, line = points.split([count, count, points.shape[-1] - 2 * count], -1)
        found = points.new_empty(*points.shape[:-1], len(self.periods))
        found[..., self.round] = self.radius(points) * torch.atan2(second, first)
        found[..., self.straight] = line
        return found

    def fold(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """The image of z that is nearest to zero."""
        length = z.new_tensor([period if math.isfinite(period) else 1.0 for period in self.periods])
        turns = (z / length).round()
        turns[..., self.straight] = 0.0
        return z - length * turns

    def unwind(self, path: Float[Tensor, "*batch image latent"]) -> Float[Tensor, "*batch image latent"]:
        """Each point of a path as that image which is nearest to the one before."""
        return torch.cat([path[..., :1, :], path[..., :1, :] + self.fold(path.diff(dim=-2)).cumsum(-2)], -2)


def circles_of(potential: Energy | None) -> Circles | None:
    """The circles of a landscape; None where all its axes are lines, or nothing is known of them."""
    periods = getattr(potential, "periods", None)
    return None if periods is None else Circles(periods)


class Periodic(Potential):
    """U(z) = V(R cos z/R, R sin z/R): any potential of a plane, looked at along a circle of length P = 2πR.

    Several circles have a plane each: first all cosines, then all sines, then the axes that are lines. Any smooth U on
    a circle can be written so. States of a landscape with `periods` are counted on the circle: a minimum and its images
    one or more turns away are one. A potential of one's own that repeats needs nothing but the attribute `periods`.

    Parameters
    ----------
    potential: V, of two axes for every circle and one for every line.
    periods: P of every axis of z, length: 2π for an angle in radians, `math.inf` for a line.

    Raises
    ------
    ShapeError: V has another number of axes, or a period is not above zero.

    Examples
    --------
    −k cos 2θ is −k (x² − y²) on the unit circle. A turn further it is the same.

    >>> class Saddle(nld.Potential):
    ...     latent = 2
    ...     def forward(self, p):
    ...         return -1.5 * (p[..., 0] ** 2 - p[..., 1] ** 2)
    >>> potential = nld.Periodic(Saddle(), periods=[2 * np.pi])
    >>> potential(torch.tensor([[0.0], [np.pi / 2], [2 * np.pi]])).round(decimals=3).tolist()
    [-1.5, 1.5, -1.5]
    """

    def __init__(self, potential: Potential, periods: Sequence[float]) -> None:
        super().__init__()
        self.circles = Circles(periods)
        self.periods, self.latent, self.potential = self.circles.periods, len(self.circles.periods), potential
        axes = self.latent + len(self.circles.round)
        if potential.latent != axes:
            raise ShapeError(
                f"{len(self.circles.round)} circles and {len(self.circles.straight)} lines need a potential of {axes} "
                f"axes: got one of {potential.latent}. A circle takes two, its cosine and its sine."
            )

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""
        return self.potential(self.circles.lift(z))

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z): −sin ∂V/∂x + cos ∂V/∂y on a circle."""
        lifted, count = self.circles.lift(z), len(self.circles.round)
        slope = self.potential.gradient(lifted)
        radius = self.circles.radius(z)
        cosine, sine, line = lifted.split([count, count, len(self.circles.straight)], -1)
        by_cosine, by_sine, straight = slope.split([count, count, line.shape[-1]], -1)
        order = torch.tensor([*self.circles.round, *self.circles.straight], device=z.device).argsort()
        return torch.cat([(cosine * by_sine - sine * by_cosine) / radius, straight], -1)[..., order]

    @property
    def coefficients(self) -> nn.Parameter | None:
        """The same as those of V."""
        return self.potential.coefficients

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """Those of V on the circle."""
        return self.potential.features(self.circles.lift(z))
