"""Recipes as a person runs them: real processes, real files, real signals."""

from __future__ import annotations

import importlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from programs import ROOT, TINY, Ended, Programs

import pyro_nld as nld
from pyro_nld.io.inference_data import load_inference_data

SMOKE = ("--budget", "smoke")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "tiny.py").write_text(TINY)
    return Programs(folder)


@pytest.fixture(scope="module")
def finished(programs) -> Iterator[Path]:
    """An uninterrupted run of the tiny model. Nothing may write into it: tests come in any order, on any worker."""
    ended = programs.run("fit", "tiny.py", "--out", "finished", *SMOKE)
    assert ended.code == 0, ended.err
    run = programs.folder / "finished"
    before = listing(run)
    yield run
    assert listing(run) == before, "a test has written into the run that all share: let it take a copy"


@pytest.fixture
def out(programs, seed) -> Path:
    """A place for a run that no other test uses."""
    return programs.folder / f"run{seed}"


@pytest.fixture
def copied(finished, out) -> Path:
    """The tiny model's run, for one test to write into."""
    return Path(shutil.copytree(finished, out))


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


# The way through


def test_a_fit_leaves_a_whole_run_directory(finished):
    assert {path.name for path in finished.iterdir()} == {
        ".lock", "model.py", "config.json", "checkpoint.pt", "history.csv", "posterior.nc", "summary.json", "figures",
    }  # fmt: skip
    assert (finished / "model.py").read_text() == TINY
    assert (finished / "figures" / "loss.png").read_bytes().startswith(b"\x89PNG")
    torch.load(finished / "checkpoint.pt", weights_only=True)
    assert len((finished / "history.csv").read_text().splitlines()) == 21
    posterior = load_inference_data(finished / "posterior.nc")["posterior"]
    assert posterior["temperature"].shape == (1, 50)
    assert posterior["z"].shape == (1, 50, 8, 24, 1)


def test_every_recipe_follows_from_a_fit(programs, copied):
    read = programs.run("landscape", copied)
    assert read.code == 0, read.err
    assert "state" in read.out
    assert "curvature × step" in read.out
    pictures = {"loss", "energy", "segmentation", "passes", "dwell", "rates", "timescales"}
    assert {path.stem for path in (copied / "figures").glob("*.png")} == pictures
    landscape = xr.load_dataset(copied / "landscape.nc", engine="h5netcdf")
    summary = json.loads((copied / "summary.json").read_text())
    assert summary["states"] == landscape.sizes["state"]
    np.testing.assert_allclose(summary["minima"], landscape["position"])
    segmented = programs.run("segment", copied, "--out", "states.npz")
    assert segmented.code == 0, segmented.err
    with np.load(programs.folder / "states.npz") as arrays:
        assert {name: arrays[name].shape for name in arrays} == {
            "probability": (8, 24, landscape.sizes["state"]), "label": (8, 24), "times": (8, 24),
        }  # fmt: skip
        np.testing.assert_allclose(arrays["probability"].sum(-1), 1, atol=1e-6)


def test_other_data_can_be_fitted_and_segmented(programs, out):
    data = nld.datasets.ornstein_uhlenbeck(6, 20, seed=3)
    nld.save(data.isel(sequence=slice(4)), programs.folder / "four.npz")
    nld.save(data.isel(sequence=slice(4, 6)), programs.folder / "two.nc")
    assert programs.run("fit", "tiny.py", "--data", "four.npz", "--out", out, *SMOKE).code == 0
    ended = programs.run("segment", out, "--data", "two.nc", "--out", "two.npz")
    assert ended.code == 0, ended.err
    with np.load(programs.folder / "two.npz") as arrays:
        assert arrays["label"].shape == (2, 20)


RECORDING = """time,fret,intensity
{rows}
"""


