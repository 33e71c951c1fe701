"""Encoders: from an observed series to one context per observation, for the guide.

Observations are standardised with the moments of the first data. Missing values become zero, and a mask says which they
are. For irregular times, the logarithm of the last interval is added. In a causal encoder, the context at time i
depends on nothing later than x_i.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..errors import Count, checked
from ..io.series import channel_moments
from ..nn import Part
from .gated import gated_states


class Encoder(Part):
    """c_i = contexts(features), the contract: a subclass sets `size` and `causal`, and defines `contexts`.

    The features are made here: standardised observations, the mask of missing values, and the last interval. `size` is
    the number of features of a context, and `causal` says whether a context depends on the past alone.

    Examples
    --------
    This encoder returns the features as they are: value, mask, and the logarithm of the last interval.

    >>> class Raw(nld.Encoder):
    ...     size, causal = 3, True
    ...     def contexts(self, features, valid):
    ...         return features
    >>> x, valid = torch.tensor([[[2.0], [torch.nan]]]), torch.tensor([[True, True]])
    >>> Raw(channels=1)(x, gaps=torch.tensor([[1.0]]), valid=valid).tolist()  # the second value is missing
    [[[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    """

    causal: bool
    size: int

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("loc", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def adapt(self, x: Float[Tensor, "sequence time channel"]) -> None:
        """Take mean and standard deviation of the channels from data; NaN is ignored."""
        loc, scale = channel_moments(x)
        self.loc.copy_(loc)
        self.scale.copy_(scale)

    def forward(
        self,
        x: Float[Tensor, "sequence time channel"],
        gaps: Float[Tensor, "sequence interval"],
        valid: Bool[Tensor, "sequence time"],
    ) -> Float[Tensor, "sequence time context"]:
        """Contexts of `x`, NaN where missing. `gaps` are intervals in model units, and times exist where `valid`."""
        observed = x.isfinite()
        standard = torch.where(observed, (x - self.loc) / self.scale, 0.0)
        since = nn.functional.pad(gaps.log(), (1, 0)).unsqueeze(-1)
        return self.contexts(torch.cat([standard, observed.to(x.dtype), since], -1), valid)

    @abstractmethod
    def contexts(
        self, features: Float[Tensor, "sequence time feature"], valid: Bool[Tensor, "sequence time"]
    ) -> Float[Tensor, "sequence time context"]:
        """Contexts `(sequence, time, size)`, from 2 channels + 1 features."""


@checked
class GRUEncoder(Encoder):
    """c = GRU(x): a gated recurrent network that reads forward in time (causal) or in both directions (smoothing).

    Parameters
    ----------
    channels: number of observed channels.
    size: number of features of a context.
    hidden: number of features of the recurrent state, per direction.
    causal: read the past alone, so that states are known online, as in the paper.

    Examples
    --------
    A change of the last observation changes no earlier context of a causal encoder.

    >>> encoder = nld.GRUEncoder(channels=1, size=4, causal=True)
    >>> x, gaps, valid = torch.zeros(1, 3, 1), torch.ones(1, 2), torch.ones(1, 3, dtype=torch.bool)
    >>> changed = torch.tensor([[[0.0], [0.0], [9.0]]])
    >>> (encoder(x, gaps, valid) == encoder(changed, gaps, valid)).all(-1).tolist()
    [[True, True, False]]
    """

    def __init__(self, channels: Count, size: Count = 64, hidden: Count = 64, causal: bool = False) -> None:
        super().__init__(channels)
        self.size, self.hidden, self.causal = size, hidden, causal
        self.recurrent = nn.GRU(2 * channels + 1, hidden, batch_first=True, bidirectional=not causal)
        self.output = nn.Linear(hidden if causal else 2 * hidden, size)

    def contexts(
        self, features: Float[Tensor, "sequence time feature"], valid: Bool[Tensor, "sequence time"]
    ) -> Float[Tensor, "sequence time context"]:
        """c = A h + b, a linear map of the recurrent states h."""
        if features.device.type == "cpu" and not torch._C._get_tracing_state():  # elsewhere one kernel does all steps
            return self.output(gated_states(self.recurrent, features, valid))
        if self.causal or bool(valid.all()):
            return self.output(self.recurrent(features)[0])
        # Read backwards from its end, a ragged sequence must not begin with padding.
        lengths = valid.sum(-1).cpu()
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=features.shape[1])[0]
        return self.output(states)
