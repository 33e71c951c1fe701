"""Energy landscapes U(z): the contract, analytic potentials with known answers, and a wrapper.

A potential maps positions `(*batch, latent)` to energies `(*batch,)`. Data determine only U/T, where T is the
temperature. Every function that reads a landscape accepts any callable of this shape, and `gradient` and `hessian` work
on any of them.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import Count, Positive, ShapeError, checked
from ..nn import Pointwise

Energy = Callable[[Tensor], Tensor]
"""Any U: `(*batch, latent)` to `(*batch,)`."""


def gradient(potential: Energy, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
    """∇U(z). The result can be differentiated again where gradients are enabled.

    Parameters
    ----------
    potential: U, maps `(*batch, latent)` to `(*batch,)`; its own `gradient` method is used when it has one.
    z: points, `(*batch, latent)`.

    Examples
    --------
    >>> from pyro_nld.dynamics.potentials import gradient
    >>> gradient(lambda z: z.square().sum(-1), torch.tensor([3.0])).tolist()
    [6.0]
    """
    own = getattr(potential, "gradient", None)
    return own(z) if own is not None else _autograd_gradient(potential, z)


def energy_and_gradient(
    potential: Energy, z: Float[Tensor, "*batch latent"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch latent"]]:
    """U(z) and ∇U(z), in one pass through U where it knows how.

    Parameters
    ----------
    potential: U, maps `(*batch, latent)` to `(*batch,)`; its own method of this name is used when it has one.
    z: points, `(*batch, latent)`.

    Examples
    --------
    >>> from pyro_nld.dynamics.potentials import energy_and_gradient
    >>> energy, slope = energy_and_gradient(nld.DoubleWell(barrier=3.0), torch.tensor([0.0]))
    >>> energy.item(), slope.tolist()
    (3.0, [-0.0])
    """
    own = getattr(potential, "energy_and_gradient", None)
    return own(z) if own is not None else (potential(z), gradient(potential, z))


def hessian(potential: Energy, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent latent"]:
    """∇²U(z), made symmetric. It takes one backward pass per latent axis and keeps no graph.

    Parameters
    ----------
    potential: U, twice differentiable.
    z: points, `(*batch, latent)`.

    Examples
    --------
    The curvature of a double well is 8 B/a² in a minimum and −4 B/a² on the barrier.

    >>> from pyro_nld.dynamics.potentials import hessian
    >>> hessian(nld.DoubleWell(barrier=3.0), torch.tensor([[1.0], [0.0]])).flatten().tolist()
    [24.0, -12.0]
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
    """U in float64, for work that needs more digits than training: a copy of a module, any other callable unchanged."""
    return copy.deepcopy(potential).double() if isinstance(potential, nn.Module) else potential


def _autograd_gradient(potential: Energy, z: Tensor) -> Tensor:
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        leaf = z if z.requires_grad else z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(potential(leaf).sum(), leaf, create_graph=keep)
    return slope


class Potential(Pointwise):
    """U(z), the contract: a subclass sets `latent`, the number of axes, and defines `forward`.

    It may define `gradient`, too, where ∇U has a closed form that is cheap.

    Examples
    --------
    A well of stiffness 3; at z = 2 its slope is 6.

    >>> class Well(nld.Potential):
    ...     latent = 1
    ...     def forward(self, z):
    ...         return 1.5 * z.square().sum(-1)
    >>> Well().gradient(torch.tensor([2.0])).item()
    6.0
    """

    latent: int
    periods: Sequence[float] | None = None
    """The length after which U repeats, for every axis; infinite along a line. None where all axes are lines."""

    @abstractmethod
    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z), energy per length."""
        return _autograd_gradient(self, z)

    @property
    def coefficients(self) -> nn.Parameter | None:
        """w, where U(z) = w · φ(z) + a part without w, and w is learned; None where there is no such w."""
        return None

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """φ(z), one number per coefficient w."""
        return z[..., :0]


class Quadratic(Potential):
    """U(z) = ½ (z − m)ᵀ K (z − m): a harmonic well. Langevin dynamics in it is the Ornstein–Uhlenbeck process.

    Parameters
    ----------
    stiffness: K, energy/length²: `(latent,)`, the diagonal, or `(latent, latent)`, positive definite (not checked).
    centre: m, `(latent,)`, length; zero when not given.

    Raises
    ------
    ShapeError: K is neither a number per axis nor a square matrix, or m has other axes.

    Examples
    --------
    >>> well = nld.Quadratic(stiffness=[4.0])
    >>> well(torch.tensor([0.5])).item()  # k z²/2
    0.5
    """

    def __init__(
        self,
        stiffness: Tensor | Sequence[float] | Sequence[Sequence[float]],
        centre: Tensor | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        stiffness = _tensor(stiffness)
        matrix = torch.diag(stiffness) if stiffness.dim() == 1 else stiffness
        if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.numel():
            raise ShapeError(f"stiffness needs a number per axis, or a square matrix: got {tuple(stiffness.shape)}.")
        self.latent = matrix.shape[-1]
        self.register_buffer("stiffness", matrix)
        self.register_buffer("centre", torch.zeros(self.latent) if centre is None else _tensor(centre))
        if self.centre.shape != (self.latent,):
            raise ShapeError(f"centre needs one entry per axis: got {tuple(self.centre.shape)} for {self.latent}.")

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z), energy."""
        return 0.5 * ((z - self.centre) * self.gradient(z)).sum(-1)

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """K (z − m)."""
        return (z - self.centre) @ self.stiffness


