"""How a fit spends its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from ..errors import Count, FitError, Positive, Share, Whole, checked

HASTY = 200  # steps in which an encoder has no time to learn slowly
COARSEST = 5  # substeps of a coarse beginning, at least


@partial(checked, error=FitError)
@dataclass(frozen=True)
class Schedule:
    """How a fit spends its gradient steps.

    Parameters
    ----------
    steps: number of gradient steps.
    batch_size: sequences per step (all where there are fewer).
    parts: into how many parts a batch is cut, one after the other or in several processes, see `processes`. One part of
        the memory is enough then. Each has random numbers of its own.
    learning_rate: of Adam after the warm-up; from then on it falls to zero along a cosine.
    encoder_rate: learning rate of the guide's encoder, as a share of that of all else, in a fit of 800 steps or more:
        see `encoder_share`. A recurrent network takes the same weights at every observation, so that small changes add
        up; behind a bent decoder it needs to be exact.
    warmup: share of the steps in which the learning rate rises linearly.
    anneal: share of the steps in which the weight of the path KL rises from `anneal_from` to 1.
    anneal_from: first weight of the path KL.
    clip: largest norm of a gradient, relative to the median norm of the last steps. A value near 1 would clip most
        steps. Because the path KL fluctuates most, the fit would then learn to ignore the prior.
    coarse: share of the steps, the first ones, that are taken with a quarter of the substeps, but with at least five.
        The wells are found as well with coarse steps, at a fraction of the cost; their depths need the fine ones.
    lead: share of the steps, the first ones, in which paths behind a bent decoder are drawn to the slow coordinates of
        the data, see `lead`; 0 for none. Its weight falls from 1 to 0.
    minutes: wall time of the gradient steps (None: whatever they take). Where it does not suffice for all of them, the
        whole schedule (warm-up, annealing, coarse steps, the fall of the rate) is spread over those that it suffices
        for. Such a fit cannot be repeated step for step. What comes after the steps is not counted.
    particles: paths per sequence of the particle filter from which the model learns at the end; 0 for none. The bound
        prefers a prior that suits the guide: states last too long where the guide describes crossings badly. Weighted
        and resampled paths do not have this bias. The guide goes on learning from the bound.
    refine: share of the steps, the last ones, in which the model learns from particles.
    polish: number of M-steps after the gradient steps; 0 for none. In each, all layers of the potential learn from
        particles (`em.learn_layers`), its last layer is solved for (`em.solve_coefficients`), the guide is refitted
        (`em.follow`), and learned frictions, masses and noise are fitted (`scales.fit_scales`). One M-step costs up to
        a whole fit, and is worth it where numbers matter.
    exact: rounds of expectation maximisation on a lattice of points, see `exact.learn`; 0 for none. It is for
        overdamped models with one axis or two, whose evidence a filter gives exactly: seconds a round on one axis, ten
        on two. Others stay as they are, and a warning says why. Neither guide nor particles have a part in it. The
        axes of a bent decoder are moved until diffusion is the same everywhere.
    settle: rounds that are added, at most, while the bound still rises (`settling.late_rise`). Each takes the second
        half of the steps again, with a learning rate that falls from a half to zero. A fit that still rises at its end
        says so.
    balance: at the very end, set the rates by the transitions in the data, see `transitions.balance`. This takes a few
        simulations of the fitted chain. Rates and occupancies are then those of the counts.

    Examples
    --------
    >>> schedule = nld.Schedule(steps=1000, learning_rate=0.01)
    >>> [round(schedule.rate(step), 4) for step in (0, 20, 500, 999)]  # warm-up, then a cosine
    [0.0005, 0.01, 0.005, 0.0]
    >>> [round(schedule.path_weight(step), 2) for step in (0, 100, 200)]  # annealing of the path KL
    [0.1, 0.55, 1.0]
    >>> schedule.substeps(0, final=40), schedule.substeps(500, final=40)  # coarse, then fine
    (10, 40)
    """

    steps: Count = 1000
    batch_size: Count = 32
    parts: Count = 1
    learning_rate: Positive = 1e-2
    encoder_rate: Positive = 0.25
    warmup: Share = 0.02
    anneal: Share = 0.2
    anneal_from: Share = 0.1
    clip: Positive = 5.0
    coarse: Share = 0.5
    lead: Share = 0.0
    minutes: Positive | None = None
    particles: Whole = 0
    refine: Share = 0.4
    polish: Whole = 0
    exact: Whole = 0
    balance: bool = False
    settle: Whole = 0

    @property
    def half(self) -> int:
        """Steps of a round after the first."""
        return max(1, self.steps // 2)

    @property
    def most(self) -> int:
        """Rounds after the first, at most: none where time is limited, since a round must not end half-way."""
        return self.settle if self.minutes is None else 0

    def rounds(self, step: int) -> int | None:
        """How many rounds after the first have been made before `step`; None within a round."""
        made, within = divmod(step - self.steps, self.half)
        return made if made >= 0 and within == 0 else None

    def length(self, step: int, position: int | float) -> int:
        """How many steps there will be in all, as it looks at `step`."""
        if step >= self.steps:
            return self.steps + self.half * -(-(step - self.steps) // self.half)
        return max(step, round(self.steps * step / position))

    def position(self, step: int, seconds: float = 0.0) -> int | float:
        """The step at which the schedule stands before `step`, after so many seconds: later where time is short.

        In a later round it is one of the second half.
        """
        if step >= self.steps:
            return self.steps - self.half + (step - self.steps) % self.half
        spent = 0.0 if self.minutes is None else min(1.0, seconds / (60 * self.minutes))
        return max(step, spent * self.steps)

    def time_left(self, seconds: float) -> bool:
        """Whether there is time for a step after so many seconds."""
        return self.minutes is None or seconds < 60 * self.minutes

    def rate(self, step: int | float) -> float:
        """The learning rate at `step`."""
        rise = min(1.0, (step + 1) / max(1.0, self.warmup * self.steps))
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    @property
    def encoder_share(self) -> float:
        """The share of the learning rate that the encoder has: 1 in a fit of 200 steps, then as 1/steps."""
        return max(self.encoder_rate, min(1.0, HASTY / self.steps))

    def path_weight(self, step: int | float) -> float:
        """The weight of the path KL at `step`."""
        span = self.anneal * self.steps
        risen = min(1.0, step / span) if span > 0 else 1.0
        return self.anneal_from + (1 - self.anneal_from) * risen

    def lead_weight(self, step: int | float) -> float:
        """The weight at `step` with which paths are drawn to the slow coordinates of the data."""
        return max(0.0, 1 - step / (self.lead * self.steps)) if self.lead > 0 else 0.0

    def substeps(self, step: int | float, final: int) -> int:
        """The substeps at `step` of a model that ends with `final` substeps."""
        return min(final, max(COARSEST, final // 4)) if step < self.coarse * self.steps else final

    def refining(self, step: int | float) -> bool:
        """Whether the model learns from particles at `step`."""
        return self.particles > 0 and step >= (1 - self.refine) * self.steps
