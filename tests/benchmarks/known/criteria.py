"""What is asked of the reading of each known system (the table "States" of the targets), as functions of Datasets.

Nothing here fits or reads: a `Reading` holds the landscape and the labels that the library gave, and the recording with
its known answer. A criterion says what was found, what was wanted, and whether that is met.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pyro_nld.checks import accuracy

Array = NDArray[np.float64]

SHARE, RELAXATION, DWELL, VISITS, PRIOR = 0.03, 0.25, 1.3, 0.10, 0.15
SMALL = 0.01  # share of the data under which a state may be missed, if that is said
WORDS = {
    "random_walk": r"walk|not stationary|come back|drift",
    "trend": r"trend|drift|not stationary",
    "sine": r"period|oscillat|cycl|not stationary",
    "ngrip": r"not stationary|drift|trend",
    "riboswitch_drifting": r"too few|not stationary|drift",
    "gisp2": r"too few|not stationary|drift|trend|record longer",
}
"""What has to be said of systems that are not stationary, or seen too briefly: any of these."""


class Criterion(NamedTuple):
    """`found` and `wanted` in words; whether it is `met`."""

    name: str
    found: str
    wanted: str
    met: bool


@dataclass(frozen=True)
class Reading:
    """What a fit says of a recording, and the recording.

    Parameters
    ----------
    landscape: from `Fit.landscape()`. segments: from `segment`, of the pieces that were fitted.
    truth: the whole recording with its known answer, from `recordings`. said: every sentence of the reading.
    """

    landscape: xr.Dataset
    segments: xr.Dataset
    truth: xr.Dataset
    said: tuple[str, ...]

    @property
    def number(self) -> int:
        """States found."""
        return self.landscape.sizes["state"]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Of all observations in the order of the recording; pieces are joined."""
        there = np.isfinite(self.segments["times"].values)
        return self.segments["label"].values[there]

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """Which observations of the recording `labels` has: one alone between two pauses is in no piece."""
        x = self.truth["observations"].values
        times = self.truth["times" if "times" in self.truth else "time"].values
        there = np.isfinite(np.broadcast_to(times, x.shape[:2]))
        if there.sum() == len(self.labels):
            return there
        told = self.segments["times"].values
        return there & np.isin(times.astype(told.dtype), told)  # a fit has times in single precision

    def known(self, name: str = "states") -> NDArray[np.int64]:
        """True labels, or others that the recording carries, of the observations of `labels`."""
        return self.truth[name].values[self.kept]

    @cached_property
    def rows(self) -> Array:
        """Observations `(observation, channel)` of `labels`."""
        return self.truth["observations"].values[self.kept]

    @cached_property
    def partner(self) -> NDArray[np.int64]:
        """The true state of each state found, −1 for none: by labels where they are known, else by the first level."""
        if "states" in self.truth:
            return accuracy.match(self.labels, self.known(), self.number)
        levels = np.asarray(self.truth.attrs.get("levels", []))
        apart = np.abs(self.levels[:, :1] - levels)
        return apart.argmin(1) if apart.size else np.full(self.number, -1)

    @cached_property
    def shares(self) -> Array:
        """Of the decided labels."""
        decided = self.labels[self.labels >= 0]
        return np.bincount(decided, minlength=self.number) / max(len(decided), 1)

    @cached_property
    def levels(self) -> Array:
        """Means of the rows of each state `(state, channel)`; NaN without rows."""
        means = np.full((self.number, self.rows.shape[-1]), np.nan)
        for state in np.unique(self.labels[self.labels >= 0]):
            means[state] = np.nanmean(self.rows[self.labels == state], 0)
        return means

    @cached_property
    def dwell(self) -> Array:
        """Mean visit by state, user's unit: of the table of visits where there is one, else as counted."""
        if "visit_mean" in self.landscape:
            return self.landscape["visit_mean"].values
        return self.landscape["dwell"].sel(route="counted").values

    @cached_property
    def label_dwell(self) -> Array:
        """Time over exits of the printed labels, within pieces; undecided ones keep the state before them."""
        return dwell_of_labels(self.segments["label"].values, self.segments["times"].values, self.number)

    def relaxation(self, route: str = "counted") -> Array:
        """Slowest first; empty where there is one state."""
        return self.landscape["relaxation"].sel(route=route).values if self.number > 1 else np.empty(0)

    def agreement(self, name: str = "states") -> float:
        """Share of labels equal to those that the recording carries, once states are matched."""
        known = self.known(name)
        partner = np.append(accuracy.match(self.labels, known, self.number), -2)
        return float((partner[self.labels] == known)[known >= 0].mean())

    def of(self, true: int, values: Array) -> float:
        """The value of the state that stands for a true one; NaN where none does."""
        at = np.flatnonzero(self.partner == true)
        return float(values[at].sum()) if len(at) else float("nan")


