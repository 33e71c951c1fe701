"""Whole paths as distributions: the Langevin prior, the controlled posterior, and the KL between them.

A path is a Markov chain on a fine grid; its density is the product of its steps' Gaussians (`integrators`), so that
both paths are ordinary reparameterised Pyro distributions with event shape `(time, state)`. The initial state is not
part of the event: it is a site of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints, kl_divergence, register_kl

from ..nn import condition_on
from .equations import Dynamics
from .integrators import Integrator, Step
from .recursion import as_columns, matvec, recursion

State0 = Float[Tensor, "*batch state"]
Path = Float[Tensor, "*batch time state"]

NO_SHAPE = torch.Size()


class Grid(NamedTuple):
    """The fine grid of a path.

    `h`: step lengths, `(*batch, time, 1)`, positive also where there is nothing to observe any more.
    `valid`: which steps belong to the sequence, `(*batch, time)`; steps after the end of a ragged sequence do not.
    """

    h: Float[Tensor, "*batch time 1"]
    valid: Bool[Tensor, "*batch time"]

    def at(self, index: Tensor) -> Grid:
        """The steps at `index` alone."""
        return Grid(self.h[..., index, :], self.valid[..., index])


class Batch(NamedTuple):
    """One batch on its grid: intervals in model units `(sequence, interval)`, which times exist, the fine grid."""

    gaps: Tensor
    valid: Tensor
    grid: Grid


@runtime_checkable
class PathModel(Protocol):
    """What a guide needs to know of the model it is for."""

    dynamics: Dynamics
    integrator: Integrator
    substeps: int

    def batch(self, times: Tensor) -> Batch:
        """Intervals and fine grid of times `(sequence, time)`, in model units."""

    def adapt(self, times: Tensor, x: Tensor | None) -> None:
        """Take units from the first data seen."""


class Strata(NamedTuple):
    """One step out of every run of consecutive steps, and the number of steps it speaks for, both `(stratum,)`."""

    chosen: Tensor
    weight: Tensor


def stratify(steps: int, stride: int) -> Strata:
    """Draw one step at random from every run of `stride` steps."""
    start = torch.arange(0, steps, stride)
    weight = (steps - start).clamp(max=stride)
    return Strata(start + (torch.rand(len(start)) * weight).long(), weight)


def refine(times: Float[Tensor, "*batch time"], substeps: int) -> Grid:
    """Split every observation interval into equal steps: Δt/substeps each.

    Parameters
    ----------
    times: `(*batch, time)`, increasing; NaN after the end of a ragged sequence.
    substeps: steps per interval, ≥ 1.
    """
    gaps = times.diff()
    valid = gaps.isfinite()
    h = torch.where(valid, gaps, gaps.nanmedian()) / substeps
    return Grid(h.repeat_interleave(substeps, -1).unsqueeze(-1), valid.repeat_interleave(substeps, -1))


class PathDistribution(TorchDistribution, ABC):
    """The contract of a Markov path: the force that drives it, and a way to sample it."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True
    ratio: Tensor | float = 1.0  # step noise relative to the dynamics'
    mixing: Tensor | None = None  # and how its axes share it, see `Plan`

    def __init__(
        self,
        dynamics: Dynamics,
        integrator: Integrator,
        initial: State0,
        grid: Grid,
        latents: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.dynamics, self.integrator, self.grid = dynamics, integrator, grid
        self.latents = dict(latents or {})
        batch = torch.broadcast_shapes(initial.shape[:-1], grid.valid.shape[:-1])
        self.initial = initial.expand(*batch, initial.shape[-1])
        event = torch.Size([grid.valid.shape[-1], dynamics.state])
        super().__init__(batch, event, validate_args=False)

    @abstractmethod
    def force(self, origins: Path) -> Tensor:
        """The force at every state of a path, in one batched evaluation, `(*batch, time, latent)`."""

    @abstractmethod
    def _draw(self, noise: Tensor) -> Path:
        """The path driven by standard normal `noise (*batch, time, latent)`."""

    def transitions(self, origins: Path, force: Tensor | None = None) -> Step:
        """The Gaussians of all steps out of `origins`, under the path's own force when none is given."""
        force = self.force(origins) if force is None else force
        step = self.integrator.step(self.dynamics, origins, force, self.grid.h)
        return step._replace(scale=step.scale * self.ratio)

    def rsample(self, sample_shape: torch.Size = NO_SHAPE) -> Path:
        """A path, differentiable in all that drives it."""
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(*shape[:-1], self.dynamics.latent, dtype=self.initial.dtype, device=self.initial.device)
        with condition_on(self.dynamics, self.latents):
            return self._draw(noise if self.mixing is None else matvec(self.mixing, noise))

    def log_prob(self, value: Path) -> Float[Tensor, "*batch"]:
        """Σ_k log N(noise-bearing part of z_{k+1}; its mean, its variance), the initial state being given.

        NOT checked: that the positions of an underdamped path are those that its momenta imply.
        """
        with condition_on(self.dynamics, self.latents):
            step = self.transitions(self._origins(value))
        return self._total(self._density(step, self.integrator.stochastic_component(value)))

    def log_prob_along(self, value: Path, stride: int) -> Float[Tensor, "*batch"]:
        """`log_prob` from one random step of every `stride`, which counts for all of them: unbiased, and cheaper."""
        strata = stratify(value.shape[-2], stride)
        index = strata.chosen.to(value.device)
        part = self.piece(index, self.initial)
        with condition_on(self.dynamics, self.latents):
            step = part.transitions(self._origins(value)[..., index, :])
        density = part._density(step, self.integrator.stochastic_component(value)[..., index, :])
        return part._total(density * strata.weight.to(value).unsqueeze(-1))

    def _origins(self, value: Path) -> Path:
        first = self.initial.expand(value.shape[:-2] + self.initial.shape[-1:]).unsqueeze(-2)
        return torch.cat([first, value[..., :-1, :]], -2)

    def _density(self, step: Step, component: Tensor) -> Tensor:
        """Log density of the noise-bearing parts, `(*batch, time, latent)`; only its sum over axes has a meaning."""
        if self.mixing is None:
            return _normal(step).log_prob(component)
        white = ((component - step.loc) / step.scale).unsqueeze(-1)
        white = torch.linalg.solve_triangular(self.mixing, white, upper=False, unitriangular=True).squeeze(-1)
        return Normal(0.0, 1.0).log_prob(white) - step.scale.log()

    def _total(self, terms: Tensor) -> Tensor:
        return torch.where(self.grid.valid, terms.sum(-1), 0.0).sum(-1)

    @abstractmethod
    def piece(self, index: Tensor, initial: State0) -> PathDistribution:
        """The law of the steps at `index` `(step,)` alone, out of other states `initial`."""


class LangevinPath(PathDistribution):
    """A path of the prior: z_{k+1} ~ step(z_k, force of the dynamics).

    Parameters
    ----------
    dynamics: what moves.
    integrator: in which steps.
    initial: z₀, `(*batch, state)`.
    grid: step lengths and validity, see `refine`.
    latents: values of the dynamics' random attributes by site name, as drawn by the model or guide.
    """

    def force(self, origins: Path) -> Tensor:
        """The dynamics' own force: one gradient of U on the whole path at once."""
        return self.dynamics.force(origins)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> LangevinPath:
        """The same path law for a larger batch."""
        initial = self.initial.expand(*batch_shape, -1)
        return LangevinPath(self.dynamics, self.integrator, initial, self.grid, self.latents)

    def piece(self, index: Tensor, initial: State0) -> LangevinPath:
        """The law of the steps at `index` `(step,)` alone, out of other states `initial`."""
        return LangevinPath(self.dynamics, self.integrator, initial, self.grid.at(index), self.latents)

    def _draw(self, noise: Tensor) -> Path:
        return run(self, self.dynamics.force, noise)


@runtime_checkable
class Plan(Protocol):
    """What a control decided for one batch: the posterior's force, and how to run a path under it.

    `ratio` is the posterior's step noise over the prior's, `(*batch, time, latent)` in (0, 1]. A discretised
    posterior is narrower than its prior by O(h); as h → 0 any other ratio than 1 costs an infinite KL, so the ELBO
    itself keeps it.
    `mixing` L, `(*batch, time, latent, latent)`, lower triangular with unit diagonal, makes it ratio · L ξ where axes
    share their noise; None where they do not.
    """

    ratio: Tensor
    mixing: Tensor | None

    def force(self, path: ControlledPath, origins: Path) -> Tensor:
        """The posterior's force at every state of a path."""

    def draw(self, path: ControlledPath, noise: Tensor) -> tuple[Path, Forces | None]:
        """The posterior path driven by `noise`, and the forces met on the way if they cost something."""

    def at(self, index: Tensor) -> Plan:
        """The plan of the steps at `index` alone."""


class Forces(NamedTuple):
    """Forces along a drawn path, `(*batch, time, latent)`: kept so that the KL evaluates no network twice."""

    prior: Tensor
    posterior: Tensor


class ControlledPath(PathDistribution):
    """A path of the posterior: the prior's noise, another force, chosen by a control that has read the data.

    Parameters
    ----------
    plan: the control's decision for this batch (see `controls`); the others as for `LangevinPath`.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        integrator: Integrator,
        initial: State0,
        grid: Grid,
        plan: Plan,
        latents: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(dynamics, integrator, initial, grid, latents)
        self.plan, self.ratio, self.mixing = plan, plan.ratio, plan.mixing
        self._last_draw: tuple[Path, Forces | None] | None = None

    def force(self, origins: Path) -> Tensor:
        """The plan's force."""
        return self.plan.force(self, origins)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> ControlledPath:
        """The same path law for a larger batch."""
        initial = self.initial.expand(*batch_shape, -1)
        return ControlledPath(self.dynamics, self.integrator, initial, self.grid, self.plan, self.latents)

    def kl_along(self, prior: LangevinPath, value: Path, stride: int = 1) -> Float[Tensor, "*batch"]:
        """Σ_k KL(posterior step ‖ prior step), both out of the states of `value`, a path drawn from self.

        Its expectation is the KL of the two chains, exactly; unlike the difference of their log densities it carries no
        martingale term Σ u·dW, hence far less variance. With a `stride`, one random step of every `stride` is evaluated
        and counts for all of them: unbiased still, and the networks in the forces are evaluated `stride` times less.
        """
        origins, forces = self._origins(value), self._cached_forces(prior, value)
        if forces is not None or stride == 1:
            return self._step_kl(prior, origins, forces)
        strata = stratify(origins.shape[-2], stride)
        index = strata.chosen.to(origins.device)
        mine, theirs = self.piece(index, self.initial), prior.piece(index, prior.initial)
        return mine._step_kl(theirs, origins[..., index, :], None, strata.weight.to(origins))

    def _step_kl(
        self, prior: PathDistribution, origins: Path, forces: Forces | None, weight: Tensor | None = None
    ) -> Tensor:
        with condition_on(self.dynamics, self.latents):
            mine = self.transitions(origins, forces and forces.posterior)
        with condition_on(prior.dynamics, prior.latents):
            theirs = prior.transitions(origins, forces and forces.prior)
        terms = kl_divergence(_normal(mine), _normal(theirs))
        if self.mixing is not None:
            shared = self.mixing.tril(-1).square().sum(-1)
            terms = terms + 0.5 * (mine.scale / theirs.scale).square() * shared
        return self._total(terms if weight is None else terms * weight.unsqueeze(-1))

    def piece(self, index: Tensor, initial: State0) -> ControlledPath:
        """The law of the steps at `index` `(step,)` alone, out of other states `initial`."""
        grid, plan = self.grid.at(index), self.plan.at(index)
        return ControlledPath(self.dynamics, self.integrator, initial, grid, plan, self.latents)

    def log_ratio(self, prior: LangevinPath, value: Path) -> Float[Tensor, "*batch"]:
        """log p(path) − log q(path), z₀ being given; `kl_along` of the same path then evaluates no force again."""
        origins, component = self._origins(value), self.integrator.stochastic_component(value)
        forces = self._cached_forces(prior, value)
        if forces is None:
            with condition_on(prior.dynamics, prior.latents):
                theirs = prior.force(origins)
            with condition_on(self.dynamics, self.latents):
                forces = Forces(theirs, self.force(origins))
            self._last_draw = value, forces
        with condition_on(prior.dynamics, prior.latents):
            log_p = prior._total(prior._density(prior.transitions(origins, forces.prior), component))
        with condition_on(self.dynamics, self.latents):
            return log_p - self._total(self._density(self.transitions(origins, forces.posterior), component))

    def last_sample(self) -> Path:
        """The path drawn last (one is drawn if none was): what a one-sample KL is taken along."""
        return self.rsample() if self._last_draw is None else self._last_draw[0]

    def _draw(self, noise: Tensor) -> Path:
        self._last_draw = self.plan.draw(self, noise)
        return self._last_draw[0]

    def _cached_forces(self, prior: LangevinPath, value: Path) -> Forces | None:
        """The forces kept from drawing `value`, if `prior` has the very physics it was drawn under."""
        if self._last_draw is None or value is not self._last_draw[0] or prior.dynamics is not self.dynamics:
            return None
        same = all(prior.latents.get(name) is drawn for name, drawn in self.latents.items())
        return self._last_draw[1] if same else None


@register_kl(ControlledPath, LangevinPath)
def _kl_controlled_langevin(posterior: ControlledPath, prior: LangevinPath) -> Tensor:
    return posterior.kl_along(prior, posterior.last_sample())


def _normal(step: Step) -> Normal:
    return Normal(step.loc, step.scale, validate_args=False)


def run(path: PathDistribution, force: Callable[[Tensor], Tensor], noise: Tensor) -> Path:
    """Step through a path whose force needs the state: `force` maps `(*batch, 1, state)` to `(*batch, 1, latent)`."""
    state = path.initial.expand(*noise.shape[:-2], -1).unsqueeze(-2)
    states = []
    for h, xi in zip(path.grid.h.split(1, -2), (path.ratio * noise).split(1, -2), strict=True):
        step = path.integrator.step(path.dynamics, state, force(state), h)
        state = path.integrator.complete(step, step.loc + step.scale * xi)
        states.append(state)
    return torch.cat(states, -2)


def run_linear(path: ControlledPath, feedback: Sequence[Tensor], offset: Tensor, noise: Tensor) -> Path:
    """Run a path whose force is offset − Σ feedback · (position, momentum), without a network in the loop.

    Its step is then affine in the state, z' = A z + b. A step responds to a state and to a force axis by axis. These
    responses are found by stepping from unit states and under unit forces, so that no scheme is written down a second
    time. With one feedback per axis, `(*batch, time, latent)`, A has one small block per axis; with matrices, `(*batch,
    time, latent, latent)`, it is whole. Draws that share their matrices are columns of one recursion.
    """
    latent, parts = path.dynamics.latent, path.dynamics.state // path.dynamics.latent

    def response(state: Tensor, force: Tensor, xi: Tensor | float = 0.0) -> list[Tensor]:
        step = path.transitions(state.expand(*force.shape[:-1], -1), force)
        return list(path.integrator.complete(step, step.loc + step.scale * xi).split(latent, -1))

    nothing, one = noise.new_zeros(1, parts * latent), noise.new_ones(1, latent)
    units = torch.eye(parts, dtype=noise.dtype, device=noise.device).repeat_interleave(latent, -1).unsqueeze(-2)
    to_state, to_force = [response(unit, 0 * one) for unit in units], response(nothing, one)
    shift, rows = torch.cat(response(nothing, offset, noise), -1), range(parts)
    if path.mixing is None:
        entries = [[to_state[j][i] - to_force[i] * feedback[j] for j in rows] for i in rows]
        matrix = torch.stack([torch.stack(row, -1) for row in entries], -2)
    else:
        squares = [[to_state[j][i].diag_embed() - to_force[i].unsqueeze(-1) * feedback[j] for j in rows] for i in rows]
        matrix = torch.cat([torch.cat(row, -1) for row in squares], -2).unsqueeze(-3)

    def blocks(state: Tensor) -> Tensor:
        return state.unflatten(-1, (matrix.shape[-1], -1)).mT.unsqueeze(-1)

    initial, shift = blocks(path.initial.expand(*noise.shape[:-2], -1)), blocks(shift)
    draws = shift.shape[: shift.dim() - matrix.dim()]
    initial, shift = as_columns(initial, len(draws)), as_columns(shift, len(draws))
    matrix = matrix.expand(*shift.shape[:-1], -1)
    by_step = [tensor.movedim(-4, 0).flatten(1, -3).contiguous() for tensor in (matrix, shift)]
    states = recursion(initial.reshape(-1, *initial.shape[-2:]), *by_step).reshape(-1, *initial.shape)
    each = states.movedim(-1, 0).mT.flatten(-2).movedim(1, -2)  # (draw, *batch, time, state)
    return each.reshape(*draws, *each.shape[1:])