def recording(folder: Path) -> int:
    """A CSV nobody prepared: one recording of two noisy channels at irregular times, with pauses and empty cells."""
    draw = np.random.default_rng(0)
    times = np.cumsum(draw.uniform(0.5, 1.5, 240)) + 60.0 * (np.arange(240) >= 90)
    level = np.array([[1.0, 20.0], [2.0, 50.0], [3.0, 30.0]])[np.arange(240) // 15 % 3]
    values = level + draw.standard_normal((240, 2)) * [0.2, 4.0]
    cells = np.where(draw.random((240, 2)) < 0.03, "", np.char.mod("%.3f", values))
    rows = [",".join([f"{time:.3f}", *pair]) for time, pair in zip(times, cells, strict=True)]
    (folder / "trace.csv").write_text(RECORDING.format(rows="\n".join(rows)))
    return len(rows)


def test_a_csv_nobody_prepared_goes_all_the_way(programs, out):
    """Fit, landscape, segmentation as a table, the page: recipes alone, no file written by hand."""
    rows = recording(programs.folder)
    fitted = programs.run("fit", ROOT / "models" / "my_data.py", "--data", "trace.csv", "--pieces", "40", "--out", out,
                          *SMOKE)  # fmt: skip
    assert fitted.code == 0, fitted.err
    assert "pauses for" not in fitted.err
    config, summary = (json.loads((out / name).read_text()) for name in ("config.json", "summary.json"))
    choice = config["choice"]
    assert f"chosen: {choice['message']}" in fitted.out
    assert {one["latent"] for one in choice["candidates"]} >= {1, 2}
    assert summary["heldout_elbo_per_observation"] == choice["heldout_elbo_per_observation"]
    read = programs.run("landscape", out)
    assert read.code == 0, read.err
    assert "state  level of fret  level of intensity" in read.out
    segmented = programs.run("segment", out, "--out", "states.csv")
    assert segmented.code == 0, segmented.err
    table = (programs.folder / "states.csv").read_text().splitlines()
    assert table[0].startswith("sequence,time,state,probability_0")
    assert len(table) == rows + 1
    landscape = xr.load_dataset(out / "landscape.nc", engine="h5netcdf")
    told = programs.run("report", out)
    assert told.code == 0, told.err
    page = (out / "report.html").read_text("utf-8")
    assert f"trace.csv: <span>{landscape.sizes['state']} state" in page
    assert "--data trace.csv --pieces 40" in page
    book = json.loads(re.search(r'id="sequences">(.*?)</script>', page)[1])
    assert [one["observations"] for one in book["sequences"]] == [rows]
    assert book["channels"] == ["fret", "intensity"]
    assert str(programs.folder) not in page


def foreign(folder: Path, name: str, swapped: bool = False) -> None:
    """Two nights of a logger in Europe: dates, decimal commas, a label of every row, -999 where a value is missing."""
    draw = np.random.default_rng(3)
    level = np.where(np.arange(80) // 10 % 2, 5.0, 1.0)
    force = np.where(np.arange(80) % 40 == 7, -999.0, level + 0.3 * draw.standard_normal(80))
    frequency = 9192631770.0 + 3.0 * (level > 2) + 0.3 * draw.standard_normal(80)
    lines = ["Nacht;Uhr;Phase;Kraft (pN);Frequenz (Hz)"]
    for row in range(80):
        clock = f"2021-03-0{1 + row // 40} 0{row % 40 // 6}:{10 * (row % 40 % 6):02d}"
        pair = [f"{force[row]:.3f}", f"{frequency[row]:.3f}"]
        lines.append(";".join([f"n{row // 40}", clock, "REM" if row % 3 else "wach", *pair]).replace(".", ","))
    cells = [line.split(";") for line in lines]
    order = [0, 1, 2, 4, 3] if swapped else range(5)
    (folder / name).write_text("\n".join(";".join(row[place] for place in order) for row in cells))


def test_a_table_from_elsewhere_keeps_names_units_and_dates(programs, out):
    """Options say what cannot be guessed; new data are matched by name; dates come back."""
    foreign(programs.folder, "nacht.csv")
    foreign(programs.folder, "tausch.csv", swapped=True)
    options = ("--data", "nacht.csv", "--time", "Uhr", "--sequence", "Nacht", "--missing", "-999")
    fitted = programs.run("fit", ROOT / "models" / "my_data.py", *options, "--out", out, *SMOKE)
    assert fitted.code == 0, fitted.err
    assert "-999" not in fitted.err
    assert fitted.out.splitlines()[0] == (
        "read as: ; separated, decimal comma, time in min since 2021-03-01 00:00:00 by Uhr, 2 sequences by Nacht, "
        "channels Kraft, Frequenz, left out: Phase (words), 9192631770 subtracted from Frequenz"
    )
    tables = []
    for more in ((), ("--data", "tausch.csv")):
        ended = programs.run("segment", out, *more, "--out", "nights.csv")
        assert ended.code == 0, ended.err
        assert "outside what was fitted" not in ended.err
        tables.append((programs.folder / "nights.csv").read_text())
    assert tables[0] == tables[1]
    first, *_, last = tables[0].splitlines()[1:]
    assert tables[0].startswith("sequence,time,date,state,probability_0")
    assert first.startswith("n0,0,2021-03-01 00:00:00,")
    assert last.startswith("n1,1830,2021-03-02 06:30:00,")
    told = programs.run("report", out)
    assert told.code == 0, told.err
    page = (out / "report.html").read_text("utf-8")
    assert "Read as: ; separated, decimal comma" in page
    assert "--time Uhr --sequence Nacht --missing -999" in page
    assert "Frequenz - 9192631770" in page


def test_other_channels_are_refused_by_name_and_other_values_doubted(programs, finished):
    (programs.folder / "far.csv").write_text("time,x\n" + "".join(f"{row},{1e4 + row % 3}\n" for row in range(20)))
    ended = programs.run("segment", finished, "--data", "far.csv", "--out", "far_states.csv")
    assert ended.code == 0, ended.err
    assert "100 % of the values of channel 0 lie more than 5 standard deviations outside what was fitted" in ended.err
    (programs.folder / "named.csv").write_text("time,x\n" + "".join(f"{row},{row % 3}\n" for row in range(20)))
    (programs.folder / "renamed.csv").write_text((programs.folder / "named.csv").read_text().replace("x", "y"))
    assert programs.run("fit", "tiny.py", "--data", "named.csv", "--out", "named", *SMOKE).code == 0
    ended = programs.run("segment", "named", "--data", "renamed.csv", "--out", "s.csv")
    assert ended.code == 1
    assert "the data need the channels of the fit, x: they have y. Name x alike." in ended.err.splitlines()[-1]
    assert not (programs.folder / "s.csv").exists()


def test_a_recording_with_pauses_is_cut_there(programs, out):
    recording(programs.folder)
    ended = programs.run("fit", "tiny.py", "--data", "trace.csv", "--channels", "fret", "--out", out, *SMOKE)
    assert ended.code == 0, ended.err
    assert "pauses for" not in ended.err
    book = xr.load_dataset(out / "posterior.nc", group="constant_data", engine="h5netcdf")
    assert book.sizes["sequence"] == 2


def test_the_truth_is_scored_where_the_data_carry_it(programs, out):
    model = ROOT / "models" / "three_state_switching.py"
    small = (
        model.read_text()
        .replace("sequences=1000, steps=200", "sequences=20, steps=30")
        .replace("substeps=20", "substeps=2")
    )
    (programs.folder / "switching.py").write_text(small)
    assert programs.run("fit", "switching.py", "--out", out, *SMOKE).code == 0
    read = programs.run("landscape", out)
    assert read.code == 0, read.err
    assert "truth" in read.out
    assert "is the best possible, with the true parameters known" in read.out
    assert "ℓ1 error" in read.out


def test_a_model_without_a_landscape_says_what_cannot_be_read(programs, out):
    force = TINY.replace("nld.OverdampedLangevin(nld.NeuralPotential(1", "nld.OverdampedSDE(nld.NeuralForce(2")
    force = force.replace("IdentityDecoder(1)", "LinearDecoder(2, 1)")
    assert force.count("(2") == 2
    (programs.folder / "force.py").write_text(force)
    assert programs.run("fit", "force.py", "--out", out, *SMOKE).code == 0
    read = programs.run("landscape", out)
    assert read.code == 0, read.err
    assert (
        "force is no gradient: depths, barriers, occupancies by energy and rates from them cannot be read" in read.out
    )
    assert "slowest decay" in read.out
    pictures = {path.stem for path in (out / "figures").glob("*.png")}
    assert pictures == {"loss", "segmentation", "arrows", "streamlines"}
    summary = json.loads((out / "summary.json").read_text())
    assert "level of 0" in read.out
    assert summary["states"] == xr.load_dataset(out / "landscape.nc", engine="h5netcdf").sizes["state"]
    assert summary["occupancy"]["data"] is not None
    assert summary["occupancy"]["harmonic"] is summary["barriers_kT"] is summary["verdict"]["kinetics_agree"] is None
    assert "cannot be read" in summary["verdict"]["messages"][0]
    segmented = programs.run("segment", out, "--out", "forced.npz")
    assert segmented.code == 0, segmented.err


def test_a_run_is_checked_in_words(programs, finished):
    shutil.copytree(finished, programs.folder / "checked")
    ended = programs.run("check", "checked", "--draws", 20, "--sequences", 4)
    assert ended.code == 0, ended.err
    words = dict(line.split()[:2] for line in ended.out.splitlines()[:-1])
    expected = "data states optimisation guide evidence identifiability step replicates prior"
    assert set(expected.split()) <= set(words)
    assert set(words.values()) <= {"good", "doubtful", "bad", "unknown"}
    assert (programs.folder / "checked" / "checks.nc").is_file()
    summary = json.loads((programs.folder / "checked" / "summary.json").read_text())
    assert summary["checks"]["verdicts"]["guide"] == words["guide"]


def test_a_run_with_more_than_there_is_room_for_is_checked(programs, finished, monkeypatch, capsys):
    shutil.copytree(finished, programs.folder / "large")
    monkeypatch.setattr(
        importlib.import_module("pyro_nld.results.fit"), "NUMBERS", 3 * 20 * 24
    )  # three sequences of the eight
    check = runpy.run_path(str(ROOT / "inference" / "check.py"))["main"]
    check(programs.folder / "large", draws=20, sequences=6, seed=0)
    assert "replicates" in capsys.readouterr().out
    assert (programs.folder / "large" / "checks.nc").is_file()


def test_hypotheses_are_compared_on_a_fresh_simulation(programs, finished):
    shutil.copytree(finished, programs.folder / "other")
    ended = programs.run("compare", "finished", "other", "--out", "compared", "--particles", 2)
    assert ended.code == 0, ended.err
    assert "within two errors" in ended.out  # they are the same
    compared = xr.load_dataset(programs.folder / "compared" / "comparison.nc", engine="h5netcdf")
    assert set(compared["model"].values) == {"finished", "other"}
    assert (programs.folder / "compared" / "comparison.png").is_file()
    refused(programs.run("compare", "finished"), "scores must be (model, sequence), two of each or more")


def test_a_calibration_goes_on_where_it_stopped(programs):
    settings = ("tiny.py", "--out", "calibrated", "--steps", 2, "--sequences", 3, "--particles", 0)
    assert programs.run("calibrate", *settings, "--simulations", 2).code == 0
    ended = programs.run("calibrate", *settings, "--simulations", 4, "--jobs", 2)
    assert ended.code == 0, ended.err
    assert "In 4 simulations the variational 90 % intervals hold the truth in" in ended.out
    folder = programs.folder / "calibrated"
    table = xr.load_dataset(folder / "calibration.nc", engine="h5netcdf")
    assert table.sizes["simulation"] == 4
    alone = (*settings[:2], "alone", *settings[3:], "--simulations", 4)
    assert programs.run("calibrate", *alone).code == 0
    xr.testing.assert_identical(table, xr.load_dataset(programs.folder / "alone" / "calibration.nc", engine="h5netcdf"))
    assert (folder / "figures" / "ranks.png").is_file()
    other = programs.run("calibrate", *settings, "--simulations", 3, "--seed", 1)
    assert other.code == 1
    assert "holds a study with other settings" in other.err.splitlines()[-1]


def test_sequences_are_continued_beyond_their_end(programs, copied):
    nld.save(nld.datasets.ornstein_uhlenbeck(2, 10, seed=4), programs.folder / "few.nc")
    ended = programs.run("predict", copied, "--data", "few.nc", "--horizon", 0.5, "--draws", 20)
    assert ended.code == 0, ended.err
    assert "P(state 0)" in ended.out
    predicted = xr.load_dataset(copied / "forecast.nc", engine="h5netcdf")
    assert dict(predicted["mean"].sizes) == {"sequence": 2, "lead": 6, "channel": 1}
    np.testing.assert_allclose(predicted["times"][:, -1], 0.9 + 0.5)
    assert (copied / "figures" / "forecast.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--horizon", "0"), "the horizon must be positive and finite: got 0.0. Give it in the data's unit of time."),
        (("--horizon", "0.5", "--draws", "2", "--show", "8"), "sequence must be below 8: got 8."),
    ],
)
def test_a_future_that_cannot_be_shown_is_refused(programs, finished, arguments, message):
    before = listing(finished)
    ended = programs.run("predict", finished, *arguments)
    assert ended.code == 1
    assert message in ended.err.splitlines()[-1]
    assert listing(finished) == before


