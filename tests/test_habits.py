"""What is said in several places is the same in all: the version, the Pythons, the tools before a commit and in CI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pyro_nld

ROOT = Path(__file__).parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text()


def found(pattern: str, name: str) -> list[str]:
    return re.findall(pattern, text(name), re.MULTILINE)


def versions() -> dict[str, list[str]]:
    """The version of the library, wherever a reader meets it."""
    return {
        "CITATION.cff": found(r"^version: (.+)$", "CITATION.cff"),
        "CHANGELOG.md": found(r"^## \[(.+?)\]", "CHANGELOG.md")[:1],
        "pyproject.toml": found(r'^version = "(.+)"$', "pyproject.toml"),
    }


def test_the_version_is_said_by_the_package_and_repeated_by_two_files():
    said = pyro_nld.__version__
    assert versions() == {"CITATION.cff": [said], "CHANGELOG.md": [said], "pyproject.toml": []}


def test_the_pythons_that_are_claimed_are_those_that_are_tried():
    claimed = set(found(r'"Programming Language :: Python :: (3\.\d+)"', "pyproject.toml"))
    (newest,) = found(r"OTHER_PYTHONS-([^}]+)\}", ".ci/run")
    (matrix,) = found(r"python: \[(.+)\]", ".github/workflows/ci.yml")
    (whole,) = found(r"container: python:(3\.\d+)", ".github/workflows/ci.yml")
    assert {whole, *re.findall(r"3\.\d+", matrix)} == claimed
    assert newest == max(claimed, key=lambda v: int(v[2:]))
    assert found(r'^requires-python = ">=(.+)"$', "pyproject.toml") == [min(claimed, key=lambda v: int(v[2:]))]


@pytest.mark.parametrize("target", ["lint", "types"])
def test_a_commit_is_asked_what_make_asks(target):
    """Same tools, and never one that is downloaded: every hook is local and runs out of the environment."""
    (recipe,) = re.findall(rf"^{target}:.*\n((?:\t.+\n)+)", text("Makefile"), re.MULTILINE)
    asked = {" ".join(line.split()[:2]) for line in recipe.replace("$(BIN)/", "").splitlines()}
    entries = {entry.split(" --")[0] for entry in found(r"^ +entry: \.venv/bin/(.+)$", ".pre-commit-config.yaml")}
    assert asked <= entries
    assert found(r"^ +- repo: (.+)$", ".pre-commit-config.yaml") == ["local"]


def test_hosted_ci_calls_what_ci_calls_here():
    assert found(r"run: (\.ci/run)$", ".github/workflows/ci.yml") == [".ci/run"]
    assert found(r"^ +make (quick) ", ".ci/run") == ["quick"]


@pytest.mark.parametrize("marker", ["browser", "dask", "notebooks", "release"])
def test_tests_with_a_mark_are_where_make_looks_for_them(marker):
    """It collects one file, and not all of them."""
    (place,) = found(rf"pytest -m {marker} .*(tests/\S+)$", "Makefile")
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if f"mark.{marker}\n" in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in marked] == [place]


def test_every_pin_holds_one_version_per_python():
    """A part is pinned once, or once for 3.10 and once for the others."""
    pins = found(r"^([\w.-]+)==\S+(?: ; python_version (\S+ \S+))?$", "constraints.txt")
    by_part: dict[str, list[str]] = {}
    for part, where in pins:
        by_part.setdefault(part.lower(), []).append(where)
    doubled = {part: where for part, where in by_part.items() if len(where) != len(set(where)) or len(where) > 2}
    assert doubled == {}
    assert [part for part, where in by_part.items() if "" in where and len(where) > 1] == []
    assert len(pins) == len([line for line in text("constraints.txt").splitlines() if "==" in line])
