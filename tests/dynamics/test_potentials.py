"""Potentials: one contract for all, and the values each is known for."""

import math

import pytest
import torch
from pyro import distributions as dist
from pyro.nn import PyroSample

import pyro_nld as nld
from pyro_nld.dynamics.potentials import energy_and_gradient, gradient, hessian
from pyro_nld.nn import Dense

MEMBERS = {
    "neural": lambda: nld.NeuralPotential(2, hidden=(8, 7)),
    "residual": lambda: nld.ResidualPotential(2, features=5, width=9, blocks=2),
    "residual, with inner layers": lambda: nld.ResidualPotential(2, features=5, width=9, blocks=2, inner=7),
    "quadratic": lambda: nld.Quadratic([[2.0, 0.5], [0.5, 1.0]], centre=[0.3, -0.2]),
    "double well": lambda: nld.DoubleWell(latent=2, barrier=2.0, half_distance=1.5),
    "Müller–Brown": lambda: nld.MuellerBrown(scale=0.01),
    "Gaussian wells": lambda: nld.GaussianWells([[0.0, 1.0], [1.0, -1.0]], [0.3, 0.7], [0.5, 0.8], temperature=1.7),
    "tilted": lambda: nld.Tilted(nld.DoubleWell(latent=2), [0.4, -0.1]),
}


@pytest.fixture(params=MEMBERS, ids=list(MEMBERS))
def potential(request):
    torch.manual_seed(1)
    return MEMBERS[request.param]().double()


def points(*shape):
    return torch.randn(*shape, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_energy_has_the_batch_shape(potential):
    assert potential.latent == 2
    for shape in [(), (4,), (3, 4)]:
        assert potential(points(*shape)).shape == shape


def test_gradient_is_the_derivative_of_the_energy(potential):
    z = points(5).requires_grad_()
    (expected,) = torch.autograd.grad(potential(z).sum(), z)
    torch.testing.assert_close(potential.gradient(z), expected)
    torch.testing.assert_close(gradient(lambda q: potential(q), z), expected)


def test_energy_and_gradient_are_the_same_together(potential):
    z = points(5)
    energy, slope = energy_and_gradient(potential, z)
    assert torch.equal(energy, potential(z))
    assert torch.equal(slope, potential.gradient(z))


def test_a_potential_made_from_a_network_is_not_taken_for_it():
    class Raised(nld.NeuralPotential):
        def forward(self, z):
            return super().forward(z) + z.sum(-1)

        def gradient(self, z):
            return super().gradient(z) + 1

    raised, z = Raised(2), points(5).float()
    energy, slope = energy_and_gradient(raised, z)
    torch.testing.assert_close((energy, slope), (raised(z), raised.gradient(z)))


def test_gradient_can_be_differentiated_again(potential):
    z = points(5).requires_grad_()
    assert torch.autograd.gradcheck(potential.gradient, (z,))


def test_hessian_is_the_second_derivative(potential):
    z = points(4)
    expected = torch.stack([torch.autograd.functional.hessian(potential, row) for row in z])
    torch.testing.assert_close(hessian(potential, z), expected)


def test_gradient_of_a_plain_function_without_gradients_enabled():
    with torch.no_grad():
        slope = gradient(lambda z: z.square().sum(-1), points(3))
    torch.testing.assert_close(slope, 2 * points(3))
    assert not slope.requires_grad


def test_neural_potential_confines():
    potential = nld.NeuralPotential(3, confinement=0.25)
    assert float(potential.confinement.detach()) == pytest.approx(0.25)
    far = 1e4 * torch.eye(3)
    torch.testing.assert_close(potential(far).detach() / 1e8, torch.full((3,), 0.25), rtol=1e-3, atol=0.0)


def test_weights_drawn_per_particle_align_left_of_time():
    torch.manual_seed(3)
    weight, bias, z = torch.randn(4, 1, 5, 2), torch.randn(4, 1, 5), torch.randn(4, 3, 6, 2)
    layer = Dense(2, 5)
    layer.weight, layer.bias = PyroSample(lambda _: weight), PyroSample(lambda _: bias)
    for particle in range(4):
        expected = z[particle] @ weight[particle, 0].T + bias[particle, 0]
        torch.testing.assert_close(layer(z)[particle], expected)


def test_weights_may_be_distributions():
    layer = Dense(2, 3)
    layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))
    assert layer(torch.zeros(5, 2)).shape == (5, 3)


def test_gaussian_wells_are_a_normalised_mixture():
    wells = nld.GaussianWells([[-1.0], [2.0]], [1.0, 3.0], [0.4, 0.3], temperature=2.0).double()
    grid = torch.linspace(-6, 6, 20001, dtype=torch.float64).unsqueeze(-1)
    density = torch.exp(-wells(grid) / 2.0)
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-9)
    left = grid[:, 0] < 0.5
    assert float(torch.trapezoid(density[left], grid[left, 0])) == pytest.approx(0.25, abs=1e-4)


def test_mueller_brown_has_its_published_energies():
    minima = torch.tensor([[-0.558, 1.442], [0.623, 0.028], [-0.050, 0.467]], dtype=torch.float64)
    energies = nld.MuellerBrown().double()(minima)
    torch.testing.assert_close(energies, torch.tensor([-146.70, -108.17, -80.77]).double(), atol=5e-3, rtol=0)


def test_double_well_has_its_barrier():
    well = nld.DoubleWell(barrier=4.0, half_distance=1.3)
    assert float(well(torch.zeros(1)) - well(torch.tensor([1.3]))) == pytest.approx(4.0)
    curvature = hessian(well, torch.tensor([1.3]))
    assert curvature.item() == pytest.approx(8 * 4.0 / 1.3**2, rel=1e-5)


def test_tilt_is_an_applied_force():
    torch.testing.assert_close(nld.Tilted(nld.Quadratic([1.0]), [0.5]).gradient(torch.zeros(1)), torch.tensor([0.5]))


def test_wrong_sizes_say_so():
    with pytest.raises(nld.ShapeError, match=r"slope needs one entry per axis: expected \(1,\), got \(2,\)"):
        nld.Tilted(nld.DoubleWell(), [0.1, 0.2])
    with pytest.raises(nld.ShapeError, match=r"weights need one entry per centre: expected \(2,\), got \(3,\)"):
        nld.GaussianWells([[0.0], [1.0]], [1.0, 1.0, 1.0])


def test_broken_gradient_would_be_caught():
    class Broken(nld.Quadratic):
        def gradient(self, z):
            return -super().gradient(z)

    z = points(5).requires_grad_()
    broken = Broken([1.0, 1.0]).double()
    with pytest.raises(AssertionError):
        torch.testing.assert_close(broken.gradient(z), z)
    assert math.isfinite(float(broken(z.detach()).sum()))
