"""The witness from the data: is there a slow process that the states do not carry?

Nothing here knows of a landscape. Encoded data are cut into small cells, and pairs of cells some observations apart are
counted. Such counts know every slow process. Whether one is hopping or diffusion inside a well shows in what comes next
along the same coordinate, see `canonical`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .._typing import Array
from ..errors import ShapeError
from .canonical import PARTS, bins_of, cut, gap, places, separation, spectra
from .partition import (
    FEWEST,
    LAGS,
    Series,
    Where,
    both_ways,
    carried,
    cells_of,
    lags_of,
    slowest,
    step_of,
    timescales,
)
from .testimony import said
from .visits import recordings

States = NDArray[np.integer]

ENOUGH = 1000  # below which neither is said: of short autoregressive series, 5 of 300 would be called hopping
BINS = ((4000, 8), (0, 6))  # along one coordinate, from so many observations on
STABLE = 0.7  # correlation of a process found in one half of the data with those found in the other
SIGMAS = 4.0  # of a correlation that is no chance
SLOW = 2.0  # observation intervals that a process lasts at least
SOFT = 3.0  # factor below which there is no barrier: 2 for a Gaussian process, 3.3 for a quartic well, 4 for a flat box
HOPS = 10  # passages from end to end below which hopping cannot be told from a drift
BACK = -0.25  # a correlation that falls below this share of itself belongs to an oscillation …
SOON = 6.0  # … if it does so within so many of its times
INTERVAL = 1.645  # standard errors on each side: 90 %
SAME = 0.5  # correlation above which two processes are one
CARRIED = 0.5  # of a process, above which the states tell it; of those that they were fitted to, they carry .9 and more
APART = 4.0  # distance of two groups in their own standard deviations; parts of one hill, cut anywhere, reach 3.7


def processes(
    positions: Array,
    times: Array,
    labels: States | None = None,
    observations: Array | None = None,
    channels: Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Slow processes in the data, by counting on a fine partition, and those of them that no pair of states carries.

    Of 240 stationary series that do not hop inside a state (eight kinds), none was said to.

    Parameters
    ----------
    positions: encoded data, or any other coordinates, `(sequence, time, latent)`.
    times: `(sequence, time)`, user's unit, NaN after the end of a sequence; pieces that follow one another are joined.
    labels: state of every observation `(sequence, time)`, −1 where undecided; one state when None.
    observations: `(sequence, time, channel)`, for the levels at both ends of a process; positions when None. Processes
        are looked for in them too, since what a model has smoothed crosses between levels more slowly.
    channels: their names, for the message. seed: of the partition.

    Returns
    -------
    Timescales −τ/log λ at each `lag` τ in observations, of the fine partition, `partition (lag, mode)`, and of the
    states, `states (lag, state_mode)`; `carried (lag, mode)`, how much of a process of the partition the states carry.
    For every slow process inside a state, the slowest first: its `state`, its `time`, not shortened by noise, with its
    90 % interval `low`, `high`; `places`, between which it hops, 1 where that is not shown; `passages` from end to end;
    `gap`, log λ of the next process along the same coordinate over its own, infinite where none is seen; `kind`,
    "hopping", "diffusion", or "open" between the two; `from_level` and `to_level (process, channel)`. Attrs `verdict`,
    `ok` and `message`; it is "good" where no process is left inside a state that may be hopping.

    Raises
    ------
    ShapeError: positions, times, labels or observations do not fit.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> level = np.cumsum(draw.random((1, 4000, 1)) < 0.05, axis=1) % 2  # held for 20 on average: a relaxation of 10
    >>> x = level + 0.2 * draw.standard_normal(level.shape)
    >>> found = processes(x, np.arange(4000.0)[None], channels=["extension"])
    >>> str(found["kind"].values[0]), bool(found["low"][0] < 10 < found["high"][0])
    ('hopping', True)
    >>> processes(x, np.arange(4000.0)[None], level[..., 0]).attrs["message"]
    'No process that hops is left inside a state.'

    References
    ----------
    C. Schütte, M. Sarich, Metastability and Markov State Models in Molecular Dynamics, 2013; H. Wu, J.-H. Prinz,
    F. Noé, Projected metastable Markov processes, Journal of Chemical Physics 143:144101, 2015.
    """
    labels = np.where(np.isfinite(times), 0, -1) if labels is None else labels
    alone = observations is None
    observations = positions if observations is None else observations
    _check(positions, times, labels, observations)
    order = recordings(times)
    positions, observations = (_in_recordings(values, order, np.nan) for values in (positions, observations))
    times, labels = _in_recordings(times, order, np.nan), _in_recordings(labels, order, -1)
    series = Series(positions, times, step_of(times), lags_of(times))
    seen = [series] if alone else [series, series._replace(positions=observations)]
    states = np.unique(labels[labels >= 0]).tolist()
    inside = [process for state in states for process in _inside(seen, labels == state, state, seed)]
    for process in _overlooked(seen, labels, observations, seed) if len(states) > 1 else ():
        alike = [other for other in inside if other.state == process.state and _alike(process.value, other.value)]
        if not any(other.kind == "hopping" for other in alike):
            inside = [other for other in inside if not any(other is one for one in alike)] + [process]
    found = sorted(inside, key=lambda process: -process.time)
    ends = [_ends(process.value, observations) for process in found]
    shape = (len(found), observations.shape[-1])
    single = {name: ("process", np.array([getattr(process, name) for process in found])) for name in _COLUMNS}
    levels = {
        name: (("process", "channel"), np.reshape([end[side] for end in ends], shape))
        for side, name in enumerate(("from_level", "to_level"))
    }
    names = [str(number) for number in range(shape[1])] if channels is None else list(channels)
    made = xr.Dataset(
        {**single, **levels, **timescales(series, labels, seed)}, coords={"lag": series.lags, "channel": names}
    )
    verdict, message = said(made, len(states), np.nanstd(observations, (0, 1)))
    return made.assign_attrs(verdict=verdict, ok=int(verdict == "good"), message=message)


