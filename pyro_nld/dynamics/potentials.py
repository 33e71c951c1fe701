"""Energy landscapes U(z): neural ones to be learned, analytic ones with known answers, and wrappers.

A potential maps `(*batch, latent)` to `(*batch,)`, an energy. Only U/T is observable (T the temperature). Everything
that reads a landscape takes any callable of this shape; `gradient` and `hessian` work on any of them.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import celu, softplus

from ..errors import ShapeError
from ..nn import Dense, Part, PartList

Energy = Callable[[Tensor], Tensor]
"""Any U: `(*batch, latent)` to `(*batch,)`."""


def gradient(potential: Energy, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
    """∇U(z), differentiable again when gradients are enabled.

    Parameters
    ----------
    potential: U, maps `(*batch, latent)` to `(*batch,)`; its own `gradient` method is used when it has one.
    z: points, `(*batch, latent)`.
    """
    own = getattr(potential, "gradient", None)
    return own(z) if own is not None else _autograd_gradient(potential, z)


def hessian(potential: Energy, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent latent"]:
    """∇²U(z), symmetrised; one backward pass per latent axis, no graph kept.

    Parameters
    ----------
    potential: U, twice differentiable.
    z: points, `(*batch, latent)`.
    """
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        slope = gradient(potential, leaf)
        if not slope.requires_grad:  # a linear U
            return z.new_zeros(*z.shape, z.shape[-1])
        rows = [torch.autograd.grad(s.sum(), leaf, retain_graph=True)[0] for s in slope.unbind(-1)]
    matrix = torch.stack(rows, -2)
    return 0.5 * (matrix + matrix.mT)


def in_double(potential: Energy) -> Energy:
    """A float64 copy of a module, for what needs more digits than training; any other callable as it is."""
    return copy.deepcopy(potential).double() if isinstance(potential, nn.Module) else potential


def _autograd_gradient(potential: Energy, z: Tensor) -> Tensor:
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        leaf = z if z.requires_grad else z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(potential(leaf).sum(), leaf, create_graph=keep)
    return slope


class Potential(Part):
    """A potential with `latent` axes: write `forward`, and `gradient` when it has a cheap closed form."""

    latent: int

    @abstractmethod
    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z), energy per length."""
        return _autograd_gradient(self, z)

    @property
    def coefficients(self) -> nn.Parameter | None:
        """w, learned, where U(z) = w · φ(z) + what does not depend on w; None where U is linear in nothing learned."""
        return None

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """φ(z), one number per coefficient."""
        return z[..., :0]


class NeuralPotential(Potential):
    """U(z) = NN(z) + c‖z‖², with a tanh network and c = softplus(·) > 0, so that exp(−U/T) has a norm.

    The gradient is written out by the chain rule: training then needs one backward pass where automatic
    differentiation of ∇U needs two.

    Parameters
    ----------
    latent: number of axes of z.
    hidden: widths of the hidden layers.
    confinement: initial c, energy per length².
    """

    def __init__(self, latent: int, hidden: Sequence[int] = (64, 64), confinement: float = 0.5) -> None:
        super().__init__()
        self.latent, self.hidden = latent, tuple(hidden)
        widths = [latent, *hidden]
        self.layers = PartList(Dense(a, b) for a, b in pairwise(widths))
        self.output = Dense(widths[-1], 1)
        self.raw_confinement = nn.Parameter(torch.tensor(math.log(math.expm1(confinement))))

    @property
    def confinement(self) -> Tensor:
        """The coefficient c of ‖z‖²."""
        return softplus(self.raw_confinement)

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""
        return self.output(self.features(z)).squeeze(-1) + self.confinement * z.square().sum(-1)

    @property
    def coefficients(self) -> nn.Parameter | None:
        """The weights of the output."""
        return _learned_weight(self.output)

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """The last hidden layer."""
        for layer in self.layers:
            z = torch.tanh(layer(z))
        return z

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z) = W₁ᵀ diag(1 − h₁²) … diag(1 − h_L²) w + 2 c z."""
        weights = [cast(Tensor, layer.weight) for layer in self.layers]
        hidden, slopes = z, []
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
            slopes.append(1 - hidden.square())
        back: Tensor = self.output.weight
        for weight, slope in zip(reversed(weights), reversed(slopes), strict=True):
            back = (back * slope) @ weight
        return back + 2 * self.confinement * z


class ResidualPotential(Potential):
    """The paper's energy network: CELU blocks at both ends, residual tanh blocks fed with z again, and c‖z‖².

    Parameters
    ----------
    latent: number of axes of z.
    features: width of the residual blocks.
    width: width of the first and last block.
    blocks: number of residual blocks.
    inner: width of a block's tanh layer, from which a linear one leads back: 96 in the models published. None: a block
        is one tanh layer of the features' width.

    References
    ----------
    Koop et al., NLDL 2024; the widths are those of the models published with the paper.
    """

    def __init__(
        self, latent: int, features: int = 16, width: int = 96, blocks: int = 4, confinement: float = 0.5,
        inner: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.latent, self.width = latent, width
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
        """The weights of the last block's output."""
        return _learned_weight(self.exit[1])

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """The last block's hidden layer."""
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


