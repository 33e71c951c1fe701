"""Potentials that are linear in all they have to learn, and recordings of paths in them."""

import torch
from torch import nn

import pyro_nld as nld
from pyro_nld.dynamics.potentials import Potential

INTERVAL, NOISE = 0.05, 0.02
SEQUENCES, TIMES = 64, 300


class Polynomial(Potential):
    """U(z) = Σ w_k z^(power k), one axis."""

    def __init__(self, powers, coefficients):
        super().__init__()
        self.latent, self.powers, self.weight = 1, powers, nn.Parameter(torch.tensor(coefficients))

    def forward(self, z):
        return self.features(z) @ self.weight

    @property
    def coefficients(self):
        return self.weight

    def features(self, z):
        return torch.cat([z**power for power in self.powers], -1)


def recording(potential):
    """Long paths in U at T = 1, seen almost without noise: times, the paths, and what is seen of them."""
    torch.manual_seed(0)
    path = [torch.randn(SEQUENCES, 1)]
    for _ in range(TIMES - 1):
        slope = nld.dynamics.potentials.gradient(potential, path[-1]).detach()
        path.append(path[-1] - INTERVAL * slope + (2 * INTERVAL) ** 0.5 * torch.randn(SEQUENCES, 1))
    z = torch.stack(path, 1)
    return (INTERVAL * torch.arange(float(TIMES))).expand(SEQUENCES, -1), z, z + NOISE * torch.randn(z.shape)


def follower(potential):
    """A model of such a recording with this potential, and a guide."""
    prior = nld.OverdampedLangevin(potential)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), substeps=1, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