def slow_coordinates(positions: Array, times: Array, *, seed: int = 0) -> Array:
    """The slow processes of all data as coordinates, slowest first: `(sequence, time, process)`.

    Each is what a fine partition has for an eigenfunction, in its own standard deviations, NaN where a channel is.

    Parameters
    ----------
    positions: whole recordings `(sequence, time, channel)`. times: `(sequence, time)`, NaN after the end.
    seed: of the partition.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> level = np.cumsum(draw.random((1, 4000, 1)) < 0.05, axis=1) % 2
    >>> x = level + 0.2 * draw.standard_normal(level.shape)
    >>> found = slow_coordinates(x, np.arange(4000.0)[None])
    >>> found.shape, bool(abs(np.corrcoef(found[0, :, 0], level[0, :, 0])[0, 1]) > 0.95)
    ((1, 4000, 1), True)
    """
    there = np.isfinite(times)
    if not there.any():
        return np.full((*times.shape, 0), np.nan)
    found = _inside([Series(positions, times, step_of(times), lags_of(times))], there, 0, seed)
    values = [process.value for process in sorted(found, key=lambda process: -process.time)]
    return np.stack([np.full(times.shape, np.nan), *values], -1)[..., 1:]


def _in_recordings(values: NDArray, order: States, fill: float | int) -> NDArray:
    """Values `(sequence, time, …)` with pieces that follow one another in one row."""
    whole = values.reshape(-1, *values.shape[2:])[order]
    whole[order < 0] = fill
    return whole


class _Process(NamedTuple):
    state: int
    time: float
    low: float
    high: float
    places: int
    passages: float
    gap: float
    kind: str
    correlation: Array  # at the lags of `_correlation`
    value: Array  # at every observation `(sequence, time)`, NaN outside the state


_COLUMNS = ("state", "time", "low", "high", "places", "passages", "gap", "kind")


def _check(positions: Array, times: Array, labels: States, observations: Array) -> None:
    shapes = {positions.shape[:-1], times.shape, labels.shape, observations.shape[:-1]}
    if len(shapes) > 1 or times.ndim != 2:
        raise ShapeError(
            "positions, times, labels and observations must have the same (sequence, time): got "
            f"{positions.shape}, {times.shape}, {labels.shape} and {observations.shape}. Give one row per observation."
        )


# Processes inside a state


