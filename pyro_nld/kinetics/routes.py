"""How long states last and how they follow each other, by independent routes.

* counted: core sets on posterior paths of the data: says what the data did, whatever the landscape is;
* simulated: the fitted prior, run with its own steps and counted in the same way;
* eyring_kramers: from the curvatures and heights of the landscape alone, right when barriers are high;
* exact: the generator on a grid, for overdamped landscapes of one or two axes.

Datasets carry `route` as a dimension; `verdicts` judges whether they agree. Counting itself is in `counting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from .._typing import Array
from ..dynamics.circles import circles_of
from ..dynamics.equations import Dynamics, OverdampedLangevin
from ..dynamics.integrators import Integrator
from ..dynamics.paths import LangevinPath, refine
from ..dynamics.potentials import Energy, hessian, in_double
from ..landscape import chart
from . import generators
from .counting import by_counting, count
from .markov import of_rates
from .memberships import core_labels, memberships

HALF = 0.5  # share of a harmonic well's mass inside its core
TIMES = (
    "implied",
    "dwell_seen",
    *(f"{name}{end}" for name in ("dwell", "passage", "relaxation") for end in ("", "_low", "_high")),
)
RATES = ("rate", "rate_low", "rate_high")
SEEN = {1: 500, 2: 45}  # cells per axis, between which transitions of a whole interval are dense
MARGIN = 6.0  # thermal widths between the outermost minimum and the edge of a grid
LOOKS = (300, 2000)  # fewest and most observation intervals that the fitted prior is run for
STRIDE = 20  # steps of a shot between two looks at who has arrived


# Core sets


def cores(
    potential: Energy, wells: xr.Dataset, points: Float[Tensor, "*batch latent"], temperature: float = 1.0
) -> Int[Tensor, "*batch"]:
    """The state whose core a point is in, else −1: where the committors of the data say that it is held, χ ≥ 0.9.

    Where data have not told, as in what `landscape.minima` returns, the half of a harmonic well's mass that is nearest
    to its minimum: (z − m)ᵀ ∇²U(m) (z − m) ≤ T χ²½.

    Parameters
    ----------
    potential: U. wells: from `states.metastable` or `landscape.minima`; the core of every minimum belongs to its state.
    points: where. temperature: T, in the unit of U.
    """
    return _core_sets(potential, wells, temperature)(points)


def _core_sets(
    potential: Energy, wells: xr.Dataset, temperature: float, axes: int | None = None
) -> Callable[[Tensor], Tensor]:
    if round_axes := chart(potential, wells["minimum_position"].values, temperature):
        inside = _core_sets(round_axes, round_axes.states(wells), temperature, wells.sizes["latent"])
        return lambda points: inside(round_axes.circles.lift(points))
    if "core_committor" in wells:
        return lambda points: core_labels(memberships(wells, points))
    centres = torch.as_tensor(wells["minimum_position"].values)
    metrics = hessian(in_double(potential), centres) / temperature

    def label_of(points: Tensor) -> Tensor:
        nearest = torch.full(points.shape[:-1], torch.inf)
        label = torch.full(points.shape[:-1], -1)
        for centre, metric, state in zip(centres, metrics, wells["minimum_state"].values, strict=True):
            offset = points - centre.to(points)
            distance = ((offset @ metric.to(points)) * offset).sum(-1)
            label = torch.where(distance < nearest, int(state), label)
            nearest = torch.minimum(nearest, distance)
        return torch.where(nearest <= scipy.stats.chi2.ppf(HALF, axes or points.shape[-1]), label, -1)

    return label_of


# Routes


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
        prefactor = (
            _growth(dynamics, passes["saddle_position"].values[place], matrix)
            / (2 * math.pi)
            * math.exp(-0.5 * np.log(curvature).sum())
        )
        first, second = passes["saddle_states"].values[place]
        for state, to in ((first, second), (second, first)):
            height = float(passes["saddle_energy"][place] - wells["energy"][state]) / temperature
            rate[state, to] = np.nansum([rate[state, to], prefactor * math.exp(-height - volume[state])])
    return of_rates(rate)


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
    positions = chain(
        dynamics, integrator, starts, interval=interval, substeps=substeps, intervals=intervals, seed=seed
    )
    labels = cores(dynamics.potential, wells, positions, float(dynamics.temperature))
    times = np.broadcast_to(interval * np.arange(float(intervals)), (len(starts), intervals))
    return count(labels.numpy(), times, wells.sizes["state"])


def chain(
    dynamics: Dynamics,
    integrator: Integrator,
    starts: Float[Tensor, "path latent"],
    *,
    interval: float,
    substeps: int,
    intervals: int,
    seed: int = 0,
) -> Float[Tensor, "path look latent"]:
    """Positions of a fitted chain: its own integrator, its own step, looked at as often as the data were.

    Parameters
    ----------
    dynamics, integrator, starts, interval, substeps, intervals, seed: as for `simulated`.
    """
    grid = refine(torch.tensor([0.0, interval], dtype=starts.dtype), substeps)
    positions = []
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        state = _thermal(dynamics, starts)
        for _ in range(intervals):
            state = LangevinPath(dynamics, integrator, state, grid).sample()[..., -1, :]
            positions.append(dynamics.position(state))
    return torch.stack(positions, -2)


def committor(
    dynamics: Dynamics,
    integrator: Integrator,
    wells: xr.Dataset,
    points: Float[Tensor, "point latent"],
    source: int,
    target: int,
    *,
    step: float,
    shots: int = 200,
    most: int = 20_000,
    seed: int = 0,
) -> Float[Tensor, "point"]:
    """q(z) = P(a path from z enters the core of `target` before that of `source`), by shooting: any number of axes.

    Its standard error is √(q (1 − q)/shots). On one and two axes `generators.committor` is exact.

    Parameters
    ----------
    dynamics: with fixed quantities. integrator: of the paths. wells: from `landscape.minima`.
    points: where paths start; momenta start in equilibrium. source, target: states.
    step: h, dynamics' unit of time. shots: paths per point. most: steps after which a path counts no more.
    seed: of the noise.

    Returns
    -------
    The share of a point's paths; NaN where none arrived.
    """
    grid = refine(torch.tensor([0.0, step * STRIDE], dtype=points.dtype), STRIDE)
    label_of = _core_sets(dynamics.potential, wells, float(dynamics.temperature))
    met = torch.full((len(points) * shots,), -1)
    moving = torch.arange(len(met))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        state = _thermal(dynamics, points.repeat_interleave(shots, 0))
        for _ in range(-(-most // STRIDE)):
            path = LangevinPath(dynamics, integrator, state, grid).sample()
            label = label_of(dynamics.position(path))
            arrived = (label == source) | (label == target)
            first = arrived.long().argmax(-1, keepdim=True)
            done = arrived.any(-1)
            met[moving[done]] = label.gather(-1, first).squeeze(-1)[done]
            moving, state = moving[~done], path[~done, -1]
            if not len(moving):
                break
    met = met.view(len(points), shots)
    return (met == target).sum(-1) / (met >= 0).sum(-1)


def _thermal(dynamics: Dynamics, positions: Tensor) -> Tensor:
    """States at these positions, momenta drawn from their equilibrium."""
    scale = dynamics.thermal_scale()
    return torch.cat([positions, scale * torch.randn(len(positions), scale.shape[-1], dtype=positions.dtype)], -1)


def exact(dynamics: OverdampedLangevin, wells: xr.Dataset, interval: float | None = None) -> xr.Dataset:
    """Dwell, passage, relaxation times and rates between cores from the generator on a grid: one or two axes.

    Parameters
    ----------
    dynamics: with fixed quantities. wells: from `landscape.minima`.
    interval: between two looks; if given, there is `dwell_seen (state)`, too, which misses visits in between. All else
        is for an observer who never looks away.
    """
    temperature = float(dynamics.temperature)
    width = MARGIN * np.sqrt(temperature / wells["curvature"].values.min())
    corners = wells["minimum_position"].values
    low, high = corners.min(0) - width, corners.max(0) + width
    if circles := circles_of(dynamics.potential):
        for axis in circles.round:
            low[axis], high[axis] = -circles.periods[axis] / 2, circles.periods[axis] / 2
    grid = generators.generator(dynamics, low, high)
    core = cores(dynamics.potential, wells, torch.as_tensor(grid.centres), temperature).numpy()
    dwell, rate = generators.core_kinetics(grid, core, wells.sizes["state"])
    passage = generators.core_passage_times(grid, core, wells.sizes["state"])
    relaxation = generators.core_relaxation_times(grid, core, wells.sizes["state"])
    found = of_rates(rate, dwell).assign(passage=(("state", "to"), passage), relaxation=("mode", relaxation))
    if interval is None:
        return found
    grid = generators.generator(dynamics, low, high, SEEN[dynamics.latent])
    core = cores(dynamics.potential, wells, torch.as_tensor(grid.centres), temperature).numpy()
    seen = generators.seen_dwell(grid, core, wells.sizes["state"], interval)
    return found.assign(dwell_seen=("state", seen))


def routes(
    dynamics: Dynamics,
    integrator: Integrator,
    wells: xr.Dataset,
    passes: xr.Dataset,
    paths: Float[Tensor, "draw sequence time latent"],
    times: Array,
    starts: Float[Tensor, "path latent"],
    *,
    substeps: int,
    time_unit: float = 1.0,
    seed: int = 0,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Counts on posterior paths, and the kinetics by every route that applies, `joined`, in the user's time.

    Parameters
    ----------
    dynamics: with fixed quantities. integrator: of the fit. wells: from `landscape.minima`. passes: from
        `saddles.saddles`.
    paths: posterior positions at `times (sequence, time)`, user's unit, NaN after the end of a sequence.
    starts: where the simulated chain begins. substeps: of the fit. time_unit: the dynamics', in the user's.
    """
    labels = cores(dynamics.potential, wells, paths, float(dynamics.temperature)).numpy()
    counts = count(labels, times, wells.sizes["state"])
    counted, interval = by_counting(counts), counts.attrs["interval"]
    dwell = counted["dwell"].values
    longest = dwell[np.isfinite(dwell)].max(initial=0.0)
    looks = int(np.clip(20 * longest / interval, *LOOKS))
    run = simulated(
        dynamics, integrator, wells, starts, interval=interval / time_unit, substeps=substeps,
        intervals=looks, seed=seed,
    )  # fmt: skip
    own = {"simulated": by_counting(run), "eyring_kramers": eyring_kramers(dynamics, wells, passes)}
    if isinstance(dynamics, OverdampedLangevin) and dynamics.latent <= 2:
        own["exact"] = exact(dynamics, wells, interval / time_unit)
    return counts, joined({"counted": counted} | {name: in_unit(route, time_unit) for name, route in own.items()})


