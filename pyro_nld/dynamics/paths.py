"""Whole paths as distributions: the Langevin prior, the controlled posterior, and the KL divergence between them.

A path is a Markov chain on a fine grid, and its density is the product of the Gaussians of its steps (`integrators`).
Prior and posterior are therefore ordinary Pyro distributions that can be reparameterised, with event shape
`(time, state)`. The initial state is not part of the event; it is a site of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints, kl_divergence, register_kl

from ..errors import FitError
from ..nn import condition_on
from .equations import Dynamics
from .grids import Grid, stratify
from .grids import refine as refine  # a name of this module, too
from .integrators import Integrator, Step
from .recursion import along, as_columns, matvec, recursion

State0 = Float[Tensor, "*batch state"]
Path = Float[Tensor, "*batch time state"]

NO_SHAPE = torch.Size()
POSITION_TOLERANCE = 1e-2
"""Largest distance of a position from where its momentum leads, in sizes of positions: far above rounding."""


class PathDistribution(TorchDistribution, ABC):
    """p(z₁ … z_K | z₀) = Π_k p(z_{k+1} | z_k), the contract: a force that drives the path, and a way to draw it."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True
    ratio: Tensor | float = 1.0  # of the noise of a step to that of the dynamics
    mixing: Tensor | None = None  # how the axes share that noise, see `Plan`

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
        """The force at all states of a path, `(*batch, time, latent)`, in one evaluation."""

    @abstractmethod
    def _draw(self, noise: Tensor) -> Path:
        """The path driven by standard normal `noise (*batch, time, latent)`."""

    def transitions(self, origins: Path, force: Tensor | None = None) -> Step:
        """The laws of all steps out of the states `origins`, under the path's own force when none is given."""
        force = self.force(origins) if force is None else force
        step = self.integrator.step(self.dynamics, origins, force, self.grid.h)
        return step._replace(scale=step.scale * self.ratio)

    def rsample(self, sample_shape: torch.Size = NO_SHAPE) -> Path:
        """A path that can be differentiated in everything that drives it."""
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(*shape[:-1], self.dynamics.latent, dtype=self.initial.dtype, device=self.initial.device)
        with condition_on(self.dynamics, self.latents):
            return self._draw(noise if self.mixing is None else matvec(self.mixing, noise))

    def log_prob(self, value: Path) -> Float[Tensor, "*batch"]:
        """Σ_k log N(stochastic component of z_{k+1}; its mean, its variance), given the initial state.

        Raises
        ------
        FitError: the positions of an underdamped path are not those that follow from its momenta.
        """
        with condition_on(self.dynamics, self.latents):
            step = self.transitions(self._origins(value))
        self._check_positions(step, value)
        return self._total(self._density(step, self.integrator.stochastic_component(value)))

    @torch.no_grad()
    def _check_positions(self, step: Step, value: Path) -> None:
        if self.dynamics.state == self.dynamics.latent:
            return
        follows = self.integrator.complete(step, self.integrator.stochastic_component(value))
        apart, reach = (follows - value).abs(), follows.abs() + value.abs() + step.midpoint.abs().amax()
        wrong = self.grid.valid.unsqueeze(-1) & (apart > POSITION_TOLERANCE * reach)
        if bool(wrong.any()):
            raise FitError(
                "positions of an underdamped path follow from its momenta: got one that is "
                f"{float(apart[wrong].max()):.3g} away from where its momentum leads. NUTS and autoguides of the whole "
                "model move both freely; use nld.AmortizedGuide, or overdamped dynamics."
            )

    def log_prob_along(self, value: Path, stride: int) -> Float[Tensor, "*batch"]:
        """An unbiased estimate of `log_prob` that is cheaper: of every `stride` steps, a random one counts for all."""
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
        """Log density of the stochastic components, `(*batch, time, latent)`; only its sum over axes has a meaning."""
        if self.mixing is None:
            return _normal(step).log_prob(component)
        white = ((component - step.loc) / step.scale).unsqueeze(-1)
        white = torch.linalg.solve_triangular(self.mixing, white, upper=False, unitriangular=True).squeeze(-1)
        return Normal(0.0, 1.0).log_prob(white) - step.scale.log()

    def _total(self, terms: Tensor) -> Tensor:
        return torch.where(self.grid.valid, terms.sum(-1), 0.0).sum(-1)

    @abstractmethod
    def piece(self, index: Tensor, initial: State0) -> PathDistribution:
        """The law of the steps at `index`, `(step,)`, out of other states `initial`."""


