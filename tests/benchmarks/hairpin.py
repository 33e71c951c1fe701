"""Claim: a molecule hops between two lengths; seen is a bead that it pulls at through a linker, by an open shutter.

U(x, b) = U(x) + ½ κ (b − x)² + ½ κ_trap b² for the molecule's extension x and the bead b, each with its own friction;
measured is the mean of b over the exposure. Linker, trap and bead are known, U and the molecule's friction learned.
Units: 9 nm, half the opening of a hairpin of 20 base pairs; kT; .37 ms. Known answers: barrier, distance of wells, D.
"""

import math

import pyro.distributions as dist
import torch

import pyro_nld as nld

LENGTH, CLOCK, INTERVAL = 9.0, 0.37, 0.037  # nm and ms, the units; ms from value to value, the shutter never closes
LINK, TRAP, BEAD = 12.0, 0.05, 0.5  # κ: .6 pN/nm; .003 pN/nm; friction of a bead of 1 µm in water, by Stokes' law
PRIORS = {
    "temperature": 1.0,  # kT, 4.11 pN nm at 298 K
    "friction": dist.LogNormal(torch.tensor([0.0, math.log(BEAD)]), torch.tensor([1.0, 0.01])).to_event(1),  # x and b
    "noise_scale": 0.9,  # nm, of the detector
}
BARRIER, FRICTION, NAMES = 3.0, 1.0, ("barrier", "distance", "diffusion")  # true ones; kT, nm, nm²/ms


class Assembly(nld.Potential):
    """Molecule, linker and trap; what is linear in the molecule's coefficients can be solved for, and balanced."""

    latent, coefficients = 2, property(lambda self: self.molecule.coefficients)

    def __init__(self, molecule):
        super().__init__()
        self.molecule = molecule

    def forward(self, z):
        """U(x, b), kT."""
        x, b = z[..., 0], z[..., 1]
        return self.molecule(z[..., :1]) + LINK / 2 * (b - x).square() + TRAP / 2 * b.square()

    def features(self, z):
        """Those of the molecule."""
        return self.molecule.features(z[..., :1])


def bead(q):
    """The place of the bead in nm."""
    return LENGTH * q[..., 1:]


bead.latent, bead.channels = 2, 1


def build(data, molecule=None, friction=PRIORS["friction"], substeps=20):
    """A neural potential of the molecule, two axes of which only the bead is seen, two-sided guide."""
    assembly = Assembly(molecule or nld.NeuralPotential(latent=1, hidden=(32, 32)))
    prior = nld.OverdampedLangevin(assembly, PRIORS["temperature"], friction)
    seen = nld.Gaussian(bead, PRIORS["noise_scale"])
    model = nld.LatentLangevin(prior, seen, substeps, time_unit=CLOCK, exposure=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=32, hidden=32))


def simulate(seed):
    """60 traces of 3.7 ms of a double well, begun long before the first value."""
    model, _ = build(None, nld.DoubleWell(BARRIER), torch.tensor([FRICTION, BEAD]), substeps=100)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        x = model(INTERVAL * torch.arange(300.0).expand(60, -1))[:, 200:]
    truth = zip(NAMES, [BARRIER, 2 * LENGTH, LENGTH**2 / FRICTION / CLOCK], strict=True)
    return nld.io.from_arrays(INTERVAL * torch.arange(100.0), x).assign_attrs(truth)


def barrier_and_distance(potential):
    """Height of the pass above the mean of both wells in kT, and their distance in nm."""
    with torch.no_grad():
        energy = potential.molecule(torch.linspace(-2.0, 2.0, 801).unsqueeze(-1))
    top = 250 + int(energy[250:551].argmax())
    left, right = int(energy[:top].argmin()), top + int(energy[top:].argmin())
    return float(energy[top] - (energy[left] + energy[right]) / 2), LENGTH * 0.005 * (right - left)
