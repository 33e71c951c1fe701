"""Exact draws from exp(−U(z)/T): generalised Hamiltonian Monte Carlo, MALA as its shortest case, jumps between wells.

All chains share one step, adapted during warmup only; every move ends in a Metropolis test, so that it leaves no error.

Examples
--------
In a harmonic well of stiffness k = 4 the variance is T/k = 0.25:

>>> drawn = nld.samplers.mala(nld.Quadratic([4.0]), torch.zeros(200, 1), temperature=1.0, draws=100, warmup=50, seed=0)
>>> round(drawn["position"].var().item(), 2)
0.25
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal

from ..dynamics.potentials import Energy, energy_and_gradient, gradient, in_double
from ..errors import FitError, PriorError, ShapeError

EVERY = 5  # moves from one jump to the next
JITTER = 0.5  # of a trajectory's length, relative: all of one length come back, or swing from side to side, for ever
START = 0.01  # first ε: who starts on a steep wall comes down before the common step is too long for it
STUCK = 0.01  # mean acceptance below which a run is no sample


class Mixture(NamedTuple):
    """q(z) = Σ_k w_k N(z; m_k, C_k), from which jumps are proposed: for example the minima of U, with C = T H⁻¹."""

    weights: Float[Tensor, "state"]  # w ≥ 0, normalised when used
    means: Float[Tensor, "state latent"]  # m, length
    covariances: Float[Tensor, "state latent latent"]  # C, positive definite, length²


def mala(
    potential: Energy,
    starts: Tensor,
    *,
    temperature: float = 1.0,
    draws: int = 500,
    warmup: int = 500,
    jumps: Mixture | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """z' = z − ½ (εS)² ∇U(z)/T + εS ξ, accepted or not: the Metropolis-adjusted Langevin algorithm.

    It is `hmc` with one leap from a fresh momentum: arguments, result and errors are the same, but ε is adapted to an
    acceptance of 0.57 (Roberts, Rosenthal, Journal of the Royal Statistical Society B 60:255–268, 1998).
    """
    return _run(_Chains(potential, starts, temperature, 1, 0.0, jumps, seed), draws, warmup, goal=0.57)


def hmc(
    potential: Energy,
    starts: Tensor,
    *,
    temperature: float = 1.0,
    draws: int = 500,
    warmup: int = 500,
    leaps: int = 5,
    persistence: float = 0.5,
    jumps: Mixture | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """p ← αp + √(1 − α²) ξ, then leapfrog along dz = Sp dt, dp = −S∇U(z)/T dt: accepted, or else p ← −p.

    S holds the standard deviations of the starts; their mean where an axis has none, 1 where no axis has any.

    Parameters
    ----------
    potential: U, maps `(chain, latent)` to `(chain,)`, energy. A module is evaluated in a float64 copy.
    starts: one per chain, `(chain, latent)`, length; for example encoded data.
    temperature: T > 0, in the unit of U. seed: of a random generator of its own.
    draws: kept of each chain. warmup: moves before them, during which ε is adapted to an acceptance of 0.8.
    leaps: per move, of a length drawn from (1 ± 0.5) ε. persistence: α in [0, 1), what a momentum keeps between moves.
    jumps: when given, each fifth move is followed by a Metropolis test of a draw from it, which no barrier hinders.

    Returns
    -------
    `position (chain, draw, latent)`; `acceptance (chain)` and `jump_acceptance (chain)`, mean probabilities, the latter
    NaN without jumps. attrs: `step`, ε, and `temperature`.

    Raises
    ------
    PriorError: T is not positive, or a covariance is not positive definite. ShapeError: axes do not fit.
    FitError: a setting is impossible, an energy is not finite at its start, or hardly any move is accepted.

    Not checked: whether the chains agree; ask R̂ and the ESS. Source: Horowitz, Physics Letters B 268:247–252, 1991.
    """
    return _run(_Chains(potential, starts, temperature, leaps, persistence, jumps, seed), draws, warmup, goal=0.8)


def _run(chains: _Chains, draws: int, warmup: int, goal: float) -> xr.Dataset:
    if min(draws, chains.leaps) < 1 or warmup < 0 or not 0 <= chains.keep < 1:
        got = f"{draws}, {chains.leaps}, {warmup} and {chains.keep}"
        raise FitError(f"draws and leaps must be ≥ 1, warmup ≥ 0, persistence in [0, 1): got {got}. Try the defaults.")
    log_steps, falls = [math.log(START)], 0
    with torch.no_grad():
        for turn in range(warmup):  # Robbins–Monro, at full gain until the first move that accepts too little
            excess = float(chains.advance(turn, math.exp(log_steps[-1]))[1].mean()) - goal
            falls += excess < 0
            log_steps.append(log_steps[-1] + excess / (falls + 1) ** 0.6)
        step = math.exp(sum(late := log_steps[len(log_steps) // 2 :]) / len(late))
        position, chance, jump_chance = zip(*(chains.advance(turn, step) for turn in range(draws)), strict=True)
    acceptance = torch.stack(chance, 1).mean(1)
    if (share := float(acceptance.mean())) < STUCK:
        raise FitError(f"chains accept {share:.2%} of their moves: no sample. Give more warmup, or starts near minima.")
    variables = {
        "position": (("chain", "draw", "latent"), torch.stack(position, 1).cpu().numpy()),
        "acceptance": ("chain", acceptance.cpu().numpy()),
        "jump_acceptance": ("chain", torch.stack(jump_chance, 1).nanmean(1).cpu().numpy()),
    }
    return xr.Dataset(variables, attrs={"step": step, "temperature": chains.temperature})


class _State(NamedTuple):
    position: Tensor  # (chain, latent)
    momentum: Tensor  # (chain, latent), in units of its own spread
    energy: Tensor  # (chain,), U/T
    slope: Tensor  # (chain, latent), ∇U/T


class _Chains:
    """Where all chains are. Moves and jumps both leave exp(−U/T) N(p; 0, 1) as it is."""

    def __init__(
        self, u: Energy, starts: Tensor, temperature: float, leaps: int, keep: float, jumps: Mixture | None, seed: int
    ) -> None:
        if starts.dim() != 2 or not starts.numel():
            raise ShapeError(f"starts must be (chain, latent), not empty: got {tuple(starts.shape)}. Reshape them.")
        if not 0 < temperature < math.inf:
            raise PriorError(f"temperature must be positive and finite: got {temperature}. Give it in the unit of U.")
        self.u = in_double(u)
        self.temperature, self.leaps, self.keep = temperature, leaps, keep
        position, random = starts.detach().double(), torch.Generator(starts.device).manual_seed(seed)
        self.noise: dict[str, Any] = {"generator": random, "dtype": position.dtype, "device": position.device}
        self.scale, self.jumps = _scale(position), None if jumps is None else _checked(jumps, position)
        with torch.no_grad():
            self.state = self._at(position, torch.randn(position.shape, **self.noise))
        if wrong := (~self.state.energy.isfinite()).nonzero().flatten().tolist():
            got = f"chain {wrong[0]} starts at {float(self.state.energy[wrong[0]])}"
            raise FitError(f"every chain must start at a finite energy: {got}. Drop that start, or move it.")

    def advance(self, turn: int, step: float) -> tuple[Tensor, Tensor, Tensor]:
        """A move, and now and then a jump: the positions after it, and both probabilities of acceptance, `(chain,)`."""
        chance = self._move(step)
        jumped = self._jump(*self.jumps) if self.jumps and turn % EVERY == 0 else torch.full_like(chance, torch.nan)
        return self.state.position, chance, jumped

    def _move(self, step: float) -> Tensor:
        z, old, _, slope = self.state
        momentum = self.keep * old + math.sqrt(1 - self.keep**2) * torch.randn(old.shape, **self.noise)
        length = step * self.scale * (1 + JITTER * (self.leaps > 1) * (2 * torch.rand(len(z), 1, **self.noise) - 1))
        half = momentum - 0.5 * length * slope
        z = z + length * half
        for _ in range(self.leaps - 1):
            half = half - length * gradient(self.u, z) / self.temperature
            z = z + length * half
        there = self._at(z, half)
        there = there._replace(momentum=half - 0.5 * length * there.slope)
        change = 0.5 * (momentum.square() - there.momentum.square()).sum(-1)
        gain = self.state.energy - there.energy + change
        # Who stays turns round: without it a momentum that persists would not leave the density as it is.
        return self._choose(self.state._replace(momentum=-momentum), there, gain)

    def _jump(self, weights: Tensor, wells: MultivariateNormal) -> Tensor:
        here = self.state
        state = torch.multinomial(weights, len(here.energy), replacement=True, generator=self.noise["generator"])
        noise = wells.scale_tril[state] @ torch.randn(*here.position.shape, 1, **self.noise)
        there = self._at(wells.loc[state] + noise.squeeze(-1), here.momentum)
        log_q = [(weights.log() + wells.log_prob(at.position.unsqueeze(-2))).logsumexp(-1) for at in (here, there)]
        return self._choose(here, there, here.energy - there.energy + log_q[0] - log_q[1])

    def _choose(self, stay: _State, go: _State, log_ratio: Tensor) -> Tensor:
        """Metropolis' test; nobody goes where U or ∇U is not a number."""
        chance = torch.where(log_ratio.isfinite() & go.slope.isfinite().all(-1), log_ratio.clamp(max=0).exp(), 0.0)
        gone = torch.rand(chance.shape, **self.noise) < chance
        pairs = zip(stay, go, strict=True)
        self.state = _State(*(torch.where(gone.view(-1, *[1] * (b.dim() - 1)), b, a) for a, b in pairs))
        return chance

    def _at(self, z: Tensor, momentum: Tensor) -> _State:
        energy, slope = energy_and_gradient(self.u, z)
        return _State(z, momentum, energy / self.temperature, slope / self.temperature)


def _scale(starts: Tensor) -> Tensor:
    """The starts' standard deviation per axis, `(latent,)`; the mean of the others where there is none."""
    spread = starts.std(0, correction=0)
    known = spread > 1e-9 * starts.abs().amax(0)
    return torch.where(known, spread, spread[known].mean() if bool(known.any()) else 1.0)


def _checked(jumps: Mixture, starts: Tensor) -> tuple[Tensor, MultivariateNormal]:
    k, d = len(jumps.weights), starts.shape[-1]
    if jumps.means.shape != (k, d) or jumps.covariances.shape != (k, d, d):
        got = f"{tuple(jumps.means.shape)} and {tuple(jumps.covariances.shape)}"
        raise ShapeError(f"jumps need means ({k}, {d}) and covariances ({k}, {d}, {d}): got {got}. Match the weights.")
    weights, means, covariances = (part.detach().to(starts) for part in jumps)
    factors, failed = torch.linalg.cholesky_ex(covariances)
    if wrong := failed.nonzero().flatten().tolist():
        raise PriorError(f"covariances of jumps must be positive definite: that of state {wrong[0]} is not. Drop it.")
    return weights, MultivariateNormal(means, scale_tril=factors)
