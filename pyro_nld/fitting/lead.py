"""The lead: at the beginning of a fit, positions have to show the slow coordinates that counting finds in the data.

Behind a bent decoder a fit may start anywhere, and what varies most comes first. A rare state that is no direction of
the data, as the left-handed helix of a peptide, is then never given a place of its own, or two states are folded onto
one. Counting on a fine partition knows such processes beforehand, see `kinetics.witness`. So paths are drawn to where a
linear function of the position tells each of them. The weight of this falls to zero; from then on the bound alone is
maximised. Which function that is, is left free, so that a fit that shows them anyhow keeps its shape.
"""

from __future__ import annotations

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..dynamics.paths import ControlledPath
from ..kinetics import recordings, witness
from ..kinetics.canonical import cut
from ..kinetics.visits import joined, parted
from ..model.decoders import Decoder
from ..model.latent_langevin import LatentLangevin

FREE = 0.5  # of a coordinate, whose ends are at −1 and 1, that positions need not tell
SCALE = 0.3  # of what is left beyond that
RIDGE = 1e-6  # of the variance of the positions: axes may be alike at first
MOST = 200_000  # observations of which the slow coordinates are sought; what comes after them is not led


class Lead(Messenger):
    """−½ Σ max(|s − A z − b| − ½, 0)²/0.3²: what positions z do not tell of the slow coordinates s of the data.

    A and b are those of least squares. Half a unit is a quarter of the way from one end of a coordinate to the other:
    within it the shape of a state is free. Squeezed into a point, a state would never show how its channels vary.

    Parameters
    ----------
    model: with a decoder that can bend; other models are not led.
    times, x: checked data, `(sequence, time)` and `(sequence, time, channel)`.

    Examples
    --------
    Five observations out of a hundred in a place of their own, behind a decoder that can bend:

    >>> level = (torch.arange(4000) % 400 < 20).float()
    >>> x = (level + 0.1 * torch.randn(4000))[None, :, None]
    >>> model = nld.LatentLangevin(
    ...     nld.OverdampedLangevin(nld.NeuralPotential(latent=2)), nld.Gaussian(nld.MLPDecoder(2, 1))
    ... )
    >>> from pyro_nld.fitting.lead import Lead
    >>> Lead(model, torch.arange(4000.0)[None], x).coordinates.shape  # one slow process
    torch.Size([1, 4000, 1])
    """

    def __init__(self, model: LatentLangevin, times: Tensor, x: Tensor) -> None:
        super().__init__()
        self._model = model
        bends = any(isinstance(part, Decoder) and not part.straight for part in model.modules())
        self.coordinates = (
            slow_coordinates(times, x)[..., : model.dynamics.latent] if bends else torch.zeros(*times.shape, 0)
        )
        self._chosen: Tensor | None = None
        self._path: tuple[Tensor, Tensor] | None = None

    def _pyro_post_sample(self, msg: dict) -> None:
        if isinstance(msg["fn"], ControlledPath):
            self._path = msg["fn"].initial, msg["value"]
        elif msg["name"].rpartition("/")[2] == "sequence":  # the numbers of a batch
            self._chosen = msg["value"]

    def log_weight(self) -> Tensor:
        """The sum over all sequences, estimated from those of the paths that were drawn last."""
        if self._path is None or self.coordinates.shape[-1] == 0:
            return torch.zeros(())
        chosen = torch.arange(len(self.coordinates)) if self._chosen is None else self._chosen
        z = self._model.observed_positions(*self._path)
        s = self.coordinates[chosen.to(self.coordinates.device)].to(z.device)
        known = s.isfinite().all(-1).expand(z.shape[:-1])
        z, s = z[known], s.expand(*z.shape[:-1], s.shape[-1])[known]
        z, s = z - z.mean(0), s - s.mean(0)
        spread = z.T @ z
        ridge = RIDGE * spread.diagonal().mean() * torch.eye(len(spread), dtype=z.dtype, device=z.device)
        told = torch.linalg.solve(spread + ridge, z.T @ s)
        off = ((s - z @ told).abs() - FREE).clamp(min=0) / SCALE
        return -0.5 * off.square().sum() * len(self.coordinates) / len(chosen)


def slow_coordinates(times: Tensor, x: Tensor) -> Tensor:
    """The slow coordinates of the data, slowest first, `(sequence, time, coordinate)`, with their two ends at −1 and 1.

    In its standard deviations a state of 1 % of the time would be ten away, where no landscape has learned anything.

    Parameters
    ----------
    times, x: checked data, `(sequence, time)` and `(sequence, time, channel)`; pieces of a recording are joined.
    """
    order = recordings(times.numpy())
    order = order[: max(1, MOST // order.shape[-1])]
    whole = np.moveaxis(joined(np.moveaxis(x.double().numpy(), -1, 0), order), 0, -1)
    found = witness.slow_coordinates(whole, joined(times.double().numpy(), order))
    for coordinate in np.moveaxis(found, -1, 0):
        known = coordinate[np.isfinite(coordinate)]
        upper = known > cut(known)
        low, high = known[~upper].mean(), known[upper].mean()
        coordinate[:] = (2 * coordinate - low - high) / (high - low)
    back = parted(np.moveaxis(found, -1, 0), order, (times.shape[0], times.shape[1]))
    return torch.as_tensor(np.moveaxis(back, 0, -1)).to(x)
