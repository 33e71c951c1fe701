"""The training loop: SVI with annealing, clipping, a guard against NaN, restarts and checkpoints."""

from __future__ import annotations

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pyro
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..errors import DoubtfulFitWarning, FitError
from ..guide.amortized import AmortizedGuide
from ..io.validation import check_rows
from ..model.latent_langevin import LatentLangevin
from .checkpoints import begun_part, forget_parts, part_of, refusing_another_model, resumed, save_checkpoint
from .depths import balance
from .elbo import ENOUGH_STEPS, TERMS, PathELBO, evaluate, stride_for
from .em import PARTICLES, maximise
from .jobs import one_thread, side_by_side, workers
from .particles import complete_log_prob, particle_posterior
from .posterior import Pair, Posterior
from .schedule import Schedule

MANY_VALUES = 2_000_000  # observed, from which one draw of the bound is enough: its sd is 0.0013 per value at 3 000 000
COLUMNS = ("loss", *TERMS, "gradient_norm", "learning_rate", "seconds")
PATIENCE = 5  # returns to a good state in a row, after which the fit fails
MEDIAN_OF = 50  # last steps, from which the usual norm of a gradient is taken
REMEMBER = 50  # steps between the good states that are kept in memory
REFINE_AT = (0.3, 0.5, 0.7)  # shares of the steps at which substeps="auto" checks whether they are fine enough
MOST_AUTO_SUBSTEPS = 50  # that "auto" chooses; where more are needed, the fit warns at its end


class Trainer:
    """One run of a fit: everything that a checkpoint holds, and the method `advance`."""

    def __init__(
        self, model: LatentLangevin, guide: AmortizedGuide, data: tuple[Tensor, Tensor], schedule: Schedule
    ) -> None:
        self.model, self.guide, self.schedule = model, guide, schedule
        self.times, self.x = check_rows(*data)
        self.subsample = schedule.batch_size if schedule.batch_size < len(self.x) else None
        self.observed = int(self.x.isfinite().sum())
        self.elbo = PathELBO()
        self.substeps = model.substeps  # at the end, unless the model chooses them itself
        self._take(schedule.substeps(0, self.substeps))
        self.history = torch.zeros(0, len(COLUMNS), dtype=torch.float64)
        self.slowdown, self.failures, self.elapsed = 1.0, 0, 0.0

    @property
    def step(self) -> int:
        """The number of steps done."""
        return len(self.history)

    @property
    def done(self) -> bool:
        """Whether the schedule is used up."""
        limit = self.schedule.minutes
        return self.step >= self.schedule.steps or (limit is not None and self.elapsed >= 60 * limit)

    def advance(self) -> None:
        """Take one gradient step. A step that is not finite is undone, and the learning rate is halved from then on."""
        started = time.perf_counter()
        if self.model.refines and self.step in [round(share * self.schedule.steps) for share in REFINE_AT]:
            self._refine()
        elif not self.model.refines and self.schedule.substeps(self.step, self.substeps) > self.model.substeps:
            self._take(self.substeps)
        self.elbo.path_weight = self.schedule.path_weight(self.step)
        rate = self.schedule.rate(self.step) * self.slowdown
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self.elbo.terms(self.model, self.guide, self.times, self.x, self.subsample)
        loss = -self.elbo.combine(terms) / self.observed
        self.optimizer.zero_grad()
        loss.backward()
        if self.schedule.refining(self.step):
            self._learn_from_particles()
        norm = nn.utils.clip_grad_norm_(self.parameters, self._largest_norm())
        if bool(loss.isfinite() & norm.isfinite()):
            self._remember_now_and_then()  # before the step, because this state is known to be good
            self.optimizer.step()
        else:
            self._go_back()
        self.elapsed += time.perf_counter() - started
        per_value = [terms[name] / self.observed for name in TERMS]
        row = [float(value) for value in torch.stack([loss, *per_value, norm]).detach()]
        self.history = torch.cat([self.history, torch.tensor([[*row, rate, self.elapsed]], dtype=torch.float64)])

    def _largest_norm(self) -> float:
        norms = self.history[-MEDIAN_OF:, COLUMNS.index("gradient_norm")]
        norms = norms[norms.isfinite()]
        return self.schedule.clip * float(norms.median()) if len(norms) else math.inf

    def _optimise(self) -> None:
        # Steps are skipped only where enough of them are left, because one step estimates the KL of many with noise.
        batch = self.x[: self.schedule.batch_size]
        self.elbo.path_stride = stride_for(batch, self.model.substeps, ENOUGH_STEPS)
        self.parameters = [*self.model.parameters(), *self.guide.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.schedule.learning_rate, betas=(0.9, 0.99))

    def _refine(self) -> None:
        """Take as many substeps as the present landscape needs."""
        with warnings.catch_warnings(), contextlib.suppress(FitError):
            warnings.simplefilter("ignore", DoubtfulFitWarning)
            needed = int(Posterior(self.model, self.guide, self.times, self.x).discretisation()["substeps_needed"])
            if needed > self.model.substeps:
                self._take(min(needed, max(MOST_AUTO_SUBSTEPS, self.model.substeps)))

    def _take(self, substeps: int) -> None:
        """Go on with so many substeps. The optimiser starts anew, because the guide then has other parameters."""
        self.guide.refine(substeps)
        self._optimise()
        self._remember()

    def settle(self) -> None:
        """Leave the model with the substeps that it was made with, even if the run was stopped early."""
        if not self.model.refines:
            self.guide.refine(self.substeps)

    def _learn_from_particles(self) -> None:
        """Replace the gradient of the model by that of E[log p(x, z)] over the particle posterior."""
        chosen = torch.randperm(len(self.x))[: self.schedule.batch_size]
        times, x = self.times[chosen], self.x[chosen]
        found = particle_posterior(self.model, self.guide, times, x, self.schedule.particles)
        score = complete_log_prob(self.model, times, x, found.latents, self.elbo.path_stride)
        for parameter in self.model.parameters():
            parameter.grad = None
        (-score * len(self.x) / len(chosen) / self.observed).backward()

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
                self._optimise()
            for part, name in ((self.model, "model"), (self.guide, "guide"), (self.optimizer, "optimizer")):
                part.load_state_dict(state[name])
        self.good, self.history = state["good"], state["history"]
        self.slowdown, self.failures, self.elapsed = state["progress"]
        torch.set_rng_state(state["generator"])


