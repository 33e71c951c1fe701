"""What every likelihood keeps: one density per time and channel, normalised, followed by its draws, blind to gaps.

A new likelihood gets a line in `MEMBERS` and inherits every test.
"""

import itertools
import math

import pytest
import torch
from pyro import distributions as dist
from pyro import poutine

import pyro_nld as nld

HUM = torch.tensor([[1.0, 0.8, 0.3], [0.8, 1.0, 0.1], [0.3, 0.1, 1.0]])

MEMBERS = {
    "Gaussian": lambda: nld.Gaussian(nld.LinearDecoder(2, 3), 0.3),
    "Gaussian with noise per channel": lambda: nld.Gaussian(nld.MLPDecoder(2, 3), torch.tensor([0.2, 0.5, 1.0])),
    "StudentT": lambda: nld.StudentT(nld.LinearDecoder(2, 3), 0.3, 5.0),
    "LogNormal": lambda: nld.LogNormal(nld.LinearDecoder(2, 3), 0.3),
    "Varying": lambda: nld.VaryingGaussian(nld.LinearDecoder(2, 3), nld.LinearDecoder(2, 3)),
    "Poisson": lambda: nld.Poisson(nld.LinearDecoder(2, 3)),
    "Poisson with softplus": lambda: nld.Poisson(nld.LinearDecoder(2, 3), link="softplus"),
    "NegativeBinomial": lambda: nld.NegativeBinomial(nld.LinearDecoder(2, 3)),
    "Bernoulli": lambda: nld.Bernoulli(nld.LinearDecoder(2, 3)),
    "Categorical": lambda: nld.Categorical(nld.LinearDecoder(2, 12), categories=4),
}
# Their laws are of all channels at one time, and know the density of some without the others.
JOINT = {
    "correlated": lambda: nld.CorrelatedGaussian(nld.LinearDecoder(2, 3), 0.3, HUM),
    "learned correlation": lambda: nld.CorrelatedGaussian(nld.LinearDecoder(2, 3)),
    "varying covariance": lambda: nld.VaryingGaussian(nld.LinearDecoder(2, 3), nld.LinearDecoder(2, 6)),
    "Channels": lambda: nld.Channels(
        counts=nld.Poisson(nld.LinearDecoder(2, 1)),
        stage=nld.Categorical(nld.LinearDecoder(2, 4), categories=4),
        level=nld.LogNormal(nld.LinearDecoder(2, 1)),
    ),
    "Channels with a joint law": lambda: nld.Channels(
        pair=nld.CorrelatedGaussian(nld.LinearDecoder(2, 2)), level=nld.Gaussian(nld.LinearDecoder(2, 1))
    ),
}
EVERY = MEMBERS | JOINT
CHANNELS, TIMES = 3, torch.arange(6.0)


@pytest.fixture(params=MEMBERS, ids=list(MEMBERS))
def likelihood(request):
    torch.manual_seed(1)
    return MEMBERS[request.param]()


@pytest.fixture(params=EVERY, ids=list(EVERY))
def every(request):
    torch.manual_seed(1)
    return EVERY[request.param]()


def positions(*shape):
    return torch.randn(*shape, 2, generator=torch.Generator().manual_seed(2))


def model_of(likelihood):
    return nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0, 1.0])), likelihood, substeps=2)


def nodes(law):
    """Values `(node, 1, 1)` that cover what a law of one time can yield, and the length that each stands for."""
    if law.support.is_discrete:
        values = torch.arange(2000.0, dtype=torch.float64)
        values = values[law.support.check(values[:, None, None]).reshape(len(values), -1).all(-1)]
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


def drawn(likelihood, *shape):
    """Data that the likelihood itself makes, `(sequence, time, channel)`."""
    with torch.no_grad():
        return likelihood(positions(*shape)).sample()


def with_holes(x):
    """The data with three values in ten missing, every other time a single one, and where."""
    holes = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) < 0.3
    return torch.where(holes, math.nan, x), holes


def per_value(law, x, seen):
    """log p of what was seen, by laws of single channels or, for a joint Gaussian, by its marginal, one by one."""
    if isinstance(law, torch.distributions.MultivariateNormal):
        found = x.new_zeros(())
        for place in itertools.product(*map(range, x.shape[:-1])):
            which = seen[place].nonzero().flatten()
            if len(which):
                covariance = law.covariance_matrix[place][which][:, which]
                marginal = torch.distributions.MultivariateNormal(law.loc[place][which], covariance)
                found = found + marginal.log_prob(x[place][which])
        return found
    if hasattr(law, "laws"):
        parts = zip(law.laws, x.split(law.sizes, -1), seen.split(law.sizes, -1), strict=True)
        return sum(per_value(*part) for part in parts)
    return torch.where(seen, law.log_prob(x), 0.0).sum()


