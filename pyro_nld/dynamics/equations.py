"""Langevin equations: what force acts, what noise drives, what density is stationary.

A dynamics says *what* moves; `integrators` say in which steps, `paths` turn steps into a distribution. A state is
`(*batch, time, state)`: the position q for overdamped dynamics, position and momentum (q, p) for underdamped. The force
is −∇U of a landscape (`OverdampedLangevin`, `UnderdampedLangevin`), or any (`OverdampedSDE`, `UnderdampedSDE`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import PriorError
from .forces import Force
from .potentials import Potential
from .quantities import Physical, Quantity

State = Float[Tensor, "*batch time state"]
Position = Float[Tensor, "*batch time latent"]

Field = Callable[[Tensor], Tensor]
"""Points `(point, axis)` to a vector at each, `(point, part)`."""

UNITS = {"temperature": "energy", "friction": "energy·time/length²", "mass": "energy·time²/length²"}
"""Of physical quantities; only U/T is observable, so that the unit of energy is free."""

FIRST_MASS = 0.1  # of a learned mass. With γ = 1, momenta then last one observation interval of the median length.


def jacobian(field: Field, points: Float[Tensor, "point axis"]) -> Float[Tensor, "point part axis"]:
    """∂f_i/∂z_j at points, one backward pass per axis, no graph kept."""
    with torch.enable_grad():
        leaf = points.detach().requires_grad_()
        value = field(leaf)
        if not value.requires_grad:  # a constant field
            return points.new_zeros(*value.shape, points.shape[-1])
        rows = [
            torch.autograd.grad(part.sum(), leaf, retain_graph=True, materialize_grads=True)[0]
            for part in value.unbind(-1)
        ]
    return torch.stack(rows, -2)


class Dynamics(Physical):
    """The contract of a Langevin equation driven by a force on the noise-bearing half of its state.

    `latent` is the number of position axes, `state` the number of axes of the whole state.
    """

    latent: int
    state: int

    @abstractmethod
    def force(self, z: State) -> Position:
        """Deterministic force without friction, energy/length: −∇U(q) when there is a landscape."""

    @abstractmethod
    def drift(self, z: State) -> State:
        """dz/dt without noise, state per time."""

    @abstractmethod
    def diffusion(self, z: State) -> State:
        """Amplitude of the noise on every axis of the state (zero where none acts)."""

    @abstractmethod
    def thermal_scale(self) -> Tensor:
        """Equilibrium standard deviation of the state beyond the position: empty, or √(M T) for the momentum."""

    @property
    def landscape(self) -> Potential | None:
        """U where the force is −∇U; None where there is no landscape."""
        return None

    def _quantity(self, value: Quantity | None, start: float = 1.0) -> Quantity:
        """What a user gave, or one learned number per axis."""
        return nn.Parameter(torch.full((self.latent,), start)) if value is None else value

    def position(self, z: Float[Tensor, "*any state"]) -> Float[Tensor, "*any latent"]:
        """The axes an observation can see: q."""
        return z[..., : self.latent]

    def rest_force(self, q: Float[Tensor, "point latent"]) -> Float[Tensor, "point latent"]:
        """F(q, p = 0): the force on positions at rest, of fixed dynamics."""
        return self.force(nn.functional.pad(q, (0, self.state - self.latent)))

    def stiffness(self, q: Float[Tensor, "point latent"]) -> Float[Tensor, "point latent latent"]:
        """−∂F/∂q at rest, of fixed dynamics: the Hessian where the force is −∇U."""
        return -jacobian(self.rest_force, q)


class Overdamped(Dynamics):
    """dz = γ⁻¹ F(z) dt + √(2 T γ⁻¹) dW: how a force moves positions that have no momentum."""

    quantities = ("temperature", "friction")
    units = UNITS

    def __init__(self, latent: int, temperature: Quantity, friction: Quantity | None) -> None:
        super().__init__()
        self.latent = self.state = latent
        self.temperature = temperature
        self.friction = self._quantity(friction)

    def drift(self, z: State) -> State:
        """γ⁻¹ F(z)."""
        return self.force(z) / self.broadcast_quantity("friction")

    def diffusion(self, z: State) -> State:
        """√(2 T/γ)."""
        return (2 * self.broadcast_quantity("temperature") / self.broadcast_quantity("friction")).sqrt().expand_as(z)

    def thermal_scale(self) -> Tensor:
        """Empty: the state is the position."""
        return self.broadcast_quantity("temperature").new_zeros(0)


class Underdamped(Dynamics):
    """dq = M⁻¹p dt;  dp = F(q, p) dt − γ M⁻¹ p dt + √(2 γ T) dW: how a force moves positions through momenta."""

    quantities = ("temperature", "friction", "mass")
    units = UNITS

    def __init__(self, latent: int, temperature: Quantity, friction: Quantity | None, mass: Quantity | None) -> None:
        super().__init__()
        self.latent, self.state = latent, 2 * latent
        self.temperature = temperature
        self.friction = self._quantity(friction)
        self.mass = self._quantity(mass, start=FIRST_MASS)

    def drift(self, z: State) -> State:
        """(p/M, F(z) − γ p/M)."""
        velocity = z[..., self.latent :] / self.broadcast_quantity("mass")
        return torch.cat([velocity, self.force(z) - self.broadcast_quantity("friction") * velocity], -1)

    def diffusion(self, z: State) -> State:
        """(0, √(2 γ T))."""
        momentum = z[..., self.latent :]
        scale = (2 * self.broadcast_quantity("temperature") * self.broadcast_quantity("friction")).sqrt()
        return torch.cat([torch.zeros_like(momentum), scale.expand_as(momentum)], -1)

    def thermal_scale(self) -> Tensor:
        """√(M T), one per axis."""
        scale = (self.broadcast_quantity("mass") * self.broadcast_quantity("temperature")).sqrt()
        scale = scale.squeeze(-2) if scale.dim() > 1 else scale
        return scale.expand(*scale.shape[:-1], self.latent) if scale.dim() else scale.expand(self.latent)


class OverdampedLangevin(Overdamped):
    """dz = −γ⁻¹ ∇U(z) dt + √(2 T γ⁻¹) dW; stationary density ∝ exp(−U/T) (paper, eq. 14).

    Parameters
    ----------
    potential: U, maps `(*batch, latent)` to `(*batch,)`, energy.
    temperature: T > 0, energy. A number, a distribution (latent site `temperature`), or an `nn.Parameter`.
    friction: γ > 0, energy·time/length², scalar or per axis; None: learned, one per axis. Overdamped data identify
        only U/γ and T/γ. Behind a free decoder γ and the axis' unit are one quantity; learning γ then lets a fit find
        how fast an axis moves by one number, where a change of unit would need decoder, landscape and guide.
    """

    def __init__(self, potential: Potential, temperature: Quantity = 1.0, friction: Quantity | None = 1.0) -> None:
        super().__init__(potential.latent, temperature, friction)
        self.potential = potential

    @property
    def landscape(self) -> Potential:
        """U."""
        return self.potential

    def force(self, z: State) -> Position:
        """−∇U(z)."""
        return -self.potential.gradient(z)

    def stationary_log_density(self, z: Float[Tensor, "*batch time state"]) -> Float[Tensor, "*out time"]:
        """−U(z)/T, not normalised."""
        return -self.potential(z) / self.broadcast_quantity("temperature").squeeze(-1)


class UnderdampedLangevin(Underdamped):
    """dq = M⁻¹p dt;  dp = −∇U(q) dt − γ M⁻¹ p dt + √(2 γ T) dW; stationary ∝ exp(−U(q)/T) N(p; 0, M T) (paper, eq. 17).

    Parameters
    ----------
    potential: U, maps `(*batch, latent)` to `(*batch,)`, energy.
    temperature: T > 0, energy. A number, a distribution (latent site `temperature`), or an `nn.Parameter`.
    friction: γ > 0, energy·time/length², scalar or per axis; the same choices, or None: learned, one per axis.
    mass: M > 0, energy·time²/length², scalar or per axis; the same choices as for friction. Learned, it starts light
        enough that momenta are forgotten from one observation to the next.

    Notes
    -----
    The paper's eq. 20 prints momentum covariance M⁻¹; the covariance of this equation is M T (tested by simulation).
    """

    def __init__(
        self,
        potential: Potential,
        temperature: Quantity = 1.0,
        friction: Quantity | None = 1.0,
        mass: Quantity | None = 1.0,
    ) -> None:
        super().__init__(potential.latent, temperature, friction, mass)
        self.potential = potential

    @property
    def landscape(self) -> Potential:
        """U."""
        return self.potential

    def force(self, z: State) -> Position:
        """−∇U(q)."""
        return -self.potential.gradient(self.position(z))

    def stationary_log_density(self, z: Float[Tensor, "*batch time state"]) -> Float[Tensor, "*out time"]:
        """−U(q)/T − pᵀM⁻¹p/(2T), not normalised."""
        kinetic = (z[..., self.latent :].square() / self.broadcast_quantity("mass")).sum(-1) / 2
        return -(self.potential(self.position(z)) + kinetic) / self.broadcast_quantity("temperature").squeeze(-1)


class OverdampedSDE(Overdamped):
    """dz = γ⁻¹ F(z) dt + √(2 T γ⁻¹) dW with any force: the generic neural SDE that a Langevin prior wants to replace.

    No landscape: depths, barriers and occupancies by energy do not exist. Fits, segmentation, attractors and pictures
    of the drift do.

    Parameters
    ----------
    force: F, of positions. temperature, friction: as for `OverdampedLangevin`.

    Raises
    ------
    PriorError: the force asks for momenta.
    """

    def __init__(self, force: Force, temperature: Quantity = 1.0, friction: Quantity | None = 1.0) -> None:
        if force.sees != "position":
            raise PriorError(
                f'an overdamped state has no momentum: expected a force that sees "position", got "{force.sees}". '
                "Use UnderdampedSDE, or a force of positions."
            )
        super().__init__(force.latent, temperature, friction)
        self.field = force

    def _facts(self) -> dict[str, object]:
        return {"force": self.field} | super()._facts()

    def force(self, z: State) -> Position:
        """F(z)."""
        return self.field(z)


class UnderdampedSDE(Underdamped):
    """dq = M⁻¹p dt;  dp = F(q, p) dt − γ M⁻¹ p dt + √(2 γ T) dW with any force, of positions, momenta or both.

    Parameters
    ----------
    force: F; what friction it adds stands beside γ M⁻¹ p. temperature, friction, mass: as for `UnderdampedLangevin`.
    """

    def __init__(
        self,
        force: Force,
        temperature: Quantity = 1.0,
        friction: Quantity | None = 1.0,
        mass: Quantity | None = 1.0,
    ) -> None:
        super().__init__(force.latent, temperature, friction, mass)
        self.field = force

    def _facts(self) -> dict[str, object]:
        return {"force": self.field} | super()._facts()

    def force(self, z: State) -> Position:
        """F(q, p)."""
        return self.field(z)
