"""Fitting: resumes to the bit, survives NaN and Ctrl-C, minds its own business, and does not depend on units."""

import functools
import itertools
import math
import re
import warnings
from dataclasses import asdict

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer.autoguide import AutoIAFNormal, AutoLaplaceApproximation, AutoNormal
from torch import nn

import pyro_nld as nld
from pyro_nld.fitting import settling, training
from pyro_nld.fitting.checkpoints import load_checkpoint, save_checkpoint
from pyro_nld.fitting.settling import COLUMNS, Rise
from pyro_nld.fitting.trainer import Trainer

CHANNELS = 3
SCHEDULE = nld.Schedule(steps=12, batch_size=4, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def _no_landscape(monkeypatch):
    """The check after a fit looks for wells, which is another module's business and takes its time."""
    monkeypatch.setattr(nld.Fit, "discretisation", lambda fit: None)


def data(sequences=10, times=6):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(sequences, times, CHANNELS, generator=draw)
    x[2, 3, 1] = math.nan
    return 0.5 * torch.arange(float(times)), x.to(torch.get_default_dtype())


def build(seed=0, control=None, channels=CHANNELS, **given):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dynamics = nld.OverdampedLangevin(
            nld.NeuralPotential(2, hidden=(6,)), **{"temperature": dist.LogNormal(0.0, 0.2)} | given
        )
        model = nld.LatentLangevin(dynamics, nld.Gaussian(nld.MLPDecoder(2, channels, hidden=(6,))), substeps=2)
        return model, nld.AmortizedGuide(model, nld.GRUEncoder(channels, size=6, hidden=6), control)


def fit(pair, given=None, schedule=SCHEDULE, **options):
    return nld.fit(*pair, given or data(), schedule, progress=False, **options)


def weights(fitted):
    return [*fitted.model.state_dict().items(), *fitted.guide.state_dict().items()]


def same(first, second):
    """To the bit: weights and history, but for the seconds it took."""
    for (name, one), (other_name, other) in zip(weights(first), weights(second), strict=True):
        assert name == other_name
        assert torch.equal(one, other), name
    for column in set(COLUMNS) - {"seconds"}:
        assert np.array_equal(first.history[column], second.history[column], equal_nan=True), column
    assert [run["elbo"] for run in first.runs] == [run["elbo"] for run in second.runs]


def interrupt_at(monkeypatch, step):
    """Ctrl-C in the middle of the step of that number, counted over all runs."""
    interrupt_at_each(monkeypatch, {step})


def interrupt_at_each(monkeypatch, steps):
    """Ctrl-C in the middle of every one of these steps, counted over all runs."""
    counter, advance = itertools.count(), Trainer.advance

    def interrupted(trainer):
        if next(counter) in steps:
            raise KeyboardInterrupt
        advance(trainer)

    monkeypatch.setattr(Trainer, "advance", interrupted)


# ---------------------------------------------------------------- the loop


def test_a_fit_lowers_the_loss_and_says_what_it_did():
    fitted = fit(build(), schedule=nld.Schedule(steps=60, batch_size=4, learning_rate=3e-2, anneal=0.0))
    history = fitted.history
    assert set(history.data_vars) == set(COLUMNS)
    assert history.sizes["step"] == 60
    assert float(history["loss"][-10:].mean()) < float(history["loss"][:10].mean())
    terms = history["log_likelihood"] - history["path_kl"] - history["initial_kl"] - history["global_kl"]
    np.testing.assert_allclose(history["loss"], -terms, rtol=1e-4, atol=1e-5)
    assert bool((history["seconds"].diff("step") > 0).all())


def test_the_bound_of_a_run_is_that_of_all_data_unweighted():
    fitted = fit(build())
    (run,) = fitted.runs
    terms = run["terms"]
    assert run["elbo"] == pytest.approx(
        terms["log_likelihood"] - terms["path_kl"] - terms["initial_kl"] - terms["global_kl"], rel=1e-5
    )
    assert run["observed"] == int(data()[1].isfinite().sum())


@pytest.mark.parametrize(("many", "draws"), [(10**9, 3), (1, 1)])
def test_one_draw_of_the_bound_is_enough_of_many_values(many, draws, monkeypatch):
    asked, evaluate = [], training.evaluate
    monkeypatch.setattr(training, "MANY_VALUES", many)
    monkeypatch.setattr(training, "evaluate", lambda *args: asked.append(args[-1]) or evaluate(*args))
    assert math.isfinite(fit(build()).runs[0]["elbo"])
    assert asked == [draws]


def test_the_schedule():
    schedule = nld.Schedule(steps=100, learning_rate=1.0, warmup=0.1, anneal=0.5, anneal_from=0.2)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == rates[9]
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3
    assert [schedule.path_weight(step) for step in (0, 25, 50, 99)] == pytest.approx([0.2, 0.6, 1.0, 1.0])


def test_the_schedule_is_followed():
    schedule = nld.Schedule(steps=12, warmup=0.5, anneal=0.5, clip=1e-9)
    history = fit(build(), schedule=schedule).history
    np.testing.assert_allclose(history["learning_rate"], [schedule.rate(step) for step in range(12)])
    weighted = [schedule.path_weight(step) for step in range(12)] * (history["path_kl"] + history["initial_kl"])
    np.testing.assert_allclose(
        history["loss"], weighted + history["global_kl"] - history["log_likelihood"], rtol=1e-4, atol=1e-5
    )


def test_rounds_are_added_while_the_bound_rises(monkeypatch):
    """Each takes the second half of the steps again; what rises at the end is said."""
    longer = nld.Schedule(steps=12, batch_size=4, settle=2)
    monkeypatch.setattr(settling, "late_rise", lambda history: Rise(1.0, 0.1, 1.0))
    with pytest.warns(nld.DoubtfulFitWarning, match="the bound has not settled"):
        fitted = fit(build(), schedule=longer)
    assert [float(rate) for rate in fitted.history["learning_rate"]] == pytest.approx(
        [longer.rate(step) for step in [*range(12), *range(6, 12), *range(6, 12)]]
    )
    monkeypatch.setattr(
        settling, "late_rise", lambda history: Rise(1.0, 0.1, 1.0 if history.sizes["step"] < 18 else 1e9)
    )
    assert fit(build(), schedule=longer).history.sizes["step"] == 18
    assert fit(build()).history.sizes["step"] == 12  # unless asked for, neither


def test_a_fit_in_a_later_round_resumes_to_the_bit(monkeypatch, tmp_path):
    longer = nld.Schedule(steps=12, batch_size=4, settle=1)
    monkeypatch.setattr(settling, "late_rise", lambda history: Rise(1.0, 0.1, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nld.DoubtfulFitWarning)
        whole = fit(build(), schedule=longer)
        with monkeypatch.context() as patch:
            interrupt_at(patch, 15)
            with pytest.raises(KeyboardInterrupt):
                fit(build(), schedule=longer, checkpoint=tmp_path / "fit.pt", every=5)
        same(fit(build(seed=3), schedule=longer, checkpoint=tmp_path / "fit.pt", resume=True, every=5), whole)


def test_a_checkpoint_of_an_older_schedule_goes_on(tmp_path):
    """One that knew nothing of rounds."""
    whole = fit(build(), checkpoint=tmp_path / "fit.pt")
    state = load_checkpoint(tmp_path / "fit.pt")
    del state["schedule"]["settle"]
    save_checkpoint(state, tmp_path / "fit.pt")
    same(fit(build(seed=3), checkpoint=tmp_path / "fit.pt", resume=True), whole)


def test_clipping_bounds_the_gradient_by_what_is_usual_and_reports_its_norm():
    trainer = Trainer(*prepared(), nld.Schedule(steps=5, clip=1e-3))
    norms = []
    for _ in range(4):
        trainer.advance()
        norms.append(float(torch.stack([p.grad.norm() for p in trainer.parameters if p.grad is not None]).norm()))
    reported = trainer.history[:, COLUMNS.index("gradient_norm")]
    assert norms[0] == pytest.approx(float(reported[0]), rel=1e-2)  # nothing is usual yet
    for step in (1, 2, 3):
        assert norms[step] == pytest.approx(1e-3 * float(reported[:step].median()), rel=1e-2)


def test_small_data_are_fitted_with_every_step_of_their_paths():
    """What one random step says of many is noisy: clipped, it taught guides to do without the prior."""
    assert Trainer(*prepared(), SCHEDULE).elbo.path_stride == 1
    model, guide = build()
    long = (torch.arange(3000.0), torch.randn(8, 3000, CHANNELS))
    guide(*long, 1)
    assert Trainer(model, guide, long, SCHEDULE).elbo.path_stride == model.substeps


def prepared(seed=0, **given):
    model, guide = build(seed, **given)
    guide(*data())
    return model, guide, data()


def test_minutes_end_a_fit_early():
    with pytest.warns(nld.DoubtfulFitWarning, match="minutes were enough for"):
        fitted = fit(build(), schedule=nld.Schedule(steps=10_000, minutes=0.5 / 60))
    assert 1 <= fitted.history.sizes["step"] < 10_000


def test_a_schedule_is_spread_over_the_minutes_there_are():
    """400 of 1000 steps: the same rates, weights and substeps as a schedule of 400 steps, to a step."""
    short, timed = nld.Schedule(steps=400), nld.Schedule(steps=1000, minutes=400 / 60)
    for step in range(400):
        place = timed.position(step, seconds=float(step))
        assert place == pytest.approx(2.5 * step)
        assert timed.rate(place) == pytest.approx(short.rate(step), abs=0.01 / 8)  # a step of warm-up
        assert timed.path_weight(place) == pytest.approx(short.path_weight(step))
        assert timed.substeps(place, 40) == short.substeps(step, 40)
    assert [timed.position(step, 0.1) for step in (0, 300)] == [0.25, 300]
    assert not timed.time_left(400.0)
    assert nld.Schedule(steps=1000).position(7, 1e9) == 7


def test_a_fit_cut_short_goes_on_with_more_minutes(monkeypatch, tmp_path):
    def lasting(trainer):
        advance(trainer)
        trainer.elapsed = 60.0 * trainer.step  # a minute each
        trainer.history[-1, COLUMNS.index("seconds")] = trainer.elapsed

    advance, path, sayings = Trainer.advance, tmp_path / "checkpoint.pt", []
    monkeypatch.setattr(Trainer, "advance", lasting)
    limited = {minutes: nld.Schedule(steps=12, batch_size=4, minutes=minutes) for minutes in (4.0, 9.0, None)}
    for minutes, steps in ((4.0, 4), (4.0, 4), (9.0, 9), (None, 12), (None, 12)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            fitted = fit(build(), schedule=limited[minutes], checkpoint=path, resume=True, restarts=2)
        assert [len(run["history"]) for run in fitted.runs] == [steps, steps]
        rates = fitted.history["learning_rate"]
        said = [str(one.message) for one in told if "minutes were enough" in str(one.message)]
        sayings.append(said)
    first, again, more, *whole = sayings
    assert first == 2 * [first[0]]
    assert first[0].startswith("4 minutes were enough for 4 of 12 steps, over which the schedule was spread.")
    assert more[0].startswith("9 minutes were enough for 9 of 12 steps")
    assert again == whole[0] == whole[1] == []
    assert rates[-1] < 0.1 * rates.max()


@pytest.mark.parametrize(
    ("optimizer", "kind", "rate"),
    [
        (None, torch.optim.Adam, 0.01),
        (torch.optim.AdamW, torch.optim.AdamW, 0.01),
        (functools.partial(torch.optim.SGD, lr=0.5, momentum=0.9), torch.optim.SGD, 0.5),
        (lambda parameters: torch.optim.RMSprop(parameters, lr=0.2), torch.optim.RMSprop, 0.2),
        (pyro.optim.ClippedAdam({"lr": 0.003}), pyro.optim.clipped_adam.ClippedAdam, 0.003),
        (pyro.optim.Adam({"betas": (0.8, 0.9)}), torch.optim.Adam, 0.01),
    ],
)
def test_an_optimiser_is_used_as_it_is_given(optimizer, kind, rate):
    model, guide, series = prepared()
    trainer = Trainer(model, guide, series, SCHEDULE, optimizer)
    assert type(trainer.optimizer) is kind
    trainer.advance()
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(SCHEDULE.rate(0) * rate / 0.01)
    assert trainer.history[0, COLUMNS.index("learning_rate")] == trainer.optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize(("steps", "share"), [(12, 1.0), (400, 0.5), (800, 0.25), (1600, 0.25)])
def test_an_encoder_learns_more_slowly_than_the_rest(steps, share):
    """Its weights are taken at every observation: their changes add up. An optimiser that is given has its way."""
    model, guide, series = prepared()
    schedule = nld.Schedule(steps=steps, warmup=0.0)
    trainer = Trainer(model, guide, series, schedule)
    trainer.advance()
    rest, slower = trainer.optimizer.param_groups
    assert (rest["lr"], slower["lr"]) == pytest.approx((0.01, 0.01 * share))
    encoder = {id(parameter) for parameter in guide.encoder.parameters()}
    assert {id(parameter) for parameter in slower["params"]} == encoder
    assert {id(parameter) for parameter in rest["params"]} == {id(one) for one in trainer.parameters} - encoder
    given = Trainer(*prepared(), schedule, torch.optim.SGD).optimizer
    assert [group["lr"] for group in given.param_groups] == [0.01]


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("adam", "got str. Give the class or a function of the parameters."),
        (torch.optim.Adam([torch.zeros(1, requires_grad=True)]), "got Adam. Give the class"),
        (lambda parameters: None, "it made NoneType. Let it return the optimiser."),
        (torch.optim.LBFGS, "LBFGS evaluates the loss several times a step"),
        (pyro.optim.Adam(lambda name: {"lr": 0.1}), "got one with arguments by parameter, or a scheduler."),
        (
            pyro.optim.ExponentialLR({"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.1}, "gamma": 0.9}),
            "scheduler",
        ),
    ],
)
def test_what_is_no_optimiser_is_refused(optimizer, message):
    with pytest.raises(nld.FitError, match=re.escape(message)):
        fit(build(), optimizer=optimizer)


def test_callbacks_see_every_step_and_end_a_run():
    rows = []
    fitted = fit(build(), callbacks=[lambda step, row: rows.append((step, row)), lambda step, row: step == 5])
    assert [step for step, _ in rows] == [1, 2, 3, 4, 5]
    assert fitted.history.sizes["step"] == 5
    assert [row["loss"] for _, row in rows] == fitted.history["loss"].values.tolist()
    assert set(rows[0][1]) == set(COLUMNS)


def test_a_callback_that_returns_something_ends_nothing():
    assert fit(build(), callbacks=[lambda step, row: row]).history.sizes["step"] == SCHEDULE.steps


def test_an_exception_of_a_callback_is_its_own():
    def prune(step, row):
        raise LookupError("pruned")

    with pytest.raises(LookupError, match="pruned"):
        fit(build(), callbacks=[prune])


def test_a_fit_in_double_precision():
    fitted = fit(build(), dtype=torch.float64)
    assert {value.dtype for value in fitted.model.parameters()} == {torch.float64}
    assert fitted.x.dtype == fitted.positions().dtype == torch.float64


def test_every_parameter_moves():
    model, guide = build()
    before = {name: value.clone() for name, value in [*model.named_parameters(), *guide.named_parameters()]}
    fit((model, guide))
    for name, value in [*model.named_parameters(), *guide.named_parameters()]:
        # The energy's zero is felt by no force; the autoguide's parameters are born in the fit.
        assert name == "dynamics.potential.output.bias" or name not in before or not torch.equal(value, before[name])


# ---------------------------------------------------------------- reproducible, and nobody else's business


def test_the_same_seed_gives_the_same_fit_and_another_seed_another():
    same(fit(build(), seed=3), fit(build(), seed=3))
    with pytest.raises(AssertionError):
        same(fit(build(), seed=3), fit(build(), seed=4))


def test_the_callers_random_numbers_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit(build())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_the_callers_parameters_are_left_alone():
    mine = pyro.param("mine", torch.tensor(2.0))
    fit(build())
    assert list(pyro.get_param_store().keys()) == ["mine"]
    assert pyro.param("mine") is mine


def test_the_callers_validation_is_left_alone():
    for enabled in (True, False):
        with pyro.validation_enabled(enabled):
            fit(build())
            assert pyro.distributions.Normal(0.0, 1.0)._validate_args is enabled


def test_names_of_an_earlier_model_do_not_reach_into_a_fit():
    """Two models with the same site names, the first one trained by plain SVI: its values lie in Pyro's store."""
    alone = fit(build(1))
    first = build(0)
    svi = pyro.infer.SVI(*first, pyro.optim.Adam({"lr": 0.1}), nld.PathELBO())
    for _ in range(3):
        svi.step(*data())
    assert "noise_scale" in pyro.get_param_store()
    kept = {name: value.clone() for name, value in first[0].state_dict().items()}
    second = fit(build(1))
    same(alone, second)
    pyro.infer.Predictive(second.model, guide=second.guide, num_samples=1)(*data())
    same(alone, second)
    for name, value in first[0].state_dict().items():
        assert torch.equal(value, kept[name]), name


def test_two_fits_in_turn_are_two_fits_alone():
    alone = [fit(build(seed)) for seed in (0, 1)]
    pairs = [build(seed) for seed in (0, 1)]
    together = [fit(pair) for pair in pairs]
    for one, other in zip(alone, together, strict=True):
        same(one, other)


def test_a_fit_goes_on_from_where_a_model_stands():
    pair = build()
    first = fit(pair)
    last = float(first.history["loss"][-1])
    before = pair[0].likelihood.decoder.loc.clone()
    again = fit(pair)
    assert float(again.history["loss"][0]) < float(first.history["loss"][0])
    assert math.isfinite(last)
    assert torch.equal(pair[0].likelihood.decoder.loc, before)


# ---------------------------------------------------------------- restarts


def test_restarts_are_independent_and_the_best_is_kept():
    model, guide = build()
    fitted = fit((model, guide), restarts=3)
    assert len(fitted.runs) == 3
    best = max(fitted.runs, key=lambda run: run["elbo"])
    assert len({run["elbo"] for run in fitted.runs}) == 3
    for name, value in model.state_dict().items():
        assert torch.equal(value, best["model"][name])
    np.testing.assert_array_equal(fitted.history["loss"], best["history"][:, 0])


def test_the_first_of_several_runs_is_the_only_run():
    assert fit(build(), restarts=2).runs[0]["elbo"] == fit(build()).runs[0]["elbo"]


def test_a_restart_draws_fresh_weights_and_keeps_units_and_physics():
    model, guide = build(control=nld.NeuralControl(hidden=16), friction=nn.Parameter(torch.tensor(1.7)))
    guide(*data())
    initial = training.kept_of(model, guide)
    training._start_anew(model, guide, initial, seed=5)
    assert not torch.equal(model.dynamics.potential.output.weight, initial["model"]["dynamics.potential.output.weight"])
    assert not torch.equal(guide.encoder.output.weight, initial["guide"]["encoder.output.weight"])
    assert model.dynamics.friction.item() == pytest.approx(1.7)
    assert float(model.time_unit) == 5.0
    assert torch.equal(guide.encoder.scale, initial["guide"]["encoder.scale"])
    assert guide.control.inner.weight.abs().max().item() <= 0.2 / 16**0.5
    again = [{name: value.clone() for name, value in part.state_dict().items()} for part in (model, guide)]
    training._start_anew(model, guide, initial, seed=5)
    for part, state in zip((model, guide), again, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in part.state_dict().items())


def test_a_run_without_a_finite_bound_is_never_the_best(monkeypatch):
    finish, counter = training._finish, itertools.count()
    monkeypatch.setattr(
        training,
        "_finish",
        lambda trainer: finish(trainer) | ({"elbo": math.nan} if next(counter) == 0 else {}),
    )
    model, guide = build()
    fitted = fit((model, guide), restarts=2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, fitted.runs[1]["model"][name])


def test_there_must_be_a_run():
    with pytest.raises(nld.FitError) as caught:
        fit(build(), restarts=0)
    assert str(caught.value) == "restarts must be a whole number of at least 1: got 0. Give such a number."


# ---------------------------------------------------------------- side by side


def one_after_the_other(task, calls, n_jobs):
    """Two processes at once, as far as results go: one that is killed leaves the others alone."""
    found, killed = [], []
    for call in calls:
        try:
            found.append(task(*call))
        except KeyboardInterrupt as error:
            killed.append(error)
    if killed:
        raise killed[0]
    return found


@pytest.fixture
def two_at_once(monkeypatch):
    monkeypatch.setattr(training, "workers", lambda n_jobs: n_jobs or 1)
    monkeypatch.setattr(training, "side_by_side", one_after_the_other)


THREE = {"restarts": 3, "seed": 7, "every": 4}


@pytest.fixture(scope="module")
def three_runs():
    return fit(build(0), **THREE)


@pytest.mark.usefixtures("two_at_once")
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    ("steps", "finished"),
    [({0, 1, 2}, 0), ({5}, 2), ({5, 6}, 1), ({12}, 2), ({17, 29}, 1)],
    ids=["all at once", "the first", "two", "the second before its first step", "the last two"],
)
def test_restarts_that_were_killed_side_by_side_go_on_to_the_bit(
    monkeypatch, tmp_path, three_runs, steps, finished, n_jobs
):
    path = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch:
        interrupt_at_each(patch, steps)
        with pytest.raises(KeyboardInterrupt):
            fit(build(0), checkpoint=path, n_jobs=2, **THREE)
    parts = [load_checkpoint(part) for part in sorted(tmp_path.glob("checkpoint.run*.pt"))]
    assert sum(len(part["runs"]) for part in parts) == finished
    torch.manual_seed(99)  # whatever the caller's numbers and the new model's weights are
    same(three_runs, fit(build(13), checkpoint=path, resume=True, n_jobs=n_jobs, **THREE))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.usefixtures("two_at_once")
def test_runs_begun_one_after_the_other_go_on_side_by_side(monkeypatch, tmp_path, three_runs):
    path = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            fit(build(0), checkpoint=path, **THREE)
    same(three_runs, fit(build(13), checkpoint=path, resume=True, n_jobs=2, **THREE))


@pytest.mark.usefixtures("two_at_once")
def test_parts_of_another_fit_are_forgotten(monkeypatch, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch:
        interrupt_at_each(patch, {5})
        with pytest.raises(KeyboardInterrupt):
            fit(build(0), checkpoint=path, restarts=2, n_jobs=2)
    same(fit(build(1), checkpoint=path, restarts=2, n_jobs=2), fit(build(1), restarts=2))


# ---------------------------------------------------------------- interruption


@pytest.mark.parametrize(
    ("restarts", "step"),
    [(1, 0), (1, 5), (1, 11), (2, 5), (2, 12), (2, 17), (2, 23)],
    ids=lambda value: str(value),
)
def test_a_resumed_fit_equals_an_uninterrupted_one_to_the_bit(monkeypatch, tmp_path, restarts, step):
    options = {"restarts": restarts, "seed": 7, "every": 4}
    whole = fit(build(0), **options)
    path = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            fit(build(0), checkpoint=path, **options)
    state = load_checkpoint(path)
    assert len(state["runs"]) == step // 12
    assert len(state["current"]["history"]) == step % 12 // 4 * 4
    torch.manual_seed(99)  # whatever the caller's numbers and the new model's weights are
    resumed = fit(build(13), checkpoint=path, resume=True, **options)
    same(whole, resumed)


def test_resuming_twice_and_after_the_end_changes_nothing(monkeypatch, tmp_path):
    whole, path = fit(build(0)), tmp_path / "checkpoint.pt"
    for step in (3, 2):
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                fit(build(0), checkpoint=path, resume=True, every=1)
    for _ in range(2):
        same(whole, fit(build(5), checkpoint=path, resume=True, every=1))


def test_a_finished_run_is_kept_at_once(monkeypatch, tmp_path):
    path = tmp_path / "checkpoint.pt"
    monkeypatch.setattr(training, "_start_anew", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fit(build(0), checkpoint=path, restarts=2)
    state = load_checkpoint(path)
    assert len(state["runs"]) == 1
    assert state["current"] is None


def test_without_resume_a_checkpoint_is_overwritten(tmp_path):
    path = tmp_path / "checkpoint.pt"
    fit(build(0), checkpoint=path)
    same(fit(build(1), checkpoint=path), fit(build(1)))


def test_more_restarts_go_on_from_fewer(tmp_path):
    path = tmp_path / "checkpoint.pt"
    fit(build(0), checkpoint=path, restarts=1)
    same(fit(build(5), checkpoint=path, restarts=2, resume=True), fit(build(0), restarts=2))


@pytest.mark.parametrize("restarts", [1, 3])
def test_ctrl_c_without_a_checkpoint_ends_the_fit_early(monkeypatch, restarts):
    interrupt_at(monkeypatch, 5)
    with pytest.warns(UserWarning, match="stopped by hand after 5 of 12 steps"):
        fitted = fit(build(), restarts=restarts)
    assert fitted.history.sizes["step"] == 5
    assert len(fitted.runs) == 1
    assert math.isfinite(fitted.runs[0]["elbo"])


def test_an_interrupted_fit_leaves_random_numbers_and_parameters_alone(monkeypatch, tmp_path):
    interrupt_at(monkeypatch, 5)
    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        fit(build(), checkpoint=tmp_path / "checkpoint.pt")
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(pyro.get_param_store().keys())


# ---------------------------------------------------------------- checkpoints of something else


def kept(tmp_path, **options):
    path = tmp_path / "checkpoint.pt"
    fit(build(0), checkpoint=path, **options)
    return path


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path):
    path = kept(tmp_path)
    other = nld.Schedule(steps=13, batch_size=4, learning_rate=1e-2)
    with pytest.raises(nld.CheckpointError) as caught:
        fit(build(0), checkpoint=path, resume=True, schedule=other)
    assert str(caught.value) == (
        f"the checkpoint was made with another schedule: expected {asdict(other)}, got {asdict(SCHEDULE)}. "
        "Resume with the same settings, or start in a new place. Only the minutes may change."
    )


@pytest.mark.parametrize("restarts", [1, 2], ids=["finished", "to go on"])
def test_a_checkpoint_of_another_model_is_refused(tmp_path, restarts):
    path = kept(tmp_path)
    other = build(0, control=nld.AffineControl(hidden=7))
    with pytest.raises(nld.CheckpointError, match=r"^the checkpoint belongs to another model: .*Build the model it "):
        fit(other, checkpoint=path, resume=True, restarts=restarts)


def test_a_checkpoint_of_another_model_is_refused_in_mid_run_too(monkeypatch, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            fit(build(0), checkpoint=path)
    with pytest.raises(nld.CheckpointError, match=r"^the checkpoint belongs to another model: "):
        fit(build(0, temperature=1.0), checkpoint=path, resume=True)


def test_a_run_that_lacks_something_is_refused(tmp_path):
    path = kept(tmp_path)
    state = load_checkpoint(path)
    state["runs"], state["current"] = [], {name: state["runs"][0][name] for name in ("substeps", "model")}
    save_checkpoint(state, path)
    with pytest.raises(nld.CheckpointError, match=r"^the checkpoint belongs to another model: 'guide'"):
        fit(build(0), checkpoint=path, resume=True)


# ---------------------------------------------------------------- losses that are not finite


def poisoned(parameter, poison):
    """Let `poison(call)` decide at which gradients of `parameter` a NaN appears."""
    counter = itertools.count()
    parameter.register_hook(lambda grad: grad * math.nan if poison(next(counter)) else grad)


def test_one_nan_is_undone_and_halves_the_rate():
    model, guide = build()
    poisoned(model.initial_loc, lambda call: call == 4)
    history = fit((model, guide)).history
    rates = [SCHEDULE.rate(step) for step in range(12)]
    np.testing.assert_allclose(history["learning_rate"], [*rates[:5], *(0.5 * rate for rate in rates[5:])])
    assert np.isnan(history["gradient_norm"]).to_numpy().nonzero()[0].tolist() == [4]
    assert np.isfinite(history["loss"]).all()
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


def test_going_back_restores_weights_and_moments():
    trainer = Trainer(*prepared(), nld.Schedule(steps=20))
    trainer.advance()
    good = trainer.good
    expected = [{name: value.clone() for name, value in part.items()} for part in good[:2]]
    for _ in range(3):
        trainer.advance()
    poisoned(trainer.model.initial_loc, lambda call: call == 0)
    trainer.advance()
    for part, state in zip((trainer.model, trainer.guide), expected, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in part.state_dict().items())
    moments = zip(trainer.optimizer.state_dict()["state"].values(), good[2]["state"].values(), strict=True)
    assert all(torch.equal(one["exp_avg"], other["exp_avg"]) for one, other in moments)


def test_a_loss_that_stays_nan_is_a_sentence_and_the_weights_stay_good():
    model, guide = build()
    poisoned(model.initial_loc, lambda call: call >= 4)
    with pytest.raises(nld.FitError) as caught:
        fit((model, guide))
    assert str(caught.value) == (
        "the loss stays non-finite after 5 returns to a good state (step 9). Lower the learning rate, use more "
        "substeps, or look for extreme values in the data."
    )
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


@pytest.mark.parametrize("control", [nld.AffineControl, nld.NeuralControl])
def test_a_fit_survives_exploding_paths(control, seed):
    """A learning rate far too large: paths overflow, and Pyro's complaints must not end the fit."""
    fitted = fit(build(seed, control=control()), schedule=nld.Schedule(steps=40, learning_rate=30.0, clip=1e9))
    assert np.isnan(fitted.history["gradient_norm"]).any() | ~np.isfinite(fitted.history["loss"]).all()
    assert math.isfinite(fitted.runs[0]["elbo"])


def test_a_fit_that_went_back_resumes_to_the_bit(monkeypatch, tmp_path):
    path, schedule = tmp_path / "checkpoint.pt", nld.Schedule(steps=40, learning_rate=30.0, clip=1e9)
    whole = fit(build(0), schedule=schedule)
    assert float(whole.history["learning_rate"][29]) < 0.5 * schedule.rate(29) * 1.001
    with monkeypatch.context() as patch:
        interrupt_at(patch, 30)
        with pytest.raises(KeyboardInterrupt):
            fit(build(0), schedule=schedule, checkpoint=path, every=10)
    same(whole, fit(build(0), schedule=schedule, checkpoint=path, resume=True))


# ---------------------------------------------------------------- units


@pytest.mark.parametrize("make", [nld.OverdampedLangevin, nld.UnderdampedLangevin], ids=["overdamped", "underdamped"])
def test_units_of_time_and_channels_do_not_change_the_fit(make):
    """Same seed: the same history of losses, up to the constant log of the channels' units, and the same weights."""
    torch.set_default_dtype(torch.float64)
    times, x = data()
    unit, offset = torch.tensor([1e-3, 7.0, 250.0]), torch.tensor([0.0, -3.0, 1e3])
    constant = float((x.isfinite() * unit.log()).sum() / x.isfinite().sum())

    def fitted(given):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nld.LatentLangevin(
                make(nld.NeuralPotential(2, hidden=(6,)), dist.LogNormal(0.0, 0.2), nn.Parameter(torch.tensor(1.0))),
                nld.Gaussian(nld.MLPDecoder(2, CHANNELS, hidden=(6,))),
                substeps=2,
            )
            guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6, hidden=6))
        return fit((model, guide), given, nld.Schedule(steps=30, learning_rate=1e-2))

    plain, other = fitted((times, x)), fitted((86400.0 * times, unit * x + offset))
    np.testing.assert_allclose(other.history["loss"], plain.history["loss"] + constant, atol=1e-7)
    np.testing.assert_allclose(other.history["path_kl"], plain.history["path_kl"], atol=1e-7)
    assert other.time_unit == pytest.approx(86400.0 * plain.time_unit)
    assert other.temperature == pytest.approx(plain.temperature, abs=1e-7)


# ---------------------------------------------------------------- what is refused, what is said


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ((torch.tensor([0.0, 1.0, 0.5]), torch.zeros(2, 3, 1)), nld.TimeGridError),
        ((torch.arange(4.0), torch.zeros(2, 3, 1)), nld.ShapeError),
        ((torch.arange(3.0), torch.full((2, 3, 1), math.inf)), nld.DataError),
    ],
    ids=["order", "shape", "infinite"],
)
def test_bad_data_never_start_a_fit(given, error, tmp_path):
    with pytest.raises(error):
        nld.fit(*build(), given, checkpoint=tmp_path / "checkpoint.pt", progress=False)
    assert not list(tmp_path.iterdir())