def test_sequences_are_continued_under_another_stimulus(programs, out):
    """The pull goes on where it is told to: far ahead, the coordinate is where that pull holds it."""
    ended = programs.run("fit", ROOT / "models" / "driven.py", "--out", out, *SMOKE)
    assert ended.code == 0, ended.err
    refused(programs.run("predict", out, "--horizon", 3), "its future must be known")
    refused(programs.run("predict", out, "--horizon", 3, "--ahead", "much"), "--ahead needs numbers with commas")
    refused(programs.run("predict", out, "--horizon", 3, "--ahead", "1,2"), "one number per input that stays, got (2,)")
    means = []
    for pull in (-3, 3):
        ended = programs.run("predict", out, "--horizon", 3, "--ahead", pull, "--draws", 20)
        assert ended.code == 0, ended.err
        means.append(float(xr.load_dataset(out / "forecast.nc", engine="h5netcdf")["mean"].isel(lead=-1).mean()))
    assert means[1] - means[0] > 0.3


@pytest.mark.parametrize(
    "recipe", ["fit", "landscape", "segment", "report", "predict", "check", "compare", "calibrate"]
)
def test_help_says_what_there_is(programs, recipe):
    ended = programs.run(recipe, "--help")
    assert ended.code == 0
    assert "Usage" in ended.out
    assert "--help" in ended.out


