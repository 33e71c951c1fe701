"""The particle posterior on a linear Gaussian chain, whose evidence and posterior are known exactly."""

import math
from functools import cache

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import pyro_nld as nld
from pyro_nld.datasets.oracles import LinearGaussian, kalman
from pyro_nld.fitting.elbo import evaluate
from pyro_nld.fitting.particles import complete_log_prob, particle_posterior, particle_steps
from pyro_nld.io.validation import check_rows

STIFFNESS, TEMPERATURE, NOISE, SUBSTEPS, TIMES = 1.3, 0.8, 0.4, 2, 6
REPEATS = 3000
pytestmark = [
    pytest.mark.filterwarnings("ignore:nothing is observed:pyro_nld.DoubtfulDataWarning"),
    pytest.mark.filterwarnings("ignore:curvature:pyro_nld.DoubtfulFitWarning"),
]


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)


def observations():
    """Irregular times, a value missing, one sequence that ends early."""
    draw = torch.Generator().manual_seed(1)
    times = (0.2 + 0.3 * torch.rand(2, TIMES, generator=draw)).cumsum(-1)
    x = torch.randn(2, TIMES, 1, generator=draw)
    x[0, 2] = math.nan
    times[1, 4:], x[1, 4:] = math.nan, math.nan
    return times, x


@cache
def pair():
    """A model and a guide that was fitted briefly: wrong, but not hopeless."""
    model, guide = built()
    times, x = observations()
    torch.manual_seed(2)
    nld.fit(model, guide, (times, x), nld.Schedule(steps=60, learning_rate=3e-2), progress=False)
    model.load_state_dict(built()[0].state_dict() | {"time_unit": model.time_unit, "adapted": model.adapted})
    return model, guide


def built(temperature=TEMPERATURE):
    prior = nld.OverdampedLangevin(nld.Quadratic([STIFFNESS]), temperature)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), SUBSTEPS, time_unit=1.0).double()
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4)).double()
    return model, guide


def exact(times, x, temperature=TEMPERATURE):
    """Evidence and smoothed moments of the Euler chain itself, on its fine grid."""
    h = torch.where(times.diff().isnan(), 0.1, times.diff()).repeat_interleave(SUBSTEPS, -1) / SUBSTEPS
    fine = torch.full((2, h.shape[1] + 1, 1), math.nan)
    fine[:, ::SUBSTEPS] = x
    oracle = LinearGaussian(
        mean=np.zeros(1),
        covariance=np.eye(1),
        transition=(1 - STIFFNESS * h)[..., None, None].numpy(),
        noise=(2 * temperature * h)[..., None, None].numpy(),
        observation=np.eye(1),
        observation_noise=NOISE**2 * np.eye(1),
    )
    return kalman(fine.numpy(), oracle)


def repeated(particles, repeats=REPEATS, make=pair):
    """Many independent filters at once: copies of the two sequences."""
    model, guide = make()
    times, x = check_rows(*observations())
    found = particle_posterior(model, guide, times.repeat(repeats, 1), x.repeat(repeats, 1, 1), particles)
    return (model, guide), found, exact(*observations())


def off(samples, truth):
    """Distance of the mean over copies from the truth, in standard errors, per sequence."""
    samples = samples.view(REPEATS, 2, *samples.shape[1:])
    return ((samples.mean(0) - truth) / (samples.std(0) / math.sqrt(REPEATS))).abs()


@pytest.mark.parametrize("particles", [1, 4, 32])
def test_the_estimate_of_the_evidence_is_unbiased(particles):
    _, found, truth = repeated(particles)
    exact_log = torch.from_numpy(truth["log_evidence"].values)
    ratio = (found.log_evidence.view(REPEATS, 2) - exact_log).exp().flatten()
    if particles > 1:  # with a single one the ratio has no useful variance under so poor a guide
        assert bool((off(ratio, 1.0) < 5).all())
    assert bool((found.log_evidence.view(REPEATS, 2).mean(0) < exact_log).all())


def test_more_particles_are_tighter_and_one_is_the_elbo():
    gaps = []
    for particles in (1, 4, 32):
        (model, guide), found, truth = repeated(particles)
        gaps.append(float(truth["log_evidence"].sum()) - float(found.log_evidence.sum()) / REPEATS)
        if particles == 1:
            times, x = check_rows(*observations())
            drawn = torch.stack([found.log_evidence.view(REPEATS, 2).sum(-1)])
            elbo = evaluate(model, guide, times.repeat(500, 1), x.repeat(500, 1, 1))["total"] / 500
            error = float(drawn.std()) / math.sqrt(REPEATS)
            assert abs(float(drawn.mean()) - elbo) < 5 * math.sqrt(2) * error + 0.05 * abs(elbo)
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0  # eight times the particles at least halve the gap


