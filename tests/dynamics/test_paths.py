"""Paths: densities against an independently built joint Gaussian, and the path KL estimated three ways."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

import pyro_nld as nld
from pyro_nld.dynamics.grids import Grid
from pyro_nld.dynamics.paths import Forces, run, run_cheaply, run_linear
from pyro_nld.guide.controls import NeuralControl, _AffinePlan, _Gain

K, T, G, M = torch.tensor([1.5, 0.7], dtype=torch.float64), 0.8, 1.2, 0.6
STEPS = 6


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def overdamped():
    return nld.OverdampedLangevin(nld.Quadratic(K), T, G), nld.EulerMaruyama()


def underdamped():
    return nld.UnderdampedLangevin(nld.Quadratic(K), T, G, M), nld.Leapfrog()


BOTH = pytest.mark.parametrize("make", [overdamped, underdamped])


def grid(batch=()):
    h = torch.linspace(0.05, 0.2, STEPS).unsqueeze(-1)
    return Grid(h.expand(*batch, STEPS, 1), torch.ones(*batch, STEPS, dtype=torch.bool))


def plan(batch=(), parts=1, seed=0, coupled=False):
    draw = torch.Generator().manual_seed(seed)
    target = torch.randn(*batch, STEPS, 2, generator=draw)
    gains = [torch.rand(*batch, STEPS, 2, generator=draw) for _ in range(parts)]
    ratio = 0.5 + 0.5 * torch.rand(*batch, STEPS, 2, generator=draw)
    if not coupled:
        return _AffinePlan(target, [_Gain(gain.sqrt()) for gain in gains], ratio)
    between = [0.3 * torch.randn(*batch, STEPS, 2, 2, generator=draw) for _ in range(parts + 1)]
    mixing = torch.eye(2) + between.pop().tril(-1)
    pulls = [torch.diag_embed(g) + b for g, b in zip(gains, between, strict=True)]
    return _AffinePlan(target, [_Gain(torch.ones(*batch, STEPS, 2), pull) for pull in pulls], ratio, mixing)


def prior_and_posterior(make, initial, batch=(), coupled=False):
    dynamics, integrator = make()
    decision = plan(batch, dynamics.state // dynamics.latent, coupled=coupled)
    prior = nld.LangevinPath(dynamics, integrator, initial, grid(batch))
    return prior, nld.ControlledPath(dynamics, integrator, initial, grid(batch), decision)


def one_of(which, make, initial):
    """One of the paths of `WHICH`."""
    prior, posterior = prior_and_posterior(make, initial, coupled=which == "coupled")
    return prior if which == "prior" else posterior


WHICH = pytest.mark.parametrize("which", ["prior", "posterior", "coupled"])
COUPLED = pytest.mark.parametrize("coupled", [False, True], ids=["", "coupled"])


def start(make, batch=()):
    return torch.randn(*batch, make()[0].state, generator=torch.Generator().manual_seed(9))


def joint(path):
    """The joint Gaussian of the stochastic components, from the chain's response to unit noises alone.

    Steps by hand with the scheme's formulas, independent of the library's transitions.
    """
    dynamics, first, h = path.dynamics, path.initial, path.grid.h[:, 0]
    momentum = dynamics.state > dynamics.latent

    def walk(noise):
        q, p = (first[:2], first[2:]) if momentum else (first, None)
        components = []
        for k in range(STEPS):
            if isinstance(path, nld.ControlledPath):
                x = G * h[k] / M
                weight = (1 - math.exp(-x)) / x
                plan, unit = path.plan, (M / (weight * h[k] ** 2) if momentum else G / h[k])
                gains = [gain.times(torch.ones(2))[k] for gain in plan.gains]
                gains = [gain if gain.dim() == 2 else torch.diag(gain) for gain in gains]
                force = unit * gains[0] @ (plan.target[k] - q)
                force = force - gains[1] @ p / h[k] if momentum else force
                ratio = torch.diag(plan.ratio[k]) @ (torch.eye(2) if plan.mixing is None else plan.mixing[k])
            else:
                force, ratio = -K * q, torch.eye(2)
            if momentum:
                x = G * h[k] / M
                decay, weight = math.exp(-x), (1 - math.exp(-x)) / x
                p = decay * p + weight * h[k] * force + math.sqrt(2 * M * T * weight * (1 - decay)) * ratio @ noise[k]
                q = q + h[k] * p / M
                components.append(p)
            else:
                q = q + h[k] * force / G + math.sqrt(2 * T * h[k] / G) * ratio @ noise[k]
                components.append(q)
        return torch.cat(components)

    mean = walk(torch.zeros(STEPS, 2))
    response = torch.stack([walk(unit.view(STEPS, 2)) - mean for unit in torch.eye(2 * STEPS)], -1)
    return MultivariateNormal(mean, response @ response.T)


@BOTH
@WHICH
def test_log_prob_is_that_of_the_joint_gaussian(make, which):
    path = one_of(which, make, start(make))
    torch.manual_seed(1)
    value = path.sample()
    components = path.integrator.stochastic_component(value).flatten()
    torch.testing.assert_close(path.log_prob(value), joint(path).log_prob(components))


@BOTH
def test_a_score_with_the_wrong_step_would_be_caught(make):
    prior, _ = prior_and_posterior(make, start(make))
    torch.manual_seed(1)
    value = prior.sample()
    components = prior.integrator.stochastic_component(value).flatten()
    expected = joint(prior).log_prob(components)
    prior.grid = Grid(1.1 * prior.grid.h, prior.grid.valid)
    assert abs(float(prior.log_prob(value) - expected)) > 0.1


@BOTH
@WHICH
def test_samples_have_the_moments_of_the_joint_gaussian(make, which):
    path = one_of(which, make, start(make))
    exact = joint(path)
    torch.manual_seed(2)
    n = 40_000
    components = path.integrator.stochastic_component(path.sample(torch.Size([n]))).flatten(1)
    error = (components.mean(0) - exact.mean) / (exact.variance / n).sqrt()
    assert float(error.abs().max()) < 5
    # Var of a sample covariance entry: (Σii Σjj + Σij²)/n.
    covariance, spread = exact.covariance_matrix, exact.variance
    se = ((spread[:, None] * spread[None] + covariance.square()) / n).sqrt()
    assert float(((components.T.cov() - covariance) / se).abs().max()) < 5


@BOTH
@COUPLED
def test_path_kl_three_ways(make, coupled):
    """Exact joint Gaussians; difference of log densities; KL of the steps along sampled paths."""
    prior, posterior = prior_and_posterior(make, start(make), coupled=coupled)
    exact = float(kl_divergence(joint(posterior), joint(prior)))
    torch.manual_seed(3)
    n = 20_000
    value = posterior.sample(torch.Size([n]))
    ratio = posterior.log_prob(value) - prior.log_prob(value)
    steps = posterior.kl_along(prior, value)
    strata = posterior.kl_along(prior, value, stride=3)
    assert abs(float(ratio.mean()) - exact) < 5 * float(ratio.std()) / math.sqrt(n)
    assert abs(float(steps.mean()) - exact) < 5 * float(steps.std()) / math.sqrt(n)
    assert float(steps.std()) < float(ratio.std())
    assert strata.shape == (n,)


def test_baoa_cannot_be_steered():
    """Its positions contain the force: the sum of its steps' KLs is not the KL of anything, and misses by > 5 SE."""
    dynamics, _ = underdamped()
    initial = start(underdamped)
    prior = nld.LangevinPath(dynamics, nld.BAOA(), initial, grid())
    posterior = nld.ControlledPath(dynamics, nld.BAOA(), initial, grid(), plan((), 2))
    torch.manual_seed(3)
    value = posterior.sample()
    position, momentum = prior._origins(value).chunk(2, -1)
    step = prior.transitions(prior._origins(value))
    reached = step.midpoint + step.sensitivity * value[..., 2:]
    assert float((reached - value[..., :2]).abs().max()) > 1e-3  # the posterior's path is none of the prior's
    assert position.shape == momentum.shape