def test_a_recipe_is_a_program_of_its_own(tmp_path):
    """Without the server: a new interpreter, found by path, from another folder."""
    command = [sys.executable, ROOT / "inference" / "fit.py", "no.py", "--out", "run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: no.py is no model file")
    assert list(tmp_path.iterdir()) == []


# Bad input


BROKEN = {
    "fails.py": ("import pyro_nld\n\n1 / 0\n", "fails.py fails in line 3: ZeroDivisionError: division by zero."),
    "leaves.py": ("raise SystemExit(0)\n", "leaves.py fails in line 1: SystemExit: 0."),
    "syntax.py": ("def build(:\n", "syntax.py fails: SyntaxError: invalid syntax (syntax.py, line 1)."),
    "bare.py": ("PRIORS = {}\n", "bare.py lacks build, simulate: a model file has PRIORS, build(data)"),
    "nothing.py": (TINY.replace("return model, nld", "model, nld"), "build must return (model, guide): got NoneType."),
    "builds.py": (TINY.replace("prior = ", "prior = data['no'] #"), "builds.py fails in line 10: KeyError"),
    "simulates.py": (TINY.replace("seed=seed)", "wrong=1)"), "simulates.py fails in line 16: TypeError"),
    "wide.py": (TINY.replace("IdentityDecoder(1)", "LinearDecoder(1, 3)"), "the decoder expects 3 channels: got"),
    "prior.py": (TINY.replace("LogNormal(0.0, 1.0)", "Normal(0.0, 1.0)"), "temperature is positive, so its prior"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_file_that_fails_is_named(programs, out, name):
    text, message = BROKEN[name]
    (programs.folder / name).write_text(text)
    refused(programs.run("fit", name, "--out", out, *SMOKE), message)
    assert not out.exists()


@pytest.mark.parametrize("name", ["no.py", "."])
def test_what_is_no_model_file_is_refused(programs, out, name):
    refused(programs.run("fit", name, "--out", out), f"{name} is no model file: expected an existing .py file.")
    assert not out.exists()


def bad_data(folder: Path) -> dict[str, str]:
    """Data files that cannot be used, and what is said of them."""
    times, x = np.arange(4.0), np.random.default_rng(0).standard_normal((2, 4, 1))
    jump, infinite = times.copy(), x.copy()
    jump[2], infinite[1, 2, 0] = 0.5, np.inf
    np.savez(folder / "unsorted.npz", times=jump, observations=x)
    np.savez(folder / "infinite.npz", times=times, observations=infinite)
    np.savez(folder / "empty.npz", times=times[:0], observations=x[:, :0])
    np.savez(folder / "flat.npz", times=times, observations=x[0])
    np.savez(folder / "lacking.npz", observations=x)
    np.savez(folder / "pickled.npz", times=times, observations=np.array([None], object))
    (folder / "text.npz").write_text("no archive")
    (folder / "blank.csv").write_text("")
    (folder / "words.csv").write_text("sequence,time,a\n0,0,one\n0,1,2\n")
    (folder / "data.txt").write_text("time a b")
    (folder / "data.doc").write_text("1 2 3")
    return {
        "unsorted.npz": "times must increase within a sequence: every sequence has 0.5 after 1.0 (index 2).",
        "infinite.npz": "observations must be finite, or NaN where missing: got inf at sequence 1, time 2",
        "empty.npz": "empty.npz: times must be (time,) or (sequence, time), not empty",
        "flat.npz": "flat.npz: observations must be (sequence, time, channel)",
        "lacking.npz": "lacking.npz: the array times is missing",
        "pickled.npz": "pickled.npz cannot be read as .npz",
        "text.npz": "text.npz cannot be read as .npz",
        "blank.csv": "blank.csv cannot be read as .csv",
        "words.csv": "words.csv: the column a must hold numbers: got 'one' in row 2.",
        "data.txt": "data.txt: a table needs rows, and channels beside sequence and time",
        "data.doc": "a data file must end in .npz, .nc, .parquet, .csv,",
        "gone.npz": "gone.npz must be a data file: there is none.",
    }


def test_bad_data_are_refused_and_nothing_is_written(programs, out):
    for name, message in bad_data(programs.folder).items():
        refused(programs.run("fit", "tiny.py", "--data", name, "--out", out), message)
        assert not out.exists()
    assert not list(programs.folder.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny.py",), "Missing option '--out'. --help shows what there is."),
        ((), "Missing option '--out'."),
        (("tiny.py", "--out", "new", "--budget", "huge"), "'huge' is not one of 'smoke', 'default', 'full'."),
        (("tiny.py", "--out", "new", "--restarts", "0"), "Invalid value for '--restarts'"),
        (("tiny.py", "--out", "new", "--seed", "-1"), "Invalid value for '--seed'"),
        (("tiny.py", "--out", "new", "--minutes", "0"), "Invalid value for '--minutes'"),
        (("tiny.py", "--out", "new", "--epochs", "5"), "No such option: --epochs"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line(programs, arguments, message):
    refused(programs.run("fit", *arguments), message, code=2)
    assert not (programs.folder / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "states.txt"), "the output must end in .npz or .csv: got states.txt."),
        (("--out", "nowhere/states.npz"), "nowhere must be a directory: there is none."),
        (("--out", "s.npz", "--online"), "online segmentation needs an encoder that sees the past alone"),
        (("--out", "s.npz", "--data", "gone.npz"), "gone.npz must be a data file: there is none."),
        (("--out", "s.npz", "--data", "wide.npz"), "the data need the channels of the fit: expected 1, got 2."),
    ],
)
def test_segmenting_what_cannot_be_segmented_is_refused(programs, finished, arguments, message):
    nld.save(nld.datasets.ornstein_uhlenbeck(4, 10, rate=[1.0, 2.0]), programs.folder / "wide.npz")
    ended = programs.run("segment", finished, *arguments)
    assert ended.code == 1
    assert message in ended.err.splitlines()[-1]
    assert not (programs.folder / "s.npz").exists()
