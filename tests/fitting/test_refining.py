"""`most_substeps`: a fit takes the steps its landscape asks for, resumes and restarts, and is read with them."""

import warnings
from dataclasses import replace
from functools import cache

import pytest
import torch

import pyro_nld as nld
from pyro_nld.fitting.trainer import Trainer
from pyro_nld.model.latent_langevin import MOST_SUBSTEPS

STIFFNESS, INTERVAL, NEEDED = 39.0, 0.1, 20  # curvature × step is 3.9 / substeps
TAKEN = 26  # in case the curvature grows
SCHEDULE = nld.Schedule(steps=10, batch_size=4)


def recorded():
    times = INTERVAL * torch.arange(12.0)
    return times, torch.randn(8, 12, 1, generator=torch.Generator().manual_seed(0)) / STIFFNESS**0.5


@pytest.fixture
def data():
    return recorded()


def build(substeps="auto", stiffness=STIFFNESS, most=None):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        prior = nld.OverdampedLangevin(nld.Quadratic([stiffness]))
        likelihood = nld.Gaussian(nld.IdentityDecoder(1), noise_scale=0.1)
        model = nld.LatentLangevin(prior, likelihood, substeps=substeps, time_unit=1.0, most_substeps=most)
        return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=6, hidden=6))


def fit(pair, data, schedule=SCHEDULE, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", nld.DoubtfulFitWarning)
        return nld.fit(*pair, data, schedule, progress=False, **options)


def noted(monkeypatch):
    """The substeps of every step that is taken from now on."""
    advance, taken = Trainer.advance, []

    def recorded(trainer):
        advance(trainer)
        taken.append(trainer.model.substeps)

    monkeypatch.setattr(Trainer, "advance", recorded)
    return taken


def test_a_fit_takes_the_substeps_its_landscape_needs(data):
    fitted = fit(build(), data)
    assert fitted.model.substeps == TAKEN
    assert fitted.discretisation()["ok"]
    assert fitted.positions().shape == (1, 8, 12, 1)


def test_a_number_that_turns_out_too_small_is_raised_after_the_coarse_beginning(data, monkeypatch):
    taken = noted(monkeypatch)
    assert fit(build(12, most=30), data).model.substeps == TAKEN
    assert taken == 5 * [5] + 5 * [TAKEN]
    assert fit(build(22, most=30), data).model.substeps == 29  # enough so far, but not if the curvature grows
    assert fit(build(27, most=30), data).model.substeps == 27


def test_no_more_are_taken_than_are_allowed(data):
    with pytest.warns(nld.DoubtfulFitWarning, match=f"Use substeps={NEEDED}"):
        fitted = nld.fit(*build(12, most=16), data, SCHEDULE, progress=False)
    assert fitted.model.substeps == 16


def test_a_landscape_that_needs_no_more_gets_no_more(data):
    assert fit(build(stiffness=5.0), data).model.substeps == 5


def test_a_given_number_stays(data):
    with pytest.warns(nld.DoubtfulFitWarning, match=f"Use substeps={NEEDED}"):
        fitted = nld.fit(*build(substeps=5), data, SCHEDULE, progress=False)
    assert fitted.model.substeps == 5


def test_there_is_a_limit_beyond_which_the_warning_stands(data):
    with pytest.warns(nld.DoubtfulFitWarning, match="Use substeps=98"):
        fitted = nld.fit(*build(stiffness=5 * STIFFNESS), data, SCHEDULE, progress=False)
    assert fitted.model.substeps == MOST_SUBSTEPS


TWO_RUNS = {"restarts": 2, "every": 1}


@cache
def whole(substeps, most):
    """A fit of two runs that nothing stops."""
    return fit(build(substeps, most=most), recorded(), **TWO_RUNS)


@pytest.mark.parametrize(("substeps", "most", "last"), [("auto", None, TAKEN), (NEEDED, None, NEEDED), (12, 30, TAKEN)])
@pytest.mark.parametrize("stop", [2, 6, 14])
def test_a_refined_fit_resumes_to_the_bit(data, tmp_path, monkeypatch, stop, substeps, most, last):
    """Stopped before refining, after it, and in the second run, which begins coarse again."""
    expected = whole(substeps, most)
    advance, done = Trainer.advance, []

    def interrupted(trainer):
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(trainer.model.substeps)
        advance(trainer)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(build(substeps, most=most), data, checkpoint=tmp_path / "cut.pt", **TWO_RUNS)
    resumed = fit(build(substeps, most=most), data, checkpoint=tmp_path / "cut.pt", resume=True, **TWO_RUNS)
    for one, other in ((expected.model, resumed.model), (expected.guide, resumed.guide)):
        for (name, tensor), again in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(tensor, again), name
    assert [run["substeps"] for run in resumed.runs] == [last, last]
    assert [run["elbo"] for run in resumed.runs] == [run["elbo"] for run in expected.runs]


def test_a_finished_fit_is_read_with_its_substeps(data, tmp_path):
    file = tmp_path / "fit.pt"
    fit(build(), data, checkpoint=file)
    again = fit(build(), data, checkpoint=file, resume=True)
    assert again.model.substeps == TAKEN


def test_the_bound_is_that_of_a_fit_that_was_fine_from_the_start(data):
    late, early = (fit(build(substeps), data, replace(SCHEDULE, steps=300)) for substeps in ("auto", TAKEN))
    assert late.model.substeps == TAKEN
    assert late.elbo(draws=10)["total"] == pytest.approx(early.elbo(draws=10)["total"], abs=2.5)


@pytest.mark.parametrize(
    ("substeps", "coarse", "first"), [(NEEDED, 0.5, 5), (NEEDED, 0.0, NEEDED), (32, 0.5, 8), (6, 0.5, 5), (2, 0.5, 2)]
)
def test_a_fit_begins_coarse_and_ends_as_its_model_was_made(data, monkeypatch, substeps, coarse, first):
    taken = noted(monkeypatch)
    schedule = replace(SCHEDULE, steps=10, coarse=coarse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nld.DoubtfulFitWarning)
        fitted = nld.fit(*build(substeps), data, schedule, progress=False)
    assert taken == (5 * [first] if coarse else []) + (5 if coarse else 10) * [substeps]
    assert fitted.model.substeps == fitted.guide.control.substeps == substeps


def test_a_fit_stopped_while_it_is_coarse_is_not_left_so(data, monkeypatch):
    def interrupted(trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "advance", interrupted)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fitted = nld.fit(*build(NEEDED), data, SCHEDULE, progress=False)
    assert any("stopped by hand after 0" in str(warning.message) for warning in said)
    assert fitted.model.substeps == NEEDED


@pytest.mark.parametrize("wrong", [0, -1])
def test_what_is_no_number_of_substeps(wrong):
    with pytest.raises(nld.ShapeError, match="substeps must be a whole number of at least 1, or 'auto'"):
        build(substeps=wrong)
