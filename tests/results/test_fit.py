"""What is read from a fit: draws, bounds and Datasets, each against the model it is read from."""

import math
import sys

import arviz as az
import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal
from pyro.nn import PyroSample
from torch import nn

import pyro_nld as nld
from pyro_nld.fitting import draws
from pyro_nld.guide import amortized
from pyro_nld.landscape import step_size

SEQUENCES, TIMES, CHANNELS = 5, 7, 3


def data(sequences=SEQUENCES):
    """One ragged sequence, one missing value."""
    draw = torch.Generator().manual_seed(0)
    times = (0.5 * torch.arange(float(TIMES))).repeat(sequences, 1)
    x = torch.randn(sequences, TIMES, CHANNELS, generator=draw)
    times[1, 4:], x[1, 4:] = math.nan, math.nan
    x[2, 3, 1] = math.nan
    return times, x


def build(potential=None, autoguide=None, noise=None, **given):
    dynamics = nld.OverdampedLangevin(potential or nld.NeuralPotential(2, hidden=(5,)), **given)
    model = nld.LatentLangevin(dynamics, nld.Gaussian(nld.MLPDecoder(2, CHANNELS, hidden=(5,)), noise), substeps=3)
    options = {} if autoguide is None else {"autoguide": autoguide}
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6, hidden=6), **options)


def by_hand(*args, **given):
    """A `Fit` made by hand, as after plain SVI."""
    pair = build(*args, **given)
    pair[1](*data())
    return nld.Fit(*pair, *data())


@pytest.fixture
def fitted():
    return by_hand(temperature=dist.LogNormal(0.0, 0.3), noise=dist.LogNormal(torch.full((CHANNELS,), -1.0), 0.1))


# ---------------------------------------------------------------- numbers in place of distributions


def test_random_quantities_become_their_posterior_medians(fitted):
    median = fitted.guide.others.median(*data())
    assert fitted.temperature == pytest.approx(float(median["temperature"]))
    torch.testing.assert_close(fitted.dynamics.temperature, median["temperature"])
    assert "temperature" in fitted.model.dynamics._pyro_samples


@pytest.mark.parametrize(
    "kind", [0.7, nn.Parameter(torch.tensor(0.7)), torch.tensor(0.7)], ids=["float", "learned", "tensor"]
)
def test_the_temperature_of_any_kind(kind):
    assert by_hand(temperature=kind).temperature == pytest.approx(0.7)


def test_the_potential_is_a_function_without_sites_or_gradients():
    potential = nld.NeuralPotential(2, hidden=(5,))
    potential.output.weight = PyroSample(dist.Normal(torch.zeros(1, 5), 1.0).to_event(2))
    fitted = by_hand(potential)
    points = torch.randn(4, 2)
    with pyro.poutine.trace() as handler:
        energies = fitted.potential(points), fitted.potential(points)
    assert torch.equal(*energies)
    assert not handler.trace.stochastic_nodes
    assert not energies[0].requires_grad


def test_a_guide_that_has_met_no_data_can_be_read():
    pair = build(temperature=dist.LogNormal(0.0, 0.3))
    assert nld.Fit(*pair, *data()).temperature == pytest.approx(1.0, rel=0.5)


def test_any_autoguide_can_be_read():
    fitted = by_hand(temperature=dist.LogNormal(0.0, 0.3), autoguide=AutoMultivariateNormal)
    assert fitted.temperature > 0
    assert set(fitted.inference_data(draws=2, states=False)["posterior"].data_vars) == {"temperature", "z"}


def test_units_of_time(fitted):
    assert fitted.time_unit == pytest.approx(5.0)
    assert fitted.step == pytest.approx(0.5 / 5.0 / 3)


def test_the_step_is_the_largest():
    model, guide = build()
    times, x = data()
    times[3, -1] += 2.0
    guide(times, x)
    fitted = nld.Fit(model, guide, times, x)
    assert fitted.step == pytest.approx(2.5 / fitted.time_unit / 3)


# ---------------------------------------------------------------- draws


