"""Which minima of a landscape are states: those that the system holds for long beside the time it takes to forget.

Persistence ρ of a state: t, the time after which nobody can tell whether the system was in it, over r, the time after
which nobody can tell where in it the system was. One well cut in two has ρ ≈ 2, a flat box ρ ≈ 3 (the ratio of the
first two relaxation times: 2 for a harmonic well, 4 for a box); two wells that deserve the name have more. Barriers do
not enter: a wide basin holds for long behind a low one.

The least persistent minimum joins the one it exchanges most with, all is counted again, and so on until one is left: a
tree, which `cut` cuts where persistence suffices.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ._memberships import CORE, committors, memberships

Array = NDArray[np.floating]
Integers = NDArray[np.integer]

PERSISTENT = 3.0  # lower end of ρ from which a minimum is a state
FASTEST = 2.0  # observation intervals that a state lasts at least
MET = 5  # entries and exits of a state that is come back to; none at all: recordings that never connect
FLOOR = 1 / 3  # observation intervals: shorter memories are not told apart
SURE = 1.645  # standard errors of log ρ from its middle to the ends of its 90 % interval
LAGS = np.unique((2 ** np.arange(0, 12.5, 0.5)).round().astype(int))  # observations: 1, 2, 3, 4, 6, 8, 11 … 4096
PAIRS = 20  # fewest pairs that tell a correlation
MEASURES = (
    "time_share", "dwell", "switches", "relaxation", "memory", "persistence", "persistence_low", "persistence_high",
    "reason",
)  # fmt: skip
REASONS = ("", "persistence", "visits", "sampling")
"""Why a minimum is no state by itself: it does not persist, is not come back to, ends between observations."""


def tree(
    paths: Float[Tensor, "draw sequence time latent"],
    times: Array,
    tables: xr.Dataset,
    memory: Array,
    owner: Integers | None = None,
) -> xr.Dataset:
    """Join the least persistent minimum to the one it exchanges most with, count again, until one is left.

    Parameters
    ----------
    paths: posterior draws of the positions at `times (sequence, time)`, user's unit, NaN after the end of a sequence.
    tables: from `memberships.between` for all minima. memory: γ/λ of each, the slowest relaxation at the bottom of its
        well, user's unit. owner: groups of minima to begin with, named by one of their members; all apart when None.

    Returns
    -------
    Over `stage`, how many joined before, and `minimum`, which speaks for a group: `group`, who speaks for a minimum;
    of each group, NaN for minima that do not speak: `time_share`; `dwell`, the time from entering its core to entering
    another's; `switches`, entries and exits per draw; `relaxation`, t; `memory`, r; `persistence` with
    `persistence_low` and `persistence_high`, its 90 % interval; `reason`, a place in `REASONS` by which it cannot be a
    state however long it lasts, 0 for none. `joined (stage)` and `into (stage)`: which two are one at the next stage;
    −1 at the last.
    """
    record = _Record.of(paths, times)
    committor = committors(tables, torch.as_tensor(record.position))
    count = len(memory)
    group = np.arange(count) if owner is None else owner.copy()
    stages, joined, into = [], [], []
    while True:
        speakers = np.unique(group)
        stage, exchange = _judged(record, committor, group, memory)
        stages.append(stage)
        if len(speakers) == 1:
            break
        weakest = speakers[np.lexsort([stage["persistence"][speakers], _score(stage)[speakers]])[0]]
        other = _partner(exchange, weakest, speakers, tables["core_origin"].values)
        joined.append(weakest)
        into.append(other)
        larger = max(weakest, other, key=lambda k: stage["time_share"][k])
        group = np.where(np.isin(group, [weakest, other]), larger, group)
    names = stages[0].keys()
    return xr.Dataset(
        {name: (("stage", "minimum"), np.stack([stage[name] for stage in stages])) for name in names}
        | {"joined": ("stage", [*joined, -1]), "into": ("stage", [*into, -1])},
        attrs={"interval": record.gap},
    )


def cut(grown: xr.Dataset, min_persistence: float = PERSISTENT) -> int:
    """The first stage of a tree at which every group is a state: ρ is surely above `min_persistence`, and no `reason`.

    Parameters
    ----------
    grown: from `tree`. min_persistence: for the lower end of ρ; 0 keeps every minimum, whatever speaks against it.
    """
    if min_persistence <= 0:
        return 0
    score = np.stack([_score(dict(grown.isel(stage=k).data_vars)) for k in range(grown.sizes["stage"])])
    weakest = np.nanmin(score, -1)
    weakest[-1] = np.inf  # one is always left
    return int((weakest >= min_persistence).argmax())


def _score(stage: dict) -> Array:
    return np.where(np.asarray(stage["reason"]) > 0, 0.0, np.asarray(stage["persistence_low"]))


class _Record(NamedTuple):
    """All draws of all sequences end to end."""

    position: Array  # (point, latent)
    sequence: Integers  # (point,), a number of its own for every draw of every sequence
    span: Array  # (point,), time to the next observation; NaN at the end of a sequence
    gap: float  # the usual one
    draws: int

    @classmethod
    def of(cls, paths: Tensor, times: Array) -> _Record:
        there = np.broadcast_to(np.isfinite(times), paths.shape[:-1])
        number = np.arange(there[..., 0].size).reshape(there.shape[:-1])
        span = np.diff(times, append=np.nan)
        every = (np.broadcast_to(values, there.shape)[there] for values in (number[..., None], span))
        position = paths.detach().cpu().numpy()[there]
        return cls(position, *every, float(np.nanmedian(np.diff(times))), len(paths))


def _judged(record: _Record, committor: Tensor, group: Integers, memory: Array) -> tuple[dict[str, Array], Array]:
    """Everything of every group, and the exits `(minimum, to)` from one to another."""
    count, speakers = len(group), np.unique(group)
    held = memberships(committor, torch.as_tensor(np.searchsorted(speakers, group)), len(speakers)).numpy()
    core = np.where(held.max(-1) >= CORE, speakers[held.argmax(-1)], -1)
    state = _milestones(core, record.sequence)
    exits, time = _tally(record, state, count)
    found = {name: np.full(count, np.nan) for name in MEASURES} | {"group": group}
    for place, k in enumerate(speakers):
        own = max(_memory(record, state == k), memory[k], FLOOR * record.gap)
        out, entered = exits[k].sum(), exits[:, k].sum()
        apart = min(
            _exchanged(record.gap, out, time[k], entered, time.sum() - time[k]), _correlated(record, held[:, place], own)
        )
        for name, value in _persistence(apart, own, out + entered, time[k]).items():
            found[name][k] = value
        found["time_share"][k] = time[k] / time.sum()
        found["dwell"][k] = time[k] / out if out else np.inf
        seldom = 0 < out + entered < MET or time[k] == 0
        found["reason"][k] = 2 if seldom else 3 if found["dwell"][k] < FASTEST * record.gap else 0
    return found, exits


def _persistence(apart: float, own: float, switches: float, time: float) -> dict[str, float]:
    """ρ = t/r and its interval: as many switches as were seen, and as many memories as fit into the time."""
    if not math.isfinite(apart):  # never left: as if half an exit had been seen
        apart = 2 * time
    off = math.exp(SURE * math.sqrt(2 / (switches + 1) + 2 * own / max(time, own)))
    rho = {"persistence": apart / own, "persistence_low": apart / own / off, "persistence_high": apart / own * off}
    return rho | {"relaxation": apart, "memory": own, "switches": switches}


def _milestones(core: Integers, sequence: Integers) -> Integers:
    """The core visited last, −1 before the first one of a sequence."""
    place = np.maximum.accumulate(np.where(core >= 0, np.arange(len(core)), 0))
    return np.where(sequence[place] == sequence, core[place], -1)


def _tally(record: _Record, state: Integers, count: int) -> tuple[Array, Array]:
    """Exits `(minimum, to)` and time `(minimum)` per draw."""
    here, to, span = state[:-1], state[1:], record.span[:-1]
    known = np.isfinite(span) & (here >= 0)
    exits = np.zeros((count, count))
    moved = known & (here != to)
    np.add.at(exits, (here[moved], to[moved]), 1.0)
    return exits / record.draws, np.bincount(here[known], span[known], count) / record.draws


def _exchanged(gap: float, out: float, inside: float, entered: float, outside: float) -> float:
    """t by counting: −Δt/log λ with λ = 1 − P(exit) − P(entry) per observation; 0 where chance alone switches faster."""
    if not out + entered:
        return math.inf
    kept = 1 - gap * (out / max(inside, gap) + entered / max(outside, gap))
    return -gap / math.log(kept) if kept > 0 else 0.0


def _correlated(record: _Record, held: Array, memory: float) -> float:
    """t by the correlation C of the membership: ℓ/log(C(ℓ)/C(2ℓ)), with ℓ as long as the memory; 0 where C is not positive.

    Counting overrates diffusion that is looked at seldom: it takes many looks to meet the other core.
    """
    lag = max(1, round(memory / record.gap))
    near, far = (_covariance(record, held - held.mean(), some) for some in (lag, 2 * lag))
    if not (near > 0 and far > 0):
        return 0.0
    return lag * record.gap / math.log(near / far) if near > far else math.inf


def _covariance(record: _Record, values: Array, lag: int) -> float:
    both = record.sequence[lag:] == record.sequence[:-lag]
    return float((values[lag:] * values[:-lag])[both].mean()) if both.any() else 0.0


def _memory(record: _Record, inside: NDArray[np.bool_]) -> float:
    """r by the paths: where the slowest correlation of two positions, both in the state, falls below 1/e."""
    place = np.flatnonzero(inside)
    if len(place) < PAIRS:
        return 0.0
    offset = record.position - record.position[place].mean(0)
    spread = np.cov(record.position[place], rowvar=False, bias=True).reshape(offset.shape[-1], -1)
    root = np.linalg.cholesky(spread + 1e-9 * np.trace(spread) * np.eye(len(spread)))
    scaled = np.linalg.solve(root, offset.T).T
    before, last = 0, 1.0
    for lag in LAGS:
        first = place[place + lag < len(inside)]
        first = first[inside[first + lag] & (record.sequence[first] == record.sequence[first + lag])]
        if len(first) < PAIRS:
            break
        product = scaled[first].T @ scaled[first + lag] / len(first)
        now = float(np.linalg.eigvalsh(product + product.T)[-1]) / 2
        if now < math.exp(-1):
            step = (1 + math.log(last)) / math.log(last / max(now, 1e-3))
            return (before + step * (lag - before)) * record.gap
        before, last = lag, min(now, 1.0)
    return before * record.gap


def _partner(exchange: Array, weakest: int, speakers: Integers, position: Array) -> int:
    """Whom a group exchanges most with; the nearest one where it exchanges with none."""
    others = speakers[speakers != weakest]
    met = (exchange + exchange.T)[weakest, others]
    if not met.any():
        met = -np.linalg.norm(position[others] - position[weakest], axis=-1)
    return int(others[met.argmax()])
