"""Decoders and likelihoods: one contract for all, units, gauges, and the density of what was seen."""

import math
import re

import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.nn import PyroSample
from torch import nn

import pyro_nld as nld
from pyro_nld.nn import Dense

DECODERS = {
    "identity": lambda: nld.IdentityDecoder(2),
    "identity, standardised": lambda: nld.IdentityDecoder(2, standardise=True),
    "orthonormal": lambda: nld.OrthonormalDecoder(2, 4),
    "orthonormal, standardised": lambda: nld.OrthonormalDecoder(2, 4, standardise=True),
    "linear": lambda: nld.LinearDecoder(2, 4),
    "MLP": lambda: nld.MLPDecoder(2, 4, hidden=(8, 7)),
}


@pytest.fixture(params=DECODERS, ids=list(DECODERS))
def decoder(request):
    return DECODERS[request.param]()


def series(channels, missing=True):
    """Channels of different units and offsets, some of it missing."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(5, 30, channels, generator=draw) * 10.0 ** torch.arange(channels) + torch.arange(channels)
    return torch.where(torch.rand(x.shape, generator=draw) < 0.2, math.nan, x) if missing else x


# ---------------------------------------------------------------- decoders


def test_a_decoder_keeps_all_batch_axes(decoder):
    for shape in [(), (3,), (2, 5, 3)]:
        assert decoder(torch.randn(*shape, 2)).shape == (*shape, decoder.channels)


def test_a_decoder_speaks_in_the_datas_unit_if_it_standardises(decoder):
    x = series(decoder.channels)
    before = decoder.decode(torch.ones(2))
    decoder.adapt(x)
    if not decoder.standardise:
        torch.testing.assert_close(decoder(torch.ones(2)), before)
        return
    seen = [channel[channel.isfinite()] for channel in x.flatten(0, 1).T]
    loc, scale = (torch.stack([f(channel) for channel in seen]) for f in (torch.mean, lambda c: c.std(correction=0)))
    if decoder.fixes_gauge:
        scale = scale.square().mean().sqrt()
    torch.testing.assert_close(decoder(torch.ones(2)), loc + scale * before)


def test_a_gauge_fixing_decoder_is_an_isometry_in_one_unit(decoder):
    """Distances between decoded points are those of the latent points, times one number; free decoders stretch."""
    decoder.adapt(series(decoder.channels))
    points = torch.randn(6, 2, generator=torch.Generator().manual_seed(4))
    ratio = torch.pdist(decoder(points)) / torch.pdist(points)
    spread = float((ratio.max() / ratio.min()).detach())
    assert spread == pytest.approx(1.0, abs=1e-4) if decoder.fixes_gauge else spread > 1.1


def test_identity_is_the_identity():
    points = torch.randn(3, 2)
    torch.testing.assert_close(nld.IdentityDecoder(2)(points), points, rtol=0, atol=0)


def test_an_orthonormal_map_stays_orthonormal_while_it_learns():
    decoder = nld.OrthonormalDecoder(2, 4)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (decoder(torch.eye(2)) - torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
    q = decoder(torch.eye(2)) - decoder(torch.zeros(2))
    torch.testing.assert_close(q @ q.T, torch.eye(2))


def test_an_orthonormal_map_has_no_more_axes_than_channels():
    with pytest.raises(nld.ShapeError) as caught:
        nld.OrthonormalDecoder(3, 2)
    assert str(caught.value) == "an orthonormal decoder needs channels ≥ latent: got 2 < 3. Use fewer axes."


@pytest.mark.parametrize("channel", [torch.full((5, 30), 7.0), torch.full((5, 30), math.nan)], ids=["constant", "NaN"])
def test_a_channel_without_spread_has_unit_scale(channel):
    decoder = nld.LinearDecoder(2, 3)
    decoder.adapt(torch.cat([series(2), channel.unsqueeze(-1)], -1))
    assert float(decoder.scale[2]) == 1.0
    assert bool(decoder(torch.zeros(2)).isfinite().all())


def test_a_large_offset_costs_no_precision():
    x = series(1, missing=False)
    far, near = nld.LinearDecoder(1, 1), nld.LinearDecoder(1, 1)
    far.adapt(x + 4096.0)
    near.adapt(x)
    torch.testing.assert_close(far.scale, near.scale, rtol=1e-4, atol=0)


def test_random_weights_align_with_particles():
    """A weight per particle, of shape (particle, 1, out, in), decodes that particle's points."""
    decoder = nld.MLPDecoder(2, 4, hidden=(3,))
    plain = [part for part in decoder.modules() if isinstance(part, Dense)]
    weights = [torch.randn(5, 1, *layer.weight.shape) for layer in plain]
    biases = [torch.randn(5, 1, *layer.bias.shape) for layer in plain]
    q = torch.randn(5, 3, 6, 2)

    def decoded(choose):
        for layer, weight, bias in zip(plain, weights, biases, strict=True):
            del layer.weight, layer.bias
            layer.weight, layer.bias = choose(weight), choose(bias)
        return decoder.decode

    together = decoded(lambda values: values)(q)
    for i in range(5):
        torch.testing.assert_close(decoded(lambda values, i=i: values[i, 0])(q[i]), together[i])