def test_positions_of_the_fits_data_and_of_others(fitted):
    assert fitted.positions(draws=3).shape == (3, SEQUENCES, TIMES, 2)
    assert fitted.positions((torch.arange(4.0), torch.randn(2, 4, CHANNELS))).shape == (1, 2, 4, 2)
    few = xr.Dataset(
        {"observations": (("sequence", "time", "channel"), np.random.default_rng(0).normal(size=(1, 3, CHANNELS)))},
        coords={"time": np.arange(3.0)},
    )
    assert fitted.positions(few).shape == (1, 1, 3, 2)


def test_a_few_sequences_may_lack_a_channel(fitted):
    x = torch.randn(2, 4, CHANNELS)
    x[..., 1] = math.nan
    assert bool(fitted.positions((torch.arange(4.0), x)).isfinite().all())


def test_draws_are_reproducible_and_leave_the_callers_random_numbers_alone(fitted):
    before = torch.get_rng_state()
    first, again, other = fitted.positions(seed=1), fitted.positions(seed=1), fitted.positions(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_reading_changes_neither_model_nor_store(fitted):
    pyro.clear_param_store()
    pyro.param("noise_scale", torch.tensor(9.0))
    before = {name: value.clone() for name, value in fitted.model.state_dict().items()}
    fitted.positions()
    fitted.elbo()
    fitted.inference_data(draws=2, states=False)
    assert list(pyro.get_param_store().keys()) == ["noise_scale"]
    assert all(torch.equal(value, before[name]) for name, value in fitted.model.state_dict().items())


def test_a_stale_store_does_not_reach_into_what_is_read():
    fitted = by_hand()
    first = fitted.positions()
    for name, value in fitted.guide.named_parameters():
        pyro.param(name, torch.zeros_like(value))
    assert torch.equal(fitted.positions(), first)


def test_positions_are_draws_of_the_posterior():
    """At an observation they are the site z after all substeps of the interval before it."""
    fitted = by_hand()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(4)
        nodes = pyro.poutine.trace(fitted.guide).get_trace(*data()).nodes
    expected = torch.cat([nodes["z0"]["value"].unsqueeze(1), nodes["z"]["value"][:, 2::3]], 1)
    assert torch.equal(fitted.positions(seed=4)[0], expected)


def test_globals_are_drawn_once_for_all_chunks(fitted, monkeypatch):
    monkeypatch.setattr(draws, "DRAW_CHUNK", 2)
    idata = fitted.inference_data(draws=4, states=False)
    assert idata["posterior"]["temperature"].shape == (1, 4)
    assert len(np.unique(idata["posterior"]["temperature"])) == 4
    with draws.inference_mode(0):
        parts = list(draws.parts(fitted.model, fitted.guide, *data()))
    assert len(parts) == 3
    assert len({float(part.sites["temperature"]) for part in parts}) == 1
    assert all(
        float(part.traces[0].nodes["temperature"]["value"]) == float(parts[0].sites["temperature"]) for part in parts
    )


def test_data_are_encoded_once_for_all_draws(fitted, monkeypatch):
    """In every chunk of sequences the draws have their own globals, the same as in the other chunks."""
    encoded, temperatures = [], []
    encode, path = type(fitted.guide.encoder).forward, amortized.ControlledPath
    monkeypatch.setattr(draws, "PATH_NUMBERS", 2 * 5 * TIMES * fitted.model.substeps * 2)  # two sequences
    monkeypatch.setattr(type(fitted.guide.encoder), "forward", lambda *args: encoded.append(1) or encode(*args))
    monkeypatch.setattr(
        amortized, "ControlledPath", lambda *args: temperatures.append(args[-1]["temperature"]) or path(*args)
    )
    assert fitted.positions(draws=5).shape == (5, SEQUENCES, TIMES, 2)
    assert len(encoded) == len(temperatures) == 3
    assert len(temperatures[0].unique()) == 5
    assert all(torch.equal(each, temperatures[0]) for each in temperatures)


@pytest.mark.parametrize("temperature", [None, dist.LogNormal(0.0, 0.3)], ids=["fixed", "random"])
def test_draws_together_have_the_law_of_draws_one_by_one(temperature):
    """Under one temperature the draws share all matrices; under their own ones they do not."""
    fitted = by_hand(**({} if temperature is None else {"temperature": temperature}))
    together = fitted.positions(draws=400)
    alone = torch.cat([fitted.positions(seed=seed) for seed in range(1, 401)])
    for moment in (torch.mean, torch.std):
        gap = (moment(together, 0) - moment(alone, 0)) / alone.std(0)
        assert float(gap.abs().max()) < 5 * (2 / 400) ** 0.5


def test_encoded_points_exist(fitted):
    points = fitted.encoded()
    assert points.shape == (int(data()[0].isfinite().sum()), 2)
    assert fitted.encoded(limit=4).shape == (4, 2)
    everything = {tuple(row) for row in fitted.positions(seed=0)[0][data()[0].isfinite()].tolist()}
    assert {tuple(row) for row in points.tolist()} == everything


def test_decoding_is_in_the_datas_unit(fitted):
    decoder = fitted.model.likelihood.decoder
    points = torch.randn(4, 2)
    torch.testing.assert_close(fitted.decode(points), (decoder.loc + decoder.scale * decoder.decode(points)).detach())
    assert fitted.decode(points.double()).shape == (4, CHANNELS)


# ---------------------------------------------------------------- the bound


def test_the_bound_is_the_sum_of_its_terms_per_value(fitted):
    bound = fitted.elbo()
    total = bound["log_likelihood"] - bound["path_kl"] - bound["initial_kl"] - bound["global_kl"]
    assert bound["total"] == pytest.approx(total, rel=1e-5)
    assert bound["per_observation"] == pytest.approx(bound["total"] / int(data()[1].isfinite().sum()))
    assert bound["global_kl"] != 0


def test_twice_the_data_have_twice_the_bound_and_the_globals_once():
    fitted = by_hand(temperature=dist.LogNormal(0.0, 0.3), autoguide=AutoDelta)  # a point: its KL is no estimate
    twice = tuple(torch.cat([part, part]) for part in data())
    one, two = (fitted.elbo(given, draws=60) for given in (data(), twice))
    for name in ("log_likelihood", "path_kl", "initial_kl"):
        assert two[name] == pytest.approx(2 * one[name], rel=0.1)
    assert two["global_kl"] == pytest.approx(one["global_kl"], rel=1e-6)
    assert one["global_kl"] != 0


# ---------------------------------------------------------------- for ArviZ


def test_groups_dimensions_and_coordinates(fitted):
    idata = fitted.inference_data(draws=6)
    posterior = idata["posterior"]
    assert dict(posterior.sizes) == {
        "chain": 1, "draw": 6, "sequence": SEQUENCES, "time": TIMES, "latent": 2, "channel": CHANNELS,
        "state": 1, "to": 1,
    }  # fmt: skip
    assert posterior["z"].dims == ("chain", "draw", "sequence", "time", "latent")
    assert idata["observed_data"]["x"].dims == ("sequence", "time", "channel")
    assert idata["constant_data"]["times"].dims == ("sequence", "time")
    np.testing.assert_array_equal(idata["observed_data"]["x"], data()[1])
    np.testing.assert_array_equal(idata["constant_data"]["times"], data()[0])


def test_after_the_end_of_a_sequence_there_is_no_path(fitted):
    z = fitted.inference_data(draws=2, states=False)["posterior"]["z"]
    expected = np.broadcast_to(data()[0].isnan().numpy()[None, None, :, :, None], z.shape)
    np.testing.assert_array_equal(np.isnan(z), expected)


def test_the_sample_stats_are_the_terms_of_every_draw(fitted, monkeypatch):
    """Their means agree with the bound within 5 standard errors, however the sequences are cut into chunks."""
    bound = fitted.elbo(draws=50)
    for chunk in (2, 256):
        monkeypatch.setattr(draws, "DRAW_CHUNK", chunk)
        stats = fitted.inference_data(draws=50, groups=["sample_stats"])["sample_stats"]
        terms = stats.drop_vars(["log_weight", "log_prob"])
        assert set(terms.data_vars) == {"log_likelihood", "path_kl", "initial_kl", "global_kl"}
        for name, values in terms.items():
            se = float(values.std()) * math.sqrt(2 / 50)
            assert abs(float(values.mean()) - bound[name]) < 5 * se + 1e-5 * abs(bound[name])


def test_arviz_summarises(fitted):
    summary = az.summary(fitted.inference_data(draws=50, states=False), var_names=["temperature", "noise_scale"])
    assert list(summary.index) == ["temperature", *(f"noise_scale[{i}]" for i in range(CHANNELS))]
    assert bool(np.isfinite(summary["mean"].astype(float)).all())


def test_draws_of_the_globals_have_the_posteriors_spread(fitted):
    guide = fitted.guide.others
    with torch.no_grad():
        guide.locs.temperature_unconstrained.fill_(-0.3)
        guide.scales.temperature_unconstrained.fill_(-1.0)
        scale = float(guide.scales.temperature)
    logs = np.log(fitted.inference_data(draws=200, states=False)["posterior"]["temperature"].to_numpy()).ravel()
    assert abs(logs.mean() + 0.3) < 5 * scale / math.sqrt(200)
    assert abs(logs.std() - scale) < 5 * scale / math.sqrt(400)


def test_only_as_many_sequences_as_fit_are_kept(fitted, monkeypatch):
    monkeypatch.setattr(sys.modules["pyro_nld.results.fit"], "NUMBERS", 2 * TIMES * CHANNELS * 3)
    idata = fitted.inference_data(draws=2, states=False)
    assert idata["posterior"].sizes["sequence"] == idata["observed_data"].sizes["sequence"] == 3


@pytest.mark.parametrize("named", [True, False])
def test_of_the_sequences_that_are_kept_the_names_are_kept(fitted, monkeypatch, named):
    """Also where the data name channels alone, as those of the demo do."""
    about = xr.Dataset(coords={"channel": [f"c{number}" for number in range(CHANNELS)]})
    names = [f"s{number}" for number in range(len(fitted.x))]
    whole = about.assign_coords(sequence=names) if named else about
    monkeypatch.setattr(fitted, "about", whole)
    monkeypatch.setattr(sys.modules["pyro_nld.results.fit"], "NUMBERS", 2 * TIMES * CHANNELS * 3)
    idata = fitted.inference_data(draws=2, states=False)
    assert idata["observed_data"]["channel"].values.tolist() == about["channel"].values.tolist()
    if named:
        assert idata["posterior"]["sequence"].values.tolist() == names[:3]


# ---------------------------------------------------------------- the landscape


def test_everything_of_the_landscape_in_one_dataset():
    wells = nld.GaussianWells([[-1.5, 0.0], [1.5, 0.0]], [0.6, 0.4], 0.5)
    model, _ = build(wells, noise=0.2)
    with torch.no_grad():
        times = torch.arange(0.0, 3.0, 0.1).expand(30, -1)
        model.time_unit.fill_(1.0)
        x = model(times)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6, hidden=6))
    guide(times, x)
    fit = nld.Fit(model, guide, times, x)
    story = fit.landscape(min_persistence=0.0)  # nothing was learned of what persists
    assert story.sizes["state"] == 2
    np.testing.assert_allclose(np.sort(story["position"].to_numpy()[:, 0]), [-1.5, 1.5], atol=0.05)
    for route in ("energy", "harmonic", "data"):
        assert float(story[f"occupancy_{route}"].sum()) == pytest.approx(1.0)
    heavier = int(story["position"].to_numpy()[:, 0].argmin())
    assert float(story["occupancy_harmonic"][heavier]) == pytest.approx(0.6, abs=0.02)
    assert story["decoded"].dims == ("state", "channel")
    label = nld.segment(fit, wells=story)["label"].values
    for state in np.unique(label[label >= 0]):
        np.testing.assert_allclose(story["level"].sel(state=state), x.numpy()[label == state].mean(0), rtol=1e-4)
    assert {"temperature", "time_unit", "substeps", "max_curvature_step"} <= set(story.attrs)
    grid = nld.generators.generator(nld.OverdampedLangevin(wells), [-3.5, -2.5], [3.5, 2.5])
    core = nld.kinetics.cores(wells, story, torch.as_tensor(grid.centres)).numpy()
    source, target = story["saddle_states"].values[0]
    nearest = np.linalg.norm(grid.centres - story["saddle_position"].values[0], axis=-1).argmin()
    exact = nld.generators.committor(grid, core == source, core == target)[nearest]
    error = np.sqrt(exact * (1 - exact) / 200)  # of 200 shots
    assert float(story["saddle_committor"][0]) == pytest.approx(exact, abs=5 * error)
    assert {"implied", "passage", "rate_low"} <= set(story.data_vars)


