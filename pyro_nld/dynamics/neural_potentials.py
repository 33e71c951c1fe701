"""Energy landscapes to be learned: tanh networks in a bowl, so that exp(−U/T) can be normalised.

Their gradients are written out by the chain rule. Training then needs one backward pass where automatic
differentiation of ∇U needs two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import celu, softplus

from ..errors import Count, Positive, ShapeError, Whole, checked
from ..nn import Dense, PartList
from .potentials import Potential


def layer_widths(hidden: object) -> tuple[int, ...]:
    """Widths of hidden layers, as numbers.

    Raises
    ------
    ShapeError: they are not a sequence of whole numbers above zero.
    """
    if not isinstance(hidden, Sequence) or not all(isinstance(width, int) and width > 0 for width in hidden):
        raise ShapeError(f"hidden needs the width of every hidden layer: got {hidden!r}. Give for example (64, 64).")
    return tuple(hidden)


@checked
class NeuralPotential(Potential):
    """U(z) = NN(z) + c‖z‖², with a tanh network and c = softplus(·) > 0, so that exp(−U/T) can be normalised.

    Parameters
    ----------
    latent: number of axes of z.
    hidden: widths of the hidden layers.
    confinement: initial c, energy/length².

    Examples
    --------
    The network is bounded, so that U grows as c‖z‖² far from the origin.

    >>> potential = nld.NeuralPotential(latent=2, hidden=(16,), confinement=0.5)
    >>> far = torch.tensor([300.0, 400.0])
    >>> round(potential(far).item() / 500.0**2, 2)
    0.5
    """

    def __init__(self, latent: Count, hidden: Sequence[int] = (64, 64), confinement: Positive = 0.5) -> None:
        super().__init__()
        self.latent, self.hidden = latent, layer_widths(hidden)
        widths = [latent, *self.hidden]
        self.layers = PartList(Dense(a, b) for a, b in pairwise(widths))
        self.output = Dense(widths[-1], 1)
        self.raw_confinement = nn.Parameter(torch.tensor(math.log(math.expm1(confinement))))

    @property
    def confinement(self) -> Tensor:
        """The coefficient c of ‖z‖²."""
        return softplus(self.raw_confinement)

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""
        return self._energy(z, self.features(z))

    @property
    def coefficients(self) -> nn.Parameter | None:
        """w, the weights of the output layer."""
        return _learned_weight(self.output)

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """φ(z), the last hidden layer."""
        return self._layers(z)[-1]

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z) = W₁ᵀ diag(1 − h₁²) … diag(1 − h_L²) w + 2 c z."""
        return self._gradient(z, self._layers(z))

    def energy_and_gradient(
        self, z: Float[Tensor, "*batch latent"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch latent"]]:
        """U(z) and ∇U(z), which share the hidden layers, unless a subclass has another U."""
        if (type(self).forward, type(self).gradient) != (NeuralPotential.forward, NeuralPotential.gradient):
            return self(z), self.gradient(z)
        hidden = self._layers(z)
        return self._energy(z, hidden[-1]), self._gradient(z, hidden)

    def _layers(self, z: Tensor) -> list[Tensor]:
        hidden = [z]
        for layer in self.layers:
            hidden.append(torch.tanh(layer(hidden[-1])))
        return hidden[1:]

    def _energy(self, z: Tensor, last: Tensor) -> Tensor:
        return self.output(last).squeeze(-1) + self.confinement * z.square().sum(-1)

    def _gradient(self, z: Tensor, hidden: list[Tensor]) -> Tensor:
        back: Tensor = self.output.weight
        for layer, values in zip(reversed(list(self.layers)), reversed(hidden), strict=True):
            back = (back * (1 - values.square())) @ cast(Tensor, layer.weight)
        return back + 2 * self.confinement * z


@checked
class ResidualPotential(Potential):
    """U(z) = NN(z) + c‖z‖² with the paper's network: residual tanh blocks that read z again, between two CELU blocks.

    Parameters
    ----------
    latent: number of axes of z.
    features: width of the residual blocks.
    width: width of the first and last block.
    blocks: number of residual blocks.
    confinement: initial c, energy/length².
    inner: width of the tanh layer of a block, after which a linear layer leads back to the features; 96 in the models
        that were published. When None, a block is one tanh layer as wide as the features.

    References
    ----------
    Koop et al., NLDL 2024; the widths are those of the models published with the paper.

    Examples
    --------
    >>> potential = nld.ResidualPotential(latent=3, confinement=0.5)
    >>> potential(torch.randn(200, 3)).shape  # one energy per position
    torch.Size([200])
    >>> far = torch.tensor([1e5, 0.0, 0.0])
    >>> round(potential(far).item() / 1e5**2, 2)  # U grows as c‖z‖²
    0.5
    """

    def __init__(
        self, latent: Count, features: Count = 16, width: Count = 96, blocks: Whole = 4, confinement: Positive = 0.5,
        inner: Count | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.latent, self.width, self.inner = latent, width, inner
        self._features = features
        self.entry = PartList([Dense(latent, width), Dense(width, features)])
        self.blocks = PartList(Dense(features + latent, inner or features) for _ in range(blocks))
        self.back = PartList([] if inner is None else [Dense(inner, features) for _ in range(blocks)])
        self.exit = PartList([Dense(features, width), Dense(width, 1)])
        self.raw_confinement = nn.Parameter(torch.tensor(math.log(math.expm1(confinement))))

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""
        network = self.exit[1](self.features(z)).squeeze(-1)
        return network + softplus(self.raw_confinement) * z.square().sum(-1)

    @property
    def coefficients(self) -> nn.Parameter | None:
        """w, the weights of the last block's output."""
        return _learned_weight(self.exit[1])

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """φ(z), the hidden layer of the last block."""
        features = self.entry[1](celu(self.entry[0](z)))
        for place, block in enumerate(self.blocks):
            features = features + self._led_back(place, torch.tanh(block(torch.cat([features, z], -1))))
        return celu(self.exit[0](features))

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z), by the chain rule; the derivative of CELU is 1 + min(CELU, 0)."""
        first = celu(self.entry[0](z))
        features, slopes = self.entry[1](first), []
        for place, block in enumerate(self.blocks):
            bend = torch.tanh(block(torch.cat([features, z], -1)))
            features = features + self._led_back(place, bend)
            slopes.append(1 - bend.square())
        last = celu(self.exit[0](features))
        back = (self.exit[1].weight * (1 + last.clamp(max=0))) @ self.exit[0].weight
        direct = 2 * softplus(self.raw_confinement) * z
        for place, slope in reversed([*enumerate(slopes)]):
            bent = (back @ self.back[place].weight if self.back else back) * slope
            inner, outer = (bent @ self.blocks[place].weight).split([back.shape[-1], self.latent], -1)
            back, direct = back + inner, direct + outer
        return direct + ((back @ self.entry[1].weight) * (1 + first.clamp(max=0))) @ self.entry[0].weight

    def _led_back(self, place: int, bend: Tensor) -> Tensor:
        return self.back[place](bend) if self.back else bend


def _learned_weight(layer: nn.Module) -> nn.Parameter | None:
    """The weight of a layer, unless it has a prior of its own or is held fixed."""
    weight = layer._parameters.get("weight")
    return weight if isinstance(weight, nn.Parameter) and weight.requires_grad else None
