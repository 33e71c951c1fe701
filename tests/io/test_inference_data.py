"""Results as ArviZ reads them, under whichever generation is installed; CI runs this file under both."""

import warnings

import arviz as az
import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.optim import ClippedAdam

import pyro_nld as nld
from pyro_nld.io.inference_data import (
    convergence,
    from_pyro_svi,
    group,
    groups,
    load_inference_data,
    save_inference_data,
    to_inference_data,
)


@pytest.fixture(scope="module")
def results():
    torch.manual_seed(0)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(2, hidden=(8,)), temperature=dist.LogNormal(0.0, 0.5))
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.MLPDecoder(2, 3, hidden=(8,))), substeps=2)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(3, size=8, hidden=8))
    data = nld.datasets.three_state(sequences=6, steps=25, channels=3)
    times, x = nld.as_tensors(data)
    x[0, 3, 1] = torch.nan
    guide(times, x)
    return nld.Fit(model, guide, times, x).inference_data(draws=20)


def test_groups_and_dimensions(results):
    posterior = results["posterior"]
    assert posterior["temperature"].dims[:2] == ("chain", "draw")
    assert dict(posterior["z"].sizes) == {"chain": 1, "draw": 20, "sequence": 6, "time": 25, "latent": 2}
    assert bool(np.isnan(results["observed_data"]["x"][0, 3, 1]))
    assert int(np.isnan(results["observed_data"]["x"]).sum()) == 1
    assert results["constant_data"]["times"].shape == (6, 25)
    assert results["sample_stats"].sizes["draw"] == 20


def test_summary_runs_as_it_is(results):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one chain: ArviZ says that r̂ needs two
        table = az.summary(results, var_names=["temperature"])
    assert float(np.asarray(table["mean"])[0]) > 0


def test_draws_are_numbered(results):
    assert results["posterior"]["draw"].values.tolist() == list(range(20))
    assert results["posterior"]["chain"].values.tolist() == [0]


def test_round_trip_through_netcdf(results, tmp_path):
    save_inference_data(results, tmp_path / "posterior.nc")
    again = load_inference_data(tmp_path / "posterior.nc")
    assert type(again) is type(results)
    for held in ("posterior", "observed_data", "constant_data", "sample_stats"):
        for name, values in results[held].data_vars.items():
            np.testing.assert_array_equal(again[held][name].values, values.values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["posterior.nc"]


def test_the_container_is_the_one_of_the_installed_generation():
    group = xr.Dataset({"a": (("chain", "draw"), np.zeros((1, 3)))})
    made = to_inference_data({"posterior": group})
    expected = az.InferenceData if az.__version__.startswith("0.") else xr.DataTree
    assert isinstance(made, expected)


def test_convergence_of_chains_that_agree_and_of_chains_that_do_not():
    draws = np.random.default_rng(0).random((8, 400, 2)) < 0.3
    draws[:4, :, 1] = True  # half of the chains never leave the second state
    found = convergence(xr.DataArray(draws.astype(float), dims=("chain", "draw", "state")))
    assert found["rhat"].values[0] == pytest.approx(1.0, abs=0.01)
    assert found["rhat"].values[1] > 1.5
    assert 2400 < found["ess"].values[0] < 4000
    assert found["ess"].values[1] < 50


# ---------------------------------------------------------------- ArviZ's own functions, on results as they are

OLD = az.__version__.startswith("0.")
STORY = ["temperature", "depth", "occupancy", "dwell", "barrier", "rate"]
EVERY = ["posterior", "posterior_predictive", "prior", "prior_predictive", "log_likelihood", "sample_stats"]


def wells(noise):
    """Two wells, seen directly with this noise, at a random temperature."""
    prior = nld.OverdampedLangevin(nld.DoubleWell(barrier=2.5), temperature=dist.LogNormal(0.0, 0.3))
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), noise), substeps=2, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))