class LangevinPath(PathDistribution):
    """z_{k+1} ~ step(z_k, F(z_k)): a path of the prior, with the force F of the dynamics.

    Parameters
    ----------
    dynamics: the equation of motion.
    integrator: the scheme that discretises it.
    initial: z₀, `(*batch, state)`.
    grid: step lengths, and which of them count; see `refine`.
    latents: values of the random quantities of the dynamics by site name, as drawn by the model or guide.

    Examples
    --------
    Paths from the bottom of a well of stiffness 4 spread until their variance is T/k = 0.25.

    >>> prior = nld.OverdampedLangevin(nld.Quadratic([4.0]), temperature=1.0)
    >>> grid = nld.dynamics.paths.refine(torch.linspace(0.0, 2.0, 21), substeps=10)
    >>> _ = torch.manual_seed(0)
    >>> path = nld.LangevinPath(prior, nld.EulerMaruyama(), torch.zeros(2000, 1), grid).sample()
    >>> round(path[:, -1].var().item(), 2)
    0.25
    """

    def force(self, origins: Path) -> Tensor:
        """The force of the dynamics, at all states at once."""
        return self.dynamics.force_under(origins, self.grid.drive)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> LangevinPath:
        """The same path law for a larger batch."""
        initial = self.initial.expand(*batch_shape, -1)
        return LangevinPath(self.dynamics, self.integrator, initial, self.grid, self.latents)

    def piece(self, index: Tensor, initial: State0) -> LangevinPath:
        """The law of the steps at `index`, `(step,)`, out of other states `initial`."""
        return LangevinPath(self.dynamics, self.integrator, initial, self.grid.at(index), self.latents)

    def _draw(self, noise: Tensor) -> Path:
        drive = drives(self.grid)
        return run(self, lambda state: self.dynamics.force_under(state, next(drive)), noise)


@runtime_checkable
class Plan(Protocol):
    """What a control decided for one batch: the force of the posterior, and how to draw a path under it.

    `ratio` is the noise of a posterior step relative to that of the prior, `(*batch, time, latent)`, in (0, 1]. A
    discretised posterior is narrower than its prior by O(h). As h → 0, any ratio other than 1 has an infinite KL
    divergence, so that the ELBO itself keeps the ratio near 1.
    `mixing` is L, `(*batch, time, latent, latent)`, lower triangular with unit diagonal: the noise is ratio · L ξ where
    the axes share it. It is None where they do not.
    """

    ratio: Tensor
    mixing: Tensor | None

    def force(self, path: ControlledPath, origins: Path) -> Tensor:
        """The force of the posterior at all states of a path."""

    def draw(self, path: ControlledPath, noise: Tensor) -> tuple[Path, Forces | None]:
        """The posterior path driven by `noise`, and the forces on it where they were expensive to compute."""

    def at(self, index: Tensor) -> Plan:
        """The plan of the steps at `index` alone."""


class Forces(NamedTuple):
    """Forces along a drawn path, `(*batch, time, latent)`, stored so that the KL evaluates no network again."""

    prior: Tensor
    posterior: Tensor


class ControlledPath(PathDistribution):
    """z_{k+1} ~ step(z_k, F(z_k) + control): a path of the posterior, under a force that a control chose from the data.

    Parameters
    ----------
    plan: the decision of the control for this batch, see `guide.controls`. The others are those of `LangevinPath`.

    Examples
    --------
    A control that adds no force leaves the path of the prior, and the KL divergence from it is zero.

    >>> prior, steps = nld.OverdampedLangevin(nld.DoubleWell()), nld.EulerMaruyama()
    >>> control = nld.NeuralControl(hidden=8, gain=0.0)
    >>> control.prepare(context=3, dynamics=prior, substeps=5)
    >>> plan = control.plan(contexts=torch.zeros(1, 11, 3), gaps=torch.full((1, 10), 0.1))
    >>> grid = nld.dynamics.paths.refine(torch.linspace(0.0, 1.0, 11), substeps=5)
    >>> posterior = nld.ControlledPath(prior, steps, torch.zeros(1, 1), grid, plan)
    >>> torch.distributions.kl_divergence(posterior, nld.LangevinPath(prior, steps, torch.zeros(1, 1), grid)).item()
    0.0
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
        """The force of the plan."""
        return self.plan.force(self, origins)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> ControlledPath:
        """The same path law for a larger batch."""
        initial = self.initial.expand(*batch_shape, -1)
        return ControlledPath(self.dynamics, self.integrator, initial, self.grid, self.plan, self.latents)

    def kl_along(self, prior: LangevinPath, value: Path, stride: int = 1) -> Float[Tensor, "*batch"]:
        """Σ_k KL(posterior step ‖ prior step), both out of the states of `value`, a path drawn from self.

        Its expectation is exactly the KL divergence of the two chains. The difference of their log densities has the
        same expectation, but also a martingale term Σ u·dW, and therefore far more variance. With a `stride`, a random
        step of every `stride` counts for all: the sum stays unbiased, and the forces are evaluated less often.
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
        """The law of the steps at `index`, `(step,)`, out of other states `initial`."""
        grid, plan = self.grid.at(index), self.plan.at(index)
        return ControlledPath(self.dynamics, self.integrator, initial, grid, plan, self.latents)

    def log_ratio(self, prior: LangevinPath, value: Path) -> Float[Tensor, "*batch"]:
        """log p(path) − log q(path), given z₀. After it, `kl_along` of the same path evaluates no force again."""
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
        """The path drawn last, or a new one where none was drawn; the KL divergence is estimated along it."""
        return self.rsample() if self._last_draw is None else self._last_draw[0]

    def _draw(self, noise: Tensor) -> Path:
        self._last_draw = self.plan.draw(self, noise)
        return self._last_draw[0]

    def _cached_forces(self, prior: LangevinPath, value: Path) -> Forces | None:
        """The forces stored when `value` was drawn, provided that `prior` has the quantities it was drawn with."""
        if self._last_draw is None or value is not self._last_draw[0] or prior.dynamics is not self.dynamics:
            return None
        same = all(prior.latents.get(name) is drawn for name, drawn in self.latents.items())
        return self._last_draw[1] if same else None