# ---------------------------------------------------------------- Gaussian likelihood


def test_noise_is_learned_per_channel_unless_given():
    likelihood = nld.Gaussian(nld.LinearDecoder(2, 4))
    assert likelihood.noise_scale.shape == (4,)
    assert likelihood.noise_scale.requires_grad
    assert not nld.Gaussian(nld.LinearDecoder(2, 4), 0.3).noise_scale.requires_grad


@pytest.mark.parametrize(
    ("made", "name", "shape"),
    [
        (lambda decoder: nld.Gaussian(decoder, torch.ones(2)), "noise_scale", "(2,)"),
        (lambda decoder: nld.CorrelatedGaussian(decoder, torch.ones(4, 4)), "noise_scale", "(4, 4)"),
        (lambda decoder: nld.StudentT(decoder, degrees=dist.Gamma(torch.ones(3), 1.0)), "degrees", "(3,)"),
        (lambda decoder: nld.LogNormal(decoder, nn.Parameter(torch.ones(5))), "noise_scale", "(5,)"),
        (lambda decoder: nld.NegativeBinomial(decoder, nn.Parameter(torch.ones(5))), "dispersion", "(5,)"),
    ],
)
def test_values_for_another_number_of_channels_are_refused(made, name, shape):
    message = f"{name} needs one value, or one for each of 4 channels: got values of shape {shape}"
    with pytest.raises(nld.PriorError, match=re.escape(message)):
        made(nld.LinearDecoder(2, 4))


def test_a_likelihood_of_ones_own_may_have_other_channels_than_its_decoder():
    class Paired(nld.Likelihood):
        quantities = ("gain",)
        channels = 1

        def __init__(self):
            super().__init__()
            self.decoder = nld.LinearDecoder(1, 2)
            self.gain = torch.ones(2)

        def forward(self, q):
            return dist.Normal((self.gain * self.decoder(q)).sum(-1, keepdim=True), 1.0)

    assert Paired()(torch.zeros(3, 5, 1)).batch_shape == (3, 5, 1)


@pytest.mark.parametrize("noise", [0.3, torch.tensor([0.1, 0.2, 0.3, 0.4])], ids=["one", "one per channel"])
def test_density_and_unit_of_the_noise(noise):
    likelihood = nld.Gaussian(nld.LinearDecoder(2, 4), noise)
    likelihood.decoder.adapt(series(4))
    q = torch.randn(3, 7, 2)
    law = likelihood(q)
    assert law.batch_shape == (3, 7, 4)
    x = series(4)[:3, :7].nan_to_num()
    expected = torch.distributions.Normal(likelihood.decoder(q), noise * likelihood.decoder.scale).log_prob(x)
    torch.testing.assert_close(law.log_prob(x), expected)


def test_changing_a_channels_unit_changes_the_density_by_its_jacobian():
    """x → a x + b: log p falls by log a per value, and by nothing else."""
    x, q = series(4, missing=False), torch.randn(5, 30, 2)
    unit, offset = torch.tensor([2.0, 0.1, 30.0, 1.0]), torch.tensor([0.0, 5.0, -3.0, 1.0])
    likelihood = nld.Gaussian(nld.MLPDecoder(2, 4), 0.3)
    likelihood.decoder.adapt(x)
    before = likelihood(q).log_prob(x)
    likelihood.decoder.adapt(unit * x + offset)
    after = likelihood(q).log_prob(unit * x + offset)
    torch.testing.assert_close(after + unit.log(), before, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "noise",
    [
        dist.LogNormal(-1.0, 0.1),
        dist.LogNormal(torch.full((4,), -1.0), 0.1).to_event(1),
        PyroSample(dist.LogNormal(-1.0, 0.1)),
        nn.Parameter(torch.tensor(0.4)),
    ],
    ids=["distribution", "per channel", "PyroSample", "parameter"],
)
def test_random_or_learned_noise_reaches_the_density(noise):
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.Quadratic([1.0, 1.0])), nld.Gaussian(nld.LinearDecoder(2, 4), noise)
    )
    trace = poutine.trace(model).get_trace(torch.arange(30.0), series(4))
    noise_scale = trace.nodes["noise_scale"]["value"]
    law = trace.nodes["x"]["fn"].base_dist.base_dist
    torch.testing.assert_close(law.scale, (noise_scale * model.likelihood.decoder.scale).expand_as(law.scale))


