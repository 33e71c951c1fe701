"""Controls: how a guide steers the posterior path, given the contexts of the observations around each step.

A control varies *inside* every observation interval, because the control of the exact posterior is a sawtooth that
rises towards each observation. It reads the contexts at both ends of the interval. With a causal encoder, the context
at the later end depends on nothing after that observation, so that the state at an observation depends on the past
alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from ..dynamics.circles import circles_of
from ..dynamics.equations import Dynamics
from ..dynamics.paths import ControlledPath, Forces, Path, Plan, drives, run, run_linear
from ..dynamics.recursion import matvec
from ..errors import Amount, Count, PriorError, checked
from ..nn import Part

Contexts = Float[Tensor, "*batch time context"]

MANY_AXES = 10  # from which on latent² numbers per step cost more than they gain


class Control(Part):
    """The contract: from contexts to a plan, which holds the force and the noise of the posterior for one batch.

    Examples
    --------
    A control that adds no force, so that the posterior is the prior and its KL divergence is zero:

    >>> from pyro_nld.dynamics.paths import refine, run
    >>> class Unchanged:
    ...     ratio, mixing = torch.ones(()), None
    ...     def force(self, path, origins):
    ...         return path.dynamics.force(origins)
    ...     def draw(self, path, noise):
    ...         return run(path, path.dynamics.force, noise), None
    ...     def at(self, index):
    ...         return self
    >>> class Free(nld.Control):
    ...     def prepare(self, context, dynamics, substeps):
    ...         self.substeps = substeps
    ...     def refine(self, substeps):
    ...         self.substeps = substeps
    ...     def plan(self, contexts, gaps):
    ...         return Unchanged()
    >>> plan = Free().plan(contexts=torch.zeros(1, 11, 4), gaps=torch.full((1, 10), 0.1))
    >>> prior, grid = nld.OverdampedLangevin(nld.DoubleWell()), refine(torch.linspace(0.0, 1.0, 11), substeps=5)
    >>> path = prior, nld.EulerMaruyama(), torch.zeros(1, 1), grid
    >>> torch.distributions.kl_divergence(nld.ControlledPath(*path, plan), nld.LangevinPath(*path)).item()
    0.0
    """

    @abstractmethod
    def prepare(self, context: int, dynamics: Dynamics, substeps: int) -> None:
        """Create the parameters for these sizes."""

    @abstractmethod
    def refine(self, substeps: int) -> None:
        """Change the number of substeps. The plans stay about the same."""

    @abstractmethod
    def plan(self, contexts: Contexts, gaps: Float[Tensor, "*batch interval"]) -> Plan:
        """The plan for one batch, from contexts at the observations and the intervals between them in model units."""


@checked
class AffineControl(Control):
    """F_t(q, p) = Λ_t (m_t − q) − N_t p: a linear force, with Λ, m and N from the contexts (N only with momenta).

    Every substep of an interval has its own Λ, m and N, and its own noise, which the axes share. The path is then a
    linear recursion. No network is in the loop, and the gradient of U is evaluated once, on the whole path. For a
    linear-Gaussian problem this family contains the exact posterior.

    Parameters
    ----------
    hidden: width of the hidden layer between contexts and control.
    coupled: whether the axes act on each other. They do so in the posterior where several channels mix the axes, and a
        guide without it teaches the prior wrong depths and times. It takes latent² numbers per step, which cost time
        and data. When None, axes are coupled if there are fewer than ten of them.

    Examples
    --------
    Ten intervals of five substeps: each step has a target m and a noise relative to that of the prior.

    >>> control = nld.AffineControl(hidden=16)
    >>> control.prepare(context=4, dynamics=nld.OverdampedLangevin(nld.DoubleWell()), substeps=5)
    >>> plan = control.plan(contexts=torch.zeros(1, 11, 4), gaps=torch.full((1, 10), 0.1))
    >>> plan.target.shape  # sequence, time, latent
    torch.Size([1, 50, 1])
    >>> bool((plan.ratio < 1).all())  # a posterior is narrower than its prior
    True
    """

    def __init__(self, hidden: Count = 64, coupled: bool | None = None) -> None:
        super().__init__()
        self.hidden, self.coupled = hidden, coupled

    def prepare(self, context: int, dynamics: Dynamics, substeps: int) -> None:
        """Create the network, which maps two contexts to all substeps of the interval between them.

        Raises
        ------
        PriorError: the noise of the dynamics depends on the position, or an axis is a circle.
        """
        if circles := circles_of(dynamics.landscape):
            raise PriorError(
                "AffineControl pulls towards a place on a line: got a landscape with the periods "
                f"{circles.periods}. Use CircularControl(), or NeuralControl()."
            )
        if not dynamics.additive_noise:
            raise PriorError(
                f"AffineControl needs the same noise everywhere: got {type(dynamics).__name__}. Use NeuralControl()."
            )
        self.substeps, self.latent, self.parts = substeps, dynamics.latent, dynamics.state // dynamics.latent
        self.each = self.latent**2 if self._couples else self.latent  # numbers in a gain
        self.network = nn.Sequential(nn.Linear(2 * context + 1, self.hidden), nn.Tanh(), self._last(substeps))

    def refine(self, substeps: int) -> None:
        """Split every step: the parts keep its target and its spring, and have gains and noise in proportion."""
        old = cast(nn.Linear, self.network[-1])
        new = self._last(substeps).to(old.weight)
        source = torch.arange(substeps) * self.substeps // substeps
        finer = math.log(substeps / self.substeps)
        # In units of the step, a spring is of first order in h without momenta and of second order with them.
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
        """Targets m, gains Λ and N, and noise, for all substeps of all intervals at once."""
        fields = self.network(both_ends(contexts, gaps)).unflatten(-1, (self.substeps, -1)).flatten(-3, -2)
        target, noise, *gains = fields.split([self.latent] + (1 + self.parts) * [self.each], -1)
        # A gain is the share of the distance to the target that one step covers. With 0.27 at first, paths follow their
        # targets within an interval; a first noise ratio of 0.95 is almost that of the prior.
        if not self._couples:
            return _AffinePlan(target, [_Gain(_root_share(gain)) for gain in gains], torch.sigmoid(noise + 3))
        noise, *gains = (field.unflatten(-1, (self.latent, self.latent)) for field in (noise, *gains))
        ratio = torch.sigmoid(noise.diagonal(dim1=-2, dim2=-1) + 3)
        eye = torch.eye(self.latent, dtype=noise.dtype, device=noise.device)
        # Axes whose noise is that of the prior share none.
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

    The diagonal holds the shares. An element off it is smaller than the geometric mean of its two shares, so that paths
    stay bounded.
    """

    root: Tensor
    coupling: Tensor | None = None

    def times(self, unit: Tensor) -> Tensor:
        """The gain in units of `unit`², which is one number or one per axis: a matrix, or its diagonal."""
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