def dwell_of_labels(labels: NDArray, times: Array, states: int) -> Array:
    """Time spent over exits, by state `(state,)`; infinite for a state that is never left.

    Parameters
    ----------
    labels: `(sequence, time)`, −1 undecided. times: `(sequence, time)`, NaN after the end.
    """
    place = np.where(labels >= 0, np.arange(labels.shape[-1]), 0)
    held = np.take_along_axis(labels, np.maximum.accumulate(place, -1), -1)
    span = np.diff(times)
    here, to = held[:, :-1], held[:, 1:]
    known = np.isfinite(span) & (here >= 0) & (to >= 0)
    spent = np.bincount(here[known], span[known], states)
    exits = np.bincount(here[known & (here != to)], minlength=states)
    with np.errstate(divide="ignore", invalid="ignore"):
        return spent / exits


# What is asked, by system


def judge(name: str, reading: Reading) -> list[Criterion]:
    """All criteria of a system."""
    asked = ASKED.get(name, KINDS[reading.truth.attrs["kind"]])
    return [criterion for question in asked for criterion in question(name, reading)]


def _number(name: str, reading: Reading) -> Iterator[Criterion]:
    """Every state but those under 1 % of the data, and no other; one that is missed has to be told as merged.

    A state that the recording never visits is none of its own.
    """
    states = reading.truth.attrs["number"]
    if "states" in reading.truth:
        states = int((_held(reading) > 0).sum())
    wanted, met = str(states), reading.number == states
    if "states" in reading.truth:
        large = int((_held(reading) >= SMALL).sum())
        wanted = str(states) if large == states else f"{states}, or {large} and the others told"
        told = reading.landscape.sizes.get("minimum", reading.number) > reading.number
        met |= large <= reading.number < states and told
    yield Criterion("states", str(reading.number), wanted, met)


def _weights(name: str, reading: Reading) -> Iterator[Criterion]:
    """Exact weights within .03, or inside the 90 % interval of the counts, or what the recording held by its luck."""
    landscape = reading.landscape
    for true, weight in enumerate(reading.truth.attrs["weights"]):
        share, held = reading.of(true, reading.shares), _held(reading)[true]
        inside = False
        if reading.number > 1:
            low, high = (
                reading.of(true, landscape[f"stationary_{end}"].sel(route="counted").values) for end in ("low", "high")
            )
            inside = low <= weight <= high
        missable = held < SMALL and np.isnan(share)
        met = bool(min(abs(share - weight), abs(share - held)) <= SHARE or inside or missable)
        yield Criterion(f"weight {true}", f"{share:.3f}", f"{weight:.3f} (here {held:.3f}) ± {SHARE}", met)


def _held(reading: Reading) -> Array:
    """Shares of the true labels in this recording."""
    known = reading.known()
    return np.bincount(known[known >= 0], minlength=reading.truth.attrs["number"]) / (known >= 0).sum()


def _relaxations(name: str, reading: Reading) -> Iterator[Criterion]:
    """Exact relaxation times within 25 %, or inside the interval where that is wider because events were few."""
    yield from _times(reading, "relaxation", "counted", RELAXATION)


def _prior(name: str, reading: Reading) -> Iterator[Criterion]:
    """Relaxation times of the fitted prior within 15 %, and a verdict that says so."""
    yield from _times(reading, "prior's relaxation", "simulated", PRIOR)
    agree = bool(reading.landscape.attrs["kinetics_agree"])
    yield Criterion("verdict", "yes" if agree else "no", "yes", agree)


