"""Forecasts against closed forms: the chain of an OU process, Kalman, held-out futures, occupancies, an oscillator."""

import math

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from pyro.nn import PyroSample

import pyro_nld as nld
from pyro_nld import forecasting, plots

STIFF, HEAT, NOISE, GAP, STEPS = 1.0, 1.0, 0.3, 0.1, 2


def fitted(dynamics, data, substeps=STEPS, noise=NOISE, schedule=None):
    """A fit with this prior, its guide trained or not."""
    likelihood = nld.Gaussian(nld.IdentityDecoder(dynamics.latent), noise)
    model = nld.LatentLangevin(dynamics, likelihood, substeps=substeps, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(dynamics.latent, size=16, hidden=16))
    if schedule is not None:
        return nld.fit(model, guide, data, schedule, progress=False)
    times, x = nld.as_tensors(data, whole=False)
    guide(times, x)
    return nld.Fit(model, guide, times, x)


def harmonic(temperature=HEAT):
    return nld.OverdampedLangevin(nld.Quadratic([STIFF]), temperature)


@pytest.fixture(scope="module")
def process():
    """An OU process; the last 10 of 40 observations are the future."""
    data = nld.datasets.ornstein_uhlenbeck(300, 40, seed=1, rate=STIFF, temperature=HEAT, noise=NOISE, interval=GAP)
    return data.isel(time=slice(30)), data.isel(time=slice(29, None))


@pytest.fixture(scope="module")
def informed(process):
    """The true prior, and a guide that has learned to follow the data."""
    return fitted(harmonic(), process[0], schedule=nld.Schedule(steps=250))


# ---------------------------------------------------------------- closed forms


def test_mean_and_variance_go_on_as_the_chain_does(process):
    """Whatever is known of the present: mean aⁿ, variance a²ⁿ of it and the chain's own 2Th(1 − a²ⁿ)/(1 − a²)."""
    draws, h = 1000, GAP / STEPS
    found = nld.forecast(fitted(harmonic(), process[0].isel(sequence=slice(5))), 1.0, draws=draws)
    a = (1 - h * STIFF) ** (STEPS * np.arange(11))[:, None]
    own = 2 * HEAT * h * (1 - a**2) / (1 - (1 - h * STIFF) ** 2)
    start = found["sd"].values[:, :1] ** 2 - NOISE**2
    error = np.sqrt(own / draws)
    assert (np.abs(found["mean"].values - a * found["mean"].values[:, :1])[:, 1:] < 5 * error[1:]).all()
    expected = a**2 * start + own + NOISE**2
    error = np.sqrt(2 * own**2 / draws + 4 * a**2 * start * own / draws)
    assert (np.abs(found["sd"].values ** 2 - expected)[:, 1:] < 5 * error[:, 1:]).all()
    assert (np.abs(found["sd"].values ** 2 - 2 * expected)[:, 1:] > 5 * error[:, 1:]).all()


def test_it_is_near_the_kalman_forecast_as_the_bound_is_near_the_evidence(process, informed):
    """On average over sequences Δ²/2v ≤ KL(q ‖ p) = log evidence − ELBO, Δ between means; not with others' forecasts."""
    past, _ = process
    draws, ahead, model = 200, 5, informed.model
    fine = np.full((300, STEPS * (29 + ahead) + 1, 1), np.nan)
    fine[:, : STEPS * 29 + 1 : STEPS] = past["observations"].values
    h, eye = GAP / STEPS, np.eye(1)
    loc, scale = model.initial_loc.detach().double().numpy(), float(model.initial_scale)
    chain = nld.oracles.LinearGaussian(
        loc, scale**2 * eye, (1 - h * STIFF) * eye, 2 * HEAT * h * eye, eye, NOISE**2 * eye
    )  # fmt: skip
    exact = nld.oracles.kalman(fine, chain)
    bounds = [informed.elbo(draws=1, seed=seed)["total"] / 300 for seed in range(20)]
    gap = float(exact["log_evidence"].mean()) - np.mean(bounds) + 5 * np.std(bounds) / math.sqrt(20)
    mean = nld.forecast(informed, GAP * ahead, draws=draws)["mean"].values[:, :, 0]
    for lead in range(ahead + 1):
        wanted = exact["filtered_mean"].values[:, STEPS * (29 + lead), 0]
        variance = exact["filtered_covariance"].values[:, STEPS * (29 + lead), 0, 0]
        cost = (mean[:, lead] - wanted) ** 2 / (2 * variance)
        slack = 1 / (2 * draws) + 5 * cost.std() / math.sqrt(300)
        assert cost.mean() < gap + slack
        others = (np.roll(mean[:, lead], 1) - wanted) ** 2 / (2 * variance)
        assert others.mean() > gap + slack


