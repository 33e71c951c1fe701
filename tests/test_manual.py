"""The manual without its builder: code that runs as written, links that lead somewhere, no public name left out."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import SimpleNamespace

import pyro
import pytest
import torch

import pyro_nld as nld
from pyro_nld.fitting import em, transitions

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
REFERENCE = re.compile(r"\]\[(pyro_nld[\w.]*)\]")
BLOCK = re.compile(r"^::: (\S+)$", re.MULTILINE)
MEMBERS = re.compile(r"^ +members: \[(.*)\]$", re.MULTILINE)


def pages() -> list[Path]:
    return sorted(PAGES.rglob("*.md"))


def name(page: Path) -> str:
    return page.relative_to(PAGES).as_posix()


def code(text: str) -> list[str]:
    return [body for language, body in FENCE.findall(text) if language == "python"]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchor(heading: str) -> str:
    """The builder's: letters, digits and hyphens, lower case."""
    plain = re.sub(r"[^\w\s-]", "", heading.encode("ascii", "ignore").decode()).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


def lost_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (place and place not in map(anchor, HEADING.findall(prose(target)))):
            yield link


def exists(dotted: str) -> bool:
    """Whether `pyro_nld.room.module.name` is there; a module that shares its name with a function is still a module."""
    parts = dotted.split(".")
    deepest = max(
        (count for count in range(1, len(parts) + 1) if is_module(parts[:count])),
        default=1,
    )
    try:
        reduce(getattr, parts[deepest:], importlib.import_module(".".join(parts[:deepest])))
    except (AttributeError, ImportError):
        return False
    return True


def is_module(parts: list[str]) -> bool:
    place = ROOT.joinpath(*parts)
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def referenced() -> set[str]:
    """Modules with a place in the reference."""
    return {block for page in (PAGES / "reference").glob("*.md") for block in BLOCK.findall(page.read_text())}


# Code


@pytest.mark.filterwarnings("ignore::pyro_nld.DoubtfulFitWarning", "ignore::pyro_nld.DoubtfulDataWarning")
@pytest.mark.parametrize("page", [page for page in pages() if code(page.read_text())], ids=name)
def test_the_code_of_a_page_runs_as_written(page, monkeypatch):
    """No number of a last M-step or of a balance is asked for: smaller batches and two turns show that they run."""
    monkeypatch.setattr(em, "POTENTIAL_BATCH", 256)
    monkeypatch.setattr(transitions, "TURNS", 2)
    names: dict[str, object] = {"__name__": name(page)}
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        torch.manual_seed(0)
        for place, block in enumerate(code(page.read_text())):
            exec(compile(block, f"{name(page)}, block {place}", "exec"), names)


def test_every_guide_and_page_of_the_method_shows_code():
    silent = [name(page) for folder in ("method", "guides") for page in (PAGES / folder).glob("*.md")
              if not code(page.read_text())]  # fmt: skip
    assert silent == []


# Links and names


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page):
    assert [*lost_links(page)] == []


def test_a_lost_link_is_seen(tmp_path):
    (tmp_path / "there.md").write_text("# What a visit is, exactly\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md#what-a-visit-is-exactly) [b](there.md#nowhere) [c](gone.md) [d](https://example.org)"
        "\n```\n[e](code.md)\n```\n"
    )
    assert [*lost_links(page)] == ["there.md#nowhere", "gone.md"]


@pytest.mark.parametrize("page", pages(), ids=name)
def test_names_of_the_library_exist(page):
    text = page.read_text()
    named = {f"pyro_nld.{dotted}" for dotted in re.findall(r"\bnld\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", text)}
    asked = named | set(REFERENCE.findall(text)) | set(BLOCK.findall(text))
    assert [dotted for dotted in sorted(asked) if not exists(dotted)] == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"\b(?:models|inference|tests)/[\w/]+\.py\b", page.read_text())
    assert [file for file in named if not (ROOT / file).is_file()] == []


def test_what_does_not_exist_is_seen():
    assert exists("pyro_nld.results.fit.fit")
    assert exists("pyro_nld.fit")
    assert not exists("pyro_nld.fitting.training.nothing")
    assert not exists("pyro_nld.nothing")