def _times(reading: Reading, title: str, route: str, tolerance: float) -> Iterator[Criterion]:
    found = reading.relaxation(route)
    for mode, exact in enumerate(reading.truth.attrs["relaxation"]):
        time = found[mode] if mode < len(found) else float("nan")
        met = bool(abs(time / exact - 1) <= tolerance)
        if not met and route == "counted" and mode < len(found):
            low, high = (
                float(reading.landscape[f"relaxation_{end}"].sel(route=route)[mode]) for end in ("low", "high")
            )
            few = (high - low) / 2 > tolerance * exact  # the recording cannot say it more exactly
            met = bool(few and low <= exact <= high)
        yield Criterion(f"{title} {mode + 1}", f"{time:.3g}", f"{exact:.3g} ± {100 * tolerance:.0f} %", met)


def _dwells(name: str, reading: Reading) -> Iterator[Criterion]:
    """Known dwell times within a factor of 1.3."""
    for true, dwell in enumerate(reading.truth.attrs["dwell"]):
        found = reading.of(true, reading.dwell)
        met = bool(1 / DWELL <= found / dwell <= DWELL)
        yield Criterion(f"dwell {true}", f"{found:.4g}", f"{dwell:.4g} within {DWELL} ×", met)


def _visits(name: str, reading: Reading) -> Iterator[Criterion]:
    """The dwell that is told agrees with the labels that are printed."""
    if reading.number < 2:
        return
    off = np.abs(np.log(reading.dwell / reading.label_dwell))
    worst = float(100 * np.expm1(np.nanmax(np.where(np.isfinite(off), off, np.nan), initial=0.0)))
    yield Criterion("dwell as the labels'", f"{worst:.0f} % off", f"within {100 * VISITS:.0f} %", worst <= 100 * VISITS)


def _accuracy(wanted: float, against: str = "states") -> Callable[[str, Reading], Iterator[Criterion]]:
    def asked(name: str, reading: Reading) -> Iterator[Criterion]:
        share = reading.agreement(against)
        yield Criterion("labels", f"{100 * share:.1f} %", f"{100 * wanted:.0f} %", share >= wanted)

    return asked


def _one_state(name: str, reading: Reading) -> Iterator[Criterion]:
    yield Criterion("states", str(reading.number), "1", reading.number == 1)


def _words(name: str, reading: Reading) -> Iterator[Criterion]:
    found = re.findall(WORDS[name], " ".join(reading.said), re.IGNORECASE)
    yield Criterion("says", ", ".join(dict.fromkeys(found)) or "nothing", WORDS[name], bool(found))


def _not_believed(name: str, reading: Reading) -> Iterator[Criterion]:
    agree = bool(reading.landscape.attrs["kinetics_agree"])
    yield Criterion("verdict", "yes" if agree else "no", "no", not agree)


def _riboswitch(name: str, reading: Reading) -> Iterator[Criterion]:
    """Levels within 1 nm, share of the lower .18 ± .04, relaxation 14–30 ms."""
    for true, level in enumerate(reading.truth.attrs["levels"]):
        at = np.flatnonzero(reading.partner == true)
        found = reading.levels[at[0], 0] if len(at) else float("nan")
        yield Criterion(f"level {true}", f"{found:.1f} nm", f"{level} ± 1", bool(abs(found - level) <= 1))
    lower = reading.of(1, reading.shares)
    yield Criterion("weight 1", f"{lower:.3f}", "0.18 ± 0.04", bool(abs(lower - 0.18) <= 0.04))
    slowest = reading.relaxation()[0] if reading.number > 1 else float("nan")
    yield Criterion("relaxation 1", f"{slowest:.1f} ms", "14 … 30", bool(14 <= slowest <= 30))


def _climate(name: str, reading: Reading) -> Iterator[Criterion]:
    warm = reading.of(1, reading.shares)
    yield Criterion("P(warm)", f"{warm:.3f}", "0.39 ± 0.08", bool(abs(warm - 0.39) <= 0.08))


