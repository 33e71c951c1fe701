"""Ranks that are uniform and intervals that cover pass; too narrow or shifted ones do not; a stopped study goes on."""

from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.checks import calibration

SETTINGS = {"simulations": 2, "steps": 3, "sequences": 3, "particles": 0, "seed": 0}


def table(draw, width=1.0, shift=0.0, simulations=400):
    """Truths N(0, 1) seen once with noise 1: the exact posterior is N(x/2, ½); `width` and `shift` spoil it."""
    truth = draw.normal(size=simulations)
    centre = (truth + draw.normal(size=simulations)) / 2 + shift
    drawn = centre + width * np.sqrt(0.5) * draw.normal(size=(calibration.POSTERIOR_DRAWS, simulations))
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    dims = ("simulation", "route", "quantity")
    columns = {"rank": (drawn < truth).sum(0), "low": low, "high": high}
    variables = {name: (dims, values[:, None, None]) for name, values in columns.items()}
    variables["truth"] = (("simulation", "quantity"), truth[:, None])
    return xr.Dataset(variables, coords={"route": ["variational"], "quantity": ["temperature"]})


def test_an_exact_posterior_is_calibrated(seed):
    judged = calibration.judge(table(np.random.default_rng(seed)))
    coverage = float(judged["coverage"][0, 0])
    # quantiles of 99 draws make a 90 % interval a little narrow, by 1/100
    assert coverage == pytest.approx(0.9, abs=5 * np.sqrt(0.09 / 400) + 0.02)
    assert float(judged["p"][0, 0]) > 1e-6
    assert judged.attrs["verdict"] != "bad"


@pytest.mark.parametrize("fault", [{"width": 0.5}, {"width": 2.0}, {"shift": 0.5}], ids=str)
def test_a_wrong_posterior_is_seen(seed, fault):
    judged = calibration.judge(table(np.random.default_rng(seed), **fault))
    assert judged.attrs["verdict"] == "bad"
    assert "do not mean what they say" in judged.attrs["message"]


def test_uniform_ranks_give_uniform_p(seed):
    draw = np.random.default_rng(seed)
    p = np.array([calibration.uniformity(draw.integers(0, 100, 200)) for _ in range(400)])
    assert abs((p < 0.1).mean() - 0.1) < 5 * np.sqrt(0.09 / 400) + 0.03  # twice the lesser of two is a little cautious
    assert calibration.uniformity(draw.integers(30, 70, 200)) < 1e-6
    assert calibration.uniformity(np.array([10, 60])) > 0.1  # two say nothing


# Simulations


def build(data, temperature=None):
    temperature = dist.LogNormal(-1.0, 0.5) if temperature is None else temperature
    prior = nld.OverdampedLangevin(nld.Quadratic([1.0]), temperature)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.05), substeps=2, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))


@pytest.fixture(scope="module")
def data():
    return nld.datasets.ornstein_uhlenbeck(5, 8, seed=0)


@pytest.fixture(scope="module")
def reference(data):
    torch.manual_seed(0)
    return nld.fit(*build(data), data, nld.Schedule(steps=2), progress=False)


def test_truths_come_from_the_prior_and_data_from_the_truth(reference):
    drawn = [calibration.simulate(reference, seed) for seed in range(60)]
    logs = np.log([float(truth["temperature"]) for truth, _ in drawn])
    assert abs(logs.mean() + 1) < 5 * 0.5 / np.sqrt(60)
    again = calibration.simulate(reference, 7)
    xr.testing.assert_identical(drawn[7][1], again[1])
    assert drawn[0][1].sizes == {"sequence": 5, "time": 8, "channel": 1}
    assert calibration.simulate(reference, 0, sequences=2)[1].sizes["sequence"] == 2
    # the spread of increments follows the temperature that was drawn
    spread = [float(one["observations"].diff("time").var()) for _, one in drawn]
    assert np.corrcoef(logs, np.log(spread))[0, 1] > 0.6


def test_without_a_prior_there_is_nothing_to_calibrate(data):
    model, guide = build(data, temperature=0.5)
    guide(*nld.as_tensors(data))
    fit = nld.Fit(model, guide, *nld.as_tensors(data))
    with pytest.raises(nld.PriorError, match="no quantity is random, so there is nothing to calibrate"):
        calibration.simulate(fit, 0)


def test_a_study_that_was_stopped_goes_on(data, tmp_path):
    whole = list(calibration.study(partial(build), data, tmp_path / "whole", SETTINGS | {"simulations": 3}))[-1]
    torch.manual_seed(0)
    list(calibration.study(build, data, tmp_path / "parts", SETTINGS))
    again = list(calibration.study(build, data, tmp_path / "parts", SETTINGS | {"simulations": 3}))
    assert [one.sizes["simulation"] for one in again] == [2, 3]
    assert whole["rank"].dims == ("simulation", "route", "quantity")
    np.testing.assert_array_equal(whole["truth"], again[-1]["truth"])
    with pytest.raises(nld.RunDirectoryError, match="holds a study with other settings"):
        next(calibration.study(build, data, tmp_path / "parts", SETTINGS | {"steps": 4}))
