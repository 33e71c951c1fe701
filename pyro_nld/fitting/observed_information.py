"""What data tell of numbers that are not seen: the information of a filter on a lattice, by its own derivatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .point_masses import Lattice, moved

DIFFERENCE = 1e-4  # of a coefficient or a logarithm, on both sides, over which derivatives are taken
TANGENTS = 30_000_000  # numbers in the derivatives of all matrices, beyond which there is no information
PRODUCTS = 1e11  # of two numbers, to carry derivatives along with the filter: half a minute
AT_A_TIME = 4_000_000  # numbers in the derivatives of filters that are held at once
FEWEST = 10  # sequences, below which some would say little of all


@torch.no_grad()
def information(
    lattice: Lattice, times: Tensor, x: Tensor, free: list[Tensor], changed: Callable[[], None] = lambda: None
) -> Float[Tensor, "number number"] | None:
    """What data tell of numbers θ: Σ s_t s_tᵀ with s_t = ∂ log p(x_t | x₁…x_{t−1})/∂θ, over all observations.

    The increments of a score have no correlations at the true parameters, so that this estimates the information that
    is observed. That of paths, which `transitions.balance` takes elsewhere, is larger: it knows what nobody saw.
    Derivatives of the filter are carried along with it.

    Parameters
    ----------
    lattice: at the maximum. times, x: checked data.
    free: tensors of one number each, on which transitions or starts depend. They are moved and put back.
    changed: is called whenever one of them has moved.

    Returns
    -------
    By some of the sequences where all would take too long; None where these would be too few, or derivatives of all
    matrices too many.
    """
    gaps, which = lattice.gaps(times)
    numbers = len(free) * len(lattice.points) ** 2
    if not free or numbers * len(gaps) > TANGENTS:
        return None
    affordable = int(PRODUCTS / (numbers * which.shape[1]))
    if affordable < min(FEWEST, len(x)):
        return None
    chosen = torch.linspace(0, len(x) - 1, min(affordable, len(x))).long()
    share, x, which = len(chosen) / len(x), x[chosen], which[chosen]
    kind = lattice.multiplied
    matrices = [lattice.transition(gap).to(kind) for gap in gaps]
    slopes = [_slopes(free, changed, lambda: lattice.transition(gap)).to(kind) for gap in gaps]  # noqa: B023
    start, start_slope = lattice.start().exp(), _slopes(free, changed, lambda: lattice.start().exp())
    start, start_slope = start.to(kind), start_slope.to(kind)
    told = torch.zeros(len(free), len(free), dtype=torch.float64)
    for rows in torch.arange(len(x)).split(max(1, AT_A_TIME // (len(free) * len(lattice.points)))):
        seen, _ = lattice.seen(x[rows])
        ahead, tangent = start.expand(len(rows), -1), start_slope.expand(len(rows), -1, -1)
        gaps_of = which[rows]
        for t in range(seen.shape[1]):
            joint = ahead * seen[:, t]
            gained = joint.sum(-1, keepdim=True).clamp(min=torch.finfo(kind).tiny)
            turned = tangent * seen[:, t].unsqueeze(1) / gained.unsqueeze(-1)
            score = turned.sum(-1)
            told += (score.mT @ score).double()
            if t < gaps_of.shape[1]:
                filtered = joint / gained
                turned = turned - score.unsqueeze(-1) * filtered.unsqueeze(1)
                ahead = moved(filtered, matrices, gaps_of[:, t])
                each = gaps_of[:, t].repeat_interleave(len(free))  # one product for all derivatives
                tangent = moved(turned.flatten(0, 1), matrices, each).view_as(turned)
                for number, slope in enumerate(slopes):
                    here = gaps_of[:, t] == number
                    tangent[here] += torch.einsum("si,pij->spj", filtered[here], slope)
    return told / share


def _slopes(free: list[Tensor], changed: Callable[[], None], value: Callable[[], Tensor]) -> Tensor:
    """Central differences of a value by every number that is free, `(number, …)`."""
    found = []
    for number in free:
        before, ends = number.clone(), []
        for shift in (DIFFERENCE, -DIFFERENCE):
            number.copy_(before + shift)
            changed()
            ends.append(value())
        found.append((ends[0] - ends[1]) / (2 * DIFFERENCE))
        number.copy_(before)
        changed()
    return torch.stack(found)
