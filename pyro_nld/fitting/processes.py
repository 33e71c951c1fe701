"""The processes that share the gradient steps of one fit: this one alone, or those of a `Fabric` of Lightning.

A batch is cut into `Schedule.parts`, each with random numbers of its own. Which process computes a part changes nothing
but the order of a sum, so that a fit is the same with one process or with many, and may go on with another number.
All the rest of a fit, which costs little, every process does for itself; the first one alone writes and shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from ..errors import FitError
from .devices import usable

Kept = TypeVar("Kept")


@runtime_checkable
class Fabric(Protocol):
    """What is asked of `lightning.fabric.Fabric`, after its `launch()`."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    @property
    def global_rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def world_size(self) -> int:
        """How many there are."""

    def all_reduce(self, data: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """A sum over the processes."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """An object of one process, in all of them."""


class Crew:
    """A process among those of one fit.

    Examples
    --------
    Alone, it computes all parts, and sums are what they are:

    >>> from pyro_nld.fitting.processes import Crew
    >>> alone = Crew()
    >>> alone.first, list(alone.own(4)), alone.agreed([1.5])
    (True, [0, 1, 2, 3], [1.5])
    """

    def __init__(self, device: str | torch.device | Fabric | None = None) -> None:
        self._fabric = device if isinstance(device, Fabric) else None
        place = cast("str | torch.device | None", device) if self._fabric is None else self._fabric.device
        self.device = None if self._fabric and place == torch.device("cpu") else usable(place)
        self.rank = 0 if self._fabric is None else self._fabric.global_rank
        self.size = 1 if self._fabric is None else self._fabric.world_size

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def own(self, parts: int) -> range:
        """The parts of a batch that this process computes.

        Raises
        ------
        FitError: some processes would have more of them than others.
        """
        if parts % self.size:
            raise FitError(
                f"every process computes as many parts of a batch: got {parts} for {self.size} processes. "
                f"Set Schedule(parts=…) to a multiple of {self.size}, and keep it when the number of processes changes."
            )
        return range(self.rank, parts, self.size)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its sum over the processes, in one message."""
        if self._fabric is not None and self.size > 1:
            several = list(tensors)
            total = self._fabric.all_reduce(torch.cat([one.flatten() for one in several]), reduce_op="sum")
            for one, part in zip(several, total.split([one.numel() for one in several]), strict=True):
                one.copy_(part.view_as(one))

    def agreed(self, numbers: Sequence[float]) -> list[float]:
        """The numbers of the first process."""
        told = torch.tensor(numbers, dtype=torch.float64, device=self.device) * self.first
        self.sum_([told])
        return told.tolist()

    def told(self, kept: Kept) -> Kept:
        """What the first process has, in all of them."""
        return kept if self._fabric is None or self.size == 1 else self._fabric.broadcast(kept)


@contextmanager
def own_numbers(seed: int, part: int) -> Iterator[None]:
    """Random numbers of one part of a batch. After it, those of the fit go on as if it had drawn none."""
    before = torch.get_rng_state()
    torch.manual_seed(seed + part)
    try:
        yield
    finally:
        torch.set_rng_state(before)
