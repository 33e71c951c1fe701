"""Evidence and temperature by particles, on linear Gaussian chains whose exact answers a Kalman filter gives."""

import math
from functools import cache

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

import pyro_nld as nld
from pyro_nld.datasets.oracles import LinearGaussian, kalman
from pyro_nld.results import corrections

STIFFNESS, NOISE, SUBSTEPS, SEQUENCES, TIMES, GAP = 1.3, 0.4, 2, 24, 6, 0.4
PRIOR_LOC, PRIOR_SCALE = 0.0, 0.7
pytestmark = [
    pytest.mark.filterwarnings("ignore:nothing is observed:pyro_nld.DoubtfulDataWarning"),
    pytest.mark.filterwarnings("ignore:curvature:pyro_nld.DoubtfulFitWarning"),
]


def built(temperature):
    prior = nld.OverdampedLangevin(nld.Quadratic([STIFFNESS]), temperature)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), SUBSTEPS, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))


@cache
def data():
    """Drawn from the chain itself at T = 0.5, one value missing."""
    torch.manual_seed(3)
    times = (GAP * torch.arange(float(TIMES))).expand(SEQUENCES, -1)
    with torch.no_grad():
        x = built(0.5)[0](times)
    x[0, 3] = math.nan
    return times, x


@cache
def fitted(random=True):
    """Briefly: the guide is near, and its temperature is wrong on purpose. The first state stays N(0, 1)."""
    torch.manual_seed(4)
    model, guide = built(dist.LogNormal(PRIOR_LOC, PRIOR_SCALE) if random else 0.5)
    model.initial_loc.requires_grad_(False)
    guide(*data())
    nld.fit(model, guide, data(), nld.Schedule(steps=60, learning_rate=3e-2), progress=False)
    with torch.no_grad():
        model.initial_loc.zero_()
        model.initial_scale = torch.ones(1)
        if random:
            guide.others.locs.temperature.fill_(math.log(1.2))
            guide.others.scales.temperature = torch.tensor(0.1)
    return nld.Fit(model, guide, *data())


def exact_evidence(temperature):
    """log p(x | T) of every sequence of the Euler chain, on its fine grid; it shares no code with the model."""
    h = GAP / SUBSTEPS
    fine = np.full((SEQUENCES, (TIMES - 1) * SUBSTEPS + 1, 1), np.nan)
    fine[:, ::SUBSTEPS] = data()[1].numpy()
    one = np.eye(1)
    chain = LinearGaussian(
        mean=np.zeros(1), covariance=one, transition=(1 - STIFFNESS * h) * one, noise=2 * temperature * h * one,
        observation=one, observation_noise=NOISE**2 * one,
    )  # fmt: skip
    return kalman(fine, chain)["log_evidence"].values


@cache
def exact_posterior():
    """Mean and standard deviation of log T, by quadrature."""
    grid = np.linspace(-2.5, 1.5, 161)
    density = np.array([exact_evidence(np.exp(u)).sum() for u in grid]) + norm.logpdf(grid, PRIOR_LOC, PRIOR_SCALE)
    weight = np.exp(density - logsumexp(density))
    mean = weight @ grid
    return mean, np.sqrt(weight @ (grid - mean) ** 2)


def test_the_evidence_is_that_of_the_kalman_filter(seed):
    """p̂ is unbiased: its mean over repetitions is p, sequence by sequence."""
    fit, exact = fitted(random=False), exact_evidence(0.5)
    ratio = np.exp([corrections.log_evidence(fit, particles=16, draws=1, seed=k).values - exact for k in range(15)])
    error = ratio.std(0, ddof=1) / np.sqrt(len(ratio))
    assert (np.abs(ratio.mean(0) - 1) < 5 * error).all()


def test_the_past_alone_can_be_scored():
    fit = fitted(random=False)
    head = corrections.log_evidence(fit, particles=16, until=4, draws=1)
    again = corrections.log_evidence(fit, (data()[0][:, :4], data()[1][:, :4]), particles=16, draws=1)
    np.testing.assert_allclose(head, again)
    assert head.sum() > corrections.log_evidence(fit, particles=16, draws=1).sum()


def test_a_wrong_temperature_is_set_right():
    mean, spread = exact_posterior()
    found = corrections.posterior(fitted(), points=12, particles=64, draws=400)
    logs = np.log(found["temperature"].values.ravel())
    # of 400 draws, and what the particles' noise leaves after the quadratic
    error = spread * np.hypot(1 / np.sqrt(400), 2 * found.attrs["spread"] / np.sqrt(12))
    assert abs(logs.mean() - mean) < 5 * error
    assert logs.std() == pytest.approx(spread, rel=5 * np.hypot(1 / np.sqrt(800), found.attrs["spread"] / np.sqrt(12)))
    own = math.log(float(fitted().medians["temperature"]))
    assert abs(own - mean) > 2 * spread, "the guide must be wrong for this to say anything"
    assert found.attrs["looks"] > 1
    assert found["temperature"].shape == (1, 400)


def test_the_fit_stays_as_it_is():
    fit = fitted()
    before = [value.clone() for value in (*fit.model.state_dict().values(), *fit.guide.state_dict().values())]
    state = torch.get_rng_state()
    corrections.posterior(fit, points=6, particles=2)
    after = [*fit.model.state_dict().values(), *fit.guide.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_a_guide_is_held_at_the_globals_given():
    fit = fitted()
    held = corrections.holding_globals(fit.guide, *data(), {"temperature": torch.tensor(0.25)})
    with torch.no_grad():
        found = nld.particles.particle_posterior(fit.model, held, *data(), 2)
        again = nld.particles.particle_posterior(fit.model, held, *data(), 2)
    assert float(found.latents["temperature"]) == 0.25
    assert not torch.equal(found.latents["z"], again.latents["z"])


def test_nothing_random_cannot_be_corrected():
    with pytest.raises(nld.PriorError, match=r"no quantity is random, so there is no posterior to correct\. Give"):
        corrections.posterior(fitted(random=False))


@pytest.mark.parametrize("axes", [1, 2])
def test_a_gaussian_is_found_again(axes, seed):
    draw = torch.Generator().manual_seed(seed)
    where = 2 * torch.randn(200, axes, generator=draw, dtype=torch.float64)
    top = torch.tensor([0.3, -0.5], dtype=torch.float64)[:axes]
    covariance = torch.tensor([[1.0, 0.4], [0.4, 0.8]], dtype=torch.float64)[:axes, :axes]
    height = -0.5 * ((where - top) @ torch.linalg.inv(covariance) * (where - top)).sum(-1) - 700
    found, left = corrections._gaussian(where, height)
    torch.testing.assert_close(found.loc, top)
    torch.testing.assert_close(found.root @ found.root.mT, covariance)
    assert left < 1e-6
    with pytest.raises(nld.FitError, match="the evidence has no top near"):
        corrections._gaussian(where, -height)
