"""Controls: shapes, what they may read, how close to the prior they start, and that they speak no units."""

import math

import pytest
import torch
from torch import nn

import pyro_nld as nld
from pyro_nld.dynamics.integrators import default_integrator
from pyro_nld.dynamics.paths import refine
from pyro_nld.guide.controls import AffineControl, NeuralControl

CONTEXT, SUBSTEPS, SEQUENCES, TIMES = 4, 3, 2, 5
CONTROLS = {"affine": AffineControl, "uncoupled": lambda: AffineControl(coupled=False), "neural": NeuralControl}
DYNAMICS = {
    "overdamped": lambda: nld.OverdampedLangevin(nld.DoubleWell(latent=2), 0.7, 1.3),
    "underdamped": lambda: nld.UnderdampedLangevin(nld.DoubleWell(latent=2), 0.7, 1.3, 0.4),
}


@pytest.fixture(params=DYNAMICS, ids=list(DYNAMICS))
def dynamics(request):
    return DYNAMICS[request.param]().double()


@pytest.fixture(params=CONTROLS, ids=list(CONTROLS))
def control(request, dynamics):
    return prepared(CONTROLS[request.param](), dynamics)


def prepared(control, dynamics):
    torch.manual_seed(7)
    control.prepare(CONTEXT, dynamics, SUBSTEPS)
    return control.double()


def inputs():
    draw = torch.Generator().manual_seed(8)
    contexts = torch.randn(SEQUENCES, TIMES, CONTEXT, generator=draw, dtype=torch.float64)
    return contexts, 0.02 + 0.1 * torch.rand(SEQUENCES, TIMES - 1, generator=draw, dtype=torch.float64)


def path(control, dynamics, contexts, gaps, substeps=SUBSTEPS):
    times = nn.functional.pad(gaps.cumsum(-1), (1, 0))
    integrator = default_integrator(dynamics)
    initial = torch.full((SEQUENCES, dynamics.state), 0.2, dtype=torch.float64)
    grid = refine(times, substeps)
    posterior = nld.ControlledPath(dynamics, integrator, initial, grid, control.plan(contexts, gaps))
    return posterior, nld.LangevinPath(dynamics, integrator, initial, grid)


def test_a_plan_covers_every_substep(control, dynamics):
    posterior, _ = path(control, dynamics, *inputs())
    assert posterior.rsample().shape == (SEQUENCES, (TIMES - 1) * SUBSTEPS, dynamics.state)


@pytest.mark.parametrize(("latent", "coupled"), [(1, False), (2, True), (9, True), (10, False)])
def test_many_axes_are_coupled_only_when_told(latent, coupled):
    dynamics = nld.OverdampedLangevin(nld.DoubleWell(latent=latent)).double()
    for told, expected in ((None, coupled), (True, latent > 1), (False, False)):
        decided = prepared(AffineControl(coupled=told), dynamics).plan(*inputs())
        assert (decided.mixing is not None) == expected


def test_refined_steps_steer_as_before(control, dynamics):
    """Paths without noise pass the same places at the observations, up to a step's own error; noise fills as much."""
    contexts, gaps = inputs()

    def passed(substeps):
        control.refine(substeps)
        posterior, _ = path(control, dynamics, contexts, gaps, substeps)
        noise = torch.zeros(SEQUENCES, (TIMES - 1) * substeps, dynamics.latent, dtype=torch.float64)
        with torch.no_grad():
            quiet = posterior._draw(noise)
            left_out = (1 - posterior.ratio.expand_as(noise).square()).unflatten(1, (-1, substeps)).sum(2)
        return quiet[:, substeps - 1 :: substeps, : dynamics.latent], left_out

    for before, after in zip(passed(16 * SUBSTEPS), passed(64 * SUBSTEPS), strict=True):
        torch.testing.assert_close(after, before, rtol=0.05, atol=0.02)


def force(control, dynamics, contexts, gaps):
    posterior, _ = path(control, dynamics, contexts, gaps)
    return posterior.force(torch.zeros(SEQUENCES, (TIMES - 1) * SUBSTEPS, dynamics.state, dtype=torch.float64))


def test_every_substep_has_a_force_of_its_own(control, dynamics):
    """The exact posterior's control is a sawtooth inside every interval: one value per interval would not do."""
    inside = force(control, dynamics, *inputs()).unflatten(1, (TIMES - 1, SUBSTEPS))
    assert bool((inside.diff(dim=2).abs() > 1e-9).all())