@pytest.fixture(scope="module")
def told():
    """Two restarts of a fit, and one of a model whose noise is too small; a value is missing, a sequence is short."""
    data = nld.datasets.langevin_wells(nld.DoubleWell(barrier=2.5), 12, 10, 0, interval=0.05, noise=0.3, fine=4)
    times, x = nld.as_tensors(data)
    times = times.repeat(len(x), 1)
    times[1, 7:], x[1, 7:], x[2, 3] = torch.nan, torch.nan, torch.nan
    found = {}
    for name, noise, restarts in (("right", 0.3, 2), ("wrong", 0.03, 1)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", nld.DoubtfulFitWarning)  # so few steps are coarse
            warnings.simplefilter("ignore", nld.DoubtfulDataWarning)  # nothing was seen at one time
            fit = nld.fit(*wells(noise), (times, x), nld.Schedule(steps=20), restarts=restarts, progress=False)
            # Half a transition in all is too few for two states: every minimum is to be one.
            states = name == "right" and fit.wells(min_persistence=0.0)
        groups = [*EVERY, "observed_data", "constant_data"] if name == "right" else ["posterior", "log_likelihood"]
        found[name] = fit.inference_data(draws=30, particles=4, groups=groups, states=states)
    return found


@pytest.fixture
def quiet():
    """ArviZ tells of its own future, of draws that are constant, and of k̂."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_restarts_are_chains_with_states_of_one_numbering(told):
    posterior = told["right"]["posterior"]
    assert {name: posterior.sizes[name] for name in ("chain", "draw", "state", "to")} == {
        "chain": 2, "draw": 30, "state": 2, "to": 2,
    }  # fmt: skip
    left = posterior["decoded"][..., 0].values.mean(1)
    np.testing.assert_allclose(left[0], left[1], atol=1e-4)  # the wells stand still, whatever run found them
    np.testing.assert_allclose(np.sort(left[0]), [-1.0, 1.0], atol=1e-4)
    assert {name for name, values in posterior.data_vars.items() if values.attrs["gauge_free"]} >= {
        *STORY,
        "z",
        "basin",
    }


def test_every_variable_can_be_summarised(told, quiet):
    table = az.summary(told["right"], var_names=STORY)
    assert {"temperature", "depth[0]", "barrier[0, 1]", "dwell[1]"} <= set(table.index)
    assert np.isfinite(float(table.loc["temperature", "r_hat"]))


def test_traces_and_posteriors_can_be_drawn(told, quiet):
    if OLD:
        assert az.plot_trace(told["right"], var_names=STORY).shape == (len(STORY), 2)
        assert len(np.ravel(az.plot_posterior(told["right"], var_names=STORY))) >= 15
    else:
        for draw in (az.plot_trace, az.plot_trace_dist, az.plot_dist):
            assert draw(told["right"], var_names=STORY, backend="matplotlib") is not None


@pytest.mark.parametrize("source", ["posterior", "prior"])
def test_predictions_can_be_drawn_beside_the_data(told, quiet, source):
    if OLD:
        assert az.plot_ppc(told["right"], group=source, num_pp_samples=10) is not None
    else:
        shown = az.plot_ppc_dist(told["right"], group=f"{source}_predictive", num_samples=10, backend="matplotlib")
        assert shown is not None


@pytest.mark.parametrize(("of", "count"), [("sequence", 12), ("observation", 12 * 10 - 3 - 1)])
def test_one_can_be_left_out(told, quiet, of, count):
    """Sequences as it is; single times where their density takes that place: only what was observed is there."""
    results, single = told["right"], told["right"]["sample_stats"]["log_prob"].rename("x")
    if of == "observation":
        results = to_inference_data({"log_likelihood": single.to_dataset(), "posterior": group(results, "posterior")})
    found = az.loo(results, pointwise=True)
    assert int(found["n_data_points"] if OLD else found.n_data_points) == count
    total = float(found["elpd_loo"] if OLD else found.elpd)
    likelihood = results["log_likelihood"]["x"].values
    raw, inside = -np.log(np.exp(-likelihood).mean((0, 1))).sum(), np.log(np.exp(likelihood).mean((0, 1))).sum()
    assert raw - 0.01 * abs(raw) < total < inside  # weights are the raw ones, smoothed; what is left out helps no more
    assert bool(np.isfinite(np.asarray(found.pareto_k)).all())


def test_models_can_be_compared(told, quiet):
    assert list(az.compare(told).index) == ["right", "wrong"]


def test_all_groups_come_back_from_a_file(told, tmp_path):
    save_inference_data(told["right"], tmp_path / "posterior.nc")
    again = load_inference_data(tmp_path / "posterior.nc")
    for name in (*EVERY, "observed_data", "constant_data"):
        xr.testing.assert_identical(group(told["right"], name), group(again, name))


# ---------------------------------------------------------------- any SVI: a plain regression


def line(x, y=None):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    ends = pyro.sample("ends", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    spread = pyro.sample("spread", dist.HalfNormal(1.0))
    pyro.deterministic("tenfold", 10 * slope)
    pyro.factor("nothing", torch.tensor(0.0))
    with pyro.plate("row", len(x)):
        return pyro.sample("y", dist.Normal(ends[0] + slope * x, spread), obs=y)


@pytest.fixture(scope="module")
def fitted():
    """The guide of a regression after a few steps, and its data: y = 1 + 2 x + noise of 0.5."""
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 50)
    y = 1 + 2 * x + 0.5 * torch.randn(50)
    with pyro.get_param_store().scope():
        guide = AutoNormal(line)
        svi = SVI(line, guide, ClippedAdam({"lr": 0.05}), TraceMeanField_ELBO())
        for _ in range(300):
            svi.step(x, y)
        yield guide, x, y


@pytest.fixture(scope="module")
def regression(fitted):
    guide, x, y = fitted
    return from_pyro_svi(
        line, guide, args=(x,), kwargs={"y": y}, num_samples=200, constant_data={"x": x},
        dims={"y": ["row"], "x": ["row"], "ends": ["end"]}, coords={"end": ["left", "right"]},
    )  # fmt: skip


def test_any_svi_has_the_groups_of_a_converter_of_arviz(regression):
    assert set(groups(regression)) == {
        "posterior", "posterior_predictive", "prior", "prior_predictive", "log_likelihood", "log_prior",
        "observed_data", "constant_data",
    }  # fmt: skip
    posterior = group(regression, "posterior", "slope", "ends", "spread", "tenfold")
    assert set(posterior.data_vars) == {"slope", "ends", "spread", "tenfold"}
    assert dict(posterior.sizes) == {"chain": 1, "draw": 200, "end": 2}
    assert posterior["end"].values.tolist() == ["left", "right"]
    assert float(posterior["slope"].mean()) == pytest.approx(2.0, abs=0.3)
    np.testing.assert_allclose(posterior["tenfold"], 10 * posterior["slope"], rtol=1e-6)
    assert posterior.attrs["inference_library"] == "pyro"
    assert posterior.attrs["inference_library_version"] == pyro.__version__
    for name in ("posterior_predictive", "prior_predictive", "log_likelihood"):
        assert group(regression, name)["y"].dims == ("chain", "draw", "row")
    assert float(group(regression, "prior")["slope"].std()) == pytest.approx(1.0, abs=0.15)
    assert group(regression, "observed_data")["y"].dims == group(regression, "constant_data")["x"].dims == ("row",)


def test_log_densities_are_those_of_every_row(regression, fitted):
    _, x, y = fitted
    posterior = group(regression, "posterior")
    slope, spread = (torch.as_tensor(posterior[name].values)[..., None] for name in ("slope", "spread"))
    law = dist.Normal(torch.as_tensor(posterior["ends"].values)[..., :1] + slope * x, spread)
    np.testing.assert_allclose(group(regression, "log_likelihood")["y"], law.log_prob(y), rtol=1e-4, atol=1e-5)
    prior = group(regression, "log_prior")
    np.testing.assert_allclose(prior["slope"], dist.Normal(0.0, 1.0).log_prob(slope[..., 0]), rtol=1e-4, atol=1e-5)
    assert prior["ends"].dims == ("chain", "draw")


def test_given_draws_are_taken_and_a_group_may_be_left_out(fitted):
    guide, x, y = fitted
    given = {"slope": torch.arange(5.0), "ends": torch.zeros(5, 2), "spread": torch.ones(5)}
    made = from_pyro_svi(
        line, guide, args=(x, y), posterior=given, prior={}, log_prior=False, sample_dims=["sample"]
    )  # fmt: skip
    assert set(groups(made)) == {"posterior", "posterior_predictive", "log_likelihood", "observed_data"}
    assert group(made, "posterior")["slope"].dims == ("sample",)
    assert group(made, "posterior")["tenfold"].values.tolist() == [0, 10, 20, 30, 40]
    with pytest.raises(nld.DataError, match=r"the model has no latent site y: it has slope, ends, spread"):
        from_pyro_svi(line, guide, args=(x, y), posterior=given | {"y": torch.zeros(5, 50)})
    with pytest.raises(nld.DataError, match=r"every site needs the same number of draws: got \[4, 5\]"):
        from_pyro_svi(line, guide, args=(x, y), posterior=given | {"slope": torch.zeros(4)})
    with pytest.raises(nld.DataError, match=r"sample_dims are one or two names: got 3"):
        from_pyro_svi(line, guide, args=(x, y), sample_dims=("run", "chain", "draw"))


def test_our_own_pair_is_one_svi_of_many():
    model, guide = wells(0.3)
    data = nld.datasets.langevin_wells(nld.DoubleWell(barrier=2.5), 3, 10, 0, interval=0.05, noise=0.3, fine=4)
    made = from_pyro_svi(model, guide, args=nld.as_tensors(data), num_samples=4)
    assert group(made, "posterior")["temperature"].shape == (1, 4)
    assert group(made, "posterior_predictive")["x"].shape == (1, 4, 3, 10, 1)
    assert group(made, "log_likelihood")["x"].shape == (1, 4, 3)


def test_a_regression_can_be_summarised_and_left_out(regression, quiet):
    assert {"slope", "ends[left]", "spread"} <= set(az.summary(regression).index)
    assert int(az.loo(regression).n_data_points) == 50


def test_the_probability_of_what_is_left_out_can_be_drawn(regression, quiet):
    if OLD:
        assert az.plot_loo_pit(regression, y="y") is not None
        values = az.loo_pit(regression, y="y")
        assert 0.3 < float(np.mean(values)) < 0.7
    else:
        assert az.plot_loo_pit(regression, backend="matplotlib") is not None


@pytest.mark.skipif(OLD, reason="plot_ppc_pit came with ArviZ 1")
def test_the_probability_of_what_was_observed_can_be_drawn(regression, quiet):
    assert az.plot_ppc_pit(regression, backend="matplotlib") is not None


def test_sensitivity_to_the_prior(regression, quiet):
    """50 rows of data decide, so that a slope follows its prior little; `ends[right]` is in the prior alone."""
    found = az.psens(regression) if OLD else az.psense(regression)
    weak, strong = float(found["slope"]), float(found["ends"].sel(end="right"))
    assert np.isfinite(weak)
    assert weak < strong
