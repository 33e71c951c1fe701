"""The contract between a model of paths and its guide: a batch on its fine grid, and what a guide depends on."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor

from ..errors import FitError, ShapeError
from ..nn import Module
from .equations import Dynamics
from .grids import Grid
from .integrators import Integrator

_called: WeakKeyDictionary[poutine.Trace, dict[tuple[type, str], Module]] = WeakKeyDictionary()


def check_name(module: Module) -> None:
    """Refuse a second module of the same kind and name in one program.

    The store of Pyro knows a parameter by the names that lead to it from its root. Of two models without a name, the
    second would compute with parameters of the first, and its own would never learn.

    Parameters
    ----------
    module: that is called.

    Raises
    ------
    FitError: the program that is traced called another one before, with learnable parameters under the same name.
    """
    if not any(value.requires_grad for value in module.parameters()):
        return
    for handler in _PYRO_STACK:
        if isinstance(handler, TraceMessenger):
            first = _called.setdefault(handler.trace, {}).setdefault((type(module), module._pyro_name), module)
            if first is not module:
                kind = type(module).__name__
                raise FitError(
                    f"two of {kind} in one program need two names: both are named {module._pyro_name!r}, and Pyro "
                    f'would take the parameters of one for those of the other. Give each a name, {kind}(…, name="a").'
                )


class Rows(NamedTuple):
    """Which sequences a batch holds, as the keywords of `pyro.plate`.

    `subsample_size`: draw so many of the given sequences at random; all of them when None.
    `subsample`: numbers of sequences: which of the given ones to take; with a `size`, which of all they are.
    `size`: number of all sequences, out of which the given ones are a batch, as from a `DataLoader`; the batch then
    speaks for all of them. When None, the given ones are all.
    """

    subsample_size: int | None = None
    subsample: Tensor | None = None
    size: int | None = None

    def plate(self, given: int) -> pyro.plate:
        """The plate `sequence`, where so many sequences are given.

        Raises
        ------
        ShapeError: the numbers contradict each other.
        """
        if self.size is None:
            if self.subsample_size is not None and not 1 <= self.subsample_size <= given:
                raise ShapeError(
                    f"subsample_size must be between 1 and the number of sequences: got {self.subsample_size} of "
                    f"{given}. Leave it out to take all of them."
                )
            return pyro.plate("sequence", given, self.subsample_size, self.subsample, dim=-1)
        numbers = torch.arange(given) if self.subsample is None else self.subsample
        if self.subsample_size is not None or len(numbers) != given or self.size < given:
            raise ShapeError(
                f"with a size, the given sequences are the batch: got {given} sequences out of {self.size}, a "
                f"subsample of {len(numbers)} numbers and subsample_size {self.subsample_size}. Give the number of "
                "every given sequence in subsample, or leave it out."
            )
        return pyro.plate("sequence", self.size, subsample=numbers, dim=-1)

    def given(self) -> dict[str, int | Tensor]:
        """Those that are not None: a model of one's own need not know the others."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def of(self, given: int, index: Tensor) -> Tensor:
        """Where the sequences of the plate stand among the given ones."""
        return index if self.size is None else torch.arange(given, device=index.device)


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

    def batch(self, times: Tensor, number: Tensor | None = None, size: int | None = None) -> Batch:
        """Intervals and fine grid of times `(sequence, time)` in model units, of sequences with these numbers."""

    def adapt(self, times: Tensor, x: Tensor | None) -> None:
        """Check the data, and take the units from the first."""

    def forget_units(self) -> None:
        """Take the units anew from the next data, unless something was learned in the present ones."""

    def features(self, x: Tensor) -> Tensor:
        """What an encoder sees of data `(*batch, channel)`, NaN where missing, before it standardises that."""
