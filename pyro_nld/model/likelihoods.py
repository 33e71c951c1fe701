"""From hidden position to data: decoders (means) and likelihoods (noise).

A decoder maps `(*batch, latent)` to `(*batch, channel)`; a likelihood turns that into a distribution over the
channels at
every time. Free decoders (linear, MLP) speak in standardised channels, so that a channel's unit does not change the
fit;
gauge-fixing ones (identity, orthonormal) speak in the data's own unit unless asked to standardise, because there the
latent axes, and with them the temperature, are measured in it.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ..dynamics.quantities import Physical, Quantity
from .decoders import Decoder


class Likelihood(Physical):
    """The contract: positions at the observation times to a distribution per time and channel."""

    decoder: Decoder

    @abstractmethod
    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """P(x | q), batch shape `(*batch, time, channel)`."""


class Gaussian(Likelihood):
    """x ~ N(decoder(q), (s · channel scale)²), independent per channel.

    Parameters
    ----------
    decoder: means.
    noise_scale: s > 0, in the decoder's unit (the data's where it does not standardise): a number (fixed), a
        distribution (latent site `noise_scale`), an `nn.Parameter`, one or one per channel; learned per channel when
        None.
    """

    quantities = ("noise_scale",)
    units = {"noise_scale": "the decoder's unit"}  # noqa: RUF012

    def __init__(self, decoder: Decoder, noise_scale: Quantity | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        # Half a channel's standard deviation: neither explains everything by noise nor forces every wiggle into q.
        self.noise_scale = nn.Parameter(torch.full((decoder.channels,), 0.5)) if noise_scale is None else noise_scale

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """N(decoder(q), s²)."""
        return dist.Normal(self.decoder(q), self.broadcast_quantity("noise_scale") * self.decoder.scale)
