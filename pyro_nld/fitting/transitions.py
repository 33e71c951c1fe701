"""A landscape whose states are left as often as they are in the data.

Step by step, a path tells the force wherever it goes. How deep a whole well is, and how high the ridge beside it, it
tells only through the passes, where it hardly ever is and nobody sees it: expectation maximisation creeps there, and
where states switch at once the few paths that cross are no Langevin paths. Transitions between states are seen, and
counted. So U is changed as little as the paths would notice, until the fitted chain makes the transitions that the
data make, as far as they are known: n transitions tell a rate with an error of 1/√n, and pull accordingly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import one_hot

from .. import kinetics
from .._typing import Array
from ..dynamics.equations import Dynamics
from ..dynamics.integrators import EulerMaruyama
from ..dynamics.potentials import gradient, hessian, in_double
from ..errors import FitError, PriorError
from ..kinetics import counting, markov, reactive
from ..landscape import flows, occupancies
from .discrepancy import WEIGHTS, Counts, cheapest, covariance_of
from .em import COEFFICIENT_PRECISION, information
from .posterior import CHAINS, PATHS, Posterior

POINTS = 20_000  # of the data, at which the information is averaged
REACTIVE = 200_000  # of a simulated chain, at which the response of rates is averaged
CLOSE = 0.04  # change of a log rate that ends the turns: about the error of a simulated one
TURNS = 15  # simulations of the fitted chain, at most; three or four are usual, unless the response is poor
LITTLE = 0.1  # nats that are still to gain, which end the turns: 4 % of a rate with 100 transitions
FURTHEST = 1.0  # change of a log rate in one turn: the response is that of a small change
WORSE = 5.0  # nats by which a simulation may be worse than the best one
NOISE = 2.0  # times what the noise of a simulation costs, by which it may be worse where that is more
NEAR = 0.3  # change of a log rate over which the response carries a simulated one
VISITS = 5  # to the state that is held longest, of each of CHAINS chains: their rates are known to about 3 %
LOOKS = (100, 1000)  # fewest and most observation intervals of a chain
UNSEEN = 0.5  # transitions of a simulated chain that made none
SLOPES = 5000  # of them, at which slopes and curvatures are taken
SHIFT = 0.1  # of the logarithm of a share by finite steps, up to which its first order is trusted


@torch.no_grad()
def balance(fit: Posterior, seed: int = 0, *, exact: bool = False, known: Tensor | None = None) -> xr.Dataset | None:
    """Change w in U = w · φ(z) + … until the fitted chain leaves its states as often as the data do.

    Minimised is λ/2 Δwᵀ N Δw − Σ_ij log Poisson(n_ij | k_ij(w) t_i), with N the information that all steps of the data
    hold of w, so that the first part is λ times the path KL of the change. λ is small: of all changes that make the
    transitions it is the one that paths notice least. Where the prior has learned exactly, it is the largest with which
    counts are still met within their noise, see `discrepancy.cheapest`. n_ij transitions and time t_i in state i are
    counted on posterior paths between the cores of the states, and k_ij(w) on a simulation of the fitted chain, which
    is looked at as often as the data; its shares of time are those of draws of exp(−U/T) where these tell more. Where
    sequences start in equilibrium, Σ_i b_i log π_i(w) is added for the number b_i of those that begin in state i. A
    turn takes the derivative of log k_ij from `kinetics.reactive`, as far as it is possible, solves, and simulates
    again. One that is worse than the best by more than noise is taken back, and the derivative is taken where it was
    best; if it was already, the next change is half as long. The turns end where less is to gain than noise costs,
    after exact rounds than a tenth of a nat; where they run out, the best of what was simulated is kept.

    Rates of a balanced landscape are those of the counts as far as these are known, and no second witness for them.
    The path KL per transition is what the Langevin equation has to say: small if the data are of its kind.

    Parameters
    ----------
    fit: its model's potential is changed in place, if it has `coefficients` and at least two states.
    seed: of posterior draws and of simulations.
    exact: whether the prior has learned exactly, so that its rates are right but for what counts tell beside.
    known: what the data tell of w, see `observed_information`, for the covariance, in place of what paths would. The
        change of w is the one that paths notice least all the same: data do not see every spike that it could make.

    Returns
    -------
    `counted`, `before` and `after (state, to)`, rates in the user's unit of time, `transitions (state, to)` counted,
    and `share_counted`, `share_before`, `share_after (state)`, the shares of time that these rates imply; attrs
    `path_kl`, the price in nats for all data, `log_likelihood_gain` of the counts, `transitions`, `turns`. None where
    nothing was changed.

    Raises
    ------
    FitError: no minimum was found.
    """
    potential = fit.model.dynamics.landscape
    coefficients = None if potential is None else potential.coefficients
    if coefficients is None:
        return None
    wells = fit.metastable(seed)
    if wells.sizes["state"] < 2:
        return None
    counts = _counted(fit, wells, seed)
    if not counts.exits.sum() > 0:
        return None
    points = flows.some(fit.positions(draws=PATHS, seed=seed)[0][fit.times.isfinite()], POINTS, seed)
    metric, start = _information(fit, points), coefficients.clone()
    starts = flows.some(points, CHAINS, seed)

    def moved_to(change: Tensor) -> None:
        coefficients.copy_(start + change.to(coefficients).view_as(coefficients))
        fit.forget()

    change, since, furthest = torch.zeros(len(metric), dtype=torch.float64), torch.inf, FURTHEST
    seen: list[_Turn] = []
    origin: _Turn | None = None  # where the response was taken
    for turn in range(TURNS):
        chain = _Chain.of(fit, wells, counts, starts, seed + turn)
        rate = chain.rate(chain.shares(fit, wells, seed + turn))
        if not seen:
            counts = counts._replace(prior=rate)
        cost = float(0.5 * WEIGHTS[0] * change @ metric @ change + counts.misfit(rate.log()))
        here = _Turn(change, rate.log(), cost)
        seen.append(here)
        best = min(seen, key=lambda one: one.cost)
        if best is here:
            lowest = chain
        if worse := cost > best.cost + max(WORSE, NOISE * chain.noise(counts)):
            change, since, here, chain = best.change, 0.0, best, lowest
        if since > FURTHEST or (worse and origin is not best):
            slope = _possible(chain.response(fit), metric, here.log_rate, counts)
            since, origin = 0.0, here
        elif worse:  # the response was that of a smaller change
            furthest /= 2
        log_rate = _averaged(seen, change, slope)
        wanted = cheapest(change, metric, slope, log_rate, counts, WEIGHTS if exact else WEIGHTS[:1]) - change
        gain = counts.misfit(log_rate) - counts.misfit(log_rate + slope @ wanted)
        off = float((slope @ wanted).abs().max())
        if off >= CLOSE and gain < (LITTLE if exact else max(LITTLE, chain.noise(counts))):
            change = best.change  # a long way for little, which nobody would look at
            break
        step = min(1.0, furthest / max(off, 1e-300))
        change, since = change + step * wanted, since + step * off
        if off < CLOSE:
            break
        moved_to(change)
    else:  # it goes to and fro: the best of what was simulated, and not the last step, which was not
        change = best.change
    moved_to(change)
    before, after = seen[0].log_rate, _averaged(seen, change, slope)
    price = float(0.5 * change @ metric @ change)
    told = _told(counts, before.exp(), after.exp(), price, len(seen), fit.time_unit)
    covariance = covariance_of(metric if known is None else known + _prior(len(known)), slope, after, counts)
    return told.assign(covariance=(("coefficient", "to_coefficient"), covariance.numpy()))


def record(found: xr.Dataset | None) -> dict[str, float | Tensor]:
    """What a run keeps of `balance`: its attrs, and the covariance of w.

    Parameters
    ----------
    found: from `balance`.
    """
    return {} if found is None else found.attrs | {"covariance": torch.as_tensor(found["covariance"].values)}


def _averaged(seen: list[_Turn], change: Tensor, slope: Tensor) -> Tensor:
    """Log rates at a change, of all simulations that were near: each is carried there by the response."""
    moves = [slope @ (change - one.change) for one in seen]
    weight = torch.tensor([math.exp(-0.5 * (float(move.abs().max()) / NEAR) ** 2) for move in moves])
    carried = torch.stack([one.log_rate + move for one, move in zip(seen, moves, strict=True)])
    return torch.tensordot((weight / weight.sum()).double(), carried, 1)


def _counted(fit: Posterior, wells: xr.Dataset, seed: int) -> Counts:
    states = wells.sizes["state"]
    paths, times = fit.recorded(seed)
    labels = kinetics.cores(fit.potential, wells, paths, fit.temperature)
    counts = counting.count(labels.numpy(), times, states)
    exits, time = (torch.as_tensor(counts[name].values) for name in ("exits", "time"))
    begun = torch.zeros_like(time)
    if fit.model.equilibrium is not None:
        first = fit.basins(wells, fit.positions(draws=PATHS, seed=seed)[:, :, 0])
        begun = first[first >= 0].bincount(minlength=states).to(time) / PATHS
    return Counts(exits, time / fit.time_unit, begun, counts.attrs["interval"] / fit.time_unit)


class _Chain(NamedTuple):
    """A simulation of the fitted chain: where it was, in whose core, and what was counted."""

    positions: Tensor  # (chain, look, latent)
    labels: Tensor  # (chain, look)
    exits: Tensor
    time: Tensor

    @classmethod
    def of(cls, fit: Posterior, wells: xr.Dataset, counts: Counts, starts: Tensor, seed: int) -> _Chain:
        dynamics, exits = fit.dynamics, counts.exits.sum(-1)
        longest = float((counts.time / exits)[exits > 0].max())
        looks = int(np.clip(VISITS * longest / counts.interval, *LOOKS))
        positions = kinetics.chain(
            dynamics, fit.model.integrator, starts, interval=counts.interval, substeps=fit.model.substeps,
            intervals=looks, seed=seed,
        )  # fmt: skip
        labels = kinetics.cores(dynamics.potential, wells, positions, fit.temperature)
        times = np.broadcast_to(counts.interval * np.arange(float(looks)), labels.shape)
        seen = counting.count(labels.numpy(), times, len(counts.time))
        return cls(positions, labels, torch.as_tensor(seen["exits"].values), torch.as_tensor(seen["time"].values))

    def rate(self, share: Tensor | None = None) -> Tensor:
        """Rates `(state, to)`; as if half a transition had been seen where none was.

        With shares of time π that are known better than these exits tell them: in equilibrium as many paths go from i
        to j as come back, π_i k_ij = π_j k_ji, and n_ij and n_ji transitions in the times t_i and t_j are most probable
        for a flux of (n_ij + n_ji)/(t_i/π_i + t_j/π_j).
        """
        time = self.time.clamp(min=1e-300).unsqueeze(-1)
        if share is None:
            return self.exits.clamp(min=UNSEEN) / time
        share = share.unsqueeze(-1)
        exposed = time / share
        return (self.exits + self.exits.T).clamp(min=UNSEEN) / (exposed + exposed.T) / share

    def noise(self, counts: Counts) -> float:
        """½ Σ_ij n_ij/m_ij, what the noise of m simulated transitions adds to the misfit of n counted ones."""
        return 0.5 * float((counts.exits / self.exits.clamp(min=UNSEEN)).sum())

    def shares(self, fit: Posterior, wells: xr.Dataset, seed: int) -> Tensor | None:
        """Shares of time `(state)` from draws of exp(−U/T); None where they tell less than the exits do.

        Draws say how often a core is met; how much longer the state is held than its core, the simulation says. A chain
        with finite steps is not quite where exp(−U/T) is: see `_shift`.
        """
        if not _steps_are_known(fit):
            return None
        try:
            drawn = occupancies.draws(fit.potential, wells, self.positions[:, -1], fit.temperature, seed)
        except (FitError, PriorError):  # no chain moves, or a minimum has gone
            return None
        label = kinetics.cores(fit.potential, wells, drawn, fit.temperature)
        each = one_hot(label + 1, len(self.time) + 1)[..., 1:].double().mean(1)  # (chain, state)
        core, error = each.mean(0), each.std(0) / len(each) ** 0.5
        if not bool(((error / core).square() < 1 / self.exits.sum(-1)).all()):
            return None
        shift = _shift(fit, drawn.flatten(0, 1), label.flatten(), len(core))
        if shift is None:
            return None
        met = self.labels[self.labels >= 0].bincount(minlength=len(core)).double()
        share = core * shift.exp() * self.time / met
        return share / share.sum()

    def response(self, fit: Posterior) -> Tensor:
        """∂ log k/∂w `(state, to, coefficient)`."""
        met = reactive.next_cores(self.labels)
        points, met = self.positions[met >= 0], met[met >= 0]
        few = torch.linspace(0, len(points) - 1, min(len(points), REACTIVE)).long()
        points, met, features = points[few], met[few], fit.dynamics.potential.features
        committor = reactive.committors(points, met, features, len(self.time))
        friction = torch.as_tensor(fit.dynamics.friction).detach().to(points).expand(points.shape[-1])
        return reactive.response(points, committor, features, 1 / friction, fit.temperature)


class _Turn(NamedTuple):
    """A simulation: the change of w that it was made with, what came of it, and what it cost."""

    change: Tensor
    log_rate: Tensor
    cost: float


def _possible(slope: Tensor, information: Tensor, log_rate: Tensor, counts: Counts) -> Tensor:
    """A response `(state, to, coefficient)` with which counts tell no more of w than the paths they are counted on.

    With r_ij = ∂ log k_ij/∂w, counts hold the information Σ_ij t_i k_ij r_ij r_ijᵀ, and no function of the paths can
    hold more than N, where chain and data are in the same places. An estimated response can seem to: committors are
    fitted, and in a direction of w in which they are wrong a change looks cheaper than it can be, which is what a
    solver looks for. Directions in which the counts would tell s² > 1 times as much as the paths are shortened by s.
    """
    expected = counts.time.unsqueeze(-1) * log_rate.exp() * ~torch.eye(len(log_rate), dtype=torch.bool)
    root, flat = torch.linalg.cholesky(information), slope.flatten(0, 1)
    white = torch.linalg.solve_triangular(root, flat.T, upper=False)  # (coefficient, rate), of w in units of N
    way, size, _ = torch.linalg.svd(white * expected.sqrt().flatten(), full_matrices=False)
    less = way @ torch.diag(1 - 1 / size.clamp(min=1.0)) @ way.T
    return (root @ (white - less @ white)).T.view_as(slope)


def _steps_are_known(fit: Posterior) -> bool:
    """Whether `_shift` holds: for Euler's steps with one friction everywhere."""
    euler = type(fit.model.integrator) is EulerMaruyama
    return euler and type(fit.dynamics).friction_at is Dynamics.friction_at