def test_progress_is_a_bar_on_stderr_and_can_be_silenced(capsys):
    fit(build())
    assert capsys.readouterr() == ("", "")
    nld.fit(*build(), data(), SCHEDULE)
    out, err = capsys.readouterr()
    assert out == ""
    assert "12/12" in err
    assert "ELBO" in err


def test_coarse_steps_are_announced(monkeypatch):
    monkeypatch.undo()
    times, x = data()
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.Quadratic([30.0, 30.0])), nld.Gaussian(nld.LinearDecoder(2, CHANNELS)), substeps=1
    )
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6, hidden=6))
    with pytest.warns(nld.DoubtfulFitWarning, match="substeps"):
        fit((model, guide), (times, x))


def test_fine_steps_are_not(monkeypatch):
    monkeypatch.undo()
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.Quadratic([0.5, 0.5])), nld.Gaussian(nld.LinearDecoder(2, CHANNELS)), substeps=2
    )
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6, hidden=6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit((model, guide))


# ---------------------------------------------------------------- the data door


@pytest.mark.parametrize("control", [nld.AffineControl, nld.NeuralControl])
@pytest.mark.parametrize("batch_size", [3, 64], ids=["batches", "all at once"])
def test_irregular_ragged_and_missing_data_are_fitted(control, batch_size):
    draw = torch.Generator().manual_seed(1)
    times = (0.1 + torch.rand(8, 7, generator=draw)).cumsum(-1)
    x = torch.randn(8, 7, CHANNELS, generator=draw)
    x[..., 1:][torch.rand(8, 7, CHANNELS - 1, generator=draw) < 0.2] = math.nan
    for row, length in enumerate([7, 2, 5, 7, 3, 6, 4, 7]):
        times[row, length:], x[row, length:] = math.nan, math.nan
    given = nld.datasets.from_arrays(times, x)
    fitted = fit(build(control=control()), given, nld.Schedule(steps=20, batch_size=batch_size, learning_rate=1e-2))
    assert np.isfinite(fitted.history.to_array()).all()
    assert fitted.runs[0]["observed"] == int(x.isfinite().sum())
    alone = [
        fitted.elbo((times[i : i + 1, :n], x[i : i + 1, :n]))["initial_kl"]
        for i, n in enumerate(times.isfinite().sum(-1).tolist())
    ]
    assert fitted.elbo()["initial_kl"] == pytest.approx(sum(alone), rel=1e-4)  # no estimate: exact for every draw


