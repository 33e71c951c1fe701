"""What a fit keeps to itself: its random numbers, and its parameters in Pyro."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
import torch


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Random numbers from `seed`; afterwards the caller's go on as if nothing was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def own_parameters() -> Iterator[None]:
    """A separate parameter store, because names in Pyro's global store may belong to a model that was fitted earlier.

    Afterwards the names used here are removed from the global store, so that the fitted modules register anew.
    """
    store = pyro.get_param_store()
    with store.scope() as own:
        yield
    for name in own["params"]:
        if name in store:
            del store[name]