def _modest(name: str, reading: Reading) -> Iterator[Criterion]:
    """Weak evidence for two states: one, or two that are not believed, and a word."""
    agree = bool(reading.landscape.attrs["kinetics_agree"])
    found = f"{reading.number}, {'believed' if agree else 'not believed'}"
    yield Criterion("states", found, "1, or 2 not believed", reading.number <= 2 and not agree)


def _openings(name: str, reading: Reading) -> Iterator[Criterion]:
    """Every opening holds a label of the open state."""
    true = np.concatenate([[0], reading.known(), [0]])
    begins, ends = np.flatnonzero(np.diff(true) == 1), np.flatnonzero(np.diff(true) == -1)
    open_states = np.flatnonzero(reading.partner == 1)
    seen = np.isin(reading.labels, open_states)
    hit = sum(seen[begin:end].any() for begin, end in zip(begins, ends, strict=True))
    yield Criterion("openings", f"{hit} of {len(begins)}", f"{len(begins)}", hit == len(begins))


def _molecule(name: str, reading: Reading) -> Iterator[Criterion]:
    """Every state is named after the basin of most of its frames; then shares, free energy, times, cores, interval."""
    basin, labels = reading.known(), reading.labels
    table = np.array([[np.sum((labels == s) & (basin == b)) for b in range(3)] for s in range(reading.number)])
    basin_of = table.argmax(1)
    named = np.append(basin_of, -1)[labels]
    yield Criterion("states", str(reading.number), "3 or more", reading.number >= 3)
    share = [float((named == place).mean()) for place in range(3)]
    limits = {"β": (0.541, 0.641), "α_R": (0.31, 0.41), "α_L": (0.025, 0.10)}
    for place, (title, (low, high)) in enumerate(limits.items()):
        yield Criterion(title, f"{share[place]:.3f}", f"{low} … {high}", low <= share[place] <= high)
    sampled = [reading.landscape["occupancy_sampled"].values[basin_of == place].sum() for place in range(3)]
    gap = float(np.log(max(sampled[0], 1e-9) / max(sampled[1], 1e-9)))
    yield Criterion("G(α_R) − G(β)", f"{gap:.2f} kT", "0.50 ± 0.2", abs(gap - 0.5) <= 0.2)
    times = np.append(reading.relaxation(), [np.nan] * 2)
    for mode, (low, high) in enumerate(((125, 500), (5, 11))):
        met = bool(low <= times[mode] <= high)
        yield Criterion(f"relaxation {mode + 1}", f"{times[mode]:.3g} ps", f"{low} … {high}", met)
    core = reading.known("core")
    inside = min(float((named == place)[core == place].mean()) for place in range(3))
    yield Criterion("core frames", f"{100 * inside:.1f} %", "90 %", inside >= 0.9)
    if reading.number > 1:
        ends = [
            float(reading.landscape[f"stationary_{end}"].sel(route="counted").values[basin_of == 2].sum())
            for end in ("low", "high")
        ]
        yield Criterion("interval of α_L", f"{ends[0]:.3f} … {ends[1]:.3f}", "holds 0.049", ends[0] <= 0.049 <= ends[1])


KINDS: dict[str, list[Callable[[str, Reading], Iterator[Criterion]]]] = {
    "wells": [_number, _weights, _relaxations, _visits, _prior],
    "switching": [_number, _weights, _dwells, _visits],
    "stationary": [_one_state],
    "changing": [_words, _not_believed],
}
ASKED: dict[str, list[Callable[[str, Reading], Iterator[Criterion]]]] = {
    "reaction_times": [_number, _accuracy(0.95, "smoothed")],
    "ion_channel": [_number, _weights, _openings, _visits],
    "riboswitch_steady": [_number, _riboswitch, _dwells, _visits],
    "riboswitch_drifting": [_number, _words, _not_believed],
    "ngrip": [_number, _accuracy(0.94), _climate, _dwells, _words, _visits],
    "gisp2": [_modest],
    "alanine": [_molecule],
}
"""The questions of a system, or else those of its kind."""