# Learning from particles


PARTICLES = nld.Schedule(steps=10, batch_size=4, particles=4, refine=0.5)


def test_a_fit_with_particles_resumes_to_the_bit(tmp_path, monkeypatch):
    whole = fit(build(), schedule=PARTICLES)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            fit(build(), schedule=PARTICLES, checkpoint=tmp_path / "state.pt", every=3)
    same(whole, fit(build(), schedule=PARTICLES, checkpoint=tmp_path / "state.pt", every=3, resume=True))


def test_particles_come_last():
    plain = fit(build(), schedule=nld.Schedule(steps=10, batch_size=4))
    refined = fit(build(), schedule=PARTICLES)
    same_loss = plain.history["loss"].values == refined.history["loss"].values
    assert same_loss.tolist() == [True] * 6 + [False] * 4  # the loss of a step is that before it


def test_the_guide_learns_from_the_bound_all_the_while():
    """Particles take over the model's gradient alone: the guide's parameters move during refinement too."""
    pair = build(temperature=1.0)
    before = [value.clone() for value in pair[1].state_dict().values()]
    fit(pair, schedule=nld.Schedule(steps=4, batch_size=4, particles=4, refine=1.0))
    moved = [not torch.equal(a, b) for a, b in zip(before, pair[1].state_dict().values(), strict=True)]
    assert sum(moved) > 5