def test_data_tell_where_the_path_is(every):
    q = positions(7).requires_grad_()
    law = every(q)
    (slope,) = torch.autograd.grad(law.log_prob(law.sample()).sum(), q)
    assert bool(slope.isfinite().all())
    assert bool((slope != 0).any(-1).all())


def test_what_is_missing_does_not_count(every):
    """Neither in the density nor, as NaN or infinity, in its gradient."""
    model = model_of(every)
    x = drawn(every, 2, len(TIMES))
    holed, holes = with_holes(x)
    trace = poutine.trace(model).get_trace(TIMES.expand(2, -1), holed)
    trace.compute_log_prob()
    q = model.observed_positions(trace.nodes["z0"]["value"], trace.nodes["z"]["value"])
    expected = per_value(every(q), x, ~holes)
    torch.testing.assert_close(trace.nodes["x"]["log_prob_sum"], expected, rtol=1e-4, atol=1e-4)
    trace.nodes["x"]["log_prob_sum"].backward()
    slopes = [weight.grad for weight in every.parameters() if weight.grad is not None]
    assert slopes
    assert all(bool(slope.isfinite().all()) for slope in slopes)


def test_draws_of_what_was_observed_are_whole(every):
    """New data have a value wherever the old had none, from the law as if nothing were missing."""
    x, _ = with_holes(drawn(every, 2, len(TIMES)))
    trace = poutine.trace(poutine.uncondition(model_of(every))).get_trace(TIMES.expand(2, -1), x)
    assert bool(trace.nodes["x"]["value"].isfinite().all())


def test_levels_are_means_of_draws(every):
    """Of channels without order, the most frequent category."""
    q = positions(4)
    with torch.no_grad():
        levels, draws = every.levels(q), every(q).sample((20_000,)).double()
    assert levels.shape == (4, CHANNELS)
    error = draws.std(0) / math.sqrt(len(draws))
    off = (draws.mean(0) - levels).abs() / error
    ordered = torch.ones(CHANNELS, dtype=torch.bool)
    if isinstance(every, nld.Categorical):
        ordered[:] = False
    elif isinstance(every, nld.Channels) and "stage" in every.groups:
        ordered[1] = False
    shares = torch.stack([(draws == category).double().mean(0) for category in range(4)])
    chosen = shares.gather(0, levels.long().clamp(0, 3).unsqueeze(0)).squeeze(0)
    assert bool((shares.amax(0) - chosen < 5 / math.sqrt(len(draws)))[:, ~ordered].all())
    assert bool((off[:, ordered] < 5).all())


def test_the_first_data_give_units_in_which_they_are_likely(every):
    """After `adapt` the decoder lies among the data, so that they are no less likely than before."""
    x, _ = with_holes(drawn(every, 20, 30))
    every.check(x)
    every.adapt(x)
    features = every.features(x)
    assert bool((features.isnan().sum((0, 1)) > 0).all())  # what is missing is seen to be
    assert bool(features.nan_to_num().isfinite().all())
    levels = every.levels(positions(200))
    assert bool((levels.amin(0) <= x.nan_to_num(-math.inf).amax((0, 1))).all())
    assert bool((levels.amax(0) >= x.nan_to_num(math.inf).amin((0, 1))).all())


def test_both_precisions(every):
    law = every.double()(positions(7).double())
    x = law.sample()
    assert x.dtype == law.log_prob(x).dtype == torch.float64


def test_every_quantity_takes_a_prior(every):
    parts = every.groups.values() if isinstance(every, nld.Channels) else [every]
    sites = set()
    for part in parts:
        for name in part.quantities:
            setattr(part, name, dist.LogNormal(-1.0, 0.1))
            sites.add(part.group + name)
    x, _ = with_holes(drawn(every, 2, len(TIMES)).nan_to_num())
    model = model_of(every)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(every.features(x).shape[-1], size=4, hidden=4))
    times = TIMES.expand(2, -1)
    assert sites <= set(poutine.trace(model).get_trace(times, x).stochastic_nodes)
    elbo = nld.PathELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    assert math.isfinite(elbo.loss(model, guide, times, x))
    filtered = nld.particles.particle_posterior(model, guide, times, x, particles=4)
    assert bool(filtered.log_evidence.isfinite().all())
