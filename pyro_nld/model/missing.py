"""What is missing does not count: values to stand in for it, and the density of what was observed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import MultivariateNormal, constraints, transform_to

from ..errors import DataError


def filled(x: Float[Tensor, "*batch channel"], law: TorchDistributionMixin) -> Tensor:
    """The data, with a value of the law's support where one is missing: densities and their gradients stay finite.

    Parameters
    ----------
    x: NaN where missing. law: of the data, with as many channels.
    """
    return torch.where(x.isfinite(), x, _inside(law, x))


def _inside(law: TorchDistributionMixin, x: Tensor) -> Tensor:
    """A value in the support of `law`, in the type of `x`."""
    if isinstance(law, SideBySide):
        parts = zip(law.laws, x.split(law.sizes, -1), strict=True)
        return torch.cat([_inside(each, part).expand_as(part) for each, part in parts], -1)
    support, zero = law.support, x.new_zeros(())
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if support is constraints.real:
        return zero
    if support.is_discrete:
        return zero + torch.as_tensor(getattr(support, "lower_bound", 0.0)).to(x)
    return transform_to(support)(zero.expand(law.event_shape if support.event_dim else ())).to(x.dtype)


def observed_law(law: TorchDistributionMixin, observed: Bool[Tensor, "*batch channel"]) -> TorchDistributionMixin:
    """The law of a whole series, event `(time, channel)`, whose density is that of what was observed alone.

    Parameters
    ----------
    law: of one time and channel, or of all channels at one time.
    observed: which values there are; a last axis of 1 stands for all channels.

    Raises
    ------
    DataError: some channels are missing at a time, and the density of the others is not known.
    """
    if not law.event_shape:
        return law.mask(observed).to_event(2)
    _require_marginals(law, observed.expand(*observed.shape[:-1], law.event_shape[-1]))
    return _Observed(law, observed).to_event(1)


def log_prob_of_observed(law: TorchDistributionMixin, x: Tensor, observed: Tensor) -> Tensor:
    """log p of the channels that were observed, one number per time.

    Parameters
    ----------
    law, observed: as for `observed_law`. x: filled.

    Raises
    ------
    DataError: as for `observed_law`.
    """
    if isinstance(law, SideBySide):
        seen = observed.expand(*observed.shape[:-1], sum(law.sizes)).split(law.sizes, -1)
        parts = zip(law.laws, x.split(law.sizes, -1), seen, strict=True)
        return sum((log_prob_of_observed(*part) for part in parts), x.new_zeros(()))
    if not law.event_shape:
        return torch.where(observed, law.log_prob(x), 0.0).sum(-1)
    observed = observed.expand(*observed.shape[:-1], x.shape[-1])
    if _some(observed):
        _require_marginals(law, observed)
        return _marginal(law, x, observed)
    return torch.where(observed.all(-1), law.log_prob(x), 0.0)


def _some(observed: Tensor) -> bool:
    """Whether there is a time at which some channels are missing and others are not."""
    return bool((observed.any(-1) & ~observed.all(-1)).any())


def _require_marginals(law: TorchDistributionMixin, observed: Tensor) -> None:
    if isinstance(law, SideBySide):
        for each, part in zip(law.laws, observed.split(law.sizes, -1), strict=True):
            _require_marginals(each, part)
    elif law.event_shape and not isinstance(law, MultivariateNormal) and _some(observed):
        raise DataError(
            f"the density of some channels of {type(law).__name__} without the others is not known: "
            "single values are missing. Make all channels of such a time NaN, or use a law per channel."
        )


def _marginal(law: MultivariateNormal, x: Tensor, observed: Tensor) -> Tensor:
    """log N of the observed channels: a missing one becomes a standard normal of its own, at 0, and is taken out."""
    pairs = observed.unsqueeze(-1) & observed.unsqueeze(-2)
    covariance = torch.where(pairs, law.covariance_matrix, 0.0) + torch.diag_embed((~observed).to(x.dtype))
    there = torch.where(observed, x - law.loc, 0.0)
    joint = dist.MultivariateNormal(torch.zeros_like(there), covariance).log_prob(there)
    return joint + 0.5 * math.log(2 * math.pi) * (~observed).sum(-1)


class _Observed(TorchDistribution):
    """A law of all channels at one time, of which some were observed. Draws are whole."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012

    def __init__(self, law: TorchDistributionMixin, observed: Tensor) -> None:
        self.law, self.observed = law, observed
        shape = torch.broadcast_shapes(law.batch_shape, observed.shape[:-1])
        super().__init__(shape, law.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return self.law.support

    @property
    def mean(self) -> Tensor:
        return self.law.mean

    @property
    def variance(self) -> Tensor:
        return self.law.variance

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> _Observed:
        observed = self.observed.expand(*batch_shape, self.observed.shape[-1])
        return _Observed(self.law.expand(batch_shape), observed)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.law.expand(self.batch_shape).sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return log_prob_of_observed(self.law, value, self.observed)


class SideBySide(TorchDistribution):
    """Independent laws of groups of channels, one group behind the other: event `(channel,)`.

    Parameters
    ----------
    laws: of one time and channel, or of all channels of a group at one time.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012

    def __init__(self, laws: list[TorchDistributionMixin]) -> None:
        self.laws = laws
        self.sizes = [(law.event_shape or law.batch_shape)[-1] for law in laws]
        batch = [law.batch_shape if law.event_shape else law.batch_shape[:-1] for law in laws]
        super().__init__(torch.broadcast_shapes(*batch), torch.Size([sum(self.sizes)]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """One constraint per group."""
        return constraints.cat([_of_values(law.support) for law in self.laws], dim=-1, lengths=self.sizes)

    @property
    def mean(self) -> Tensor:
        """The means of all channels."""
        return torch.cat([law.mean for law in self.laws], -1)

    @property
    def variance(self) -> Tensor:
        """The variances of all channels."""
        return torch.cat([law.variance for law in self.laws], -1)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> SideBySide:
        """The same laws over more batch axes."""
        return SideBySide(
            [law.expand(batch_shape if law.event_shape else (*batch_shape, law.batch_shape[-1])) for law in self.laws]
        )

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """A draw of every group."""
        draws = [law.sample(sample_shape) for law in self.laws]
        return torch.cat([draw.to(draws[0].dtype) for draw in draws], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over groups."""
        return log_prob_of_observed(self, value, torch.ones_like(value, dtype=torch.bool))


def _of_values(support: constraints.Constraint) -> constraints.Constraint:
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support
