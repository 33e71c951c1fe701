"""A start in equilibrium: its density has norm one, its Gaussian follows, and it tells depths that paths do not."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine

import pyro_nld as nld
from pyro_nld.dynamics.stationary import StationaryLaw

STIFFNESS, TEMPERATURE, MASS = torch.tensor([2.0, 5.0]), 0.7, 0.3


def adapted(dynamics, calls=150):
    torch.manual_seed(0)
    start = StationaryLaw(dynamics.latent)
    for _ in range(calls):
        start.distribution(dynamics)
    return start


def test_a_harmonic_well_starts_as_its_gaussian():
    centre = torch.tensor([3.0, -2.0])
    prior = nld.OverdampedLangevin(nld.Quadratic(STIFFNESS, centre), TEMPERATURE)
    found = adapted(prior).distribution(prior)
    exact = torch.distributions.Independent(torch.distributions.Normal(centre, (TEMPERATURE / STIFFNESS).sqrt()), 1)
    z = exact.sample(torch.Size([50]))
    torch.testing.assert_close(found.log_prob(z), exact.log_prob(z), atol=0.05, rtol=0)
    drawn = found.sample(torch.Size([4000]))
    torch.testing.assert_close(drawn.mean(0), centre, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.var(0), TEMPERATURE / STIFFNESS, atol=0.0, rtol=0.1)


def test_momenta_start_thermal():
    prior = nld.UnderdampedLangevin(nld.Quadratic(STIFFNESS), TEMPERATURE, mass=MASS)
    found = adapted(prior).distribution(prior)
    scale = torch.cat([(TEMPERATURE / STIFFNESS).sqrt(), torch.full((2,), math.sqrt(MASS * TEMPERATURE))])
    exact = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(4), scale), 1)
    z = exact.sample(torch.Size([50]))
    torch.testing.assert_close(found.log_prob(z), exact.log_prob(z), atol=0.05, rtol=0)
    torch.testing.assert_close(found.sample(torch.Size([4000])).std(0), scale, atol=0.0, rtol=0.06)


def test_the_gaussian_covers_wells_far_apart():
    wells = nld.GaussianWells([[-3.0, 0.0], [3.0, 1.0]], weights=[0.8, 0.2], widths=0.4)
    prior = nld.OverdampedLangevin(wells)
    found = adapted(prior).distribution(prior)
    assert float(found.log_norm.detach()) == pytest.approx(0.0, abs=0.15)  # exp(−U) is a normalised mixture
    weight = found.log_weight.softmax(-1)
    assert float(1 / weight.square().sum()) > 100
    assert float((found.sample(torch.Size([4000]))[:, 0] < 0).float().mean()) == pytest.approx(0.8, abs=0.08)


def build(substeps=2, **given):
    prior = nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(16,)), **given)
    model = nld.LatentLangevin(
        prior, nld.Gaussian(nld.IdentityDecoder(1), 0.1), substeps=substeps, time_unit=1.0, start="equilibrium"
    )
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))


def test_where_short_sequences_start_tells_how_deep_wells_are():
    """Two wells 0.3 and 0.7 full, of which every sequence sees only one: no crossing, no other sign of the depths."""
    draw = torch.Generator().manual_seed(0)
    side = torch.where(torch.rand(400, 1, 1, generator=draw) < 0.3, -2.0, 2.0)
    x = side + 0.4 * torch.randn(400, 6, 1, generator=draw)
    torch.manual_seed(0)
    fit = nld.fit(*build(substeps=12), (0.3 * torch.arange(6.0), x), nld.Schedule(steps=500), progress=False)
    wells = fit.wells(min_barrier=0.5)
    assert wells.sizes["state"] == 2
    share = wells["occupancy_harmonic"].values[wells["position"].values[:, 0] < 0]
    assert float(share[0]) == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("vectorised", [False, True])
def test_it_works_with_a_random_temperature_and_particles(vectorised):
    torch.manual_seed(0)
    model, guide = build(temperature=dist.LogNormal(0.0, 0.3))
    times, x = 0.3 * torch.arange(5.0), torch.randn(6, 5, 1)
    guide(times, x)
    pyro.clear_param_store()
    elbo = nld.PathELBO(num_particles=3, vectorize_particles=vectorised, max_plate_nesting=1)
    loss = elbo.differentiable_loss(model, guide, times, x)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert model.dynamics.potential.output.weight.grad.abs().sum() > 0


def test_prior_draws_start_where_they_stay():
    """What starts in equilibrium has the same law at every time."""
    torch.manual_seed(0)
    model, _ = build()
    model(0.3 * torch.arange(8.0), None)
    for _ in range(150):
        model.equilibrium.distribution(model.dynamics)
    with torch.no_grad():
        drawn = poutine.trace(model).get_trace(0.3 * torch.arange(8.0).expand(600, -1), None).nodes["x"]["value"]
    spread = drawn.squeeze().std(0).numpy()
    np.testing.assert_allclose(spread, spread.mean(), rtol=0.12)


def test_another_start_is_refused():
    with pytest.raises(nld.PriorError, match='start must be "normal" or "equilibrium": got \'stationary\''):
        nld.LatentLangevin(
            nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(nld.IdentityDecoder(1)), start="stationary"
        )
