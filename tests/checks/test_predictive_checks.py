"""Replicates of the truth look like the data; with a wrong noise, speed or law of dwelling they do not."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest, norm, poisson

from pyro_nld import ShapeError
from pyro_nld.checks import predictive_checks
from pyro_nld.io.inference_data import to_inference_data

SEQUENCES, STEPS, DRAWS = 20, 60, 40
AXES = ("sequence", "time", "channel")
TIMES = xr.DataArray(np.tile(0.5 * np.arange(float(STEPS)), (SEQUENCES, 1)), dims=AXES[:2])


@pytest.fixture
def draw(seed) -> np.random.Generator:
    return np.random.default_rng(seed)


def switching(draw, leave=0.05, noise=0.3, sets=1, fixed=None):
    """Two states at ±1 seen through two channels: `(sets, sequence, time, channel)` and the states.

    They are left with probability `leave`, or after exactly `fixed` steps.
    """
    shape = (sets, SEQUENCES, STEPS)
    if fixed is None:
        flips = draw.random(shape) < leave
    else:
        flips = (np.arange(STEPS) + draw.integers(0, fixed, shape[:2])[..., None]) % fixed == 0
    states = (draw.integers(0, 2, shape[:2])[..., None] + flips.cumsum(-1)) % 2
    means = np.stack([2.0 * states - 1, 1 - 2.0 * states], -1)
    return means + noise * draw.normal(size=(*shape, 2)), states


@pytest.fixture
def observed(draw):
    x, states = switching(draw)
    return xr.DataArray(x[0], dims=AXES), xr.DataArray(states[:, :].astype(float), dims=("draw", *AXES[:2]))


def replicated(draw, **fault):
    return xr.DataArray(switching(draw, sets=DRAWS, **fault)[0][None], dims=("chain", "draw", *AXES))


def checked(observed, made):
    x, states = observed
    return predictive_checks.posterior(x, made, TIMES, predictive_checks.state_classes(x, states))


def test_replicates_of_the_truth_are_good(draw, observed):
    found = checked(observed, replicated(draw))
    assert found.attrs["verdict"] == "good", found.attrs["message"]
    assert np.isfinite(found["score"]).all()
    assert ((found["p"] >= 0) & (found["p"] <= 1)).all()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"leave": 0.15}, "in state|transitions|autocorrelation|spectrum"),
        ({"noise": 0.6}, "channel|spectrum"),
        ({"fixed": 20}, "variation of visits|dwell|transitions"),
    ],
    ids=["rate", "noise", "law of dwelling"],
)
def test_a_planted_fault_is_seen_in_its_statistic(draw, observed, fault, words):
    found = checked(observed, replicated(draw, **fault))
    assert found.attrs["verdict"] == "bad"
    far = found["statistic"].values[np.abs(found["score"].values) > 5]
    assert any(word in name for name in far for word in words.split("|")), far


def test_a_law_of_dwelling_of_the_same_mean_shows_in_its_variation(draw, observed):
    found = checked(observed, replicated(draw, fixed=20))
    assert found["score"].sel(statistic="variation of visits to state 0") > 4


def test_a_statistic_is_what_its_name_says(draw):
    """An alternating series with a step in the middle, by hand."""
    x = np.tile([1.0, -1.0], 30)[None, :, None] + np.zeros((3, 1, 1))
    found = predictive_checks.statistics(x, np.tile(np.arange(60.0), (3, 1)))
    assert found["mean of channel 0"] == pytest.approx(0.0)
    assert found["sd of channel 0"] == pytest.approx(1.0)
    assert found["autocorrelation 1 of channel 0"] == pytest.approx(-1.0)
    assert found["spectrum, high frequencies"] == pytest.approx(1.0)
    labels = np.array([[0, 0, 0, 1, 1, 0, 0, 0, 0, 1]])
    classes = xr.Dataset(
        {"loc": (("state", "channel"), [[0.0], [1.0]]), "covariance": (("channel", "other"), [[0.01]]),
         "weight": ("state", [0.5, 0.5])}
    )  # fmt: skip
    found = predictive_checks.statistics(labels[..., None].astype(float), np.arange(10.0)[None], classes)
    assert found["transitions 0 → 1"] == 2
    assert found["transitions 1 → 0"] == 1
    assert found["mean dwell in state 1"] == pytest.approx(2 / 2)


def test_missing_values_are_missing_in_replicates_too(draw, observed):
    x, states = observed
    x = x.where(draw.random(x.shape) > 0.2)
    found = checked((x, states), replicated(draw))
    assert found.attrs["verdict"] == "good", found.attrs["message"]
    assert np.isfinite(found["observed"]).all()


def test_states_are_told_by_their_channels(draw, observed):
    x, states = observed
    classes = predictive_checks.state_classes(x, states)
    np.testing.assert_allclose(classes["loc"], [[-1, 1], [1, -1]], atol=5 * 0.3 / np.sqrt(400))
    labels = predictive_checks.labelled(x.values, classes)
    known = labels >= 0
    assert known.mean() > 0.95
    assert (labels == states.values[0])[known].mean() > 0.99


@pytest.mark.parametrize("draws", [3, 40])
def test_replicates_of_another_shape_or_too_few_are_refused(draw, observed, draws):
    made = replicated(draw).isel(draw=slice(draws), time=slice(None, None if draws == 3 else 30))
    with pytest.raises(ShapeError, match=r"replicates must be 20 or more sets like the data, \(20, 60, 2\): got"):
        checked(observed, made)


# Prior


def prior_results(observed, drawn):
    groups = {
        "prior_predictive": xr.Dataset({"x": drawn}),
        "observed_data": xr.Dataset({"x": observed}),
        "constant_data": xr.Dataset({"times": TIMES}),
    }
    return to_inference_data(groups)


def test_a_wide_prior_allows_for_the_data(draw, observed):
    scales = np.exp(draw.normal(size=(1, DRAWS, 1, 1, 1)))
    made = xr.DataArray(scales * switching(draw, sets=DRAWS)[0][None], dims=("chain", "draw", *AXES))
    assert predictive_checks.prior(prior_results(observed[0], made)).attrs["verdict"] != "bad"


def test_a_prior_in_other_units_does_not(draw, observed):
    found = predictive_checks.prior(prior_results(observed[0], 1000 * replicated(draw) + 500))
    assert found.attrs["verdict"] == "bad"
    assert "mind the units" in found.attrs["message"]


# Probability integral transform


def predicted(draw, scale=1.0, shift=0.0, missing=0.0):
    """Observations N(z, 1) with posterior draws of z near exact, predicted with noise `scale`."""
    shape = (SEQUENCES, STEPS, 1)
    mean = draw.normal(size=shape)
    x = mean + draw.normal(size=shape)
    x[draw.random(shape) < missing] = np.nan
    hidden = mean + 0.01 * draw.normal(size=(1, 200, *shape)) + shift
    told = norm.logpdf(x, hidden, scale)[..., 0]
    at = np.nonzero(np.isfinite(x[..., 0]))
    single = xr.Dataset(
        {"log_prob": (("chain", "draw", "observation"), told[..., at[0], at[1]])},
        {"at_sequence": ("observation", at[0]), "at_time": ("observation", at[1])},
    )
    new = hidden + scale * draw.normal(size=hidden.shape)
    return to_inference_data(
        {
            "posterior_predictive": xr.Dataset({"x": (("chain", "draw", *AXES), new)}),
            "sample_stats": single,
            "observed_data": xr.Dataset({"x": (AXES, x)}),
        }
    )


def test_right_predictions_are_uniform(draw):
    found = predictive_checks.pit(predicted(draw, missing=0.1))
    assert found.attrs["verdict"] == "good", found.attrs["message"]
    assert int(np.isnan(found["pit"]).sum()) > 60


def counted(draw, spread=None):
    """Counts of mean 2, many of them equal, predicted by Poisson's law; with a `spread` they vary by that much more."""
    shape, rate = (SEQUENCES, STEPS, 1), 2.0
    gamma = 1.0 if spread is None else draw.gamma(1 / spread, spread, shape)
    x = draw.poisson(rate * gamma, shape).astype(float)
    told = np.broadcast_to(poisson.logpmf(x, rate)[..., 0].reshape(-1), (1, 400, x.size))
    at = [index.ravel() for index in np.indices(shape[:2])]
    single = xr.Dataset(
        {"log_prob": (("chain", "draw", "observation"), told)},
        {"at_sequence": ("observation", at[0]), "at_time": ("observation", at[1])},
    )
    new = draw.poisson(rate, (1, 400, *shape)).astype(float)
    return to_inference_data(
        {
            "posterior_predictive": xr.Dataset({"x": (("chain", "draw", *AXES), new)}),
            "sample_stats": single,
            "observed_data": xr.Dataset({"x": (AXES, x)}),
        }
    )


def test_right_predictions_of_counts_are_uniform(draw):
    """Seven values in all: without v, the distribution function would have steps of a quarter."""
    found = predictive_checks.pit(counted(draw))
    assert found.attrs["verdict"] == "good", found.attrs["message"]
    x = poisson.rvs(2.0, size=1000, random_state=draw)
    steps = 0.5 * (poisson.cdf(x, 2.0) + poisson.cdf(x - 1, 2.0))
    assert kstest(steps, "uniform").statistic > predictive_checks.PIT_DISTANCE[1]


def test_counts_that_vary_more_than_predicted_are_seen(draw):
    assert predictive_checks.pit(counted(draw, spread=1.0)).attrs["verdict"] == "bad"


@pytest.mark.parametrize(
    ("fault", "words"), [({"scale": 0.5}, "too narrow"), ({"scale": 2.0}, "too wide"), ({"shift": 1.0}, "shifted")]
)
def test_a_wrong_likelihood_is_seen_and_named(draw, fault, words):
    found = predictive_checks.pit(predicted(draw, **fault))
    assert found.attrs["verdict"] == "bad"
    assert words in found.attrs["message"]