def train(
    model: LatentLangevin,
    guide: AmortizedGuide,
    data: tuple[Tensor, Tensor],
    schedule: Schedule,
    *,
    seed: int = 0,
    restarts: int = 1,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    every: int = 100,
    progress: bool = True,
    n_jobs: int | None = None,
) -> list[dict]:
    """Maximise the ELBO in place and return the record of every run. Model and guide end as in the best run.

    Parameters
    ----------
    data: checked times and x.
    schedule: of every run.
    seed, restarts, checkpoint, resume, every, progress, n_jobs: see `results.fit`, also for errors and Ctrl-C.
    """
    if restarts < 1:
        raise FitError(f"restarts must be at least 1: got {restarts}. Give the number of independent runs.")
    times, x = data
    path = None if checkpoint is None else Path(checkpoint)
    state = resumed(path, schedule) if resume and path is not None and path.exists() else None
    with one_thread(), _own_randomness(seed), _own_parameters():
        guide(times, x, 1)  # takes the units from all data; the autoguide finds its sites with one sequence
        if state is None:
            initial = _kept_of(model, guide)
            state = {"schedule": asdict(schedule), "initial": initial, "runs": [], "current": None}
            forget_parts(path)
        _load(model, guide, state["initial"])
        # A path that explodes shall give a loss that is not finite, which the trainer undoes, and not an error of Pyro.
        with pyro.validation_enabled(False):
            if restarts - len(state["runs"]) > 1 and workers(n_jobs) > 1:
                fixed = (model, guide), data, schedule, seed, torch.get_rng_state(), path, every
                _run_side_by_side(state, restarts, fixed, n_jobs, progress)
            going_on = True
            while len(state["runs"]) < restarts and going_on:
                run = len(state["runs"])
                name = f"run {run + 1} of {restarts}" if restarts > 1 else "fit"
                begun = begun_part(state, run, path, schedule)
                state["current"] = begun["current"]
                if begun["runs"]:  # finished side by side with others
                    state["runs"] += begun["runs"]
                else:
                    going_on = _run(state, run, model, guide, data, schedule, seed, path, every, progress and name)
    forget_parts(path)
    runs: list[dict] = state["runs"]
    _load(model, guide, runs[best_run(runs)])
    return runs


def best_run(runs: Sequence[dict]) -> int:
    """The number of the run with the highest ELBO among `Fit.runs`."""
    return int(np.nan_to_num([run["elbo"] for run in runs], nan=-np.inf, posinf=-np.inf).argmax())


def history_dataset(history: Tensor) -> xr.Dataset:
    """A history tensor `(step, column)` with its columns named."""
    columns = {name: ("step", column.numpy()) for name, column in zip(COLUMNS, history.unbind(-1), strict=True)}
    return xr.Dataset(columns, coords={"step": range(len(history))})


def _run(
    state: dict, run: int, model: LatentLangevin, guide: AmortizedGuide, data: tuple[Tensor, Tensor],
    schedule: Schedule, seed: int, path: Path | None, every: int, name: str | Literal[False],
) -> bool:  # fmt: skip
    """One run, from where `state` has it, or from fresh weights after the first. False where it was stopped by hand."""
    if run > 0:
        _start_anew(model, guide, state["initial"], seed + run)
    trainer = Trainer(model, guide, data, schedule)
    if state["current"] is not None:
        trainer.restore(state["current"])
    finished = _train(trainer, state, path, every, name)
    trainer.settle()
    finished = finished and _polish(trainer, path, bool(name))
    state["runs"].append(_finish(trainer))
    state["current"] = None
    save_checkpoint(state, path)
    return finished


