"""p(z₀) ∝ exp(−U(q₀)/T) N(p₀; 0, M T): sequences that start in equilibrium.

Where sequences start then says how deep the wells are; without this law only the crossings of the paths say so. The
normalisation is found by importance sampling, from a Gaussian that follows the density while it is learned.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal, constraints

from ..nn import Part
from .equations import Dynamics
from .paths import NO_SHAPE

IMPORTANCE_POINTS = 4096  # drawn from the Gaussian at every call
PROPOSAL_WIDTH = 1.5  # of the Gaussian, relative to the density, whose tails it must not miss
ADAPTATION_RATE = 0.05  # share of the way to the density's moments that the Gaussian goes at every call


class StationaryLaw(Part):
    """p(z₀) ∝ exp(−U(q₀)/T), normalised with a Gaussian that every call adapts while gradients are enabled."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(latent))
        self.register_buffer("covariance", torch.eye(latent))

    def distribution(self, dynamics: Dynamics) -> StationaryDistribution:
        """p(z₀). The random quantities of the dynamics must have been drawn."""
        wide = MultivariateNormal(self.loc, PROPOSAL_WIDTH**2 * self.covariance)
        found = StationaryDistribution(dynamics, wide, wide.sample((IMPORTANCE_POINTS,)))
        if torch.is_grad_enabled():
            self._adapt(found)
        return found

    @torch.no_grad()
    def _adapt(self, found: StationaryDistribution) -> None:
        weight = found.log_weight.softmax(-1).reshape(-1, IMPORTANCE_POINTS).mean(0)
        if bool(weight.isfinite().all()):
            loc = weight @ found.points
            offset = found.points - loc
            self.loc.lerp_(loc, ADAPTATION_RATE)
            self.covariance.lerp_((offset * weight.unsqueeze(-1)).mT @ offset, ADAPTATION_RATE)


class StationaryDistribution(TorchDistribution):
    """p(z) = exp(−U(q)/T) N(p; 0, M T)/Z with Z = ⟨exp(−U/T)/g⟩, averaged over points drawn from g.

    Draws are these points, resampled by weight. They are good where many points have a weight that counts.

    Parameters
    ----------
    dynamics: its random quantities have been drawn.
    proposal: g, a law of positions.
    points: drawn from it, `(point, latent)`.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, dynamics: Dynamics, proposal: MultivariateNormal, points: Tensor) -> None:
        self.dynamics, self.points, self.thermal = dynamics, points, dynamics.thermal_scale()
        still = points.new_zeros(len(points), dynamics.state - dynamics.latent)
        density = dynamics.stationary_log_density(torch.cat([points, still], -1))
        self.log_weight = density - proposal.log_prob(points)
        momentum = (self.thermal.log() + 0.5 * math.log(2 * math.pi)).sum(-1)
        self.log_norm = self.log_weight.logsumexp(-1) - math.log(len(points)) + momentum
        super().__init__(self.log_norm.shape, torch.Size([dynamics.state]), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """−U/T − p²/(2 M T) − log Z."""
        return self.dynamics.stationary_log_density(value.unsqueeze(-2)).squeeze(-1) - self.log_norm

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> StationaryDistribution:
        """The same law for a larger batch."""
        wider = copy.copy(self)
        wider._batch_shape = torch.Size(batch_shape)
        return wider

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = NO_SHAPE) -> Tensor:
        """Positions: the points, drawn by weight. Momenta: new ones from N(0, M T)."""
        law = Categorical(logits=self.log_weight).expand(self.batch_shape)
        position = self.points[law.sample(sample_shape)]
        momentum = self.thermal * torch.randn(*position.shape[:-1], self.thermal.shape[-1]).to(position)
        return torch.cat([position, momentum], -1)
