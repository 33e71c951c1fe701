"""What every likelihood keeps: one density per time and channel, normalised, followed by its draws, blind to gaps.

A new likelihood gets a line in `MEMBERS` and inherits every test.
"""

import math

import pytest
import torch
from pyro import distributions as dist
from pyro import poutine

import pyro_nld as nld

MEMBERS = {
    "Gaussian": lambda: nld.Gaussian(nld.LinearDecoder(2, 3), 0.3),
    "Gaussian with noise per channel": lambda: nld.Gaussian(nld.MLPDecoder(2, 3), torch.tensor([0.2, 0.5, 1.0])),
}
CHANNELS, TIMES = 3, torch.arange(6.0)


@pytest.fixture(params=MEMBERS, ids=list(MEMBERS))
def likelihood(request):
    torch.manual_seed(1)
    return MEMBERS[request.param]()


def positions(*shape):
    return torch.randn(*shape, 2, generator=torch.Generator().manual_seed(2))


def model_of(likelihood):
    return nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0, 1.0])), likelihood, substeps=2)


def nodes(law):
    """Values `(node, 1, 1)` that cover what a law of one time can yield, and the length that each stands for."""
    if law.support.is_discrete:
        values = torch.arange(2000.0, dtype=torch.float64)
        return values[:, None, None], torch.ones_like(values)
    draws = law.sample((4000,)).double()
    low, middle, high = (draws.quantile(level) for level in (0.01, 0.5, 0.99))
    values = torch.linspace(float(middle - 30 * (high - low)), float(middle + 30 * (high - low)), 400_001).double()
    values = values[law.support.check(values)]
    return values[:, None, None], values.diff().mean().expand_as(values)


def integral(law, of):
    """∫ of(log p) p dx, per channel."""
    values, lengths = nodes(law)
    log_p = law.log_prob(values).double()
    return (lengths[:, None, None] * log_p.exp() * of(log_p)).sum(0)


def gap(law, draws=20_000):
    """How far the mean log density of draws is from ∫ p log p dx, in standard errors."""
    values = law.log_prob(law.sample((draws,))).double()
    exact = integral(law, lambda log_p: log_p.clamp(min=-1e6))
    return (values.mean(0) - exact).abs() / (values.std(0) / math.sqrt(draws))


def test_there_is_one_law_per_time_and_channel(likelihood):
    for shape in [(), (4,), (2, 4)]:
        law = likelihood(positions(*shape, 7))
        assert law.batch_shape == (*shape, 7, CHANNELS)
        assert law.event_shape == ()


def test_the_density_integrates_to_one(likelihood):
    with torch.no_grad():
        total = integral(likelihood(positions(1)), torch.ones_like)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-3, rtol=0)


def test_draws_follow_the_density(likelihood):
    with torch.no_grad():
        assert float(gap(likelihood(positions(1))).max()) < 5


def test_draws_of_another_law_are_seen():
    class Loud(dist.Normal):
        def sample(self, sample_shape=()):
            return 1.2 * super().sample(sample_shape)

    assert float(gap(Loud(torch.zeros(1, 3), 1.0)).min()) > 5


def test_data_tell_where_the_path_is(likelihood):
    q = positions(7).requires_grad_()
    law = likelihood(q)
    (slope,) = torch.autograd.grad(law.log_prob(law.sample()).sum(), q)
    assert bool(slope.isfinite().all())
    assert bool((slope != 0).any(-1).all())


def test_what_is_missing_does_not_count(likelihood):
    model = model_of(likelihood)
    x = likelihood(positions(2, len(TIMES))).sample()
    holes = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) < 0.3
    times = TIMES.expand(2, -1)
    trace = poutine.trace(model).get_trace(times, torch.where(holes, math.nan, x))
    trace.compute_log_prob()
    q = model.observed_positions(trace.nodes["z0"]["value"], trace.nodes["z"]["value"])
    expected = likelihood(q).log_prob(x)[~holes].sum()
    torch.testing.assert_close(trace.nodes["x"]["log_prob_sum"], expected)


def test_every_quantity_takes_a_prior(likelihood):
    for name in likelihood.quantities:
        setattr(likelihood, name, dist.LogNormal(-1.0, 0.1))
    model = model_of(likelihood)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=4, hidden=4))
    x = likelihood(positions(2, len(TIMES))).sample()
    times = TIMES.expand(2, -1)
    assert set(likelihood.quantities) <= set(poutine.trace(model).get_trace(times, x).stochastic_nodes)
    elbo = nld.PathELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    assert math.isfinite(elbo.loss(model, guide, times, x))
