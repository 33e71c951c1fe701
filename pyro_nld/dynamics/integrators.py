"""One step of a Langevin equation as one Gaussian.

Every step draws one Gaussian vector, the *stochastic component* of the new state. It is the position in overdamped
dynamics and the momentum in underdamped dynamics; the rest of the new state follows from it. Sampling and scoring of a
path both call `step`, so that they always agree. A step is linear in the state and in the force. The force is an
argument: it may be that of the prior or that of a controlled posterior.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import PriorError
from ..nn import Described
from .equations import Dynamics, Position, State

NOTHING = torch.zeros(0)


class Step(NamedTuple):
    """N(loc, scale²), the law of the stochastic component of the new state, and how the position follows from it.

    `loc`, `scale`: mean and standard deviation, `(*batch, time, latent)`.
    `midpoint`, `sensitivity`: the new position is `midpoint + sensitivity · (stochastic component)`, unless it is that
    component itself.
    """

    loc: Tensor
    scale: Tensor
    midpoint: Tensor = NOTHING
    sensitivity: Tensor = NOTHING


class Integrator(Described, ABC):
    """The contract of a scheme with one Gaussian per step.

    `steerable` says whether the rest of the new state follows from the stochastic component without the force. Only
    then do paths under different forces share a support, so that a controlled path has a density relative to the prior,
    and a KL divergence from it.

    Examples
    --------
    >>> nld.Leapfrog().steerable, nld.BAOA().steerable
    (True, False)
    """

    steerable = True
    parts = 1
    """Of a state: 1, the position; 2, position and momentum."""
    stiffness: tuple[float, ...] = (0.0,)
    """s of every axis, or of all: a well of this stiffness has its own variance T/s, however long a step is."""

    @abstractmethod
    def step(self, dynamics: Dynamics, z: State, force: Position, h: Tensor) -> Step:
        """The law of the state that follows `z` after the time `h`, `(*batch, time, 1)`, under `force`."""

    @abstractmethod
    def stochastic_component(self, z: State) -> Position:
        """The part of a state that the noise acts on: the position, or the momentum."""

    @abstractmethod
    def complete(self, step: Step, component: Position) -> State:
        """The whole new state, given its stochastic component."""

    @abstractmethod
    def unit_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """The stiffness of a spring that returns to its rest position in one step; the unit of a guide's gains."""

    @abstractmethod
    def coarse_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """k₀, half of the stiffness beyond s at which steps of length h become unstable.

        In a harmonic well of stiffness k, a steerable scheme has the variance T/k · 1/(1 − (k − s)/(2 k₀)), with the s
        of `stiffness`.
        """


class EulerMaruyama(Integrator):
    """z' = z + h γ⁻¹ F(z) + √(2 T h/γ) ξ, for overdamped dynamics; weak order 1.

    Examples
    --------
    In a harmonic well, finite steps make the variance larger than T/k = 0.25.

    >>> prior = nld.OverdampedLangevin(nld.Quadratic([4.0]), temperature=1.0, friction=1.0)
    >>> k0 = nld.EulerMaruyama().coarse_stiffness(prior, torch.tensor(0.1)).item()
    >>> round(k0, 3)  # γ/h
    10.0
    >>> round(1.0 / 4.0 / (1 - 4.0 / (2 * k0)), 4)
    0.3125
    """

    def step(self, dynamics: Dynamics, z: State, force: Position, h: Tensor) -> Step:
        """N(z + h F/γ, 2 T h/γ)."""
        free = h / dynamics.friction_at(z)
        scale = (2 * dynamics.broadcast_quantity("temperature") * free * self._left(free, 2)).sqrt()
        return Step(*torch.broadcast_tensors(z + free * self._left(free) * force, scale))

    def stochastic_component(self, z: State) -> Position:
        """z, the whole state."""
        return z

    def complete(self, step: Step, component: Position) -> State:
        """z', which is the component itself."""
        return component

    def unit_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """γ/h."""
        return dynamics.broadcast_quantity("friction") / h

    def coarse_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """γ/h."""
        return dynamics.broadcast_quantity("friction") / h

    def _left(self, free: Tensor, times: int = 1) -> Tensor | float:
        """What of a mobility h/γ is left, once or of twice the time, to an axis that a spring pulls back meanwhile."""
        return 1.0