# ---------------------------------------------------------------- what a user did before


@pytest.mark.parametrize("look", ["model", "model with data", "guide"])
def test_a_look_before_the_fit_leaves_no_trace_in_the_units(look):
    times, x = data()
    pair = build()
    if look == "guide":
        pair[1](7.0 * times, 1000.0 * torch.randn(2, *x.shape[1:]))
    else:
        pair[0](7.0 * times, 1000.0 * torch.randn(2, *x.shape[1:]) if "data" in look else None)
    found, expected = fit(pair), fit(build())
    assert found.time_unit == expected.time_unit
    assert torch.equal(found.model.likelihood.decoder.scale, expected.model.likelihood.decoder.scale)
    assert torch.equal(found.guide.encoder.scale, expected.guide.encoder.scale)


def test_a_fit_that_goes_on_with_other_data_keeps_the_units_it_learned_in():
    times, x = data()
    pair = build()
    first = fit(pair)
    second = fit(pair, (3.0 * times, 10.0 * x))
    assert second.time_unit == first.time_unit
    assert torch.equal(second.model.likelihood.decoder.scale, first.model.likelihood.decoder.scale)


def test_frozen_weights_stay_through_restarts_and_others_are_drawn_anew():
    model, guide = build()
    model.likelihood.decoder.requires_grad_(False)
    before = {name: value.clone() for name, value in model.likelihood.decoder.named_parameters()}
    fitted = fit((model, guide), restarts=2)
    for run in fitted.runs:
        for name, value in before.items():
            assert torch.equal(run["model"][f"likelihood.decoder.{name}"], value)
    first, second = (run["model"]["dynamics.potential.output.weight"] for run in fitted.runs)
    assert not torch.equal(first, second)