@pytest.mark.parametrize("time", range(TIMES))
def test_an_interval_reads_the_contexts_at_both_of_its_ends(control, dynamics, time):
    contexts, gaps = inputs()
    before = force(control, dynamics, contexts, gaps)
    contexts[:, time] += 1.0
    moved = (force(control, dynamics, contexts, gaps) - before).abs().amax((0, 2)).unflatten(0, (TIMES - 1, SUBSTEPS))
    expected = torch.tensor([interval in (time - 1, time) for interval in range(TIMES - 1)])
    assert torch.equal((moved > 1e-9).all(-1), expected)
    assert torch.equal((moved > 1e-9).any(-1), expected)


def test_a_part_of_a_plan_is_that_part(control, dynamics):
    posterior, _ = path(control, dynamics, *inputs())
    origins = posterior.rsample()
    index = torch.tensor([1, 4, 9])
    part = posterior.piece(index, posterior.initial)
    torch.testing.assert_close(part.force(origins[:, index]), posterior.force(origins)[:, index])
    whole = torch.as_tensor(posterior.ratio).expand(SEQUENCES, (TIMES - 1) * SUBSTEPS, 2)
    torch.testing.assert_close(torch.as_tensor(part.ratio).expand(SEQUENCES, 3, 2), whole[:, index])
    if posterior.mixing is not None:
        torch.testing.assert_close(part.mixing, posterior.mixing[:, index])


def test_every_parameter_learns(control, dynamics):
    posterior, prior = path(control, dynamics, *inputs())
    value = posterior.rsample()
    (posterior.kl_along(prior, value).sum() + value.square().sum()).backward()
    assert all(parameter.grad is not None and bool((parameter.grad != 0).any()) for parameter in control.parameters())


def test_neural_control_starts_at_the_prior_as_its_gain_vanishes(dynamics):
    control = prepared(NeuralControl(gain=0.0), dynamics)
    posterior, prior = path(control, dynamics, *inputs())
    value = posterior.sample()
    torch.testing.assert_close(posterior.log_prob(value), prior.log_prob(value))
    torch.testing.assert_close(posterior.kl_along(prior, value), torch.zeros(SEQUENCES, dtype=torch.float64))


def test_neural_control_starts_with_small_weights_also_when_started_anew(dynamics):
    control = prepared(NeuralControl(gain=0.2), dynamics)
    for _ in range(2):
        assert control.inner.weight.abs().max().item() <= 0.2 / control.hidden**0.5
        for part in reversed(list(control.modules())):
            getattr(part, "reset_parameters", lambda: None)()


def test_affine_control_starts_with_a_spring_of_some_steps_and_nearly_the_priors_noise(dynamics):
    control = prepared(AffineControl(), dynamics)
    nn.init.zeros_(control.network[-1].weight)
    nn.init.zeros_(control.network[-1].bias)
    plan = control.plan(*inputs())
    assert len(plan.gains) == dynamics.state // dynamics.latent
    for gain in plan.gains:
        matrix = gain.times(torch.ones(1, dtype=torch.float64))
        torch.testing.assert_close(matrix, (0.269 * torch.eye(2)).expand_as(matrix).to(matrix), atol=1e-3, rtol=0)
    torch.testing.assert_close(plan.mixing, torch.eye(2).expand_as(plan.mixing).to(plan.mixing))
    torch.testing.assert_close(plan.ratio, torch.full_like(plan.ratio, 0.953), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("time", "friction"), [(10.0, 1.0), (1.0, 3.0), (0.01, 7.0)])
def test_an_affine_step_closes_the_same_share_of_a_gap_in_any_unit(time, friction):
    """t → s t, γ → r γ with T and U left alone: paths stay in the same place, for gains are free of units."""
    control = prepared(AffineControl(), DYNAMICS["overdamped"]())
    plan = control.plan(*inputs())

    def mean(dynamics, gaps):
        grid = refine(nn.functional.pad(gaps.cumsum(-1), (1, 0)), SUBSTEPS)
        initial = torch.full((SEQUENCES, 2), 0.2, dtype=torch.float64)
        posterior = nld.ControlledPath(dynamics, nld.EulerMaruyama(), initial, grid, plan)
        return posterior.plan.draw(posterior, torch.zeros(SEQUENCES, (TIMES - 1) * SUBSTEPS, 2).double())[0]

    gaps = inputs()[1]
    one = mean(nld.OverdampedLangevin(nld.DoubleWell(latent=2), 0.7, 1.0).double(), gaps)
    other = mean(nld.OverdampedLangevin(nld.DoubleWell(latent=2), 0.7, friction).double(), time * gaps)
    torch.testing.assert_close(one, other)


