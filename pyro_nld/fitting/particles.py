"""The exact posterior by particles: many paths of the guide, weighted and resampled from observation to observation.

The guide proposes, the weights correct it. That gives an unbiased estimate of the evidence p(x), tighter than the ELBO,
and paths of the posterior itself, from which the prior can learn without the guide's errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from ..dynamics.paths import PathDistribution
from ..model.latent_langevin import LatentLangevin
from ..nn import condition_on
from .elbo import paired_traces

SPENT = 0.5  # effective share of the particles below which a sequence is resampled


class Particles(NamedTuple):
    """What a filter returns; one posterior path per sequence."""

    log_evidence: Float[Tensor, "sequence"]  # log p̂(x | globals); E p̂ = p
    latents: dict[str, Tensor]  # globals drawn from the guide, and the path: values by site
    effective: Float[Tensor, "sequence time"]  # effective number of particles at each observation


@torch.no_grad()
def particle_posterior(
    model: LatentLangevin,
    guide: Callable,
    times: Tensor,
    x: Tensor,
    particles: int = 16,
) -> Particles:
    """w ← w · p(z_{i+1} | z_i) p(x_{i+1} | z_{i+1}) / q(z_{i+1} | z_i, x): sequential Monte Carlo with the guide's q.

    Sequences are independent; each is resampled (systematically) when fewer than half of its particles count. One path
    is drawn by weight at the end and traced back through its ancestors.

    Parameters
    ----------
    model, guide: as for any ELBO; globals are drawn from the guide once and not weighted.
    times, x: checked data.
    particles: paths per sequence. With one, `log_evidence` is a draw of the ELBO's integrand.

    References
    ----------
    A. Doucet, A. M. Johansen, A tutorial on particle filtering and smoothing, 2009. Ch. Maddison et al., Filtering
    variational objectives, NeurIPS 2017.
    """
    model_trace, guide_trace = paired_traces(model, guide, times, x)
    drawn = {name: site["value"] for name, site in guide_trace.nodes.items() if site["type"] == "sample"}
    swarm = _Swarm(model, model_trace, guide_trace, x, particles)
    z0, z = swarm.trace_back()
    return Particles(swarm.log_evidence, drawn | {"z0": z0, "z": z}, swarm.effective)


class Steps(NamedTuple):
    """Steps of posterior paths, each with where it came from; paths of neighbouring intervals need not fit together."""

    latents: dict[str, Tensor]  # globals drawn from the guide, values by site
    origins: Float[Tensor, "pick sequence time state"]
    ends: Float[Tensor, "pick sequence time state"]


@torch.no_grad()
def particle_steps(
    model: LatentLangevin, guide: Callable, times: Tensor, x: Tensor, particles: int = 16, picks: int = 4, lag: int = 10
) -> Steps:
    """Steps by fixed-lag smoothing: those of each interval by the weights that particles have `lag` observations later.

    Whole paths share their ancestors long before the end; picked interval by interval, steps are nearly as many
    independent draws as there are picks.

    Parameters
    ----------
    model, guide, times, x, particles: as for `particle_posterior`.
    picks: steps drawn for every one of the grid. lag: observations after which the data say no more of a step.
    """
    model_trace, guide_trace = paired_traces(model, guide, times, x)
    drawn = {name: site["value"] for name, site in guide_trace.nodes.items() if site["type"] == "sample"}
    swarm = _Swarm(model, model_trace, guide_trace, x, particles)
    return Steps(drawn, *swarm.pick(picks, lag))


def complete_log_prob(
    model: LatentLangevin, times: Tensor, x: Tensor, latents: dict[str, Tensor], stride: int = 1
) -> Tensor:
    """log p(x, z, z₀ | globals), summed over sequences: what a prior maximises that learns from drawn paths.

    Parameters
    ----------
    model: as for any ELBO. times, x: checked data.
    latents: values by site, from `particle_posterior`.
    stride: evaluate one random step of the path of every so many (unbiased).
    """
    trace = poutine.trace(poutine.condition(model, data=latents)).get_trace(times, x)
    sites = trace.nodes
    start, data = (sites[name]["fn"].log_prob(sites[name]["value"]) for name in ("z0", "x"))
    return start.sum() + data.sum() + sites["z"]["fn"].log_prob_along(sites["z"]["value"], stride).sum()


class _Piece(NamedTuple):
    """One interval of all particles `(particle, sequence, …)`."""

    path: Tensor
    parent: Tensor  # the particle each one goes on from
    origin: Tensor  # and where that one stood
    log_weight: Tensor  # at the end, since the last resampling


class _Swarm:
    """Particles `(particle, sequence, state)` on their way through the observations."""

    def __init__(
        self, model: LatentLangevin, model_trace: poutine.Trace, guide_trace: poutine.Trace, x: Tensor, particles: int
    ) -> None:
        self.model, self.count = model, particles
        self.seen, self.x = x.isfinite(), x.nan_to_num()
        self.prior, self.posterior = (trace.nodes["z"]["fn"] for trace in (model_trace, guide_trace))
        first, start = (trace.nodes["z0"]["fn"] for trace in (guide_trace, model_trace))
        self.state = first.sample((particles,))
        self.start = self.state
        self.log_weight = start.log_prob(self.state) - first.log_prob(self.state) + self._told(0)
        self.log_evidence = torch.zeros_like(self.log_weight[0])
        self.pieces: list[_Piece] = []
        counts = [self._effective()]
        for step in range(1, x.shape[1]):
            self._advance(step)
            counts.append(self._effective())
        self.effective = torch.stack(counts, -1)
        self.log_evidence = self.log_evidence + self._mean_weight()

    def trace_back(self) -> tuple[Tensor, Tensor]:
        """The initial state and the path of one particle per sequence, drawn by weight."""
        chosen = torch.distributions.Categorical(logits=self.log_weight.mT).sample()
        parts = []
        for piece in reversed(self.pieces):
            parts.append(_chosen(piece.path, chosen))
            chosen = _chosen(piece.parent, chosen)
        return _chosen(self.start, chosen), torch.cat(parts[::-1], -2)

    def pick(self, picks: int, lag: int) -> tuple[Tensor, Tensor]:
        """Origins and ends of steps `(pick, sequence, time, state)`, see `particle_steps`."""
        origins, ends = [], []
        for place, piece in enumerate(self.pieces):
            later = self.pieces[place + 1 : place + 1 + lag]
            weight = (later or [piece])[-1].log_weight
            chosen = torch.distributions.Categorical(logits=weight.mT).sample((picks,))
            for descendant in reversed(later):
                chosen = descendant.parent.gather(0, chosen)
            here = chosen[..., None, None].expand(-1, -1, *piece.path.shape[2:])
            path = piece.path.gather(0, here)
            first = piece.origin.gather(0, here[:, :, 0])
            origins.append(torch.cat([first.unsqueeze(-2), path[..., :-1, :]], -2))
            ends.append(path)
        return torch.cat(origins, -2), torch.cat(ends, -2)

    def _advance(self, step: int) -> None:
        parent = self._resample()
        substeps = self.model.substeps
        index = torch.arange((step - 1) * substeps, step * substeps, device=self.x.device)
        origin = self.state
        proposal: PathDistribution = self.posterior.piece(index, self.state)
        path = proposal.sample()
        ratio = self.prior.piece(index, self.state).log_prob(path) - proposal.log_prob(path)
        self.state = path[..., -1, :]
        self.log_weight = self.log_weight + ratio + self._told(step)
        self.pieces.append(_Piece(path, parent, origin, self.log_weight))

    def _told(self, step: int) -> Tensor:
        """log p(x_i | z_i), `(particle, sequence)`."""
        position = self.model.dynamics.position(self.state).unsqueeze(-2)
        with condition_on(self.model, self.prior.latents):
            density = self.model.likelihood(position).log_prob(self.x[:, step : step + 1])
        return torch.where(self.seen[:, step : step + 1], density, 0.0).sum((-2, -1))

    def _resample(self) -> Tensor:
        """The particle each one goes on from; sequences whose particles still count go on with all of them."""
        spent = self._effective() < SPENT * self.count
        weight = torch.softmax(self.log_weight, 0)
        comb = (torch.rand_like(weight[:1]) + torch.arange(self.count, device=weight.device).unsqueeze(-1)) / self.count
        chosen = torch.searchsorted(weight.cumsum(0).mT.contiguous(), comb.mT.contiguous()).clamp(max=self.count - 1).mT
        same = torch.arange(self.count, device=weight.device).unsqueeze(-1).expand_as(chosen)
        parent = torch.where(spent, chosen, same)
        self.log_evidence = self.log_evidence + torch.where(spent, self._mean_weight(), 0.0)
        self.log_weight = torch.where(spent, 0.0, self.log_weight)
        self.state = self.state.gather(0, parent.unsqueeze(-1).expand_as(self.state))
        return parent

    def _mean_weight(self) -> Tensor:
        return self.log_weight.logsumexp(0) - math.log(self.count)

    def _effective(self) -> Tensor:
        return 1 / torch.softmax(self.log_weight, 0).square().sum(0)


def _chosen(values: Tensor, which: Tensor) -> Tensor:
    """Of `(particle, sequence, …)`, one particle per sequence."""
    return values[which, torch.arange(len(which), device=which.device)]
