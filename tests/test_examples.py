"""Examples in docstrings: every public name has one, and every one runs as written, in a moment, without a warning."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_nld as nld

PACKAGE = Path(nld.__file__).parent
SECTION = re.compile(r"^Examples\n--------\n(?=.*^>>> )", re.MULTILINE | re.DOTALL)
GIVEN = {"nld": nld, "np": np, "torch": torch}
"""What an example may use without importing it; the first page of the reference says so."""

ROOMS = [importlib.import_module(f"pyro_nld.{path.parent.name}") for path in sorted(PACKAGE.glob("*/__init__.py"))]
PUBLIC = {
    value.__name__ if inspect.ismodule(value) else f"{value.__module__}.{value.__qualname__}"
    for page in [nld, *ROOMS]
    for value in (getattr(page, name) for name in page.__all__)
    if inspect.ismodule(value) or callable(value)
}
"""Names whose examples a user copies. Examples of others may use what their module imports."""

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SECONDS = 2.0  # of a processor, for one example: it should take half of that, and a busy machine is slower


def explained(value: object) -> bool:
    """Whether a docstring has the section Examples with code in it. An error class is explained by its module."""
    home = getattr(value, "__module__", None)
    text = importlib.import_module(home).__doc__ if home == "pyro_nld.errors" else value.__doc__
    return bool(SECTION.search(inspect.cleandoc(text or "")))


def module_names() -> list[str]:
    paths = sorted(path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def examples() -> list[doctest.DocTest]:
    """Everything in the library that has an example, private or public."""
    finder = doctest.DocTestFinder()
    found = (finder.find(importlib.import_module(name), name) for name in module_names())
    return [one for several in found for one in several if one.examples]


def written(source: str) -> int:
    """How many docstrings of a module hold an example."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, nodes)]
    return sum(">>> " in text for text in docstrings if text)


def failures(example: doctest.DocTest) -> str:
    """What an example printed that it should not have, or what it raised."""
    said: list[str] = []
    example.globs = dict(GIVEN) if example.name in PUBLIC else example.globs | GIVEN
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(example, out=said.append, clear_globs=False)
    return "".join(said)


def timed(example: doctest.DocTest, limit: float = SECONDS) -> tuple[str, float]:
    """What `failures` says, and the time of a processor that the example takes.

    One that is slower than the limit is run once more: the first run also loads modules.
    """
    for _ in range(2):
        begin = time.process_time()
        wrong = failures(example)
        seconds = time.process_time() - begin
        if wrong or seconds < limit:
            break
    return wrong, seconds


def parsed(text: str) -> doctest.DocTest:
    return doctest.DocTestParser().get_doctest(inspect.cleandoc(text), {"time": time}, "example", None, None)


# The library's


def test_every_public_name_has_an_example():
    bare = {name for name in nld.__all__ if not explained(getattr(nld, name))}
    assert bare == set()


def test_no_example_is_overlooked():
    count = sum(written(path.read_text()) for path in PACKAGE.rglob("*.py"))
    assert len(examples()) == count


@pytest.mark.parametrize("example", examples(), ids=lambda one: one.name.removeprefix("pyro_nld."))
def test_an_example_runs_as_written(example):
    wrong, seconds = timed(example)
    assert wrong == ""
    assert seconds < SECONDS


# These tests


def test_a_name_without_an_example_is_seen():
    class Well:
        """A well.

        Examples
        --------
        See the manual.
        """

    assert not explained(Well)
    Well.__doc__ = Well.__doc__.replace("See the manual.", ">>> 1 + 1\n        2")
    assert explained(Well)


def test_a_wrong_result_a_warning_and_an_error_are_seen():
    assert failures(parsed(">>> nld.DoubleWell(barrier=3.0)(torch.zeros(1)).item()\n3.0")) == ""
    assert "Got:" in failures(parsed(">>> nld.DoubleWell(barrier=3.0)(torch.ones(1)).item()\n3.0"))
    assert "UserWarning" in failures(parsed(">>> import warnings\n>>> warnings.warn('doubtful', stacklevel=1)"))
    assert "PriorError" in failures(parsed(">>> nld.OverdampedLangevin(nld.DoubleWell(), temperature=-1.0)"))


def test_a_slow_example_is_seen():
    """And one that is slow once, as it loads a module, is run again."""
    assert timed(parsed(">>> 1\n1"))[1] < SECONDS
    slow = ">>> end = time.process_time() + {}\n>>> while time.process_time() < end: pass"
    assert timed(parsed(slow.format("0.2")), limit=0.1)[1] > 0.1
    once = parsed(slow.format("0.2 * (not met)") + "\n>>> met[0] = 1")
    once.globs["met"] = {}
    wrong, seconds = timed(once, limit=0.1)
    assert wrong == ""
    assert seconds < 0.1


def test_a_public_example_has_no_hidden_names():
    hidden = doctest.DocTestParser().get_doctest(">>> well.latent\n1", {"well": nld.DoubleWell()}, "", None, None)
    assert failures(hidden) == ""
    hidden.name = "pyro_nld.dynamics.potentials.DoubleWell"
    assert "NameError" in failures(hidden)


def test_docstrings_with_examples_are_counted():
    source = '"""A."""\nclass B:\n    """>>> 1"""\n    def c(self):\n        """D.\n\n        >>> 2\n        """\n'
    assert written(source) == 2
