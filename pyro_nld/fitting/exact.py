"""Exact expectation maximisation of an overdamped model with a few axes, on the lattice of its point masses.

The M-step of `em` learns from particles, and the guide proposes these. Here the expectation is that of the exact
posterior, whose moves between points are counted, and a round takes seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, transform_to

from ..errors import FitError
from ..guide.amortized import AmortizedGuide
from ..landscape.step_size import LIMIT
from ..model.decoders import Decoder
from ..model.latent_langevin import LatentLangevin
from ..model.missing import filled, log_prob_of_observed
from ..nn import evaluating, random_parts
from .displacements import Displacement, say_the_same
from .elbo import evaluate
from .em import COEFFICIENT_PRECISION, follow, frozen
from .isolation import without_denormals
from .lattices import lattice_of
from .observed_information import information
from .point_masses import Found, Lattice

ITERATIONS = 20  # of L-BFGS in one M-step
PRECISION = 0.01  # of a Gaussian prior around the present parameters: holds those that no path informs
COARSE = (0.1, 0.03)  # curvature × step above its limit, at half a nat for each minimum; as long as steps may
# become finer, and where they may not
NEAR = (1.0, 0.9)  # of the limit, above which it costs: what may not become finer shall end below
FEW, BELOW = 10, 0.05  # sequences on which bounds are compared, and nats per value an evidence may seem below one
FALL = 0.3  # nats per value by which the bound may have fallen in the end: a poor guide hides what is true
FIRST = 3  # rounds before the evidence itself is climbed, where nothing but the prior learns
LONGER = 1.5  # every step of a round than the last, as long as the evidence rises
ENOUGH = 0.1  # nats that another round has to bring: evidence is nearly flat along some of what is asked
SEARCHED = 8  # evaluations of the evidence along one direction, at most
CURVED = 0.1  # of the same, on both sides, over which a prior's curvature is taken
MANY = 200_000  # times beyond which some sequences are enough
FOLLOWS = 4  # times, at most, that a guide takes its steps until its bound is back
GUIDE_STEPS = (100, 300)  # in which the guide follows at the end, on the same axes or on others
GUIDE_BATCH = 16  # sequences in each: 32 take twice as long, for .002 nats per value


@without_denormals()
def learn(
    model: LatentLangevin,
    guide: AmortizedGuide,
    times: Tensor,
    x: Tensor,
    *,
    rounds: int = 10,
    progress: bool = False,
) -> tuple[list[float], Tensor | None]:
    """Rounds of exact expectation maximisation, in place: prior, start and noise learn; then the guide follows.

    In each, E[log p(z₀, z)] is maximised over all parameters of the dynamics and the start, and E[log p(x | z)] over
    those of the likelihood beside its decoder, on several axes only where points are closer than an observation is
    sharp. The axes of a supple decoder that learns are moved with the dynamics, see `displacements`; in the end the
    decoder says the same on the new ones. Quantities of the dynamics that are random in an `AutoNormal` guide move to
    the maximum of the posterior, and have its width there, with the last layer of the potential unknown (Laplace's
    method); all other random ones stay at their medians. A round goes farther than its maximum, the more the more
    rounds have raised the evidence, and back to it where that lowers the evidence. Where nothing but the prior learns,
    as behind a calibrated instrument, the evidence itself is climbed by L-BFGS after the third round.

    Parameters
    ----------
    model, guide: fitted. times, x: checked data; of more than 200 000 times some sequences, at random.
    rounds: at most; they end when one brings less than a tenth of a nat. progress: show bars.

    Returns
    -------
    log p(x) of all data before each round and at the end, nats per observed value; and the `information` of the data on
    the last layer of the potential, where it has one, with all other numbers as unknown as they were beforehand.

    Raises
    ------
    FitError: see `lattice_of`; its evidence is below the bound, so that it does not hold the posterior; or the guide
        does not follow, and the fit is as it was.

    References
    ----------
    R. S. Bucy and K. D. Senne, Automatica 7:287–298, 1971 (point masses). L. R. Rabiner, Proc. IEEE 77:257–286, 1989.
    R. Salakhutdinov and S. Roweis, Adaptive overrelaxed bound optimization methods, ICML 2003 (longer steps).
    C. Liu, D. B. Rubin and Y. N. Wu, Biometrika 85:755–770, 1998 (parameters that are expanded: the axes).
    R. Salakhutdinov, S. Roweis and Z. Ghahramani, Optimization with EM and expectation-conjugate-gradient, ICML 2003.
    """
    chosen = torch.randperm(len(x))[: max(1, MANY // x.shape[1])] if x[..., 0].numel() > MANY else slice(None)
    every, times, x = (times, x), times[chosen], x[chosen]
    lattice, values = lattice_of(model, guide, times, x), int(x.isfinite().sum())
    few = torch.linspace(0, len(x) - 1, min(FEW, len(x))).long()
    bound = _bound(model, guide, times[few], x[few])
    _is_above(bound, lattice, times[few], x[few])
    before = copy.deepcopy((model.state_dict(), guide.state_dict()))
    learner = _Learner(lattice, model, guide, x)
    told, found = _climb(learner, times, x, rounds, progress)
    told = [height / values for height in told]
    known = learner.known(times, x, len(every[1]) / len(x))
    learner.straighten(found)
    learner.tell(model, guide)
    for _ in range(FOLLOWS):
        with frozen(guide.others):  # the bound would take them back to where they suit the guide
            steps = GUIDE_STEPS[learner.moves != []]
            follow(model, guide, *every, gradient_steps=steps, batch_size=GUIDE_BATCH, progress=progress)
        ends = _bound(model, guide, times[few], x[few])
        if ends > bound - BELOW:
            break
    if not ends > bound - FALL:  # all that is read of a fit is read along paths of its guide
        model.load_state_dict(before[0])
        guide.load_state_dict(before[1])
        raise FitError(
            f"the guide does not follow the prior that has learned exactly: the bound fell from {bound:.3f} to "
            f"{ends:.3f} nats per value. The fit is as it was. Use Schedule(polish=…) instead."
        )
    return told, known


def _climb(
    learner: _Learner, times: Tensor, x: Tensor, rounds: int, progress: bool = False
) -> tuple[list[float], Found]:
    """Take the rounds, and end at the best place: log p(x) before each and at the end, and what the last one found."""
    told: list[float] = []
    best = nearer = learner.place()
    reach = 1.0
    while True:
        found = learner.lattice.explained(times, x, progress=progress)
        now = float(found.log_evidence.sum())
        if told and not now > told[-1]:
            if reach == 1.0:
                break
            reach = 1.0
            learner.go(nearer)
            continue
        told.append(now)
        best = learner.place()
        if len(told) > rounds or (len(told) > 1 and now - told[-2] < ENOUGH):
            break
        if learner.alone and len(told) == FIRST + 1:
            told += learner.ascend(times, x, rounds - FIRST, progress)
            best, reach = learner.place(), 1.0
            if len(told) > rounds:
                break
            found = learner.lattice.explained(times, x, progress=progress)
        nearer = learner.climb(found)
        learner.go(best + reach * (nearer - best))
        reach *= LONGER
    learner.go(best)
    return told, found


def _bound(model: LatentLangevin, guide: AmortizedGuide, times: Tensor, x: Tensor) -> float:
    """The bound of some sequences, nats per value."""
    with evaluating(model, guide):
        return evaluate(model, guide, times, x, 1)["per_observation"]


@torch.no_grad()
def _is_above(bound: float, lattice: Lattice, times: Tensor, x: Tensor) -> None:
    """No bound is above log p(x): a lattice whose evidence is lower has too few points, or not where paths are."""
    found = float(lattice.evidence(times, x).sum()) / int(x.isfinite().sum())
    lattice.forget()  # densities of these few
    if not found > bound - BELOW:
        raise FitError(
            f"the lattice does not hold this posterior: its evidence is {found:.3f} nats per value, below the bound of "
            f"{bound:.3f}. Use Schedule(polish=…) instead."
        )


class _Learner:
    """The parameters of a lattice that learn, as one vector: the prior's, its random quantities, and the noise."""

    def __init__(self, lattice: Lattice, model: LatentLangevin, guide: AmortizedGuide, x: Tensor) -> None:
        self.lattice, self.x = lattice, x.double()
        self.decoders = [part for part in lattice.model.likelihood.modules() if isinstance(part, Decoder)]
        if all(part.bends for part in self.decoders):
            lattice.displacement = Displacement.over(lattice.points, lattice.spacing)
        self.moves = [] if lattice.displacement is None else list(lattice.displacement.parameters())
        self.laws = {
            part._pyro_get_fullname(name): law
            for part, name in random_parts(model.dynamics)
            if isinstance(law := part._pyro_samples[name], Distribution) and hasattr(guide.others, "locs")
        }
        found = {site: attrgetter(site)(guide.others.locs).detach() for site in self.laws}
        self.sites = {site: loc.double().clone().requires_grad_() for site, loc in found.items()}
        seen = lattice.model.likelihood
        apart, shape = ({id(value) for value in part.parameters()} for part in (seen, seen.decoder))
        free = [value for value in lattice.model.parameters() if value.requires_grad]
        self.prior = [value for value in free if id(value) not in apart] + self.moves + list(self.sites.values())
        # Cells of several axes that have parts are wider than what data leave open, which would seem noise.
        wide = len(lattice.spacing) > 1 and len(lattice.inside) > 1
        self.noise = [] if wide else [value for value in free if id(value) in apart - shape]
        self.alone = not self.noise and not self.moves
        self.spread: dict[str, Tensor] = {}

    def place(self) -> Tensor:
        """Where all of them are."""
        return torch.cat([value.detach().flatten() for value in self.prior + self.noise])

    @torch.no_grad()
    def go(self, place: Tensor) -> None:
        """Put them at a place."""
        values = self.prior + self.noise
        for value, part in zip(values, place.split([value.numel() for value in values]), strict=True):
            value.copy_(part.view_as(value))
        self._set_sites()
        if self.noise:
            self.lattice.forget()

    def climb(self, found: Found) -> Tensor:
        """Where what is expected of paths and data is largest."""
        self._minimise(self.prior, lambda: -self.lattice.expected(found) - self._log_prior() + self._coarse(found))
        if self.noise:
            self._minimise(self.noise, lambda: -self._fitted(found.drawn))
        return self.place()

    def ascend(self, times: Tensor, x: Tensor, iterations: int, progress: bool = False) -> list[float]:
        """Climb log p(x) + log prior by L-BFGS, and end at the best place; log p(x) after every iteration that rose.

        The gradient of the evidence is that of E[log p(z₀, z)] under the posterior of the same parameters. Rounds creep
        where little is seen of the paths, for there an expectation holds what the last round believed; this does not.
        So it needs a prior, around where the rounds have come, which is that of `known`: behind a bead two wells went
        .7 nm apart for three nats without one.
        """
        values = [value for value in self.prior if value.requires_grad]
        optimizer = torch.optim.LBFGS(
            values, max_iter=1, max_eval=SEARCHED, history_size=20, line_search_fn="strong_wolfe"
        )
        start = [value.detach().clone() for value in values]
        last: dict[str, Any] = {}  # an iteration begins where the one before it ended

        def closure() -> Tensor:
            if not last or not torch.equal(last["place"], self.place()):
                optimizer.zero_grad()
                self._set_sites()
                found = self.lattice.explained(times, x, progress=progress)
                held = torch.stack([(value - old).square().sum() for value, old in zip(values, start, strict=True)])
                rest = self._coarse(found) - self._log_prior() + 0.5 * COEFFICIENT_PRECISION * held.sum()
                (rest - self.lattice.expected(found)).backward()
                height = found.log_evidence.sum()
                last.update(place=self.place(), height=float(height), loss=rest.detach() - height)
                last.update(slopes=[value.grad.clone() for value in values])
            for value, slope in zip(values, last["slopes"], strict=True):
                value.grad = slope.clone()
            return last["loss"]

        best, lowest, told = self.place(), float(closure()), []
        for _ in range(iterations):
            optimizer.step(closure)
            loss = float(closure())
            if not loss < lowest - ENOUGH:
                break
            best, lowest = self.place(), loss
            told.append(last["height"])
        self.go(best)
        return told

    @torch.no_grad()
    def known(self, times: Tensor, x: Tensor, share: float) -> Tensor | None:
        """The information on w of so many times these data, all else unknown as far as its prior says; and `spread`."""
        dynamics = self.lattice.model.dynamics
        w = None if dynamics.landscape is None else dynamics.landscape.coefficients
        first = [] if w is None else list(w.view(-1).split(1))
        places = [value.view(-1) for value in self.sites.values()]
        learned = [value.view(-1) for name, value in dynamics.named_parameters(recurse=False) if value.requires_grad]
        moves = [value.detach().view(-1) for value in self.moves]
        free = [*first, *(number for value in places + moves + learned for number in value.split(1))]
        told = information(self.lattice, times, x, free, self._set_sites)
        if told is None:
            return None
        told, prior = share * told, torch.ones(len(free), dtype=torch.float64) * COEFFICIENT_PRECISION
        behind = len(first) + sum(len(value) for value in places)
        prior[len(first) : behind] = self._prior_curvature()
        width = torch.linalg.inv(told + torch.diag(prior)).diagonal().sqrt()[len(first) : behind]
        for site, part in zip(self.sites, width.split([len(value) for value in places]), strict=True):
            self.spread[site] = part.view_as(self.sites[site])
        count = len(first)
        across, rest = told[:count, count:], told[count:, count:] + torch.diag(prior[count:])
        return (told[:count, :count] - across @ torch.linalg.solve(rest, across.mT)) if count else None

    def straighten(self, found: Found) -> None:
        """Bring decoders to the axes of the dynamics, so that they say the same of the same data as before."""
        if self.lattice.displacement is None:
            return
        z = (self.lattice.points.unsqueeze(1) + self.lattice.inside).flatten(0, 1)
        weight = (found.first + sum(moves.sum(0) for moves in found.moves)).repeat_interleave(len(self.lattice.inside))
        with torch.no_grad():
            y = self.lattice.displacement(z)
        for decoder in self.decoders:
            say_the_same(decoder, z, y, weight)

    @torch.no_grad()
    def tell(self, model: LatentLangevin, guide: AmortizedGuide) -> None:
        """Give the model, and the guide of its random quantities, what was learned."""
        model.load_state_dict(self.lattice.model.state_dict())
        for site, value in self.sites.items():
            attrgetter(site)(guide.others.locs).copy_(value)
            if site in self.spread:
                inside, _, name = site.rpartition(".")
                scales = guide.others.scales.get_submodule(inside)
                setattr(scales, name, self.spread[site].to(getattr(scales, name)))

    def _set_sites(self) -> None:
        supports = {site: transform_to(law.support) for site, law in self.laws.items()}
        self.lattice.latents |= {site: supports[site](value) for site, value in self.sites.items()}

    def _log_prior(self) -> Tensor:
        """Of the random quantities, as densities of the unbounded numbers that stand for them, and of displacements."""
        total = sum((-0.5 * value.square().sum() for value in self.moves), torch.zeros((), dtype=torch.float64))
        for site, place in self.sites.items():
            transform, value = transform_to(self.laws[site].support), self.lattice.latents[site]
            total = total + self.laws[site].log_prob(value).sum() + transform.log_abs_det_jacobian(place, value).sum()
        return total

    def _prior_curvature(self) -> Tensor:
        """−∂² log prior of every random number."""
        found = []
        for number in [number for value in self.sites.values() for number in value.view(-1).split(1)]:
            before, heights = number.clone(), []
            for shift in (-CURVED, 0.0, CURVED):
                number.copy_(before + shift)
                self._set_sites()
                heights.append(self._log_prior())
            found.append((2 * heights[1] - heights[0] - heights[2]) / CURVED**2)
            number.copy_(before)
            self._set_sites()
        return torch.stack(found) if found else torch.zeros(0, dtype=torch.float64)

    def _coarse(self, found: Found) -> Tensor:
        """½ Σ max(κ − κ₀, 0)²/δ² over all minima, κ being curvature × step: steps shall tell how narrow each is.

        Where nobody ever is, or between two points, a maximum of the evidence might have one.
        """
        final = (self.lattice.model.most_substeps or 0) <= self.lattice.model.substeps
        beyond = (self.lattice.coarseness(found.gaps.max()) - NEAR[final] * LIMIT).clamp(min=0) / COARSE[final]
        return 0.5 * beyond.square().sum()

    def _fitted(self, drawn: Tensor) -> Tensor:
        """E[log p(x | z)] at positions that were drawn."""
        with self.lattice.known():
            law = self.lattice.model.likelihood(drawn)
            return log_prob_of_observed(law, filled(self.x, law), self.x.isfinite()).sum() / len(drawn)

    def _minimise(self, values: list[Tensor], loss: Callable[[], Tensor]) -> None:
        """A loss and a Gaussian prior around where the parameters are, by L-BFGS."""
        before = [value.detach().clone() for value in values]
        optimizer = torch.optim.LBFGS(values, max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            self._set_sites()
            held = torch.stack([(value - old).square().sum() for value, old in zip(values, before, strict=True)])
            total = loss() + 0.5 * PRECISION * held.sum()
            total.backward()
            return total

        optimizer.step(closure)
        if not all(bool(value.isfinite().all()) for value in values):
            with torch.no_grad():
                for value, old in zip(values, before, strict=True):
                    value.copy_(old)
            self._set_sites()
