"""Decoders of one's own: any function or module, in the unit of the data."""

import pytest
import torch
from torch import nn

import pyro_nld as nld
from pyro_nld.model.decoders import FunctionDecoder, as_decoder


def test_a_network_is_a_decoder_of_its_own_widths():
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
    likelihood = nld.Gaussian(network)
    assert (likelihood.decoder.latent, likelihood.decoder.channels) == (2, 3)
    q = torch.randn(5, 2)
    likelihood.decoder.adapt(7.0 + torch.randn(2, 4, 3))  # the unit is that of the data, and stays
    torch.testing.assert_close(likelihood.decoder(q), network(q))
    assert {name for name, _ in likelihood.named_parameters()} > {"decoder.function.0.weight"}


def test_a_function_says_its_axes_in_attributes():
    def on_a_circle(q):
        return torch.cat([q.cos(), q.sin()], -1)

    on_a_circle.latent, on_a_circle.channels = 1, 2
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(on_a_circle, 0.1))
    assert model(torch.arange(4.0)).shape == (1, 4, 2)
    assert as_decoder(model.likelihood.decoder) is model.likelihood.decoder


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("given", [lambda q: q, 3.0, nn.Tanh()], ids=["function", "number", "layer"])
def test_a_decoder_without_axes_is_refused(given):
    kind = type(given).__name__
    with pytest.raises(nld.PriorError, match=f"`latent` and `channels`, its numbers of axes: got {kind} without"):
        nld.Gaussian(given)


def test_widths_of_layers_are_numbers():
    for build in (nld.MLPDecoder, lambda latent, _, hidden: nld.NeuralForce(latent, hidden=hidden)):
        with pytest.raises(nld.ShapeError, match=r"hidden needs the width of every hidden layer: got \(0,\)"):
            build(1, 1, hidden=(0,))
    assert isinstance(as_decoder(nn.Linear(1, 1)), FunctionDecoder)
