"""Forces without a landscape: any function of positions, of momenta, or of both, in place of −∇U.

A force maps states `(*batch, time, state)` to `(*batch, time, latent)`, energy/length. A state is the position q in
overdamped dynamics and (q, p) in underdamped dynamics.
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

from ..errors import Count, Positive, PriorError, ShapeError, checked
from ..nn import Dense, PartList, Pointwise
from .neural_potentials import layer_widths


class Force(Pointwise):
    """F(z), the contract: a subclass sets `latent`, the number of axes on which it acts, and defines `forward`.

    `sees` says which half of a state it depends on: "position", "momentum" or "both".

    Examples
    --------
    A force that turns around the origin is the gradient of no landscape.

    >>> class Vortex(nld.Force):
    ...     latent = 2
    ...     def forward(self, z):
    ...         return torch.stack([-z[..., 1], z[..., 0]], -1)
    >>> Vortex()(torch.tensor([1.0, 2.0])).tolist()
    [-2.0, 1.0]
    """

    latent: int
    sees: str = "position"

    @abstractmethod
    def forward(self, z: Float[Tensor, "*batch state"]) -> Float[Tensor, "*out latent"]:
        """F(z), energy per length."""


@checked
class NeuralForce(Force):
    """F(z) = NN(z) − 2 c q, with a tanh network and c = softplus(·) > 0, so that paths stay near the origin.

    In general such a force is not the gradient of a potential. If it depends on momenta alone, it has no confinement,
    since friction limits the momenta already.

    Parameters
    ----------
    latent: number of position axes.
    sees: what the network reads: "position", for F(q); "momentum", for F(p); "both", for F(q, p).
    hidden: widths of the hidden layers.
    confinement: initial c, energy/length².

    Raises
    ------
    PriorError: `sees` is none of these.

    Examples
    --------
    Far from the origin the spring −2 c q is all that counts.

    >>> force = nld.NeuralForce(latent=2, hidden=(16,), confinement=0.5)
    >>> far = torch.tensor([1000.0, 0.0])
    >>> round(force(far)[0].item() / 1000, 1)
    -1.0
    """

    def __init__(
        self, latent: Count, sees: str = "position", hidden: Sequence[int] = (64, 64), confinement: Positive = 0.5
    ) -> None:
        super().__init__()
        if sees not in ("position", "momentum", "both"):
            raise PriorError(f'a force sees "position", "momentum" or "both": got {sees!r}. Choose one.')
        self.latent, self.sees, self.hidden = latent, sees, layer_widths(hidden)
        widths = [2 * latent if sees == "both" else latent, *self.hidden]
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
    ShapeError: the forces act on different numbers of axes.

    Examples
    --------
    >>> class Spring(nld.Force):
    ...     latent = 1
    ...     def forward(self, z):
    ...         return -3.0 * z
    >>> nld.SumOfForces(Spring(), Spring())(torch.tensor([0.5])).item()  # springs in parallel: −2 k q
    -3.0
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
