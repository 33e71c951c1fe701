"""From a hidden position to the data: decoders say where the data lie, likelihoods how they scatter.

A decoder maps `(*batch, latent)` to numbers `(*batch, channel)`. A likelihood turns them into a distribution of every
channel at every time: the numbers are means for `Gaussian`, logarithms of rates for `Poisson`, and so on.

Free decoders (linear, MLP) work in standardised channels, so that the unit of a channel does not change the fit.
Decoders that fix the gauge (identity, orthonormal) work in the unit of the data unless they are asked to standardise,
because the latent axes, and with them the temperature, are then measured in that unit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from .._typing import Series
from ..dynamics.quantities import Physical, Quantity
from ..io.series import channel_moments
from ..io.validation import check_support
from .decoders import Decoder, as_decoder

CENTRAL = (0.1587, 0.8413)  # a Gaussian has 68.3 % between them, one standard deviation on either side


class Likelihood(Physical):
    """p(x | q), the contract: from positions at the observation times to a distribution per time and channel.

    A subclass sets `decoder` and defines `forward`. Every other method has a default that suits channels which are real
    numbers near what the decoder says, and may be replaced:

    * `adapt(x)`: take units from the first data. The default is `decoder.adapt(x)`, mean and standard deviation of the
      channels. Where the decoder speaks of something else (a log rate), `decoder.take(loc, scale)` gives its unit.
    * `features(x)`: what the encoder sees, before it standardises that; x itself by default.
    * `check(x)`: refuse values that this likelihood cannot explain, with a `DataError`; none by default.
    * `levels(q)`: what the data are at a position, in their unit; the mean of the law by default.

    Missing values need no care: they are left out of the density.

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
    group = ""
    """What the names of the sites begin with, where a model has several likelihoods, see `Channels`."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, as_decoder(value) if name == "decoder" else value)

    along = ("channel", "channels")

    discrete = False
    """Whether it explains counts or categories, so that few different values are no cause for doubt."""

    @abstractmethod
    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """p(x | q), with batch shape `(*batch, time, channel)`.

        A law of all channels together has batch shape `(*batch, time)` and event shape `(channel,)`.
        """

    @property
    def latent(self) -> int:
        """Number of latent axes."""
        return self.decoder.latent

    @property
    def channels(self) -> int:
        """Number of channels of the data."""
        return self.decoder.channels

    @property
    def fixes_gauge(self) -> bool:
        """Whether the latent axes have the unit of the data, see `Decoder`."""
        return self.decoder.fixes_gauge

    def _axes(self) -> int | None:
        decoder = self.__dict__.get("_modules", {}).get("decoder")
        return decoder.channels if decoder is not None and decoder.channels == self.channels else None

    def adapt(self, x: Series) -> None:
        """Take the units of the channels from data; NaN is ignored."""
        self.decoder.adapt(x)

    def features(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch feature"]:
        """What the encoder sees of the data; NaN where missing."""
        return x

    def check(self, x: Series) -> None:
        """Refuse data outside the support.

        Raises
        ------
        DataError: naming the first value and its place.
        """

    def levels(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """E[x | q], in the unit of the data."""
        return self(q).mean

    def _pyro_get_fullname(self, name: str) -> str:
        found = super()._pyro_get_fullname(name)
        return self.group + name if found == name else found


class Gaussian(Likelihood):
    """x ~ N(decoder(q), (s · channel scale)²), independent per channel.

    Parameters
    ----------
    decoder: gives the means; a `Decoder`, or any function, see `as_decoder`.
    noise_scale: s > 0, one number or one per channel, in the unit of the decoder, which is that of the data where it
        does not standardise. A number, a distribution (latent site `noise_scale`), or an `nn.Parameter`; when None, one
        per channel is learned.

    Raises
    ------
    PriorError: the scale is not positive, or has neither one value nor one per channel.

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
        self.noise_scale = learned_noise(self.decoder.channels) if noise_scale is None else noise_scale

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """N(decoder(q), (s · channel scale)²)."""
        return dist.Normal(self.decoder(q), self.broadcast_quantity("noise_scale") * self.decoder.scale)


