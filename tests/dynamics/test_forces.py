"""Forces without a landscape: what they see, that they confine, and that with F = −∇U all is as with a landscape."""

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from pyro.nn import PyroSample

import pyro_nld as nld
from pyro_nld.dynamics.equations import jacobian
from pyro_nld.dynamics.forces import Force
from pyro_nld.dynamics.integrators import default_integrator

SIGHTS = ["position", "momentum", "both"]
WELLS = nld.GaussianWells([[-1.0, 0.0], [1.0, 0.5]], widths=0.5)


class Downhill(Force):
    """−∇U, said as a force that knows no landscape."""

    latent = 2

    def forward(self, z):
        return -WELLS.gradient(z[..., :2])


PAIRS = {
    "overdamped": (nld.OverdampedLangevin(WELLS, 0.7, 1.3), nld.OverdampedSDE(Downhill(), 0.7, 1.3)),
    "underdamped": (nld.UnderdampedLangevin(WELLS, 0.7, 1.3, 0.4), nld.UnderdampedSDE(Downhill(), 0.7, 1.3, 0.4)),
}


@pytest.fixture(params=PAIRS, ids=list(PAIRS))
def pair(request):
    return PAIRS[request.param]


@pytest.mark.parametrize("sees", SIGHTS)
def test_a_force_reads_what_it_sees_and_nothing_else(sees):
    force, z = nld.NeuralForce(2, sees, hidden=(8,)).double(), torch.randn(5, 4, dtype=torch.float64)
    assert force(z).shape == (5, 2)
    changed = jacobian(force, z).abs().sum((0, 1)) > 0
    seen = {"position": [True, False], "momentum": [False, True], "both": [True, True]}[sees]
    assert changed.tolist() == [seen[0], seen[0], seen[1], seen[1]]


@pytest.mark.parametrize("sees", ["position", "both"])
def test_far_away_a_force_points_back(sees):
    force = nld.NeuralForce(2, sees, hidden=(8,), confinement=0.5)
    far = torch.nn.functional.pad(1e4 * torch.nn.functional.normalize(torch.randn(50, 2), dim=-1), (0, 2))
    torch.testing.assert_close(
        force(far), -far[:, :2], rtol=1e-2, atol=100.0
    )  # −2 c q, and what a bounded network adds


def test_most_neural_forces_have_no_potential():
    curl = jacobian(nld.NeuralForce(2), torch.randn(20, 2))
    assert float((curl - curl.mT).abs().max()) > 1e-3
    landscape = jacobian(nld.OverdampedLangevin(nld.NeuralPotential(2)).rest_force, torch.randn(20, 2))
    torch.testing.assert_close(landscape, landscape.mT)


def test_forces_add_up():
    parts = nld.NeuralForce(2), nld.NeuralForce(2, "momentum")
    total, z = nld.SumOfForces(*parts), torch.randn(5, 4)
    assert total.sees == "both"
    torch.testing.assert_close(total(z), parts[0](z) + parts[1](z))
    assert nld.SumOfForces(nld.NeuralForce(2), nld.NeuralForce(2)).sees == "position"
    assert len(list(total.parameters())) == sum(len(list(part.parameters())) for part in parts)


def test_the_same_force_makes_the_same_dynamics(pair):
    langevin, free = pair
    z = torch.randn(3, 4, langevin.state)
    for name in ("force", "drift", "diffusion"):
        torch.testing.assert_close(getattr(free, name)(z), getattr(langevin, name)(z))
    torch.testing.assert_close(free.thermal_scale(), langevin.thermal_scale())
    q = torch.randn(6, 2)
    torch.testing.assert_close(free.stiffness(q), nld.dynamics.potentials.hessian(WELLS, q))


def test_and_the_same_path_and_density(pair):
    paths = []
    for dynamics in pair:
        torch.manual_seed(0)
        grid = nld.dynamics.paths.refine(torch.arange(6.0), 4)
        paths.append(nld.LangevinPath(dynamics, default_integrator(dynamics), torch.zeros(dynamics.state), grid))
    torch.manual_seed(1)
    z = paths[0].rsample()
    torch.manual_seed(1)
    torch.testing.assert_close(paths[1].rsample(), z)
    torch.testing.assert_close(paths[1].log_prob(z), paths[0].log_prob(z))


@pytest.mark.parametrize(
    "force",
    [
        nld.NeuralForce(2, hidden=(8,)),
        nld.NeuralForce(2, "both", hidden=(8,)),
        nld.SumOfForces(nld.NeuralForce(2, hidden=(8,)), nld.NeuralForce(2, "momentum", hidden=(8,))),
    ],
    ids=["positions", "both", "sum"],
)
def test_every_kind_learns_from_the_bound(force):
    """The force of the prior is told by the path KL alone: every weight of it gets a gradient."""
    data = nld.datasets.ornstein_uhlenbeck(6, 10, rate=[1.0, 2.0])
    prior = nld.UnderdampedSDE(force, friction=None, mass=None)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(2), 0.3), substeps=3)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=4, hidden=4))
    times, x = nld.as_tensors(data)
    terms = nld.PathELBO().terms(model, guide, times, x)
    terms["path_kl"].backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in prior.parameters())
    fit = nld.fit(model, guide, data, nld.Schedule(steps=3), progress=False)
    assert np.isfinite(fit.history["loss"]).all()
    assert np.isfinite(fit.elbo()["total"])


def test_weights_may_be_random():
    force = nld.NeuralForce(1, hidden=(4,))
    force.output.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 4]).to_event(2))
    model = nld.LatentLangevin(nld.OverdampedSDE(force), nld.Gaussian(nld.IdentityDecoder(1), 0.3), substeps=2)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))
    times, x = nld.as_tensors(nld.datasets.ornstein_uhlenbeck(4, 20))
    assert torch.isfinite(torch.tensor(nld.PathELBO().loss(model, guide, times, x)))
    assert nld.Fit(model, guide, times, x).dynamics.field.output.weight.shape == (1, 4)


def test_what_cannot_be_is_refused():
    with pytest.raises(nld.PriorError, match=r'an overdamped state has no momentum: .* got "both"'):
        nld.OverdampedSDE(nld.NeuralForce(2, "both"))
    with pytest.raises(nld.PriorError, match=r"a force sees .* got 'velocity'"):
        nld.NeuralForce(2, "velocity")
    with pytest.raises(nld.ShapeError, match=r"need the same axes: got \[2, 3\]"):
        nld.SumOfForces(nld.NeuralForce(2), nld.NeuralForce(3))
    with pytest.raises(nld.PriorError, match=r"OverdampedSDE has no landscape. Use start"):
        nld.LatentLangevin(
            nld.OverdampedSDE(nld.NeuralForce(1)), nld.Gaussian(nld.IdentityDecoder(1)), start="equilibrium"
        )
