"""Axes on which diffusion is the same everywhere, for a decoder that may bend.

A Langevin equation with one friction knows only axes on which fluctuations are as fast in one place as in another. The
axes that a bent decoder has found by gradients are stretched here and compressed there, because decoder and landscape
would have to change together: the height of a barrier is then wrong by T times the logarithm of how much. Here the axes
move alone, and what is seen stays where it is.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..model.decoders import Decoder

CENTRES = (12, 30, 60)  # at most, on one axis, two and three
BROAD = 1.2  # of the distance of two centres: the width of what each displaces
FOLDED = 1e-3  # of its volume, at which a cell counts as folded
ITERATIONS = 500  # of L-BFGS, in which a decoder comes to say the same on the new axes
RARE = 1e-3  # of the mean weight, that a place has where nobody is


class Displacement(nn.Module):
    """y = h(z) = z + w Σ_k a_k exp(−½ |(z − c_k)/w|²), from the axes z of a decoder to those of the dynamics.

    a is 0 at first, and standard normal beforehand.

    Parameters
    ----------
    centres: c, `(centre, latent)`. width: w, `(latent,)`, in units of z.

    Examples
    --------
    >>> from pyro_nld.fitting.displacements import Displacement
    >>> h = Displacement(torch.zeros(1, 1), torch.ones(1))
    >>> h.amount.data.fill_(0.5)
    tensor([[0.5000]])
    >>> h(torch.tensor([[0.0], [9.0]])).tolist()
    [[0.5], [9.0]]
    """

    centres: Tensor
    width: Tensor

    def __init__(self, centres: Tensor, width: Tensor) -> None:
        super().__init__()
        self.register_buffer("centres", centres)
        self.register_buffer("width", width)
        self.amount = nn.Parameter(torch.zeros_like(centres))

    @classmethod
    def over(cls, points: Float[Tensor, "point latent"], spacing: Float[Tensor, "latent"]) -> Displacement:
        """With centres on every so many points of a lattice."""
        apart, centres = 1, points
        while len(centres) > CENTRES[len(spacing) - 1]:
            apart += 1
            centres = (points / (apart * spacing)).round().unique(dim=0) * apart * spacing
        return cls(centres, BROAD * apart * spacing)

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """h(z)."""
        return z + self.width * (self._bumps(z)[0] @ self.amount)

    def log_volume(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """log |∂h/∂z|; where axes are folded it is that of `FOLDED`, so that nobody goes there."""
        bump, away = self._bumps(z)
        slope = torch.einsum("...k,...kj,ki->...ij", bump, away / self.width, self.amount * self.width)
        return torch.linalg.det(torch.eye(len(self.width)).to(z) - slope).clamp(min=FOLDED).log()

    def _bumps(self, z: Tensor) -> tuple[Tensor, Tensor]:
        away = (z.unsqueeze(-2) - self.centres) / self.width
        return (-0.5 * away.square().sum(-1)).exp(), away


def say_the_same(
    decoder: Decoder,
    z: Float[Tensor, "place latent"],
    y: Float[Tensor, "place latent"],
    weight: Float[Tensor, "place"],
) -> float:
    """Fit a decoder, in place, so that it says of y what it said of z: by least squares, in units of each channel.

    Parameters
    ----------
    decoder: with parameters of double precision. weight: of the places, ≥ 0.

    Returns
    -------
    Root mean square of what is left, in standard deviations of the channels.
    """
    with torch.no_grad():
        told = decoder(z)
        share = weight + RARE * weight.mean()
        share = (share / share.sum()).unsqueeze(-1)
        mean = (share * told).sum(0)
        unit = (share * (told - mean).square()).sum(0).sqrt().clamp(min=torch.finfo(told.dtype).tiny)
    free = [value for value in decoder.parameters() if value.requires_grad]
    optimizer = torch.optim.LBFGS(
        free,
        max_iter=ITERATIONS,
        history_size=50,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def off() -> Tensor:
        return (share * ((decoder(y) - told) / unit).square()).sum() / told.shape[-1]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = off()
        loss.backward()
        return loss

    optimizer.step(closure)
    return math.sqrt(float(off().detach()))
