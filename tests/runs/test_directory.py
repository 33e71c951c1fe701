"""The run directory: whole at every moment, left alone when it is not ours, resumed to the bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import xarray as xr
from programs import ROOT, TINY, Ended, Programs, until

import pyro_nld as nld
from pyro_nld import runs
from pyro_nld.io.inference_data import load_inference_data

SMOKE = ("--budget", "smoke")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "tiny.py").write_text(TINY)
    return Programs(folder)


@pytest.fixture(scope="module")
def finished(programs) -> Path:
    """An uninterrupted run of the tiny model."""
    ended = programs.run("fit", "tiny.py", "--out", "finished", *SMOKE)
    assert ended.code == 0, ended.err
    return programs.folder / "finished"


@pytest.fixture
def out(programs, seed) -> Path:
    """A place for a run that no other test uses."""
    return programs.folder / f"run{seed}"


def listing(folder: Path) -> dict[str, bytes]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(ended: Ended, message: str, code: int = 1) -> None:
    """Ended with one plain line that says so."""
    assert ended.code == code, ended.err
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert ended.out == ""


# Run directories


def test_a_run_is_not_overwritten(programs, finished):
    before = listing(finished)
    refused(programs.run("fit", "tiny.py", "--out", "finished", *SMOKE), "finished holds a run already. Add --resume")
    assert listing(finished) == before


def test_a_foreign_folder_is_left_alone(programs, out):
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    refused(
        programs.run("fit", "tiny.py", "--out", out, *SMOKE), "exists and is no run directory. Choose another --out."
    )
    refused(programs.run("fit", "tiny.py", "--out", out / "thesis.tex", *SMOKE), "exists and is no run directory.")
    refused(
        programs.run("fit", "tiny.py", "--out", out / "thesis.tex" / "run", *SMOKE), "cannot be made: Not a directory."
    )
    refused(programs.run("landscape", out), "is no run directory: it has no config.json.")
    refused(programs.run("segment", out, "--out", "s.npz"), "is no run directory: it has no config.json.")
    assert listing(out) == {"thesis.tex": b"years of work"}


def test_an_empty_folder_is_a_place_for_a_run(programs, out):
    out.mkdir()
    assert programs.run("fit", "tiny.py", "--out", out, *SMOKE).code == 0
    assert (out / "summary.json").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--seed", "1"), "was made with another seed."),
        (("--restarts", "2"), "was made with another restarts."),
        (("--budget", "full"), "was made with another schedule."),
        (("--data", "some.npz"), "was made with another data, data_sha256."),
    ],
)
def test_a_run_goes_on_with_its_own_settings_alone(programs, finished, change, message):
    nld.save(nld.datasets.ornstein_uhlenbeck(4, 10), programs.folder / "some.npz")
    before = listing(finished)
    refused(programs.run("fit", "tiny.py", "--out", "finished", *SMOKE, *change, "--resume"), message)
    assert listing(finished) == before


def test_a_run_goes_on_with_its_own_model_alone(programs, finished):
    (programs.folder / "other.py").write_text(TINY.replace("(8,)", "(4,)"))
    ended = programs.run("fit", "other.py", "--out", "finished", *SMOKE, "--resume")
    refused(ended, "was made with another model file. Resume with the same, or choose another --out.")


def test_a_checkpoint_of_another_model_is_refused(programs, finished, out):
    shutil.copytree(finished, out)
    (out / "model.py").write_text(TINY.replace("(8,)", "(4,)"))
    refused(programs.run("landscape", out), "the checkpoint belongs to another model")


def test_a_damaged_checkpoint_is_refused(programs, finished, out):
    shutil.copytree(finished, out)
    whole = (out / "checkpoint.pt").read_bytes()
    (out / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    refused(programs.run("landscape", out), "checkpoint.pt is no checkpoint of tensors and plain values")


def test_damaged_settings_are_refused(programs, finished, out):
    shutil.copytree(finished, out)
    (out / "config.json").write_text('{"seed": ')
    refused(programs.run("landscape", out), "config.json is damaged: Expecting value")
    (out / "config.json").write_text('{"seed": 0}')
    refused(programs.run("landscape", out), "was made by another version of pyro_nld. Fit again, in another place.")


def model_file(**names) -> ModuleType:
    source = ModuleType("mine")
    source.__dict__.update(names | {"__file__": "mine.py"})
    return source


def test_what_a_model_file_chooses_is_chosen_once(tmp_path):
    """A run that goes on keeps its choice, and nothing is chosen for a run that cannot be made."""
    data, asked = nld.datasets.ornstein_uhlenbeck(4, 10), []

    def choose(data, seed, steps):
        asked.append((seed, steps))
        candidates = {"latent": ("candidate", [1, 2]), "heldout": ("candidate", [np.nan, -1.0])}
        return xr.Dataset(candidates, attrs={"latent": 2, "message": "two axes"})

    source = model_file(choose=choose)
    config = runs.settings(None, 7, 1, None, "smoke")
    first = runs.chosen(tmp_path / "run", source, data, config, resume=True)
    assert asked == [(7, 16)]
    assert first["choice"]["latent"] == 2
    assert first["choice"]["candidates"] == [{"latent": 1, "heldout": None}, {"latent": 2, "heldout": -1.0}]
    (tmp_path / "mine.py").write_text("")
    with runs.opened(tmp_path / "run", tmp_path / "mine.py", first, resume=False):
        pass
    again = runs.chosen(tmp_path / "run", source, data, config, resume=True)
    with runs.opened(tmp_path / "run", tmp_path / "mine.py", again, resume=True):
        assert again["choice"]["candidates"][1] == {"latent": 2, "heldout": -1.0}
    with pytest.raises(nld.RunDirectoryError, match="holds a run already"):
        runs.chosen(tmp_path / "run", source, data, config, resume=False)
    assert len(asked) == 1
    assert runs.chosen(tmp_path / "new", model_file(), data, config, resume=False)["choice"] is None


@pytest.mark.parametrize(
    ("decoder", "axes", "rounds"),
    [(nld.LinearDecoder, 1, 0), (nld.MLPDecoder, 1, 10), (nld.MLPDecoder, 2, 5), (nld.MLPDecoder, 3, 0)],
)
def test_exact_rounds_are_for_one_or_two_axes_that_bend(tmp_path, monkeypatch, decoder, axes, rounds):
    asked = []

    def fit(model, guide, data, schedule, **_):
        asked.append(schedule.exact)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.directory.results, "fit", fit)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(axes))
    model = nld.LatentLangevin(prior, nld.Gaussian(decoder(axes, 1)), 2, 1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1))
    config = {"schedule": vars(runs.BUDGETS["default"]), "seed": 0, "restarts": 1}
    with pytest.raises(KeyboardInterrupt):
        runs.fit(tmp_path, (model, guide), nld.datasets.ornstein_uhlenbeck(4, 10), config)
    assert asked == [rounds]


def test_a_run_is_read_as_it_was_begun_though_recipes_take_other_rounds_now(finished, out, monkeypatch):
    shutil.copytree(finished, out)
    monkeypatch.setattr(runs.directory, "_rounds", lambda *_: 7)
    assert runs.load(out).fit.runs[0]["exact"] == []


def test_a_choice_that_is_none_is_refused(tmp_path):
    source, data = model_file(choose=lambda *_: {"latent": 2}), nld.datasets.ornstein_uhlenbeck(4, 10)
    with pytest.raises(nld.DataError, match=r"mine\.py: choose must return a Dataset: got dict\. Mend it\."):
        runs.chosen(tmp_path / "run", source, data, runs.settings(None, 0, 1, None, "smoke"), resume=False)


def test_a_run_of_the_first_schema_is_read(programs, finished, out):
    """Neither how a table was read nor what later summaries hold was recorded then."""
    shutil.copytree(finished, out)
    config = json.loads((out / "config.json").read_text())
    del config["reading"], config["choice"]
    (out / "config.json").write_text(json.dumps(config))
    kept = json.loads((out / "summary.json").read_text())
    del kept["merged"], kept["temperature"]["verdict"]
    (out / "summary.json").write_text(json.dumps(kept | {"schema": 1}))
    ended = programs.run("landscape", out)
    assert ended.code == 0, ended.err
    assert json.loads((out / "summary.json").read_text())["schema"] == 5


def test_data_that_changed_are_refused(programs, out):
    data = nld.datasets.ornstein_uhlenbeck(4, 10)
    nld.save(data, programs.folder / "changing.npz")
    assert programs.run("fit", "tiny.py", "--data", "changing.npz", "--out", out, *SMOKE).code == 0
    nld.save(data.isel(sequence=slice(3)), programs.folder / "changing.npz")
    refused(programs.run("landscape", out), "is gone or has changed. Put it back, or fit again.")
    (programs.folder / "changing.npz").unlink()
    refused(programs.run("segment", out, "--out", "s.npz"), "is gone or has changed. Put it back, or fit again.")


# Interruptions


def same_result(run: Path, reference: Path) -> None:
    """Equal to the bit, times of the clock apart."""
    mine, other = (torch.load(path / "checkpoint.pt", weights_only=True)["runs"] for path in (run, reference))
    assert len(mine) == len(other)
    for one, two in zip(mine, other, strict=True):
        for part in ("model", "guide"):
            assert one[part].keys() == two[part].keys()
            assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])
        assert torch.equal(one["history"][:, :-1], two["history"][:, :-1])
        assert one["elbo"] == two["elbo"]
    for group in ("posterior", "sample_stats"):
        xr.testing.assert_identical(*(load_inference_data(path / "posterior.nc")[group] for path in (run, reference)))
    summaries = [json.loads((path / "summary.json").read_text()) | {"seconds": None} for path in (run, reference)]
    shared = [name for name in summaries[0] if summaries[0][name] is not None]  # the other may have a landscape
    assert [summaries[0][name] for name in shared if name != "occupancy"] == [
        summaries[1][name] for name in shared if name != "occupancy"
    ]


def whole(run: Path) -> None:
    """Whatever is there can be read."""
    if not run.exists():
        return
    json.loads((run / "config.json").read_text())
    assert (run / "model.py").read_text() == TINY
    if (run / "checkpoint.pt").exists():
        torch.load(run / "checkpoint.pt", weights_only=True)
    if (run / "summary.json").exists():
        json.loads((run / "summary.json").read_text())


def kill_and_resume(programs: Programs, run: Path, reference: Path, after: float) -> None:
    """`kill -9` after so many seconds, then --resume, then compare."""
    shutil.rmtree(run, ignore_errors=True)
    program = programs.start("fit", "tiny.py", "--out", run, *SMOKE)
    time.sleep(after)
    program.send(signal.SIGKILL)
    assert program.end().code in (-signal.SIGKILL, 0)
    whole(run)
    resumed = programs.run("fit", "tiny.py", "--out", run, *SMOKE, "--resume")
    assert resumed.code == 0, resumed.err
    same_result(run, reference)
    assert not list(run.rglob(".*.[0-9]*"))


def seconds(run: Path) -> float:
    """How long it took from the start of a run to its last file."""
    return (run / "summary.json").stat().st_mtime - (run / "model.py").stat().st_mtime


@pytest.mark.parametrize("attempt", range(3))
def test_a_killed_fit_resumes_to_the_bit(programs, finished, out, seed, attempt):
    moment = np.random.default_rng(seed).uniform(0, seconds(finished))
    kill_and_resume(programs, out, finished, moment)


def test_a_fit_killed_after_its_first_checkpoint_resumes_to_the_bit(programs, finished, out):
    program = programs.start("fit", "tiny.py", "--out", out, *SMOKE)
    until((out / "checkpoint.pt").exists)
    program.send(signal.SIGKILL)
    program.end()
    assert torch.load(out / "checkpoint.pt", weights_only=True)["current"] is not None
    assert programs.run("fit", "tiny.py", "--out", out, *SMOKE, "--resume").code == 0
    same_result(out, finished)


@pytest.mark.science
def test_twenty_killed_fits_resume_to_the_bit(programs, finished, out, seed):
    for after in np.random.default_rng(seed).uniform(0, seconds(finished), 20):
        kill_and_resume(programs, out, finished, after)


@pytest.mark.science
def test_a_killed_interpreter_resumes_to_the_bit(programs, finished, out):
    """Without the server: nothing is shared between the two halves, not even the hash seed."""
    command = [sys.executable, ROOT / "inference" / "fit.py", "tiny.py", "--out", out, *SMOKE]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = {"cwd": programs.folder, "env": environment, "stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(command, **options) as process:
        until((out / "checkpoint.pt").exists)
        process.kill()
    subprocess.run([*command, "--resume"], check=True, **options)
    same_result(out, finished)


def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(programs, out):
    program = programs.start("fit", "tiny.py", "--out", out)
    until((out / "checkpoint.pt").exists)
    program.send(signal.SIGINT)
    ended = program.end()
    assert ended.code == 130
    last = ended.err.splitlines()[-1]
    assert last.startswith("stopped. The last checkpoint is kept; go on with: python ")
    assert last.endswith(f"fit.py tiny.py --out {out} --resume")
    assert torch.load(out / "checkpoint.pt", weights_only=True)["current"] is not None
    assert not (out / "summary.json").exists()
    refused(programs.run("landscape", out), "is not finished. Go on with pyro-nld fit … --resume.")
    refused(programs.run("segment", out, "--out", "s.npz"), "is not finished.")


def test_a_run_in_use_is_left_alone(programs, out):
    program = programs.start("fit", "tiny.py", "--out", out)
    until((out / "checkpoint.pt").exists)
    refused(programs.run("fit", "tiny.py", "--out", out, "--resume"), "is in use by another process.")
    refused(programs.run("landscape", out), "is in use by another process. Wait for it, or choose another.")
    program.send(signal.SIGKILL)
    assert program.end().code == -signal.SIGKILL
    refused(programs.run("landscape", out), "is not finished.")


def test_a_finished_run_can_be_resumed_to_nothing_new(programs, finished, out):
    shutil.copytree(finished, out)
    assert programs.run("fit", "tiny.py", "--out", out, *SMOKE, "--resume").code == 0
    same_result(out, finished)


def test_more_minutes_are_no_other_schedule(programs, out):
    """A fit that was cut short is told so, goes on with more time, and is read anew."""
    limited = ("tiny.py", "--out", out, "--minutes")
    first = programs.run("fit", *limited, 0.02)
    assert first.code == 0, first.err
    told = re.search(r"warning: 0\.02 minutes were enough for (\d+) of 1600 steps", first.err)
    assert told, first.err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["steps"] == int(told[1])
    assert any("minutes were enough" in line for line in summary["warnings"])
    (out / "landscape.nc").write_text("read of the short fit")
    more = programs.run("fit", *limited, 0.04, "--resume")
    assert more.code == 0, more.err
    assert json.loads((out / "config.json").read_text())["schedule"]["minutes"] == 0.04
    assert json.loads((out / "summary.json").read_text())["steps"] > summary["steps"]
    assert not (out / "landscape.nc").exists()
    other = programs.run("fit", *limited, 0.04, "--resume", "--seed", 1)
    refused(other, "was made with another seed. Resume with the same, or choose another --out.")


@pytest.mark.parametrize("make", [lambda path, target: path.symlink_to(target), lambda path, target: path.mkdir()])
def test_a_lock_that_is_no_plain_file_is_refused_and_nothing_behind_it_is_touched(make, tmp_path):
    kept, run = tmp_path / "letters.txt", tmp_path / "run"
    kept.write_text("years of work")
    run.mkdir()
    (run / "config.json").write_text("{}")
    make(run / ".lock", kept)
    with (
        pytest.raises(nld.RunDirectoryError, match=r"\.lock must be a plain file"),
        nld.runs.claimed(run),
    ):
        pass
    assert kept.read_text() == "years of work"


def test_a_lock_keeps_what_is_in_it(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".lock").write_text("mine")
    with nld.runs.claimed(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "mine"


def test_a_run_is_loaded_by_the_name_of_its_directory(finished):
    run = nld.runs.load(str(finished))
    assert run.path == finished
    assert run.fit.x.shape[-1] == run.data.sizes["channel"]
