"""What `make dist` has built: one version everywhere, whole metadata, and a wheel that works where nothing else is."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import ExceptionGroup, Metadata

import pyro_nld

ROOT = Path(__file__).parents[1]
IMPORT = """
import sys, importlib.metadata
import pyro_nld as nld
for name in nld.__all__:
    getattr(nld, name)
nld.datasets.three_state(sequences=2, steps=3, seed=0)
assert importlib.metadata.version("pyro_nld") == nld.__version__
print(nld.__file__)
"""

pytestmark = pytest.mark.release


def built(pattern: str) -> Path:
    found = sorted((ROOT / "dist").glob(pattern))
    assert len(found) == 1, f"expected one {pattern} in dist/, got {len(found)}. Run `make dist`."
    return found[0]


def metadata(text: bytes) -> Metadata:
    """Metadata that an index would take; `ExceptionGroup` with every reason why not."""
    return Metadata.from_email(text, validate=True)


@pytest.fixture
def empty(tmp_path) -> Path:
    """The Python of an environment that has the parts of this one, without whatever is installed editable here."""
    venv.create(tmp_path / "empty", with_pip=False)
    (place,) = (tmp_path / "empty").glob("lib/*/site-packages")
    (place / "parts.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return tmp_path / "empty" / "bin" / "python"


def imported(python: Path) -> subprocess.CompletedProcess:
    """Import the library from a folder of its own, without this repository on the path."""
    return subprocess.run(
        [python, "-I", "-W", "ignore", "-c", IMPORT], capture_output=True, text=True, cwd=python.parent
    )


def test_both_files_are_of_the_version_that_the_library_says():
    version = pyro_nld.__version__
    assert built("*.whl").name == f"pyro_nld-{version}-py3-none-any.whl"
    assert built("*.tar.gz").name == f"pyro_nld-{version}.tar.gz"


def test_the_metadata_are_whole():
    with zipfile.ZipFile(built("*.whl")) as wheel:
        text = wheel.read(f"pyro_nld-{pyro_nld.__version__}.dist-info/METADATA")
    told = metadata(text)
    assert str(told.requires_python) == ">=3.10"
    assert told.license_expression == "MIT"
    assert told.description_content_type == "text/markdown"
    assert told.description.startswith("# pyro_nld")
    assert told.provides_extra


def test_metadata_that_are_not_whole_are_seen():
    with pytest.raises(ExceptionGroup):
        metadata(b"Metadata-Version: 2.4\nName: pyro_nld\n")


def test_the_archive_can_be_tested():
    with tarfile.open(built("*.tar.gz")) as archive:
        inside = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    assert inside >= {"LICENSE", "Makefile", "README.md", "constraints.txt", "tests/conftest.py", "models/README.md"}


def test_the_wheel_works_where_nothing_else_of_the_repository_is(empty):
    command = [sys.executable, "-m", "pip", "--python", empty, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, built("*.whl")], check=True)
    done = imported(empty)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(empty.parents[1])


def test_the_wheel_alone_brings_the_command(empty, tmp_path):
    command = [sys.executable, "-m", "pip", "--python", empty, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, built("*.whl")], check=True)

    def answered(*words):
        done = subprocess.run([empty.parent / "pyro-nld", *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for name in ("fit", "landscape", "check", "segment", "predict", "compare", "calibrate", "report"):
        assert name in answered("--help")
    assert "--budget" in answered("fit", "--help")
    assert "Wrote mine.py" in answered("new", "mine.py")
    assert (tmp_path / "mine.py").read_bytes() == (ROOT / "models" / "my_data.py").read_bytes()


def test_without_the_wheel_there_is_no_library(empty):
    done = imported(empty)
    assert done.returncode != 0
    # An editable install leaves the recipes in a folder of that name, which is no library.
    assert re.search("No module named 'pyro_nld'|module 'pyro_nld' has no attribute '__all__'", done.stderr), (
        done.stderr
    )
