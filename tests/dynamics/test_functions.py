"""Potentials of one's own: any function or module, and random numbers in it under vectorised particles."""

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.nn import PyroModule, PyroSample
from torch import nn

import pyro_nld as nld
from pyro_nld.dynamics.functions import as_potential
from pyro_nld.nn import Dense

# ---------------------------------------------------------------- any function


def quartic(z):
    return (z.square() - 1).square().sum(-1)


class Bowl(PyroModule):
    latent = 1

    def forward(self, z):
        return quartic(z)


def test_any_function_or_module_with_its_number_of_axes_is_a_potential():
    z = torch.randn(3, 4, 1)
    quartic.latent = 1
    for given in (quartic, Bowl()):
        dynamics = nld.OverdampedLangevin(given)
        torch.testing.assert_close(dynamics.force(z), -4 * z * (z.square() - 1))
        torch.testing.assert_close(dynamics.stationary_log_density(z), -quartic(z))
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    dynamics = nld.UnderdampedLangevin(network)
    assert (dynamics.latent, dynamics.landscape(torch.zeros(5, 2)).shape) == (2, (5,))
    assert as_potential(dynamics.potential) is dynamics.potential


@pytest.mark.usefixtures("untyped")
def test_what_is_no_potential_is_refused():
    with pytest.raises(
        nld.PriorError, match=r"a potential is a function .* `latent`, its number of axes: got function"
    ):
        nld.OverdampedLangevin(lambda z: z.square().sum(-1))
    wide = nld.OverdampedLangevin(nn.Linear(2, 2))
    with pytest.raises(nld.ShapeError, match=r"maps points to energies: expected \(5,\) from \(5, 2\), got \(5, 2\)"):
        wide.potential(torch.zeros(5, 2))


# ---------------------------------------------------------------- random numbers of one's own


class Own(nld.Potential):
    """A scale that is used in two shapes, a centre per axis, and a layer: no one shape of a draw would suit all."""

    latent = 2

    def __init__(self):
        super().__init__()
        self.scale = PyroSample(dist.LogNormal(0.0, 0.5))
        self.centre = PyroSample(dist.Normal(torch.zeros(2), 1.0).to_event(1))
        self.layer = Dense(2, 1)
        self.layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))

    def forward(self, z):
        spring = self.scale * (self.scale * (z - self.centre).square()).sum(-1)
        return spring + torch.tanh(self.layer(z)).squeeze(-1)


class Plain(PyroModule):
    """The same without anything of this library."""

    latent = 2

    def __init__(self):
        super().__init__()
        self.scale = PyroSample(dist.LogNormal(0.0, 0.5))

    def forward(self, z):
        return self.scale * (self.scale * z.square()).sum(-1)


@pytest.mark.parametrize("particles", [2, 3], ids=["as many as sequences", "more"])
@pytest.mark.parametrize("kind", [Own, Plain])
def test_particles_at_once_are_those_one_by_one(kind, particles):
    """With as many particles as sequences, a wrong shape would mistake one for the other in silence."""
    likelihood = nld.Gaussian(nld.IdentityDecoder(2), 0.3)
    model = nld.LatentLangevin(nld.OverdampedLangevin(kind()), likelihood, substeps=2, time_unit=1.0)
    times = torch.linspace(0.0, 1.0, 4).expand(2, -1)
    with pyro.plate("particle", particles, dim=-2):
        together = poutine.trace(model).get_trace(times)
    together.compute_log_prob()
    globals_ = [name for name in together.stochastic_nodes if "potential" in name]
    assert len(globals_) == {Own: 3, Plain: 1}[kind]
    for particle in range(particles):
        values = {name: together.nodes[name]["value"][particle, 0] for name in globals_}
        values |= {name: together.nodes[name]["value"][particle] for name in ("z0", "z")}
        alone = poutine.trace(poutine.condition(model, values)).get_trace(times)
        alone.compute_log_prob()
        torch.testing.assert_close(alone.nodes["z"]["log_prob"], together.nodes["z"]["log_prob"][particle])
