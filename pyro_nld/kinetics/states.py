"""Which minima of a landscape are states: those that the system holds for long beside the time it takes to forget.

Persistence ρ of a state: t, the time after which nobody can tell whether the system was in it, over r, the time after
which nobody can tell where in it the system was. One well cut in two has ρ of about 2, a flat box of 3 to 4, for these
are the ratios of their first two relaxation times; two wells that deserve the name have more. t is that beside those
others where it is the shortest, see `_beside`. Barriers do not enter: a wide basin holds for long behind a low one.
Where levels drift or decay within a visit, the place in a state is remembered for as long as the state; what tells then
is that the data hop, see `hops`.

The least persistent minimum joins the one it exchanges most with, all is counted again, and so on until one is left: a
tree, which `cut` cuts where persistence suffices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from .. import landscape
from .._typing import Array
from ..dynamics.potentials import Energy
from ..landscape import flows
from . import hops
from .memberships import CORE, between, memberships

Integers = NDArray[np.integer]

PERSISTENT = 3.0  # ρ from which a minimum is a state
FASTEST = 2.0  # observation intervals that a state lasts at least
MET = 5  # entries, exits and further recordings that begin in a state that is come back to; with no exit nor entry at
# all, recordings never connect
FLOOR = 1 / 3  # observation intervals: shorter memories are not told apart
SURE = 1.645  # standard errors of log ρ from its middle to the ends of its 90 % interval
LAGS = np.unique((2 ** np.arange(0, 12.5, 0.5)).round().astype(int))  # observations: 1, 2, 3, 4, 6, 8, 11 … 4096
CERTAIN = 1.5  # the lower end of the interval of ρ may be that much below what ρ must be
CLIP = 3.0  # standard deviations; positions further out count as if they were there
NOISE = 0.1  # of the variance of a membership, that the correlation must be above after the memory
PAIRS = 20  # fewest pairs that tell a correlation
ALIKE = 0.5  # of the largest exchange of a group; those that have as much are told apart by the dip between
POINTS = 20_000  # of the data, whose density tells cores
NUMBERS = 2_000_000_000  # committors of a tree, above which fewer draws are read

OWN = (
    "dwell", "memory", "persistence", "persistence_low", "persistence_high", "switches", "crossing", "dip", "hopping",
)  # fmt: skip
"""Measures that are told of every minimum, and of every state."""
MEASURES = ("time_share", "relaxation", *OWN)


def metastable(
    potential: Energy,
    wells: xr.Dataset,
    paths: Float[Tensor, "draw sequence time latent"],
    times: Array,
    *,
    min_persistence: float = PERSISTENT,
    seed: int = 0,
) -> xr.Dataset:
    """The minima of a landscape in groups that persist, with what tells why.

    Parameters
    ----------
    potential: U. wells: from `landscape.minima`; minima that share a state there stay together.
    paths: posterior draws of the positions at `times (sequence, time)`, user's unit, NaN after the end of a sequence.
    min_persistence: ρ from which a group is a state, see `cut`. seed: of the points whose density tells cores.

    Returns
    -------
    As `landscape.minima`, shares being those of the paths, with the tables of `memberships.between`, and

    * over `minimum`, of the group that it spoke for until it joined a larger one: `minimum_dwell`,
      `minimum_switches`; `minimum_crossing`, `minimum_dip` and `minimum_hopping`, see `hops.hopping`; `minimum_memory`,
      `minimum_persistence` with its 90 % interval `…_low` and `…_high`, those of the less persistent of the two;
      `minimum_into`, the minimum that it joined, −1 where it speaks for a state; `minimum_kept`, the largest
      `min_persistence` at which it is a state of its own, 0 where only 0 keeps it; `minimum_reason`, why it is none:
      `persistence`, `visits` (it is not come back to), `sampling` (it ends between observations), `barrier`, or empty;
    * over `state`, of the whole group: `memory`, `persistence`, `persistence_low`, `persistence_high`, `switches`,
      `crossing`, `dip`, `hopping`; NaN where there is but one.

    Not checked: whether paths and minima belong together.

    Examples
    --------
    White noise has one state, whatever its landscape looks like; a signal that holds its level has two:

    >>> import numpy as np, torch, pyro_nld as nld
    >>> potential, random = nld.DoubleWell(barrier=3.0), np.random.default_rng(0)
    >>> held, noise = np.arange(400) // 20 % 2, random.integers(0, 2, 400)
    >>> for level in held, noise:
    ...     path = torch.tensor(2.0 * level - 1 + 0.2 * random.standard_normal(400))[None, None, :, None]
    ...     wells = nld.landscape.minima(potential, path[0, 0], min_barrier=0.0)
    ...     nld.kinetics.metastable(potential, wells, path, np.arange(400.0)[None]).sizes["state"]
    2
    1
    """
    centre, there = torch.as_tensor(wells["minimum_position"].values), torch.as_tensor(np.isfinite(times))
    points = flows.some(paths[:, there].flatten(0, 1), POINTS, seed)
    basins = _basins(potential, wells, points)
    tables = between(points, basins, centre)
    draws = max(1, min(len(paths), int(NUMBERS // (there.sum() * len(centre) ** 3))))
    first = _speakers(wells)
    grown = tree(paths[:draws], times, tables, first)
    stage = cut(grown, min_persistence)
    share = basins[basins >= 0].bincount(minlength=len(centre)).double() / len(points)
    counted = wells.assign(minimum_share=("minimum", share.numpy()))
    found = landscape.grouped(potential, counted, torch.as_tensor(grown["group"].values[stage]))
    return found.assign(tables.drop_vars("minimum_position")).assign(_told(grown, stage, found, first))


def _basins(potential: Energy, wells: xr.Dataset, points: Tensor) -> Tensor:
    """The minimum that each point flows to."""
    alone = wells.assign(minimum_state=("minimum", np.arange(wells.sizes["minimum"])))
    return landscape.basins(potential, alone, points)


def _speakers(wells: xr.Dataset) -> Integers:
    """For every minimum the most populated one of its state."""
    state = wells["minimum_state"].values
    largest = {k: np.flatnonzero(state == k)[wells["minimum_share"].values[state == k].argmax()] for k in set(state)}
    return np.array([largest[k] for k in state])


def _told(grown: xr.Dataset, stage: int, found: xr.Dataset, first: Integers) -> dict[str, tuple[str, Array]]:
    """What `metastable` says of every minimum and state when the tree is cut at a stage."""
    alone = first == np.arange(grown.sizes["minimum"])  # at the first stage
    into, reason = np.where(alone, -1, first), np.where(alone, "", "barrier").astype("<U11")
    several = stage < grown.sizes["stage"] - 1
    measure = {name: np.where(alone & several, grown[name].values[stage], np.nan) for name in OWN}
    weakest = np.maximum.accumulate(_weakest(grown))
    kept = np.where(alone, weakest[-1], 0.0)
    for step in range(grown.sizes["stage"] - 1):
        minimum, other = (int(grown[name][step]) for name in ("joined", "into"))
        kept[minimum] = weakest[step]
        if step < stage:
            now = grown.isel(stage=step)
            least = min(minimum, other, key=lambda one: _score(now)[one])
            into[minimum], reason[minimum] = other, str(now["reason"].values[least]) or "persistence"
            for name, values in measure.items():
                values[minimum] = float(now[name][minimum if name in ("dwell", "switches") else least])
    speaks = np.flatnonzero(into < 0)
    place = speaks[found["minimum_state"].values[speaks].argsort()]
    of_minima = {f"minimum_{name}": ("minimum", values) for name, values in measure.items()}
    of_states = {name: ("state", measure[name][place]) for name in OWN if name != "dwell"}
    said = {"minimum_into": ("minimum", into), "minimum_kept": ("minimum", kept), "minimum_reason": ("minimum", reason)}
    return of_minima | said | of_states


# The tree


def tree(
    paths: Float[Tensor, "draw sequence time latent"],
    times: Array,
    tables: xr.Dataset,
    owner: Integers | None = None,
) -> xr.Dataset:
    """Join the least persistent minimum to the one it exchanges most with, count again, until one is left.

    Parameters
    ----------
    paths: posterior draws of the positions at `times (sequence, time)`, user's unit, NaN after the end of a sequence.
    tables: from `memberships.between` for all minima.
    owner: groups of minima to begin with, named by one of their members; all apart when None.

    Returns
    -------
    Over `stage`, how many have joined, and `minimum`: `group`, who speaks for it, and of those who speak (NaN for the
    others) `time_share`; `dwell`, from entering its core to entering another's; `switches`, entries and exits per draw;
    `relaxation`, t; `memory`, r; `persistence` with `persistence_low` and `persistence_high`, its 90 % interval;
    `crossing`, `dip`, `hopping`; `reason`, by which it is no state however long it lasts. `joined (stage)` and `into
    (stage)`: the smaller one, which speaks no more at the next stage, and the larger one, which speaks for it; −1 at
    the last.
    """
    record = _Record.of(paths, times)
    group = np.arange(tables.sizes["minimum"]) if owner is None else owner.copy()
    dips = hops.dips(tables)
    stages, steps = [], []
    while True:
        stage, exchange = _judged(record, tables, dips, group)
        stages.append(stage)
        speakers = np.unique(group)
        if len(speakers) == 1:
            break
        weakest = int(speakers[np.lexsort([stage["persistence"][speakers], _score(stage)[speakers]])[0]])
        other = _partner(exchange, dips, weakest, speakers, tables["minimum_position"].values)
        smaller, larger = sorted([weakest, other], key=lambda one: stage["time_share"][one])
        steps.append([smaller, larger])
        group = np.where(group == smaller, larger, group)
    variables = {name: (("stage", "minimum"), np.stack([one[name] for one in stages])) for name in stages[0]}
    ends = np.array([*steps, [-1, -1]]).T
    return xr.Dataset(variables | {"joined": ("stage", ends[0]), "into": ("stage", ends[1])})


def cut(grown: xr.Dataset, min_persistence: float = PERSISTENT) -> int:
    """The first stage of a tree at which every group is a state.

    That is, ρ is above `min_persistence`, the lower end of its interval above two thirds of that (for 3 above 2, what
    one well cut in two shows), and nothing else speaks against it. Clear hops do as well, see `hops.hopping`.

    Parameters
    ----------
    grown: from `tree`. min_persistence: for ρ; 0 keeps every minimum, whatever speaks against it.
    """
    return int((_weakest(grown) >= min_persistence).argmax())


def _weakest(grown: xr.Dataset) -> Array:
    """The smallest score at every stage; infinite at the last, where one is left."""
    names = ("reason", "persistence", "persistence_low", "hopping")
    stages = [{name: grown[name].values[k] for name in names} for k in range(grown.sizes["stage"])]
    return np.array([*(np.nanmin(_score(stage)) for stage in stages[:-1]), np.inf])


def _score(stage: Mapping) -> Array:
    """ρ, or 1.5 times the lower end of its interval, if that is less, or what hopping is worth, if that is more.

    0 where something else speaks against a state.
    """
    sure = np.minimum(stage["persistence"], CERTAIN * stage["persistence_low"])
    return np.where(stage["reason"] == "", np.fmax(sure, stage["hopping"]), 0.0)


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
        number = np.arange(there[..., 0].size).reshape(*there.shape[:-1], 1)
        span = np.diff(times, append=np.nan)
        sequence, step = (np.broadcast_to(values, there.shape)[there] for values in (number, span))
        position = paths.detach().cpu().numpy()[there]
        return cls(position, sequence, step, float(np.nanmedian(np.diff(times))), len(paths))


def _judged(record: _Record, tables: xr.Dataset, dips: Array, group: Integers) -> tuple[dict, Array]:
    """Everything of every group, and the exits `(minimum, to)` from one to another."""
    count, (speakers, number) = len(group), np.unique(group, return_inverse=True)
    held = memberships(tables, torch.as_tensor(record.position), number).numpy()
    core = np.where(held.max(-1) >= CORE, speakers[held.argmax(-1)], -1)
    state = _milestones(core, record.sequence)
    exits, time = _tally(record, state, count)
    begun = _begun(record, state, count)
    found: dict[str, NDArray] = {name: np.full(count, np.nan) for name in MEASURES}
    found |= {"group": group, "reason": np.full(count, "", "<U11")}
    for place, k in enumerate(speakers):
        ways = tables["core_axis"].values[group == k][:, group != k].reshape(-1, record.position.shape[-1])
        own = max(_memory(record, state == k, ways) if len(ways) else 0.0, FLOOR * record.gap)
        out, entered = exits[k].sum(), exits[:, k].sum()
        counted, beside = _beside(record.gap, int(k), exits, time, speakers)
        among = np.ones(len(state), dtype=bool), np.isin(state, [k, *beside])
        apart = min(counted, *(_correlated(record, held[:, place], own, some) for some in among))
        said = _persistence(apart, own, out + entered, time[k])
        said |= {"time_share": time[k] / time.sum(), "dwell": time[k] / out if out else np.inf}
        crossed = hops.crossing(core, (state[:-1] == k) & (state[1:] != k) & np.isfinite(record.span[:-1])) * record.gap
        said |= hops.hopping(said["dwell"], crossed, hops.shallowest(dips, group == k), out + entered)
        for name, value in said.items():
            found[name][k] = value
        if said["dwell"] < FASTEST * record.gap:
            found["reason"][k] = "sampling"
        elif (out + entered > 0 and out + entered + max(begun[k] - 1, 0) < MET) or not time[k]:
            found["reason"][k] = "visits"
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


def _begun(record: _Record, state: Integers, count: int) -> Array:
    """Recordings per draw whose first core is that of each minimum: independent recordings find a state anew."""
    known = np.flatnonzero(state >= 0)
    first = known[np.unique(record.sequence[known], return_index=True)[1]]
    return np.bincount(state[first], minlength=count) / record.draws


def _beside(gap: float, k: int, exits: Array, time: Array, speakers: Integers) -> tuple[float, Integers]:
    """The shortest t by counting of a group beside others, and these: the one it exchanges most with, or more, or all.

    Beside no less than all, a half of one well would seem to last the longer, the more time is spent in other wells.
    """
    others = speakers[speakers != k]
    nearest = others[(exits + exits.T)[k, others].argsort(kind="stable")[::-1]]
    unions = [nearest[: size + 1] for size in range(len(nearest))] or [nearest]
    found = [_exchanged(gap, exits[k, some].sum(), time[k], exits[some, k].sum(), time[some].sum()) for some in unions]
    return min(zip(found, unions, strict=True), key=lambda one: one[0])


def _exchanged(gap: float, out: float, inside: float, entered: float, outside: float) -> float:
    """t by counting: −Δt/log λ, λ = 1 − P(exit) − P(entry) per observation; 0 where chance alone keeps longer."""
    if not out + entered:
        return math.inf
    kept = 1 - gap * (out / max(inside, gap) + entered / max(outside, gap))
    return -gap / math.log(kept) if kept > 0 else 0.0


def _correlated(record: _Record, held: Array, memory: float, among: NDArray[np.bool_]) -> float:
    """t by the correlation C of the membership: ℓ/log(C(ℓ)/C(2ℓ)), ℓ as long as the memory; 0 where C is gone by then.

    Counting overrates diffusion that is looked at seldom: it takes many looks to meet the other core. And what turns
    in circles is anticorrelated after half a turn. Of two points, both are `among` those that are looked at.
    """
    if not among.any():
        return math.inf
    lag = max(1, round(memory / record.gap))
    offset = held - held[among].mean()
    near, far = (_covariance(record, offset, some, among) for some in (lag, 2 * lag))
    if not (near > NOISE * float(offset[among].var()) and far > 0):
        return 0.0
    return lag * record.gap / math.log(near / far) if near > far else math.inf


def _covariance(record: _Record, values: Array, lag: int, among: NDArray[np.bool_]) -> float:
    both = (record.sequence[lag:] == record.sequence[:-lag]) & among[lag:] & among[:-lag]
    return float((values[lag:] * values[:-lag])[both].mean()) if both.any() else 0.0


def _memory(record: _Record, inside: NDArray[np.bool_], axes: Array) -> float:
    """r: where the slowest correlation of two positions, both in the state, falls below 1/e.

    Positions are looked at along the axes `(axis, latent)` to other states. An axis that tells no states apart may be
    slow, or not seen by the data at all.
    """
    place = np.flatnonzero(inside)
    if len(place) < PAIRS:
        return 0.0
    values = _scaled(record.position @ axes.T, place)
    before, last = 0, np.ones(len(axes))
    time = np.zeros(len(axes))
    for lag in LAGS:
        first = place[place + lag < len(inside)]
        first = first[inside[first + lag] & (record.sequence[first] == record.sequence[first + lag])]
        if len(first) < PAIRS:
            break
        now = (values[first] * values[first + lag]).mean(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (1 + np.log(last)) / np.log(last / np.maximum(now, 1e-3))
        slow = last > math.exp(-1)
        time = np.where(slow, np.where(now < math.exp(-1), before + step * (lag - before), lag), time)
        before, last = int(lag), np.where(slow, np.minimum(now, 1.0), last)
        if not (last > math.exp(-1)).any():
            break
    return float(time.max()) * record.gap


def _scaled(values: Array, place: Integers) -> Array:
    """Values with mean 0 and variance 1 at some places, clipped: a rare spot far away is not where a state is."""
    low, middle, high = np.quantile(values[place], [0.16, 0.5, 0.84], axis=0)
    half = CLIP * (high - low) / 2
    clipped = np.clip(values, middle - half, middle + half)
    return (clipped - clipped[place].mean(0)) / np.maximum(clipped[place].std(0), 1e-300)


def _partner(exchange: Array, dips: Array, weakest: int, speakers: Integers, position: Array) -> int:
    """Whom a group joins: the one it exchanges most with, or half as much behind less of a dip.

    Where levels decay within a visit, the high one is entered from outside as often as it goes over to the low one. The
    nearest one where it exchanges with none.
    """
    others = speakers[speakers != weakest]
    met = (exchange + exchange.T)[weakest, others]
    if not met.any():
        return int(others[np.linalg.norm(position[others] - position[weakest], axis=-1).argmin()])
    often = others[met >= ALIKE * met.max()]
    return int(often[dips[weakest, often].argmin()])