class Quadratic(Potential):
    """U(z) = ½ (z − m)ᵀ K (z − m): the Ornstein–Uhlenbeck process when driven by noise.

    Parameters
    ----------
    stiffness: K, `(latent,)` for a diagonal or `(latent, latent)`, positive definite (not checked), energy/length².
    centre: m, `(latent,)`, length; zero when not given.
    """

    def __init__(
        self,
        stiffness: Tensor | Sequence[float] | Sequence[Sequence[float]],
        centre: Tensor | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        stiffness = _tensor(stiffness)
        matrix = torch.diag(stiffness) if stiffness.dim() == 1 else stiffness
        self.latent = matrix.shape[-1]
        self.register_buffer("stiffness", matrix)
        self.register_buffer("centre", torch.zeros(self.latent) if centre is None else _tensor(centre))

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""
        return 0.5 * ((z - self.centre) * self.gradient(z)).sum(-1)

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """K (z − m)."""
        return (z - self.centre) @ self.stiffness


class DoubleWell(Potential):
    """U(z) = B ((z₁/a)² − 1)² + ½ k Σ_{i>1} z_i²: minima at z₁ = ±a, barrier B.

    Parameters
    ----------
    barrier: B, energy.
    half_distance: a, length.
    latent: number of axes; the axes after the first are harmonic.
    stiffness: k, energy/length².
    """

    def __init__(
        self, barrier: float = 3.0, half_distance: float = 1.0, latent: int = 1, stiffness: float = 1.0
    ) -> None:
        super().__init__()
        self.latent = latent
        self.register_buffer("barrier", _tensor(barrier))
        self.register_buffer("half_distance", _tensor(half_distance))
        self.register_buffer("stiffness", _tensor(stiffness))

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""
        wells = self.barrier * ((z[..., 0] / self.half_distance).square() - 1).square()
        return wells + 0.5 * self.stiffness * z[..., 1:].square().sum(-1)

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z)."""
        scaled = z[..., :1] / self.half_distance
        slope = 4 * self.barrier / self.half_distance * scaled * (scaled.square() - 1)
        return torch.cat([slope, self.stiffness * z[..., 1:]], -1)


class MuellerBrown(Potential):
    """U(x, y) = s Σ_k A_k exp(a_k (x − x_k)² + b_k (x − x_k)(y − y_k) + c_k (y − y_k)²).

    Three minima and two saddles known to three digits; the standard test of a path or saddle search.

    Parameters
    ----------
    scale: s, energy per unit of the published potential.

    References
    ----------
    K. Müller, L. D. Brown, Theoretica Chimica Acta 53:75–93, 1979.
    """

    latent = 2

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("height", scale * torch.tensor([-200.0, -100.0, -170.0, 15.0]))
        self.register_buffer("centre", torch.tensor([[1.0, 0.0], [0.0, 0.5], [-0.5, 1.5], [-1.0, 1.0]]))
        a, b, c = [-1.0, -1.0, -6.5, 0.7], [0.0, 0.0, 11.0, 0.6], [-10.0, -10.0, -6.5, 0.7]
        form = [[[i, j / 2], [j / 2, k]] for i, j, k in zip(a, b, c, strict=True)]
        self.register_buffer("form", torch.tensor(form))

    def forward(self, z: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """U(x, y), energy."""
        offset = z.unsqueeze(-2) - self.centre
        exponent = torch.einsum("...ki,kij,...kj->...k", offset, self.form, offset)
        return (self.height * exponent.exp()).sum(-1)


class GaussianWells(Potential):
    """U(z) = −T log Σ_k w_k N(z; m_k, s_k² I): exp(−U/T) is exactly a Gaussian mixture, so that occupancies are known.

    Parameters
    ----------
    centres: m, `(state, latent)`, length.
    weights: w, `(state,)`, normalised here; equal when not given. The occupancies, up to the overlap of the wells.
    widths: s, one number or `(state,)`, length.
    temperature: T, energy.
    """

    def __init__(
        self,
        centres: Tensor | Sequence[Sequence[float]],
        weights: Tensor | Sequence[float] | None = None,
        widths: Tensor | Sequence[float] | float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        centres = _tensor(centres)
        states, self.latent = centres.shape
        weights = torch.ones(states) if weights is None else _tensor(weights)
        if weights.shape != (states,):
            raise ShapeError(f"weights need one entry per centre: expected ({states},), got {tuple(weights.shape)}.")
        self.register_buffer("centres", centres)
        self.register_buffer("weights", weights / weights.sum())
        self.register_buffer("widths", _tensor(widths).expand(states).clone())
        self.temperature = temperature

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""
        return -self.temperature * self._log_terms(z).logsumexp(-1)

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z) = T Σ_k r_k(z) (z − m_k)/s_k², with r the responsibilities."""
        pull = (z.unsqueeze(-2) - self.centres) / self.widths.square().unsqueeze(-1)
        return self.temperature * (self._log_terms(z).softmax(-1).unsqueeze(-1) * pull).sum(-2)

    def _log_terms(self, z: Tensor) -> Tensor:
        square = ((z.unsqueeze(-2) - self.centres) / self.widths.unsqueeze(-1)).square().sum(-1)
        volume = self.latent * (self.widths.log() + 0.5 * math.log(2 * math.pi))
        return self.weights.log() - 0.5 * square - volume


