"""Along one coordinate: the canonical correlations of pairs of observations, and between how many places they hop.

For any Gaussian process, and any monotone function of one, they are λ, λ², λ³, …; for diffusion in a flat box they are
λ, λ⁴, λ⁹, …, the widest gaps of a well without a barrier; for m + 1 places between which the data hop, all after the
m-th vanish. Noise leaves the first and last law as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._typing import Array
from .partition import Series, Where, whitened

States = NDArray[np.integer]

PLACES = 4  # between which data are said to hop, at most
BARRIER = 1.5  # factor of log λ beyond the gap of a flat box: 6 in all; a double well has 8 at 1 kT and 18 at 2 kT
SURE = 1.0  # standard errors by which the gap is wide enough
FEWEST_APART = 20  # points of a group, below which its spread is not known
PARTS = 20  # of the data, left out one by one for intervals


def bins_of(value: Array, half: States, count: int) -> States:
    """Equally filled bins of each half's values, one of them cut where a rare state would end; some may be empty.

    Parameters
    ----------
    value: of every observation `(point,)`, NaN where there is none. half: which half of the data, −1 for none.
    count: of bins, before one is cut.
    """
    bins = np.full(value.shape, -1)
    for side in (0, 1):
        mine = half == side
        edges = np.sort([*np.quantile(value[mine], np.arange(1, count) / count), cut(value[mine])])
        bins[mine] = np.searchsorted(edges, value[mine], side="right")
    return bins


def spectra(series: Series, there: Where, lag: int, bins: States, half: States, part: States) -> tuple[Array, Array]:
    """|λ| of pairs of bins, largest first: of all pairs `(mode,)`, and without each part `(part, mode)`.

    Parameters
    ----------
    series: the observations. there: which of them count `(sequence, time)`. lag: between those of a pair.
    bins, half, part: of every observation `(point,)`; pairs of two halves, whose bins differ, are left out.
    """
    begin, end = series.pairs(there, lag)
    same = half[begin] == half[end]
    begin, end = begin[same], end[same]
    kept = np.unique(bins[begin])
    counts = np.zeros((PARTS, len(kept), len(kept)))
    np.add.at(counts, (part[begin], np.searchsorted(kept, bins[begin]), np.searchsorted(kept, bins[end])), 1.0)
    counts = counts + counts.swapaxes(1, 2)
    every = np.concatenate([counts.sum(0)[None], counts.sum(0) - counts])
    values = np.sort(np.abs(np.linalg.eigvalsh(whitened(every)[0])), -1)[:, :0:-1]
    values = np.clip(values, 1e-9, 1 - 1e-9)
    return values[0], values[1:]


def gap(whole: Array, less: Array) -> float:
    """log λ₂/log λ₁; infinite where λ₂ is within its noise. `whole`, `less`: from `spectra`."""
    if len(whole) < 2 or whole[1] < 3 * np.sqrt((PARTS - 1) * less[:, 1].var()):
        return np.inf
    return float(np.log(whole[1]) / np.log(whole[0]))


def places(whole: Array, less: Array) -> int:
    """Between how many places the data hop: one more than there are λ before one too small for a flat box.

    Parameters
    ----------
    whole, less: from `spectra`.
    """
    for m in range(1, min(len(whole), PLACES)):
        if _excess(whole, m) > SURE * np.sqrt((PARTS - 1) * _excess(less, m).var()):
            return m + 1
    return 1


def _excess(spectrum: Array, m: int) -> Array:
    """By how much the λ after the m-th is below that of flat boxes with the same λ₁ and with the same λ_m."""
    box = spectrum[..., m - 1] ** (BARRIER * ((m + 1) / m) ** 2)
    first = spectrum[..., 0] ** ((m + 1) ** 2)
    return np.asarray(np.minimum(box, first) - spectrum[..., m])


def cut(value: Array) -> float:
    """The threshold between two means that explains most of the variance of values `(point,)` (Otsu's).

    Examples
    --------
    >>> from pyro_nld.kinetics.canonical import cut
    >>> cut(np.array([0.0, 0.1, 0.2, 4.0]))
    2.1
    """
    order = np.sort(value)
    low = np.arange(1, len(order))
    left, high = order.cumsum()[:-1], len(order) - low
    best = int(((left / low - (order.sum() - left) / high) ** 2 * low * high).argmax())
    return float(0.5 * (order[best] + order[best + 1]))


def separation(one: Array, other: Array) -> float:
    """√(d S⁻¹ d), d the difference of the means of two groups, S the mean of their covariances; 0 if one is too small.

    Two halves of a Gaussian are 2.6 apart, of a box 3.5.

    Parameters
    ----------
    one, other: `(point, channel)`.

    Examples
    --------
    >>> from pyro_nld.kinetics.canonical import separation
    >>> box = np.linspace(0, 1, 1001)[:, None]
    >>> round(separation(box[box[:, 0] < 0.5], box[box[:, 0] > 0.5]), 1)
    3.5
    """
    if min(len(one), len(other)) < FEWEST_APART:
        return 0.0
    shift = one.mean(0) - other.mean(0)
    within = np.atleast_2d(np.cov(one.T) + np.cov(other.T)) / 2
    return float(np.sqrt(shift @ np.linalg.pinv(within) @ shift))
