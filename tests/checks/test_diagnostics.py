"""Every diagnostic is quiet where all is well and speaks where a fault was planted, and its numbers are those known."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from pyro_nld import DataError
from pyro_nld.checks import comparisons, diagnostics
from pyro_nld.checks.findings import VERDICTS, graded, run_check
from pyro_nld.io.inference_data import group, to_inference_data

CHAINS, DRAWS, SEQUENCES = 2, 200, 40


@pytest.fixture
def draw(seed) -> np.random.Generator:
    return np.random.default_rng(seed)


def weighted(log_weight, global_kl=0.0):
    """Results that hold log weights alone."""
    cost = np.full(log_weight.shape[:2], global_kl)
    variables = {"log_weight": (("chain", "draw", "sequence"), log_weight), "global_kl": (("chain", "draw"), cost)}
    return to_inference_data({"sample_stats": xr.Dataset(variables)})


def gaussian_weights(draw, spread, log_evidence=-3.0):
    """log w ~ N(log p − spread²/2, spread²): E w = p exactly, whatever the spread."""
    noise = draw.normal(size=(CHAINS, DRAWS, SEQUENCES))
    return weighted(log_evidence - spread**2 / 2 + spread * noise)


def globals_of(prior, **posterior):
    """Results with a temperature: posterior draws `(chain, draw)` and prior draws."""
    groups = {name: xr.Dataset({"temperature": (("chain", "draw"), values)}) for name, values in posterior.items()}
    return to_inference_data({"prior": xr.Dataset({"temperature": (("chain", "draw"), prior)}), **groups})


def history(rise, steps=400, noise=0.01, seed=0):
    """An ELBO that rises as `rise(step)`, with noise."""
    step = np.arange(steps)
    elbo = np.array([rise(k) for k in step]) + noise * np.random.default_rng(seed).normal(size=steps)
    zero = ("step", np.zeros(steps))
    rate = {"learning_rate": ("step", np.linspace(0.01, 0.0, steps))}
    return xr.Dataset({"log_likelihood": ("step", elbo), "path_kl": zero, "initial_kl": zero, "global_kl": zero} | rate)


# Guide


def test_a_guide_near_the_posterior_is_good(draw):
    found = diagnostics.guide(gaussian_weights(draw, 0.3))
    assert found.attrs["ok"] == 1
    assert "100 % of the sequences" in found.attrs["message"] or float(found["reliable"].max()) > 0.9
    assert found["pareto_shape"].dims == ("chain", "sequence")


def test_a_frozen_guide_is_seen(draw):
    found = diagnostics.guide(gaussian_weights(draw, 6.0))
    assert found.attrs["verdict"] == "bad"
    assert "correct them" in found.attrs["message"]


def test_an_exact_guide_has_no_tail():
    found = diagnostics.guide(weighted(np.full((1, 50, 3), -2.0)))
    assert (found["pareto_shape"] == -np.inf).all()
    assert found.attrs["ok"] == 1


def test_the_limit_falls_with_few_draws(draw):
    assert float(diagnostics.guide(weighted(draw.normal(size=(1, 100, 4))))["limit"]) == pytest.approx(0.5)


# Evidence


def test_the_evidence_is_the_one_known(draw):
    """E w = exp(−3) for every sequence: the total is −3 · 40, and the ELBO is ½ spread² lower for each."""
    spread = 0.5
    found = diagnostics.evidence(gaussian_weights(draw, spread))
    assert np.abs(found["evidence"] - -3.0 * SEQUENCES).max() < 5 * found["evidence_error"].max()
    gap = -3.0 * SEQUENCES - found["bound"].isel(count=0)
    assert np.abs(gap - SEQUENCES * spread**2 / 2).max() < 5 * spread * np.sqrt(SEQUENCES / DRAWS)
    assert found.attrs["ok"] == 1


def test_the_bound_rises_with_the_draws(draw):
    bound = diagnostics.evidence(gaussian_weights(draw, 1.0))["bound"]
    assert (bound.diff("count") > 0).all()


def test_the_standard_error_is_that_of_repetitions(draw):
    found = [diagnostics.evidence(gaussian_weights(draw, 0.7)) for _ in range(60)]
    seen = np.std([one["evidence"].values for one in found], ddof=1)
    said = np.mean([one["evidence_error"].values for one in found])
    assert said == pytest.approx(seen, rel=5 / np.sqrt(2 * 120))


def test_the_globals_cost_is_taken_off():
    with_cost = diagnostics.evidence(weighted(np.full((1, 64, 3), -2.0), global_kl=1.5))
    assert float(with_cost["evidence"][0]) == pytest.approx(-6.0 - 1.5)


def test_a_mean_that_one_draw_carries_is_seen(draw):
    found = diagnostics.evidence(gaussian_weights(draw, 8.0))
    assert found.attrs["verdict"] == "bad"
    assert "One draw outweighs" in found.attrs["message"]


# Identifiability


def lognormal(draw, loc, scale, draws=2000):
    return np.exp(loc + scale * draw.normal(size=(1, draws)))


def test_a_temperature_that_data_tell_is_identified(draw):
    results = globals_of(lognormal(draw, 0.0, 1.0), posterior=lognormal(draw, -0.3, 0.1))
    found = diagnostics.identifiability(results)
    assert float(found["contraction"][0]) == pytest.approx(0.9, abs=5 * 0.1 / np.sqrt(2000))
    assert found.attrs["ok"] == 1
    assert found.attrs["message"].startswith("temperature is identified")


def test_a_temperature_that_echoes_its_prior_is_said_to(draw):
    results = globals_of(lognormal(draw, 0.0, 1.0), posterior=lognormal(draw, 0.0, 1.0))
    found = diagnostics.identifiability(results)
    assert found.attrs["verdict"] == "bad"
    assert "temperature follows its prior" in found.attrs["message"]


def test_behind_a_free_decoder_a_narrow_interval_says_nothing(draw):
    results = globals_of(lognormal(draw, 0.0, 1.0), posterior=lognormal(draw, 0.0, 0.02))
    found = diagnostics.identifiability(results, fixes_gauge=False)
    assert found.attrs["ok"] == 0
    assert found.attrs["message"].startswith("temperature follows its prior")
    assert "IdentityDecoder" in found.attrs["message"]


def test_the_gauge_is_read_off_the_results(draw):
    results = globals_of(lognormal(draw, 0.0, 1.0), posterior=lognormal(draw, 0.0, 0.02))
    results["posterior"]["temperature"].attrs["gauge_free"] = 0
    assert diagnostics.identifiability(results).attrs["message"].startswith("temperature follows its prior")


def test_in_between_it_is_weak(draw):
    results = globals_of(lognormal(draw, 0.0, 1.0), posterior=lognormal(draw, 0.0, 0.7))
    assert "weakly identified" in diagnostics.identifiability(results).attrs["message"]


def test_nothing_random_is_nothing_to_identify():
    empty = to_inference_data({"posterior": xr.Dataset(), "prior": xr.Dataset()})
    assert "Nothing of physics is random" in diagnostics.identifiability(empty).attrs["message"]


# Optimisation


def test_an_elbo_that_has_settled_is_good():
    assert diagnostics.optimisation(history(lambda k: -np.exp(-k / 30))).attrs["ok"] == 1


def test_an_elbo_that_still_rises_is_seen():
    found = diagnostics.optimisation(history(lambda k: -np.exp(-k / 400)))
    assert found.attrs["verdict"] == "bad"
    assert "fit longer" in found.attrs["message"]


def test_an_elbo_that_falls_is_bad():
    found = diagnostics.optimisation(history(lambda k: -k))
    assert found.attrs["verdict"] == "bad"
    assert "did not rise" in found.attrs["message"]


def test_noise_is_no_rise():
    said = [diagnostics.optimisation(history(lambda k: -np.exp(-k / 20), noise=0.3, seed=k)) for k in range(40)]
    assert sum(one.attrs["ok"] for one in said) >= 36


def test_lost_steps_are_counted():
    broken = history(lambda k: -np.exp(-k / 30))
    broken["log_likelihood"][100:103] = np.nan
    found = diagnostics.optimisation(broken)
    assert int(found["lost"]) == 3
    assert "3 steps were not finite" in found.attrs["message"]


def test_a_fit_of_a_few_steps_is_no_fit():
    assert "too few" in diagnostics.optimisation(history(lambda k: k, steps=5)).attrs["message"]


# Restarts


def restarts(draw, wrong=0.02, shift=0.0, missing=False):
    """Two chains that label 30 sequences, the second wrongly in a share of the time, its barriers `shift` kT higher."""
    truth = draw.integers(0, 2, (30, 25)).astype(float)
    labels = np.stack([truth, np.where(draw.random(truth.shape) < wrong, 1 - truth, truth)])
    barrier = np.full((2, 20, 2, 2), np.nan)
    barrier[..., 0, 1], barrier[..., 1, 0] = 3.0, 4.0
    barrier[1] += shift
    if missing:
        barrier[1, :, 1] = np.nan
    occupancy = np.full((2, 20, 2), 0.5)
    variables = {
        "basin": (("chain", "draw", "sequence", "time"), np.repeat(labels[:, None], 20, 1)),
        "barrier": (("chain", "draw", "state", "to"), barrier),
        "occupancy": (("chain", "draw", "state"), occupancy),
        "temperature": (("chain", "draw"), 1.0 + 0.1 * draw.normal(size=(2, 20))),
    }
    return to_inference_data({"posterior": xr.Dataset(variables)})


def test_restarts_that_found_the_same_are_good(draw):
    found = diagnostics.agreement(restarts(draw))
    assert found.attrs["ok"] == 1
    assert float(found["labels"][0]) == pytest.approx(0.98, abs=5 * np.sqrt(0.02 * 0.98 / 750))
    assert float(found["barriers"][0]) == 0.0
    assert float(found["rhat"].sel(quantity="temperature")) < 1.2


@pytest.mark.parametrize("fault", [{"wrong": 0.5}, {"shift": 2.5}, {"missing": True}], ids=str)
def test_restarts_in_different_optima_are_seen(draw, fault):
    found = diagnostics.agreement(restarts(draw, **fault))
    assert found.attrs["verdict"] == "bad"
    assert "found different wells" in found.attrs["message"]


def test_a_lone_restart_agrees_with_nothing(draw):
    alone = to_inference_data({"posterior": group(restarts(draw), "posterior").isel(chain=[0])})
    assert "one restart" in diagnostics.agreement(alone).attrs["message"]


# Step


@pytest.mark.parametrize(("largest", "verdict"), [(0.05, "good"), (0.3, "doubtful"), (1.2, "bad")])
def test_a_coarse_step_is_seen(largest, verdict):
    landscape = xr.Dataset(attrs={"max_curvature_step": largest, "ok": int(largest <= 0.2), "substeps_needed": 7})
    found = diagnostics.discretisation(landscape)
    assert found.attrs["verdict"] == verdict
    assert ("substeps=7" in found.attrs["message"]) == (verdict != "good")


# Hypotheses


def scored(draw, ahead):
    shared = draw.normal(scale=5.0, size=60)  # sequences differ far more than models do
    return xr.DataArray(
        np.stack([shared, shared + ahead + 0.3 * draw.normal(size=60)]),
        dims=("model", "sequence"), coords={"model": ["old", "new"]},
    )  # fmt: skip


def test_the_better_hypothesis_wins_by_paired_differences(draw):
    compared = comparisons.comparison(scored(draw, 0.5))
    assert compared["model"].values.tolist() == ["new", "old"]
    assert compared.attrs["message"].startswith("new predicts best, by")
    error = 0.3 * np.sqrt(60)
    assert float(compared["difference"][1]) == pytest.approx(-30.0, abs=5 * error)
    assert float(compared["error"][1]) == pytest.approx(error, rel=5 / np.sqrt(2 * 59))


def test_equals_are_not_told_apart(draw):
    compared = comparisons.comparison(scored(draw, 0.0))
    assert compared.attrs["ok"] == 0 or abs(float(compared["difference"][1])) < 5 * 0.3 * np.sqrt(60)


def test_a_score_that_is_not_finite_is_named(draw):
    scores = scored(draw, 0.0)
    scores[1, 4] = np.nan
    with pytest.raises(DataError, match=r"scores must be finite: got nan for new at sequence 4\. Leave"):
        comparisons.comparison(scores)


def test_the_future_is_what_the_whole_says_beyond_the_past():
    whole, head = (xr.DataArray(norm.logpdf(np.zeros(n)).sum() * np.ones(6), dims="sequence") for n in (10, 6))
    found = comparisons.leave_future_out(whole, head, xr.DataArray(np.full(6, 4), dims="sequence"))
    assert float(found["per_value"]) == pytest.approx(norm.logpdf(0.0))
    broken = comparisons.leave_future_out(whole - np.inf, head)
    assert broken.attrs["verdict"] == "bad"


# Findings


def test_verdicts_stand_in_order():
    assert [graded(value, (1.0, 2.0)) for value in (0.5, 1.5, 2.5, np.nan)] == [*VERDICTS, "bad"]
    assert [graded(value, (2.0, 1.0), high_is_good=True) for value in (2.5, 1.5, 0.5)] == list(VERDICTS)


def test_what_cannot_be_checked_says_why():
    found = run_check(diagnostics.guide, to_inference_data({"posterior": xr.Dataset()}))
    assert found.attrs["verdict"] == "skipped"
    assert found.attrs["message"] == "the results have no group sample_stats. Make them with Fit.inference_data()."
    found = run_check(diagnostics.guide, to_inference_data({"sample_stats": xr.Dataset({"a": 1})}))
    assert found.attrs["message"].startswith("the group sample_stats needs log_weight: it has a.")
