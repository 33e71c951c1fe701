"""The house itself: who may import whom, what is public, what is installed, how long a file may be."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pyro_nld

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyro_nld"
ROOTS = {"errors", "_typing", "nn", "command_line"}
"""Loose modules, which every room may import."""

ROOMS: dict[str, set[str]] = {
    "io": set(),
    "dynamics": set(),
    "landscape": {"dynamics", "io"},
    "model": {"dynamics", "io"},
    "guide": {"dynamics", "io"},
    "kinetics": {"landscape", "dynamics"},
    "datasets": {"landscape", "dynamics", "io"},
    "plots": {"landscape", "dynamics", "io"},
    "fitting": {"model", "guide", "landscape", "kinetics", "dynamics", "io"},
    "results": {"fitting", "model", "guide", "landscape", "kinetics", "dynamics", "io"},
    "checks": {"results", "fitting", "datasets", "kinetics", "io"},
    "report": {"checks", "results", "plots", "landscape"},
    "runs": {"report", "checks", "results", "fitting", "model", "guide", "dynamics", "io"},
}
"""Which rooms a room may import; inside a room only circles are forbidden."""

FLOORS = 9  # of rooms and loose modules; the package itself and the recipes stand on two more

TEXT = {"", ".py", ".md", ".toml", ".txt", ".cff", ".ipynb", ".yml", ".yaml", ".css"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|Users|root|tmp|work|farm|opt|mnt)/")


# Imports


def module_names(package: Path) -> list[str]:
    """Dotted names below the package; a room's contents page is called as the room."""
    paths = sorted(path.relative_to(package).with_suffix("") for path in package.rglob("*.py"))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths if path.parts != ("__init__",)]


def imported(source: str, here: str, package: str, modules: set[str]) -> set[str]:
    """The modules of `package` that the module `here` of it imports anywhere; `` stands for the package itself."""
    found = {
        name
        for node in ast.walk(ast.parse(source))
        for dotted in dotted_imports(node, here, package)
        if (name := longest(dotted, package, modules)) is not None
    }
    return found - {here}


def dotted_imports(node: ast.AST, here: str, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = [package, *here.split(".")]
        above = above[: len(above) - node.level] if node.level else []
        return [".".join([*above, *([node.module] if node.module else []), alias.name]) for alias in node.names]
    return []


def longest(dotted: str, package: str, modules: set[str]) -> str | None:
    """The module that is imported where a module or a name out of one is."""
    root, _, rest = dotted.partition(".")
    if root != package:
        return None
    while rest and rest not in modules:
        rest = rest.rpartition(".")[0]
    return rest


def import_graph(package: Path) -> dict[str, set[str]]:
    modules = set(module_names(package))

    def source(name: str) -> tuple[str, str]:
        folder = package / name.replace(".", "/")
        # inside a contents page, one dot is the room itself
        return ((folder / "__init__.py").read_text(), f"{name}.") if folder.is_dir() else (
            folder.with_suffix(".py").read_text(), name
        )  # fmt: skip

    return {name: imported(*source(name), package.name, modules) - {name} for name in modules}


def room(name: str) -> str:
    return name.partition(".")[0]


def violations(package: Path) -> list[str]:
    """One line for every room that is not drawn, and every import from one into another that ROOMS does not allow."""
    drawn = import_graph(package)
    known = ROOMS.keys() | ROOTS
    unknown = [f"{name} is not in the graph" for name in sorted({room(name) for name in drawn} - known)]
    return unknown + [
        f"{name} imports {other or 'the package'}"
        for name in sorted(drawn)
        if room(name) in known
        for other in sorted(drawn[name])
        if room(other) not in {room(name)} | ROOTS | ROOMS.get(room(name), set())
    ]


def floors(graph: dict[str, set[str]]) -> int:
    """How many modules stand on the longest way down."""
    level: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        level[name] = 1 + max((level[below] for below in graph[name]), default=0)
    return max(level.values())


def rooms_of(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Which room or loose module imports which."""
    found: dict[str, set[str]] = {room(name): set() for name in graph}
    for name, below in graph.items():
        found[room(name)] |= {room(other) for other in below} - {room(name), ""}
    return found


def test_imports_follow_the_graph():
    assert violations(PACKAGE) == []


def test_imports_have_no_cycle():
    TopologicalSorter(import_graph(PACKAGE)).prepare()


def test_rooms_have_no_cycle():
    assert len(ROOMS) == 13
    TopologicalSorter(ROOMS).prepare()


def test_the_house_has_no_more_floors_than_the_plan():
    assert floors(rooms_of(import_graph(PACKAGE))) <= FLOORS


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A small package that breaks every rule of imports."""
    package = tmp_path / "pyro_nld"
    written = {
        "errors.py": "import torch\n",
        "drawer.py": "",
        "guide/__init__.py": "from .amortized import AmortizedGuide\n",
        "guide/amortized.py": "from ..errors import DataError\ndef late():\n    from ..model.latent import prepare\n",
        "model/__init__.py": "from . import latent\n",
        "model/latent.py": "from .. import guide\nimport pyro_nld\nfrom pyro_nld.dynamics import LangevinPath\n",
        "dynamics/__init__.py": "from pyro_nld import guide as g\n",
    }
    for name, text in written.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package


def test_a_wrong_import_is_seen(foreign):
    assert violations(foreign) == [
        "drawer is not in the graph",
        "dynamics imports guide",
        "guide.amortized imports model.latent",
        "model.latent imports the package",
        "model.latent imports guide",
    ]


def test_a_cycle_is_seen(foreign):
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph(foreign)).prepare()


def test_floors_are_counted():
    assert floors({"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a"}}) == 3