class ExponentialEuler(EulerMaruyama):
    """z' = z + φ(x) h γ⁻¹ F(z) + √(2 T φ(2x) h/γ) ξ;  φ(x) = (1 − e^{−x})/x, x = s h/γ, for overdamped dynamics.

    For axes that are held by a spring of known stiffness s, such as a bead by its linker: they may forget where they
    were within one step. A harmonic well of stiffness s has its exact variance T/s and its exact decay; what other
    forces do there is of weak order 1, as in Euler's scheme, which this is where s = 0.

    Parameters
    ----------
    stiffness: s ≥ 0 of every axis, or one for all, energy/length².

    Raises
    ------
    PriorError: not a number or numbers, or one below zero.

    References
    ----------
    M. Hochbruck and A. Ostermann, Acta Numerica 19:209–286, 2010. T. Ozaki, Statistica Sinica 2:113–135, 1992.

    Examples
    --------
    A step five times as long as the spring takes:

    >>> prior = nld.OverdampedLangevin(nld.Quadratic([4.0]), temperature=1.0, friction=1.0)
    >>> z, h = torch.tensor([[1.0]]), torch.tensor([[1.25]])
    >>> step = nld.ExponentialEuler(4.0).step(prior, z, prior.force(z), h)
    >>> f"{step.loc.item():.4f}, variance {step.scale.item() ** 2:.4f}"
    '0.0067, variance 0.2500'
    """

    def __init__(self, stiffness: float | Sequence[float]) -> None:
        try:
            self.stiffness = tuple(np.atleast_1d(np.asarray(stiffness, float)).tolist())
        except (TypeError, ValueError):
            self.stiffness = ()
        if not self.stiffness or not all(0 <= one < math.inf for one in self.stiffness):
            raise PriorError(f"stiffness must be a number of at least 0, or one for every axis: got {stiffness!r}.")

    def unit_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """γ/(φ(x) h)."""
        free = h / dynamics.broadcast_quantity("friction")
        return 1 / (free * self._left(free))

    def coarse_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """γ/(φ(x) h) − s/2."""
        unit = self.unit_stiffness(dynamics, h)
        return unit - 0.5 * self._spring(unit)

    def _spring(self, like: Tensor) -> Tensor:
        return torch.tensor(self.stiffness, dtype=like.dtype, device=like.device)

    def _left(self, free: Tensor, times: int = 1) -> Tensor:
        x = times * self._spring(free) * free
        return torch.where(x > 0, -torch.expm1(-x) / torch.where(x > 0, x, 1.0), 1.0)


class BAOA(Integrator):
    """p* = p + h F(q);  p' = e^{−γh/M} p* + √(M T (1 − e^{−2γh/M})) ξ;  q' = q + h (p* + p')/(2M).

    For simulations of underdamped dynamics: the Langevin-middle scheme in leapfrog form. The momentum is drawn, and the
    position follows. Averages over positions are of second order in h. In a harmonic well they are exact at any stable
    step: ⟨q²⟩ = T/k and ⟨p²⟩ = M T. The scheme cannot be steered, for q' contains the force through p*: paths under two
    forces have no common support, even where the densities of their momenta overlap.

    References
    ----------
    Z. Zhang et al., J. Phys. Chem. A 123:6056–6079, 2019.

    Examples
    --------
    After a step much longer than M/γ, the momentum is thermal, with standard deviation √(M T) = 2.

    >>> prior = nld.UnderdampedLangevin(nld.Quadratic([1.0]), temperature=2.0, mass=2.0)
    >>> nld.BAOA().step(prior, torch.zeros(1, 2), torch.zeros(1, 1), torch.tensor([[100.0]])).scale.item()
    2.0
    """

    steerable, parts = False, 2

    def step(self, dynamics: Dynamics, z: State, force: Position, h: Tensor) -> Step:
        """N(e^{−γh/M} (p + h F), M T (1 − e^{−2γh/M})) for the momentum."""
        mass = dynamics.broadcast_quantity("mass")
        position, momentum = z.chunk(2, -1)
        decay = torch.exp(-dynamics.broadcast_quantity("friction") * h / mass)
        kicked = momentum + h * force
        lost = -torch.expm1(-2 * dynamics.broadcast_quantity("friction") * h / mass)
        scale = (mass * dynamics.broadcast_quantity("temperature") * lost).sqrt()
        sensitivity = h / (2 * mass)
        loc, scale = torch.broadcast_tensors(decay * kicked, scale)
        return Step(loc, scale, position + sensitivity * kicked, sensitivity)

    def stochastic_component(self, z: State) -> Position:
        """p, the momentum."""
        return z.chunk(2, -1)[1]

    def complete(self, step: Step, component: Position) -> State:
        """(q', p')."""
        return torch.cat([step.midpoint + step.sensitivity * component, component], -1)

    def unit_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """M/h²."""
        return dynamics.broadcast_quantity("mass") / h.square()

    def coarse_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """2M/h²."""
        return 2 * dynamics.broadcast_quantity("mass") / h.square()


