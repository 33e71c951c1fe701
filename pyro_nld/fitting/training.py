"""The training loop: SVI with annealing, clipping, a guard against NaN, restarts and checkpoints."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import pyro
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import DoubtfulFitWarning, FitError
from ..guide.amortized import AmortizedGuide
from ..model.latent_langevin import LatentLangevin
from ..nn import evaluating, redraw
from . import optimizers
from .checkpoints import (  # fmt: skip
    begun_part,
    forget_parts,
    kept_of,
    load_parameters,
    part_of,
    queued,
    resumed,
    save_checkpoint,
)
from .elbo import TERMS, evaluate
from .em import PARTICLES, maximise
from .exact import learn
from .isolation import own_parameters, own_randomness
from .jobs import one_thread, side_by_side, workers
from .posterior import Pair, Posterior
from .processes import Crew, Fabric
from .schedule import Schedule
from .settling import COLUMNS, best_run, say_rise
from .trainer import Trainer
from .transitions import balance, record

MANY_VALUES = 2_000_000  # observed, from which one draw of the bound is enough: its sd is 0.0013 per value at 3 000 000
Callback = Callable[[int, Mapping[str, float]], object]
"""Called after every step with its number and row of the history; True ends the run."""


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
    optimizer: optimizers.Factory | None = None,
    callbacks: Sequence[Callback] = (),
    n_jobs: int | None = None,
    device: str | torch.device | Fabric | None = None,
) -> list[dict]:
    """Maximise the ELBO in place and return the record of every run. Model and guide end as in the best run.

    Parameters
    ----------
    data: checked times and x.
    schedule: of every run.
    seed, restarts, checkpoint, resume, every, progress, optimizer, callbacks, n_jobs, device: see `results.fit`, also
        for errors and Ctrl-C.
    """
    if not isinstance(schedule, Schedule):
        raise FitError(
            f"schedule must be a Schedule: got {type(schedule).__name__}. Give for example nld.Schedule(steps=1000)."
        )
    times, x = data
    crew = Crew(device)
    path = None if checkpoint is None or not crew.first else Path(checkpoint)
    state = crew.told(resumed(path, schedule) if resume and path is not None and path.exists() else None)
    progress = progress and crew.first
    model.train()
    guide.train()
    with one_thread(), own_randomness(seed), own_parameters():
        if state is None:
            guide.take_units(times, x)
        guide(times, x, 1)  # the autoguide finds its sites with one sequence
        if state is None:
            initial = kept_of(model, guide)
            state = {"schedule": asdict(schedule), "initial": initial, "runs": [], "current": None}
            forget_parts(path)
        load_parameters(model, guide, state["initial"])
        fixed = data, schedule, seed, every, optimizer, callbacks, crew
        # A path that explodes shall give a loss that is not finite, which the trainer undoes, and not an error of Pyro.
        with pyro.validation_enabled(False):
            if restarts - len(state["runs"]) > 1 and crew.size == 1 and workers(n_jobs) > 1:
                _run_side_by_side((model, guide), state, restarts, path, progress, n_jobs, fixed)
            going_on = True
            while len(state["runs"]) < restarts and going_on:
                run = len(state["runs"])
                name = f"run {run + 1} of {restarts}" if restarts > 1 else "fit"
                begun = crew.told(begun_part(state, run, path, schedule))
                state |= {"current": begun["current"], "waiting": queued(state)[1:]}
                if begun["runs"]:  # finished side by side with others
                    state |= {"runs": state["runs"] + begun["runs"], "current": None}
                else:
                    going_on = _run((model, guide), state, run, path, progress and name, fixed)
    forget_parts(path)
    runs: list[dict] = state["runs"]
    load_parameters(model, guide, runs[best_run(runs)])
    return runs


def _run(pair: Pair, state: dict, run: int, path: Path | None, name: str | Literal[False], fixed: tuple) -> bool:
    """One run, from where `state` has it, or from fresh weights after the first. False where it was stopped by hand."""
    data, schedule, seed, every, optimizer, callbacks, crew = fixed
    if run > 0:
        _start_anew(*pair, state["initial"], seed + run)
    trainer = Trainer(*pair, data, schedule, optimizer, crew)
    if state["current"] is not None:
        trainer.restore(state["current"])
    try:
        finished = _train(trainer, state, path, every, name, callbacks)
    finally:
        trainer.come_home()
    cut_short = None if trainer.stopped or trainer.step >= schedule.steps else trainer.state()
    trainer.settle()
    made: dict[str, object] = {"exact": [], "balance": {}}
    finished = finished and _polish(trainer, path, bool(name), made)
    state["runs"].append(_finish(trainer) | made | {"cut_short": cut_short})
    state["current"] = None
    save_checkpoint(state, path)
    return finished


def _run_side_by_side(
    pair: Pair, state: dict, restarts: int, path: Path | None, progress: bool, n_jobs: int | None, fixed: tuple
) -> None:
    """The runs that are left, each with a checkpoint of its own beside that of the fit."""
    save_checkpoint(state, path)  # the parts go on from its weights
    left = range(len(state["runs"]), restarts)
    begun = [begun_part(state, run, path, fixed[1]) for run in left]
    calls = [(pair, own, run, path, torch.get_rng_state(), fixed) for own, run in zip(begun, left, strict=True)]
    state["runs"] += tqdm(side_by_side(_run_apart, calls, n_jobs), total=len(left), desc="runs", disable=not progress)
    state |= {"current": None, "waiting": []}
    save_checkpoint(state, path)


def _run_apart(pair: Pair, state: dict, run: int, path: Path | None, generator: Tensor, fixed: tuple) -> dict:
    """The record of one run, made in copies of model and guide."""
    if not state["runs"]:
        pair = copy.deepcopy(pair)
        with own_randomness(0), own_parameters(), pyro.validation_enabled(False):
            torch.set_rng_state(generator)
            load_parameters(*pair, state["initial"])
            _run(pair, state, run, part_of(path, run), False, fixed)
    return state["runs"][0]


def _train(
    trainer: Trainer,
    state: dict,
    path: Path | None,
    every: int,
    name: str | Literal[False],
    callbacks: Sequence[Callback],
) -> bool:
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
                row = dict(zip(COLUMNS, trainer.history[-1].tolist(), strict=True))
                told = trainer.crew.first and sum(callback(trainer.step, row) is True for callback in callbacks) > 0
                trainer.stopped = bool(trainer.crew.agreed([float(told)])[0])
                bar.total = trainer.schedule.length(trainer.step, trainer.position(trainer.step))
                bar.update()
                bar.set_postfix_str(f"ELBO {-trainer.history[-1, 0]:.4f} per value", refresh=False)
        except KeyboardInterrupt:
            if path is not None:
                raise
            warnings.warn(f"stopped by hand after {trainer.step} of {total} steps", stacklevel=3)
            return False
    if trainer.step < total and not trainer.stopped:
        warnings.warn(
            f"{trainer.schedule.minutes:g} minutes were enough for {trainer.step} of {total} steps, over which the "
            "schedule was spread. Resume with more minutes, or without a limit, to take the others.",
            DoubtfulFitWarning,
            stacklevel=3,
        )
    if trainer.schedule.settle:
        say_rise(trainer.history)
    return True


def _polish(trainer: Trainer, path: Path | None, progress: bool, made: dict[str, object]) -> bool:
    """Do the M-steps, exact rounds and balance that the schedule asks for, and keep in `made` what they say.

    False where it was stopped by hand, as in `_train`.
    """
    fitted = trainer.model, trainer.guide, trainer.times, trainer.x
    known = None  # what the data tell of w
    particles = max(trainer.schedule.particles, PARTICLES)
    try:
        for _ in range(trainer.schedule.polish):
            maximise(*fitted, particles=particles, progress=progress)
        if trainer.schedule.exact:
            try:
                made["exact"], known = learn(*fitted, rounds=trainer.schedule.exact, progress=progress)
                if trainer.refine(growth=1.0):  # what has learned exactly may be more curved
                    made["exact"], known = learn(*fitted, rounds=trainer.schedule.exact, progress=progress)
            except FitError as error:
                said = "no exact rounds with finer steps" if made["exact"] else "no exact rounds"
                warnings.warn(f"{said}: {error}", DoubtfulFitWarning, stacklevel=4)
        if trainer.schedule.balance:
            # FitError: no states, or they cannot be sampled; readers of the fit see that
            with evaluating(*fitted[:2]), contextlib.suppress(FitError):
                exact = bool(made["exact"])
                told = record(balance(Posterior(*fitted), exact=exact, known=known))
                made["balance"] = told and told | {"exact": float(exact)}
    except KeyboardInterrupt:
        if path is not None:
            raise
        warnings.warn("stopped by hand before the last M-step, or before rates were balanced", stacklevel=3)
        return False
    return True


def _finish(trainer: Trainer) -> dict:
    """The record of a finished run: parameters, history, and the ELBO of all data."""
    draws = 1 if trainer.observed >= MANY_VALUES else 3
    with evaluating(trainer.model, trainer.guide):
        bound = evaluate(trainer.model, trainer.guide, trainer.times, trainer.x, draws)
    return kept_of(trainer.model, trainer.guide) | {
        "history": trainer.history,
        "terms": {name: bound[name] for name in TERMS},
        "elbo": bound["total"],
        "observed": trainer.observed,
    }


def _start_anew(model: LatentLangevin, guide: AmortizedGuide, initial: dict, seed: int) -> None:
    """Go back to the first state, then draw new weights."""
    torch.manual_seed(seed)
    load_parameters(model, guide, initial)
    redraw(model, guide)