def test_rooms_are_folders_with_a_contents_page_and_four_modules_stand_beside_them():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == ROOMS.keys()
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOTS | {"__init__"}


@pytest.mark.parametrize("name", ROOMS)
def test_a_contents_page_is_short_and_defines_nothing(name):
    text = (PACKAGE / name / "__init__.py").read_text()
    docstring, *rest = ast.parse(text).body
    assert len(text.splitlines()) <= 40
    assert isinstance(docstring, ast.Expr)
    assert {type(node) for node in rest[:-1]} == {ast.ImportFrom}
    assert isinstance(rest[-1], ast.Assign)
    assert ast.unparse(rest[-1].targets[0]) == "__all__"


@pytest.mark.parametrize("name", ROOMS)
def test_a_contents_page_lists_what_it_imports(name):
    found = importlib.import_module(f"pyro_nld.{name}")
    assert [each for each in found.__all__ if not hasattr(found, each)] == []
    assert len(found.__all__) == len(set(found.__all__))


# Contents page


def test_the_contents_page_names_what_exists_once():
    names = pyro_nld.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(pyro_nld, name)] == []


def test_no_module_shares_its_name_with_an_exported_function():
    modules = {name: importlib.import_module(f"pyro_nld.{name}") for name in ROOMS.keys() | ROOTS}
    hidden = [name for name, module in modules.items() if getattr(pyro_nld, name) is not module]
    assert hidden == []


def missing(text: str) -> list[str]:
    """Names written `nld.X` or `nld.X.Y` in `text` that the library does not have."""
    return [name for name in re.findall(r"\bnld\.((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)", text) if not known(name)]


def known(dotted: str) -> bool:
    try:
        reduce(getattr, dotted.split("."), pyro_nld)
    except AttributeError:
        return False
    return True


def test_the_readme_names_only_what_exists():
    text = (ROOT / "README.md").read_text()
    assert "nld." in text
    assert missing(text) == []


def test_a_wrong_name_in_the_readme_is_seen():
    assert missing("`nld.__all__`, `nld.potentials.nothing(x)`, nld.Nothing.") == ["potentials.nothing", "Nothing"]


# Documentation

Definition = ast.FunctionDef | ast.ClassDef


def public(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
    """Public functions and classes, and the public methods and constructors of those classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (not node.name.startswith("_") or is_constructor(node)):
            name = f"{prefix}.{node.name}"
            yield name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, name)


def is_constructor(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def undocumented(source: str, module: str) -> list[str]:
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else [module]
    return found + [
        name for name, node in public(tree.body, module) if not (is_constructor(node) or ast.get_docstring(node))
    ]


def unannotated(source: str, module: str) -> list[str]:
    return [
        name
        for name, node in public(ast.parse(source).body, module)
        if isinstance(node, ast.FunctionDef) and not annotated(node)
    ]


def annotated(function: ast.FunctionDef) -> bool:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    bare = [one for one in every if one and not one.annotation and one.arg not in ("self", "cls")]
    return not bare and function.returns is not None


def across_modules(check) -> list[str]:
    return [name for path in sorted(PACKAGE.rglob("*.py")) for name in check(path.read_text(), path.stem)]


def test_every_public_object_is_documented():
    assert across_modules(undocumented) == []


def test_every_public_function_is_annotated():
    assert across_modules(unannotated) == []


def test_a_bare_object_is_seen():
    source = "class Well:\n    def __init__(self, depth): ...\n    def energy(self, z: int): ...\ndef _aside(x): ...\n"
    assert undocumented(source, "wells") == ["wells", "wells.Well", "wells.Well.energy"]
    assert unannotated(source, "wells") == ["wells.Well.__init__", "wells.Well.energy"]


# Wheel


def test_the_wheel_installs_the_package_alone(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]
    assert {path.parts[0] for path in inside if not path.parts[0].endswith(".dist-info")} == {"pyro_nld"}
    assert {path.name for path in inside} >= {
        path.name for path in PACKAGE.rglob("*.*") if "__pycache__" not in path.parts
    }
    for folder in ("inference", "models"):
        carried = {path.name for path in inside if path.parts[:2] == ("pyro_nld", folder)}
        assert carried == {path.name for path in (ROOT / folder).iterdir() if path.suffix in (".py", ".md")}


# Layout


def too_long(folder: str, limit: int) -> list[str]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths, f"{folder} holds no Python file"
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > limit]


@pytest.mark.parametrize(("folder", "limit"), [("pyro_nld", 400), ("models", 80), ("inference", 60), ("docs", 100)])
def test_files_are_short(folder, limit):
    assert too_long(folder, limit) == []


@pytest.mark.parametrize("folder", ["models", "inference"])
def test_models_and_recipes_are_opened_by_path(folder):
    assert list((ROOT / folder).rglob("__init__.py")) == []


def written_files() -> list[Path]:
    """Every text file somebody wrote: the top of the repository and its folders, without what tools leave behind."""
    folders = [
        ROOT / name for name in (".ci", ".github", "pyro_nld", "models", "inference", "notebooks", "docs", "tests")
    ]
    paths = [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    ours = [path for path in paths if path.suffix in TEXT and not {".git", "__pycache__"} & set(path.parts)]
    return [path for path in ours if path.is_file()]


def test_no_file_names_a_place_on_one_machine():
    lines = [(path, line) for path in written_files() for line in path.read_text().splitlines()]
    assert [f"{path.name}: {line.strip()}" for path, line in lines if MACHINE_PATH.search(line)] == []


def test_a_place_on_one_machine_is_seen():
    assert MACHINE_PATH.search("open('" + "/".join(["", "home", "me", "data.nc"]) + "')")
    assert not MACHINE_PATH.search("https://example.org/home/data.nc and ../tmp/data.nc")
