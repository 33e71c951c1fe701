"""Axes that pull at each other: a linear-Gaussian problem whose exact posterior the coupled control can be."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro.infer import Trace_ELBO

import pyro_nld as nld
from pyro_nld.datasets.oracles import LinearGaussian, kalman
from pyro_nld.guide.controls import _AffinePlan, _Gain

STIFFNESS = torch.tensor([[2.0, 0.9], [0.9, 1.1]], dtype=torch.float64)
MAP = torch.tensor([[1.0, 0.9], [0.8, 1.1], [0.7, 0.4]], dtype=torch.float64)
T, G, M, NOISE, SUBSTEPS, STEP = 0.8, 1.2, 0.7, 0.2, 3, 0.08
TIMES = (STEP * SUBSTEPS * torch.arange(7, dtype=torch.float64)).expand(2, -1)


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)


def overdamped():
    return nld.OverdampedLangevin(nld.Quadratic(STIFFNESS), T, G)


def underdamped():
    return nld.UnderdampedLangevin(nld.Quadratic(STIFFNESS), T, G, M)


BOTH = pytest.mark.parametrize("make", [overdamped, underdamped])


def mixed(make):
    """Three channels see mixtures of two coupled axes."""
    model = nld.LatentLangevin(make(), nld.Gaussian(nld.LinearDecoder(2, 3), NOISE), SUBSTEPS, time_unit=1.0).double()
    model.adapted.fill_(True)
    with torch.no_grad():
        model.likelihood.decoder.map.weight.copy_(MAP)
        model.likelihood.decoder.map.bias.zero_()
    return model, torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(1))


class Chain:
    """z' = A z + b ξ, written down from the schemes; `noisy` are the rows of A that bear the noise."""

    def __init__(self, momentum):
        eye = torch.eye(2)
        self.momentum, self.decay, self.weight = momentum, math.exp(-G * STEP / M), 1.0
        if momentum:
            self.weight = (1 - self.decay) * M / (G * STEP)
            self.scale = math.sqrt(2 * M * T * self.weight * (1 - self.decay))
            self.noisy = torch.cat([-self.weight * STEP * STIFFNESS, self.decay * eye], 1)
            place = torch.cat([eye, torch.zeros(2, 2)], 1) + STEP / M * self.noisy
            self.matrix = torch.cat([place, self.noisy])
            self.noise = self.scale * torch.cat([STEP / M * eye, eye])
        else:
            self.scale = math.sqrt(2 * T * STEP / G)
            self.noisy = self.matrix = eye - STEP / G * STIFFNESS
            self.noise = self.scale * eye
        self.seen = torch.cat([MAP, torch.zeros(3, 2)], 1) if momentum else MAP
        self.first = torch.diag(torch.tensor([1.0, 1.0, M * T, M * T])[: len(self.matrix)])


def evidence(chain, x):
    """log p(x) by the Kalman filter on the fine grid."""
    fine = torch.full((2, 6 * SUBSTEPS + 1, 3), math.nan)
    fine[:, ::SUBSTEPS] = x
    steps = (2, 6 * SUBSTEPS, *chain.matrix.shape)
    oracle = LinearGaussian(
        mean=np.zeros(len(chain.matrix)),
        covariance=chain.first.numpy(),
        transition=chain.matrix.expand(steps).numpy(),
        noise=(chain.noise @ chain.noise.T).expand(steps).numpy(),
        observation=chain.seen.numpy(),
        observation_noise=NOISE**2 * np.eye(3),
    )
    return float(kalman(fine.numpy(), oracle)["log_evidence"].sum())