class Leapfrog(Integrator):
    """p' = c p + e h F(q) + √(2 M T e (1 − c)) ξ;  q' = q + h p'/M;  c = e^{−x}, e = (1 − c)/x, x = γh/M.

    For underdamped dynamics. Momenta belong to times half a step before those of the positions. A position follows from
    its momentum alone, so that a control can steer the path and the KL divergence stays finite. The weight e makes the
    drift under a constant force exact. With this noise, a harmonic well has the variances T/k · v of the position and
    M T · 2 tanh(x/2)/x · v of the momentum, with v = 1/(1 − e h²k/(2M(1 + c))): both are of second order in h.

    Examples
    --------
    Without a force, the momentum decays as e^{−γh/M}.

    >>> prior = nld.UnderdampedLangevin(nld.Quadratic([1.0]), friction=2.0, mass=1.0)
    >>> q_and_p, h = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5]])
    >>> round(nld.Leapfrog().step(prior, q_and_p, torch.zeros(1, 1), h).loc.item(), 4)
    0.3679
    """

    parts = 2

    def step(self, dynamics: Dynamics, z: State, force: Position, h: Tensor) -> Step:
        """N(c p + e h F, 2 M T e (1 − c)) for the momentum."""
        mass = dynamics.broadcast_quantity("mass")
        position, momentum = z.chunk(2, -1)
        lost, weight = self._decay(dynamics, h)
        scale = (2 * mass * dynamics.broadcast_quantity("temperature") * weight * lost).sqrt()
        loc, scale = torch.broadcast_tensors((1 - lost) * momentum + weight * h * force, scale)
        return Step(loc, scale, position, h / mass)

    def stochastic_component(self, z: State) -> Position:
        """p, the momentum."""
        return z.chunk(2, -1)[1]

    def complete(self, step: Step, component: Position) -> State:
        """(q', p')."""
        return torch.cat([step.midpoint + step.sensitivity * component, component], -1)

    def unit_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """M/(e h²)."""
        return dynamics.broadcast_quantity("mass") / (self._decay(dynamics, h)[1] * h.square())

    def coarse_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """M (1 + c)/(e h²): γ/h where the momentum decays within a step, 2M/h² where it does not."""
        lost, weight = self._decay(dynamics, h)
        return dynamics.broadcast_quantity("mass") * (2 - lost) / (weight * h.square())

    @staticmethod
    def _decay(dynamics: Dynamics, h: Tensor) -> tuple[Tensor, Tensor]:
        """(1 − c, e)."""
        x = dynamics.broadcast_quantity("friction") * h / dynamics.broadcast_quantity("mass")
        lost = -torch.expm1(-x)
        return lost, lost / x


def default_integrator(dynamics: Dynamics) -> Integrator:
    """Euler–Maruyama where the state is the position, leapfrog where it has a momentum."""
    return EulerMaruyama() if dynamics.state == dynamics.latent else Leapfrog()


def check_integrator(integrator: Integrator, dynamics: Dynamics) -> None:
    """Refuse a scheme whose states are not those of the dynamics.

    Parameters
    ----------
    integrator: the scheme. dynamics: what it shall discretise.

    Raises
    ------
    PriorError: the scheme is for states with a momentum and the dynamics has none, or the other way round; or it knows
        another number of axes.
    """
    if len(integrator.stiffness) not in (1, dynamics.latent):
        raise PriorError(
            f"{type(integrator).__name__} has the stiffness of {len(integrator.stiffness)} axes: got dynamics of "
            f"{dynamics.latent}. Give one for every axis, 0 where nothing holds it."
        )
    if integrator.parts * dynamics.latent != dynamics.state:
        kinds = {1: "position alone", 2: "position and momentum"}
        raise PriorError(
            f"{type(integrator).__name__} steps states of {kinds[integrator.parts]}: got {type(dynamics).__name__}. "
            f"Use {type(default_integrator(dynamics)).__name__}(), or leave the integrator out."
        )
