"""What every test starts from: one thread, no window, an empty parameter store, a seed of its own."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from importlib import import_module

# ArviZ 0.23 leaves a stamp in the user's cache at its first import of each day, and two processes that do so at once
# trip over each other: here it happens in the parent, before there are workers.
import arviz  # noqa: F401
import jaxtyping
import matplotlib
import pyro
import pytest
import sparing
import torch
from matplotlib import pyplot as plt
from programs import BRIEF

matplotlib.use("Agg")
torch.set_num_threads(1)
pyro.enable_validation(True)


LONG = ("test_notebooks.py", "test_models.py")  # minutes each
NEXT = ("test_recipes.py", "test_manual.py")  # a minute, and made once for all tests of a file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every worker begins with its share of what takes longest.

    Workers get equal stretches of the list, and steal from the end of another's when they are done: with all notebooks
    in one stretch, the other worker waited for the last of them.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    long = [item for name in LONG for item in items if item.path.name == name]
    rest = [item for item in items if item.path.name not in LONG]
    rest.sort(key=lambda item: item.path.name not in NEXT)
    ends = [len(items) * k // workers for k in range(workers + 1)]
    dealt: list[pytest.Item] = []
    for k in range(workers):
        dealt += long[k::workers]
        stretch = max(0, ends[k + 1] - len(dealt))
        dealt, rest = dealt + rest[:stretch], rest[stretch:]
    items[:] = dealt


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A number made of the test's name: the same wherever its file stands, whatever runs before it or beside it."""
    return zlib.crc32(request.node.name.encode())


@pytest.fixture(autouse=True)
def _fresh(seed: int) -> Iterator[None]:
    sparing.begin()
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
    plt.close("all")


@pytest.fixture
def untyped() -> Iterator[None]:
    """As outside of pytest: annotations are not executed, so that an argument of a wrong kind reaches the library."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is simulated of a fitted prior, as in `programs`."""
    for module, name, value in BRIEF:
        monkeypatch.setattr(import_module(module), name, value)
