"""A particle filter: many paths drawn from the guide, weighted and resampled from one observation to the next.

The weights correct the errors of the guide. The filter gives an unbiased estimate of the evidence p(x), whose logarithm
is a tighter bound than the ELBO, and paths of the exact posterior, from which the prior can learn.

Examples
--------
The evidence of a harmonic well in noise, which Kalman's filter gives exactly. The guide is not fitted:

>>> _ = torch.manual_seed(1)
>>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=3, interval=0.5, noise=1.0)
>>> motion = nld.OverdampedLangevin(nld.Quadratic([1.0]))
>>> model = nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1), 1.0), time_unit=1.0, start="equilibrium")
>>> guide = nld.AmortizedGuide(model, nld.GRUEncoder(1))
>>> found = nld.particles.particle_posterior(model, guide, *nld.as_tensors(data), particles=4000)
>>> exact = nld.oracles.ornstein_uhlenbeck_posterior(data)["log_evidence"]
>>> f"log p(x) per sequence: {float(found.log_evidence.mean()):.1f}, exactly {float(exact.mean()):.1f}"
'log p(x) per sequence: -4.6, exactly -4.6'
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
from ..model.missing import filled, log_prob_of_observed
from ..nn import condition_on
from .elbo import paired_traces

RESAMPLING_THRESHOLD = 0.5  # effective number of particles, as a share of all, below which a sequence is resampled


class Particles(NamedTuple):
    """The result of a filter, with one posterior path per sequence."""

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

    Sequences are independent of each other. A sequence is resampled (systematically) when the effective number of its
    particles falls below half of them. At the end one path is drawn by weight and traced back through its ancestors.

    Parameters
    ----------
    model, guide: as for any ELBO; globals are drawn from the guide once and are not weighted.
    times: `(sequence, time)`, user's unit. x: `(sequence, time, channel)`, NaN where missing.
    particles: paths per sequence. With one, `log_evidence` is a draw of the integrand of the ELBO.

    Returns
    -------
    `log_evidence (sequence)`, nats; `latents`, the globals and one path per sequence; `effective (sequence, time)`, the
    effective number of particles.

    References
    ----------
    A. Doucet, A. M. Johansen, A tutorial on particle filtering and smoothing, 2009. Ch. Maddison et al., Filtering
    variational objectives, NeurIPS 2017.
    """
    model_trace, guide_trace = paired_traces(model, guide, times, x)
    drawn = {name: site["value"] for name, site in guide_trace.nodes.items() if site["type"] == "sample"}
    filtered = _ParticleFilter(model, model_trace, guide_trace, x, particles)
    z0, z = filtered.trace_back()
    return Particles(filtered.log_evidence, drawn | {"z0": z0, "z": z}, filtered.effective)


class Steps(NamedTuple):
    """Steps of posterior paths, each with its origin. Paths of neighbouring intervals need not fit together."""

    latents: dict[str, Tensor]  # globals drawn from the guide, values by site
    origins: Float[Tensor, "pick sequence time state"]
    ends: Float[Tensor, "pick sequence time state"]


@torch.no_grad()
def particle_steps(
    model: LatentLangevin, guide: Callable, times: Tensor, x: Tensor, particles: int = 16, picks: int = 4, lag: int = 10
) -> Steps:
    """Draw steps by fixed-lag smoothing: each interval by the weights of the particles `lag` observations later.

    Whole paths of a filter share their ancestors long before the end. Steps that are picked interval by interval are
    nearly independent draws.

    Parameters
    ----------
    model, guide, times, x, particles: as for `particle_posterior`.
    picks: draws of every step of the time grid. lag: number of later observations that inform about a step.
    """
    model_trace, guide_trace = paired_traces(model, guide, times, x)
    drawn = {name: site["value"] for name, site in guide_trace.nodes.items() if site["type"] == "sample"}
    filtered = _ParticleFilter(model, model_trace, guide_trace, x, particles)
    return Steps(drawn, *filtered.pick(picks, lag))


def complete_log_prob(
    model: LatentLangevin, times: Tensor, x: Tensor, latents: dict[str, Tensor], stride: int = 1
) -> Tensor:
    """log p(x, z, z₀ | globals), summed over sequences: the objective of a prior that learns from drawn paths.

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
    """The paths of all particles through one interval, `(particle, sequence, …)`."""

    path: Tensor
    parent: Tensor  # index of the particle that each one continues
    origin: Tensor  # the state of that particle at the start of the interval
    log_weight: Tensor  # at the end, since the last resampling


class _ParticleFilter:
    """Particles `(particle, sequence, state)`, moved through the observations one after the other."""

    def __init__(
        self, model: LatentLangevin, model_trace: poutine.Trace, guide_trace: poutine.Trace, x: Tensor, particles: int
    ) -> None:
        self.model, self.count = model, particles
        self.observed, self.x = x.isfinite(), x
        self.prior, self.posterior = (trace.nodes["z"]["fn"] for trace in (model_trace, guide_trace))
        first, start = (trace.nodes["z0"]["fn"] for trace in (guide_trace, model_trace))
        self.state = first.sample((particles,))
        self.start = self.state
        seen = model.dynamics.position(self.state)
        self.log_weight = start.log_prob(self.state) - first.log_prob(self.state) + self._log_likelihood(0, seen)
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
        seen = self.model.seen_positions(origin, path)[..., -1, :]
        self.log_weight = self.log_weight + ratio + self._log_likelihood(step, seen)
        self.pieces.append(_Piece(path, parent, origin, self.log_weight))

    def _log_likelihood(self, step: int, seen: Tensor) -> Tensor:
        """log p(x_i | q_i) `(particle, sequence)`; `seen (particle, sequence, latent)` of the position."""
        x, observed = (values[:, step : step + 1] for values in (self.x, self.observed))
        with condition_on(self.model, self.prior.latents):
            law = self.model.likelihood(seen.unsqueeze(-2))
            return log_prob_of_observed(law, filled(x, law), observed).sum(-1)

    def _resample(self) -> Tensor:
        """The index of the particle that each one continues; sequences above the threshold keep all of theirs."""
        exhausted = self._effective() < RESAMPLING_THRESHOLD * self.count
        weight = torch.softmax(self.log_weight, 0)
        grid = (torch.rand_like(weight[:1]) + torch.arange(self.count, device=weight.device).unsqueeze(-1)) / self.count
        chosen = torch.searchsorted(weight.cumsum(0).mT.contiguous(), grid.mT.contiguous()).clamp(max=self.count - 1).mT
        same = torch.arange(self.count, device=weight.device).unsqueeze(-1).expand_as(chosen)
        parent = torch.where(exhausted, chosen, same)
        self.log_evidence = self.log_evidence + torch.where(exhausted, self._mean_weight(), 0.0)
        self.log_weight = torch.where(exhausted, 0.0, self.log_weight)
        self.state = self.state.gather(0, parent.unsqueeze(-1).expand_as(self.state))
        return parent

    def _mean_weight(self) -> Tensor:
        return self.log_weight.logsumexp(0) - math.log(self.count)

    def _effective(self) -> Tensor:
        return 1 / torch.softmax(self.log_weight, 0).square().sum(0)


def _chosen(values: Tensor, which: Tensor) -> Tensor:
    """One particle per sequence, of values `(particle, sequence, …)`."""
    return values[which, torch.arange(len(which), device=which.device)]
