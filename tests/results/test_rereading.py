"""States read again in draws that are there: what the draws would have said the first time."""

import pyro.distributions as dist
import pytest
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.io.inference_data import group, groups
from pyro_nld.results.rereading import with_states


@pytest.fixture(scope="module")
def fit():
    torch.manual_seed(0)
    prior = nld.OverdampedLangevin(nld.DoubleWell(barrier=1.0), dist.LogNormal(0.0, 0.2))
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.3), substeps=5, time_unit=1.0)
    data = nld.datasets.ornstein_uhlenbeck(12, 20, interval=0.1, seed=1)
    return nld.fit(
        model, nld.AmortizedGuide(model, nld.GRUEncoder(1)), data, nld.Schedule(steps=4), restarts=2, progress=False
    )


def test_states_read_again_are_those_read_at_once(fit):
    wells = fit.wells(min_persistence=0.0)
    bare, whole = (fit.inference_data(5, seed=3, states=states) for states in (False, wells))
    again = with_states(fit, bare, wells)
    assert "basin" not in group(bare, "posterior")
    assert set(groups(again)) == set(groups(whole))
    for name in groups(whole):
        xr.testing.assert_identical(group(again, name), group(whole, name))


def test_other_states_replace_the_first(fit):
    every, merged = fit.wells(min_persistence=0.0), fit.wells(min_persistence=1e9)
    assert (every.sizes["state"], merged.sizes["state"]) == (2, 1)
    results = fit.inference_data(5, seed=3, states=every)
    again = group(with_states(fit, results, merged), "posterior")
    assert again.sizes["state"] == 1
    xr.testing.assert_identical(again["z"], group(results, "posterior")["z"])


def test_results_without_draws_are_refused(fit):
    results = fit.inference_data(5, groups=["observed_data"])
    with pytest.raises(nld.DataError, match="the results have no group posterior"):
        with_states(fit, results, fit.wells(min_persistence=0.0))
