"""Joint draws and their densities, against the model written down once more and against exact evidence."""

import math

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from torch.distributions import Normal

import pyro_nld as nld
from pyro_nld.fitting import draws
from pyro_nld.results import groups

TIMES, STIFF, HEAT, NOISE, STEPS = 3, 1.0, 1.0, 1.5, 2


def harmonic(temperature=HEAT, noise=NOISE, copies=1):
    """One harmonic well, all numbers known, an untrained guide, four sequences so many times over.

    One value is missing, and one sequence ends early.
    """
    dynamics = nld.OverdampedLangevin(nld.Quadratic([STIFF]), temperature)
    model = nld.LatentLangevin(dynamics, nld.Gaussian(nld.IdentityDecoder(1), noise), substeps=STEPS, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))
    with torch.no_grad():
        guide.initial.bias[1:] = 2.0  # wide enough to cover the posterior, so that weights have a variance
    generator = torch.Generator().manual_seed(0)
    times = (0.4 * torch.arange(float(TIMES))).repeat(4, 1)
    x = 0.7 * torch.randn(4, TIMES, 1, generator=generator)
    times[1, 2], x[1, 2], x[2, 1] = math.nan, math.nan, math.nan
    times, x = times.repeat(copies, 1), x.repeat(copies, 1, 1)
    guide(times, x)
    return model, guide, times, x


def exact_evidence(times, x):
    """log p(x) of the discretised model: a linear Gaussian chain on the fine grid, seen at every other point."""
    h = 0.4 / STEPS
    fine = np.full((len(x), STEPS * (TIMES - 1) + 1, 1), np.nan)
    fine[:, ::STEPS] = x.numpy()
    eye = np.eye(1)
    chain = nld.oracles.LinearGaussian(
        np.zeros(1), eye, (1 - h * STIFF) * eye, 2 * HEAT * h * eye, eye, NOISE**2 * eye
    )  # fmt: skip
    return nld.oracles.kalman(fine, chain)["log_evidence"].values


def one(particles=1, copies=1):
    """A joint draw, and what it was drawn for."""
    model, guide, times, x = harmonic(copies=copies)
    with draws.inference_mode(1):
        return draws.posterior(model, guide, times, x, [], particles), times, x


@pytest.mark.parametrize("particles", [1, 6])
def test_weights_average_to_the_evidence(particles):
    """E_q[p(x, z)/q(z)] = p(x), exactly: per sequence, for one path and for a filter of many."""
    copies = 3000
    draw, times, x = one(particles, copies)
    ratio = draw.evidence.double().reshape(copies, 4) - torch.as_tensor(exact_evidence(times[:4], x[:4]))
    weight = ratio.exp()
    error = weight.std(0) / math.sqrt(copies)
    assert bool((error < 0.05).all())
    assert bool(((weight.mean(0) - 1).abs() < 5 * error).all())
    if particles == 1:
        assert bool((1 - ratio.mean(0).exp() > 5 * error).all())  # the bound is below


def test_particles_tighten_the_evidence_and_leave_the_weight_alone():
    draw, _, _ = one(16, copies=500)
    gain = draw.evidence - draw.log_weight
    assert float(gain.mean()) > 5 * float(gain.std()) / math.sqrt(len(gain))


def test_with_one_path_the_evidence_is_the_weight():
    draw, _, _ = one()
    assert torch.equal(draw.evidence, draw.log_weight)


def test_the_weight_is_the_integrand_of_the_bound():
    """They differ by the martingale that the KL of the steps leaves out, of mean zero."""
    copies = 2000
    draw, _, _ = one(copies=copies)
    bound = draw.terms["log_likelihood"] - draw.terms["path_kl"] - draw.terms["initial_kl"]
    spread = float(draw.log_weight.std()) * math.sqrt(4 * copies)
    assert abs(float(draw.log_weight.sum() - bound)) < 5 * spread
    assert abs(float(draw.log_weight.sum() - bound - draw.terms["initial_kl"])) > 5 * spread


