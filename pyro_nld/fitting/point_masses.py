"""One latent axis exactly: filter and smoother of point masses on a line.

On one axis a density is a row of numbers, and one step of the integrator a matrix. The filter and the smoother of a
chain on that row give the evidence p(x), and how often paths go from each point to each other. Nothing of that is drawn
at random, and no guide has a part in it. A guide that misses a little of the posterior is followed by a prior that
suits it: frictions and noise come out too high, wells too near to each other. In `exact` the prior learns without one.

References
----------
R. S. Bucy and K. D. Senne, Automatica 7:287–298, 1971. L. R. Rabiner, Proc. IEEE 77:257–286, 1989.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pyro
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from ..dynamics.circles import circles_of
from ..dynamics.grids import Grid
from ..dynamics.integrators import Step
from ..dynamics.paths import LangevinPath
from ..errors import FitError
from ..guide.amortized import AmortizedGuide
from ..model.latent_langevin import LatentLangevin
from ..model.missing import filled, log_prob_of_observed
from ..nn import condition_on, group_count, random_parts
from .draws import inference_mode, positions
from .posterior import Posterior

FEWEST, MOST = 64, 1024  # points of the line
EXACT = 1e-3  # nats per value that twice the points may still change
TRIED = 10  # sequences on which that is tried
FINER = 4  # times as many places at which curvature is looked at: between two points a landscape could hide it
MARGIN = 0.15  # of the range of the positions, that the line goes on beyond them
GAPS = 200  # different times between observations, at most: every one has a matrix of its own
AT_A_TIME = 4_000_000  # numbers held at once, of every array
KEPT = 20_000_000  # densities of the data that are kept from one round to the next, where they do not change
DRAWS = 1  # positions of every observation from which the noise learns


def obstacle(model: LatentLangevin, times: Tensor) -> str:
    """Why a model is not one of a line, in words; nothing where it is.

    Parameters
    ----------
    model: to be solved. times: `(sequence, time)`, of the data.
    """
    dynamics = model.dynamics
    grouped = any(group_count(part, name) for part, name in random_parts(model))
    gaps = _rounded(model.batch(times[:, :2000]).gaps).unique()
    found = {
        f"{dynamics.latent} latent axes": dynamics.latent != 1,
        "momenta": dynamics.state != dynamics.latent,
        "an axis that is a circle": circles_of(dynamics.landscape) is not None,
        "an exposure": model.exposure > 0,
        "something that acts from outside": dynamics.drive(torch.arange(1), len(times), 1) is not None,
        "quantities of groups": grouped,
        f"more than {GAPS} different times between observations": len(gaps) > GAPS,
    }
    return next((reason for reason, there in found.items() if there), "")


class Found(NamedTuple):
    """What filter and smoother say of data."""

    log_evidence: Float[Tensor, "sequence"]
    first: Float[Tensor, "point"]  # how many sequences start at each point
    gaps: Float[Tensor, "gap"]  # the different times between observations
    moves: list[Float[Tensor, "point point"]]  # for each of these, how many intervals go from each point to each
    drawn: Float[Tensor, "draw sequence time 1"]  # positions, each drawn from p(z_t | x)


class Line:
    """p(x | U, T, γ, noise) of a model with one overdamped axis, at points of a line.

    P = Kⁿ with K_ij ∝ p(z_j | z_i), the density of one step of the model's own integrator, and n steps per observation
    interval. Rows add up to 1, which they do anyhow where points, Δ apart, are close. The trapezoidal rule makes
    exponentially small errors once Δ is below the noise of a step.

    Parameters
    ----------
    model: with one overdamped axis, no exposure and nothing that acts from outside.
    latents: values of its random quantities by site.
    low, high: ends of the line, in units of z. points: on it.

    Examples
    --------
    The evidence of a harmonic well in noise, whose Euler steps Kalman's filter would give the same:

    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=3, interval=0.5, noise=1.0)
    >>> motion = nld.OverdampedLangevin(nld.Quadratic([1.0]))
    >>> seen = nld.Gaussian(nld.IdentityDecoder(1), 1.0)
    >>> model = nld.LatentLangevin(motion, seen, substeps=50, time_unit=1.0, start="equilibrium")
    >>> from pyro_nld.fitting.point_masses import Line
    >>> times, x = nld.as_tensors(data)
    >>> found = Line(model, {}, -5.0, 5.0, 300).evidence(times.expand(10, -1), x)
    >>> exact = nld.oracles.ornstein_uhlenbeck_posterior(data)["log_evidence"]
    >>> f"log p(x) per sequence: {float(found.mean()):.1f}, exactly {float(exact.mean()):.1f}"
    'log p(x) per sequence: -4.6, exactly -4.6'
    """

    def __init__(
        self, model: LatentLangevin, latents: Mapping[str, Tensor], low: float, high: float, points: int
    ) -> None:
        self.model = copy.deepcopy(model).double()
        self.latents = {name: value.double() for name, value in latents.items()}
        self.points = torch.linspace(low, high, points, dtype=torch.float64).unsqueeze(-1)
        self.spacing = (high - low) / (points - 1)
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def known(self) -> Iterator[None]:
        """A scope in which random quantities have their values.

        Pyro's store is set aside: it has the user's model, and would put the parameters of that in place of the copy's.
        """
        with pyro.get_param_store().scope(), condition_on(self.model, self.latents):
            yield

    def transition(self, gap: Tensor) -> Float[Tensor, "point point"]:
        """P of a time between two observations, in the model's unit; nothing leaves the line."""
        step = self._step(self.points, gap)
        away = (self.points.mT - step.loc) / step.scale
        # Rows add up to 1 by themselves once the points are close; were they not, a step below them would win.
        return torch.linalg.matrix_power((-0.5 * away.square()).softmax(-1), self.model.substeps)

    def coarseness(self, gap: Tensor) -> Float[Tensor, "minimum"]:
        """Curvature × step, 1 − ∂E[z']/∂z, in every minimum; looked for at places that are closer than the points."""
        places = torch.linspace(float(self.points[0]), float(self.points[-1]), FINER * len(self.points)).double()
        pushed = self._step(places.unsqueeze(-1), gap).loc[:, 0] - places
        minimum = (pushed[:-1] > 0) & (pushed[1:] <= 0)
        return -(pushed.diff() / (places[1] - places[0]))[minimum]

    def _step(self, places: Tensor, gap: Tensor) -> Step:
        """One step of the integrator out of every place."""
        h = (gap / self.model.substeps).expand(len(places), 1)
        grid = Grid(h, torch.ones_like(h[:, 0], dtype=torch.bool))
        path = LangevinPath(self.model.dynamics, self.model.integrator, places[0], grid, self.latents)
        with self.known():
            return path.transitions(places)

    def start(self) -> Float[Tensor, "point"]:
        """log p(z₀) at the points; in equilibrium −U/T, normalised on the line."""
        with self.known():
            if self.model.equilibrium is None:
                return self.model.initial().log_prob(self.points) + math.log(self.spacing)
            return self.model.dynamics.stationary_log_density(self.points).log_softmax(0)

    def evidence(self, times: Tensor, x: Tensor) -> Float[Tensor, "sequence"]:
        """log p(x) of every sequence, nats.

        Parameters
        ----------
        times: `(sequence, time)`, user's unit. x: `(sequence, time, channel)`, NaN where missing; both checked.
        """
        return self.explained(times, x, smooth=False).log_evidence

    @torch.no_grad()
    def explained(self, times: Tensor, x: Tensor, smooth: bool = True, progress: bool = False) -> Found:
        """The filter and, unless `smooth` is false, the smoother of all sequences; see `Found`."""
        keeps = x.shape[0] * x.shape[1] * len(self.points) <= KEPT
        gaps, which = self.gaps(times)
        matrices = [self.transition(gap) for gap in gaps]
        moves, first = [torch.zeros_like(matrix) for matrix in matrices], torch.zeros_like(self.points[:, 0])
        evidence, drawn = [], []
        chunk = max(1, AT_A_TIME // (x.shape[1] * len(self.points) * max(1, x.shape[2] // 4)))
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same draws in every round: the noise then converges
            for rows in tqdm(torch.arange(len(x)).split(chunk), desc="line", disable=not progress, mininterval=1.0):
                first_row = int(rows[0])
                seen, top = self._kept.get(first_row) or self.seen(x[rows])
                if keeps:
                    self._kept[first_row] = seen, top
                forward, gained = self._forward(seen, matrices, which[rows])
                evidence.append((gained.log() + top).sum(1))
                if smooth:
                    smoothed = self._backward(forward, gained, seen, matrices, which[rows], moves)
                    first += smoothed[:, 0].sum(0)
                    drawn.append(self._drawn(smoothed))
        moves = [move * matrix for move, matrix in zip(moves, matrices, strict=True)]
        return Found(torch.cat(evidence), first, gaps, moves, torch.cat(drawn, 1) if drawn else torch.empty(0))

    def forget(self) -> None:
        """Compute the densities of the data anew, since the noise was changed."""
        self._kept.clear()

    def expected(self, found: Found) -> Tensor:
        """E[log p(z₀, z)] under what was found, as a function of the parameters of the model."""
        total = found.first @ self.start()
        for gap, moves in zip(found.gaps, found.moves, strict=True):
            total = total + (moves * (self.transition(gap) + torch.finfo(torch.float64).tiny).log()).sum()
        return total

    def gaps(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """The different times between observations, and which of them every interval has; −1 after the end."""
        batch = self.model.batch(times.double())
        gaps, which = _rounded(batch.gaps).unique(return_inverse=True)
        return gaps, torch.where(batch.valid[:, 1:], which, -1)

    def seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p(x_t | z) at the points, `(sequence, time, point)`, over its maximum, and the logarithm of that."""
        x = x.double().unsqueeze(-2)
        with self.known():
            law = self.model.likelihood(self.points)  # once, and not for every observation
            density = log_prob_of_observed(law, filled(x, law), x.isfinite())
        top = density.amax(-1)
        return (density - top.unsqueeze(-1)).exp(), top

    def _forward(self, seen: Tensor, matrices: list[Tensor], which: Tensor) -> tuple[Tensor, Tensor]:
        """p(z_t | x₁…x_t), and p(x_t | x₁…x_{t−1}) in units of the maximum over z."""
        filtered, gained = torch.empty_like(seen), torch.empty_like(seen[..., 0])
        ahead = self.start().exp().expand(len(seen), -1)
        for t in range(seen.shape[1]):
            joint = ahead * seen[:, t]
            gained[:, t] = joint.sum(-1).clamp(min=torch.finfo(torch.float64).tiny)
            filtered[:, t] = joint / gained[:, t].unsqueeze(-1)
            if t < which.shape[1]:
                ahead = moved(filtered[:, t], matrices, which[:, t])
        return filtered, gained

    def _backward(
        self,
        filtered: Tensor,
        gained: Tensor,
        seen: Tensor,
        matrices: list[Tensor],
        which: Tensor,
        moves: list[Tensor],
    ) -> Tensor:
        """p(z_t | x), and into `moves` what P has to be multiplied with to count the moves."""
        smoothed, behind = torch.empty_like(filtered), torch.ones_like(filtered[:, 0])
        smoothed[:, -1] = filtered[:, -1]
        back = [matrix.mT for matrix in matrices]
        for t in reversed(range(which.shape[1])):
            told = seen[:, t + 1] * behind / gained[:, t + 1].unsqueeze(-1)
            for number, move in enumerate(moves):
                rows = which[:, t] == number
                move += filtered[rows, t].mT @ told[rows]
            behind = moved(told, back, which[:, t])
            smoothed[:, t] = filtered[:, t] * behind
        return smoothed / smoothed.sum(-1, keepdim=True)

    def _drawn(self, smoothed: Tensor) -> Tensor:
        """Positions of every observation, uniform around the points."""
        below = smoothed.cumsum(-1)
        place = torch.searchsorted(below, torch.rand(*below.shape[:2], DRAWS).double()).clamp(max=len(self.points) - 1)
        inside = torch.rand(place.shape).double() - 0.5
        return (self.points[:, 0][place] + self.spacing * inside).movedim(-1, 0).unsqueeze(-1)


def line_of(model: LatentLangevin, guide: AmortizedGuide, times: Tensor, x: Tensor) -> Line:
    """The line of a fitted model, as long as its positions ask for and as fine as its evidence does.

    Parameters
    ----------
    model, guide, times, x: fitted; random quantities are taken at their median.

    Raises
    ------
    FitError: the model is not one of a line, see `obstacle`, or 1024 points are too few for it.
    """
    if reason := obstacle(model, times):
        raise FitError(f"point masses need one overdamped axis: got {reason}. Use Schedule(polish=…) instead.")
    latents = Posterior(model, guide, times, x).medians
    with inference_mode(0):
        drawn = positions(model, guide, times, x, 1)[0][times.isfinite()]
    low, high = float(drawn.min()), float(drawn.max())
    beyond = MARGIN * (high - low)
    few = torch.linspace(0, len(x) - 1, min(TRIED, len(x))).long()
    points, before = FEWEST, None
    while points <= MOST:
        line = Line(model, latents, low - beyond, high + beyond, points)
        now = float(line.evidence(times[few], x[few]).sum())
        if before is not None and abs(now - before) < EXACT * int(x[few].isfinite().sum()):
            return Line(model, latents, low - beyond, high + beyond, points // 2)
        points, before = 2 * points, now
    raise FitError(
        f"{MOST} points are too few for this axis: its steps or its noise are too small for its length. "
        "Use fewer substeps, or Schedule(polish=…) instead."
    )


def _rounded(gaps: Tensor) -> Tensor:
    """Times within the same hundredth of their median are one: each has a matrix, and clocks are rounded."""
    unit = 0.01 * gaps.median()
    return (gaps / unit).round() * unit


def moved(density: Tensor, matrices: list[Tensor], which: Tensor) -> Tensor:
    """density · P of every sequence; after the end, where `which` is −1, it stays."""
    if len(matrices) == 1 and bool((which == 0).all()):
        return density @ matrices[0]
    out = density.clone()
    for number, matrix in enumerate(matrices):
        rows = which == number
        out[rows] = density[rows] @ matrix
    return out
