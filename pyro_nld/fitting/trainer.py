"""One run of a fit, step by step: what a checkpoint holds of it, and a guard against losses that are not finite."""

from __future__ import annotations

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from ..errors import DoubtfulFitWarning, FitError
from ..guide.amortized import AmortizedGuide
from ..guide.encoders import Encoder
from ..io.validation import check_rows
from ..landscape.step_size import LIMIT
from ..model.latent_langevin import LatentLangevin
from ..nn import evaluating
from . import optimizers
from .checkpoints import refusing_another_model
from .devices import at_home, place
from .elbo import ENOUGH_STEPS, TERMS, PathELBO, stride_for
from .lead import Lead
from .particles import complete_log_prob, particle_posterior
from .posterior import Posterior
from .processes import Crew, own_numbers
from .schedule import Schedule
from .settling import COLUMNS, settled

PATIENCE = 5  # returns to a good state in a row, after which the fit fails
MEDIAN_OF = 50  # last steps, from which the usual norm of a gradient is taken
REMEMBER = 50  # steps between the good states that are kept in memory
REFINE_AT = (0.3, 0.5, 0.7)  # shares of the steps at which it is checked whether the substeps are fine enough
GROWTH = 1.3  # of the curvature from such a look to the end of the fit


class Trainer:
    """One run of a fit: everything that a checkpoint holds, and the method `advance`."""

    def __init__(
        self,
        model: LatentLangevin,
        guide: AmortizedGuide,
        data: tuple[Tensor, Tensor],
        schedule: Schedule,
        optimizer: optimizers.Factory | None = None,
        crew: Crew | None = None,
    ) -> None:
        self.model, self.guide, self.schedule, self.factory = model, guide, schedule, optimizer
        self.crew = crew or Crew()
        self.own = self.crew.own(schedule.parts)
        self.stopped, self.device = False, self.crew.device  # stopped by a callback
        place(self.device, model, guide)
        self.home = check_rows(*data)
        self.times, self.x = (part if self.device is None else part.to(self.device) for part in self.home)
        self.subsample = schedule.batch_size if schedule.batch_size < len(self.x) else None
        self.observed = int(self.x.isfinite().sum())
        self.elbo = PathELBO()
        self.substeps = model.substeps  # at the end, unless the landscape asks for more
        self._take(schedule.substeps(0, self.substeps))
        self.history = torch.zeros(0, len(COLUMNS), dtype=torch.float64)
        self.slowdown, self.failures, self.elapsed = 1.0, 0, 0.0

    @cached_property
    def _lead(self) -> Lead:
        return Lead(self.model, *self.home)

    @property
    def step(self) -> int:
        """The number of steps done."""
        return len(self.history)

    @property
    def done(self) -> bool:
        """Whether the schedule is used up."""
        made = self.schedule.rounds(self.step)
        over = made is not None and (made >= self.schedule.most or settled(self.history))
        return self.stopped or over or not self.schedule.time_left(self.elapsed)

    def position(self, step: int) -> int | float:
        """Where in its schedule the fit is before `step`: further on than the number of steps where time is short."""
        spent = self.history[step - 1, COLUMNS.index("seconds")] if step > 0 else 0.0
        return self.schedule.position(step, float(spent))

    def advance(self) -> None:
        """Take one gradient step. A step that is not finite is undone, and the learning rate is halved from then on."""
        started = time.perf_counter()
        position = self.position(self.step)
        if self.schedule.substeps(position, self.substeps) > self.model.substeps:
            self._take(self.substeps)
        if self._refinements(position) > self._refinements(self.position(max(0, self.step - 1))):
            self.refine()
        self.elbo.path_weight = self.schedule.path_weight(position)
        share = self.schedule.rate(position) / self.schedule.learning_rate * self.slowdown
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
        rate = self.optimizer.param_groups[0]["lr"]
        lead = self.schedule.lead_weight(position) if self.step < self.schedule.steps else 0.0
        loss, terms = self._learn_from_bound(lead)
        if self.schedule.refining(position):
            self._learn_from_particles()
        norm = nn.utils.clip_grad_norm_(self.parameters, self._largest_norm())
        if bool(loss.isfinite() & norm.isfinite()):
            self._remember_now_and_then()  # before the step, because this state is known to be good
            self.optimizer.step()
        else:
            self._go_back()
        (self.elapsed,) = self.crew.agreed([self.elapsed + time.perf_counter() - started])
        row = [float(value) for value in (loss, *(terms[name] / self.observed for name in TERMS), norm)]
        self.history = torch.cat([self.history, torch.tensor([[*row, rate, self.elapsed]], dtype=torch.float64)])

    def _parts(self) -> Iterator[tuple[Tensor | None, float]]:
        """The sequences of each part of a batch that is computed here, and its share; None where Pyro draws them."""
        if self.schedule.parts == 1:
            yield None, 1.0
            return
        chosen, seed = torch.randperm(len(self.x))[: self.schedule.batch_size], int(torch.randint(2**62, ()))
        for part in self.own:
            if len(rows := chosen[part :: self.schedule.parts]):
                with own_numbers(seed, part):
                    yield rows, len(rows) / len(chosen)

    def _learn_from_bound(self, lead: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Put the gradient of the loss into the parameters, and return the loss and the terms of the bound."""
        self.optimizer.zero_grad()
        sums = {name: torch.zeros((), device=self.x.device) for name in ("loss", *TERMS)}
        for rows, share in self._parts():
            data = (self.times, self.x) if rows is None else (self.times[rows], self.x[rows])
            some = {"subsample_size": self.subsample} if rows is None else {"subsample": rows, "size": len(self.x)}
            with self._lead if lead > 0 else contextlib.nullcontext():
                terms = self.elbo.terms(self.model, self.guide, *data, **some)
            loss = -self.elbo.combine(terms) / self.observed
            whole = loss - lead * self._lead.log_weight() / self.observed if lead > 0 else loss
            (share * whole).backward()
            for name, value in {"loss": loss, **terms}.items():
                sums[name] += share * value.detach()
        self.crew.sum_([*self._gradients(self.parameters), *sums.values()])
        return sums.pop("loss"), sums

    @staticmethod
    def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def _largest_norm(self) -> float:
        norms = self.history[-MEDIAN_OF:, COLUMNS.index("gradient_norm")]
        norms = norms[norms.isfinite()]
        return self.schedule.clip * float(norms.median()) if len(norms) else math.inf

    def _optimise(self) -> None:
        # Steps are skipped only where enough of them are left, because one step estimates the KL of many with noise.
        batch = self.x[: max(1, self.schedule.batch_size // self.schedule.parts)]
        self.elbo.path_stride = stride_for(batch, self.model.substeps, ENOUGH_STEPS)
        self.parameters = [*self.model.parameters(), *self.guide.parameters()]
        encoders = [part for part in self.guide.modules() if isinstance(part, Encoder)]
        slower = {parameter for encoder in encoders for parameter in encoder.parameters()}
        rate, share = self.schedule.learning_rate, self.schedule.encoder_share
        self.optimizer = optimizers.made(self.factory, self.parameters, rate, slower, share)

    def _refinements(self, position: int | float) -> int:
        """How many times the substeps were due to be looked at, before and at `position`."""
        return sum(position >= round(share * self.schedule.steps) for share in REFINE_AT)

    def refine(self, growth: float = GROWTH) -> bool:
        """Take as many substeps as the landscape will need when it has grown so much more curved.

        Only if the model allows it, and a coarse beginning stays coarse. Whether there are more steps now.
        """
        pair, wanted, most = (self.model, self.guide), 0, self.model.most_substeps or 0
        if most <= self.model.substeps or self.model.substeps < self.substeps:
            return False
        with evaluating(*pair), warnings.catch_warnings(), contextlib.suppress(FitError), at_home(self.device, *pair):
            warnings.simplefilter("ignore", DoubtfulFitWarning)
            steps = Posterior(*pair, *self.home).discretisation()
            if growth * steps["max_curvature_step"] > LIMIT:
                wanted = min(math.ceil(growth * steps["substeps_needed"]), most)
        wanted = int(self.crew.agreed([float(wanted)])[0])
        more = wanted > self.model.substeps
        if more:
            self.substeps = wanted
            self._take(self.substeps)
        return more

    def _take(self, substeps: int) -> None:
        """Go on with so many substeps. The optimiser starts anew, because the guide then has other parameters."""
        self.guide.refine(substeps)
        self._optimise()
        self._remember()

    def settle(self) -> None:
        """Leave the model with the substeps that the fit ends with, even if the run was stopped early."""
        self.guide.refine(self.substeps)

    def come_home(self) -> None:
        """Leave model and guide on the processor, and look at the data there."""
        if self.device is not None:
            self.model.cpu()
            self.guide.cpu()
        self.times, self.x = self.home

    def _learn_from_particles(self) -> None:
        """Replace the gradient of the model by that of E[log p(x, z)] over the particle posterior."""
        for parameter in self.model.parameters():
            parameter.grad = None
        for rows, share in self._parts():
            chosen = torch.randperm(len(self.x))[: self.schedule.batch_size] if rows is None else rows
            times, x = self.times[chosen], self.x[chosen]
            found = particle_posterior(self.model, self.guide, times, x, self.schedule.particles)
            score = complete_log_prob(self.model, times, x, found.latents, self.elbo.path_stride)
            (-share * score * len(self.x) / len(chosen) / self.observed).backward()
        self.crew.sum_(self._gradients(self.model.parameters()))

    def _remember_now_and_then(self) -> None:
        self.failures = 0
        if self.step % REMEMBER == 0:
            self._remember()

    def _remember(self) -> None:
        parts = (self.model, self.guide, self.optimizer)
        self.good = [copy.deepcopy(part.state_dict()) for part in parts]

    def _go_back(self) -> None:
        self.failures += 1
        if self.failures > PATIENCE:
            raise FitError(
                f"the loss stays non-finite after {PATIENCE} returns to a good state (step {self.step}). Lower the "
                "learning rate, use more substeps, or look for extreme values in the data."
            )
        model, guide, optimizer = copy.deepcopy(self.good)
        self.model.load_state_dict(model)
        self.guide.load_state_dict(guide)
        self.optimizer.load_state_dict(optimizer)
        self.slowdown *= 0.5

    def state(self) -> dict:
        """All that is needed to go on exactly: tensors, numbers, strings, and containers of them."""
        return {
            "substeps": self.model.substeps,
            "model": self.model.state_dict(),
            "guide": self.guide.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "good": self.good,
            "history": self.history,
            "progress": [self.slowdown, self.failures, self.elapsed],
            "generator": torch.get_rng_state(),
        }

    def restore(self, state: dict) -> None:
        """Go on from `state`.

        Raises
        ------
        CheckpointError: the state belongs to another model.
        """
        with refusing_another_model():
            if state["substeps"] != self.model.substeps:
                self.guide.refine(state["substeps"])
                self.substeps = max(self.substeps, state["substeps"])
                self._optimise()
            for part, name in ((self.model, "model"), (self.guide, "guide"), (self.optimizer, "optimizer")):
                part.load_state_dict(state[name])
        self.good, self.history = state["good"], state["history"]
        self.slowdown, self.failures, self.elapsed = state["progress"]
        torch.set_rng_state(state["generator"])
