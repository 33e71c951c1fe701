"""An encoder that is parallel in time: leaky averages of the observations, whose gates depend on the input alone.

The recurrence h_i = a_i h_{i−1} + b_i of a layer is linear in h. All a_i and b_i are known before it begins, so that
`dynamics.recursion` solves it in about 2 √time operations, where a GRU needs one after the other for every time.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from ..dynamics.recursion import recursion
from ..errors import Count, checked
from ..nn import Part
from .encoders import Encoder

SLOWEST, FASTEST = 0.1, 50.0
"""First rates of forgetting per unit of time of the model: a memory of 100 … 0.2 median observation intervals."""


@checked
class LeakyEncoder(Encoder):
    """h_i = a_i h_{i−1} + (1 − a_i) W x_i, a_i = exp(−Δ_i ρ_i), in layers, in one or both directions; c = A h + b.

    Δ_i is the interval before x_i (after it, backwards), and the rate ρ_i = r · softplus(V x_i + v) of every feature
    depends on the input. For fixed rates this is the Kalman filter of independent Ornstein–Uhlenbeck processes, at any
    observation times. Between layers stands a GELU of the averages and the input.

    Parameters
    ----------
    channels: number of observed channels.
    size: number of features of a context.
    hidden: number of averages in a layer, per direction.
    causal: read the past alone, so that states are known online.
    layers: how many; with one, gates see a single observation.

    References
    ----------
    Gu and Dao, 2023, arXiv:2312.00752; Feng et al., 2024, arXiv:2410.01201.

    Examples
    --------
    A change of the last observation changes no earlier context of a causal encoder.

    >>> encoder = nld.LeakyEncoder(channels=1, size=4, causal=True)
    >>> x, gaps, valid = torch.zeros(1, 3, 1), torch.ones(1, 2), torch.ones(1, 3, dtype=torch.bool)
    >>> changed = torch.tensor([[[0.0], [0.0], [9.0]]])
    >>> (encoder(x, gaps, valid) == encoder(changed, gaps, valid)).all(-1).tolist()
    [[True, True, False]]
    """

    def __init__(
        self, channels: Count, size: Count = 64, hidden: Count = 64, causal: bool = False, layers: Count = 2
    ) -> None:
        super().__init__(channels)
        self.size, self.hidden, self.causal, self.layers = size, hidden, causal, layers
        widths = [2 * channels + 1, *layers * [hidden]]
        self.averages = nn.ModuleList(_Averages(width, hidden, causal) for width in widths[:-1])
        self.mixers = nn.ModuleList(nn.Linear(one + len(_ways(causal)) * hidden, two) for one, two in pairwise(widths))
        self.output = nn.Linear(hidden, size)

    def contexts(
        self, features: Float[Tensor, "sequence time feature"], valid: Bool[Tensor, "sequence time"]
    ) -> Float[Tensor, "sequence time context"]:
        """c = A h + b, a linear map of the last layer."""
        there = valid.unsqueeze(-1)
        features = torch.where(there, features, 0.0)  # 0 is also the logarithm of an interval
        before = features[..., -1:].exp()
        after = pad(before[:, 1:], (0, 0, 0, 1), value=1.0)
        for averages, mixer in zip(self.averages, self.mixers, strict=True):
            found = averages(features, before, after, there)
            features = nn.functional.gelu(mixer(torch.cat([features, found], -1)))
        return self.output(features)


class _Averages(Part):
    """The leaky averages of one layer, forwards, and backwards unless it is causal, side by side."""

    rates: Tensor

    def __init__(self, inputs: int, hidden: int, causal: bool) -> None:
        super().__init__()
        self.ways = _ways(causal)
        self.gates = nn.Linear(inputs, 2 * len(self.ways) * hidden)
        rates = torch.logspace(0, 1, hidden, base=FASTEST / SLOWEST) * SLOWEST
        self.register_buffer("rates", rates.repeat(len(self.ways)))

    def forward(self, features: Tensor, before: Tensor, after: Tensor, there: Tensor) -> Tensor:
        new, raw = self.gates(features).chunk(2, -1)
        half = len(self.rates) // len(self.ways)
        gaps = torch.cat([gap.expand(*gap.shape[:-1], half) for gap in (before, after)[: len(self.ways)]], -1)
        lost = gaps * self.rates * softplus(raw)
        keep, shift = self._turned((-lost).exp()), self._turned(-torch.expm1(-lost) * torch.where(there, new, 0.0))
        rows, time, width = shift.shape
        steps = (part.transpose(0, 1).reshape(time, rows * width, 1, 1) for part in (keep, shift))
        found = recursion(shift.new_zeros(rows * width, 1, 1), *steps)
        return self._turned(found.view(time, rows, width).transpose(0, 1))

    def _turned(self, series: Tensor) -> Tensor:
        """The features that are read backwards in the order in which they are read, or back again."""
        parts = series.chunk(len(self.ways), -1)
        return torch.cat([part.flip(1) if back else part for part, back in zip(parts, self.ways, strict=True)], -1)


def _ways(causal: bool) -> tuple[bool, ...]:
    """For each direction, whether it is read backwards."""
    return (False,) if causal else (False, True)
