"""Likelihoods of counts and categories: Poisson, negative binomial, Bernoulli, categorical."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from .._typing import Series
from ..dynamics.quantities import Quantity
from ..errors import PriorError, ShapeError
from ..io.series import channel_moments
from ..io.validation import check_support
from .decoders import Decoder
from .likelihoods import Likelihood

LINKS = ("exp", "softplus")
WHOLE = "Give counts as they were taken, not rates or smoothed counts, or use Gaussian"


class _Counts(Likelihood):
    """What Poisson and negative binomial share: a rate μ = link(decoder(q)) in counts per observation."""

    discrete = True

    def __init__(self, decoder: Decoder, link: str) -> None:
        super().__init__()
        if link not in LINKS:
            raise PriorError(f'link must be "exp" or "softplus": got {link!r}. Use one of them.')
        self.decoder, self.link = decoder, link

    def rate(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """μ = exp(decoder(q)) or log(1 + exp(decoder(q))), counts per observation."""
        # Where a rate is below the smallest number of its type, a single count would have no probability at all.
        tiny = torch.finfo(q.dtype).tiny
        return (self.decoder(q).exp() if self.link == "exp" else softplus(self.decoder(q))).clamp(min=tiny)

    def levels(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """μ, the mean count."""
        return self.rate(q)

    def adapt(self, x: Series) -> None:
        """The decoder's unit: the link of the mean count; one natural logarithm, or the spread of the counts."""
        mean, spread = channel_moments(x)
        # half a count in all, so that a channel that never counts starts at a small rate
        mean = mean + 0.5 / x.isfinite().sum((0, 1)).clamp(min=1)
        if self.link == "exp":
            self.decoder.take(mean.log(), torch.ones_like(mean))
        else:
            self.decoder.take(mean + (-(-mean).expm1()).log(), spread.clamp(min=1.0))

    def features(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch feature"]:
        """√x, whose noise is about the same at every rate."""
        return x.clamp(min=0.0).sqrt()

    def check(self, x: Series) -> None:
        """Refuse what is no count."""
        who = f"{type(self).__name__} needs whole numbers from 0 on"
        check_support(x, (x >= 0) & (x == x.round()), who, WHOLE)


class Poisson(_Counts):
    """x ~ Poisson(μ) with μ = exp(decoder(q)), or softplus(decoder(q)): counts per observation.

    Parameters
    ----------
    decoder: gives log μ, or what `link` makes μ of.
    link: "exp", where influences multiply; "softplus", where they add and rates are high.

    Raises
    ------
    PriorError: an unknown link. DataError: a value is no whole number, or negative.

    Examples
    --------
    >>> likelihood = nld.Poisson(nld.IdentityDecoder(1))
    >>> round(likelihood.levels(torch.tensor([1.0])).item(), 3)  # e counts on average
    2.718
    """

    def __init__(self, decoder: Decoder, link: str = "exp") -> None:
        super().__init__(decoder, link)

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """Poisson(μ)."""
        return dist.Poisson(self.rate(q))


class NegativeBinomial(_Counts):
    """x with mean μ = link(decoder(q)) and variance μ + α μ²: counts that vary more than those of a Poisson law.

    It is a Poisson law whose rate varies by a gamma law of relative variance α.

    Parameters
    ----------
    decoder, link: as for `Poisson`.
    dispersion: α > 0, one number or one per channel. A number, a distribution, or an `nn.Parameter`; when None, one per
        channel is learned.

    Raises
    ------
    PriorError: an unknown link. DataError: a value is no whole number, or negative.

    Examples
    --------
    >>> law = nld.NegativeBinomial(nld.IdentityDecoder(1), dispersion=0.5)(torch.zeros(1, 1))
    >>> round(law.mean.item(), 4), round(law.variance.item(), 4)  # 1 and 1 + α
    (1.0, 1.5)
    """

    quantities = ("dispersion",)

    def __init__(self, decoder: Decoder, dispersion: Quantity | None = None, link: str = "exp") -> None:
        super().__init__(decoder, link)
        self.dispersion = nn.Parameter(torch.full((self.decoder.channels,), 0.5)) if dispersion is None else dispersion

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """NB(1/α, mean μ)."""
        dispersion, rate = self.broadcast_quantity("dispersion"), self.rate(q)
        return dist.NegativeBinomial((1 / dispersion).expand_as(rate), logits=rate.log() + dispersion.log())


class Bernoulli(Likelihood):
    """P(x = 1) = σ(decoder(q)): channels of 0 and 1, such as right and wrong answers.

    Parameters
    ----------
    decoder: gives the log odds.

    Raises
    ------
    DataError: a value is neither 0 nor 1.

    Examples
    --------
    >>> nld.Bernoulli(nld.IdentityDecoder(1)).levels(torch.zeros(1, 1)).item()  # even odds
    0.5
    """

    discrete = True

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """Bernoulli with log odds decoder(q)."""
        return dist.Bernoulli(logits=self.decoder(q))

    def adapt(self, x: Series) -> None:
        """The decoder's unit: the log odds of the mean; one natural logarithm."""
        count = x.isfinite().sum((0, 1)).clamp(min=1)
        share = (channel_moments(x)[0] * count + 0.5) / (count + 1)
        self.decoder.take(share.logit(), torch.ones_like(share))

    def check(self, x: Series) -> None:
        """Refuse what is neither 0 nor 1."""
        remedy = "Code the two answers as 0 and 1, or use Categorical for more than two"
        check_support(x, (x == 0) | (x == 1), "Bernoulli needs 0 or 1", remedy)


class Categorical(Likelihood):
    """P(x = k) = softmax(decoder(q))ₖ: channels that hold one of K categories, 0 … K − 1, such as stages of sleep.

    The categories have no order. The level of a channel is therefore the most probable category, and what a law calls
    mean and variance are those of its number.

    Parameters
    ----------
    decoder: gives the log odds, K numbers for the first channel, then K for the next.
    categories: K, at least 2.

    Raises
    ------
    ShapeError: the decoder has no multiple of K outputs. DataError: a value is not among 0 … K − 1.

    Notes
    -----
    The encoder sees every category as a feature of its own: `GRUEncoder(K)` for one channel.

    Examples
    --------
    Five stages of sleep that a point on a line passes through:

    >>> likelihood = nld.Categorical(nld.LinearDecoder(latent=1, channels=5), categories=5)
    >>> law = likelihood(torch.zeros(1, 200, 1))
    >>> law.batch_shape, likelihood.features(torch.tensor([3.0])).tolist()  # one channel; what the encoder sees
    (torch.Size([1, 200, 1]), [0.0, 0.0, 0.0, 1.0, 0.0])
    """

    discrete = True

    def __init__(self, decoder: Decoder, categories: int) -> None:
        super().__init__()
        if categories < 2 or decoder.channels % categories:
            raise ShapeError(
                f"a decoder of {categories} categories needs that many outputs per channel, 2 or more: got "
                f"{decoder.channels}. Give channels × categories outputs."
            )
        self.decoder, self.categories = decoder, categories

    @property
    def channels(self) -> int:
        """Number of channels of the data."""
        return self.decoder.channels // self.categories

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """Categorical with log odds decoder(q)."""
        return _Category(logits=self.decoder(q).unflatten(-1, (self.channels, self.categories)))

    def levels(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """The most probable category."""
        return self(q).mode.to(q.dtype)

    def adapt(self, x: Series) -> None:
        """The decoder's unit: the logarithms of the shares of the categories; one natural logarithm."""
        shares = self.features(x).flatten(0, 1)
        share = shares.nan_to_num().sum(0) + 0.5
        log_share = share.unflatten(-1, (self.channels, self.categories)).log()
        self.decoder.take((log_share - log_share.mean(-1, keepdim=True)).flatten(), torch.ones_like(share))

    def features(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch feature"]:
        """1 for the category that was seen and 0 for the others; NaN where missing."""
        seen = x.isfinite().unsqueeze(-1)
        known = x.nan_to_num().long().clamp(0, self.categories - 1)
        hot = one_hot(known, self.categories).to(x.dtype)
        return torch.where(seen, hot, torch.nan).flatten(-2)

    def check(self, x: Series) -> None:
        """Refuse what is no category."""
        last = self.categories - 1
        allowed = (x >= 0) & (x <= last) & (x == x.round())
        check_support(x, allowed, f"Categorical needs categories 0 … {last}", "Number them from 0, or give more")


class _Category(dist.Categorical):
    """A categorical law with the mean and variance of the number of the category, and floating draws, as data are."""

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return super().sample(sample_shape).to(self.probs.dtype)

    @property
    def mean(self) -> Tensor:
        return (self.probs * self._numbers).sum(-1)

    @property
    def variance(self) -> Tensor:
        return (self.probs * self._numbers.square()).sum(-1) - self.mean.square()

    @property
    def _numbers(self) -> Tensor:
        return torch.arange(self.probs.shape[-1], dtype=self.probs.dtype, device=self.probs.device)
