"""Results as ArviZ reads them, under whichever generation is installed; CI runs this file under both."""

import warnings

import arviz as az
import numpy as np
import pytest
import torch
import xarray as xr
from pyro import distributions as dist

import pyro_nld as nld
from pyro_nld.inference_data import convergence, load_inference_data, save_inference_data, to_inference_data


@pytest.fixture(scope="module")
def results():
    torch.manual_seed(0)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(2, hidden=(8,)), temperature=dist.LogNormal(0.0, 0.5))
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.MLPDecoder(2, 3, hidden=(8,))), substeps=2)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(3, size=8, hidden=8))
    data = nld.datasets.three_state(sequences=6, steps=25, channels=3)
    times, x = nld.as_tensors(data)
    x[0, 3, 1] = torch.nan
    guide(times, x)
    return nld.Fit(model, guide, times, x).inference_data(draws=20)


def test_groups_and_dimensions(results):
    posterior = results["posterior"]
    assert posterior["temperature"].dims[:2] == ("chain", "draw")
    assert dict(posterior["z"].sizes) == {"chain": 1, "draw": 20, "sequence": 6, "time": 25, "latent": 2}
    assert bool(np.isnan(results["observed_data"]["x"][0, 3, 1]))
    assert int(np.isnan(results["observed_data"]["x"]).sum()) == 1
    assert results["constant_data"]["times"].shape == (6, 25)
    assert results["sample_stats"].sizes["draw"] == 20


def test_summary_runs_as_it_is(results):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one chain: ArviZ says that r̂ needs two
        table = az.summary(results, var_names=["temperature"])
    assert float(np.asarray(table["mean"])[0]) > 0


def test_draws_are_numbered(results):
    assert results["posterior"]["draw"].values.tolist() == list(range(20))
    assert results["posterior"]["chain"].values.tolist() == [0]


def test_round_trip_through_netcdf(results, tmp_path):
    save_inference_data(results, tmp_path / "posterior.nc")
    again = load_inference_data(tmp_path / "posterior.nc")
    assert type(again) is type(results)
    for group in ("posterior", "observed_data", "constant_data", "sample_stats"):
        for name, values in results[group].data_vars.items():
            np.testing.assert_array_equal(again[group][name].values, values.values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["posterior.nc"]


def test_the_container_is_the_one_of_the_installed_generation():
    group = xr.Dataset({"a": (("chain", "draw"), np.zeros((1, 3)))})
    made = to_inference_data({"posterior": group})
    expected = az.InferenceData if az.__version__.startswith("0.") else xr.DataTree
    assert isinstance(made, expected)


def test_convergence_of_chains_that_agree_and_of_chains_that_do_not():
    draws = np.random.default_rng(0).random((8, 400, 2)) < 0.3
    draws[:4, :, 1] = True  # half of the chains never leave the second state
    found = convergence(xr.DataArray(draws.astype(float), dims=("chain", "draw", "state")))
    assert found["rhat"].values[0] == pytest.approx(1.0, abs=0.01)
    assert found["rhat"].values[1] > 1.5
    assert 2400 < found["ess"].values[0] < 4000
    assert found["ess"].values[1] < 50
