"""An instrument that averages, held against the Ornstein–Uhlenbeck process, whose averages are known."""

import math

import pyro
import pytest
import torch

import pyro_nld as nld

STIFF, HEAT, NOISE, GAP = 1.5, 0.8, 0.2, 0.7


def build(substeps, exposure, **options):
    motion = nld.OverdampedLangevin(nld.Quadratic([STIFF]), temperature=HEAT)
    likelihood = nld.Gaussian(nld.IdentityDecoder(1), NOISE)
    options = {"start": "equilibrium", "time_unit": 1.0} | options
    model = nld.LatentLangevin(motion, likelihood, substeps, exposure=exposure, **options)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=16, hidden=16))


def weights(model, intervals):
    """What is seen as a matrix: `(observation, fine point)`, the first of which is z₀."""
    units = torch.eye(intervals * model.substeps + 1).unsqueeze(-1)
    return model.seen_positions(units[:, 0], units[:, 1:])[..., 0].mT.double()


@pytest.mark.parametrize("exposure", [0.5, 1.0])
def test_averages_have_the_covariance_of_the_process(exposure):
    """Var = 2 T/k (a − 1 + e⁻ᵃ)/a², and T/k e^−(Δ−e)k ((1 − e⁻ᵃ)/a)² from one to the next, with a = k e Δ."""
    substeps, intervals = 100, 2
    model, _ = build(substeps, exposure)
    seen = weights(model, intervals)
    time = torch.arange(intervals * substeps + 1.0).double() * GAP / substeps
    covariance = HEAT / STIFF * torch.exp(-STIFF * (time - time.unsqueeze(-1)).abs())
    found = seen @ covariance @ seen.mT
    a = STIFF * exposure * GAP
    variance = 2 * HEAT / STIFF * (a - 1 + math.exp(-a)) / a**2
    lagged = HEAT / STIFF * math.exp(-STIFF * (1 - exposure) * GAP) * ((1 - math.exp(-a)) / a) ** 2
    assert found[1, 1].item() == pytest.approx(variance, rel=1e-4)
    assert found[2, 2].item() == pytest.approx(variance, rel=1e-4)
    assert found[1, 2].item() == pytest.approx(lagged, rel=1e-4)
    assert abs(variance / (HEAT / STIFF) - 1) > 0.1  # a point value has another
    assert found[0, 0].item() == pytest.approx(HEAT / STIFF)  # nothing was exposed before the first


def exact(model, x, times):
    """log p(x) of a chain of Euler steps that is seen through the weights, a Gaussian of all observations."""
    intervals, h = len(times) - 1, GAP / model.substeps
    count = intervals * model.substeps + 1
    variance, decay = HEAT / STIFF, 1 - h * STIFF
    lower = torch.tril(decay ** (torch.arange(count) - torch.arange(count).unsqueeze(-1)).mT.abs().double())
    noise = torch.full((count,), 2 * HEAT * h, dtype=torch.float64)
    noise[0] = variance
    covariance = lower @ torch.diag(noise) @ lower.mT
    seen = weights(model, intervals)
    whole = seen @ covariance @ seen.mT + NOISE**2 * torch.eye(intervals + 1)
    law = torch.distributions.MultivariateNormal(torch.zeros(intervals + 1, dtype=torch.float64), whole)
    return law.log_prob(x[..., 0].double())


@pytest.mark.parametrize("exposure", [0.0, 0.6, 1.0])
def test_particles_find_the_exact_evidence_and_the_bound_stays_below(exposure):
    torch.manual_seed(0)
    model, guide = build(5, exposure)
    times = GAP * torch.arange(4.0)
    with torch.no_grad():
        x = model(times.expand(6, -1))
    known = exact(model, x, times)
    rows = times.expand(6, -1)
    found = torch.stack(
        [
            nld.particles.particle_posterior(model, guide, rows, x, particles=2000).log_evidence.double()
            for _ in range(8)
        ]
    )
    error = found.std(0) / math.sqrt(8)
    assert ((found.mean(0) - known).abs() < 5 * error + 1e-3).all()
    if exposure:  # a model that sees points has another evidence
        assert ((found.mean(0) - exact(build(5, 0.0)[0], x, times)).abs() > 5 * error + 1e-3).any()
    losses = torch.tensor([nld.PathELBO().loss(model, guide, rows, x) for _ in range(30)])
    assert -losses.mean() < known.sum() + 5 * losses.std() / math.sqrt(30)


def test_a_fit_and_a_forecast_know_the_exposure():
    torch.manual_seed(0)
    model, guide = build(6, 1.0)
    times = (GAP * torch.arange(10.0)).expand(20, -1)
    with torch.no_grad():
        x = model(times)
    fit = nld.fit(model, guide, (times, x), nld.Schedule(steps=20), progress=False)
    assert math.isfinite(fit.elbo()["total"])
    assert "exposure = 1 of the interval" in repr(model)
    far = nld.forecast(fit, 8.0, draws=4000)["sd"].isel(lead=-1).values
    h = GAP / 6
    chain = HEAT / STIFF / (1 - h * STIFF / 2)  # variance of a chain of Euler steps in equilibrium
    apart = (torch.arange(7) - torch.arange(7).unsqueeze(-1)).abs()
    share = torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]).double() / 6
    spread = float(share @ (chain * (1 - h * STIFF) ** apart.double()) @ share) + NOISE**2
    step = float(nld.forecast(fit, 8.0, draws=2)["lead"][1])
    assert step == pytest.approx(GAP, rel=0.05)
    assert (abs(far**2 / spread - 1) < 5 * math.sqrt(2 / 4000) + 0.03).all()  # leads are a little shorter than GAP


def test_draws_are_vectorised_and_a_share_is_a_share():
    model, _ = build(3, 1.0)
    with pyro.plate("draw", 7, dim=-2):
        assert model(GAP * torch.arange(3.0).expand(2, -1)).shape == (7, 2, 3, 1)
    assert build(3, 0.1)[0].exposure_steps == 1
    with pytest.raises(nld.PriorError, match="exposure"):
        build(3, 1.5)