@register_kl(ControlledPath, LangevinPath)
def _kl_controlled_langevin(posterior: ControlledPath, prior: LangevinPath) -> Tensor:
    return posterior.kl_along(prior, posterior.last_sample())


def _normal(step: Step) -> Normal:
    return Normal(step.loc, step.scale, validate_args=False)


def drives(grid: Grid) -> Iterator[Tensor | None]:
    """What acts from outside, step by step."""
    return repeat(None) if grid.drive is None else iter(grid.drive.split(1, -2))


def run(path: PathDistribution, force: Callable[[Tensor], Tensor], noise: Tensor) -> Path:
    """A path, step by step, for a force that depends on the state: `(*batch, 1, state)` to `(*batch, 1, latent)`."""
    state = path.initial.expand(*noise.shape[:-2], -1).unsqueeze(-2)
    states = []
    for h, xi in zip(path.grid.h.split(1, -2), (path.ratio * noise).split(1, -2), strict=True):
        step = path.integrator.step(path.dynamics, state, force(state), h)
        state = path.integrator.complete(step, step.loc + step.scale * xi)
        states.append(state)
    return torch.cat(states, -2)


def run_cheaply(path: PathDistribution, force: Callable[[Tensor], Tensor], noise: Tensor) -> Path:
    """`run`, for a force that costs less than to record it: no graph is kept in the loop.

    Where a gradient is wanted, the steps are evaluated once more, all together, out of the states that were found.
    `path.force` has to say of all states at once what `force` says step by step. The derivatives of every step by the
    state it begins in carry a gradient through the path. Twice as fast as `run` where no network is in the loop;
    slower where one is, and the batch is large.
    """
    if not torch.is_grad_enabled() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return run(path, force, noise)
    with torch.no_grad():
        origins = path._origins(run(path, force, noise))
    step = path.transitions(origins.requires_grad_())
    landed = path.integrator.complete(step, step.loc + step.scale * noise)
    rows = [torch.autograd.grad(part.sum(), origins, retain_graph=True)[0] for part in landed.unbind(-1)]
    initial, jacobian = path.initial.expand(*noise.shape[:-2], -1), torch.stack(rows, -2)
    by_step = jacobian.movedim(-3, 0).flatten(1, -3), landed.movedim(-2, 0).flatten(1, -2)
    return along(initial.reshape(-1, initial.shape[-1]), *by_step).unflatten(1, initial.shape[:-1]).movedim(0, -2)


def run_linear(path: ControlledPath, feedback: Sequence[Tensor], offset: Tensor, noise: Tensor) -> Path:
    """z' = A z + b: a path under the force offset − Σ feedback · (position, momentum), without a network in the loop.

    A step responds to a state and to a force axis by axis. A and b are found from steps out of unit states and under
    unit forces, so that no scheme has to be written down a second time. If the feedback has one number per axis,
    `(*batch, time, latent)`, A has one small block per axis; if it is a matrix, `(*batch, time, latent, latent)`, A is
    one full matrix. Draws that share their matrices are columns of one recursion.
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
