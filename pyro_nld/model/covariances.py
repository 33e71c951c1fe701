"""Gaussian likelihoods whose noise is correlated, or differs from place to place."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam, PyroSample
from torch import Tensor
from torch.distributions import constraints

from ..dynamics.quantities import Quantity
from ..errors import PriorError, ShapeError
from .decoders import Decoder
from .likelihoods import Likelihood, learned_noise


class CorrelatedGaussian(Likelihood):
    """x ~ N(decoder(q), D R D) with D = diag(s · channel scale): noise that several channels share.

    Where some channels are missing, the density is that of the others, exactly.

    Parameters
    ----------
    decoder: gives the means.
    noise_scale: s > 0, as for `Gaussian`.
    correlation: R, the correlations of the noise `(channel, channel)`: a matrix (fixed), or a distribution of its
        Cholesky factor (`LKJCholesky`, a latent site); when None, they are learned.

    Raises
    ------
    PriorError: `correlation` is no matrix of correlations of that size.

    Examples
    --------
    Two channels that the same hum disturbs:

    >>> hum = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    >>> law = nld.CorrelatedGaussian(nld.IdentityDecoder(2), noise_scale=0.5, correlation=hum)(torch.zeros(50, 2))
    >>> round(law.covariance_matrix[0, 0, 1].item(), 3)  # s² R
    0.225
    """

    quantities = ("noise_scale",)
    units = {"noise_scale": "the decoder's unit"}  # noqa: RUF012

    def __init__(
        self,
        decoder: Decoder,
        noise_scale: Quantity | None = None,
        correlation: Tensor | TorchDistributionMixin | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.noise_scale = learned_noise(self.decoder.channels) if noise_scale is None else noise_scale
        if correlation is None:
            self.correlation = PyroParam(torch.eye(self.decoder.channels), constraints.corr_cholesky)
        elif isinstance(correlation, Tensor):
            self.register_buffer("correlation", _cholesky(correlation, self.decoder.channels))
        else:
            self.correlation = PyroSample(correlation)

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """N(decoder(q), D R D), a law of all channels at one time."""
        scale = self.broadcast_quantity("noise_scale") * self.decoder.scale
        root = self.correlation  # (channel, channel), or (particle, 1, channel, channel)
        if root.dim() > 2:
            root = root.unsqueeze(-3)
        return dist.MultivariateNormal(self.decoder(q), scale_tril=scale.unsqueeze(-1) * root)


class VaryingGaussian(Likelihood):
    """x ~ N(decoder(q), S(q) S(q)ᵀ): noise that depends on the position, as of states with noise of their own.

    Parameters
    ----------
    decoder: gives the means.
    spread: a decoder of the noise, used in its own unit. With one output per channel, these are log s, and the channels
        are independent. With channels · (channels + 1) / 2 outputs, what follows are the entries of a lower triangle:
        S = D (1 + L), D = ½ · channel scale · exp(log s).

    Raises
    ------
    ShapeError: `spread` has another number of axes or outputs.

    Examples
    --------
    Noise that grows e-fold per unit of length:

    >>> likelihood = nld.VaryingGaussian(nld.IdentityDecoder(1), spread=nld.IdentityDecoder(1))
    >>> law = likelihood(torch.tensor([[0.0], [1.0]]))
    >>> round((law.stddev[1] / law.stddev[0]).item(), 3)
    2.718
    """

    def __init__(self, decoder: Decoder, spread: Decoder) -> None:
        super().__init__()
        channels = decoder.channels
        full = channels * (channels + 1) // 2
        if spread.latent != decoder.latent or spread.channels not in (channels, full):
            raise ShapeError(
                f"the spread of {channels} channels needs {channels} outputs (independent) or {full} (full), and "
                f"{decoder.latent} axes: got {spread.channels} and {spread.latent}. Change it."
            )
        self.decoder, self.spread = decoder, spread

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """N(decoder(q), S(q) S(q)ᵀ)."""
        channels, loc, numbers = self.decoder.channels, self.decoder(q), self.spread.decode(q)
        # Half a channel's standard deviation: at first, neither noise alone nor q alone explains the data.
        scale = 0.5 * self.decoder.scale * numbers[..., :channels].exp()
        if numbers.shape[-1] == channels:
            return dist.Normal(loc, scale)
        row, column = torch.tril_indices(channels, channels, -1)
        unit = torch.eye(channels, dtype=loc.dtype, device=loc.device).expand(*loc.shape, -1).clone()
        unit[..., row, column] = numbers[..., channels:]
        return dist.MultivariateNormal(loc, scale_tril=scale.unsqueeze(-1) * unit)


def _cholesky(correlation: Tensor, channels: int) -> Tensor:
    if correlation.shape == (channels, channels):
        root, wrong = torch.linalg.cholesky_ex(correlation)
        if not bool(wrong) and torch.allclose(correlation.diagonal(), correlation.new_ones(())):
            return root
    raise PriorError(
        f"correlation must be a positive definite matrix of {channels} × {channels} with ones on its diagonal: got "
        f"{correlation.tolist()}. Put scales into noise_scale."
    )
