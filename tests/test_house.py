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
# In this order; every public module may import them.
INTERNAL = ["_typing", "_checks", "_modules", "_series", "_files", "_linear", "_parabola", "_drawing", "_markup"]
GRAPH = {
    "potentials": set(),
    "forces": set(),
    "dynamics": {"potentials", "forces"},
    "integrators": {"dynamics"},
    "paths": {"integrators", "dynamics"},
    "controls": {"paths", "dynamics"},
    "simulation": {"dynamics"},
    "observations": set(),
    "encoders": set(),
    "equilibrium": {"dynamics", "paths"},
    "model": {"equilibrium", "paths", "observations", "integrators", "dynamics"},
    "guide": {"paths", "encoders", "controls"},
    "objective": {"paths"},
    "inference_data": set(),
    "findings": set(),
    "diagnostics": {"findings", "inference_data"},
    "comparisons": {"findings"},
    "predictive_checks": {"findings", "inference_data", "kinetics"},
    "samplers": {"potentials"},
    "flows": set(),
    "landscape": {"potentials", "flows", "dynamics", "integrators"},
    "attractors": {"flows", "dynamics"},
    "saddles": {"potentials", "landscape"},
    "occupancies": {"potentials", "landscape", "samplers", "inference_data"},
    "particles": {"model", "objective", "paths"},
    "pace": {"model", "guide", "particles"},
    "em": {"model", "guide", "objective", "pace", "paths", "particles", "potentials"},
    "generators": {"dynamics"},
    "counting": set(),
    "kinetics": {"potentials", "dynamics", "integrators", "paths", "generators", "counting"},
    "verdicts": set(),
    "draws": {"model", "guide", "objective", "particles"},
    "ensemble": {
        "potentials",
        "flows",
        "dynamics",
        "observations",
        "model",
        "draws",
        "landscape",
        "saddles",
        "kinetics",
    },
    "results": {
        "potentials",
        "model",
        "guide",
        "dynamics",
        "observations",
        "objective",
        "draws",
        "ensemble",
        "inference_data",
        "landscape",
        "attractors",
        "occupancies",
        "flows",
        "saddles",
        "kinetics",
        "verdicts",
    },
    "depths": {"em", "flows", "potentials", "landscape", "occupancies", "kinetics", "counting", "results"},
    "segmentation": {"results"},
    "forecasting": {"paths", "draws", "results"},
    "corrections": {"draws", "guide", "particles", "results"},
    "replicates": {"draws", "guide", "results"},
    "scores": {"corrections", "predictive_checks", "replicates", "results"},
    "calibration": {"corrections", "draws", "findings", "model_files", "results", "schedules", "training"},
    "checkpoints": set(),
    "schedules": set(),
    "training": {
        "schedules",
        "model",
        "guide",
        "objective",
        "particles",
        "em",
        "depths",
        "checkpoints",
        "results",
    },
    "oracles": set(),
    "hidden_markov": {"oracles"},
    "simulated_wells": {"potentials", "dynamics", "integrators", "paths", "landscape"},
    "datasets": {"simulation", "observations", "oracles", "simulated_wells"},
    "published": {
        "checkpoints",
        "potentials",
        "dynamics",
        "observations",
        "encoders",
        "controls",
        "model",
        "guide",
    },
    "fields": {"landscape"},
    "fans": set(),
    "timings": set(),
    "diagnostic_plots": set(),
    "plots": {"landscape", "fans", "fields", "timings", "diagnostic_plots"},
    "tables": {"oracles", "attractors"},
    "table_one": set(),
    "lights": {"diagnostics", "tables"},
    "browsing": set(),
    "interactive": {"landscape"},
    "report": {"browsing", "interactive", "lights", "plots", "results", "tables"},
    "command_line": set(),
    "model_files": {"model", "guide", "objective", "datasets"},
    "summary": {"attractors", "dynamics", "inference_data", "results"},
}
for parts in GRAPH.values():
    parts.update(INTERNAL)
GRAPH |= {name: set(INTERNAL[:place]) for place, name in enumerate(INTERNAL)}
GRAPH["runs"] = set(GRAPH)
GRAPH["reproduction"] = set(GRAPH) - {"runs"}

TEXT = {"", ".py", ".md", ".toml", ".txt", ".cff", ".ipynb", ".yml", ".css"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|Users|root|tmp|work|farm|opt|mnt)/")


# Imports


def module_names(package: Path) -> set[str]:
    return {path.stem for path in package.glob("*.py")} - {"__init__"}