def test_forgetting_the_half_would_be_caught():
    """The paper's code leaves out the ½ of eq. 8; against the exact KL that is far more than 5 SE off."""
    prior, posterior = prior_and_posterior(overdamped, start(overdamped))
    exact = float(kl_divergence(joint(posterior), joint(prior)))
    torch.manual_seed(3)
    value = posterior.sample(torch.Size([20_000]))
    doubled = 2 * posterior.kl_along(prior, value)
    assert abs(float(doubled.mean()) - exact) > 5 * float(doubled.std()) / math.sqrt(20_000)


@BOTH
def test_strata_are_unbiased(make):
    prior, posterior = prior_and_posterior(make, start(make))
    torch.manual_seed(4)
    value = posterior.sample()
    exact = posterior.kl_along(prior, value)
    estimates = torch.stack([posterior.kl_along(prior, value, stride=4) for _ in range(1500)])
    assert abs(float(estimates.mean() - exact)) < 5 * float(estimates.std()) / math.sqrt(1500)
    score = torch.stack([prior.log_prob_along(value, stride=4) for _ in range(1500)])
    assert abs(float(score.mean() - prior.log_prob(value))) < 5 * float(score.std()) / math.sqrt(1500)


@BOTH
@COUPLED
def test_linear_run_equals_stepping(make, coupled):
    _, posterior = prior_and_posterior(make, start(make, (3,)), (3,), coupled)
    noise = torch.randn(3, STEPS, 2, generator=torch.Generator().manual_seed(5))
    counter = iter(range(STEPS))

    def force(state):
        return posterior.piece(torch.tensor([next(counter)]), posterior.initial).force(state)

    linear = run_linear(posterior, *posterior.plan.law(posterior), noise)
    torch.testing.assert_close(linear, run(posterior, force, noise))


@BOTH
@COUPLED
def test_draws_that_share_their_matrices_run_as_each_alone(make, coupled):
    _, posterior = prior_and_posterior(make, start(make, (4, 5, 3)), (3,), coupled)
    noise = torch.randn(4, 5, 3, STEPS, 2, generator=torch.Generator().manual_seed(5))
    together = run_linear(posterior, *posterior.plan.law(posterior), noise)
    assert together.shape == (4, 5, 3, STEPS, posterior.dynamics.state)
    for place in ((0, 0), (1, 4), (3, 2)):
        alone = posterior.piece(torch.arange(STEPS), posterior.initial[place])
        torch.testing.assert_close(together[place], run_linear(alone, *alone.plan.law(alone), noise[place]))


