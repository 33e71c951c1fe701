"""A quadratic response surface: the quadratic function that fits noisy values of a function best.

It finds the maximum of a log density that can only be evaluated point by point, and with noise.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class ResponseSurface(NamedTuple):
    """value = c + slope · x − ½ x · curvature · x."""

    slope: Float[Tensor, "axis"]
    curvature: Float[Tensor, "axis axis"]
    residual: Float[Tensor, "point"]  # at the points with a finite value, times the root of their weight


def response_surface(
    places: Float[Tensor, "point axis"], heights: Float[Tensor, "point"], weight: Float[Tensor, "point"] | None = None
) -> ResponseSurface | None:
    """Fit value = c + slope · x − ½ x · curvature · x to the finite values, by least squares.

    Parameters
    ----------
    places: the points x. heights: the value at each of them; values that are not finite are left out.
    weight: square root of the weight of each point; all points weigh the same when it is not given.

    Returns
    -------
    The surface, or None where there are fewer finite values than coefficients.
    """
    known = heights.isfinite()
    axes = places.shape[-1]
    row, column = torch.triu_indices(axes, axes)
    design = torch.cat([torch.ones_like(places[:, :1]), places, places[:, row] * places[:, column]], -1)
    if int(known.sum()) < design.shape[-1]:
        return None
    root = torch.ones_like(heights) if weight is None else weight
    design, target = (root.unsqueeze(-1) * design)[known], (root * heights)[known].unsqueeze(-1)
    found = torch.linalg.lstsq(design, target, driver="gelsd").solution
    half = torch.zeros(axes, axes, dtype=places.dtype)
    half[row, column] = found[1 + axes :, 0]
    return ResponseSurface(found[1 : 1 + axes, 0], -(half + half.mT), (target - design @ found).squeeze(-1))