def _shift(fit: Posterior, points: Tensor, label: Tensor, states: int) -> Tensor | None:
    """What Euler's steps add to the logarithm of a core's share `(state)`; None where the first order is too little.

    To the first order in h, Euler's chain samples U − h/4 Σ_a (U_a² − 2T U_aa)/γ_a, indices being derivatives by an
    axis: the share of a core grows by the mean of h/4T Σ_a (U_a² − 2T U_aa)/γ_a in it, in a harmonic well by
    −hk/4γ.
    """
    few = torch.linspace(0, len(points) - 1, min(len(points), SLOPES)).long()
    energy, z, label = in_double(fit.potential), points[few].double(), label[few]
    steep = gradient(energy, z).square() / fit.temperature - 2 * hessian(energy, z).diagonal(dim1=-2, dim2=-1)
    friction = torch.as_tensor(fit.dynamics.friction).detach().to(z)
    grown = fit.step / 4 * (steep.detach() / friction).sum(-1)
    shift = torch.stack([grown[label == state].mean() for state in range(states)])
    return shift if float(shift.max() - shift.min()) < SHIFT else None


def _information(fit: Posterior, points: Tensor) -> Tensor:
    """What all steps tell of w, and the prior of the M-step: Σ Rᵀ R + 1, with all steps as long as the mean one."""
    dynamics, integrator, gaps = fit.dynamics, fit.model.integrator, fit.times.diff()
    gaps = gaps[gaps.isfinite()]
    h = points.new_full((1, 1, 1), float(gaps.mean()) / fit.time_unit / fit.model.substeps)
    origin = points.new_zeros(1, 1, dynamics.state)
    forces = (points.new_full((1, 1, dynamics.latent), force) for force in (0.0, 1.0))
    step, pushed = (integrator.step(dynamics, origin, force, h) for force in forces)
    told = information(dynamics.potential, points, ((pushed.loc - step.loc) / step.scale)[0]).cpu()
    told *= len(gaps) * fit.model.substeps / len(points)
    return told + _prior(len(told))


def _prior(count: int) -> Tensor:
    return COEFFICIENT_PRECISION * torch.eye(count, dtype=torch.float64)


def _told(counts: Counts, before: Tensor, after: Tensor, price: float, turns: int, unit: float) -> xr.Dataset:
    counted = counts.exits / counts.time.unsqueeze(-1)
    rates = {"counted": counted, "before": before, "after": after}
    variables = {name: (("state", "to"), _off_diagonal(rate / unit)) for name, rate in rates.items()}
    shares = {f"share_{name}": ("state", markov.stationary(_off_diagonal(rate, 0.0))) for name, rate in rates.items()}
    gain = float(counts.misfit(before.log()) - counts.misfit(after.log()))
    attrs = {"path_kl": price, "log_likelihood_gain": gain, "transitions": float(counts.exits.sum()), "turns": turns}
    return xr.Dataset(variables | shares | {"transitions": (("state", "to"), counts.exits.numpy())}, attrs=attrs)


def _off_diagonal(rate: Tensor, diagonal: float = np.nan) -> Array:
    values = rate.numpy().copy()
    np.fill_diagonal(values, diagonal)
    return values