@BOTH
@COUPLED
@pytest.mark.parametrize("draws", [(), (3,)], ids=["one", "three"])
def test_gradients_through_the_linear_run(make, coupled, draws):
    dynamics, integrator = make()
    parts = dynamics.state // dynamics.latent
    template = plan((2,), parts, coupled=coupled)
    noise = torch.randn(*draws, 2, STEPS, 2, generator=torch.Generator().manual_seed(6))

    def path(initial, target, ratio, *gains):
        shapes = [_Gain(gain) if template.mixing is None else _Gain(torch.ones(2), gain) for gain in gains]
        decision = _AffinePlan(target, shapes, ratio, template.mixing)
        posterior = nld.ControlledPath(dynamics, integrator, initial, grid((2,)), decision)
        return run_linear(posterior, *decision.law(posterior), noise)

    gains = [gain.root if gain.coupling is None else gain.coupling for gain in template.gains]
    inputs = [start(make, (*draws, 2)), template.target, template.ratio, *gains]
    assert torch.autograd.gradcheck(path, [tensor.clone().requires_grad_() for tensor in inputs])


@BOTH
@pytest.mark.parametrize("draws", [(), (3,)], ids=["", "draws"])
def test_a_run_without_a_graph_has_the_gradient_of_one_with_it(make, draws):
    torch.manual_seed(10)
    dynamics, integrator = make()
    dynamics.potential = nld.NeuralPotential(2, hidden=(4,))
    dynamics.temperature = torch.tensor(0.7, requires_grad=True)
    initial, noise = start(make, (2,)).requires_grad_(), torch.randn(*draws, 2, STEPS, 2)
    path = nld.LangevinPath(dynamics, integrator, initial, grid((2,)))
    weights = torch.randn(*draws, 2, STEPS, dynamics.state)
    leaves = [initial, dynamics.temperature, *dynamics.potential.layers.parameters()]
    drawn = [draw(path, dynamics.force, noise) for draw in (run, run_cheaply)]
    torch.testing.assert_close(*drawn)
    torch.testing.assert_close(*(torch.autograd.grad((weights * value**2).sum(), leaves) for value in drawn))
    with torch.no_grad():
        assert run_cheaply(path, dynamics.force, noise).grad_fn is None


@BOTH
def test_neural_control_keeps_the_forces_on_its_way(make):
    dynamics, integrator = make()
    torch.manual_seed(7)
    control = NeuralControl(hidden=8)
    control.prepare(3, dynamics, substeps=2)
    neural = control.plan(torch.randn(4, 4, 3), torch.rand(4, 3))
    initial = start(make, (4,))
    posterior = nld.ControlledPath(dynamics, integrator, initial, grid((4,)), neural)
    prior = nld.LangevinPath(dynamics, integrator, initial, grid((4,)))
    value = posterior.rsample()
    kept = posterior._cached_forces(prior, value)
    assert isinstance(kept, Forces)
    torch.testing.assert_close(kept.posterior, posterior.force(posterior._origins(value)))
    torch.testing.assert_close(posterior.kl_along(prior, value), posterior.kl_along(prior, value.clone()))


def test_kl_does_not_reuse_forces_of_other_physics():
    dynamics, integrator = overdamped()
    other, _ = overdamped()
    other.temperature = 2.0
    control = NeuralControl(hidden=8)
    control.prepare(3, dynamics, substeps=2)
    initial = start(overdamped, (4,))
    posterior = nld.ControlledPath(
        dynamics, integrator, initial, grid((4,)), control.plan(torch.randn(4, 4, 3), torch.rand(4, 3))
    )
    value = posterior.rsample()
    assert posterior._cached_forces(nld.LangevinPath(other, integrator, initial, grid((4,))), value) is None


@BOTH
def test_expanding_keeps_the_law(make):
    for path in prior_and_posterior(make, start(make, (3,)), (3,)):
        wide = path.expand(torch.Size([5, 3]))
        assert type(wide) is type(path)
        assert wide.batch_shape == (5, 3)
        assert wide.event_shape == path.event_shape
        value = path.sample()
        torch.testing.assert_close(wide.log_prob(value.expand(5, -1, -1, -1)), path.log_prob(value).expand(5, -1))


def test_steps_after_the_end_cost_nothing():
    prior, posterior = prior_and_posterior(overdamped, start(overdamped))
    torch.manual_seed(8)
    value = posterior.sample()
    valid = torch.tensor([True] * 3 + [False] * 3)
    for path in (prior, posterior):
        path.grid = Grid(path.grid.h, valid)
    changed = value.clone()
    changed[3:] = 100.0
    torch.testing.assert_close(prior.log_prob(value), prior.log_prob(changed))
    torch.testing.assert_close(posterior.kl_along(prior, value), posterior.kl_along(prior, changed))
