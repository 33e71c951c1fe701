"""What a fit keeps to itself: its random numbers, its parameters in Pyro, and how its processor rounds."""

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


@contextmanager
def without_denormals() -> Iterator[None]:
    """Numbers below the smallest normal one (1e-308, 1e-38 in single precision) are 0; afterwards as before.

    Products of small probabilities are full of such numbers, and a processor takes a hundred times as long for each.
    """
    kept = float(torch.tensor(1e-300, dtype=torch.float64) * 1e-10) > 0
    torch.set_flush_denormal(True)  # False, and nothing else, where a processor cannot
    try:
        yield
    finally:
        torch.set_flush_denormal(not kept)
