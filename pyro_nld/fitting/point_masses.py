"""A few latent axes exactly: filter and smoother of point masses on a lattice.

Where a lattice covers the places in which data are, a density is a row of numbers, and one step of the integrator a
matrix. The filter and the smoother of a chain on that row give the evidence p(x), and how often paths go from each
point to each other. Nothing of that needs a guide. A guide that misses a little of the posterior is followed by a prior
that suits it: frictions and noise come out too high, wells too near to each other. In `exact` the prior learns without.

One axis has as many points as the evidence asks for. On several, points are about as far apart as one step is wide, so
that some hundred are enough; each stands for the cell around it, and has the mean density of the data there.

References
----------
R. S. Bucy and K. D. Senne, Automatica 7:287–298, 1971. L. R. Rabiner, Proc. IEEE 77:257–286, 1989.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import pyro
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal
from tqdm.auto import tqdm

from ..dynamics.grids import Grid
from ..dynamics.integrators import Step
from ..dynamics.paths import LangevinPath
from ..model.latent_langevin import LatentLangevin
from ..model.missing import filled, log_prob_of_observed
from ..nn import condition_on
from .displacements import Displacement

FINER = (4, 2)  # times as many places, on one axis or several, between which a landscape could hide a minimum
# Of such a place, within which a minimum is looked for: on a side it belongs to both, and near a corner of several
# axes, where forces are not linear, every place might leave it to another.
AROUND = (0.501, 0.75)
AT_A_TIME = 4_000_000  # numbers held at once, of every array
KEPT = 50_000_000  # densities of the data that are kept from one round to the next, where they do not change
LEAST = 1e-30  # probability of any move, so that a filter in single precision comes back from an outlier
TAILS = 3.0  # standard deviations of a step, within which a lattice that has points holds all of it
DRAWS = 1  # positions of every observation from which the noise learns


class Found(NamedTuple):
    """What filter and smoother say of data."""

    log_evidence: Float[Tensor, "sequence"]
    first: Float[Tensor, "point"]  # how many sequences start at each point
    gaps: Float[Tensor, "gap"]  # the different times between observations
    moves: list[Float[Tensor, "point point"]]  # for each of these, how many intervals go from each point to each
    drawn: Float[Tensor, "draw sequence time latent"]  # positions, each drawn from p(z_t | x)


class Lattice:
    """p(x | U, T, γ, noise) of an overdamped model, at points of a lattice.

    P = Kⁿ with K_ij ∝ p(z_j | z_i), the density of one step of the model's own integrator, and n steps per observation
    interval. A row adds up to 1 unless a step may end where the lattice has no points; what leaves is lost. The
    trapezoidal rule makes exponentially small errors once points are closer than a step is wide.

    The dynamics may have other axes y = h(z) than the decoder: paths then move between the places h(z_i), and each of
    these stands for a cell as large as h makes it. That is `displacement`; None where y = z.

    Parameters
    ----------
    model: overdamped, without exposure and without anything that acts from outside.
    latents: values of its random quantities by site.
    points: `(point, latent)`, in units of z. spacing: `(latent,)`, between neighbours.
    parts: of a cell on every axis, over which the density of the data is averaged.

    Examples
    --------
    The evidence of a harmonic well in noise, whose Euler steps Kalman's filter would give the same:

    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=3, interval=0.5, noise=1.0)
    >>> motion = nld.OverdampedLangevin(nld.Quadratic([1.0]))
    >>> seen = nld.Gaussian(nld.IdentityDecoder(1), 1.0)
    >>> model = nld.LatentLangevin(motion, seen, substeps=50, time_unit=1.0, start="equilibrium")
    >>> from pyro_nld.fitting.point_masses import Lattice
    >>> times, x = nld.as_tensors(data)
    >>> found = Lattice.line(model, {}, -5.0, 5.0, 300).evidence(times.expand(10, -1), x)
    >>> exact = nld.oracles.ornstein_uhlenbeck_posterior(data)["log_evidence"]
    >>> f"log p(x) per sequence: {float(found.mean()):.1f}, exactly {float(exact.mean()):.1f}"
    'log p(x) per sequence: -4.6, exactly -4.6'
    """

    def __init__(
        self, model: LatentLangevin, latents: Mapping[str, Tensor], points: Tensor, spacing: Tensor, parts: int = 1
    ) -> None:
        self.model = copy.deepcopy(model).double()
        self.latents = {name: value.double() for name, value in latents.items()}
        self.points, self.spacing = points.double(), spacing.double()
        self.inside = self._parts(parts)
        self.part = self.spacing / parts
        self.displacement: Displacement | None = None
        several = len(spacing) > 1  # hundreds of cells: products of their matrices are most of the work
        self.multiplied = torch.float32 if several else torch.float64
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def line(
        cls, model: LatentLangevin, latents: Mapping[str, Tensor], low: float, high: float, points: int, parts: int = 1
    ) -> Lattice:
        """So many points on one axis, from end to end."""
        places = torch.linspace(low, high, points, dtype=torch.float64).unsqueeze(-1)
        return cls(model, latents, places, places[1] - places[0], parts)

    def _parts(self, count: int) -> Tensor:
        """Centres of the parts of a cell, `(part, latent)`, beside its point."""
        marks = (torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5
        return torch.cartesian_prod(*[marks] * len(self.spacing)).view(-1, len(self.spacing)) * self.spacing

    @contextmanager
    def known(self) -> Iterator[None]:
        """A scope in which random quantities have their values.

        Pyro's store is set aside: it has the user's model, and would put the parameters of that in place of the copy's.
        """
        with pyro.get_param_store().scope(), condition_on(self.model, self.latents):
            yield

    def _moved(self, z: Tensor) -> Tensor:
        """y = h(z)."""
        return z if self.displacement is None else self.displacement(z)

    def _log_volume(self) -> Tensor:
        """Logarithm of the volume of every cell in y, in a shape that broadcasts against points."""
        volume = self.spacing.log().sum()
        return volume if self.displacement is None else volume + self.displacement.log_volume(self.points)

    def transition(self, gap: Tensor, multiplied: torch.dtype = torch.float64) -> Float[Tensor, "point point"]:
        """P of a time between two observations, in the model's unit, `multiplied` in a precision."""
        places = self._moved(self.points)
        step = self._step(places, gap)
        scale = step.scale.expand_as(step.loc)
        norm = (scale.log() + 0.5 * math.log(2 * math.pi)).sum(-1, keepdim=True)
        axes = zip(places.mT, step.loc.mT.unsqueeze(-1), scale.mT.unsqueeze(-1), strict=True)
        away = sum(((place - loc) / width).square() for place, loc, width in axes)  # faster than a sum over two columns
        one = (-0.5 * away - norm + self._log_volume()).exp()
        total = one.sum(-1, keepdim=True)
        # Never more than 1: a step that is narrower than points are apart could have that.
        one = one / torch.where(self._inside(scale), total, total.clamp(min=1))
        return torch.linalg.matrix_power(one.to(multiplied), self.model.substeps).double()

    @torch.no_grad()
    def _inside(self, scale: Tensor) -> Tensor:
        """Whether there are points wherever a step out of each may end, `(point, 1)`."""
        wide = float((scale / self.spacing).max())
        if not math.isfinite(wide):  # a search went too far
            return torch.zeros_like(self.points[:, :1], dtype=torch.bool)
        reach = 1 + math.ceil(TAILS * wide)
        near = (self._apart <= reach).sum(-1, keepdim=True)
        return near == (2 * reach + 1) ** len(self.spacing)

    @cached_property
    def _apart(self) -> Tensor:
        """How many cells two points are apart, on the axis where they are more."""
        place = ((self.points - self.points[0]) / self.spacing).round()
        return torch.cdist(place, place, p=math.inf).round()

    def coarseness(self, gap: Tensor) -> Float[Tensor, "minimum"]:
        """Curvature × step in every minimum: the largest eigenvalue of (k₁ (1 − ∂E[y']/∂y) − s)/k₀.

        With the unit and the coarse stiffness k₁ and k₀ of the integrator, and its s; of Euler's it is 1 − ∂E[y']/∂y.

        In every part of a cell the force is linear, as it is between the middles of opposite sides; where that has its
        zero in the same part, or on several axes a little beyond, there is a minimum.
        """
        axes = len(self.spacing)
        finer = FINER[axes > 1]
        width, side = self.spacing / finer, torch.diag(0.5 * self.spacing / finer)
        places = (self.points.unsqueeze(1) + self._parts(finer)).flatten(0, 1)
        ends = self._moved(places + torch.stack([-side, side]).unsqueeze(2))  # (side, axis, place, latent)
        pushed = self._step(ends.flatten(0, 2), gap).loc.view_as(ends) - ends
        slope, stretch = (
            ((upper - lower) / width.view(-1, 1, 1)).movedim(0, -1) for lower, upper in (pushed.flip(0), ends)
        )  # (place, latent, axis)
        stiff = torch.linalg.solve_ex(stretch, slope, left=False)[0]
        with torch.no_grad():
            there = torch.linalg.solve_ex(slope, pushed.mean((0, 1)).unsqueeze(-1))[0].squeeze(-1)
            minimum = (there.abs() <= AROUND[axes > 1] * width).all(-1)
            minimum &= (torch.linalg.eigvals(stiff.nan_to_num()).real > 0).all(-1)
        return torch.linalg.eigvals(self._beyond_spring(stiff[minimum], gap)).real.amax(-1)

    def _beyond_spring(self, stiff: Tensor, gap: Tensor) -> Tensor:
        """(k₁ A − s)/k₀ of matrices A."""
        scheme, h = self.model.integrator, (gap / self.model.substeps).view(1)
        with self.known():
            unit, coarse = (part(self.model.dynamics, h) for part in (scheme.unit_stiffness, scheme.coarse_stiffness))
        axes = len(self.spacing)
        unit, coarse, spring = (one.expand(axes) for one in (unit, coarse, stiff.new_tensor(scheme.stiffness)))
        return (unit.unsqueeze(-1) * stiff - torch.diag(spring)) / coarse.unsqueeze(-1)

    def _step(self, places: Tensor, gap: Tensor) -> Step:
        """One step of the integrator out of every place."""
        h = (gap / self.model.substeps).expand(len(places), 1)
        grid = Grid(h, torch.ones_like(h[:, 0], dtype=torch.bool))
        path = LangevinPath(self.model.dynamics, self.model.integrator, places[0], grid, self.latents)
        with self.known():
            return path.transitions(places)

    def start(self) -> Float[Tensor, "point"]:
        """log p(z₀) at the points; in equilibrium −U/T, normalised on them."""
        places = self._moved(self.points)
        with self.known():
            if self.model.equilibrium is None:
                return self.model.initial().log_prob(places) + self._log_volume()
            return (self.model.dynamics.stationary_log_density(places) + self._log_volume()).log_softmax(0)

    def evidence(self, times: Tensor, x: Tensor) -> Float[Tensor, "sequence"]:
        """log p(x) of every sequence, nats.

        Parameters
        ----------
        times: `(sequence, time)`, user's unit. x: `(sequence, time, channel)`, NaN where missing; both checked.
        """
        return self.explained(times, x, smooth=False).log_evidence

    @torch.no_grad()
    def explained(self, times: Tensor, x: Tensor, smooth: bool = True, progress: bool = False) -> Found:
        """The filter and, unless `smooth` is false, the smoother of all sequences; see `Found`.

        In single precision, which is twice as fast, and off by 1e-8 nats per value.
        """
        keeps = x.shape[0] * x.shape[1] * len(self.points) <= KEPT
        gaps, which = self.gaps(times)
        exact = [self.transition(gap, self.multiplied) for gap in gaps]
        matrices = [(matrix + LEAST).float() for matrix in exact]
        moves, first = [torch.zeros_like(matrix) for matrix in matrices], torch.zeros_like(self.points[:, 0])
        evidence, drawn = [], []
        chunk = max(1, AT_A_TIME // (x.shape[1] * len(self.points)))
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same draws in every round: the noise then converges
            for rows in tqdm(torch.arange(len(x)).split(chunk), desc="lattice", disable=not progress, mininterval=1.0):
                first_row = int(rows[0])
                seen, top = self._kept.get(first_row) or self.seen(x[rows])
                if keeps:
                    self._kept[first_row] = seen, top
                forward, gained = self._forward(seen, matrices, which[rows])
                evidence.append((gained.double().log() + top).sum(1))
                if smooth:
                    smoothed = self._backward(forward, gained, seen, matrices, which[rows], moves)
                    first += smoothed[:, 0].sum(0)
                    drawn.append(self._drawn(smoothed, x[rows]))
        moves = [move.double() * matrix for move, matrix in zip(moves, exact, strict=True)]
        return Found(torch.cat(evidence), first, gaps, moves, torch.cat(drawn, 1) if drawn else torch.empty(0))

    def forget(self) -> None:
        """Compute the densities of the data anew, since the noise was changed."""
        self._kept.clear()

    def expected(self, found: Found) -> Tensor:
        """E[log p(z₀, z)] under what was found, as a function of the parameters of the model."""
        total = found.first @ self.start()
        for gap, moves in zip(found.gaps, found.moves, strict=True):
            matrix = self.transition(gap, self.multiplied)
            total = total + (moves * (matrix + torch.finfo(torch.float64).tiny).log()).sum()
        return total

    def gaps(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """The different times between observations, and which of them every interval has; −1 after the end."""
        batch = self.model.batch(times.double())
        gaps, which = rounded(batch.gaps).unique(return_inverse=True)
        return gaps, torch.where(batch.valid[:, 1:], which, -1)

    def seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p(x_t | z) in the cells, `(sequence, time, point)`, over its maximum, and the logarithm of that."""
        places = (self.points.unsqueeze(1) + self.inside).flatten(0, 1)
        few = max(1, AT_A_TIME // (x.shape[1] * len(places) * max(1, x.shape[2] // 4)))
        density = torch.cat([self._in_cells(part, places) for part in x.double().split(few)])
        top = density.amax(-1)
        return (density - top.unsqueeze(-1)).exp().float(), top

    def _in_cells(self, x: Tensor, places: Tensor) -> Tensor:
        """log of the mean of p(x_t | z) over the parts of every cell."""
        density = self._log_density(x.unsqueeze(-2), places)
        if len(places) == len(self.points):
            return density
        return density.unflatten(-1, (len(self.points), -1)).logsumexp(-1) - math.log(len(self.inside))

    def _log_density(self, x: Tensor, places: Tensor) -> Tensor:
        """log p(x | z)."""
        with self.known():
            law = self.model.likelihood(places)  # once for each place, and not for every observation
            if isinstance(law, Normal) and places.dim() == 2:
                return _log_normal(law, x.squeeze(-2))
            return log_prob_of_observed(law, filled(x, law), x.isfinite())

    def _forward(self, seen: Tensor, matrices: list[Tensor], which: Tensor) -> tuple[Tensor, Tensor]:
        """p(z_t | x₁…x_t), and p(x_t | x₁…x_{t−1}) in units of the maximum over z."""
        filtered, gained = torch.empty_like(seen), torch.empty_like(seen[..., 0])
        ahead = self.start().exp().float().expand(len(seen), -1)
        for t in range(seen.shape[1]):
            joint = ahead * seen[:, t]
            gained[:, t] = joint.sum(-1).clamp(min=torch.finfo(torch.float32).tiny)
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

    def _drawn(self, smoothed: Tensor, x: Tensor) -> Tensor:
        """Positions of every observation: a point; of a cell with parts, one by what is seen, and any place in that."""
        below = smoothed.cumsum(-1)
        cell = torch.searchsorted(below, torch.rand(*below.shape[:2], DRAWS).double()).clamp(max=len(self.points) - 1)
        drawn = self.points[cell]
        if len(self.inside) > 1:
            parts = drawn.unsqueeze(-2) + self.inside
            told = self._log_density(x.double().view(*x.shape[:2], 1, 1, -1), parts)
            which = torch.distributions.Categorical(logits=told).sample()
            drawn = drawn + self.inside[which] + self.part * (torch.rand(drawn.shape).double() - 0.5)
        return drawn.movedim(2, 0)


def _log_normal(law: Normal, x: Tensor) -> Float[Tensor, "*batch place"]:
    """Σ_c log N(x_c; μ_c, σ_c) over the channels that were observed, as three products of matrices.

    Parameters
    ----------
    law: `(place, channel)`. x: `(*batch, channel)`, NaN where missing.
    """
    weight = law.scale.square().reciprocal()
    alone = -0.5 * (law.loc.square() * weight - weight.log() + math.log(2 * math.pi))
    x, seen = x.nan_to_num(), x.isfinite().to(weight)
    return x @ (law.loc * weight).mT - 0.5 * x.square() @ weight.mT + seen @ alone.mT


def rounded(gaps: Tensor) -> Tensor:
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