def test_decoder_and_dynamics_need_the_same_axes():
    with pytest.raises(nld.ShapeError) as caught:
        nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(nld.LinearDecoder(2, 4)))
    assert str(caught.value) == (
        "decoder and dynamics need the same number of latent axes: got 2 and 1. Change one of them."
    )


# ---------------------------------------------------------------- other laws: density, units, what they refuse


def laws():
    """Each likelihood on decoder outputs e, and the law that torch makes of e."""
    e, plain = torch.tensor([[-0.5, 0.3], [1.2, 0.0]]), nld.IdentityDecoder(2)
    family = torch.distributions
    rate = e.exp()
    return {
        "StudentT": (nld.StudentT(plain, 0.4, 3.0), family.StudentT(3.0, e, 0.4)),
        "LogNormal": (nld.LogNormal(plain, 0.4), family.LogNormal(e, 0.4)),
        "Poisson": (nld.Poisson(plain), family.Poisson(rate)),
        "softplus": (nld.Poisson(plain, link="softplus"), family.Poisson(e.exp().log1p())),
        "NegativeBinomial": (  # the gamma law of the rate has shape 1/α; p = αμ / (1 + αμ)
            nld.NegativeBinomial(plain, 0.7),
            family.NegativeBinomial(1 / 0.7, probs=0.7 * rate / (1 + 0.7 * rate)),
        ),
        "Bernoulli": (nld.Bernoulli(plain), family.Bernoulli(e.sigmoid())),
        "Categorical": (nld.Categorical(plain, 2), family.Categorical(e.softmax(-1).unsqueeze(-2))),
        "Varying": (nld.VaryingGaussian(plain, nld.IdentityDecoder(2)), family.Normal(e, 0.5 * e.exp())),
        "correlated": (
            nld.CorrelatedGaussian(plain, torch.tensor([0.4, 0.2]), torch.tensor([[1.0, 0.6], [0.6, 1.0]])),
            family.MultivariateNormal(e, torch.tensor([[0.16, 0.048], [0.048, 0.04]])),
        ),
        "Channels": (
            nld.Channels(a=nld.Poisson(nld.IdentityDecoder(2)), b=nld.LogNormal(nld.IdentityDecoder(2), 0.4)),
            None,
        ),
    }, e


@pytest.mark.parametrize("name", [name for name in laws()[0] if name != "Channels"])
def test_a_density_is_that_of_torch(name):
    (likelihood, expected), e = laws()[0][name], laws()[1]
    x = expected.sample((50,)).to(e.dtype)
    torch.testing.assert_close(likelihood(e).log_prob(x), expected.log_prob(x), rtol=1e-4, atol=1e-5)


def test_groups_of_channels_are_independent():
    both, e = laws()[0]["Channels"][0], laws()[1]
    counts, levels = torch.poisson(torch.ones(2, 2)), torch.rand(2, 2) + 0.5
    expected = torch.distributions.Poisson(e.exp()).log_prob(counts).sum(-1)
    expected = expected + torch.distributions.LogNormal(e, 0.4).log_prob(levels).sum(-1)
    torch.testing.assert_close(both(e).log_prob(torch.cat([counts, levels], -1)), expected)


