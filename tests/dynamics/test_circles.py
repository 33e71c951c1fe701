"""Axes that are circles: there and back, images, and a potential of the plane along its circle."""

import math

import pytest
import torch

import pyro_nld as nld
from pyro_nld.dynamics.circles import Circles, circles_of

MIXED = Circles([2 * math.pi, math.inf, 3.0])  # a circle, a line, another circle


def angles(*shape):
    return 5 * torch.randn(*shape, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_the_plane_tells_an_angle_from_others_and_not_from_its_images():
    z = angles(50)
    turned = z + torch.tensor([2 * math.pi, 0.0, -6.0], dtype=torch.float64)
    torch.testing.assert_close(MIXED.lift(z), MIXED.lift(turned))
    torch.testing.assert_close(MIXED.lower(MIXED.lift(z)), MIXED.fold(z))
    assert bool((MIXED.lift(z) - MIXED.lift(z + 1.0)).norm(dim=-1).min() > 0.5)


def test_a_step_along_a_circle_is_as_long_in_its_plane():
    z, step = angles(20), 1e-6 * torch.eye(3, dtype=torch.float64)
    moved = MIXED.lift(z.unsqueeze(1) + step) - MIXED.lift(z).unsqueeze(1)
    torch.testing.assert_close(moved.norm(dim=-1), torch.full((20, 3), 1e-6, dtype=torch.float64), rtol=1e-5, atol=0.0)


def test_the_nearest_image_and_a_path_over_the_end_of_a_period():
    fold = MIXED.fold(angles(200))
    assert bool((fold[:, 0].abs() <= math.pi).all() and (fold[:, 2].abs() <= 1.5).all())
    assert float(fold[:, 1].abs().max()) > 5  # a line goes on
    path = torch.linspace(0.0, 20.0, 60).unsqueeze(-1).double()
    circle = Circles([2 * math.pi])
    torch.testing.assert_close(circle.unwind(circle.fold(path)), path)


def test_a_potential_along_its_circle_has_the_derivatives_of_the_energy():
    torch.manual_seed(0)
    potential = nld.Periodic(nld.NeuralPotential(5, hidden=(8,)), MIXED.periods).double()
    z = angles(4, 6).requires_grad_()
    (expected,) = torch.autograd.grad(potential(z).sum(), z)
    torch.testing.assert_close(potential.gradient(z), expected)
    assert torch.autograd.gradcheck(potential.gradient, (z,))
    assert potential.coefficients is potential.potential.output.weight
    assert potential.features(z).shape == (4, 6, 8)
    assert circles_of(potential).periods == MIXED.periods


def test_a_landscape_on_lines_has_no_circles():
    assert circles_of(nld.DoubleWell()) is None
    assert circles_of(None) is None
    assert circles_of(lambda z: z.sum(-1)) is None


@pytest.mark.parametrize(
    ("axes", "periods", "sentence"),
    [
        (2, [0.0], r"periods need a length above zero for every axis: got \[0.0\]. Give for example"),
        (2, [], r"periods need a length above zero for every axis: got \[\]"),
        (1, [6.0], "1 circles and 0 lines need a potential of 2 axes: got one of 1. A circle takes two"),
    ],
)
def test_a_potential_of_other_axes_is_told(axes, periods, sentence):
    with pytest.raises(nld.ShapeError, match=sentence):
        nld.Periodic(nld.NeuralPotential(axes), periods)