def test_an_oscillators_momentum_is_carried_on(seed):
    """Cold and linear: by Cayley and Hamilton x_{n+1} = tr(A) x_n − det(A) x_{n−1}, A the map of one interval."""
    gap, steps, friction, stiff = 0.5, 8, 0.4, 2.0
    generator = torch.Generator().manual_seed(seed)
    times, x = gap * torch.arange(6.0).expand(4, -1), torch.randn(4, 6, 1, generator=generator)
    dynamics = nld.UnderdampedLangevin(nld.Quadratic([stiff]), temperature=1e-8, friction=friction)
    found = nld.forecast(fitted(dynamics, (times, x), steps), 5 * gap, draws=50)["mean"].values[:, :, 0]
    h = gap / steps
    c = math.exp(-friction * h)
    e = (1 - c) / (friction * h)
    step = np.array([[1 - h * h * e * stiff, h * c], [-h * e * stiff, c]])
    whole = np.linalg.matrix_power(step, steps)
    expected = np.trace(whole) * found[:, 1:-1] - np.linalg.det(whole) * found[:, :-2]
    np.testing.assert_allclose(found[:, 2:], expected, atol=5e-4)
    assert np.abs(found[:, 2:] - found[:, 1:-1]).max() > 1e-2


def test_far_ahead_states_are_as_likely_as_they_are_occupied():
    """Six relaxation times on, what was known is forgotten; at once, it is not."""
    well = nld.Tilted(nld.DoubleWell(barrier=1.0, half_distance=1.0), [0.3])
    data = nld.datasets.langevin_wells(well, 10, 10, 0, interval=GAP, temperature=0.8, noise=0.2)
    draws = 150
    found = nld.forecast(fitted(nld.OverdampedLangevin(well, 0.8), data, 10), 6.0, draws=draws)
    wells = nld.landscape.minima(well, torch.tensor([[-1.0], [-1.0], [1.0]]), temperature=0.8)
    assert wells.sizes["state"] == found.sizes["state"] == 2
    share = data["occupancy"].values
    error = math.sqrt(share[0] * share[1] / (10 * draws))
    last = found["probability"].isel(lead=-1).mean("sequence").values
    assert abs(last.max() - share[0]) < 5 * error
    np.testing.assert_allclose(found["probability"].sum("state"), 1.0)


# ---------------------------------------------------------------- coverage


def coverage(found, future, draws):
    """Share of held-out observations inside the 90 % band at every lead, and what it should be for so many draws."""
    low, high = (found["quantiles"].sel(quantile=level).values[:, 1:] for level in (0.05, 0.95))
    x = future["observations"].values[:, 1:]
    return ((low <= x) & (x <= high)).mean((0, 2)), 0.9 * (draws - 1) / (draws + 1)


def test_bands_cover_futures_that_were_held_out(process, informed):
    past, future = process
    draws = 200
    shares, expected = coverage(nld.forecast(informed, 1.0, past, draws=draws), future, draws)
    error = math.sqrt(expected * (1 - expected) / 300)
    assert (np.abs(shares - expected) < 5 * error).all()
    cold = fitted(harmonic(HEAT / 4), past)
    shares, _ = coverage(nld.forecast(cold, 1.0, past, draws=draws), future, draws)
    assert shares[-1] < expected - 5 * error


# ---------------------------------------------------------------- whatever is random


