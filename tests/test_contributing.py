"""CONTRIBUTING.md: the code of each recipe must pass the contract that the recipe names, and fail it when broken."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTION = re.compile(r"^## Add a (\w+)\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPES = dict(SECTION.findall(TEXT))

# What a careless author might have written instead.
FAULTS = {
    "likelihood": ("* self.decoder.scale)", "* self.decoder.scale).expand([3])"),
    "dynamics": ("[-1.0, 1.0]", "[1.0, 1.0]"),
    "diagnostic": ("graded(largest, FAR)", "graded(largest, FAR, high_is_good=True)"),
    "figure": ("figure = Figure(", "from matplotlib import pyplot\n    figure = pyplot.figure("),
}


def contract(text: str) -> Path:
    """The file of tests that a recipe calls the contract."""
    return ROOT / re.search(r"The contract is `(tests/[\w/]+\.py)`", text)[1]


def joined(text: str) -> str:
    """The contract with the recipe's code behind its MEMBERS."""
    source = contract(text).read_text()
    (members,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "MEMBERS"
    )
    lines = source.splitlines()
    return "\n".join([*lines[: members.end_lineno], *CODE.findall(text), *lines[members.end_lineno :]])


def member(text: str) -> str:
    return re.search(r'^MEMBERS\["(\w+)"\]', text, re.MULTILINE)[1]


def outcomes(texts: dict[str, str], folder: Path) -> dict[str, list[str]]:
    """For each recipe, how the tests of its new member ended."""
    for name, text in texts.items():
        (folder / f"test_{name}.py").write_text(joined(text))
    chosen = " or ".join(member(text) for text in texts.values())
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-k", chosen, "-p", "conftest"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    ended = re.findall(r"^(PASSED|FAILED|ERROR) test_(\w+)\.py", done.stdout, re.MULTILINE)
    assert ended, done.stdout + done.stderr
    return {name: [how for how, whose in ended if whose == name] for name in texts}


def test_there_is_a_recipe_for_each_thing_that_people_add():
    assert list(RECIPES) == ["likelihood", "dynamics", "diagnostic", "figure"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """How the tests of every recipe ended, and of every broken one: one run of pytest for all."""
    broken = {f"broken_{name}": RECIPES[name].replace(*fault) for name, fault in FAULTS.items()}
    return outcomes(RECIPES | broken, tmp_path_factory.mktemp("recipes"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_passes_the_contract_that_it_names(found, name):
    assert set(found[name]) == {"PASSED"}
    assert len(found[name]) >= 5


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_with_a_fault_does_not(found, name):
    assert FAULTS[name][0] in RECIPES[name]
    assert set(found[f"broken_{name}"]) - {"PASSED"}


def test_files_that_it_names_exist():
    named = re.findall(r"`?((?:tests|pyro_nld|inference|docs|models|\.github|\.ci)/[\w./]+\w)", TEXT)
    assert [file for file in named if not (ROOT / file).exists()] == []
    assert len(named) > 10


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake (\w+)", TEXT)) - {"and"}))
def test_commands_that_it_names_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