def test_the_likelihood_of_every_time_given_its_position():
    draw, _, x = one()
    expected = Normal(draw.z.nan_to_num(), NOISE).log_prob(x.nan_to_num()).squeeze(-1)
    seen = x.isfinite().squeeze(-1)
    torch.testing.assert_close(draw.log_likelihood[seen], expected[seen])
    assert bool((draw.log_likelihood[~seen] == 0).all())
    assert float(draw.log_likelihood.sum()) == pytest.approx(float(draw.terms["log_likelihood"]), rel=1e-5)


def test_new_data_scatter_about_the_path_with_the_noise_and_are_no_copies():
    draw, _, x = one(copies=300)
    seen = x.isfinite()
    rest = ((draw.x - draw.z) / NOISE)[seen]
    assert abs(float(rest.mean())) < 5 / math.sqrt(len(rest))
    assert abs(float(rest.square().mean()) - 1) < 5 * math.sqrt(2 / len(rest))
    assert torch.equal(draw.x.isnan(), x.isnan())
    assert not torch.isclose(draw.x[seen], x[seen], atol=1e-4).float().mean() > 0.01


def test_globals_of_the_prior_follow_it_and_so_do_its_data():
    """z₀ is N(0, 1), and x its position and noise; T is LogNormal(−1, 0.3)."""
    model, guide, times, x = harmonic(temperature=dist.LogNormal(-1.0, 0.3))
    guide(times, x)
    with draws.inference_mode(2):
        drawn = draws.prior(model, times, 800, {"temperature": torch.tensor(1.0)})
    logs = drawn["temperature"].log()
    assert logs.shape == (800,)
    assert abs(float(logs.mean()) + 1) < 5 * 0.3 / math.sqrt(800)
    assert abs(float(logs.std()) - 0.3) < 5 * 0.3 / math.sqrt(1600)
    first = drawn["x"][:, 0, 0, 0]
    variance = 1 + NOISE**2
    assert abs(float(first.var()) - variance) < 5 * variance * math.sqrt(2 / 800)


def test_the_prior_is_drawn_in_pieces_that_fit(monkeypatch):
    model, _, times, _ = harmonic(temperature=dist.LogNormal(-1.0, 0.3))
    monkeypatch.setattr(draws, "PRIOR_NUMBERS", 3 * times.numel() * STEPS)
    with draws.inference_mode(2):
        drawn = draws.prior(model, times, 7, {"temperature": torch.tensor(1.0)})
    assert drawn["x"].shape == (7, 4, TIMES, 1)
    assert len(drawn["temperature"].unique()) == 7


def test_paths_of_the_prior_that_explode_are_nan_and_spoil_no_others():
    dynamics = nld.OverdampedLangevin(nld.DoubleWell(3.0), temperature=dist.LogNormal(0.0, 2.5))
    model = nld.LatentLangevin(dynamics, nld.Gaussian(nld.IdentityDecoder(1), 0.3), substeps=1, time_unit=1.0)
    with draws.inference_mode(2):
        drawn = draws.prior(model, 0.05 * torch.arange(30.0).expand(2, -1), 60, {"temperature": torch.ones(())})
    lost = drawn["x"][:, :, -1, 0].isnan().any(-1)
    assert 0 < int(lost.sum()) < 60
    assert float(drawn["temperature"][lost].median()) > float(drawn["temperature"][~lost].median())


def test_axes_are_named_after_what_they_run_over():
    noise = dist.LogNormal(torch.zeros(1), 0.1)
    model, _, _, _ = harmonic(noise=noise)
    values = {
        "temperature": torch.ones(()),
        "friction": torch.ones(1),
        "noise_scale": torch.ones(1),
        "w": torch.ones(2, 3),
    }
    assert groups.axes(model, values) == {
        "temperature": (), "friction": ("latent",), "noise_scale": ("channel",), "w": ("w_dim_0", "w_dim_1"),
    }  # fmt: skip