# ---------------------------------------------------------------- what is refused


def test_other_channels_are_refused(fitted):
    with pytest.raises(nld.ShapeError) as caught:
        fitted.positions((torch.arange(4.0), torch.randn(2, 4, CHANNELS + 1)))
    assert str(caught.value) == (
        f"the data need the channels of the fit: expected {CHANNELS}, got {CHANNELS + 1}. "
        "Give the same channels in the same order."
    )


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ((torch.tensor([0.0, 2.0, 1.0]), torch.randn(2, 3, CHANNELS)), nld.TimeGridError),
        ((torch.arange(3.0), torch.randn(3, CHANNELS)), nld.ShapeError),
        ("file.nc", nld.DataError),
    ],
    ids=["order", "axes", "a name"],
)
def test_bad_data_are_refused(fitted, given, error):
    with pytest.raises(error):
        fitted.positions(given)


def test_the_step_is_checked_on_a_part_of_many_sequences(fitted, monkeypatch):
    many = nld.Fit(fitted.model, fitted.guide, fitted.times.repeat(100, 1), fitted.x.repeat(100, 1, 1))
    drawn, found, positions = [], [], nld.Fit.positions
    monkeypatch.setattr(nld.Fit, "positions", lambda self, data: drawn.append(len(data[1])) or positions(self, data))
    monkeypatch.setattr(nld.Fit, "_found", lambda self, points: found.append(points))
    monkeypatch.setattr(step_size, "discretisation", lambda *args: {"ok": 1})
    assert many.discretisation() == {"ok": 1}
    assert 100 <= drawn[0] < 200 < 100 * SEQUENCES
    assert len(found[0]) <= 500
    assert bool(found[0].isfinite().all())