def saddle_committors(
    dynamics: Dynamics, integrator: Integrator, wells: xr.Dataset, passes: xr.Dataset, *, step: float, seed: int = 0
) -> xr.DataArray:
    """`committor (saddle)` of every saddle, from the first of its states to the second: near ½ at a bottleneck.

    Parameters
    ----------
    passes: from `saddles.saddles`; the others as for `committor`.
    """
    places = torch.as_tensor(passes["saddle_position"].values).to(torch.get_default_dtype())
    ends = passes["saddle_states"].values.tolist()
    shares = [
        float(committor(dynamics, integrator, wells, place[None], source, target, step=step, seed=seed))
        for place, (source, target) in zip(places, ends, strict=True)
    ]
    return xr.DataArray(np.array(shares), dims="saddle")


def in_unit(route: xr.Dataset, unit: float) -> xr.Dataset:
    """A route with its times multiplied by `unit`, the user's time per unit of its own."""
    times = {name: route[name] * unit for name in TIMES if name in route}
    return route.assign({name: route[name] / unit for name in RATES} | times)


def joined(routes: dict[str, xr.Dataset]) -> xr.Dataset:
    """Routes side by side over `route`.

    Parameters
    ----------
    routes: from `by_counting`, `eyring_kramers`, `exact`, all in one unit of time.
    """
    return xr.concat(routes.values(), xr.Variable("route", list(routes)), join="outer")


def log_ratio(routes: xr.Dataset, one: str, other: str) -> Array:
    """log of the dwell times of one route over those of another `(state,)`.

    Parameters
    ----------
    routes: `joined`. one, other: names of routes in it.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        dwell = routes["dwell"]
        return np.asarray(np.log(dwell.sel(route=one).values / dwell.sel(route=other).values))


def _growth(dynamics: Dynamics, place: Array, matrix: Tensor) -> float:
    """The largest eigenvalue of the motion linearised at `place`, where the Hessian is `matrix`."""
    latent = len(matrix)
    state = torch.zeros(1, dynamics.state)
    state[0, :latent] = torch.as_tensor(place)
    friction = dynamics.friction_at(state).detach().to(matrix).flatten().expand(latent)
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
