"""Forces that need no landscape: any network in place of −∇U, of positions, of momenta, or of both.

A force maps states `(*batch, time, state)` to `(*batch, time, latent)`, energy per length. Without momenta a state is a
position; with them it is (q, p).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import PriorError, ShapeError
from ..nn import Dense, Part, PartList


class Force(Part):
    """The contract: F(z), on `latent` axes; `sees` says which halves of a state it reads: position, momentum, both."""

    latent: int
    sees: str = "position"

    @abstractmethod
    def forward(self, z: Float[Tensor, "*batch state"]) -> Float[Tensor, "*out latent"]:
        """F(z), energy per length."""


class NeuralForce(Force):
    """F(z) = NN(what it sees) − 2 c q, with a tanh network and c = softplus(·) > 0, so that paths do not leave.

    Most of these are the gradient of nothing. Confinement acts where positions are seen, for friction holds momenta.

    Parameters
    ----------
    latent: number of position axes.
    sees: "position", F(q); "momentum", F(p); "both", F(q, p).
    hidden: widths of the hidden layers.
    confinement: initial c, energy per length².
    """

    def __init__(
        self, latent: int, sees: str = "position", hidden: Sequence[int] = (64, 64), confinement: float = 0.5
    ) -> None:
        super().__init__()
        if sees not in ("position", "momentum", "both"):
            raise PriorError(f'a force sees "position", "momentum" or "both": got {sees!r}. Choose one.')
        self.latent, self.sees, self.hidden = latent, sees, tuple(hidden)
        widths = [2 * latent if sees == "both" else latent, *hidden]
        self.layers = PartList(Dense(a, b) for a, b in pairwise(widths))
        self.output = Dense(widths[-1], latent)
        if sees != "momentum":
            self.raw_confinement = nn.Parameter(torch.tensor(math.log(math.expm1(confinement))))

    def forward(self, z: Float[Tensor, "*batch state"]) -> Float[Tensor, "*out latent"]:
        """F(z), energy per length."""
        position, momentum = z[..., : self.latent], z[..., self.latent :]
        features = {"position": position, "momentum": momentum, "both": z}[self.sees]
        for layer in self.layers:
            features = torch.tanh(layer(features))
        free = self.output(features)
        return free if self.sees == "momentum" else free - 2 * softplus(self.raw_confinement) * position


class SumOfForces(Force):
    """F(z) = Σ F_k(z), for example a force of positions and one of momenta.

    Parameters
    ----------
    forces: two or more, on the same number of axes.

    Raises
    ------
    ShapeError: their axes differ.
    """

    def __init__(self, *forces: Force) -> None:
        super().__init__()
        axes = {force.latent for force in forces}
        if len(axes) != 1:
            raise ShapeError(f"forces that add up need the same axes: got {sorted(axes)} axes. Change one of them.")
        self.latent = axes.pop()
        sights = {force.sees for force in forces}
        self.sees = sights.pop() if len(sights) == 1 else "both"
        self.forces = PartList(forces)

    def _facts(self) -> dict[str, object]:
        return {f"force {place}": force for place, force in enumerate(self.forces)}

    def forward(self, z: Float[Tensor, "*batch state"]) -> Float[Tensor, "*out latent"]:
        """F(z), energy per length."""
        return torch.stack([force(z) for force in self.forces]).sum(0)