@checked
class NeuralControl(Control):
    """F = force of the prior + f(z, contexts, time within the interval): eq. 16 and 18 of the paper.

    This is the most flexible control and the most expensive one, for it evaluates a network in every step.

    Parameters
    ----------
    hidden: width of the two hidden layers.
    gain: initial weights relative to the default; the paper starts with 0.2, close to the prior.

    Examples
    --------
    >>> control = nld.NeuralControl(hidden=8)
    >>> control.prepare(context=4, dynamics=nld.OverdampedLangevin(nld.DoubleWell()), substeps=5)
    >>> control.plan(torch.zeros(1, 11, 4), torch.full((1, 10), 0.1)).ratio.item()  # the noise is that of the prior
    1.0
    """

    def __init__(self, hidden: Count = 128, gain: Amount = 0.2) -> None:
        super().__init__()
        self.hidden, self.gain = hidden, gain

    def prepare(self, context: int, dynamics: Dynamics, substeps: int) -> None:
        """Create the network f."""
        self.substeps = substeps
        self.from_context = nn.Linear(2 * context + 1, self.hidden)
        self.from_clock = nn.Linear(1, self.hidden, bias=False)
        self.circles = circles_of(dynamics.landscape)
        turned = len(self.circles.round) if self.circles else 0
        self.from_state = nn.Linear(dynamics.state + turned, self.hidden, bias=False)
        self.inner = nn.Linear(self.hidden, self.hidden)
        self.outer = nn.Linear(self.hidden, dynamics.latent)
        self.reset_parameters()

    def refine(self, substeps: int) -> None:
        """Change the number of substeps; f depends on the time within the interval, whatever the step."""
        self.substeps = substeps

    def reset_parameters(self) -> None:
        """Multiply all weights, just drawn, by the gain."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(self.gain)

    def plan(self, contexts: Contexts, gaps: Float[Tensor, "*batch interval"]) -> Plan:
        """Project contexts and times once for all steps; only the state is added in the loop."""
        clock = torch.arange(self.substeps, dtype=contexts.dtype, device=contexts.device) / self.substeps
        projected = self.from_context(both_ends(contexts, gaps)).unsqueeze(-2) + self.from_clock(clock.unsqueeze(-1))
        return _NeuralPlan(self, projected.flatten(-3, -2))

    def respond(self, projected: Tensor, state: Tensor) -> Tensor:
        """f, from projected contexts `(*batch, time, hidden)` and states `(*batch, time, state)`."""
        if self.circles is not None:  # f must not tell an angle from its images
            position, momentum = state.tensor_split([len(self.circles.periods)], -1)
            state = torch.cat([self.circles.lift(position), momentum], -1)
        return self.outer(softplus(self.inner(softplus(projected + self.from_state(state)))))


class _NeuralPlan:
    def __init__(self, control: NeuralControl, projected: Tensor) -> None:
        self.control, self.projected = control, projected
        self.ratio = torch.ones((), dtype=projected.dtype, device=projected.device)
        self.mixing: Tensor | None = None

    def force(self, path: ControlledPath, origins: Path) -> Tensor:
        force = path.dynamics.force_under(origins, path.grid.drive)
        return force + self.control.respond(self.projected, origins)

    def draw(self, path: ControlledPath, noise: Tensor) -> tuple[Path, Forces | None]:
        projected, drive = iter(self.projected.split(1, -2)), drives(path.grid)
        forces = []

        def force(state: Tensor) -> Tensor:
            prior = path.dynamics.force_under(state, next(drive))
            forces.append(Forces(prior, prior + self.control.respond(next(projected), state)))
            return forces[-1].posterior

        drawn = run(path, force, noise)
        return drawn, Forces(*(torch.cat(part, -2) for part in zip(*forces, strict=True)))

    def at(self, index: Tensor) -> Plan:
        return _NeuralPlan(self.control, self.projected[..., index, :])


def both_ends(contexts: Tensor, gaps: Tensor) -> Tensor:
    """Contexts at both ends of every interval and the log of its length, `(*batch, interval, 2 context + 1)`."""
    length = gaps.log().unsqueeze(-1).expand(*contexts.shape[:-2], -1, 1)
    return torch.cat([contexts[..., :-1, :], contexts[..., 1:, :], length], -1)
