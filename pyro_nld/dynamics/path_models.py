"""The contract between a model of paths and its guide: a batch on its fine grid, and what a guide depends on."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from .equations import Dynamics
from .integrators import Integrator
from .paths import Grid


class Batch(NamedTuple):
    """One batch: `gaps (sequence, interval)` in model units, `valid`, which times exist, and the fine grid."""

    gaps: Tensor
    valid: Tensor
    grid: Grid


@runtime_checkable
class PathModel(Protocol):
    """The part of a model that its guide depends on."""

    dynamics: Dynamics
    integrator: Integrator
    substeps: int

    def batch(self, times: Tensor) -> Batch:
        """Intervals and fine grid of times `(sequence, time)`, in units of the model."""

    def adapt(self, times: Tensor, x: Tensor | None) -> None:
        """Check the data, and take the units from the first."""

    def features(self, x: Tensor) -> Tensor:
        """What an encoder sees of data `(*batch, channel)`, NaN where missing, before it standardises that."""