def imported(source: str, package: str, modules: set[str]) -> set[str]:
    """The modules of `package` that a module of it imports anywhere; `__init__` stands for the package itself."""
    return {
        name
        for node in ast.walk(ast.parse(source))
        for dotted in dotted_imports(node, package)
        if (name := first_module(dotted, package, modules))
    }


def dotted_imports(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parts = [package] * (node.level > 0) + [node.module] * bool(node.module)
        return [".".join([*parts, alias.name]) for alias in node.names]
    return []


def first_module(dotted: str, package: str, modules: set[str]) -> str | None:
    root, _, rest = dotted.partition(".")
    if root != package:
        return None
    name = rest.partition(".")[0]
    return name if name in modules else "__init__"


def import_graph(package: Path) -> dict[str, set[str]]:
    modules = module_names(package)
    return {name: imported((package / f"{name}.py").read_text(), package.name, modules) for name in modules}


def violations(package: Path) -> list[str]:
    """One line for every unknown module and every import that GRAPH does not draw."""
    drawn = import_graph(package)
    unknown = [f"{name} is not in the graph" for name in drawn.keys() - GRAPH.keys()]
    return sorted(unknown) + [
        f"{name} imports {other}"
        for name in sorted(drawn.keys() & GRAPH.keys())
        for other in sorted(drawn[name] - GRAPH[name])
    ]


def test_imports_follow_the_graph():
    assert violations(PACKAGE) == []


def test_imports_have_no_cycle():
    TopologicalSorter(import_graph(PACKAGE)).prepare()


def test_the_graph_itself_has_no_cycle():
    TopologicalSorter(GRAPH).prepare()


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A small package that breaks every rule of imports."""
    package = tmp_path / "pyro_nld"
    package.mkdir()
    (package / "_checks.py").write_text("import torch\n")
    (package / "drawer.py").write_text("")
    (package / "guide.py").write_text("from ._checks import DataError\ndef late():\n    from .model import prepare\n")
    (package / "model.py").write_text("from . import guide\nimport pyro_nld\nfrom pyro_nld.paths import LangevinPath\n")
    (package / "paths.py").write_text("from pyro_nld import guide as g\n")
    return package


def test_a_wrong_import_is_seen(foreign):
    assert violations(foreign) == [
        "drawer is not in the graph",
        "guide imports model",
        "model imports __init__",
        "model imports guide",
        "paths imports guide",
    ]


def test_a_cycle_is_seen(foreign):
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph(foreign)).prepare()


def test_the_package_is_flat():
    assert [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"] == []


# Contents page


def test_the_contents_page_names_what_exists_once():
    names = pyro_nld.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(pyro_nld, name)] == []


def test_no_module_shares_its_name_with_an_exported_function():
    modules = {name: importlib.import_module(f"pyro_nld.{name}") for name in module_names(PACKAGE)}
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
    return [name for path in sorted(PACKAGE.glob("*.py")) for name in check(path.read_text(), path.stem)]


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
    assert {path.name for path in inside} >= {f"{name}.py" for name in module_names(PACKAGE)}


# Layout


def too_long(folder: str, limit: int) -> list[str]:
    paths = sorted((ROOT / folder).glob("*.py"))
    assert paths, f"{folder} holds no Python file"
    lengths = {path.name: len(path.read_text().splitlines()) for path in paths}
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > limit]


@pytest.mark.parametrize(("folder", "limit"), [("pyro_nld", 400), ("models", 80), ("inference", 60), ("docs", 100)])
def test_files_are_short(folder, limit):
    assert too_long(folder, limit) == []


@pytest.mark.parametrize("folder", ["models", "inference"])
def test_models_and_recipes_are_opened_by_path(folder):
    assert list((ROOT / folder).rglob("__init__.py")) == []


def written_files() -> list[Path]:
    """Every text file somebody wrote: the top of the repository and its folders, without what tools leave behind."""
    folders = [ROOT / name for name in (".ci", "pyro_nld", "models", "inference", "notebooks", "docs", "tests")]
    paths = [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    ours = [path for path in paths if path.suffix in TEXT and not {".git", "__pycache__"} & set(path.parts)]
    return [path for path in ours if path.is_file()]


def test_no_file_names_a_place_on_one_machine():
    lines = [(path, line) for path in written_files() for line in path.read_text().splitlines()]
    assert [f"{path.name}: {line.strip()}" for path, line in lines if MACHINE_PATH.search(line)] == []


def test_a_place_on_one_machine_is_seen():
    assert MACHINE_PATH.search("open('" + "/".join(["", "home", "me", "data.nc"]) + "')")
    assert not MACHINE_PATH.search("https://example.org/home/data.nc and ../tmp/data.nc")
