"""Forecasts against closed forms: the chain of an OU process, Kalman, held-out futures, occupancies, an oscillator."""

import math

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from pyro.nn import PyroSample

import pyro_nld as nld
from pyro_nld import plots
from pyro_nld.results import forecasting

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
    """An OU process; the last 10 of 20 observations are the future."""
    data = nld.datasets.ornstein_uhlenbeck(300, 20, seed=1, rate=STIFF, temperature=HEAT, noise=NOISE, interval=GAP)
    return data.isel(time=slice(10)), data.isel(time=slice(9, None))


@pytest.fixture(scope="module")
def informed(process):
    """The true prior, and a guide that has learned to follow the data."""
    return fitted(harmonic(), process[0], schedule=nld.Schedule(steps=200))


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
    """On average Δ²/2v ≤ KL(q ‖ p) = log evidence − ELBO, Δ between means; not for forecasts of other sequences."""
    past, _ = process
    draws, ahead, model = 200, 3, informed.model
    fine = np.full((300, STEPS * (9 + ahead) + 1, 1), np.nan)
    fine[:, : STEPS * 9 + 1 : STEPS] = past["observations"].values
    h, eye = GAP / STEPS, np.eye(1)
    loc, scale = model.initial_loc.detach().double().numpy(), float(model.initial_scale.detach())
    chain = nld.oracles.LinearGaussian(
        loc, scale**2 * eye, (1 - h * STIFF) * eye, 2 * HEAT * h * eye, eye, NOISE**2 * eye
    )  # fmt: skip
    exact = nld.oracles.kalman(fine, chain)
    bounds = [informed.elbo(draws=1, seed=seed)["total"] / 300 for seed in range(20)]
    gap = float(exact["log_evidence"].mean()) - np.mean(bounds) + 5 * np.std(bounds) / math.sqrt(20)
    mean = nld.forecast(informed, GAP * ahead, draws=draws)["mean"].values[:, :, 0]
    for lead in range(ahead + 1):
        wanted = exact["filtered_mean"].values[:, STEPS * (9 + lead), 0]
        variance = exact["filtered_covariance"].values[:, STEPS * (9 + lead), 0, 0]
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
    """Some relaxation times on, what was known is forgotten; at once, it is not."""
    well, draws = nld.Tilted(nld.DoubleWell(barrier=1.6, half_distance=1.0), [0.2]), 150
    data = nld.datasets.langevin_wells(well, 10, 10, 0, interval=GAP, temperature=0.8, noise=0.2)
    wells = nld.landscape.minima(well, torch.tensor([[-1.0], [-1.0], [1.0]]), temperature=0.8)
    fit = fitted(nld.OverdampedLangevin(well, 0.8), data, 10)
    found = nld.forecast(fit, 12.0, draws=draws, wells=wells)["probability"].sel(state=0).mean("sequence")
    share = float(data["occupancy"][0])  # of the deeper well, the left one, in both numberings
    error = math.sqrt(share * (1 - share) / (10 * draws))
    assert abs(float(found[-1]) - share) < 5 * error
    assert abs(float(found[0]) - share) > 5 * error


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
    """Far ahead the variance is E[T]/k, more than T/k at the median, 1: log T is N(0, s²)."""
    past, draws, h = process[0].isel(sequence=slice(2)), 4000, GAP / STEPS
    fit = fitted(harmonic(dist.LogNormal(0.0, 0.5)), past)
    with torch.no_grad():
        fit.guide.others.locs.temperature_unconstrained.fill_(0.0)
        fit.guide.others.scales.temperature_unconstrained.fill_(0.0)
        s = float(fit.guide.others.scales.temperature)
    own = nld.forecast(fit, 5.0, draws=draws)["sd"].isel(lead=-1).values ** 2 - NOISE**2
    chain = 1 / (1 - h * STIFF / 2)  # variance of a chain at T = 1
    error = chain * math.sqrt((3 * math.exp(2 * s**2) - math.exp(s**2)) / draws)  # E[z⁴] = 3 E[T²]
    assert (np.abs(own - chain * math.exp(s**2 / 2)) < 5 * error).all()
    assert (own > chain + 5 * error).all()


def test_random_weights_and_ragged_ends():
    potential = nld.NeuralPotential(1, hidden=(4,))
    potential.output.weight = PyroSample(dist.Normal(torch.zeros(1, 4), 1.0).to_event(2))
    dynamics = nld.OverdampedLangevin(potential, temperature=dist.LogNormal(0.0, 0.3), friction=torch.ones(1))
    times = (0.5 * torch.arange(6.0)).repeat(3, 1)
    x = torch.randn(3, 6, 1)
    times[1, 4:], x[1, 4:] = math.nan, math.nan
    fit = fitted(dynamics, (times, x), substeps=3)
    draws, ends = 100, torch.tensor([5, 3, 5])
    found = nld.forecast(fit, 1.2, draws=draws)
    assert dict(found.sizes) | {"state": 0} == {"sequence": 3, "lead": 4, "channel": 1, "quantile": 5, "state": 0}
    np.testing.assert_allclose(found["lead"], [0.0, 0.4, 0.8, 1.2])
    np.testing.assert_allclose(found["times"][:, 0], [2.5, 1.5, 2.5])
    present = fit.positions(draws=draws, seed=1)[:, torch.arange(3), ends].double()
    error = (present.std(0) * math.sqrt(2 / draws)).numpy()
    assert (np.abs(found["mean"][:, 0] - present.mean(0).numpy()) < 5 * error).all()


def test_many_sequences_are_done_in_pieces(process, monkeypatch):
    fit = fitted(harmonic(), process[0].isel(sequence=slice(7)))
    monkeypatch.setattr(forecasting, "VALUES_AT_A_TIME", 3 * 10 * 6)
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


def test_a_prior_that_explodes_is_refused(process):
    coarse = fitted(nld.OverdampedLangevin(nld.Quadratic([2.5 * STEPS / GAP])), process[0].isel(sequence=slice(2)))
    wells = nld.landscape.minima(coarse.potential, torch.linspace(-1.0, 1.0, 5).unsqueeze(-1))
    with pytest.raises(nld.FitError, match="the fitted prior explodes: 20 of 20 futures are not finite"):
        nld.forecast(coarse, 25.0, draws=10, wells=wells)


# ---------------------------------------------------------------- what a person sees


def test_the_picture_shows_the_past_and_the_bands(process):
    past = process[0].isel(sequence=slice(3))
    found = nld.forecast(fitted(harmonic(), past), 0.5, draws=30)
    figure = plots.forecast(found, past, sequence=2)
    figure.canvas.draw()
    fan, states = figure.axes
    observed, middle = fan.lines[:2]
    np.testing.assert_allclose(observed.get_ydata(), past["observations"].values[2, :, 0])
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
