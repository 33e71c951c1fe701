"""From a hidden position to the data: decoders give the means, likelihoods add the noise.

A decoder maps `(*batch, latent)` to `(*batch, channel)`; a likelihood turns the result into a distribution of every
channel at every time. Free decoders (linear, MLP) work in standardised channels, so that the unit of a channel does not
change the fit. Decoders that fix the gauge (identity, orthonormal) work in the unit of the data unless they are asked
to standardise, because the latent axes, and with them the temperature, are then measured in that unit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ..dynamics.quantities import Physical, Quantity
from .decoders import Decoder, as_decoder


class Likelihood(Physical):
    """p(x | q), the contract: from positions at the observation times to a distribution per time and channel.

    A subclass sets `decoder` and defines `forward`.

    Examples
    --------
    Photon counts, whose rate grows exponentially with the position:

    >>> from pyro import distributions as dist
    >>> class Counts(nld.Likelihood):
    ...     def __init__(self, decoder):
    ...         super().__init__()
    ...         self.decoder = decoder
    ...     def forward(self, q):
    ...         return dist.Poisson(self.decoder(q).exp())
    >>> law = Counts(nld.IdentityDecoder(1))(torch.zeros(1, 50, 1))  # sequence, time, latent
    >>> law.batch_shape, law.variance[0, 0].item()  # of a Poisson law: the rate
    (torch.Size([1, 50, 1]), 1.0)
    """

    decoder: Decoder

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, as_decoder(value) if name == "decoder" else value)

    @abstractmethod
    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """p(x | q), with batch shape `(*batch, time, channel)`."""


class Gaussian(Likelihood):
    """x ~ N(decoder(q), (s · channel scale)²), independent per channel.

    Parameters
    ----------
    decoder: gives the means; a `Decoder`, or any function, see `as_decoder`.
    noise_scale: s > 0, one number or one per channel, in the unit of the decoder, which is that of the data where it
        does not standardise. A number, a distribution (latent site `noise_scale`), or an `nn.Parameter`; when None, one
        per channel is learned.

    Examples
    --------
    >>> law = nld.Gaussian(nld.IdentityDecoder(1), noise_scale=0.5)(torch.zeros(1, 50, 1))
    >>> law.variance[0, 0].item()  # s²
    0.25
    """

    quantities = ("noise_scale",)
    units = {"noise_scale": "the decoder's unit"}  # noqa: RUF012

    def __init__(self, decoder: Decoder | Callable[[Tensor], Tensor], noise_scale: Quantity | None = None) -> None:
        super().__init__()
        self.decoder = as_decoder(decoder)
        # Half a channel's standard deviation: at first, neither noise alone nor q alone explains the data.
        self.noise_scale = (
            nn.Parameter(torch.full((self.decoder.channels,), 0.5)) if noise_scale is None else noise_scale
        )

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """N(decoder(q), (s · channel scale)²)."""
        return dist.Normal(self.decoder(q), self.broadcast_quantity("noise_scale") * self.decoder.scale)
