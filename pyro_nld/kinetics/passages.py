"""How a system goes from one state to another: the paths of its passages, how long they take, and when they come.

A passage from i to j begins at the last look at core i and ends at the first look at core j. It is short beside the
time that a state is held: a system waits, and then crosses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf
from torch import Tensor

from .._typing import Array
from ..dynamics.circles import Circles

SHARES = np.linspace(0.0, 1.0, 21)  # of the duration of a passage, at which its place is told
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def passages(
    positions: Float[Tensor, "path time latent"],
    cores: Int[Tensor, "path time"],
    step: float,
    states: int,
    periods: Sequence[float] | None = None,
) -> xr.Dataset:
    """Every passage of simulated paths, the tube that they go through, and first passage times.

    Parameters
    ----------
    positions: of a chain that is looked at often beside the duration of a passage, see `routes.chain`.
        An axis that is a circle is unwound, as a simulation leaves it.
    cores: state in whose core it is, −1 between them. step: time between looks. states: how many.
    periods: length of every axis that is a circle, infinite for a line; None where all are lines.

    Returns
    -------
    Over `passage`: `passage_from`, `passage_to`, `passage_duration`, `passage_position (passage, share, latent)`,
    where it was after equal shares of its duration, and `passage_turns (passage, latent)`, which image of the second
    state it came to: passages that go round a circle in two ways have different ones. Over `(state, to)`: `number`;
    `duration`, the mean; `tube (state, to, quantile, share, latent)`, quantiles of the place along each axis of those
    passages that go the most frequent way, and `tube_share`, how many these are of all; `first_passage (state, to,
    quantile)`, quantiles of the time from entering the core of a state to entering that of another, whatever lies
    between: runs that end before are censored (Kaplan and Meier, 1958). NaN where nothing was seen.

    References
    ----------
    G. Hummer, Journal of Chemical Physics 120:516, 2004, on transition paths and their durations.
    """
    place, label = positions.double().numpy(), cores.numpy()
    path, begin, end = _crossings(label)
    source, target = label[path, begin], label[path, end]
    along = np.array([_resampled(place[p, a : b + 1]) for p, a, b in zip(path, begin, end, strict=True)])
    along = along.reshape(len(path), len(SHARES), place.shape[-1])
    along, turns = _aligned(along, source, target, place, label, periods)
    duration = step * (end - begin)
    pair = (states, states)
    number, mean = np.zeros(pair, int), np.full(pair, np.nan)
    tube = np.full((*pair, len(QUANTILES), *along.shape[1:]), np.nan)
    first, share = np.full((*pair, len(QUANTILES)), np.nan), np.full(pair, np.nan)
    for i, j in np.argwhere(~np.eye(states, dtype=bool)):
        mine = (source == i) & (target == j)
        number[i, j] = mine.sum()
        if mine.any():
            _, way, often = np.unique(turns[mine], axis=0, return_inverse=True, return_counts=True)
            usual = way.reshape(-1) == often.argmax()
            mean[i, j], share[i, j] = duration[mine].mean(), usual.mean()
            tube[i, j] = np.quantile(along[mine][usual], QUANTILES, axis=0)
        first[i, j] = _first(label, int(i), int(j), step)
    return xr.Dataset(
        {
            "passage_from": ("passage", source),
            "passage_to": ("passage", target),
            "passage_duration": ("passage", duration),
            "passage_position": (("passage", "share", "latent"), along),
            "passage_turns": (("passage", "latent"), turns),
            "number": (("state", "to"), number),
            "duration": (("state", "to"), mean),
            "tube": (("state", "to", "quantile", "share", "latent"), tube),
            "tube_share": (("state", "to"), share),
            "first_passage": (("state", "to", "quantile"), first),
        },
        coords={"share": SHARES, "quantile": list(QUANTILES)},
    )


def _crossings(label: NDArray[np.integer]) -> tuple[NDArray[np.integer], ...]:
    """Path, last look at a core, and first look at the next one, of every passage."""
    path, at = np.nonzero(label >= 0)
    both = (path[1:] == path[:-1]) & (label[path[1:], at[1:]] != label[path[:-1], at[:-1]])
    return path[:-1][both], at[:-1][both], at[1:][both]


def _aligned(
    along: Array,
    source: NDArray[np.integer],
    target: NDArray[np.integer],
    place: Array,
    label: NDArray[np.integer],
    periods: Sequence[float] | None,
) -> tuple[Array, NDArray[np.integer]]:
    """Passages that begin at the same image of their first state, and at which image of the second they end.

    The middle of a state on a circle is that of its directions. A mean of angles would depend on where the seam is.
    """
    turns = np.zeros((len(along), place.shape[-1]), int)
    if periods is None or not len(along):
        return along, turns
    circles = Circles(periods)

    def folded(points: Array) -> Array:
        found: Array = circles.fold(torch.as_tensor(points)).numpy()
        return found

    seen = [circles.lift(torch.as_tensor(place[label == state])) for state in range(label.max() + 1)]
    centre = circles.lower(torch.stack([points.mean(0) if len(points) else points.sum(0) for points in seen])).numpy()
    start = along[:, 0]
    along = along + (centre[source] + folded(start - centre[source]) - start)[:, None]
    round_ = circles.round
    length = np.array(circles.periods)[round_]
    turns[:, round_] = np.rint((along[:, -1] - centre[target])[:, round_] / length)
    return along, turns


def _resampled(place: Array) -> Array:
    """A piece of a path at equal shares of its duration."""
    own = np.linspace(0.0, 1.0, len(place))
    return np.stack([np.interp(SHARES, own, axis) for axis in place.T], -1)


def _first(label: NDArray[np.integer], source: int, target: int, step: float) -> Array:
    """Quantiles of the time from entering one core to entering another; NaN from where too many runs ended before."""
    seen: list[int] = []
    censored: list[int] = []
    for row in label:
        arrivals, inside = np.flatnonzero(row == target), np.flatnonzero(row == source)
        last = -1  # the target was entered then: the next look at the source begins another wait
        while len(inside := inside[inside > last]):
            begun = inside[0]
            later = arrivals[arrivals > begun]
            (seen if len(later) else censored).append((later[0] if len(later) else len(row) - 1) - begun)
            if not len(later):
                break
            last = later[0]
    if not seen:
        return np.full(len(QUANTILES), np.nan)
    law = ecdf(CensoredData(uncensored=step * np.array(seen), right=step * np.array(censored))).cdf
    place = np.searchsorted(law.probabilities, QUANTILES)
    return np.append(law.quantiles, np.nan)[np.minimum(place, len(law.quantiles))]