def test_dropout_is_on_while_a_fit_learns_and_off_when_it_is_read():
    seen = {"learned": [], "read": []}

    class Watched(nn.Dropout):
        def forward(self, q):
            seen["learned" if torch.is_grad_enabled() else "read"].append(self.training)
            return super().forward(q)

    class Dropping(nld.Decoder):
        def __init__(self):
            super().__init__(2, CHANNELS, standardise=True)
            self.net = nn.Sequential(nn.Linear(2, 8), Watched(0.5), nn.Linear(8, CHANNELS))

        def decode(self, q):
            return self.net(q)

    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.DoubleWell(latent=2)), nld.Gaussian(Dropping()), substeps=2)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6, hidden=6))
    fitted = fit((model, guide))
    assert len(seen["learned"]) >= SCHEDULE.steps
    assert all(seen["learned"])
    assert seen["read"]
    assert not any(seen["read"])
    point = torch.zeros(1, 2)
    assert torch.equal(fitted.decode(point), fitted.decode(point))
    fit((fitted.model, fitted.guide))  # a fit that goes on learns as the first did
    assert all(seen["learned"])


# ---------------------------------------------------------------- what is no pair to fit


@pytest.mark.usefixtures("untyped")
def test_what_cannot_be_fitted_is_said_before_anything_is_done():
    model, guide = build()
    other = build()[1]
    whole = AutoNormal(model)
    for pair, sentence in (
        (
            (poutine.reparam(model, {}), guide),
            "a fit needs the model itself: expected a LatentLangevin, got ReparamHandler",
        ),
        ((model, whole), "a fit needs posterior paths: expected an AmortizedGuide, got AutoNormal"),
        ((model, other), "the guide belongs to another model"),
    ):
        with pytest.raises(nld.FitError, match=sentence):
            fit(pair)
        with pytest.raises(nld.FitError, match=sentence):
            nld.Fit(*pair, *data())
    with pytest.raises(
        nld.FitError, match=r"schedule must be a Schedule: got int. Give for example nld.Schedule\(steps"
    ):
        fit((model, guide), schedule=100)


@pytest.mark.parametrize("kind", [AutoIAFNormal, AutoLaplaceApproximation])
def test_an_autoguide_without_a_median_can_be_fitted_and_read(kind, seed):
    """The median is then that of a thousand draws, which for a factorised guide agrees with its own."""
    model, _ = build(temperature=dist.LogNormal(0.0, 0.5), friction=dist.LogNormal(0.0, 0.5))
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6, hidden=6), autoguide=kind)
    fitted = fit((model, guide))
    assert fitted.temperature > 0
    torch.manual_seed(seed)
    exact = fit(build())
    others = exact.guide.others
    others.median, by_median = (lambda *_: _absent()), exact.medians["temperature"]
    exact.forget()
    spread = float(others.scales.temperature.detach()) * float(by_median)
    assert float(exact.medians["temperature"]) == pytest.approx(float(by_median), abs=5 * 1.26 * spread / 1000**0.5)


def _absent():
    raise NotImplementedError
