"""One step of a Langevin equation as one Gaussian.

Every step has a single d-dimensional Gaussian, the *noise-bearing* part of the new state; the rest follows from it.
What samples a path and what scores it both call `step`, so they cannot drift apart. A step is linear in the state and
in the force, and takes whatever force it is given: the prior's, or that of a controlled posterior.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from ..nn import Described
from .equations import Dynamics, Position, State

NOTHING = torch.zeros(0)


class Step(NamedTuple):
    """A step before its noise is drawn: the Gaussian of the noise-bearing part, and where the position would stand.

    `loc`, `scale`: mean and standard deviation of the noise-bearing part of the new state, `(*batch, time, latent)`.
    `midpoint`, `sensitivity`: the new position is `midpoint + sensitivity · (stochastic component)`, unless it is that
    component itself.
    """

    loc: Tensor
    scale: Tensor
    midpoint: Tensor = NOTHING
    sensitivity: Tensor = NOTHING


class Integrator(Described, ABC):
    """The contract of a scheme with one Gaussian per step.

    `steerable` says whether the rest of the new state follows from the noise-bearing part without the force. Only
    then do paths under different forces live on the same support, and only then has a controlled path a density
    relative to the prior's, and a KL.
    """

    steerable = True

    @abstractmethod
    def step(self, dynamics: Dynamics, z: State, force: Position, h: Tensor) -> Step:
        """The transition out of `z` under `force` during `h` (`(*batch, time, 1)`, time)."""

    @abstractmethod
    def stochastic_component(self, z: State) -> Position:
        """The noise-bearing part of a state."""

    @abstractmethod
    def complete(self, step: Step, component: Position) -> State:
        """The whole new state, given its noise-bearing part."""

    @abstractmethod
    def unit_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """The stiffness whose spring closes a gap in one step: makes a guide's gains free of units."""

    @abstractmethod
    def coarse_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """k₀, half the stiffness at which steps of h explode.

        For a scheme that can be steered, a harmonic well of stiffness k has variance T/k · 1/(1 − k/(2 k₀)).
        """


class EulerMaruyama(Integrator):
    """z' = z + h γ⁻¹ F(z) + √(2 T h/γ) ξ, for overdamped dynamics; weak order 1."""

    def step(self, dynamics: Dynamics, z: State, force: Position, h: Tensor) -> Step:
        """N(z + h F/γ, 2 T h/γ)."""
        mobility = h / dynamics.broadcast_quantity("friction")
        scale = (2 * dynamics.broadcast_quantity("temperature") * mobility).sqrt()
        return Step(*torch.broadcast_tensors(z + mobility * force, scale))

    def stochastic_component(self, z: State) -> Position:
        """All of z."""
        return z

    def complete(self, step: Step, component: Position) -> State:
        """All of z."""
        return component

    def unit_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """γ/h."""
        return dynamics.broadcast_quantity("friction") / h

    def coarse_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """γ/h."""
        return dynamics.broadcast_quantity("friction") / h


class BAOA(Integrator):
    """p* = p + h F(q);  p' = e^{−γh/M} p* + √(M T (1 − e^{−2γh/M})) ξ;  q' = q + h (p* + p')/(2M).

    For simulating underdamped dynamics: the Langevin-middle scheme in leapfrog form; momentum carries the density,
    position follows. It cannot be steered: q' contains the force through p*, so that a controlled path and the prior's
    never share a support, whatever the momenta's densities say. Second order in averages over configurations, and
    exact in a harmonic well at any stable step: positions T/k, momenta M T.

    References
    ----------
    Z. Zhang et al., J. Phys. Chem. A 123:6056–6079, 2019.
    """

    steerable = False

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
        """The momentum."""
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

    For underdamped dynamics. Momenta stand half a step before positions; a position follows from its momentum alone,
    so that a control can steer the path and the KL stays finite. Weighting the force by e makes a constant force drift
    exactly, and this noise makes a harmonic well's variances T/k · 1/(1 − e h²k/(2M(1 + c))) and M T · 2 tanh(x/2)/x ·
    (the same): both of second order in h.
    """

    def step(self, dynamics: Dynamics, z: State, force: Position, h: Tensor) -> Step:
        """N(c p + e h F, 2 M T e (1 − c)) for the momentum."""
        mass = dynamics.broadcast_quantity("mass")
        position, momentum = z.chunk(2, -1)
        lost, weight = self._decay(dynamics, h)
        scale = (2 * mass * dynamics.broadcast_quantity("temperature") * weight * lost).sqrt()
        loc, scale = torch.broadcast_tensors((1 - lost) * momentum + weight * h * force, scale)
        return Step(loc, scale, position, h / mass)

    def stochastic_component(self, z: State) -> Position:
        """The momentum."""
        return z.chunk(2, -1)[1]

    def complete(self, step: Step, component: Position) -> State:
        """(q', p')."""
        return torch.cat([step.midpoint + step.sensitivity * component, component], -1)

    def unit_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """M/(e h²)."""
        return dynamics.broadcast_quantity("mass") / (self._decay(dynamics, h)[1] * h.square())

    def coarse_stiffness(self, dynamics: Dynamics, h: Tensor) -> Tensor:
        """M (1 + c)/(e h²): γ/h where the momentum is forgotten within a step, 2M/h² where it is kept."""
        lost, weight = self._decay(dynamics, h)
        return dynamics.broadcast_quantity("mass") * (2 - lost) / (weight * h.square())

    @staticmethod
    def _decay(dynamics: Dynamics, h: Tensor) -> tuple[Tensor, Tensor]:
        """1 − c and e."""
        x = dynamics.broadcast_quantity("friction") * h / dynamics.broadcast_quantity("mass")
        lost = -torch.expm1(-x)
        return lost, lost / x


def default_integrator(dynamics: Dynamics) -> Integrator:
    """Euler–Maruyama where the state is the position, leapfrog where it has a momentum."""
    return EulerMaruyama() if dynamics.state == dynamics.latent else Leapfrog()
