"""A landscape on circles is searched in their planes, where an angle and all its images are one point.

U_plane(p) = U(angle of p) + ½ κ Σ (r − R)²: its minima and saddles are those of U on the circles r = R, each once, and
of exp(−U_plane/T) the angles are distributed as exp(−U/T), exactly, since radius and angle are independent. All that
reads a landscape without circles can therefore read this one; results are carried back to the axes of U.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from ..dynamics.circles import Circles, circles_of
from ..dynamics.potentials import Energy, gradient, hessian, in_double

SWEEP = 24  # places on a circle where the height of the landscape is looked up
REFERENCES = 20  # points from which the circles are swept
CENTRE = 1e-6  # radii from the centre, within which the angle of a point is taken to be 0
NEAR = 0.01  # radii from a circle, within which a point lies on it
WALL = 20.0  # of κR², in units of that height: the way through the middle of a circle is ten times as high as any on it


class Chart(nn.Module):  # of PyTorch alone: Pyro allows no part that was called before to enter another
    """U over the planes of its circles.

    Parameters
    ----------
    potential: U, with `periods`. circles: its circles. stiffness: κ, energy/length², of every circle, `(circle,)`.
    """

    stiffness: Tensor

    def __init__(self, potential: Energy, circles: Circles, stiffness: Tensor) -> None:
        super().__init__()
        self.circles, self.potential = circles, potential
        self.latent = len(circles.periods) + len(circles.round)
        self.register_buffer("stiffness", stiffness)

    def forward(self, z: Float[Tensor, "*batch axis"]) -> Float[Tensor, "*batch"]:
        """U(angle) + ½ κ Σ (r − R)²."""
        radius = self._offset(z)[1]
        wall = 0.5 * (self.stiffness * (radius - self.circles.radius(z)).square()).sum(-1)
        return self.potential(self.circles.lower(z)) + wall

    def gradient(self, z: Float[Tensor, "*batch axis"]) -> Float[Tensor, "*batch axis"]:
        """∇U along the circles, written out, since the angle has no derivative at their centres."""
        slope, (offset, length) = gradient(self.potential, self.circles.lower(z)), self._offset(z)
        radius = self.circles.radius(z)
        turning = slope[..., self.circles.round] * radius / length.square()
        pulling = self.stiffness * (length - radius) / length
        first, second = offset
        around = torch.cat([-turning * second + pulling * first, turning * first + pulling * second], -1)
        return torch.cat([around, slope[..., self.circles.straight]], -1)

    def _offset(self, z: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Cosines and sines of a point, and its distance from the centre of every circle."""
        first, second = z[..., : 2 * len(self.circles.round)].chunk(2, -1)
        least = CENTRE * self.circles.radius(z)
        first = torch.where(first.square() + second.square() < least.square(), least, first)
        return (first, second), (first.square() + second.square()).sqrt()

    def holds(self, points: Float[Tensor, "point axis"]) -> Tensor:
        """Whether points lie on the circles. At a centre all angles meet, and every energy: it is no saddle of U."""
        radius = self.circles.radius(points)
        return ((self._offset(points)[1] - radius).abs() < NEAR * radius).all(-1)

    def states(self, found: xr.Dataset) -> xr.Dataset:
        """Minima and states on the axes of U, as they lie in the planes.

        Parameters
        ----------
        found: from `landscape.minima` or `kinetics.metastable`.
        """
        lifted = {
            name: (found[name].dims, self.circles.lift(torch.as_tensor(found[name].values)).numpy())
            for name in ("position", "minimum_position")
            if name in found
        }
        kept = found.drop_dims("latent").assign(lifted)
        if "core_axis" in found:
            kept = kept.assign(core_axis=((*found["core_axis"].dims[:2], "latent"), found["core_axis"].values))
        return kept

    def minima_back(self, found: xr.Dataset) -> xr.Dataset:
        """Minima in the planes, as they lie on the axes of U; what states have of an axis is left out.

        Parameters
        ----------
        found: what `landscape.minima` or `kinetics.metastable` says of this chart.
        """
        where = self.circles.lower(torch.as_tensor(found["minimum_position"].values)).numpy()
        flat = found.drop_dims("latent").assign(minimum_position=(("minimum", "latent"), where))
        if "core_axis" in found:  # an axis of the planes, not of U
            flat = flat.assign(core_axis=(("minimum", "to_minimum", "plane_axis"), found["core_axis"].values))
        return flat

    def passes_back(self, found: xr.Dataset) -> xr.Dataset:
        """Saddles in the planes, as they lie on the axes of U; a path goes on over the end of a period.

        Parameters
        ----------
        found: what `saddles.saddles` says of this chart.
        """
        place, path = (
            self.circles.lower(torch.as_tensor(found[name].values)) for name in ("saddle_position", "saddle_path")
        )
        bent = torch.linalg.eigvalsh(hessian(in_double(self.potential), place))
        return found.drop_dims("latent").assign(
            saddle_position=(("saddle", "latent"), place.numpy()),
            saddle_curvature=(("saddle", "latent"), bent.numpy()),
            saddle_path=(("saddle", "image", "latent"), self.circles.unwind(path).numpy()),
        )


def chart(potential: Energy, points: Tensor | np.ndarray, temperature: float = 1.0) -> Chart | None:
    """The chart of a landscape with circles; None where all its axes are lines.

    Parameters
    ----------
    potential: U. points: some on its axes, `(*batch, latent)`, from which the circles are looked over for their height.
    temperature: T, in the unit of U.
    """
    circles = None if isinstance(potential, Chart) else circles_of(potential)
    if circles is None or not circles.round:
        return None
    some = torch.as_tensor(points).detach().reshape(-1, len(circles.periods))
    some = some[some.isfinite().all(-1)][:REFERENCES].double()
    sweeps = []
    for axis in circles.round:
        swept = some.repeat(SWEEP, 1)
        swept[:, axis] += circles.periods[axis] * torch.arange(SWEEP).repeat_interleave(len(some)) / SWEEP
        sweeps.append(swept)
    with torch.no_grad():
        height = in_double(potential)(torch.cat(sweeps)) if len(some) else some.new_zeros(1)
    stiffness = WALL * (temperature + height.max() - height.min()) / circles.radius(some).square()
    return Chart(potential, circles, stiffness.to(torch.get_default_dtype()))