@pytest.mark.parametrize(
    ("likelihood", "wrong", "said"),
    [
        (
            lambda d: nld.Poisson(d),
            2.5,
            "Poisson needs whole numbers from 0 on: got 2.5 at sequence 0, time 3, channel 1",
        ),
        (lambda d: nld.NegativeBinomial(d), -1.0, "NegativeBinomial needs whole numbers from 0 on: got -1.0"),
        (lambda d: nld.Bernoulli(d), 2.0, "Bernoulli needs 0 or 1: got 2.0 at sequence 0, time 3, channel 1"),
        (lambda d: nld.LogNormal(d), 0.0, "LogNormal needs positive values: got 0.0 at sequence 0, time 3, channel 1"),
        (
            lambda d: nld.Categorical(nld.LinearDecoder(2, 6), 3),
            3.0,
            "Categorical needs categories 0 … 2: got 3.0 at sequence 0, time 3, channel 1",
        ),
        (
            lambda d: nld.Channels(
                left=nld.Gaussian(nld.LinearDecoder(2, 1)), right=nld.Poisson(nld.LinearDecoder(2, 1))
            ),
            0.5,
            "group right, counted from its first channel: Poisson needs whole numbers from 0 on: got 0.5 at sequence 0",
        ),
    ],
    ids=["Poisson", "NegativeBinomial", "Bernoulli", "LogNormal", "Categorical", "Channels"],
)
def test_data_outside_the_support_are_refused_at_the_door(likelihood, wrong, said):
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0, 1.0])), likelihood(nld.LinearDecoder(2, 2)))
    x = torch.ones(2, 5, 2)
    x[1, 2, 0] = math.nan
    model(torch.arange(5.0), x)
    x = x.clone()
    x[0, 3, 1] = wrong
    with pytest.raises(nld.DataError) as caught:
        model(torch.arange(5.0), x)
    assert said in str(caught.value)
    assert str(caught.value).endswith(".")
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(model.likelihood.features(x).shape[-1]))
    with pytest.raises(nld.DataError):
        guide(torch.arange(5.0), x)


def test_data_changed_in_place_are_checked_again():
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Poisson(nld.LinearDecoder(1, 1)))
    x = torch.ones(1, 5, 1)
    model(torch.arange(5.0), x)
    x[0, 2] = 0.5
    with pytest.raises(nld.DataError):
        model(torch.arange(5.0), x)


def test_what_another_likelihood_takes_is_checked_for_each():
    x = torch.full((1, 5, 1), 0.5)

    def model(likelihood):
        return nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0])), likelihood)

    model(nld.Gaussian(nld.LinearDecoder(1, 1)))(torch.arange(5.0), x)
    with pytest.raises(nld.DataError):
        model(nld.Bernoulli(nld.LinearDecoder(1, 1)))(torch.arange(5.0), x)


def test_the_unit_of_a_positive_channel_only_shifts_its_logarithm():
    x, q = series(3, missing=False).exp().clamp(1e-3, 1e3), torch.randn(5, 30, 2)
    unit = torch.tensor([60.0, 0.1, 1000.0])
    likelihood = nld.LogNormal(nld.LinearDecoder(2, 3))
    likelihood.adapt(x)
    before, seen = likelihood(q).log_prob(x), likelihood.features(x)
    likelihood.adapt(unit * x)
    torch.testing.assert_close(likelihood(q).log_prob(unit * x) + unit.log(), before, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(likelihood.features(unit * x) - unit.log(), seen, rtol=1e-4, atol=1e-4)


def test_wild_values_change_neither_units_nor_features_of_a_heavy_tailed_channel():
    """One value in a hundred a thousandfold: a Gaussian's unit grows tenfold and more, that of a t law hardly."""
    x, unit = torch.randn(20, 100, 1, generator=torch.Generator().manual_seed(0)), 7.0
    wild = x.clone()
    wild[:, 50] *= 1000
    robust, plain = nld.StudentT(nld.LinearDecoder(2, 1)), nld.Gaussian(nld.LinearDecoder(2, 1))
    for likelihood in (robust, plain):
        likelihood.adapt(wild)
    assert float(robust.decoder.scale) == pytest.approx(1.0, abs=0.1)
    assert float(plain.decoder.scale) > 10
    seen = robust.features(wild)
    assert float(seen.abs().max()) < 10
    robust.adapt(unit * wild + 3.0)
    torch.testing.assert_close(robust.features(unit * wild + 3.0), seen, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("link", ["exp", "softplus"])
@pytest.mark.parametrize("mean", [0.02, 3.0, 400.0])
def test_counts_give_the_decoder_the_unit_in_which_0_is_their_mean(link, mean):
    x = torch.poisson(torch.full((20, 200, 1), mean), generator=torch.Generator().manual_seed(1))
    likelihood = nld.Poisson(nld.LinearDecoder(1, 1), link)
    likelihood.adapt(x)
    likelihood.decoder.map.weight.data.zero_()
    likelihood.decoder.map.bias.data.zero_()
    assert float(likelihood.levels(torch.zeros(1, 1)).detach()) == pytest.approx(float(x.mean()), rel=0.02)


def test_a_channel_that_never_counts_keeps_a_finite_rate():
    likelihood = nld.Poisson(nld.LinearDecoder(1, 1))
    likelihood.adapt(torch.zeros(5, 20, 1))
    assert bool(likelihood(torch.zeros(1, 1)).log_prob(torch.zeros(1)).isfinite())


def test_shares_of_answers_and_categories_give_the_decoder_its_unit():
    x = torch.zeros(10, 100, 1)
    x[:, :20], x[:, 20:30] = 1.0, 2.0
    stages, answers = nld.Categorical(nld.LinearDecoder(1, 3), 3), nld.Bernoulli(nld.LinearDecoder(1, 1))
    stages.adapt(x)
    answers.adapt(x.clamp(max=1.0))
    shares = stages.decoder.loc.softmax(-1)
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.2, 0.1]), atol=1e-3, rtol=0)
    assert float(answers.decoder.loc.sigmoid()) == pytest.approx(0.3, abs=1e-3)


