"""How long states last and how they follow each other, by independent routes.

* counted: core sets on posterior paths of the data: says what the data did, whatever the landscape is;
* simulated: the fitted prior, run with its own steps and counted in the same way;
* eyring_kramers: from the curvatures and heights of the landscape alone, right when barriers are high;
* exact: the generator on a grid, for overdamped landscapes of one or two axes.

A visit to a state lasts from the first entry of its core to the first entry of another's, so that recrossings of a
ridge do not count. Datasets carry `route` as a dimension; `verdicts` judges whether they agree.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from . import generators
from ._checks import ShapeError
from .dynamics import Dynamics, OverdampedLangevin
from .integrators import Integrator
from .paths import LangevinPath, refine
from .potentials import Energy, hessian, in_double

Array = NDArray[np.floating]
States = NDArray[np.integer]

HALF = 0.5  # share of a harmonic well's mass inside its core
INTERVAL = 0.90  # of the intervals given
DWELLS = ("dwell", "dwell_low", "dwell_high")
MARGIN = 6.0  # thermal widths between the outermost minimum and the edge of a grid


# Core sets


def cores(
    potential: Energy, wells: xr.Dataset, points: Float[Tensor, "*batch latent"], temperature: float = 1.0
) -> Int[Tensor, "*batch"]:
    """The state whose core a point is in: (z − m)ᵀ ∇²U(m) (z − m) ≤ T χ²½, half the mass of a harmonic well; else −1.

    Parameters
    ----------
    potential: U. wells: from `landscape.minima`; every dent has a core, which belongs to its state.
    points: where. temperature: T, in the unit of U.
    """
    centres = torch.as_tensor(wells["dent_position"].values)
    metrics = hessian(in_double(potential), centres) / temperature
    nearest = torch.full(points.shape[:-1], torch.inf)
    label = torch.full(points.shape[:-1], -1)
    for centre, metric, state in zip(centres, metrics, wells["dent_state"].values, strict=True):
        offset = points - centre.to(points)
        distance = ((offset @ metric.to(points)) * offset).sum(-1)
        label = torch.where(distance < nearest, int(state), label)
        nearest = torch.minimum(nearest, distance)
    return torch.where(nearest <= chi2.ppf(HALF, points.shape[-1]), label, -1)


def milestones(labels: States) -> States:
    """The core visited last, `(*batch, time)`; −1 before the first one."""
    place = np.where(labels >= 0, np.arange(labels.shape[-1]), -1)
    last = np.maximum.accumulate(place, -1)
    return np.where(last >= 0, np.take_along_axis(labels, np.maximum(last, 0), -1), -1)


def count(labels: States, times: Array, states: int) -> xr.Dataset:
    """Exits and the time spent, from core labels: rate k → l = exits_kl / time_k, censored visits counted rightly.

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
    state)`; every visit of every draw whose begin was seen, `visit_state`,
    `visit_duration` and `visit_ended (visit)`, 0 where the sequence ended first.

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
    steps = _steps(milestones(labels), times)
    exits, spent = _tally(steps, states)
    sparse_exits, sparse_time = _tally(_steps(milestones(labels[..., ::2]), times[:, ::2]), states)
    dwell = spent / np.maximum(exits.sum(-1), 1e-300)
    late = np.broadcast_to(np.arange(times.shape[-1] - 1) >= (times.shape[-1] - 1) // 2, times[:, 1:].shape)
    half = [_tally(steps, states, late == side) for side in (False, True)]
    seen = np.isfinite(steps.age) & (steps.moved | steps.last)
    old = steps.age >= dwell[steps.here]  # False where the age is not known
    age = [_tally(steps, states, (old == side) & np.isfinite(steps.age)) for side in (False, True)]
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
        },
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


# Routes


def by_counting(counts: xr.Dataset) -> xr.Dataset:
    """`rate (state, to)` = exits/time, `dwell (state)` = time/exits, and the interval of a Poisson count.

    Parameters
    ----------
    counts: from `count`.

    Returns
    -------
    `rate`, NaN on the diagonal; `dwell`, infinite where a state was never left; `dwell_low`, `dwell_high`: its 90 %
    interval, from a rate with Gamma(exits + ½, time) posterior (Jeffreys' prior); `exits (state)`.
    """
    exits, time = counts["exits"].sum("to").values, counts["time"].values
    tail = (1 - INTERVAL) / 2
    # chi2 with 2 N + 1 degrees of freedom is twice a Gamma(N + ½, 1)
    low, high = (2 * time / chi2.ppf(level, 2 * exits + 1) for level in (1 - tail, tail))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, dwell = counts["exits"].values / time[:, None], time / exits
    return _route(rate, dwell, low, high, exits)


def eyring_kramers(dynamics: Dynamics, wells: xr.Dataset, passes: xr.Dataset) -> xr.Dataset:
    """k = λ₊/2π · √(det H_m / |det H_s|) · exp(−(U_s − U_m)/T), summed over the saddles between two states.

    λ₊ is the growth rate of the motion linearised at the saddle: |h₁|/γ overdamped (Kramers, Langer), the positive root
    with momenta. For barriers of a few kT and more; at 10 kT it is a few per cent off.

    Parameters
    ----------
    dynamics: with fixed quantities. wells: from `landscape.minima`. passes: from `saddles.saddles`.

    References
    ----------
    N. Berglund, Markov Processes and Related Fields 19:459–490, 2013. J. S. Langer, Ann. Phys. 54:258–275, 1969.
    """
    temperature, states = float(dynamics.temperature), wells.sizes["state"]
    volume = -0.5 * np.log(wells["curvature"].values).sum(-1)  # log of a well's, up to a factor common to all
    rate = np.full((states, states), np.nan)
    saddle_matrices = hessian(in_double(dynamics.potential), torch.as_tensor(passes["saddle_position"].values))
    for place, matrix in enumerate(saddle_matrices):
        curvature = np.abs(np.linalg.eigvalsh(matrix.numpy()))
        prefactor = _growth(dynamics, matrix) / (2 * math.pi) * math.exp(-0.5 * np.log(curvature).sum())
        first, second = passes["saddle_states"].values[place]
        for state, to in ((first, second), (second, first)):
            height = float(passes["saddle_energy"][place] - wells["energy"][state]) / temperature
            rate[state, to] = np.nansum([rate[state, to], prefactor * math.exp(-height - volume[state])])
    return _from_rates(rate)


def simulated(
    dynamics: Dynamics,
    integrator: Integrator,
    wells: xr.Dataset,
    starts: Float[Tensor, "path latent"],
    *,
    interval: float,
    substeps: int,
    intervals: int,
    seed: int = 0,
) -> xr.Dataset:
    """Counts of a fitted chain: its own integrator, its own step, looked at as often as the data were.

    Parameters
    ----------
    dynamics: with fixed quantities. integrator: that of the fit. wells: from `landscape.minima`.
    starts: positions to start from, `(path, latent)`, for example encoded data; momenta start in equilibrium.
    interval: time between looks. substeps: steps in between. intervals: number of looks. seed: of the noise.

    Returns
    -------
    As `count`, in the dynamics' unit of time.
    """
    grid = refine(torch.tensor([0.0, interval], dtype=starts.dtype), substeps)
    positions = []
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        thermal = dynamics.thermal_scale()
        state = torch.cat([starts, thermal * torch.randn(len(starts), thermal.shape[-1], dtype=starts.dtype)], -1)
        for _ in range(intervals):
            state = LangevinPath(dynamics, integrator, state, grid).sample()[..., -1, :]
            positions.append(dynamics.position(state))
    labels = cores(dynamics.potential, wells, torch.stack(positions, -2), float(dynamics.temperature))
    times = np.broadcast_to(interval * np.arange(float(intervals)), (len(starts), intervals))
    return count(labels.numpy(), times, wells.sizes["state"])


def exact(dynamics: OverdampedLangevin, wells: xr.Dataset) -> xr.Dataset:
    """Dwell times and rates between cores from the generator on a grid: one or two axes, overdamped.

    Parameters
    ----------
    dynamics: with fixed quantities. wells: from `landscape.minima`.
    """
    temperature = float(dynamics.temperature)
    width = MARGIN * np.sqrt(temperature / wells["curvature"].values.min())
    corners = wells["dent_position"].values
    grid = generators.generator(dynamics, corners.min(0) - width, corners.max(0) + width)
    core = cores(dynamics.potential, wells, torch.as_tensor(grid.centres), temperature).numpy()
    dwell, rate = generators.core_kinetics(grid, core, wells.sizes["state"])
    return _from_rates(rate, dwell)


def relaxation(rate: Array) -> Array:
    """−1/λ of a rate matrix `(state, to)`, longest first, `(state − 1,)`; NaN where states are not connected."""
    full = np.nan_to_num(rate)
    np.fill_diagonal(full, 0.0)
    np.fill_diagonal(full, -full.sum(-1))
    value = np.sort(-np.linalg.eigvals(full).real)[1:]
    return np.where(value > 0, 1 / np.where(value > 0, value, 1.0), np.nan)


def transition_matrix(labels: States, states: int, lag: int = 1) -> Array:
    """P(state at t + lag | state at t) `(state, to)` by counting labels, −1 skipped; NaN rows were never seen.

    Parameters
    ----------
    labels: `(*batch, time)`, at regular times. states: number of states. lag: in observations, ≥ 1.
    """
    here, to = labels[..., :-lag].ravel(), labels[..., lag:].ravel()
    seen = (here >= 0) & (to >= 0)
    counts = np.zeros((states, states))
    np.add.at(counts, (here[seen], to[seen]), 1.0)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(-1, keepdims=True)


def implied_timescales(matrix: Array, lag: float) -> Array:
    """−lag/log|λ| of a transition matrix, longest first, `(state − 1,)`, in the unit of `lag`."""
    value = np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1][1:]
    with np.errstate(divide="ignore"):
        return -lag / np.log(np.minimum(value, 1.0))


def in_unit(route: xr.Dataset, unit: float) -> xr.Dataset:
    """A route with its times multiplied by `unit`, the user's time per unit of its own."""
    return route.assign({"rate": route["rate"] / unit} | {name: route[name] * unit for name in DWELLS})


def joined(routes: dict[str, xr.Dataset]) -> xr.Dataset:
    """Routes side by side over `route`, with `relaxation (route, mode)` from the rates of each.

    Parameters
    ----------
    routes: from `by_counting`, `eyring_kramers`, `exact`, all in one unit of time.
    """
    table = xr.concat(routes.values(), xr.Variable("route", list(routes)))
    modes = np.stack([relaxation(rate) for rate in table["rate"].values])
    return table.assign(relaxation=(("route", "mode"), modes))


def _growth(dynamics: Dynamics, matrix: Tensor) -> float:
    """The largest eigenvalue of the motion linearised where the Hessian is `matrix`."""
    latent = len(matrix)
    friction = torch.as_tensor(dynamics.friction).detach().to(matrix).expand(latent)
    if dynamics.state == latent:
        return float(torch.linalg.eigvals(-matrix / friction.unsqueeze(-1)).real.max())
    mass = torch.as_tensor(dynamics.mass).detach().to(matrix).expand(latent)
    motion = torch.cat(
        [
            torch.cat([torch.zeros_like(matrix), torch.diag(1 / mass)], -1),
            torch.cat([-matrix, torch.diag(-friction / mass)], -1),
        ]
    )
    return float(torch.linalg.eigvals(motion).real.max())


def _from_rates(rate: Array, dwell: Array | None = None) -> xr.Dataset:
    total = np.nansum(rate, -1)
    dwell = 1 / np.where(total > 0, total, np.nan) if dwell is None else dwell
    unknown = np.full(len(rate), np.nan)
    return _route(rate, dwell, unknown, unknown, unknown)


def _route(rate: Array, dwell: Array, low: Array, high: Array, exits: Array) -> xr.Dataset:
    rate = np.where(np.eye(len(rate), dtype=bool), np.nan, rate)
    return xr.Dataset(
        {
            "rate": (("state", "to"), rate),
            "dwell": ("state", dwell),
            "dwell_low": ("state", low),
            "dwell_high": ("state", high),
            "exits": ("state", exits),
        }
    )
