"""Potentials out of any function or module: what a user has at hand serves as a landscape."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..errors import PriorError, ShapeError
from ..nn import widths
from .potentials import Energy, Potential


class FunctionPotential(Potential):
    """U(z) = f(z) for any function or module f. `as_potential` makes one where a dynamics is given such an f.

    Parameters
    ----------
    function: f, maps `(*batch, latent)` to `(*batch,)`, or to `(*batch, 1)` as a network does. latent: number of axes.

    Raises
    ------
    ShapeError: f gives another shape.
    """

    def __init__(self, function: Energy, latent: int) -> None:
        super().__init__()
        self.function, self.latent = function, latent

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """f(z), energy."""
        energy = self.function(z)
        if energy.shape not in (z.shape[:-1], (*z.shape[:-1], 1)):
            raise ShapeError(
                f"a potential maps points to energies: expected {tuple(z.shape[:-1])} from {tuple(z.shape)}, got "
                f"{tuple(energy.shape)}. Sum over the last axis."
            )
        return energy.view(z.shape[:-1])


def as_potential(potential: Energy) -> Potential:
    """A potential as it is, and any other function or module with its gradient by automatic differentiation.

    Parameters
    ----------
    potential: U, with an attribute `latent`, the number of axes, unless a linear layer says it.

    Raises
    ------
    PriorError: it is no function, or nothing says how many axes it has.

    Examples
    --------
    >>> from pyro_nld.dynamics.functions import as_potential
    >>> network = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    >>> as_potential(network).gradient(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    if isinstance(potential, Potential):
        return potential
    latent = getattr(potential, "latent", widths(potential)[0])
    if not callable(potential) or latent is None:
        raise PriorError(
            f"a potential is a function of positions with an attribute `latent`, its number of axes: got "
            f"{type(potential).__name__} without. Set it, or derive from nld.Potential."
        )
    return FunctionPotential(potential, latent)
