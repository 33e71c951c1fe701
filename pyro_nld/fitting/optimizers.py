"""Optimisers of a fit: one of Pyro, or whatever makes one of torch for the parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import pyro
import torch
from torch import nn

from ..errors import FitError

Factory = Any
"""`pyro.optim.PyroOptim`, or a callable from parameters to `torch.optim.Optimizer`."""

EXPECTED = (
    "optimizer must be one of pyro.optim, such as pyro.optim.ClippedAdam({'lr': 0.01}), or a callable that makes one "
    "of torch.optim from parameters, such as torch.optim.AdamW or functools.partial(torch.optim.SGD, momentum=0.9)"
)


def made(
    optimizer: Factory | None,
    parameters: Sequence[nn.Parameter],
    rate: float,
    slower: AbstractSet[nn.Parameter] = frozenset(),
    share: float = 1.0,
) -> torch.optim.Optimizer:
    """The optimiser of some parameters; `initial_lr` of its groups is the rate that a schedule is a factor of.

    Parameters
    ----------
    optimizer: Adam with betas .9 and .99 when None. A rate of its own is kept: `ClippedAdam({"lr": 0.003})`.
    parameters: to be optimised. rate: the learning rate of an optimiser that has none of its own.
    slower: those whose rate is this share of it. An optimiser that is given has one rate for all.

    Raises
    ------
    FitError: it is no such optimiser, or one whose step needs a closure.
    """
    if optimizer is None:
        rest, slow = ([one for one in parameters if (one in slower) is which] for which in (False, True))
        groups: list[dict[str, Any]] = [{"params": rest}, {"params": slow, "lr": share * rate}]
        return _started(torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99)))
    make = _factory(optimizer)
    own = "lr" in getattr(make, "keywords", {}) or "lr" not in _arguments(make)
    found = make(parameters) if own else make(parameters, lr=rate)
    if not isinstance(found, torch.optim.Optimizer):
        raise FitError(f"{EXPECTED}: it made {type(found).__name__}. Let it return the optimiser.")
    if inspect.signature(type(found).step).parameters["closure"].default is inspect.Parameter.empty:
        raise FitError(
            f"{type(found).__name__} evaluates the loss several times a step, which is drawn anew each time."
        )
    return _started(found)


def _started(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def _factory(optimizer: Factory) -> Callable[..., torch.optim.Optimizer]:
    if isinstance(optimizer, pyro.optim.PyroOptim):
        given = optimizer.pt_optim_args
        if callable(given) or "optim_args" in given or isinstance(optimizer, pyro.optim.PyroLRScheduler):
            raise FitError(
                f"{EXPECTED}: got one with arguments by parameter, or a scheduler. The schedule has the rates."
            )
        return partial(optimizer.pt_optim_constructor, **given)
    if isinstance(optimizer, torch.optim.Optimizer) or not callable(optimizer):
        raise FitError(f"{EXPECTED}: got {type(optimizer).__name__}. Give the class or a function of the parameters.")
    return optimizer


def _arguments(make: Callable) -> set[str]:
    try:
        return set(inspect.signature(make).parameters)
    except (TypeError, ValueError):  # written in C
        return set()
