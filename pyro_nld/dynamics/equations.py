"""Langevin equations: the force, the noise, and the stationary density.

A dynamics is the equation of motion; `integrators` discretise it, and `paths` turn its steps into a distribution. A
state, `(*batch, time, state)`, is the position q in overdamped dynamics, and position and momentum (q, p) in
underdamped dynamics. The force is −∇U of a landscape in `OverdampedLangevin` and `UnderdampedLangevin`, and any
function in `OverdampedSDE` and `UnderdampedSDE`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import PriorError
from ..nn import one_draw_at_a_time
from .forces import Force
from .functions import as_potential
from .potentials import Energy, Potential
from .quantities import Physical, Quantity

State = Float[Tensor, "*batch time state"]
Position = Float[Tensor, "*batch time latent"]

Field = Callable[[Tensor], Tensor]
"""Maps points `(point, axis)` to one vector at each, `(point, part)`."""

UNITS = {"temperature": "energy", "friction": "energy·time/length²", "mass": "energy·time²/length²"}
"""Of physical quantities; only U/T is observable, so that the unit of energy is free."""

FIRST_MASS = 0.1  # of a learned mass. With γ = 1, momenta then last one observation interval of the median length.


def jacobian(field: Field, points: Float[Tensor, "point axis"]) -> Float[Tensor, "point part axis"]:
    """∂f_i/∂z_j at every point. It takes one backward pass per axis and keeps no graph."""
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
    """dz = drift(z) dt + diffusion(z) dW, the contract of a Langevin equation.

    `latent` is the number of position axes, and `state` the number of axes of the whole state. Force and noise act on
    `latent` axes of the state: on positions in overdamped dynamics, on momenta in underdamped dynamics.

    Examples
    --------
    Every dynamics gives its drift, its noise and the stiffness of its force. The noise is √(2 D), with D = T/γ.

    >>> prior = nld.OverdampedLangevin(nld.Quadratic([4.0]), temperature=0.5, friction=2.0)
    >>> isinstance(prior, nld.Dynamics)
    True
    >>> z = torch.zeros(1, 1)
    >>> prior.stiffness(z).item()
    4.0
    >>> round(prior.diffusion(z).item() ** 2 / 2, 3)
    0.25
    """

    latent: int
    state: int
    additive_noise = True
    """Whether the noise is the same everywhere; a path under a linear force is then Gaussian."""

    @abstractmethod
    def force(self, z: State) -> Position:
        """F(z), the deterministic force without friction, energy/length: −∇U(q) where there is a landscape."""

    def force_under(self, z: State, drive: Tensor | None) -> Position:
        """F(z) under what acts from outside, `(*batch, time, input)`; the force itself where nothing does."""
        return self.force(z)

    def drive(self, number: Tensor, size: int, intervals: int) -> Tensor | None:
        """What acts from outside on sequences with these numbers, of `size`, `(sequence, interval, input)`, or None."""
        return None

    @abstractmethod
    def drift(self, z: State) -> State:
        """dz/dt without noise, in units of the state per time."""

    @abstractmethod
    def diffusion(self, z: State) -> State:
        """The amplitude of the noise on every axis of the state; zero on axes without noise."""

    @abstractmethod
    def thermal_scale(self) -> Tensor:
        """√(M T), the standard deviation of the momentum in equilibrium; empty where a state has no momentum."""

    @property
    def landscape(self) -> Potential | None:
        """U where the force is −∇U; None where there is no landscape."""
        return None

    def _axes(self) -> int | None:
        return self.latent

    def _quantity(self, value: Quantity | None, start: float = 1.0) -> Quantity:
        """The value that a user gave, or else one learned number per axis."""
        return nn.Parameter(torch.full((self.latent,), start)) if value is None else value

    def friction_at(self, z: State) -> Tensor:
        """γ at these states, energy·time/length², in a shape that broadcasts against positions."""
        return self.broadcast_quantity("friction")

    def position(self, z: Float[Tensor, "*any state"]) -> Float[Tensor, "*any latent"]:
        """q, the axes of a state on which observations depend."""
        return z[..., : self.latent]

    def rest_force(self, q: Float[Tensor, "point latent"]) -> Float[Tensor, "point latent"]:
        """F(q, p = 0), the force at rest. The dynamics must have no random quantities."""
        return self.force(nn.functional.pad(q, (0, self.state - self.latent)))

    def stiffness(self, q: Float[Tensor, "point latent"]) -> Float[Tensor, "point latent latent"]:
        """−∂F/∂q at rest, which is the Hessian of U where F = −∇U. The dynamics must have no random quantities."""
        return -jacobian(self.rest_force, q)


class Overdamped(Dynamics):
    """dz = γ⁻¹ F(z) dt + √(2 T γ⁻¹) dW: motion of positions without momentum, under any force F."""

    quantities = ("temperature", "friction")
    units = UNITS

    def __init__(self, latent: int, temperature: Quantity, friction: Quantity | None) -> None:
        super().__init__()
        self.latent = self.state = latent
        self.temperature = temperature
        self.friction = self._quantity(friction)

    def drift(self, z: State) -> State:
        """γ⁻¹ F(z)."""
        return self.force(z) / self.friction_at(z)

    def diffusion(self, z: State) -> State:
        """√(2 T/γ)."""
        return (2 * self.broadcast_quantity("temperature") / self.friction_at(z)).sqrt().expand_as(z)

    def thermal_scale(self) -> Tensor:
        """An empty tensor, for the state is the position."""
        return self.broadcast_quantity("temperature").new_zeros(0)


class Underdamped(Dynamics):
    """dq = M⁻¹p dt;  dp = F(q, p) dt − γ M⁻¹ p dt + √(2 γ T) dW: motion with momentum, under any force F."""

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
    potential: U, maps `(*batch, latent)` to `(*batch,)`, energy; a `Potential`, or any function, see `as_potential`.
    temperature: T > 0, energy. A number, a distribution (latent site `temperature`), or an `nn.Parameter`.
    friction: γ > 0, energy·time/length², scalar or one per axis; when None, one per axis is learned.

    Notes
    -----
    Overdamped data determine only U/γ and T/γ. If the decoder is free, γ and the unit of an axis cannot be
    distinguished. It still helps to learn γ: a fit can then change the speed of an axis by one number, instead of
    changing decoder, landscape and guide together.

    Examples
    --------
    >>> prior = nld.OverdampedLangevin(nld.Quadratic([4.0]), temperature=0.5, friction=2.0)
    >>> prior.drift(torch.tensor([[1.0]])).item()  # −k z/γ
    -2.0
    """

    def __init__(self, potential: Energy, temperature: Quantity = 1.0, friction: Quantity | None = 1.0) -> None:
        potential = as_potential(potential)
        super().__init__(potential.latent, temperature, friction)
        self.potential = potential

    @property
    def landscape(self) -> Potential:
        """U."""
        return self.potential

    def force(self, z: State) -> Position:
        """−∇U(z)."""
        return -one_draw_at_a_time(self.potential, self.potential.gradient, z)

    def stationary_log_density(self, z: Float[Tensor, "*batch time state"]) -> Float[Tensor, "*out time"]:
        """−U(z)/T, not normalised."""
        return -self.potential(z) / self.broadcast_quantity("temperature").squeeze(-1)


