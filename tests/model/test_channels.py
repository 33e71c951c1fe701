"""Several likelihoods at once: every reader of a fit takes counts, categories and joint noise as it takes numbers."""

import math

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine

import pyro_nld as nld
from pyro_nld.io.inference_data import group

TIMES = torch.arange(20.0)


def mixed():
    """Two counts, one category of three, and two channels with a common noise."""
    return nld.Channels(
        counts=nld.NegativeBinomial(nld.LinearDecoder(1, 2), dispersion=dist.LogNormal(-1.0, 0.3)),
        stage=nld.Categorical(nld.LinearDecoder(1, 3), categories=3),
        pair=nld.CorrelatedGaussian(nld.LinearDecoder(1, 2)),
    )


@pytest.fixture(scope="module")
def fit():
    draw = torch.Generator().manual_seed(0)
    state = (torch.arange(20) // 5 % 2).float().expand(12, -1).unsqueeze(-1)
    hum = 0.3 * torch.randn(12, 20, 1, generator=draw)
    counts = torch.poisson(2.0 + 8.0 * state.expand(-1, -1, 2), generator=draw)
    noise = 0.1 * torch.randn(12, 20, 2, generator=draw)
    x = torch.cat([counts, 2 * state, 3.0 * state + hum + noise], -1)
    x = torch.where(torch.rand(x.shape, generator=draw) < 0.1, math.nan, x)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        motion = nld.OverdampedLangevin(nld.DoubleWell(barrier=2.0), temperature=dist.LogNormal(0.0, 0.2))
        model = nld.LatentLangevin(motion, mixed(), substeps=8)
        guide = nld.AmortizedGuide(model, nld.GRUEncoder(7, size=8, hidden=8))
        return nld.fit(model, guide, (TIMES, x), nld.Schedule(steps=60, learning_rate=0.03), progress=False)


def test_sites_of_a_group_have_its_name():
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0])), mixed())
    sites = poutine.trace(model).get_trace(TIMES).stochastic_nodes
    assert "counts.dispersion" in sites


def test_learned_quantities_of_two_groups_are_two():
    both = nld.Channels(a=nld.Gaussian(nld.LinearDecoder(1, 1)), b=nld.Gaussian(nld.LinearDecoder(1, 1)))
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0])), both)
    trace = poutine.trace(model).get_trace(TIMES)
    assert {"a.noise_scale", "b.noise_scale"} <= set(trace.param_nodes)


def test_levels_are_counts_categories_and_means(fit):
    levels = fit.wells(min_persistence=0.0)["decoded"].values
    low, high = levels[np.argsort(levels[:, 3])]
    np.testing.assert_array_equal([low[2], high[2]], [0.0, 2.0])
    assert high[:2] == pytest.approx([10.0, 10.0], rel=0.4)
    assert high[3] - low[3] == pytest.approx(3.0, abs=0.8)


def test_draws_checks_and_forecasts_read_it(fit):
    results = fit.inference_data(draws=30)
    new = group(results, "posterior_predictive", "x")["x"].values
    observed = group(results, "observed_data", "x")["x"].values
    assert (np.isfinite(new) == np.isfinite(observed)).all()
    counts, stages = new[..., :2], new[..., 2]
    assert (counts[np.isfinite(counts)] % 1 == 0).all()
    assert set(stages[np.isfinite(stages)]) <= {0.0, 1.0, 2.0}
    assert np.isfinite(group(results, "log_likelihood", "x")["x"].values).all()
    found = nld.predictive_checks.pit(results)
    assert found.sizes["channel"] == 5
    assert (found["distance"].values < 0.5).all()
    assert (np.isfinite(found["pit"].values) == np.isfinite(observed)).all()
    made = nld.replicates.from_fit(fit, draws=20).values
    assert set(made[..., 2][np.isfinite(made[..., 2])]) <= {0.0, 1.0, 2.0}
    ahead = nld.forecast(fit, horizon=3.0, draws=50)
    assert bool(np.isfinite(ahead["mean"]).all() and (ahead["sd"] > 0).all())
    drawn = fit.inference_data(draws=20, groups=["prior", "prior_predictive"], states=False)
    assert np.isfinite(group(drawn, "prior_predictive", "x")["x"].values).mean() > 0.8
