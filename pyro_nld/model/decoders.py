"""From hidden position to the channels' means: decoders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ShapeError
from ..io.series import channel_moments
from ..nn import Dense, Part, PartList


class Decoder(Part):
    """x = loc + scale · decode(q): write `decode`; loc and scale are 0 and 1, or the data's when `standardise` is set.

    `fixes_gauge` says whether the latent axes have the unit of the data, which makes the temperature observable.
    """

    fixes_gauge = False

    def __init__(self, latent: int, channels: int, standardise: bool) -> None:
        super().__init__()
        self.latent, self.channels, self.standardise = latent, channels, standardise
        self.register_buffer("loc", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    @abstractmethod
    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """The channels' means in the decoder's unit."""

    def forward(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """The channels' means in the data's unit."""
        return self.loc + self.scale * self.decode(q)

    def adapt(self, x: Float[Tensor, "sequence time channel"]) -> None:
        """Take loc and scale from data, ignoring NaN, if this decoder standardises."""
        if self.standardise:
            loc, scale = channel_moments(x)
            # One scale for all axes keeps an orthonormal map orthonormal.
            shared = scale.square().mean().sqrt().expand_as(scale) if self.fixes_gauge else scale
            self.loc.copy_(loc)
            self.scale.copy_(shared)


class IdentityDecoder(Decoder):
    """x = q: the latent axes are the channels. Fixes the gauge.

    Parameters
    ----------
    latent: number of axes and channels.
    standardise: measure q in standard deviations of the data (one for all axes) from its mean, not in the data's unit.
    """

    fixes_gauge = True

    def __init__(self, latent: int, standardise: bool = False) -> None:
        super().__init__(latent, latent, standardise)

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """Q itself."""
        return q


class OrthonormalDecoder(Decoder):
    """x = b + Q q with QᵀQ = 1, learned: a rotation of a subspace of the channels. Fixes the gauge up to rotations.

    Parameters
    ----------
    latent: number of latent axes.
    channels: number of channels, ≥ latent.
    standardise: as for `IdentityDecoder`.
    """

    fixes_gauge = True

    def __init__(self, latent: int, channels: int, standardise: bool = False) -> None:
        if channels < latent:
            raise ShapeError(
                f"an orthonormal decoder needs channels ≥ latent: got {channels} < {latent}. Use fewer axes."
            )
        super().__init__(latent, channels, standardise)
        self.raw = nn.Parameter(torch.empty(channels, latent))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A random rotation."""
        nn.init.normal_(self.raw)

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """B + Q q, with Q the orthonormal factor of an unconstrained matrix."""
        return q @ torch.linalg.qr(self.raw)[0].mT + self.bias


class LinearDecoder(Decoder):
    """x = b + A q, standardised."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__(latent, channels, standardise=True)
        self.map = Dense(latent, channels)

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """B + A q."""
        return self.map(q)


class MLPDecoder(Decoder):
    """x = MLP(q), standardised, with tanh layers.

    Parameters
    ----------
    latent: number of latent axes.
    channels: number of channels.
    hidden: widths of the hidden layers.
    """

    def __init__(self, latent: int, channels: int, hidden: Sequence[int] = (64,)) -> None:
        super().__init__(latent, channels, standardise=True)
        self.hidden = tuple(hidden)
        widths = [latent, *hidden]
        self.layers = PartList(Dense(a, b) for a, b in pairwise(widths))
        self.output = Dense(widths[-1], channels)

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """The network's output."""
        for layer in self.layers:
            q = torch.tanh(layer(q))
        return self.output(q)