# Docstrings


@pytest.fixture
def rewritten(monkeypatch):
    """`docs/sections.py` without the tool that it extends."""
    monkeypatch.setitem(sys.modules, "griffe", SimpleNamespace(Extension=object))
    return runpy.run_path(str(ROOT / "docs" / "sections.py"))["markdown"]


def test_a_docstring_becomes_markdown(rewritten):
    docstring = inspect.cleandoc("""z' = f(z).

    Parameters
    ----------
    potential: U, any: a
        function. wells: from `minima`.
    *args, …: passed on.

    Returns
    -------
    A number.

    Raises
    ------
    FitError: nothing was found. DataError: no data.

    Not checked: the rest.
    """)
    assert rewritten(docstring, ["potential", "wells", "args"]).split("\n") == [
        "z' = f(z).",
        "",
        "**Parameters**",
        "",
        "- **potential**: U, any: a function.",
        "- **wells**: from `minima`.",
        "- **\\*args, …**: passed on.",
        "",
        "**Returns**",
        "",
        "A number.",
        "",
        "**Raises**",
        "",
        "- **FitError**: nothing was found.",
        "- **DataError**: no data.",
        "",
        "",
        "**Not checked**: the rest.",
    ]


def test_fields_without_a_title_become_a_list(rewritten):
    assert rewritten("Steps.\n\nsteps: many.\nclip: of\n    a norm.", ["steps", "clip"]) == (
        "Steps.\n\n- **steps**: many.\n- **clip**: of a norm."
    )


def test_examples_become_blocks_of_code(rewritten):
    docstring = inspect.cleandoc("""U(z).

    Examples
    --------
    A well.

    >>> u = U(
    ...     2
    ... )

    >>> u
    4

    That is its depth.

    >>> 1
    1
    """)
    assert rewritten(docstring, []).split("\n") == [
        "U(z).",
        "",
        "**Examples**",
        "",
        "A well.",
        "",
        "```pycon",
        ">>> u = U(",
        "...     2",
        "... )",
        "",
        ">>> u",
        "4",
        "```",
        "",
        "That is its depth.",
        "",
        "```pycon",
        ">>> 1",
        "1",
        "```",
    ]


def test_no_example_is_left_outside_a_block_of_code(rewritten):
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    trees = [ast.parse(path.read_text()) for path in (ROOT / "pyro_nld").rglob("*.py")]
    texts = [ast.get_docstring(node) for tree in trees for node in ast.walk(tree) if isinstance(node, nodes)]
    pages_of_examples = [rewritten(text, []) for text in texts if text and ">>> " in text]
    assert len(pages_of_examples) > 20
    assert [page for page in pages_of_examples if ">>> " in FENCE.sub("", page)] == []


# The whole of the library, and of the manual


def test_every_public_module_has_a_place_in_the_reference():
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "pyro_nld").rglob("[!_]*.py")]
    modules = {".".join(file.parts) for file in files} - {"pyro_nld.errors"}
    assert referenced() - {"pyro_nld.errors"} == modules


def test_every_public_name_has_a_place_in_the_reference():
    listed = MEMBERS.search((PAGES / "reference" / "errors.md").read_text())
    errors = set(listed[1].split(", ")) if listed else set()
    assert {public for public in nld.__all__ if not placed(public, errors)} == set()


def placed(public: str, errors: set[str]) -> bool:
    """Whether a reference page shows this: its module's, one that lists it as its own, or that of errors."""
    value = getattr(nld, public)
    home = value.__name__ if inspect.ismodule(value) else value.__module__
    if home == "pyro_nld.errors":
        return public in errors
    if inspect.ismodule(value) and hasattr(value, "__path__"):  # a room has a page of its own
        return (PAGES / "reference" / f"{public}.md").is_file()
    showing = [importlib.import_module(module) for module in referenced()]
    return home in referenced() or any(public in getattr(module, "__all__", ()) for module in showing)


def test_every_page_is_in_the_contents():
    contents = (ROOT / "docs" / "mkdocs.yml").read_text()
    assert [name(page) for page in pages() if f" {name(page)}\n" not in contents] == []
