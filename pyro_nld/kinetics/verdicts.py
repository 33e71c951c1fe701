"""Whether to believe the kinetics of a fit: do independent routes agree, and if not, which to trust and why.

A verdict never repairs a number, and answers two questions, each with the reasons and what to do. *Times*: yes only
where the fitted prior's dwell times were checked against counts that are sampled finely enough, steady in time, and so
many that the agreement, within TOLERANCE, leaves no more than OPEN open when their error is added. *Barriers*: yes only
where the times are, and nothing says that states are left in another way than by diffusion over these barriers: a
prior can have the data's times, and be made to, while it crosses as the data never do.

Examples
--------
Where there is one state, nothing can be timed:

>>> import xarray as xr
>>> one = xr.Dataset(coords={"state": [0]})
>>> nld.verdicts.kinetics(one, xr.Dataset(), xr.Dataset()).messages
['There is one state, so there are no transitions to time.']
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from .._typing import Array
from . import crossings
from .markov import stationary
from .routes import log_ratio
from .words import listed, named, times_of, where

TOLERANCE = 0.15  # of a dwell time, by which the fitted prior may differ from the counts
OPEN = 0.25  # the same with the error of the counts added: 55 exits of every state at least
ONE = 0.5  # exits of a state below which it was never left, in most draws of the posterior
RARE = 0.05  # chance of no exit, from which a dwell time is bounded where none was seen
SURE = 1.645  # standard errors of a count that are added: 95 %, one-sided
FEW = 30  # exits of a state below which its dwell time is known worse than about 30 %
MISSED = 1.10  # growth of a dwell time without every second observation, from which it is told
COARSE = 1.30  # growth above which times are not believed: about four observations in a relaxation time
SIGMAS = 3.3  # of a comparison of two counts: about one false alarm in a thousand
CURRENT = 0.2  # of the traffic between two states, that flows one way
SAME = 0.02  # of the range of a channel over the minima, within which two of them show the same
UNEVEN = 1.5  # factor between exit rates of young and old visits that is more than statistics


class Verdict(NamedTuple):
    """`agree`: the dwell times of the fitted prior can be believed. `messages`: why, or why not and what to do.

    `barriers_agree` and `barrier_messages`: the same of barriers and of how paths cross; no messages for one state.
    """

    agree: bool
    messages: list[str]
    barriers_agree: bool = False
    barrier_messages: Sequence[str] = ()

    def attrs(self) -> dict[str, int | str]:
        """The same as attributes of a Dataset: 1 or 0, one message per line."""
        return {
            "kinetics_agree": int(self.agree),
            "messages": "\n".join(self.messages),
            "barriers_agree": int(self.barriers_agree),
            "barrier_messages": "\n".join(self.barrier_messages),
        }


def kinetics(story: xr.Dataset, counts: xr.Dataset, routes: xr.Dataset) -> Verdict:
    """Judge the kinetics of a fit.

    Parameters
    ----------
    story: states and saddles: `barrier (state, to)` in kT, attrs `ok`, `max_curvature_step`, `substeps_needed`,
        what `witness.processes` says as `process_verdict` and `process_message`, where it was asked; `balance_path_kl`
        and `balance_transitions`, where rates were set by `fitting.balance`, and `balance_exact`, whether the prior had
        learned exactly before; `saddle_committor`, where it is known; `bent_axes`, whether a decoder was free to bend
        several.
    counts: from `kinetics.count` of posterior paths of the data.
    routes: from `kinetics.joined`: `counted` and `simulated`, perhaps `eyring_kramers` and `exact`.
    """
    if story.sizes["state"] < 2:
        alone = "There is one state, so there are no transitions to time."
        return Verdict(False, [*_left_over(story), alone, *_repeated(story)])
    against = [
        *_left_over(story),
        *_data(counts),
        *_inside(story),
        *_prior(routes),
        *_law(routes),
    ]
    doubts = crossings.doubts(story, routes)
    if against:
        unsure = "A barrier is as sure as the times on both of its sides, and these are not to be believed."
        return Verdict(False, [*against, *_repeated(story)], False, [unsure, *doubts])
    seen, most = (100 * np.expm1(part.max()) for part in _off(routes))
    agreement = (
        f"The fitted prior holds its states as long as the data do, within {seen:.0f} %; at most {most:.0f} % if the "
        "error of the counts is added."
    )
    times = [agreement, *_balanced(story), *_between(counts, coarse=False), *_uneven(routes), *_repeated(story)]
    return Verdict(True, times, not doubts, doubts or crossings.notes(story, routes))


def _left_over(story: xr.Dataset) -> list[str]:
    """The slow process that no pair of states carries, if the witness saw one."""
    return [] if story.attrs.get("process_verdict", "good") == "good" else [story.attrs["process_message"]]


def _repeated(story: xr.Dataset) -> list[str]:
    """The nearest two minima that show the same in every channel: an angle that runs along the line.

    Not seen: one well per turn, since all minima then show the same and nothing tells how much that is.
    """
    if "minimum_decoded" not in story or story.sizes["minimum"] < 3:
        return []
    shown, place = story["minimum_decoded"].values, story["minimum_position"].values
    wide = np.ptp(shown, 0)
    alike = np.abs(shown[:, None] - shown) <= SAME * np.maximum(wide, 1e-3 * wide.max())  # a channel may be constant
    same = alike.all(-1) & ~np.eye(len(shown), dtype=bool)
    if not same.any():
        return []
    apart = np.where(same, np.linalg.norm(place[:, None] - place, axis=-1), np.inf)
    one, other = np.unravel_index(apart.argmin(), apart.shape)
    return [
        f"Minima {one} and {other} show the same in every channel, {apart.min():.3g} apart: if the axis is an angle, "
        "they are one well, found once per turn. Say where the landscape repeats: nld.Periodic(potential, periods)."
    ]


def _data(counts: xr.Dataset) -> list[str]:
    """What the data themselves cannot tell."""
    exits = counts["exits"].sum("to").values
    few = where((exits < FEW) & (exits >= ONE))
    said = _never_left(counts)
    if few:
        said.append(
            f"{_states(few)} {_were(few)} left {times_of(exits[few], '.0f')}: too few for a dwell time (at least {FEW} "
            "exits are needed). Record longer, or read the interval."
        )
    said += _between(counts, coarse=True)
    first, second = counts["half_exits"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log((second + 0.5) / (first + 0.5) * counts["half_time"][0].values / counts["half_time"][1].values)
    error = np.sqrt(1 / (first + 0.5) + 1 / (second + 0.5))
    unsteady = where((np.abs(change) > SIGMAS * error) & np.isfinite(change))
    if unsteady:
        said.append(
            f"{_states(unsteady)} {_were(unsteady, 'is', 'are')} left {times_of(np.exp(change[unsteady]), '.2g')} as "
            "often in the second half as in the first: the data are not stationary, and one landscape cannot describe "
            "both halves. Fit them apart."
        )
    return said + _current(counts)


def _between(counts: xr.Dataset, coarse: bool) -> list[str]:
    """Visits that begin and end between two observations: too many of them, or as many as the prior misses, too."""
    exits = counts["exits"].sum("to").values
    with np.errstate(divide="ignore", invalid="ignore"):
        dwell, sparse = counts["time"].values / exits, counts["sparse_time"].values / counts["sparse_exits"].values
        growth = sparse / dwell
    told = where((growth > MISSED) & ((growth > COARSE) == coarse) & np.isfinite(growth) & (exits >= FEW))
    if not told:
        return []
    seen = f"{_states(told)} would seem to last {times_of(growth[told])} longer without every second observation"
    if coarse:
        return [
            f"{seen}: visits between observations are missed, and counted dwell times are too long. Sample more finely."
        ]
    return [
        f"{seen}: how long a visit lasts depends on how often one looks. The prior was looked at as often as the data; "
        "relaxation times hardly depend on it."
    ]


def _current(counts: xr.Dataset) -> list[str]:
    """A net flow between two states, π_k k_kl − π_l k_lk, which no landscape has."""
    exits, time = counts["exits"].values, counts["time"].values
    if len(time) < 3 or not (time > 0).all():
        return []
    share = stationary(exits / time[:, None])
    flow = share[:, None] * exits / time[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(np.nan_to_num(np.square(flow) / exits) + np.nan_to_num(np.square(flow.T) / exits.T))
        sure = (flow - flow.T > SIGMAS * error) & (flow - flow.T > CURRENT * (flow + flow.T))
    if not sure.any():
        return []
    ways = listed([f"{k} to {to} ({exits[k, to]:.0f} against {exits[to, k]:.0f})" for k, to in np.argwhere(sure)])
    return [
        f"More go from state {ways} than come back: states follow each other in a circle, and no landscape has such a "
        "current. Trust the counts; nld.OverdampedSDE describes such a system."
    ]


def _never_left(counts: xr.Dataset) -> list[str]:
    """States without an exit, and how long they last at least: no event in T bounds a rate by −log .05/T."""
    exits, time = counts["exits"].sum("to").values, counts["time"].values
    never = where(exits < ONE)
    if not never:
        return []
    bounds = listed([f"{time[k] / -np.log(RARE):.3g}" for k in never])
    if len(never) == len(exits):
        return [
            f"No transition between {named('state', never)} was ever seen: their relative depth and all times are "
            f"unknown, except that dwell times are longer than {bounds}. Record until there are transitions."
        ]
    return [
        f"{_states(never)} {_were(never)} never left: the dwell time is unknown, except that it is longer than "
        f"{bounds}. Record longer."
    ]


def _inside(story: xr.Dataset) -> list[str]:
    """States that are told by clear hops alone, since the place in them is remembered for as long as they are held."""
    if "persistence" not in story or "min_persistence" not in story.attrs:
        return []
    slow = where(story["persistence"].values < story.attrs["min_persistence"])
    if not slow:
        return []
    memory = listed([f"{value:.3g}" for value in story["memory"].values[slow]])
    return [
        f"The place inside {named('state', slow)} is remembered for {memory}, as long as the state is held: "
        "levels drift or decay within a visit, so that the data are not stationary between two hops. Trust the counted "
        "visits; the prior knows no such drift."
    ]


def _prior(routes: xr.Dataset) -> list[str]:
    """The fitted chain against the data, for states that were left in the data."""
    off, most = _off(routes)
    ratio = log_ratio(routes, "simulated", "counted")
    held = [
        f"state {k} {np.exp(abs(one)):.2f} times {'longer' if one > 0 else 'shorter'}" for k, one in enumerate(ratio)
    ]
    exits = routes["exits"].sel(route="counted").values
    doubted = (exits >= ONE) & ~((off <= np.log1p(TOLERANCE)) & (most <= np.log1p(OPEN)))
    kept = where(doubted & ~np.isfinite(off))
    wrong = where(doubted & np.isfinite(off) & (off > np.log1p(TOLERANCE)))
    unsure = where(doubted & (off <= np.log1p(TOLERANCE)) & (exits >= FEW))  # fewer were spoken of
    said = []
    if kept:
        said.append(f"The fitted prior never left {named('state', kept)} in simulation: trust the counted dwell time.")
    if wrong:
        said.append(
            f"The fitted prior holds {listed([held[k] for k in wrong])} than the data do: trust the counted dwell "
            "time. States that switch at once are not Langevin; otherwise use more substeps, a two-sided guide, or a "
            "longer fit."
        )
    if unsure:
        said.append(
            f"The fitted prior holds {named('state', unsure)} as long as the data do within {_percent(off[unsure])}, "
            f"but after {listed([f'{exits[k]:.0f}' for k in unsure])} exits it may as well be off by "
            f"{_percent(most[unsure])}: trust the counted dwell time and its interval, or record longer."
        )
    return said


def _law(routes: xr.Dataset) -> list[str]:
    """The law of dwell times in the data against that of the fitted chain; rates may agree where laws do not."""
    age, error = (routes[name].sel(route=["counted", "simulated"]).values for name in ("ageing", "ageing_error"))
    with np.errstate(invalid="ignore"):  # states that were never left age infinitely fast in both
        off, sure = age[0] - age[1], SIGMAS * np.sqrt(np.square(error).sum(0))
    apart = where((np.abs(off) > sure) & (np.abs(off) > np.log(UNEVEN)))
    if not apart:
        return []
    data, prior = (times_of(np.exp(one[apart]), ".2g") for one in age)
    return [
        f"Old visits to {named('state', apart)} end {data} as often as young ones in the data, and {prior} as often "
        "in the fitted prior: the mean dwell times agree, their laws do not. Such a state may hide others, or is left "
        "in another way than by diffusion: trust the counted visits."
    ]


def _balanced(story: xr.Dataset) -> list[str]:
    """That rates are no second witness."""
    if crossings.price(story) is None:
        return []
    within = "within the error of the counts " if story.attrs.get("balance_exact") else ""
    return [
        f"Rates were balanced: {within}they are the counted ones by construction. What speaks for the prior is that "
        "its visits end by the data's law; whether it also crosses as the data do is the question of the barriers."
    ]


def _uneven(routes: xr.Dataset) -> list[str]:
    """Dwell times that are not exponential, in the data and in the prior."""
    said = []
    age, error = (routes[name].sel(route="counted").values for name in ("ageing", "ageing_error"))
    uneven = (np.abs(age) > SIGMAS * error) & (np.abs(age) > np.log(UNEVEN)) & np.isfinite(age)
    for way, which in (("less", where(uneven & (age < 0))), ("more", where(uneven & (age > 0)))):
        if which:
            said.append(
                f"Old visits to {named('state', which)} end {way} often than young ones: dwell times are not "
                "exponential, and such a state may hide others."
            )
    return said


def _states(which: list[int]) -> str:
    """States at the start of a sentence."""
    return named("state", which, start=True)


def _were(which: list[int], one: str = "was", several: str = "were") -> str:
    return one if len(which) == 1 else several


def _percent(log_ratio: Array) -> str:
    return listed([f"{100 * np.expm1(one):.0f} %" for one in log_ratio])


def _off(routes: xr.Dataset) -> tuple[Array, Array]:
    """|log| of simulated over counted dwell times `(state,)`: as it is, and with the error of both counts added."""
    off = np.abs(log_ratio(routes, "simulated", "counted"))
    with np.errstate(divide="ignore"):
        error = np.sqrt((1 / routes["exits"].sel(route=["simulated", "counted"]).values).sum(0))
    return off, off + SURE * error