def worst(paths, truth):
    """Largest distance of the paths' means and variances from the smoother's, in its standard deviations."""
    mean, variance = (
        torch.from_numpy(part)[:, ::SUBSTEPS]
        for part in (truth["smoothed_mean"].values[..., 0], truth["smoothed_covariance"].values[..., 0, 0])
    )
    paths, there = paths.view(REPEATS, 2, -1), observations()[0].isfinite()
    shift, spread = (paths.mean(0) - mean).abs() / variance.sqrt(), (paths.var(0) / variance - 1).abs()
    return float(shift[there].max()), float(spread[there].max())


def test_paths_become_those_of_the_exact_posterior():
    """The bias of K particles falls like 1/K; the guide's own paths stay where they are."""
    found = {}
    for particles in (1, 16, 256):
        (model, _), drawn, truth = repeated(particles)
        path = model.observed_positions(drawn.latents["z0"], drawn.latents["z"])[..., 0]
        found[particles] = worst(path, truth)
    assert found[256][0] < 0.12 + 5 / math.sqrt(REPEATS)
    assert found[256][0] < 0.6 * found[16][0] < 0.6 * found[1][0]
    assert found[256][1] < 0.12 + 5 * math.sqrt(2 / REPEATS)


def test_their_score_is_the_slope_of_the_evidence():
    """Fisher's identity: d log p(x)/dT = E[d log p(x, z)/dT | x], against differences of the Kalman evidence."""
    model, guide = pair()
    learned, _ = built(torch.nn.Parameter(torch.tensor(TEMPERATURE)))
    learned.adapt(*observations())
    times, x = (part.repeat(200, *[1] * (part.dim() - 1)) for part in check_rows(*observations()))
    slopes = []
    for _ in range(20):
        found = particle_posterior(model, guide, times, x, 64)
        learned.dynamics.temperature_unconstrained.grad = None
        complete_log_prob(learned, times, x, found.latents).backward()
        slopes.append(float(learned.dynamics.temperature_unconstrained.grad) / 200)
    log_evidence = [
        float(exact(*observations(), temperature=TEMPERATURE * math.exp(d))["log_evidence"].sum())
        for d in (-1e-4, 1e-4)
    ]
    slope = (log_evidence[1] - log_evidence[0]) / 2e-4
    assert abs(np.mean(slopes) - slope) < 5 * np.std(slopes) / math.sqrt(20) + 0.03 * abs(slope)
    assert abs(slope) > 20 * np.std(slopes) / math.sqrt(20)  # a tolerance of no use would pass zero


def test_forgetting_the_prior_is_seen(monkeypatch):
    monkeypatch.setattr(nld.LangevinPath, "log_prob", lambda self, value: torch.zeros(value.shape[:-2]))
    _, found, truth = repeated(32)
    excess = (found.log_evidence.view(REPEATS, 2) - torch.from_numpy(truth["log_evidence"].values)).flatten()
    # By Jensen the mean of the right one is at most zero. The ratio itself has a tail that would hide any error.
    assert float(excess.mean() / excess.std() * len(excess) ** 0.5) > 5


def test_globals_are_drawn_once_and_kept():
    model, guide = built(dist.LogNormal(0.0, 0.3))
    times, x = check_rows(*observations())
    guide(times, x)
    found = particle_posterior(model, guide, times, x, 8)
    assert found.latents["temperature"].shape == ()
    assert found.latents["z"].shape == (2, SUBSTEPS * (TIMES - 1), 1)
    assert found.effective.shape == (2, TIMES)
    assert bool((found.effective <= 8 + 1e-6).all())


def test_picked_steps_are_those_of_the_exact_posterior():
    """Picked by fixed-lag smoothing, they have the smoother's moments; inside an interval they hang together."""
    model, guide = pair()
    times, x = check_rows(*observations())
    torch.manual_seed(3)
    repeats = REPEATS // 4
    steps = particle_steps(model, guide, times.repeat(repeats, 1), x.repeat(repeats, 1, 1), 256, picks=4)
    truth = exact(times, x)
    paths = model.observed_positions(steps.origins[..., 0, :], steps.ends)[..., 0].flatten(0, 1)
    shift, spread = worst(paths, truth)
    assert shift < 0.12 + 5 / math.sqrt(REPEATS)
    assert spread < 0.12 + 5 * math.sqrt(2 / REPEATS)
    inside = torch.arange(steps.ends.shape[-2] - 1) % SUBSTEPS != SUBSTEPS - 1
    assert torch.equal(steps.origins[..., 1:, :][..., inside, :], steps.ends[..., :-1, :][..., inside, :])
