"""Friction that depends on the position: what is stationary, how fast it relaxes, and which guide serves it."""

import math

import numpy as np
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import nn

import pyro_nld as nld
from pyro_nld.dynamics.paths import refine
from pyro_nld.kinetics.generators import generator, relaxation_times


def uneven(z):
    return 1 + 0.8 * torch.tanh(2 * z).sum(-1)


class WithoutDrift(nld.VariableFrictionLangevin):
    """The mistake: the force alone, and noise that depends on the position."""

    def force(self, z):
        return -self.potential.gradient(z)


def mean_position(kind, paths=4000, steps=300, h=0.02):
    """⟨z⟩ of chains in a harmonic well that start in equilibrium, and its standard error."""
    torch.manual_seed(3)
    dynamics = kind(nld.Quadratic([1.0]), uneven, temperature=0.5)
    grid = refine(torch.linspace(0.0, steps * h, 2), steps)
    path = nld.LangevinPath(dynamics, nld.EulerMaruyama(), math.sqrt(0.5) * torch.randn(paths, 1), grid).sample()
    means = path[:, steps // 2 :, 0].mean(-1)
    return float(means.mean()), float(means.std()) / math.sqrt(paths)


def test_the_boltzmann_law_is_stationary():
    """With equal wells on both sides, ⟨z⟩ = 0 whatever the friction."""
    mean, error = mean_position(nld.VariableFrictionLangevin)
    assert abs(mean) < 5 * error + 0.005  # and a bias of first order in h


def test_without_its_drift_the_law_would_be_another():
    """γ exp(−U/T) is stationary then, with ⟨z⟩ = ⟨z γ⟩/⟨γ⟩."""
    mean, error = mean_position(WithoutDrift)
    z = torch.linspace(-6.0, 6.0, 4001, dtype=torch.float64).unsqueeze(-1)
    weight = uneven(z) * torch.exp(-z.square().sum(-1))
    expected = float((weight * z[:, 0]).sum() / weight.sum())
    assert expected > 0.2
    assert abs(mean) > 50 * error
    assert mean == pytest.approx(expected, abs=0.1)


def test_relaxation_is_that_of_the_coordinate_in_which_friction_is_constant():
    """With γ = cosh² z and x = sinh z, dx has constant friction in the landscape U + ½ T log γ."""

    class Stretched(nld.Potential):
        latent = 1

        def forward(self, x):
            return nld.DoubleWell(barrier=1.5)(torch.asinh(x)) + 0.35 * torch.log1p(x.square()).sum(-1)

    profile = lambda z: torch.cosh(z).square().sum(-1)  # noqa: E731
    curved = nld.VariableFrictionLangevin(nld.DoubleWell(barrier=1.5), profile, temperature=0.7)
    flat = nld.OverdampedLangevin(Stretched(), temperature=0.7)
    one = relaxation_times(generator(curved, [-2.5], [2.5]), 3)
    other = relaxation_times(generator(flat, [-math.sinh(2.5)], [math.sinh(2.5)], 6000), 3)
    np.testing.assert_allclose(one, other, rtol=2e-3)
    wrong = relaxation_times(generator(nld.OverdampedLangevin(nld.DoubleWell(barrier=1.5), 0.7), [-2.5], [2.5]), 3)
    assert abs(wrong / other - 1).max() > 0.2


def test_a_constant_profile_is_constant_friction():
    plain = nld.OverdampedLangevin(nld.DoubleWell(), temperature=0.5, friction=2.0)
    other = nld.VariableFrictionLangevin(nld.DoubleWell(), lambda z: 1 + 0 * z[..., 0], 0.5, 2.0)
    z, h = torch.randn(4, 7, 1), torch.full((7, 1), 0.1)
    for dynamics in (plain, other):
        assert dynamics.landscape(z).shape == (4, 7)
    steps = [nld.EulerMaruyama().step(dynamics, z, dynamics.force(z), h) for dynamics in (plain, other)]
    torch.testing.assert_close(steps[1].loc, steps[0].loc)
    torch.testing.assert_close(steps[1].scale, steps[0].scale)


def test_a_profile_is_learned_with_a_neural_control_and_no_other():
    class Profile(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.tensor([0.1]))

        def forward(self, z):
            return torch.exp((self.slope * z).sum(-1))

    motion = nld.VariableFrictionLangevin(nld.DoubleWell(), Profile())
    model = nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1), 0.2), substeps=2)
    with pytest.raises(nld.PriorError, match="AffineControl needs the same noise everywhere: got VariableFrictionLang"):
        nld.AmortizedGuide(model, nld.GRUEncoder(1))
    times, x = nld.as_tensors(nld.datasets.ornstein_uhlenbeck(sequences=4, steps=10))
    for elbo in (Trace_ELBO(), nld.PathELBO()):
        guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4), nld.NeuralControl(hidden=4))
        before = motion.profile.slope.detach().clone()
        assert math.isfinite(SVI(model, guide, Adam({"lr": 0.01}), elbo).step(times, x))
        assert not torch.equal(motion.profile.slope, before)