class StudentT(Likelihood):
    """x ~ t_ν(decoder(q), s · channel scale), independent per channel: outliers pull less than under a Gaussian.

    Units come from the median and the central 68 % of a channel, and the encoder sees arsinh of the data in them, so
    that a few wild values change neither.

    Parameters
    ----------
    decoder: gives the centres.
    noise_scale: s > 0, as for `Gaussian`.
    degrees: ν > 0, degrees of freedom: 1 is a Cauchy law, and beyond 30 it is nearly a Gaussian. A number, a
        distribution, or an `nn.Parameter`; when None, one number is learned, from 4 on.

    Examples
    --------
    A value ten scales away costs 45 nats less than under a Gaussian of the same scale:

    >>> far, q = torch.tensor([10.0]), torch.zeros(1, 1)
    >>> heavy = nld.StudentT(nld.IdentityDecoder(1), noise_scale=1.0, degrees=1.0)(q).log_prob(far)
    >>> light = nld.Gaussian(nld.IdentityDecoder(1), noise_scale=1.0)(q).log_prob(far)
    >>> round((heavy - light).item())
    45
    """

    quantities = ("noise_scale", "degrees")
    units = {"noise_scale": "the decoder's unit"}  # noqa: RUF012

    def __init__(self, decoder: Decoder, noise_scale: Quantity | None = None, degrees: Quantity | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.noise_scale = learned_noise(self.decoder.channels) if noise_scale is None else noise_scale
        self.degrees = nn.Parameter(torch.tensor(4.0)) if degrees is None else degrees
        self.register_buffer("centre", torch.zeros(self.decoder.channels))
        self.register_buffer("width", torch.ones(self.decoder.channels))

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """t_ν(decoder(q), s · channel scale)."""
        scale = self.broadcast_quantity("noise_scale") * self.decoder.scale
        return dist.StudentT(self.broadcast_quantity("degrees"), self.decoder(q), scale)

    def adapt(self, x: Series) -> None:
        """Median and half the width of the central 68 % of each channel."""
        whole = x.detach().flatten(0, -2).double()
        low, high = (_quantiles(whole, level) for level in CENTRAL)
        width = (high - low) / 2
        # A channel most of whose values are equal has no width; its moments say more than none.
        width = torch.where(width > 0, width, channel_moments(x)[1])
        self.centre.copy_(_quantiles(whole, 0.5))
        self.width.copy_(width)
        self.decoder.take(self.centre, self.width)

    def features(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch feature"]:
        """arsinh of the data, in robust units."""
        return ((x - self.centre) / self.width).asinh()

    def levels(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """The centre: it is the mean where there is one (ν > 1)."""
        return self.decoder(q)


class LogNormal(Likelihood):
    """log x ~ N(decoder(q), (s · channel scale)²): positive channels, whose noise is a share of the value.

    The unit of a channel only shifts the logarithms. Its level is the mean, exp(m + s²/2).

    Parameters
    ----------
    decoder: gives the means of log x.
    noise_scale: s > 0, as for `Gaussian`.

    Raises
    ------
    DataError: a value is zero or negative.

    Examples
    --------
    >>> likelihood = nld.LogNormal(nld.IdentityDecoder(1), noise_scale=1.0)
    >>> round(likelihood.levels(torch.zeros(1, 1)).item(), 3)  # √e
    1.649
    """

    quantities = ("noise_scale",)
    units = {"noise_scale": "of log x, the decoder's unit"}  # noqa: RUF012

    def __init__(self, decoder: Decoder, noise_scale: Quantity | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.noise_scale = learned_noise(self.decoder.channels) if noise_scale is None else noise_scale

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """exp N(decoder(q), (s · channel scale)²)."""
        return dist.LogNormal(self.decoder(q), self.broadcast_quantity("noise_scale") * self.decoder.scale)

    def adapt(self, x: Series) -> None:
        """Mean and standard deviation of log x."""
        self.decoder.adapt(x.log())

    def features(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch feature"]:
        """log x."""
        return x.log()

    def check(self, x: Series) -> None:
        """Refuse values that are not positive."""
        check_support(
            x, x > 0, "LogNormal needs positive values", "Make it NaN where it means missing, or use Gaussian"
        )


def learned_noise(channels: int) -> nn.Parameter:
    """Half a channel's standard deviation: at first, neither noise alone nor q alone explains the data.

    Parameters
    ----------
    channels: one number each.
    """
    return nn.Parameter(torch.full((channels,), 0.5))


def _quantiles(values: Float[Tensor, "value channel"], level: float) -> Float[Tensor, "channel"]:
    """A quantile of each channel; NaN is ignored. `torch.nanquantile` refuses more than 16 million values."""
    ordered = values.sort(0).values  # NaN comes last
    count = values.isfinite().sum(0)
    place = (level * (count - 1).clamp(min=0)).round().long()
    return ordered.gather(0, place.unsqueeze(0)).squeeze(0)
