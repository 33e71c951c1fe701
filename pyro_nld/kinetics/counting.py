"""From labels to numbers: visits, rates, dwell times and timescales of a sequence of states.

A visit to a state lasts from the first entry of its core to the first entry of another's, so that recrossings of a
ridge do not count. Nothing here knows of landscapes: any labels will do, also those of an expert.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from .._typing import Array
from ..errors import ShapeError
from .markov import ergodic_passage_times, implied_timescales, of_rates, off_diagonal, relaxation, stationary

States = NDArray[np.integer]

INTERVAL = 0.90  # of the intervals given
DRAWS = 1000  # of rate matrices that are as probable as the counted one, for intervals of what follows from them
SETTLED = 0.95  # of the sequences have been in a core when counting begins
LAGS = 8  # lags of the timescales: 1, 2, 4, … observations, up to a quarter of the longest sequence
REGULAR = 0.01  # largest departure of an observation interval from the median at which lags have a length


def milestones(labels: States) -> States:
    """The core visited last, `(*batch, time)`; −1 before the first one."""
    place = np.where(labels >= 0, np.arange(labels.shape[-1]), -1)
    last = np.maximum.accumulate(place, -1)
    return np.where(last >= 0, np.take_along_axis(labels, np.maximum(last, 0), -1), -1)


def settled(labels: States) -> int:
    """The observation from which on 95 % of the sequences have been in a core, at most a quarter of their length.

    A sequence that begins between two cores is sooner to cross than others, and it has no state until it is in one. As
    long as there are such, those that have a state look calmer than they are: behind a barrier of 1.8 kT, dwell times
    came out 3 % too long in sequences of 200 observations.

    Parameters
    ----------
    labels: of cores, `(*batch, time)`, −1 elsewhere; sequences that are never in one do not count.
    """
    within = labels >= 0
    first = within.argmax(-1)[within.any(-1)]
    return min(int(np.quantile(first, SETTLED)), labels.shape[-1] // 4) if first.size else 0


def count(labels: States, times: Array, states: int) -> xr.Dataset:
    """Exits and the time spent, from core labels: rate k → l = exits_kl / time_k, censored visits counted rightly.

    Counting begins where sequences have `settled`; each half of them is counted as if it were all there is.

    Parameters
    ----------
    labels: from `cores`, `(sequence, time)` or `(draw, sequence, time)`; results are averaged over draws.
    times: `(sequence, time)`, user's unit, NaN after the end of a sequence.
    states: number of states.

    Returns
    -------
    `exits (state, to)`; `time (state)`; the same from every second observation, `sparse_exits (state)` and
    `sparse_time (state)`, for the first and second half of every sequence, `half_exits (half, state)` and `half_time
    (half, state)`, and for visits younger and older than the mean dwell, `age_exits (age, state)` and `age_time (age,
    state)`; every visit of every draw whose begin was seen, `visit_state`, `visit_duration` and `visit_ended (visit)`,
    0 where the sequence ended first; `lagged (lag, state, to)`, how often the core visited last was one and the core
    visited next, `lag` observations later, another, and `overlap (lag, state, to)`, the same at once: none where
    observation intervals differ by more than 1 %.

    Raises
    ------
    ShapeError: labels and times do not fit.
    """
    labels = labels[None] if labels.ndim == 2 else labels
    if labels.ndim != 3 or labels.shape[1:] != times.shape:
        raise ShapeError(
            f"labels must be (draw, sequence, time) for times (sequence, time): got {labels.shape} for {times.shape}."
        )
    labels = np.where(np.isnan(times), -1, labels)
    last = _settled(labels, times)
    steps = _steps(last, times)
    exits, spent = _tally(steps, states)

    def alone(part: slice) -> tuple[Array, Array]:
        some = times[:, part]
        return _tally(_steps(_settled(labels[..., part], some), some), states)

    sparse_exits, sparse_time = alone(slice(None, None, 2))
    dwell = spent / np.maximum(exits.sum(-1), 1e-300)
    middle = times.shape[-1] // 2
    half = [alone(slice(middle)), alone(slice(middle, None))]
    seen = np.isfinite(steps.age) & (steps.moved | steps.last)
    old = steps.age >= dwell[steps.here]  # False where the age is not known
    age = [_tally(steps, states, (old == side) & np.isfinite(steps.age)) for side in (False, True)]
    lags = _lags(times)
    coming = _settled_backwards(labels, times)
    pairs = np.reshape([_both(last, coming, states, lag) for lag in lags], (len(lags), 2, states, states)) / len(last)
    return xr.Dataset(
        {
            "exits": (("state", "to"), exits),
            "time": ("state", spent),
            "sparse_exits": ("state", sparse_exits.sum(-1)),
            "sparse_time": ("state", sparse_time),
            "half_exits": (("half", "state"), np.stack([part[0].sum(-1) for part in half])),
            "half_time": (("half", "state"), np.stack([part[1] for part in half])),
            "age_exits": (("age", "state"), np.stack([part[0].sum(-1) for part in age])),
            "age_time": (("age", "state"), np.stack([part[1] for part in age])),
            "visit_state": ("visit", steps.here[seen]),
            "visit_duration": ("visit", (steps.age + steps.span)[seen]),
            "visit_ended": ("visit", steps.moved[seen].astype(int)),
            "overlap": (("lag", "state", "to"), pairs[:, 0]),
            "lagged": (("lag", "state", "to"), pairs[:, 1]),
        },
        coords={"lag": lags},
        attrs={"draws": len(labels), "interval": float(np.nanmedian(np.diff(times)))},
    )


class _Steps(NamedTuple):
    """All steps from one observation to the next, `(draw, sequence, time − 1)`."""

    here: States  # state at the beginning, −1 unknown
    to: States
    span: Array  # its duration; NaN after the end of the sequence
    age: Array  # how long the visit has lasted at the beginning; NaN where its begin was not seen

    @property
    def moved(self) -> NDArray[np.bool_]:
        return (self.here >= 0) & (self.to >= 0) & (self.here != self.to) & np.isfinite(self.span)

    @property
    def last(self) -> NDArray[np.bool_]:
        """The last step of its sequence."""
        there = np.isfinite(self.span)
        return there & ~np.concatenate([there[..., 1:], np.zeros_like(there[..., :1])], -1)


def _settled(labels: States, times: Array) -> States:
    """`milestones` from where sequences have `settled` to where they end, −1 elsewhere."""
    last = np.where(np.isnan(times), -1, milestones(labels))
    last[..., : settled(labels)] = -1
    return last


def _settled_backwards(labels: States, times: Array) -> States:
    """The core visited next, and −1 after the last one: what `_settled` says of time that runs backwards."""
    turned = np.isfinite(times).sum(-1, keepdims=True) - 1 - np.arange(times.shape[-1])  # negative after the end

    def turn(values: States) -> States:
        place = np.broadcast_to(np.maximum(turned, 0), values.shape)
        return np.where(turned >= 0, np.take_along_axis(values, place, -1), -1)

    return turn(_settled(turn(labels), np.where(turned >= 0, 0.0, np.nan)))


def _steps(states: States, times: Array) -> _Steps:
    here, to = states[..., :-1], states[..., 1:]
    begun = np.where((here >= 0) & (here != to), times[:, 1:], np.nan)  # a visit begins where another ended
    begun = np.concatenate([np.full_like(begun[..., :1], np.nan), begun], -1)
    place = np.maximum.accumulate(np.where(np.isfinite(begun), np.arange(begun.shape[-1]), 0), -1)
    age = times - np.take_along_axis(begun, place, -1)
    return _Steps(here, to, np.broadcast_to(np.diff(times), here.shape), age[..., :-1])


def _tally(steps: _Steps, states: int, chosen: NDArray[np.bool_] | bool = True) -> tuple[Array, Array]:
    """Exits `(state, to)` and time `(state)` of the chosen steps, per draw."""
    counted = (steps.here >= 0) & np.isfinite(steps.span) & chosen
    spent = np.bincount(steps.here[counted], steps.span[counted], states)
    left = counted & steps.moved
    exits = np.zeros((states, states))
    np.add.at(exits, (steps.here[left], steps.to[left]), 1.0)
    return exits / len(steps.here), spent / len(steps.here)


def _lags(times: Array) -> list[int]:
    """1, 2, 4, … observations, up to a quarter of the longest sequence; none where times are irregular."""
    gaps = np.diff(times)
    usual = np.nanmedian(gaps)
    if np.nanmax(np.abs(gaps - usual)) > REGULAR * usual:
        return []
    longest = int(np.isfinite(times).sum(-1).max())
    return [2**power for power in range(LAGS) if 4 * 2**power <= longest]


def _both(last: States, coming: States, states: int, lag: int) -> tuple[Array, Array]:
    """Pairs `(state, to)` of the core visited last and the one visited next: at once, and `lag` observations later."""
    here, now, later = last[..., :-lag], coming[..., :-lag], coming[..., lag:]
    seen = (here >= 0) & (now >= 0) & (later >= 0)
    return _pairs(here[seen], now[seen], states), _pairs(here[seen], later[seen], states)


def _pairs(here: States, to: States, states: int) -> Array:
    return np.bincount(here * states + to, minlength=states**2).reshape(states, states).astype(float)


# Rates


def by_counting(counts: xr.Dataset) -> xr.Dataset:
    """`rate (state, to)` = exits/time, `dwell (state)` = time/exits, and the intervals of Poisson counts.

    Parameters
    ----------
    counts: from `count`.

    Returns
    -------
    As `of_rates`; `dwell` is infinite where a state was never left; `ageing (state)` is the logarithm of how much more
    often visits older than the mean dwell end than younger ones, 0 for an exponential law, NaN where no visit was seen
    to be old, with its standard error `ageing_error`; `implied (lag, mode)` are timescales −lag/log|λ| of the processes
    that the cores tell apart, and `relaxation (mode)` is each of them at the first lag that is as long. Rates alone
    would make it too long where barriers are low: a path between two cores counts half for each, and what comes and
    goes between two observations is not seen. Where there are no lags, rates alone tell it.

    90 % intervals `dwell_low`, `dwell_high`, `rate_low` and `rate_high` are those of rates with Gamma(exits + ½, time)
    posteriors (Jeffreys' prior); those of `stationary`, `passage` and `relaxation` come from draws of all rates at
    once, where the ½ of a state's exits is spread over the states it may go to. They hold the luck of the counts alone,
    and not what a relaxation time is short by because of lag and cores.

    References
    ----------
    Ch. Schütte et al., Markov state models based on milestoning, J. Chem. Phys. 134:204105, 2011.
    """
    exits, time = counts["exits"].values, counts["time"].values[:, None]
    total = exits.sum(-1, keepdims=True)
    tail = (1 - INTERVAL) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, dwell = exits / time, (time / total)[:, 0]
        # chi2 with 2 N + 1 degrees of freedom is twice a Gamma(N + ½, 1)
        low, high = (2 * time / scipy.stats.chi2.ppf(level, 2 * total + 1) for level in (1 - tail, tail))
        slow, fast = (scipy.stats.chi2.ppf(level, 2 * exits + 1) / (2 * time) for level in (tail, 1 - tail))
    lengths = counts["lag"].values * counts.attrs["interval"]
    pairs = zip(counts["overlap"].values, counts["lagged"].values, lengths, strict=True)
    implied = np.reshape([_implied(*pair) for pair in pairs], (len(lengths), len(exits) - 1))
    young, old = counts["age_exits"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        ageing = np.log((old + 0.5) / (young + 0.5) * counts["age_time"][0].values / counts["age_time"][1].values)
    ageing = np.where((counts["age_time"] > 0).all("age"), ageing, np.nan)  # sequences too short for an old visit
    known = {
        "dwell_low": ("state", low[:, 0]),
        "dwell_high": ("state", high[:, 0]),
        "exits": ("state", total[:, 0]),
        "ageing": ("state", ageing),
        "ageing_error": ("state", np.sqrt(1 / (old + 0.5) + 1 / (young + 0.5))),
        "rate_low": (("state", "to"), off_diagonal(slow)),
        "rate_high": (("state", "to"), off_diagonal(fast)),
        "implied": (("lag", "mode"), implied),
    }
    route = of_rates(rate, dwell).drop_dims("lag").assign(known).assign_coords(lag=counts["lag"])
    if len(exits) > 1 and (time > 0).all():
        route = route.assign(_intervals(exits, time))
    factor = _at_their_lag(implied, lengths) / route["relaxation"].values
    factor = np.where(np.isfinite(factor), factor, 1.0)
    return route.assign({name: route[name] * factor for name in ("relaxation", "relaxation_low", "relaxation_high")})


def _implied(overlap: Array, lagged: Array, length: float) -> Array:
    """−length/log|λ|, lagged v = λ overlap v, `(mode,)`, longest first; NaN where a state is missing.

    With q⁻ and q⁺ the probabilities that a core was the last one and will be the next, these matrices are ⟨q⁻, q⁺⟩ and
    ⟨q⁻, P q⁺⟩ of the transition operator P, whose eigenvalues in the space of the q⁺ are sought.
    """
    if np.linalg.matrix_rank(overlap) < len(overlap):
        return np.full(len(overlap) - 1, np.nan)
    return implied_timescales(np.linalg.solve(overlap, lagged), length)


def _at_their_lag(implied: Array, lengths: Array) -> Array:
    """Implied timescales `(mode,)` at the shortest lag that is no shorter than they are at the first."""
    if not len(lengths):
        return np.full(implied.shape[1], np.nan)
    chosen = np.minimum((lengths[:, None] < implied[0]).sum(0), len(lengths) - 1)
    return implied[chosen, np.arange(implied.shape[1])]


def _intervals(exits: Array, time: Array) -> dict[str, tuple[tuple[str, ...], Array]]:
    """90 % intervals of what follows from all rates together."""
    draw, apart = np.random.default_rng(0), ~np.eye(len(exits), dtype=bool)
    prior = 0.5 / (len(exits) - 1)
    drawn = draw.gamma(np.where(apart, exits + prior, 1.0), 1 / time, (DRAWS, *exits.shape))
    dims = {"stationary": ("state",), "passage": ("state", "to"), "relaxation": ("mode",)}
    law = stationary(drawn)
    found = {"stationary": law, "relaxation": relaxation(drawn), "passage": ergodic_passage_times(drawn, law)}
    tail = (1 - INTERVAL) / 2
    return {
        f"{name}_{end}": (dims[name], np.quantile(values, level, axis=0))
        for name, values in found.items()
        for end, level in (("low", tail), ("high", 1 - tail))
    }


def transition_matrix(labels: States, states: int, lag: int = 1) -> Array:
    """P(state at t + lag | state at t) `(state, to)` by counting labels, −1 skipped; NaN rows were never seen.

    Parameters
    ----------
    labels: `(*batch, time)`, at regular times. states: number of states. lag: in observations, ≥ 1.
    """
    here, to = labels[..., :-lag], labels[..., lag:]
    seen = (here >= 0) & (to >= 0)
    pairs = _pairs(here[seen], to[seen], states)
    with np.errstate(invalid="ignore"):
        return pairs / pairs.sum(-1, keepdims=True)
