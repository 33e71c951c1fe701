"""Decoders and likelihoods: one contract for all, units, gauges, and the density of what was seen."""

import math

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