class Tilted(Potential):
    """U(z) + b·z: the wrapper example. An applied force −b tilts any landscape without touching it.

    Parameters
    ----------
    potential: U, any potential.
    slope: b, `(latent,)`, energy/length.
    """

    def __init__(self, potential: Potential, slope: Tensor | Sequence[float]) -> None:
        super().__init__()
        self.latent = potential.latent
        self.potential = potential
        self.register_buffer("slope", _tensor(slope))
        if self.slope.shape != (self.latent,):
            raise ShapeError(
                f"slope needs one entry per axis: expected ({self.latent},), got {tuple(self.slope.shape)}."
            )

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z) + b·z, energy."""
        return self.potential(z) + z @ self.slope

    @property
    def coefficients(self) -> nn.Parameter | None:
        """Those of U."""
        return self.potential.coefficients

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """Those of U."""
        return self.potential.features(z)

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z) + b."""
        return self.potential.gradient(z) + self.slope


def _learned_weight(layer: nn.Module) -> nn.Parameter | None:
    """The weight of a layer, unless it has a prior of its own or is held fixed."""
    weight = layer._parameters.get("weight")
    return weight if isinstance(weight, nn.Parameter) and weight.requires_grad else None


def _tensor(value: Tensor | Sequence | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.get_default_dtype())
