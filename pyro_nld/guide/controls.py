"""Controls: how a guide steers the posterior path, given the contexts of the observations around each step.

A control resolves its action *inside* every observation interval, because the exact posterior's control grows
towards each observation like a sawtooth; it reads the contexts at both ends of the interval. With a causal encoder the
context at the far end still sees nothing later than that observation, so the state at an observation depends on the
past alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from ..dynamics.equations import Dynamics
from ..dynamics.paths import ControlledPath, Forces, Path, Plan, run, run_linear
from ..dynamics.recursion import matvec
from ..nn import Part

Contexts = Float[Tensor, "*batch time context"]

MANY_AXES = 10  # of which latent² numbers per step are no longer worth their price


class Control(Part):
    """The contract: it gets the sizes once (`prepare`), then turns contexts into a plan for every batch."""

    @abstractmethod
    def prepare(self, context: int, dynamics: Dynamics, substeps: int) -> None:
        """Create the parameters for these sizes."""

    @abstractmethod
    def refine(self, substeps: int) -> None:
        """Go on with another number of substeps, deciding about as before."""

    @abstractmethod
    def plan(self, contexts: Contexts, gaps: Float[Tensor, "*batch interval"]) -> Plan:
        """Decide for one batch: contexts at the observations, and the intervals between these in model units."""


class AffineControl(Control):
    """Posterior force Λ_t (m_t − q) − N_t p, with Λ, N and m read from the contexts (N for momenta only).

    Every substep of an interval has its own (Λ, m, N) and its own noise, which the axes share. The path is then a
    linear recursion: no network in the loop, and the prior's gradient is evaluated once, on the whole path. On a
    linear-Gaussian problem this family contains the exact posterior.

    Parameters
    ----------
    hidden: width of the hidden layer between contexts and control.
    coupled: whether an axis may act on another. Where several channels see mixtures of the axes they do so in the
        posterior, and a guide that cannot say it teaches the prior wrong depths and times. Costs latent² numbers per
        step, dear to compute and to learn; None: where there are fewer than ten axes.
    """

    def __init__(self, hidden: int = 64, coupled: bool | None = None) -> None:
        super().__init__()
        self.hidden, self.coupled = hidden, coupled

    def prepare(self, context: int, dynamics: Dynamics, substeps: int) -> None:
        """Create the network from two contexts to all substeps of an interval."""
        self.substeps, self.latent, self.parts = substeps, dynamics.latent, dynamics.state // dynamics.latent
        self.each = self.latent**2 if self._couples else self.latent  # numbers in a gain
        self.network = nn.Sequential(nn.Linear(2 * context + 1, self.hidden), nn.Tanh(), self._last(substeps))

    def refine(self, substeps: int) -> None:
        """Split steps: a part of one has its target and the same spring, so a gain and noise in proportion."""
        old = cast(nn.Linear, self.network[-1])
        new = self._last(substeps).to(old.weight)
        source = torch.arange(substeps) * self.substeps // substeps
        finer = math.log(substeps / self.substeps)
        # In units of a step's own length, a spring is of first order in h without momenta and of second with them.
        shift = old.bias.new_zeros(self.latent + (1 + self.parts) * self.each)
        noise, position, *momentum = shift[self.latent :].split(self.each)
        stride = self.latent + 1 if self._couples else 1
        noise[::stride] = finer
        position[::stride] = -self.parts * finer
        for gain in momentum:
            gain[::stride] = -finer
        with torch.no_grad():
            new.weight.copy_(old.weight.unflatten(0, (self.substeps, -1))[source].flatten(0, 1))
            new.bias.copy_((old.bias.unflatten(0, (self.substeps, -1))[source] + shift).flatten())
        self.substeps = substeps
        self.network[-1] = new

    def _last(self, substeps: int) -> nn.Linear:
        return nn.Linear(self.hidden, substeps * (self.latent + (1 + self.parts) * self.each))

    @property
    def _couples(self) -> bool:
        return 1 < self.latent < MANY_AXES if self.coupled is None else self.coupled and self.latent > 1

    def plan(self, contexts: Contexts, gaps: Float[Tensor, "*batch interval"]) -> Plan:
        """Targets, gains and noise for all substeps of all intervals at once."""
        fields = self.network(_both_ends(contexts, gaps)).unflatten(-1, (self.substeps, -1)).flatten(-3, -2)
        target, noise, *gains = fields.split([self.latent] + (1 + self.parts) * [self.each], -1)
        # A gain is the share of a gap that one step closes. Starting at 0.27, paths follow their targets within an
        # interval; starting the noise ratio at 0.95 leaves the prior's noise almost alone.
        if not self._couples:
            return _AffinePlan(target, [_Gain(_root_share(gain)) for gain in gains], torch.sigmoid(noise + 3))
        noise, *gains = (field.unflatten(-1, (self.latent, self.latent)) for field in (noise, *gains))
        ratio = torch.sigmoid(noise.diagonal(dim1=-2, dim2=-1) + 3)
        eye = torch.eye(self.latent, dtype=noise.dtype, device=noise.device)
        # Where the noise stays the prior's, there is nothing to share.
        mixing = eye + noise * torch.ones_like(eye).tril(-1) * _outer((1 - ratio).sqrt())
        couplings = [torch.where(eye > 0, 1.0, torch.tanh(gain)) for gain in gains]
        shares = [_root_share(gain.diagonal(dim1=-2, dim2=-1)) for gain in gains]
        return _AffinePlan(target, [_Gain(*gain) for gain in zip(shares, couplings, strict=True)], ratio, mixing)


def _root_share(raw: Tensor) -> Tensor:
    """The square root of a share, sigmoid(raw − 1), whose slope is finite where the share vanishes."""
    return (0.5 * logsigmoid(raw - 1)).exp()


def _outer(vector: Tensor) -> Tensor:
    return vector.unsqueeze(-1) @ vector.unsqueeze(-2)  # as a product of matrices its gradient needs no reductions


class _Gain(NamedTuple):
    """diag(root) · coupling · diag(root), or diag(root²) where axes do not act on each other.

    A matrix of shares on its diagonal, and off it less than the geometric mean of two of them, so that paths stay put.
    """

    root: Tensor
    coupling: Tensor | None = None

    def times(self, unit: Tensor) -> Tensor:
        """The gain in units of `unit`², one per axis or shared: a matrix, or its diagonal."""
        scaled = self.root * unit
        return scaled.square() if self.coupling is None else self.coupling * _outer(scaled)

    def at(self, index: Tensor) -> _Gain:
        return _Gain(self.root[..., index, :], None if self.coupling is None else self.coupling[..., index, :, :])


class _AffinePlan:
    def __init__(self, target: Tensor, gains: list[_Gain], ratio: Tensor, mixing: Tensor | None = None) -> None:
        self.target, self.gains, self.ratio, self.mixing = target, gains, ratio, mixing

    def force(self, path: ControlledPath, origins: Path) -> Tensor:
        feedback, offset = self.law(path)
        for gain, part in zip(feedback, origins.split(path.dynamics.latent, -1), strict=True):
            offset = offset - self._apply(gain, part)
        return offset

    def law(self, path: ControlledPath) -> tuple[list[Tensor], Tensor]:
        """Force = offset − Σ feedback · (position, momentum)."""
        spring, *drags = self.gains
        stiffness = spring.times(path.integrator.unit_stiffness(path.dynamics, path.grid.h).sqrt())
        return [stiffness, *(drag.times(path.grid.h.rsqrt()) for drag in drags)], self._apply(stiffness, self.target)

    def draw(self, path: ControlledPath, noise: Tensor) -> tuple[Path, Forces | None]:
        return run_linear(path, *self.law(path), noise), None

    def at(self, index: Tensor) -> Plan:
        mixing = None if self.mixing is None else self.mixing[..., index, :, :]
        gains = [gain.at(index) for gain in self.gains]
        return _AffinePlan(self.target[..., index, :], gains, self.ratio[..., index, :], mixing)

    def _apply(self, gain: Tensor, vector: Tensor) -> Tensor:
        return gain * vector if self.mixing is None else matvec(gain, vector)


class NeuralControl(Control):
    """Posterior force = prior force + f(z, contexts, time within the interval): the paper's eq. 16 and 18.

    The most flexible control, and the dearest: a network in every step of the loop.

    Parameters
    ----------
    hidden: width of the two hidden layers.
    gain: initial weights relative to the default; the paper starts at 0.2, close to the prior.
    """

    def __init__(self, hidden: int = 128, gain: float = 0.2) -> None:
        super().__init__()
        self.hidden, self.gain = hidden, gain

    def prepare(self, context: int, dynamics: Dynamics, substeps: int) -> None:
        """Create the network f."""
        self.substeps = substeps
        self.from_context = nn.Linear(2 * context + 1, self.hidden)
        self.from_clock = nn.Linear(1, self.hidden, bias=False)
        self.from_state = nn.Linear(dynamics.state, self.hidden, bias=False)
        self.inner = nn.Linear(self.hidden, self.hidden)
        self.outer = nn.Linear(self.hidden, dynamics.latent)
        self.reset_parameters()

    def refine(self, substeps: int) -> None:
        """The clock tells f where in the interval it is, in steps of any length."""
        self.substeps = substeps

    def reset_parameters(self) -> None:
        """Scale down what the layers have just drawn for themselves."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(self.gain)

    def plan(self, contexts: Contexts, gaps: Float[Tensor, "*batch interval"]) -> Plan:
        """Project contexts and clock once for all steps; the loop then adds the state."""
        clock = torch.arange(self.substeps, dtype=contexts.dtype, device=contexts.device) / self.substeps
        projected = self.from_context(_both_ends(contexts, gaps)).unsqueeze(-2) + self.from_clock(clock.unsqueeze(-1))
        return _NeuralPlan(self, projected.flatten(-3, -2))

    def respond(self, projected: Tensor, state: Tensor) -> Tensor:
        """f for projected contexts `(*batch, time, hidden)` and states `(*batch, time, state)`."""
        return self.outer(softplus(self.inner(softplus(projected + self.from_state(state)))))