class UnderdampedLangevin(Underdamped):
    """dq = M⁻¹p dt;  dp = −∇U(q) dt − γ M⁻¹ p dt + √(2 γ T) dW; stationary ∝ exp(−U(q)/T) N(p; 0, M T) (paper, eq. 17).

    Parameters
    ----------
    potential: U, maps `(*batch, latent)` to `(*batch,)`, energy; a `Potential`, or any function, see `as_potential`.
    temperature: T > 0, energy. A number, a distribution (latent site `temperature`), or an `nn.Parameter`.
    friction: γ > 0, energy·time/length², scalar or one per axis; when None, one per axis is learned.
    mass: M > 0, energy·time²/length², scalar or one per axis; when None, one per axis is learned. A learned mass starts
        so small that the momentum decays from one observation to the next.

    Notes
    -----
    Eq. 20 of the paper prints the momentum covariance M⁻¹. That of this equation is M T, as a simulation in the tests
    confirms.

    Examples
    --------
    >>> prior = nld.UnderdampedLangevin(nld.Quadratic([4.0]), temperature=2.0, friction=1.0, mass=0.5)
    >>> prior.thermal_scale().item()  # √(M T), of the momentum
    1.0
    >>> prior.drift(torch.tensor([[1.0, 0.5]])).tolist()  # (p/M, −k q − γ p/M)
    [[1.0, -5.0]]
    """

    def __init__(
        self,
        potential: Energy,
        temperature: Quantity = 1.0,
        friction: Quantity | None = 1.0,
        mass: Quantity | None = 1.0,
    ) -> None:
        potential = as_potential(potential)
        super().__init__(potential.latent, temperature, friction, mass)
        self.potential = potential

    @property
    def landscape(self) -> Potential:
        """U."""
        return self.potential

    def force(self, z: State) -> Position:
        """−∇U(q)."""
        return -one_draw_at_a_time(self.potential, self.potential.gradient, self.position(z))

    def stationary_log_density(self, z: Float[Tensor, "*batch time state"]) -> Float[Tensor, "*out time"]:
        """−U(q)/T − pᵀM⁻¹p/(2T), not normalised."""
        kinetic = (z[..., self.latent :].square() / self.broadcast_quantity("mass")).sum(-1) / 2
        return -(self.potential(self.position(z)) + kinetic) / self.broadcast_quantity("temperature").squeeze(-1)


class OverdampedSDE(Overdamped):
    """dz = γ⁻¹ F(z) dt + √(2 T γ⁻¹) dW with any force: the generic neural SDE, to compare with a Langevin prior.

    It has no landscape, hence no depths, barriers, or occupancies by energy. A model with it can be fitted and used for
    segmentation, and its attractors and its drift can be found and drawn.

    Parameters
    ----------
    force: F, of positions. temperature, friction: as for `OverdampedLangevin`.

    Raises
    ------
    PriorError: the force depends on momenta.

    Examples
    --------
    A body that sinks in a viscous liquid with the velocity F/γ:

    >>> class Weight(nld.Force):
    ...     latent = 1
    ...     def forward(self, z):
    ...         return torch.full_like(z, -3.0)
    >>> sinking = nld.OverdampedSDE(Weight(), friction=2.0)
    >>> sinking.drift(torch.zeros(1, 1)).item()
    -1.5
    >>> sinking.landscape is None
    True
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
    """dq = M⁻¹p dt;  dp = F(q, p) dt − γ M⁻¹ p dt + √(2 γ T) dW with any force of positions, momenta or both.

    Parameters
    ----------
    force: F. If it contains a friction of its own, that adds to γ M⁻¹ p.
    temperature, friction, mass: as for `UnderdampedLangevin`.

    Examples
    --------
    At the terminal velocity F/γ = −1.5, friction balances the weight, and the momentum stays as it is.

    >>> class Weight(nld.Force):
    ...     latent = 1
    ...     def forward(self, z):
    ...         return torch.full_like(z[..., :1], -3.0)
    >>> falling = nld.UnderdampedSDE(Weight(), friction=2.0, mass=1.0)
    >>> falling.drift(torch.tensor([[0.0, -1.5]])).tolist()
    [[-1.5, 0.0]]
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