def test_each_group_is_read_with_its_own_temperature():
    """Harmonic data whose variance is T/k, with T of 0.5 and of 4 in alternating sequences."""
    group = torch.arange(20) % 2
    heat = nld.PerGroup(dist.LogNormal(0.0, 1.0), group)
    motion = nld.OverdampedLangevin(nld.Quadratic([1.0]), temperature=heat)
    model = nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1), 0.1), substeps=2, time_unit=1.0)
    truth = poutine.condition(model, {"temperature": torch.tensor([0.5, 4.0])})
    times = torch.linspace(0.0, 3.0, 16)
    torch.manual_seed(1)
    x = truth(times.expand(20, -1)).detach()
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
    fit = nld.fit(model, guide, (times, x), nld.Schedule(240, learning_rate=0.05), progress=False)
    with pytest.raises(nld.FitError, match=r"temperature has a value for each group .* Choose a group, fit.of_group"):
        fit.wells()
    cold, hot = fit.of_group(0), fit.of_group(1)
    assert (len(cold.x), len(hot.x)) == (10, 10)
    assert torch.equal(hot.x, x[1::2])
    assert hot.temperature > 1.8 * cold.temperature  # after so few steps, on the way to 8
    assert hot.wells().attrs["temperature"] == hot.temperature
    assert fit.inference_data(draws=2, states=False).posterior["temperature"].dims[-1] == "temperature_group"
    with pytest.raises(nld.FitError, match="no sequence is of group 2"):
        fit.of_group(2)
