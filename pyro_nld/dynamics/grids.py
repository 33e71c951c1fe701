"""The fine grid of a path: the steps between the observation times, and a random part of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Grid(NamedTuple):
    """The fine grid of a path.

    `h`: step lengths, `(*batch, time, 1)`, positive also after the end of a ragged sequence.
    `drive`: what acts from outside in every step, `(*batch, time, input)`; None where nothing does.
    `valid`: which steps belong to the sequence, `(*batch, time)`; those after its end do not.
    """

    h: Float[Tensor, "*batch time 1"]
    valid: Bool[Tensor, "*batch time"]
    drive: Float[Tensor, "*batch time input"] | None = None

    def at(self, index: Tensor) -> Grid:
        """The steps at `index` alone."""
        drive = None if self.drive is None else self.drive[..., index, :]
        return Grid(self.h[..., index, :], self.valid[..., index], drive)


class Strata(NamedTuple):
    """One step out of every run of consecutive steps, and the length of its run, both `(stratum,)`."""

    chosen: Tensor
    weight: Tensor


def stratify(steps: int, stride: int) -> Strata:
    """Draw one step at random from every run of `stride` steps."""
    start = torch.arange(0, steps, stride)
    weight = (steps - start).clamp(max=stride)
    return Strata(start + (torch.rand(len(start)) * weight).long(), weight)


def refine(times: Float[Tensor, "*batch time"], substeps: int) -> Grid:
    """h = Δt/substeps: every observation interval split into equal steps.

    Parameters
    ----------
    times: `(*batch, time)`, increasing; NaN after the end of a ragged sequence.
    substeps: steps per interval, ≥ 1.

    Examples
    --------
    >>> nld.dynamics.paths.refine(torch.tensor([0.0, 1.0, 3.0]), substeps=2).h.flatten().tolist()
    [0.5, 0.5, 1.0, 1.0]
    """
    gaps = times.diff()
    valid = gaps.isfinite()
    h = torch.where(valid, gaps, gaps.nanmedian()) / substeps
    return Grid(h.repeat_interleave(substeps, -1).unsqueeze(-1), valid.repeat_interleave(substeps, -1))
