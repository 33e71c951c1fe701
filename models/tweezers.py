"""Claim: a molecule hops between two lengths; seen is a bead that it pulls at through a linker, at constant force.

U(x, b) = U(x) + ½ κ (b − x)² of molecule x and bead b, which settle in 84 and γ_b/κ = 14 µs; the bead is seen every 50.
Linker and bead are calibrated. Known answers: barrier within .4 kT, distance of wells within .6 nm, D within 20 %.
"""

import math

import pyro
import torch

import pyro_nld as nld

LENGTH, DETECTOR, INTERVAL, KT = 9.0, 0.9, 0.05, 4.11  # nm, the unit of the axes; nm; ms; pN nm at 298 K
LINK = 0.6 * LENGTH**2 / KT  # κ: pN/nm, in kT/LENGTH²
BEAD = 8.4e-3 * LENGTH**2 / KT  # γ_b of a bead of 1 µm in water, by Stokes' law: pN ms/nm, in kT ms/LENGTH²
KNOWN = torch.tensor([[1.0, math.log(BEAD)], [1.0, 0.01]])  # mean and width of log γ, of the molecule and of the bead
PRIORS = {"temperature": 1.0, "friction": pyro.distributions.LogNormal(*KNOWN).to_event(1)}  # kT; kT ms/LENGTH²
BARRIER, DIFFUSION, NAMES = 3.0, 40.0, ("barrier", "distance", "diffusion")  # true ones; kT, nm, nm²/ms


class Assembly(nld.Potential):
    """U(x, b) in kT; what is linear in the molecule's coefficients can be balanced."""

    latent, coefficients = 2, property(lambda self: self.molecule.coefficients)

    def __init__(self, molecule):
        super().__init__()
        self.molecule = molecule

    def forward(self, z):
        return self.molecule(z[..., :1]) + LINK / 2 * (z[..., 1] - z[..., 0]).square()

    def features(self, z):
        return self.molecule.features(z[..., :1])


def bead(z):
    """The place of the last axis in nm."""
    return LENGTH * z[..., 1:]


bead.latent, bead.channels = 2, 1


def build(data, truth=None, substeps=10, start="equilibrium"):
    """A neural potential of the molecule, two axes of which the bead is seen, two-sided guide."""
    molecule, friction = truth or (nld.NeuralPotential(1, (32, 32)), PRIORS["friction"])
    prior = nld.OverdampedLangevin(Assembly(molecule), PRIORS["temperature"], friction)
    scheme, seen = nld.ExponentialEuler([0.0, LINK]), nld.Gaussian(bead, DETECTOR)
    model = nld.LatentLangevin(prior, seen, substeps, 1.0, start, integrator=scheme)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=32, hidden=32))


def simulate(seed, traces=60):
    """Traces of 20 ms of a double well, begun 1 ms before the first value."""
    truth = nld.DoubleWell(BARRIER), torch.tensor([LENGTH**2 / DIFFUSION, BEAD])
    with torch.random.fork_rng(), pyro.get_param_store().scope(), torch.no_grad():
        model, _ = build(None, truth, substeps=20, start="normal")
        torch.manual_seed(seed)
        x = model(INTERVAL * torch.arange(420.0).expand(traces, -1))[:, 20:]
    told = zip(NAMES, [BARRIER, 2 * LENGTH, DIFFUSION], strict=True)
    return nld.io.from_arrays(INTERVAL * torch.arange(400.0), x).assign_attrs(told)


def barrier_and_distance(potential):
    """Height of the pass above the mean of both wells in kT, and their distance in nm, on a line of points."""
    energy = potential.molecule(torch.linspace(-2.0, 2.0, 801).unsqueeze(-1)).detach()
    top = 250 + int(energy[250:551].argmax())
    left, right = int(energy[:top].argmin()), top + int(energy[top:].argmin())
    return float(energy[top] - energy[[left, right]].mean()), LENGTH * 0.005 * (right - left)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(300, 15, learning_rate=0.02, exact=16))
    found = *barrier_and_distance(fit.potential), LENGTH**2 / float(fit.dynamics.friction[0])
    print(found, "true:", data.attrs)
    assert all(abs(found[i] - data.attrs[NAMES[i]]) < (0.4, 0.6, 8.0)[i] for i in range(3))