def test_every_future_has_its_own_draw_of_the_temperature(process):
    """Far ahead the variance is E[T]/k, more than T/k at the median: T is LogNormal(0, 0.8)."""
    past, draws = process[0].isel(sequence=slice(2)), 2000
    fit = fitted(harmonic(dist.LogNormal(0.0, 0.8)), past)
    with torch.no_grad():
        fit.guide.others.locs.temperature_unconstrained.fill_(0.0)
        fit.guide.others.scales.temperature_unconstrained.fill_(0.8)
    sd = nld.forecast(fit, 5.0, draws=draws)["sd"].isel(lead=-1).values
    h = GAP / STEPS
    expected = math.exp(0.32) / (1 - h * STIFF / 2) + NOISE**2
    fourth = 3 * math.exp(4 * 0.32) - math.exp(2 * 0.32)  # E[3 T²] − E[T]²
    assert (np.abs(sd**2 - expected) < 5 * math.sqrt(fourth / draws)).all()


def test_random_weights_and_ragged_ends():
    potential = nld.NeuralPotential(1, hidden=(4,))
    potential.output.weight = PyroSample(dist.Normal(torch.zeros(1, 4), 1.0).to_event(2))
    dynamics = nld.OverdampedLangevin(potential, temperature=dist.LogNormal(0.0, 0.3), friction=torch.ones(1))
    times = (0.5 * torch.arange(6.0)).repeat(3, 1)
    x = torch.randn(3, 6, 1)
    times[1, 4:], x[1, 4:] = math.nan, math.nan
    fit = fitted(dynamics, (times, x), substeps=3)
    found = nld.forecast(fit, 1.2, draws=5)
    assert dict(found.sizes) | {"state": 0} == {"sequence": 3, "lead": 4, "channel": 1, "quantile": 5, "state": 0}
    np.testing.assert_allclose(found["lead"], [0.0, 0.4, 0.8, 1.2])
    np.testing.assert_allclose(found["times"][:, 0], [2.5, 1.5, 2.5])
    present = fit.positions(draws=5)[:, torch.arange(3), torch.tensor([5, 3, 5])].mean(0)  # the very same draws
    np.testing.assert_allclose(found["mean"][:, 0], present, rtol=1e-5)


def test_many_sequences_are_done_in_pieces(process, monkeypatch):
    fit = fitted(harmonic(), process[0].isel(sequence=slice(7)))
    monkeypatch.setattr(forecasting, "NUMBERS", 3 * 10 * 6)
    found = nld.forecast(fit, 0.5, draws=10)
    assert found.sizes["sequence"] == 7
    assert bool(np.isfinite(found["quantiles"]).all())
    assert bool((found["quantiles"].diff("quantile") >= 0).all())


@pytest.mark.parametrize("horizon", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_horizon_is_refused(process, horizon):
    with pytest.raises(nld.TimeGridError) as caught:
        nld.forecast(fitted(harmonic(), process[0].isel(sequence=slice(2))), horizon)
    assert str(caught.value) == (
        f"the horizon must be positive and finite: got {horizon}. Give it in the data's unit of time."
    )


# ---------------------------------------------------------------- what a person sees


def test_the_picture_shows_the_past_and_the_bands(process):
    past = process[0].isel(sequence=slice(3))
    found = nld.forecast(fitted(harmonic(), past), 0.5, draws=30)
    figure = plots.forecast(found, past, sequence=2)
    figure.canvas.draw()
    fan, states = figure.axes
    observed, middle = fan.lines[:2]
    np.testing.assert_allclose(observed.get_ydata(), past["observations"].values[2, -20:, 0])
    np.testing.assert_allclose(middle.get_ydata(), found["quantiles"].values[2, :, 0, 2])
    np.testing.assert_allclose(middle.get_xdata(), found["times"].values[2])
    assert states.get_ylim() == (0.0, 1.0)
    with pytest.raises(nld.DataError, match=r"sequence must be below 3: got 3\. Choose one there is\."):
        plots.forecast(found, past, sequence=3)


def test_the_table_runs_from_now_to_the_horizon(process):
    found = nld.forecast(fitted(harmonic(), process[0].isel(sequence=slice(2))), 2.0, draws=30)
    head, *rows = nld.tables.futures(found).splitlines()
    assert "P(state 0)" in head
    assert [float(row.split()[0]) for row in rows] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert all("1.000" in row for row in rows)