def test_a_single_axis_has_nothing_to_couple():
    dynamics = nld.OverdampedLangevin(nld.DoubleWell()).double()
    plan = prepared(AffineControl(), dynamics).plan(*inputs())
    assert plan.mixing is None


def test_pulls_between_axes_stay_below_the_geometric_mean(dynamics):
    """However large the network's outputs: that keeps a path from running away."""
    control = prepared(AffineControl(), dynamics)
    nn.init.normal_(control.network[-1].weight, std=100.0)
    plan = control.plan(*inputs())
    for gain in (gain.times(torch.ones(1, dtype=torch.float64)) for gain in plan.gains):
        between = gain.diagonal(dim1=-2, dim2=-1).prod(-1).sqrt()
        assert bool((gain[..., 0, 1].abs() <= between * (1 + 1e-9) + 1e-100).all())
        assert bool((torch.linalg.eigvals(torch.eye(2) - gain).abs() <= 1 + 1e-6).all())


class Ring(nld.Potential):
    """Two circles and a line between them."""

    latent, periods = 3, (2 * math.pi, math.inf, 3.0)

    def forward(self, z):
        return z[..., 1].square() - torch.cos(z[..., 0]) - torch.cos(2 * math.pi / 3 * z[..., 2])


RINGS = {
    "overdamped": lambda: nld.OverdampedLangevin(Ring(), 0.7, 1.3),
    "underdamped": lambda: nld.UnderdampedLangevin(Ring(), 0.7, 1.3, 0.4),
}
TURN = torch.tensor([2 * math.pi, 0.0, -3.0], dtype=torch.float64)


@pytest.mark.parametrize("motion", RINGS)
@pytest.mark.parametrize("kind", [nld.CircularControl, NeuralControl])
def test_a_control_on_circles_does_not_tear(motion, kind):
    """From a place and from its image, a turn away, paths are the same but for that turn."""
    dynamics = RINGS[motion]().double()
    steering = prepared(kind(), dynamics)
    posterior, _ = path(steering, dynamics, *inputs())
    shift = nn.functional.pad(TURN, (0, dynamics.state - 3))
    turned = posterior.piece(torch.arange((TIMES - 1) * SUBSTEPS), posterior.initial + shift)
    noise = torch.randn(SEQUENCES, (TIMES - 1) * SUBSTEPS, 3, dtype=torch.float64)
    torch.testing.assert_close(turned._draw(noise), posterior._draw(noise) + shift)


@pytest.mark.parametrize("motion", RINGS)
def test_a_path_drawn_on_circles_has_the_density_of_its_force(motion):
    """The forces of the loop are those of the whole path at once, also of some of its steps."""
    dynamics = RINGS[motion]().double()
    posterior, _ = path(prepared(nld.CircularControl(), dynamics), dynamics, *inputs())
    noise = torch.randn(SEQUENCES, (TIMES - 1) * SUBSTEPS, 3, dtype=torch.float64)
    drawn = posterior._draw(noise)
    step = posterior.transitions(posterior._origins(drawn))
    component = posterior.integrator.stochastic_component(drawn)
    torch.testing.assert_close((component - step.loc) / step.scale, noise)
    some = torch.tensor([1, 4, 7])
    torch.testing.assert_close(
        posterior.piece(some, posterior.initial).force(drawn[:, some]), posterior.force(drawn)[:, some]
    )


@pytest.mark.parametrize("motion", RINGS)
def test_refined_steps_on_circles_steer_as_before(motion):
    dynamics, (contexts, gaps) = RINGS[motion]().double(), inputs()
    steering = prepared(nld.CircularControl(), dynamics)

    def passed(substeps):
        steering.refine(substeps)
        posterior, _ = path(steering, dynamics, contexts, gaps, substeps)
        with torch.no_grad():
            quiet = posterior._draw(torch.zeros(SEQUENCES, (TIMES - 1) * substeps, 3, dtype=torch.float64))
        return quiet[:, substeps - 1 :: substeps, :3]

    torch.testing.assert_close(passed(64 * SUBSTEPS), passed(16 * SUBSTEPS), rtol=0.05, atol=0.02)


def test_a_control_of_the_other_kind_is_told():
    ring, line = RINGS["overdamped"](), DYNAMICS["overdamped"]()
    with pytest.raises(nld.PriorError, match=r"AffineControl pulls towards a place on a line: .* Use CircularControl"):
        AffineControl().prepare(CONTEXT, ring, SUBSTEPS)
    with pytest.raises(nld.PriorError, match=r"needs a landscape with `periods`.* Use AffineControl"):
        nld.CircularControl().prepare(CONTEXT, line, SUBSTEPS)