@checked
class DoubleWell(Potential):
    """U(z) = B ((z₁/a)² − 1)² + ½ k Σ_{i>1} z_i²: minima at z₁ = ±a, barrier B.

    Parameters
    ----------
    barrier: B, energy.
    half_distance: a, length.
    latent: number of axes; the axes after the first are harmonic.
    stiffness: k, energy/length².

    Examples
    --------
    >>> well = nld.DoubleWell(barrier=3.0)
    >>> well(torch.tensor([[-1.0], [0.0], [1.0]])).tolist()  # left minimum, barrier, right minimum
    [0.0, 3.0, 0.0]
    """

    def __init__(
        self, barrier: Positive = 3.0, half_distance: Positive = 1.0, latent: Count = 1, stiffness: Positive = 1.0
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


@checked
class MuellerBrown(Potential):
    """U(x, y) = s Σ_k A_k exp(a_k (x − x_k)² + b_k (x − x_k)(y − y_k) + c_k (y − y_k)²).

    Its three minima and two saddles are known to three digits. It is the standard test of searches for saddles.

    Parameters
    ----------
    scale: s, energy per unit of the published potential.

    References
    ----------
    K. Müller, L. D. Brown, Theoretica Chimica Acta 53:75–93, 1979.

    Examples
    --------
    >>> deepest = torch.tensor([-0.558, 1.442])
    >>> round(nld.MuellerBrown()(deepest).item(), 1)
    -146.7
    """

    latent = 2

    def __init__(self, scale: Positive = 1.0) -> None:
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


@checked
class GaussianWells(Potential):
    """U(z) = −T log Σ_k w_k N(z; m_k, s_k² I), so that exp(−U/T) is exactly a Gaussian mixture.

    The weights are the occupancies of the wells, as far as the wells do not overlap.

    Parameters
    ----------
    centres: m, `(state, latent)`, length.
    weights: w, `(state,)`, normalised here; equal when not given.
    widths: s, one number or `(state,)`, length.
    temperature: T, energy.

    Examples
    --------
    Two wells of equal width, one three times as occupied as the other, differ in depth by T log 3.

    >>> wells = nld.GaussianWells([[-2.0], [2.0]], weights=[0.75, 0.25], widths=0.5)
    >>> left, right = wells(torch.tensor([[-2.0], [2.0]])).tolist()
    >>> round(right - left, 3)
    1.099
    """

    def __init__(
        self,
        centres: Tensor | Sequence[Sequence[float]],
        weights: Tensor | Sequence[float] | None = None,
        widths: Tensor | Sequence[float] | float = 1.0,
        temperature: Positive = 1.0,
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
        """∇U(z) = T Σ_k r_k(z) (z − m_k)/s_k², where r_k is the probability of well k given z."""
        springs = (z.unsqueeze(-2) - self.centres) / self.widths.square().unsqueeze(-1)
        return self.temperature * (self._log_terms(z).softmax(-1).unsqueeze(-1) * springs).sum(-2)

    def _log_terms(self, z: Tensor) -> Tensor:
        square = ((z.unsqueeze(-2) - self.centres) / self.widths.unsqueeze(-1)).square().sum(-1)
        volume = self.latent * (self.widths.log() + 0.5 * math.log(2 * math.pi))
        return self.weights.log() - 0.5 * square - volume


class Tilted(Potential):
    """U(z) + b·z: any landscape, tilted by a constant force −b.

    It wraps the potential and leaves it unchanged. Other changes of a landscape can be written in the same way.

    Parameters
    ----------
    potential: U, any potential.
    slope: b, `(latent,)`, energy/length.

    Examples
    --------
    >>> tilted = nld.Tilted(nld.DoubleWell(barrier=3.0), slope=[0.5])
    >>> left, right = tilted(torch.tensor([[-1.0], [1.0]])).tolist()
    >>> right - left  # the minima are two units of length apart
    1.0
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
        """The same as those of U."""
        return self.potential.coefficients

    def features(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch feature"]:
        """The same as those of U."""
        return self.potential.features(z)

    def gradient(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """∇U(z) + b."""
        return self.potential.gradient(z) + self.slope


def _tensor(value: Tensor | Sequence | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.get_default_dtype())
