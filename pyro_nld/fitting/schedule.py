"""How a fit spends its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

COARSEST = 5  # substeps that a coarse beginning takes at least


@dataclass(frozen=True)
class Schedule:
    """How a fit spends its steps.

    steps: gradient steps.
    batch_size: sequences per step (all when there are fewer).
    learning_rate: Adam's, after a linear warm-up over `warmup`; falls to zero along a cosine.
    warmup: share of the steps in which the learning rate rises.
    anneal: share of the steps in which the weight of the path KL rises from `anneal_from` to 1.
    anneal_from: first weight of the path KL.
    clip: largest norm of a gradient, relative to the median of the last steps'. Near the median it would be hit all the
        time, and since it is the path KL that fluctuates, it would teach paths to do without the prior.
    coarse: share of the steps, the first ones, taken with a quarter of the model's substeps, but no fewer than five:
        where wells are is found as well there, for a fraction of the price; how deep they are is then learned finely.
    minutes: stop early after this wall time (None: never). Such a fit cannot be repeated step for step.
    particles: paths per sequence of the particle posterior that the model learns from in the end; 0 for none. The bound
        prefers a prior that suits the guide (its states last too long where the guide follows crossings badly);
        weighted and resampled paths do not. The guide goes on learning from the bound.
    refine: share of the steps, the last ones, in which the model learns from particles.
    polish: M-steps in the end, in each of which all layers of the potential learn from particles, see
        `em.learn_layers`, its last layer is solved for, see `em.solve_coefficients`, the guide follows, see
        `em.follow`, and learned frictions, masses and noise are solved for, see `scales.fit_scales`; 0 for none. One
        costs up to a whole fit, and is worth it for numbers.
    balance: in the very end, set the depths of the wells by the transitions that the data make, see `depths.balance`.
        Half a minute for 200 000 observations. Occupancies are then those of the counts.
    """

    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-2
    warmup: float = 0.02
    anneal: float = 0.2
    anneal_from: float = 0.1
    clip: float = 5.0
    coarse: float = 0.5
    minutes: float | None = None
    particles: int = 0
    refine: float = 0.4
    polish: int = 0
    balance: bool = False

    def rate(self, step: int) -> float:
        """Learning rate at `step`."""
        rise = min(1.0, (step + 1) / max(1.0, self.warmup * self.steps))
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def path_weight(self, step: int) -> float:
        """Weight of the path KL at `step`."""
        span = self.anneal * self.steps
        risen = min(1.0, step / span) if span > 0 else 1.0
        return self.anneal_from + (1 - self.anneal_from) * risen

    def substeps(self, step: int, final: int) -> int:
        """Substeps at `step` of a model that ends with `final`."""
        return min(final, max(COARSEST, final // 4)) if step < self.coarse * self.steps else final

    def refining(self, step: int) -> bool:
        """Whether the model learns from particles at `step`."""
        return self.particles > 0 and step >= (1 - self.refine) * self.steps