def _run_side_by_side(state: dict, restarts: int, fixed: tuple, n_jobs: int | None, progress: bool) -> None:
    """The runs that are left, each with a checkpoint of its own beside that of the fit."""
    *_, schedule, _, _, path, _ = fixed
    save_checkpoint(state, path)  # the parts go on from its weights
    left = range(len(state["runs"]), restarts)
    calls = [(begun_part(state, run, path, schedule), run, *fixed) for run in left]
    found = side_by_side(_run_apart, calls, n_jobs)
    state["runs"] += tqdm(found, total=len(left), desc="runs", disable=not progress)
    state["current"] = None
    save_checkpoint(state, path)


def _run_apart(
    state: dict, run: int, pair: Pair, data: tuple[Tensor, Tensor], schedule: Schedule, seed: int, generator: Tensor,
    path: Path | None, every: int,
) -> dict:  # fmt: skip
    """The record of one run, made in copies of model and guide."""
    if not state["runs"]:
        model, guide = copy.deepcopy(pair)
        with _own_randomness(seed), _own_parameters(), pyro.validation_enabled(False):
            torch.set_rng_state(generator)
            _load(model, guide, state["initial"])
            _run(state, run, model, guide, data, schedule, seed, part_of(path, run), every, False)
    return state["runs"][0]


def _train(trainer: Trainer, state: dict, path: Path | None, every: int, name: str | Literal[False]) -> bool:
    """Take all steps of the schedule. False where it was stopped by hand and there is no checkpoint to go on from."""
    total = trainer.schedule.steps
    shown = {"desc": name or None, "disable": not name, "unit": "step", "mininterval": 1.0}
    with tqdm(total=total, initial=trainer.step, **shown) as bar:
        try:
            while not trainer.done:
                if trainer.step % every == 0:
                    state["current"] = trainer.state()
                    save_checkpoint(state, path)
                trainer.advance()
                bar.update()
                bar.set_postfix_str(f"ELBO {-trainer.history[-1, 0]:.4f} per value", refresh=False)
        except KeyboardInterrupt:
            if path is not None:
                raise
            warnings.warn(f"stopped by hand after {trainer.step} of {total} steps", stacklevel=3)
            return False
    return True


def _polish(trainer: Trainer, path: Path | None, progress: bool) -> bool:
    """Do the M-steps and the balance that the schedule asks for. False where it was stopped by hand, as in `_train`."""
    fitted = trainer.model, trainer.guide, trainer.times, trainer.x
    particles = max(trainer.schedule.particles, PARTICLES)
    try:
        for _ in range(trainer.schedule.polish):
            maximise(*fitted, particles=particles, progress=progress)
        if trainer.schedule.balance:
            with contextlib.suppress(FitError):  # no states, or they cannot be sampled; readers of the fit see that
                balance(Posterior(*fitted))
    except KeyboardInterrupt:
        if path is not None:
            raise
        warnings.warn("stopped by hand before the last M-step, or before depths were balanced", stacklevel=3)
        return False
    return True


def _finish(trainer: Trainer) -> dict:
    """The record of a finished run: parameters, history, and the ELBO of all data."""
    draws = 1 if trainer.observed >= MANY_VALUES else 3
    bound = evaluate(trainer.model, trainer.guide, trainer.times, trainer.x, draws)
    return _kept_of(trainer.model, trainer.guide) | {
        "history": trainer.history,
        "terms": {name: bound[name] for name in TERMS},
        "elbo": bound["total"],
        "observed": trainer.observed,
    }


def _start_anew(model: LatentLangevin, guide: AmortizedGuide, initial: dict, seed: int) -> None:
    """Go back to the first state, then draw new weights; inner modules first, because outer ones may rescale them."""
    torch.manual_seed(seed)
    _load(model, guide, initial)
    for module in (model, guide):
        for part in reversed(list(module.modules())):
            getattr(part, "reset_parameters", lambda: None)()


def _kept_of(model: LatentLangevin, guide: AmortizedGuide) -> dict:
    kept = {"substeps": model.substeps, "model": model.state_dict(), "guide": guide.state_dict()}
    return copy.deepcopy(kept)


def _load(model: LatentLangevin, guide: AmortizedGuide, kept: dict) -> None:
    with refusing_another_model():
        guide.refine(kept["substeps"])
        model.load_state_dict(kept["model"])
        guide.load_state_dict(kept["guide"])


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def _own_parameters() -> Iterator[None]:
    """A separate parameter store, because names in Pyro's global store may belong to a model that was fitted earlier.

    Afterwards the names used here are removed from the global store, so that the fitted modules register anew.
    """
    store = pyro.get_param_store()
    with store.scope() as own:
        yield
    for name in own["params"]:
        if name in store:
            del store[name]
