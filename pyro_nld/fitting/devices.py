"""Where gradient steps are computed. Everything else, all that is read from a fit, is computed on the processor.

Model, guide and data move to the device for the steps and come back after them, so that M-steps, balancing, landscapes,
states and figures need no card. A resumed fit goes on with other random numbers on a card than an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..errors import FitError


def usable(device: str | torch.device | None) -> torch.device | None:
    """The device of this name, after a number was computed on it; None stays None.

    Raises
    ------
    FitError: there is no such device here.

    Examples
    --------
    >>> from pyro_nld.fitting.devices import usable
    >>> usable("cpu")
    device(type='cpu')
    """
    if device is None:
        return None
    try:
        found = torch.device(device)
        float(torch.ones(1, device=found).sum())
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise FitError(
            f"the device must be one of this machine: got {device!r}, and there are {', '.join(here)}. Leave it out "
            "for the processor."
        ) from error
    return found


def place(device: torch.device | None, *modules: nn.Module) -> None:
    """Move modules there; None leaves them where they are."""
    if device is not None:
        for module in modules:
            module.to(device)


@contextmanager
def at_home(device: torch.device | None, *modules: nn.Module) -> Iterator[None]:
    """Inside this context, modules that are on a device are on the processor."""
    if device is not None:
        for module in modules:
            module.cpu()
    try:
        yield
    finally:
        place(device, *modules)