def _inside(seen: Sequence[Series], state_is: Where, state: int, seed: int) -> list[_Process]:
    """Every slow process of one state, each once: the slowest approximation, as the variational principle has it."""
    found: list[_Process] = []
    for series in seen:
        there = state_is & np.isfinite(series.times) & np.isfinite(series.positions).all(-1)
        for process in _candidates(series, there, state, seed) if there.sum() >= FEWEST else ():
            alike = [i for i, other in enumerate(found) if _alike(process.value, other.value)]
            if not alike:
                found.append(process)
            elif _better(process, found[alike[0]], series):
                found[alike[0]] = process
    return found


def _overlooked(seen: Sequence[Series], labels: States, observations: Array, seed: int) -> list[_Process]:
    """What hops in all data, between groups of one state, and is told by no pair of states.

    Two places that do not change into each other, but into the same third, are left as one is left: nothing hops inside
    a state that has both. Groups far apart are asked for, since a rare end of a wide state can look like that too.
    """
    found = []
    for process in _inside(seen, np.ones_like(labels, bool), 0, seed):
        lag = round(process.time / seen[0].step / 4)
        if process.kind != "hopping" or carried(process.value, labels, seen[0], lag) > CARRIED:
            continue
        there = np.isfinite(process.value)
        upper = process.value > cut(process.value[there])
        rare = upper if 2 * upper[there].sum() < there.sum() else ~upper
        state = int(np.bincount(labels[there & rare & (labels >= 0)], minlength=1).argmax())
        mine = there & (labels == state) & np.isfinite(observations).all(-1)
        if separation(observations[mine & rare], observations[mine & ~rare]) > APART:
            found.append(process._replace(state=state, value=np.where(mine, process.value, np.nan)))
    return found


def _better(process: _Process, other: _Process, series: Series) -> bool:
    """Hopping where only one is; else more correlated at about half the time that they take."""
    if (process.kind == "hopping") != (other.kind == "hopping"):
        return process.kind == "hopping"
    half = 0.5 * max(process.time, other.time) / series.step
    at = int(np.abs(np.array(_at(series)) - half).argmin())
    return bool(process.correlation[at] > other.correlation[at])


def _alike(one: Array, other: Array) -> bool:
    both = np.isfinite(one) & np.isfinite(other)
    return bool(abs(np.corrcoef(one[both], other[both])[0, 1]) > SAME)


def _candidates(series: Series, there: Where, state: int, seed: int) -> Iterator[_Process]:
    """What is slow at any lag, learned in one half of the data and judged in the other."""
    cell = cells_of(series.positions, there, seed)
    cells, order, flat = int(cell.max()) + 1, np.flatnonzero(there), cell.ravel()
    place = np.full(there.size, -1)
    place[order] = np.arange(len(order))
    half, part = 2 * place // len(order), PARTS * place // len(order)
    share = np.bincount(flat[order], minlength=cells) / len(order)
    for lag in series.lags:
        begin, end = series.pairs(there, lag)
        kept = [(half[begin] == side) & (half[end] == side) for side in (0, 1)]
        if min(side.sum() for side in kept) < FEWEST // 4:
            continue
        one, other = (slowest(both_ways(flat[begin[side]], flat[end[side]], cells)) for side in kept)
        for mode in range(one.shape[1]):
            turned = _turned(one[:, mode], other, share)
            if turned is None:
                continue
            value = np.full(there.size, np.nan)
            for side, function in ((0, turned), (1, one[:, mode])):
                on = function[flat[order[half[order] == side]]]
                value[order[half[order] == side]] = (on - on.mean()) / max(on.std(), 1e-300)
            process = _judged(series, there, state, lag, value, half, part)
            if process is not None:
                yield process


def _turned(function: Array, others: Array, share: Array) -> Array | None:
    """The same process as the other half of the data has it; None where it does not."""
    centred, basis = function - share @ function, others - share @ others
    weight = np.linalg.lstsq(basis.T @ (share[:, None] * basis), basis.T @ (share * centred), rcond=1e-8)[0]
    turned = basis @ weight
    known = share @ np.square(turned) > STABLE**2 * (share @ np.square(centred))
    return np.asarray(turned) if known else None


