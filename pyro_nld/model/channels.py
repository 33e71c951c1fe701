"""`Channels`: a likelihood per group of channels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule
from torch import Tensor, nn

from .._typing import Series
from ..errors import DataError, ShapeError
from .decoders import Decoder
from .likelihoods import Likelihood
from .missing import SideBySide


class Channels(Likelihood):
    """p(x | q) = Π p_g(x_g | q): a likelihood of its own for every group of channels, all of the same position.

    The first group explains the first channels of the data, the next those behind them. The sites of a group begin with
    its name: `pupil.noise_scale`.

    Parameters
    ----------
    groups: likelihoods by the name of the group, in the order of the channels.

    Raises
    ------
    ShapeError: there is no group, or they have different latent axes.

    Examples
    --------
    Counts of 40 neurons, and the width of the pupil:

    >>> both = nld.Channels(spikes=nld.Poisson(nld.MLPDecoder(2, 40)), pupil=nld.Gaussian(nld.LinearDecoder(2, 1)))
    >>> law = both(torch.zeros(1, 200, 2))
    >>> both.channels, law.batch_shape, law.event_shape
    (41, torch.Size([1, 200]), torch.Size([41]))
    """

    def __init__(self, **groups: Likelihood) -> None:
        super().__init__()
        axes = {name: likelihood.latent for name, likelihood in groups.items()}
        if len(set(axes.values())) != 1:
            raise ShapeError(f"groups of channels need the same number of latent axes: got {axes}. Change one of them.")
        for name, likelihood in groups.items():
            likelihood.group = f"{name}."
        self.groups = PyroModule[nn.ModuleDict](groups)

    def _facts(self) -> dict[str, object]:
        return dict(self.groups)

    @property
    def decoder(self) -> Decoder:  # type: ignore[override]
        """That of the first group."""
        return next(iter(self.groups.values())).decoder

    @property
    def channels(self) -> int:
        """Number of channels of all groups."""
        return sum(self._sizes)

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        """Whether one of the groups is."""
        return any(likelihood.discrete for likelihood in self.groups.values())

    @property
    def fixes_gauge(self) -> bool:
        """Whether one of the groups does."""
        return any(likelihood.fixes_gauge for likelihood in self.groups.values())

    def forward(self, q: Float[Tensor, "*batch time latent"]) -> TorchDistributionMixin:
        """The laws of all groups side by side, a law of all channels at one time."""
        return SideBySide([likelihood(q) for likelihood in self.groups.values()])

    def adapt(self, x: Series) -> None:
        """Every group takes its units from its channels."""
        for likelihood, part in self._parts(x):
            likelihood.adapt(part)

    def features(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch feature"]:
        """The features of all groups."""
        return torch.cat([likelihood.features(part) for likelihood, part in self._parts(x)], -1)

    def check(self, x: Series) -> None:
        """Every group checks its channels."""
        for name, (likelihood, part) in zip(self.groups, self._parts(x), strict=True):
            try:
                likelihood.check(part)
            except DataError as error:
                raise DataError(f"group {name}, counted from its first channel: {error}") from error

    def levels(self, q: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch channel"]:
        """The levels of all groups."""
        return torch.cat([likelihood.levels(q) for likelihood in self.groups.values()], -1)

    @property
    def _sizes(self) -> list[int]:
        return [likelihood.channels for likelihood in self.groups.values()]

    def _parts(self, x: Tensor) -> list[tuple[Likelihood, Tensor]]:
        return list(zip(self.groups.values(), x.split(self._sizes, -1), strict=True))