def exact_posterior(chain, x, coupled=True):
    """The plan that is the posterior, and q(z₀): information −½ zᵀΛz + ηᵀz of the future, backwards along the chain.

    Without coupling: what a control can do whose axes do not know of each other, with the right variances.
    """
    a, b = chain.matrix, chain.noise
    tell = chain.seen.T / NOISE**2
    precision, pull = tell @ chain.seen, x[:, -1] @ tell.T
    fields = []
    for k in reversed(range(6 * SUBSTEPS)):
        spread = torch.linalg.inv(torch.eye(2) + b.T @ precision @ b)
        wanted = chain.noisy - chain.scale * spread @ b.T @ precision @ a
        offset = chain.scale * pull @ b @ spread
        root = torch.linalg.cholesky(spread)
        fields.insert(0, (*as_gains(chain, wanted, offset), root.diagonal(), root / root.diagonal().unsqueeze(-1)))
        seen = k % SUBSTEPS == 0
        pull = (pull - pull @ b @ spread @ b.T @ precision) @ a + seen * (x[:, k // SUBSTEPS] @ tell.T)
        precision = a.T @ (precision - precision @ b @ spread @ b.T @ precision) @ a + seen * (tell @ chain.seen)
    target, gains, ratio, mixing = zip(*fields, strict=True)
    gains = [_Gain(torch.ones(2), torch.stack(parts)) for parts in zip(*gains, strict=True)]
    plan = _AffinePlan(torch.stack(target, 1), gains, torch.stack(ratio), torch.stack(mixing))
    if not coupled:
        gains = [_Gain(gain.coupling.diagonal(dim1=-2, dim2=-1).sqrt()) for gain in gains]
        plan = _AffinePlan(plan.target, gains, plan.ratio)
    whole = precision + torch.linalg.inv(chain.first)
    return plan, dist.MultivariateNormal(torch.linalg.solve(whole, pull.T).T, precision_matrix=whole)


def as_gains(chain, wanted, offset):
    """Target and gain matrices whose step has the mean `wanted · z + offset` in its stochastic component."""
    if not chain.momentum:
        gain = torch.eye(2) - wanted
        return torch.linalg.solve(gain, offset.T).T, [gain]
    gain = -wanted[:, :2] * STEP / M
    brake = (chain.decay * torch.eye(2) - wanted[:, 2:]) / chain.weight
    return torch.linalg.solve(gain, STEP / M * offset.T).T, [gain, brake]


def guide_of(model, plan, first):
    def guide(times, x):
        with pyro.plate("sequence", len(times), dim=-1):
            z0 = pyro.sample("z0", first)
            grid = model.batch(times).grid
            pyro.sample("z", nld.ControlledPath(model.dynamics, model.integrator, z0, grid, plan))

    return guide


@BOTH
def test_with_the_exact_posterior_the_bound_is_the_evidence_in_every_draw(make):
    model, x = mixed(make)
    chain = Chain(make is underdamped)
    guide, exact = guide_of(model, *exact_posterior(chain, x)), evidence(chain, x)
    for _ in range(3):
        assert -Trace_ELBO().loss(model, guide, TIMES, x) == pytest.approx(exact, abs=1e-6)
    bounds = torch.tensor([-nld.PathELBO().loss(model, guide, TIMES, x) for _ in range(200)])
    assert abs(float(bounds.mean()) - exact) < 5 * float(bounds.std()) / math.sqrt(len(bounds))


@BOTH
def test_without_coupling_it_is_out_of_reach(make):
    model, x = mixed(make)
    chain = Chain(make is underdamped)
    guide, exact = guide_of(model, *exact_posterior(chain, x, coupled=False)), evidence(chain, x)
    bounds = torch.tensor([-nld.PathELBO().loss(model, guide, TIMES, x) for _ in range(200)])
    assert float(bounds.mean()) < exact - 5 * float(bounds.std()) / math.sqrt(len(bounds))


@BOTH
def test_a_network_can_say_it(make):
    """Shares of a gap lie in (0, 1), pulls between axes below their geometric mean: in reach of sigmoid and tanh."""
    _, x = mixed(make)
    plan, _ = exact_posterior(Chain(make is underdamped), x)
    for gain in (gain.times(torch.ones(1)) for gain in plan.gains):
        share = gain.diagonal(dim1=-2, dim2=-1)
        assert bool(((share > 0) & (share < 1)).all())
        between = share.prod(-1).sqrt()
        assert bool((gain[:, 0, 1].abs() < between).all())
        assert bool((gain[:, 1, 0].abs() < between).all())
    assert bool(((plan.ratio > 0) & (plan.ratio < 1)).all())