def _judged(
    series: Series, there: Where, state: int, lag: int, value: Array, half: States, part: States
) -> _Process | None:
    """A process, if its correlation is no chance, outlasts two observations and does not swing back."""
    at, less, whole = _at(series), *_correlation(series, there, value, part)
    error = np.sqrt((PARTS - 1) * less.var(1))
    now = at.index(lag)
    if not whole[now] > SIGMAS * error[now]:
        return None
    low, time, high = _time(np.array(at, float), whole, less, error, now) * series.step
    if not SLOW * series.step < time < np.inf:
        return None
    soon = np.array(at) * series.step < SOON * time
    if ((whole < BACK * whole[now]) & (whole + SIGMAS * error < 0) & soon)[now:].any():
        return None
    side = value[there.ravel()] > cut(value[there.ravel()])
    passages = float(2 * side.mean() * (1 - side.mean()) * there.sum() * series.step / time)
    bins = bins_of(value, half, next(count for least, count in BINS if there.sum() >= least))
    between = places(*spectra(series, there, lag, bins, half, part))
    between = between if passages >= HOPS and there.sum() >= ENOUGH else 1
    quarter = min(max(lag, round(time / series.step / 4)), at[-1])  # sooner, the width of the bins shows
    wide = gap(*spectra(series, there, quarter, bins, half, part))
    kind = "hopping" if between > 1 else "diffusion" if wide < SOFT and there.sum() >= ENOUGH else "open"
    return _Process(
        state, float(time), float(low), float(high), between, passages, wide, kind, whole, value.reshape(there.shape)
    )


def _at(series: Series) -> list[int]:
    """Lags that grow by √2, up to a quarter of the longest sequence."""
    longest = int(np.isfinite(series.times).sum(-1).max())
    grow = sorted({round(2 ** (power / 2)) for power in range(2 * LAGS + 2)})
    return [lag for lag in grow if 4 * lag <= longest]


def _correlation(series: Series, there: Where, value: Array, part: States) -> tuple[Array, Array]:
    """Correlation without each part of the data `(lag, part)`, and of all data `(lag,)`.

    A pair of which the second is outside the state counts as zero, so that what is left decays as it does in all data.
    The squares are those of the same first values: a rare state that a part holds or lacks is in both, and does not
    pass for chance.
    """
    at = _at(series)
    sums, squares = np.zeros((2, len(at), PARTS))
    for row, lag in enumerate(at):
        begin, end = series.pairs(there, lag)
        first = series.pairs(np.isfinite(series.times), lag)[0]
        first = first[there.ravel()[first]]
        sums[row] = np.bincount(part[begin], value[begin] * value[end], PARTS)
        squares[row] = np.bincount(part[first], value[first] ** 2, PARTS)
    total, norm = sums.sum(1, keepdims=True), squares.sum(1, keepdims=True)
    less = (total - sums) / np.maximum(norm - squares, 1e-300)
    return less, (total / np.maximum(norm, 1e-300))[:, 0]


def _time(at: Array, whole: Array, less: Array, error: Array, now: int) -> Array:
    """−1/slope of log C from lag `now` to where C has fallen to a third: low, best and high, in observations."""
    good = (whole > whole[now] / 3) & (whole > 2 * error)
    end = now + 1 + int(np.append(good[now + 1 :], False).argmin())
    window = slice(now, max(end, now + 2))
    if len(at[window]) < 2:
        return np.full(3, np.nan)
    fit = np.polyfit(at[window], np.log(np.maximum(np.column_stack([whole, less])[window], 1e-6)), 1)[0]
    rate, spread = -fit[0], INTERVAL * np.sqrt((PARTS - 1) * fit[1:].var())
    return np.asarray(1 / np.maximum([rate + spread, rate, rate - spread], 1e-12))


# Both ends


def _ends(value: Array, observations: Array) -> tuple[Array, Array]:
    """Mean channels at both ends, of observations whose neighbours are there, so that noise does not choose."""
    upper = value > cut(value[np.isfinite(value)])
    there = np.isfinite(value)
    inner = there[:, :-2] & there[:, 1:-1] & there[:, 2:]
    rows = []
    for side in (upper, ~upper):
        mine = inner & side[:, :-2] & side[:, 2:]
        some = observations[:, 1:-1][mine] if mine.any() else observations[there & side]
        rows.append(np.nanmean(some, 0))
    return rows[0], rows[1]