def test_a_law_of_all_channels_without_a_marginal_says_so():
    class Disc(nld.Likelihood):
        """Two channels on a circle."""

        def __init__(self):
            super().__init__()
            self.decoder = nld.IdentityDecoder(2)

        def forward(self, q):
            return dist.ProjectedNormal(self.decoder(q))

    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0, 1.0])), Disc())
    x = torch.nn.functional.normalize(torch.randn(1, 5, 2), dim=-1)
    x[0, 1] = math.nan
    trace = poutine.trace(model).get_trace(torch.arange(5.0), x)
    trace.compute_log_prob()
    assert bool(trace.nodes["x"]["log_prob_sum"].isfinite())
    x = x.clone()
    x[0, 2, 0] = math.nan
    with pytest.raises(nld.DataError) as caught:
        poutine.trace(model).get_trace(torch.arange(5.0), x).compute_log_prob()
    assert "single values are missing" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: nld.Poisson(nld.LinearDecoder(1, 1), link="log"), nld.PriorError, 'link must be "exp" or "softplus"'),
        (lambda: nld.Categorical(nld.LinearDecoder(1, 5), 3), nld.ShapeError, "got 5"),
        (lambda: nld.VaryingGaussian(nld.LinearDecoder(1, 3), nld.LinearDecoder(1, 4)), nld.ShapeError, "3 outputs"),
        (
            lambda: nld.CorrelatedGaussian(nld.LinearDecoder(1, 2), 1.0, torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
            nld.PriorError,
            "positive definite matrix of 2 × 2",
        ),
        (
            lambda: nld.Channels(a=nld.Poisson(nld.LinearDecoder(1, 1)), b=nld.Poisson(nld.LinearDecoder(2, 1))),
            nld.ShapeError,
            "got {'a': 1, 'b': 2}",
        ),
    ],
    ids=["link", "categories", "spread", "correlation", "axes"],
)
def test_what_cannot_be_built_is_refused(make, error, said):
    with pytest.raises(error) as caught:
        make()
    assert said in str(caught.value)


def test_correlations_are_learned():
    """The gradient of the density at R = 1 points to the correlation of the residuals."""
    likelihood = nld.CorrelatedGaussian(nld.IdentityDecoder(2), 1.0)
    root = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) @ root.mT
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (-likelihood(torch.zeros(4000, 2)).log_prob(x).mean()).backward()
        optimizer.step()
    found = likelihood.correlation.detach()
    assert float((found @ found.mT)[0, 1]) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("name", ["Poisson", "Categorical"])
def test_a_fit_names_levels_in_the_unit_of_the_data(name):
    """Two levels of counts, or two categories: the decoded levels are counts and categories, not log rates."""
    states = (torch.arange(40) // 10 % 2).float().expand(10, -1).unsqueeze(-1)
    draw = torch.Generator().manual_seed(0)
    if name == "Poisson":
        x, likelihood, features = (
            torch.poisson(2.0 + 28.0 * states, generator=draw),
            nld.Poisson(nld.LinearDecoder(1, 1)),
            1,
        )
    else:
        x, likelihood, features = 2.0 * states, nld.Categorical(nld.LinearDecoder(1, 3), 3), 3
    torch.manual_seed(0)
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.DoubleWell(barrier=2.0)), likelihood, substeps=8)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(features, size=8, hidden=8))
    fit = nld.fit(model, guide, (torch.arange(40.0), x), nld.Schedule(steps=150, learning_rate=0.03), progress=False)
    levels = sorted(fit.wells()["decoded"].values[:, 0].tolist())
    expected = [2.0, 30.0] if name == "Poisson" else [0.0, 2.0]
    assert levels == pytest.approx(expected, rel=0.35)
