"""The parabola through noisy heights: where a density that is asked for point by point has its top."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Parabola(NamedTuple):
    """height = c + slope · x − ½ x · bend · x."""

    slope: Float[Tensor, "axis"]
    bend: Float[Tensor, "axis axis"]
    left: Float[Tensor, "point"]  # of the finite heights, what it leaves, times the root of their weight


def parabola(
    places: Float[Tensor, "point axis"], heights: Float[Tensor, "point"], weight: Float[Tensor, "point"] | None = None
) -> Parabola | None:
    """By least squares through the heights that are finite; None where they are too few to say.

    Parameters
    ----------
    weight: root of how much every point counts; all alike when not given.
    """
    known = heights.isfinite()
    axes = places.shape[-1]
    row, column = torch.triu_indices(axes, axes)
    design = torch.cat([torch.ones_like(places[:, :1]), places, places[:, row] * places[:, column]], -1)
    if int(known.sum()) < design.shape[-1]:
        return None
    counted = torch.ones_like(heights) if weight is None else weight
    design, target = (counted.unsqueeze(-1) * design)[known], (counted * heights)[known].unsqueeze(-1)
    found = torch.linalg.lstsq(design, target, driver="gelsd").solution
    half = torch.zeros(axes, axes, dtype=places.dtype)
    half[row, column] = found[1 + axes :, 0]
    return Parabola(found[1 : 1 + axes, 0], -(half + half.mT), (target - design @ found).squeeze(-1))
