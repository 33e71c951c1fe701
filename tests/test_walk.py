"""From data to a report in half a minute: the quick round, which every Python must pass (`make quick`)."""

import subprocess
import sys
from pathlib import Path

import arviz as az
import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pages import CENTRES, INTERVAL, made

import pyro_nld as nld

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Three wells that are known, data that visit them in turn, and all that is read from them."""
    return made(CENTRES, tmp_path_factory.mktemp("walk"))


def numbered(story, states):
    """The true states, in the numbering of the wells that were found."""
    places = np.linalg.norm(story["position"].values - np.asarray(CENTRES)[:, None], axis=-1).argmin(-1)
    return np.where(states >= 0, places[states], -1)


@pytest.mark.parametrize("name", ["data.nc", "data.npz"])
def test_data_come_back_from_a_file(walked, tmp_path, name):
    nld.save(walked.data, tmp_path / name)
    times, x = nld.as_tensors(nld.load(tmp_path / name))
    expected = nld.as_tensors(walked.data)
    torch.testing.assert_close(times, expected[0], equal_nan=True)
    torch.testing.assert_close(x, expected[1], equal_nan=True)


@pytest.mark.parametrize("elbo", [pyro.infer.Trace_ELBO, pyro.infer.TraceMeanField_ELBO, nld.PathELBO])
def test_a_step_of_plain_pyro(walked, elbo):
    fit = walked.fit
    svi = pyro.infer.SVI(fit.model, fit.guide, pyro.optim.Adam({"lr": 0.0}), elbo())
    assert np.isfinite(svi.step(fit.times, fit.x))


def test_a_fit_runs_and_remembers(walked):
    prior = nld.OverdampedLangevin(
        nld.NeuralPotential(2, hidden=(8,)), temperature=pyro.distributions.LogNormal(0.0, 0.5)
    )
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.LinearDecoder(2, 2)), substeps=2)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=4, hidden=4))
    fit = nld.fit(model, guide, walked.data, nld.Schedule(steps=3), progress=False)
    assert fit.history.sizes["step"] == 3
    assert np.isfinite(fit.elbo()["total"])
    assert "Empty" not in repr(az.summary(fit.inference_data(draws=4, states=False), var_names=["temperature"]))


def test_the_wells_are_found(walked):
    assert walked.story.sizes["state"] == 3
    assert set(numbered(walked.story, np.arange(3))) == {0, 1, 2}
    assert walked.story.sizes["saddle"] >= 2


def test_the_states_are_told(walked):
    truth = numbered(walked.story, walked.data["states"].values)
    assert (walked.segments["label"].values == truth)[truth >= 0].mean() > 0.95


def test_a_landscape_comes_back_from_a_file(walked, tmp_path):
    walked.story.to_netcdf(tmp_path / "landscape.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "landscape.nc", engine="h5netcdf") as back:
        xr.testing.assert_identical(back.load(), walked.story)


def test_tomorrow_is_told(walked):
    ahead = nld.forecast(walked.fit, horizon=3 * INTERVAL, draws=5, wells=walked.story)
    assert ahead.sizes["lead"] == 4
    assert np.isfinite(ahead["mean"].values).all()


def test_figures_are_drawn(walked):
    nld.plots.energy(walked.fit.potential, walked.story, walked.fit.encoded(), resolution=10).canvas.draw()
    nld.plots.loss(walked.fit.history).canvas.draw()


def test_the_page_is_whole(walked):
    assert walked.text.startswith("<!doctype html>")
    assert walked.text.rstrip().endswith("</html>")


def test_a_recipe_answers_on_the_command_line():
    done = subprocess.run([sys.executable, ROOT / "inference" / "fit.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--budget" in done.stdout
