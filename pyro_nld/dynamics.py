"""Langevin equations: what force acts, what noise drives, what density is stationary.

A dynamics says *what* moves; `integrators` say in which steps, `paths` turn steps into a distribution. A state is
`(*batch, time, state)`: the position q for overdamped dynamics, position and momentum (q, p) for underdamped.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ._modules import Physical, Quantity
from .potentials import Potential

State = Float[Tensor, "*batch time state"]
Position = Float[Tensor, "*batch time latent"]

LIGHT = 0.1  # first value of a learned mass: with γ = 1 one observation interval, when the unit of time is the data's


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

    def _quantity(self, value: Quantity | None, start: float = 1.0) -> Quantity:
        """What a user gave, or one learned number per axis."""
        return nn.Parameter(torch.full((self.latent,), start)) if value is None else value

    def position(self, z: Float[Tensor, "*any state"]) -> Float[Tensor, "*any latent"]:
        """The axes an observation can see: q."""
        return z[..., : self.latent]


class OverdampedLangevin(Dynamics):
    """dz = −γ⁻¹ ∇U(z) dt + √(2 T γ⁻¹) dW; stationary density ∝ exp(−U/T) (paper, eq. 14).

    Parameters
    ----------
    potential: U, maps `(*batch, latent)` to `(*batch,)`, energy.
    temperature: T > 0, energy. A number, a distribution (latent site `temperature`), or an `nn.Parameter`.
    friction: γ > 0, energy·time/length², scalar or per axis; None: learned, one per axis. Overdamped data identify
        only U/γ and T/γ. Behind a free decoder γ and the axis' unit are one quantity; learning γ then lets a fit find
        how fast an axis moves by one number, where a change of unit would need decoder, landscape and guide.
    """

    quantities = ("temperature", "friction")

    def __init__(self, potential: Potential, temperature: Quantity = 1.0, friction: Quantity | None = 1.0) -> None:
        super().__init__()
        self.latent = self.state = potential.latent
        self.potential = potential
        self.temperature = temperature
        self.friction = self._quantity(friction)

    def force(self, z: State) -> Position:
        """−∇U(z)."""
        return -self.potential.gradient(z)

    def drift(self, z: State) -> State:
        """−γ⁻¹ ∇U(z)."""
        return self.force(z) / self.aligned("friction")

    def diffusion(self, z: State) -> State:
        """√(2 T/γ)."""
        return (2 * self.aligned("temperature") / self.aligned("friction")).sqrt().expand_as(z)

    def thermal_scale(self) -> Tensor:
        """Empty: the state is the position."""
        return self.aligned("temperature").new_zeros(0)

    def stationary_log_density(self, z: Float[Tensor, "*batch time state"]) -> Float[Tensor, "*out time"]:
        """−U(z)/T, not normalised."""
        return -self.potential(z) / self.aligned("temperature").squeeze(-1)


class UnderdampedLangevin(Dynamics):
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

    quantities = ("temperature", "friction", "mass")

    def __init__(
        self,
        potential: Potential,
        temperature: Quantity = 1.0,
        friction: Quantity | None = 1.0,
        mass: Quantity | None = 1.0,
    ) -> None:
        super().__init__()
        self.latent, self.state = potential.latent, 2 * potential.latent
        self.potential = potential
        self.temperature = temperature
        self.friction = self._quantity(friction)
        self.mass = self._quantity(mass, start=LIGHT)

    def force(self, z: State) -> Position:
        """−∇U(q)."""
        return -self.potential.gradient(self.position(z))

    def drift(self, z: State) -> State:
        """(p/M, −∇U(q) − γ p/M)."""
        velocity = z[..., self.latent :] / self.aligned("mass")
        return torch.cat([velocity, self.force(z) - self.aligned("friction") * velocity], -1)

    def diffusion(self, z: State) -> State:
        """(0, √(2 γ T))."""
        momentum = z[..., self.latent :]
        scale = (2 * self.aligned("temperature") * self.aligned("friction")).sqrt().expand_as(momentum)
        return torch.cat([torch.zeros_like(momentum), scale], -1)

    def thermal_scale(self) -> Tensor:
        """√(M T), one per axis."""
        scale = (self.aligned("mass") * self.aligned("temperature")).sqrt()
        scale = scale.squeeze(-2) if scale.dim() > 1 else scale
        return scale.expand(*scale.shape[:-1], self.latent) if scale.dim() else scale.expand(self.latent)

    def stationary_log_density(self, z: Float[Tensor, "*batch time state"]) -> Float[Tensor, "*out time"]:
        """−U(q)/T − pᵀM⁻¹p/(2T), not normalised."""
        kinetic = (z[..., self.latent :].square() / self.aligned("mass")).sum(-1) / 2
        return -(self.potential(self.position(z)) + kinetic) / self.aligned("temperature").squeeze(-1)
