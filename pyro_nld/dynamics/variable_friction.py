"""Friction that depends on the position, as of a chain molecule that is stiffer where it is compact."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..nn import one_draw_at_a_time
from .equations import OverdampedLangevin, Position, State
from .potentials import Energy, gradient
from .quantities import Quantity


class VariableFrictionLangevin(OverdampedLangevin):
    """dz = (−∇U/γ(z) + T ∇(1/γ(z))) dt + √(2 T/γ(z)) dW (Itô), with γ(z) = γ₀ g(z): stationary ∝ exp(−U/T) for any g.

    The second term of the drift belongs to the friction. Without it, exp(−U/T) would not be stationary, and the wells
    of a fit would be deep where the friction is high.

    Parameters
    ----------
    potential: U, as for `OverdampedLangevin`.
    profile: g > 0, no unit, maps `(*batch, latent)` to `(*batch,)`: any function or module. Where it is near 1, γ₀ is
        the friction by which the length of steps is judged.
    temperature, friction: T and γ₀, as for `OverdampedLangevin`.

    Notes
    -----
    The noise of such a path depends on where it is, so that its posterior needs `NeuralControl`. Not checked: g > 0.

    References
    ----------
    A. W. C. Lau, T. C. Lubensky, Physical Review E 76:011123, 2007.

    Examples
    --------
    Without a force, motion drifts to where the friction is low, at T ∂(1/γ)/∂z.

    >>> prior = nld.VariableFrictionLangevin(nld.Quadratic([0.0]), profile=lambda z: 1 + z.square().sum(-1))
    >>> round(prior.drift(torch.tensor([[1.0]])).item(), 3)  # −2 z/(1 + z²)²
    -0.5
    """

    additive_noise = False

    def __init__(
        self,
        potential: Energy,
        profile: Callable[[Tensor], Tensor],
        temperature: Quantity = 1.0,
        friction: Quantity | None = 1.0,
    ) -> None:
        super().__init__(potential, temperature, friction)
        self.profile = profile

    def friction_at(self, z: State) -> Tensor:
        """γ₀ g(z)."""
        return self.broadcast_quantity("friction") * self._profile(z).unsqueeze(-1)

    def force(self, z: State) -> Position:
        """−∇U − T ∇ log g, which over γ(z) is the drift."""
        return super().force(z) - self.broadcast_quantity("temperature") * gradient(self._log_profile, z)

    def _profile(self, z: Tensor) -> Tensor:
        profile = self.profile
        return one_draw_at_a_time(profile, profile, z) if isinstance(profile, torch.nn.Module) else profile(z)

    def _log_profile(self, z: Tensor) -> Tensor:
        return self._profile(z).log()
