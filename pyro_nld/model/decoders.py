"""Decoders: from a hidden position to the mean of every observed channel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..dynamics.neural_potentials import layer_widths
from ..errors import Count, PriorError, ShapeError, checked
from ..io.series import channel_moments
from ..nn import Dense, PartList, Pointwise, widths


class Decoder(Pointwise):
    """x = loc + scale · decode(q), the contract: a subclass defines `decode`.

    `loc` and `scale` are 0 and 1. With `standardise` they become mean and standard deviation of the data. `fixes_gauge`
    says whether the latent axes have the unit of the data. Only then do the data determine the temperature. `straight`
    says whether every channel is linear along the axes, `supple` whether its parameters can follow axes that are bent
    and stretched in any way, as `Schedule(exact=…)` does.

    Examples
    --------
    A detector that saturates:

    >>> class Saturating(nld.Decoder):
    ...     def __init__(self):
    ...         super().__init__(latent=1, channels=1, standardise=False)
    ...     def decode(self, q):
    ...         return torch.tanh(q)
    >>> Saturating()(torch.tensor([20.0])).item()
    1.0
    """

    fixes_gauge = False
    straight = False
    supple = False

    def __init__(self, latent: int, channels: int, standardise: bool) -> None:
        super().__init__()
        self.latent, self.channels, self.standardise = latent, channels, standardise
        self.register_buffer("loc", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    @property
    def bends(self) -> bool:
        """Whether learning may bend the axes: it is supple, and none of its parameters is held."""
        return self.supple and all(value.requires_grad for value in self.parameters())

    @abstractmethod
    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """The means of the channels in the unit of the decoder."""

    def forward(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """The means of the channels in the unit of the data."""
        return self.loc + self.scale * self.decode(q)

    def adapt(self, x: Float[Tensor, "sequence time channel"]) -> None:
        """Take loc and scale from data, if this decoder standardises; NaN is ignored."""
        self.take(*channel_moments(x))

    def take(self, loc: Float[Tensor, "channel"], scale: Float[Tensor, "channel"]) -> None:
        """Take loc and scale as they are given, if this decoder standardises."""
        if self.standardise:
            # One scale for all axes keeps an orthonormal map orthonormal.
            shared = scale.square().mean().sqrt().expand_as(scale) if self.fixes_gauge else scale
            self.loc.copy_(loc)
            self.scale.copy_(shared)


@checked
class IdentityDecoder(Decoder):
    """x = q: the latent axes are the channels, so that the gauge is fixed.

    Parameters
    ----------
    latent: number of axes and of channels.
    standardise: measure q from the mean of the data, in units of its standard deviation (one for all axes), instead of
        in the unit of the data.

    Examples
    --------
    >>> nld.IdentityDecoder(2)(torch.tensor([0.5, -1.0])).tolist()
    [0.5, -1.0]
    """

    fixes_gauge = True
    straight = True

    def __init__(self, latent: Count, standardise: bool = False) -> None:
        super().__init__(latent, latent, standardise)

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """q, unchanged."""
        return q


@checked
class OrthonormalDecoder(Decoder):
    """x = b + Q q with QᵀQ = 1: a learned rotation into the channels. The gauge is fixed up to rotations.

    Parameters
    ----------
    latent: number of latent axes.
    channels: number of channels, ≥ latent.
    standardise: as for `IdentityDecoder`.

    Raises
    ------
    ShapeError: there are fewer channels than axes.

    Examples
    --------
    Distances stay as they are.

    >>> decoder = nld.OrthonormalDecoder(latent=2, channels=5)
    >>> round((decoder(torch.tensor([3.0, 4.0])) - decoder(torch.zeros(2))).norm().item(), 4)
    5.0
    """

    fixes_gauge = True
    straight = True

    def __init__(self, latent: Count, channels: Count, standardise: bool = False) -> None:
        if channels < latent:
            raise ShapeError(
                f"an orthonormal decoder needs channels ≥ latent: got {channels} < {latent}. Use fewer axes."
            )
        super().__init__(latent, channels, standardise)
        self.raw = nn.Parameter(torch.empty(channels, latent))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a random rotation."""
        nn.init.normal_(self.raw)

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """x = b + Q q, where Q is the orthonormal factor of an unconstrained matrix."""
        return q @ torch.linalg.qr(self.raw)[0].mT + self.bias


@checked
class LinearDecoder(Decoder):
    """x = loc + scale · (b + A q): linear in standardised channels.

    Examples
    --------
    The units of the channels are taken from the first data.

    >>> decoder = nld.LinearDecoder(latent=1, channels=2)
    >>> decoder.adapt(torch.tensor([[[0.0, 10.0], [2.0, 30.0]]]))
    >>> decoder.loc.tolist(), decoder.scale.tolist()
    ([1.0, 20.0], [1.0, 10.0])
    """

    straight = True

    def __init__(self, latent: Count, channels: Count) -> None:
        super().__init__(latent, channels, standardise=True)
        self.map = Dense(latent, channels)

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """x = b + A q, in standardised channels."""
        return self.map(q)


@checked
class MLPDecoder(Decoder):
    """x = loc + scale · MLP(q): a tanh network, in standardised channels.

    Parameters
    ----------
    latent: number of latent axes.
    channels: number of channels.
    hidden: widths of the hidden layers.

    Examples
    --------
    >>> nld.MLPDecoder(latent=3, channels=15)(torch.zeros(200, 3)).shape  # 200 positions to 15 channels
    torch.Size([200, 15])
    """

    supple = True

    def __init__(self, latent: Count, channels: Count, hidden: Sequence[int] = (64,)) -> None:
        super().__init__(latent, channels, standardise=True)
        self.hidden = layer_widths(hidden)
        sizes = [latent, *self.hidden]
        self.layers = PartList(Dense(a, b) for a, b in pairwise(sizes))
        self.output = Dense(sizes[-1], channels)

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """x = MLP(q), in standardised channels."""
        for layer in self.layers:
            q = torch.tanh(layer(q))
        return self.output(q)


class FunctionDecoder(Decoder):
    """x = f(q) for any function or module f, in the unit of the data. `as_decoder` makes one of such an f.

    Parameters
    ----------
    function: f, maps `(*batch, latent)` to `(*batch, channel)`. latent, channels: numbers of axes.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], latent: int, channels: int) -> None:
        super().__init__(latent, channels, standardise=False)
        self.function = function

    def decode(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """f(q)."""
        return self.function(q)


def as_decoder(decoder: object) -> Decoder:
    """A decoder as it is, and any other function or module in the unit of the data.

    Parameters
    ----------
    decoder: f, with attributes `latent` and `channels`, the numbers of axes, unless linear layers say them.

    Raises
    ------
    PriorError: it is no function, or nothing says how many axes it has.

    Examples
    --------
    >>> from pyro_nld.model.decoders import as_decoder
    >>> as_decoder(torch.nn.Linear(2, 5)).channels
    5
    """
    if isinstance(decoder, Decoder):
        return decoder
    inputs, outputs = widths(decoder)
    latent, channels = getattr(decoder, "latent", inputs), getattr(decoder, "channels", outputs)
    if not callable(decoder) or latent is None or channels is None:
        raise PriorError(
            f"a decoder is a function of positions with attributes `latent` and `channels`, its numbers of axes: got "
            f"{type(decoder).__name__} without. Set them, or derive from nld.Decoder."
        )
    return FunctionDecoder(decoder, latent, channels)
