"""Notebooks: stored with their outputs, and true from the first cell to the last, which asserts a known answer."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def pictures(path):
    data = [output.get("data", {}) for cell in cells(path) for output in cell.outputs]
    return {base64.b64decode(one["image/png"]) for one in data if "image/png" in one}


def test_the_pictures_of_the_front_page_are_those_of_notebooks():
    """Taken out of the stored outputs, so that they are as true as these."""
    found = set().union(*map(pictures, NOTEBOOKS))
    shown = re.findall(r'src="(docs/pictures/[^"]+)"', (FOLDER.parent / "README.md").read_text())
    assert len(shown) == 3
    assert {(FOLDER.parent / place).read_bytes() for place in shown} <= found


def unfinished(code):
    """Code cells that were never executed, not in order, or that ended in an error."""
    counts = [cell.execution_count for cell in code]
    failed = [k for k, cell in enumerate(code) if any(output.output_type == "error" for output in cell.outputs)]
    return failed or [k for k, count in enumerate(counts) if count != k + 1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_outputs_are_stored(path):
    code = cells(path)
    assert unfinished(code) == []
    shown = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert "assert " in code[-1].source
    assert code[-1].outputs


def test_a_notebook_that_was_not_executed_is_seen():
    cell = nbformat.v4.new_code_cell("1 + 1")
    assert unfinished([cell]) == [0]
    cell.execution_count = 1
    assert unfinished([cell]) == []
    cell.outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    assert unfinished([cell]) == [0]


@pytest.mark.notebooks
@pytest.mark.filterwarnings("ignore")  # of the messages between two processes, none of ours
@pytest.mark.parametrize("path", NOTEBOOKS[::-1], ids=NAMES[::-1])  # the shortest last, so that workers end together
def test_it_runs_from_the_first_cell_to_the_last(path, monkeypatch):
    """In a kernel of its own, with one thread; a cell that fails is shown with its error."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what is read after a fit takes all, and waits for those of others
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": FOLDER}}).execute()
