"""Encoders: observed series to one context per observation, for the guide.

Input is standardised once from data; missing values become zeros and are announced by a mask; irregular times are
announced by the logarithm of the last gap. A causal encoder's context at time i has seen nothing later than x_i.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..io.series import channel_moments
from ..nn import Part


class Encoder(Part):
    """The contract: `contexts` from features; standardising and announcing what is missing is done here.

    `causal` says whether a context sees the past alone; `size` is the number of its features.
    """

    causal: bool
    size: int

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("loc", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def adapt(self, x: Float[Tensor, "sequence time channel"]) -> None:
        """Take the standardisation from data."""
        loc, scale = channel_moments(x)
        self.loc.copy_(loc)
        self.scale.copy_(scale)

    def forward(
        self,
        x: Float[Tensor, "sequence time channel"],
        gaps: Float[Tensor, "sequence interval"],
        valid: Bool[Tensor, "sequence time"],
    ) -> Float[Tensor, "sequence time context"]:
        """Contexts of observations `x` (NaN = missing), `gaps` apart in model units, existing where `valid`."""
        observed = x.isfinite()
        standard = torch.where(observed, (x - self.loc) / self.scale, 0.0)
        since = nn.functional.pad(gaps.log(), (1, 0)).unsqueeze(-1)
        return self.contexts(torch.cat([standard, observed.to(x.dtype), since], -1), valid)

    @abstractmethod
    def contexts(
        self, features: Float[Tensor, "sequence time feature"], valid: Bool[Tensor, "sequence time"]
    ) -> Float[Tensor, "sequence time context"]:
        """Contexts `(sequence, time, size)`; features are 2 channels + 1."""


class GRUEncoder(Encoder):
    """Gated recurrent network, forward in time (causal) or in both directions (smoothing).

    Parameters
    ----------
    channels: number of observed channels.
    size: features of a context.
    hidden: features of the recurrent state, per direction.
    causal: see the past alone, so that states can be read online (the paper's choice).
    """

    def __init__(self, channels: int, size: int = 64, hidden: int = 64, causal: bool = False) -> None:
        super().__init__(channels)
        self.size, self.hidden, self.causal = size, hidden, causal
        self.recurrent = nn.GRU(2 * channels + 1, hidden, batch_first=True, bidirectional=not causal)
        self.output = nn.Linear(hidden if causal else 2 * hidden, size)

    def contexts(
        self, features: Float[Tensor, "sequence time feature"], valid: Bool[Tensor, "sequence time"]
    ) -> Float[Tensor, "sequence time context"]:
        """Linear map of the recurrent states."""
        if self.causal or bool(valid.all()):
            return self.output(self.recurrent(features)[0])
        # Looking back from the padding would let its length colour the contexts of a ragged sequence.
        lengths = valid.sum(-1).cpu()
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=features.shape[1])[0]
        return self.output(states)