class _NeuralPlan:
    def __init__(self, control: NeuralControl, projected: Tensor) -> None:
        self.control, self.projected = control, projected
        self.ratio = torch.ones((), dtype=projected.dtype, device=projected.device)
        self.mixing: Tensor | None = None

    def force(self, path: ControlledPath, origins: Path) -> Tensor:
        return path.dynamics.force(origins) + self.control.respond(self.projected, origins)

    def draw(self, path: ControlledPath, noise: Tensor) -> tuple[Path, Forces | None]:
        projected = iter(self.projected.split(1, -2))
        forces = []

        def force(state: Tensor) -> Tensor:
            prior = path.dynamics.force(state)
            forces.append(Forces(prior, prior + self.control.respond(next(projected), state)))
            return forces[-1].posterior

        drawn = run(path, force, noise)
        return drawn, Forces(*(torch.cat(part, -2) for part in zip(*forces, strict=True)))

    def at(self, index: Tensor) -> Plan:
        return _NeuralPlan(self.control, self.projected[..., index, :])


def _both_ends(contexts: Tensor, gaps: Tensor) -> Tensor:
    """Contexts at both ends of every interval and the log of its length, `(*batch, interval, 2 context + 1)`."""
    length = gaps.log().unsqueeze(-1).expand(*contexts.shape[:-2], -1, 1)
    return torch.cat([contexts[..., :-1, :], contexts[..., 1:, :], length], -1)
