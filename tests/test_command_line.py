"""The command `pyro-nld`: what `python inference/NAME.py` does, without a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from programs import ROOT, Programs

from pyro_nld import command_line

SMOKE = ("--budget", "smoke")


@pytest.fixture(scope="module")
def nld_command(tmp_path_factory):
    """`pyro-nld`, as the console script of the wheel is written, in an empty directory."""
    folder = tmp_path_factory.mktemp("empty")
    script = tmp_path_factory.mktemp("bin") / "pyro-nld"
    script.write_text("from pyro_nld.command_line import commands\n\ncommands()\n")
    programs = Programs(folder)
    run = lambda *words: programs.run(str(script), *words)  # noqa: E731
    run.folder = folder
    return run


def table(folder: Path) -> None:
    """Twenty values that hop between two levels."""
    rows = [f"{row},{5 * (row // 10 % 2) + row % 3 / 10}" for row in range(60)]
    (folder / "mine.csv").write_text("time (s),level (nm)\n" + "\n".join(rows))


def test_help_lists_what_there_is(nld_command):
    ended = nld_command("--help")
    assert ended.code == 0
    for name in ("new", *command_line.ORDER):
        assert f"│ {name} " in ended.out
    assert {path.stem for path in (ROOT / "inference").glob("*.py")} == set(command_line.ORDER)


def test_without_a_word_it_shows_the_help_and_fails(nld_command):
    ended = nld_command()
    assert ended.code == 2
    assert "Usage: pyro-nld" in ended.out
    assert ended.err == ""


def test_data_alone_are_enough(nld_command):
    table(nld_command.folder)
    ended = nld_command("fit", "--data", "mine.csv", "--out", "run", *SMOKE)
    assert ended.code == 0, ended.err
    assert "Next: pyro-nld landscape run" in ended.out
    kept = (nld_command.folder / "run" / "model.py").read_bytes()
    assert kept == (ROOT / "models" / "my_data.py").read_bytes()
    segmented = nld_command("segment", "run", "--out", "states.csv")
    assert segmented.code == 0, segmented.err


def test_a_template_is_copied_and_never_over_a_file(nld_command):
    made = nld_command("new", "mine.py", "--like", "double_well")
    assert made.code == 0, made.err
    assert "pyro-nld fit mine.py --data FILE" in made.out
    assert (nld_command.folder / "mine.py").read_bytes() == (ROOT / "models" / "double_well.py").read_bytes()
    again = nld_command("new", "mine.py")
    assert (again.code, again.err) == (1, "error: mine.py exists already. Choose another name, or delete it.\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("fit", "--out", "r"), 1, "there is nothing to fit: give a model file, or --data FILE"),
        (("fit", "--data", "none.csv", "--out", "r"), 1, "none.csv must be a data file: there is none."),
        (("fit", "no.py", "--out", "r"), 1, "no.py is no model file: expected an existing .py file. pyro-nld new"),
        (("fit",), 2, "Missing option '--out'."),
        (("fitt",), 2, "No such command 'fitt'."),
        (
            ("landscape", "nothing"),
            1,
            "it has no config.json. Make one with pyro-nld fit.",
        ),
        (("new", "mine.txt"), 1, "a model file ends in .py: got mine.txt."),
        (("new", "other.py", "--like", "bed"), 1, "--like must be one of angle, double_well, driven,"),
        (("new", "nowhere/mine.py"), 1, "No such file or directory"),
    ],
)
def test_what_makes_no_sense_is_one_line(nld_command, words, code, message):
    ended = nld_command(*words)
    assert ended.code == code
    assert ended.err.count("\n") == 1
    assert message in ended.err
    assert ended.err.startswith("error: ")


def test_what_comes_next_is_spelled_as_this_was_called(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pyro-nld", "fit", "--out", "a b"])
    assert command_line.spelled("landscape", "a b") == "pyro-nld landscape 'a b'"
    monkeypatch.setattr(sys, "argv", ["inference/fit.py", "--out", "a"])
    assert command_line.spelled("landscape", "a") == "python inference/landscape.py a"


def test_the_way_back_is_spelled_as_this_was_called(monkeypatch):
    def resumes(resume: bool = False) -> None: ...

    monkeypatch.setattr(sys, "argv", ["/usr/bin/pyro-nld", "fit", "--out", "a"])
    assert command_line._way_back(resumes).endswith("go on with: pyro-nld fit --out a --resume")
    monkeypatch.setattr(sys, "argv", ["inference/fit.py", "--out", "a", "--resume"])
    assert command_line._way_back(resumes).endswith("go on with: python inference/fit.py --out a --resume")
