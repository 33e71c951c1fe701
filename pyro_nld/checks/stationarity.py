"""What cannot be a state, in words: series that no stationary Langevin process would make.

Slow causes are read from block means, about `BLOCKS` in all, so that noise and what is fast do not matter. Every cause
names stationary data about once in a thousand times, over all channels together, if the recordings are 40 of their
correlation times or longer. Shorter recordings cannot tell a slow process from a random walk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from .._typing import Array
from ..errors import ShapeError
from ..io.series import dataset_times
from ..kinetics.words import listed, named, number
from .block_means import CHANGES, Recordings, Slow, recordings, slow
from .findings import VERDICTS, finding
from .lone_visits import lone_visit
from .noise_levels import regimes
from .periods import period

States = NDArray[np.integer]

ODDS = 0.001  # of a false alarm by one cause, over all channels
ALTERNATES = -0.2  # correlation of successive observations below which it matters
BRIEF = 2.0  # observations that a state lasts on average, below which it is not resolved
ALIKE = 0.3  # correlation of a state with itself one observation later, below which it is not either
RANGE = (0.02, 0.98)  # quantiles between which a recording lies
MOVING = {"trend", "random walk", "drift", "few changes", "disconnected"}
VALUES = (10, 50)  # different values of a channel that is discrete, and of one that holds counts


class Cause(NamedTuple):
    """Why the data, or some of their channels or states, are no stationary Langevin process."""

    name: str
    verdict: str
    sentence: str


def of_data(data: xr.Dataset, labels: States | None = None, discrete: bool = False) -> xr.Dataset:
    """`examine` of a data set, with its own names and unit of time.

    Parameters
    ----------
    data: observations(sequence, time, channel), and the coordinate `time` or times(sequence, time); its attribute
        `units` is that of time. labels: `(sequence, time)`, see `examine`. discrete: see there.

    Examples
    --------
    >>> from pyro_nld import datasets
    >>> data = datasets.three_state(sequences=20, steps=200, seed=0)
    >>> of_data(data).attrs["verdict"]
    'good'
    """
    observed = data["observations"].transpose("sequence", "time", "channel")
    times = np.broadcast_to(np.asarray(dataset_times(data), float), observed.shape[:2])
    return examine(observed, times, labels, str(data.attrs.get("units", "")), discrete)


def examine(
    observed: xr.DataArray, times: xr.DataArray | Array, labels: States | None = None, unit: str = "",
    discrete: bool = False,
) -> xr.Dataset:  # fmt: skip
    """Whether a stationary process that hops between states could have made these series; if not, why, in words.

    Parameters
    ----------
    observed: `(sequence, time, channel)`, NaN where missing; coordinates `channel` and `sequence` name what they are.
    times: `(sequence, time)`, user's unit, NaN after the end of a sequence.
    labels: the state of every observation `(sequence, time)`, −1 where undecided; None where no states are known.
    unit: of time, for the sentences. discrete: counts or categories are fitted as such (`Likelihood.discrete`), so that
        few different values are no cause.

    Returns
    -------
    By `channel`: `lag_one`, the correlation of successive observations; `coming_back`, how strongly block means return
    to their mean, and `coming_back_of_walk`, which 95 % of random walks stay below; `changes` between two levels;
    `trend` and `drift`, in standard errors; `period`, NaN where there is none; `values`, how many different ones there
    are. Attrs `causes` and `says`, one line for each cause.

    Raises
    ------
    ShapeError: observations, times and labels do not fit.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> x = xr.DataArray(draw.standard_normal((1, 1000, 1)).cumsum(1), dims=("sequence", "time", "channel"))
    >>> found = examine(x.assign_coords(channel=["price"]), np.arange(1000.0)[None])
    >>> found.attrs["causes"], found.attrs["message"][:41]
    ('random walk', 'Channel price wanders like a random walk ')
    """
    x, grid = observed.transpose("sequence", "time", "channel").values.astype(float), np.asarray(times, float)
    if grid.shape != x.shape[:2] or (labels is not None and labels.shape != grid.shape):
        raise ShapeError(
            f"times and labels must be (sequence, time) = {x.shape[:2]}: got {grid.shape}"
            f"{'' if labels is None else f' and {labels.shape}'}. Give one per observation."
        )
    names, step = _named(observed, "channel"), _step(grid)
    clock = _Clock(step, f" {unit}" if unit else "")
    series = [recordings(x[..., channel], grid) for channel in range(len(names))]
    odds = ODDS / len(names)
    moves = [slow(one, odds) for one in series]
    periods = [period(one, step, odds) for one in series]
    columns = {
        "lag_one": [_lag_one(one, step)[0] for one in series],
        "coming_back": [one.back for one in moves],
        "coming_back_of_walk": [one.walk for one in moves],
        "changes": [one.changes for one in moves],
        "trend": [one.trend for one in moves],
        "drift": [one.drift for one in moves],
        "period": periods,
        "values": [len(np.unique(x[..., channel][np.isfinite(x[..., channel])])) for channel in range(len(names))],
    }
    found = [
        *_fast(series, names, step, odds),
        *_brief(labels, grid, clock),
        *_moving(moves, names),
        *_states_drift(labels, grid),
        *_periodic(periods, names, clock),
        *_apart(x, grid, _named(observed, "sequence"), names, clock),
        *([] if discrete else _discrete(x, names)),
    ]
    if not {cause.name for cause in found} & MOVING:  # of what never comes back every level is held once
        found += _alone(x, grid, names, clock)
        if labels is not None and labels.max(initial=0) < 1:
            found += _noisy(series, names, clock)
    verdict = max((cause.verdict for cause in found), key=VERDICTS.index, default="good")
    message = " ".join(cause.sentence for cause in found) or "Nothing in the data speaks against a stationary process."
    made = finding({name: ("channel", np.array(column)) for name, column in columns.items()}, verdict, message,
                   channel=names)  # fmt: skip
    lines = {"causes": [cause.name for cause in found], "says": [cause.sentence for cause in found]}
    return made.assign_attrs({name: "\n".join(line) for name, line in lines.items()})


class _Clock(NamedTuple):
    step: float
    unit: str

    def __call__(self, time: float) -> str:
        return f"{time:.4g}{self.unit}"


# Fast causes


def _fast(series: Sequence[Recordings], names: list[str], step: float, odds: float) -> Iterator[Cause]:
    """Successive observations that alternate: below zero by more than chance, and by enough to matter."""
    found = [_lag_one(one, step) for one in series]
    limit = scipy.stats.norm.isf(odds)
    which = [i for i, (value, pairs) in enumerate(found) if value < ALTERNATES and value * np.sqrt(pairs) < -limit]
    if which:
        size = listed([number(found[i][0], ".2f") for i in which])
        yield Cause(
            "alternating",
            "bad",
            f"Successive observations of {_channels(names, which)} alternate (correlation {size}), which no Langevin "
            "process does: states that change at every observation are not seen. Sample more finely, or use a hidden "
            "Markov model.",
        )


def _lag_one(recordings: Recordings, step: float) -> tuple[float, int]:
    """Correlation of successive observations, and how many pairs there are."""
    values = np.concatenate([x for _, x in recordings]) if recordings else np.zeros(1)
    pairs = [np.stack([x[:-1], x[1:]])[:, np.diff(time) < 1.5 * step] for time, x in recordings if len(x) > 1]
    if not pairs or not values.std() > 0:
        return 0.0, 0
    one, other = np.concatenate(pairs, 1) - values.mean()
    return (float((one * other).mean() / values.var()), len(one)) if len(one) else (0.0, 0)


def _brief(labels: States | None, grid: Array, clock: _Clock) -> Iterator[Cause]:
    """States that last less than two observations, or hardly agree with themselves one observation later."""
    if labels is None or labels.max(initial=0) < 1:
        return
    pairs = (labels[:, :-1] >= 0) & (labels[:, 1:] >= 0) & np.isfinite(grid[:, 1:])
    here, next_one = labels[:, :-1][pairs], labels[:, 1:][pairs]
    last = {}
    for state in np.unique(here).tolist():
        stays, share = (next_one[here == state] == state).mean(), (here == state).mean()
        if share < 1 and (stays < 1 - 1 / BRIEF or stays - share < ALIKE * (1 - share)):
            last[state] = 1 / (1 - stays)
    if last:
        size = listed([clock(dwell * clock.step) for dwell in last.values()])
        yield Cause(
            "too fast",
            "bad",
            f"{named('state', list(last), start=True)} last{_s(list(last))} {size} on average, hardly longer than by "
            f"chance at observations {clock(clock.step)} apart: visits in between are missed. Sample more finely.",
        )


# Slow causes


def _moving(moves: list[Slow], names: list[str]) -> Iterator[Cause]:
    def those(cause: str) -> list[int]:
        return [i for i, one in enumerate(moves) if one.cause == cause]

    if which := those("trend"):
        size = listed([number(moves[i].rise, "+.3g") for i in which])
        yield Cause(
            "trend",
            "bad",
            f"{_channels(names, which, True)} follow{_s(which)} a straight trend ({size} from the first observation to "
            "the last): a stationary landscape has none, and states along it are slices of the trend. Subtract it, or "
            "fit shorter pieces.",
        )
    if which := those("few changes"):
        size = listed([
            f"{number(moves[i].levels[0])} and {number(moves[i].levels[1])} ({moves[i].changes})" for i in which
        ])  # fmt: skip
        yield Cause(
            "few changes",
            "doubtful",
            f"{_channels(names, which, True)} change{_s(which)} fewer than {CHANGES} times between the levels {size}: "
            "too few transitions to know shares of time, depths or dwell times, or to tell levels from a slow drift. "
            "Record longer.",
        )
    if which := those("walk"):
        yield Cause(
            "random walk",
            "bad",
            f"{_channels(names, which, True)} wander{_s(which)} like a random walk and come{_s(which)} back to no "
            "level within the recording: states found along it are pieces of one path. Record longer, or fit the "
            "increments.",
        )
    if which := those("drift"):
        size = listed([f"{number(moves[i].thirds[0])} to {number(moves[i].thirds[1])}" for i in which])
        yield Cause(
            "drift",
            "doubtful",
            f"The mean of {_channels(names, which)} drifts from the first third to the last ({size}): the data are not "
            "stationary, and one landscape is an average of several. Fit the parts on their own.",
        )


def _states_drift(labels: States | None, grid: Array) -> Iterator[Cause]:
    """Shares of time of the states in the first and last third."""
    if labels is None or labels.max(initial=0) < 1:
        return
    known = labels >= 0
    states = range(int(labels.max()) + 1)
    found = [slow(recordings(np.where(known, labels == state, np.nan), grid), ODDS / len(states)) for state in states]
    which = [state for state in states if found[state].cause in ("drift", "trend")]
    which = which[-1:] if len(states) == 2 else which  # the share of the other is the rest
    if which:
        size = listed([f"{found[i].thirds[0]:.2f} to {found[i].thirds[1]:.2f}" for i in which])
        yield Cause(
            "occupancy drift",
            "doubtful",
            f"The share of time in {named('state', which)} drifts from the first third to the last ({size}): the data "
            "are not stationary, and depths and rates are averages. Fit the parts on their own.",
        )


# Periods


def _periodic(periods: Sequence[float], names: list[str], clock: _Clock) -> Iterator[Cause]:
    which = [i for i, period in enumerate(periods) if np.isfinite(period)]
    if which:
        size = listed(sorted({clock(periods[i]) for i in which}))
        yield Cause(
            "periodic",
            "bad",
            f"{_channels(names, which, True)} repeat{_s(which)} with a fixed period of {size}: nothing that rolls down "
            "a landscape is periodic, and its turning points are no states. Subtract the cycle first.",
        )


# What never meets, and what is no number


def _apart(x: Array, grid: Array, names: list[str], channels: list[str], clock: _Clock) -> Iterator[Cause]:
    """Recordings that share no values with the others."""
    there = np.isfinite(grid)
    whole = [i for i in range(len(x)) if np.isfinite(x[i]).all(-1).sum() >= 10]
    if len(whole) < 2:
        return
    low, high = (np.array([np.nanquantile(x[i], level, axis=0) for i in whole]) for level in RANGE)
    meet = (low[:, None] <= high) & (low <= high[:, None])
    count, group = connected_components(meet.all(-1), directed=False)
    if count < 2:
        return
    first, second = (np.flatnonzero(group == part) for part in (0, 1))
    gap = ~(meet[np.ix_(first, second)].any((0, 1)))
    where = int(gap.argmax()) if gap.any() else int((~meet[first[0], second[0]]).argmax())
    longest = max(grid[i][there[i]][-1] - grid[i][there[i]][0] for i in whole)
    ends = [(low[part, where].min(), high[part, where].max()) for part in (first, second)]
    span = [f"{number(one)} to {number(other)}" for one, other in ends]
    sets = [listed(_few([names[whole[i]] for i in part])) for part in (first, second)]
    yield Cause(
        "disconnected",
        "bad",
        f"The recordings fall into {count} sets that share no values ({sets[0]}: {channels[where]} from {span[0]}; "
        f"{sets[1]}: from {span[1]}): no transition between them was ever seen, so that their relative depth and all "
        f"times between them are unknown, except that they last longer than {clock(longest)}. Record a transition.",
    )


def _alone(x: Array, grid: Array, names: list[str], clock: _Clock) -> Iterator[Cause]:
    """A level that is held once."""
    there = np.isfinite(grid)
    values, times = x[there], grid[there]
    if (visit := lone_visit(values)) is None:
        return
    most = int((np.abs(visit.inside - visit.beside) / np.maximum(np.nanstd(values, axis=0), 1e-300)).argmax())
    yield Cause(
        "lone visit",
        "doubtful",
        f"From {clock(times[visit.first])} to {clock(times[visit.last])}, and never again, the data hold a level of "
        f"their own (channel {names[most]} at {number(visit.inside[most])}, beside {number(visit.beside[most])}; "
        f"{visit.number} observations): one visit does not tell a rare state from an artefact, the landscape may lack "
        "it, and how often it comes is unknown. Record longer, or leave it out.",
    )


def _noisy(series: Sequence[Recordings], names: list[str], clock: _Clock) -> Iterator[Cause]:
    """Channels whose fluctuations are large for some time, and small for some time, about one state."""
    found = [regimes(one) for one in series]
    which = [i for i, one in enumerate(found) if one is not None]
    if which:
        told = [one for one in found if one is not None]
        size = listed([f"{one.ratio:.1f} times as large for about {clock(one.lasts * clock.step)}" for one in told])
        yield Cause(
            "changing noise",
            "doubtful",
            f"The fluctuations of {_channels(names, which)} are now small, now {size}: regimes that differ in noise "
            "and not in level are no wells of a landscape, and are not seen here. Give the size of the fluctuations as "
            "a channel of its own, such as the logarithm of their mean square in short windows.",
        )


def _discrete(x: Array, names: list[str]) -> Iterator[Cause]:
    """Channels of few values, or of whole numbers."""
    sets = [np.unique(one[np.isfinite(one)]) for one in np.moveaxis(x, -1, 0)]
    sizes = np.isfinite(x).sum((0, 1))
    which = [
        i for i, one in enumerate(sets)
        if len(one) > 1 and sizes[i] >= 5 * len(one)
        and (len(one) <= VALUES[0] or (len(one) <= VALUES[1] and (one == np.round(one)).all()))
    ]  # fmt: skip
    if which:
        size = listed([f"{len(sets[i])} different values from {sets[i][0]:g} to {sets[i][-1]:g}" for i in which])
        yield Cause(
            "discrete",
            "doubtful",
            f"{_channels(names, which, True)} hold{_s(which)} only {size}: no Gaussian noise makes such data. Use a "
            f"likelihood that does (Bernoulli, Poisson), or leave {'it' if len(which) == 1 else 'them'} out.",
        )


# Words


def _step(grid: Array) -> float:
    """The usual observation interval."""
    gaps = np.diff(grid)
    return float(np.median(gaps[np.isfinite(gaps)])) if np.isfinite(gaps).any() else 1.0


def _named(values: xr.DataArray, dim: str) -> list[str]:
    """The names along a dimension; its numbers where it has none."""
    if dim in values.coords:
        return [str(name) for name in values[dim].values]
    return [str(number) for number in range(values.sizes[dim])]


def _few(names: Sequence[str]) -> list[str]:
    """Three names at most."""
    return list(names) if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]


def _channels(names: list[str], which: Sequence[int], start: bool = False) -> str:
    return named("channel", _few([names[i] for i in which]), start)


def _s(which: Sequence[int]) -> str:
    """The ending of a verb whose subject is one or several."""
    return "s" if len(which) == 1 else ""
