"""Claim: a molecule hops between two lengths; seen is a bead that it pulls at through a linker, at constant force.

U(x, b) = U(x) + ½ κ (b − x)² of molecule x and bead b, as `simulate` moves them. A bead settles in γ_b/κ = 14 µs, the
next value is 50 µs later: beside a slower molecule it is a noise of variance kT/κ and a drag γ_b, both calibrated.
Known answers: barrier, found within .5 kT; D in nm²/ms, within 30 %; distance of the wells in nm, found 3 % too short.
"""

import math

import pyro
import torch

import pyro_nld as nld

LENGTH, DETECTOR, INTERVAL, KT = 9.0, 0.9, 0.05, 4.11  # nm, the unit of the axes; nm; ms; pN nm at 298 K
LINK = 0.6 * LENGTH**2 / KT  # κ: pN/nm, in kT/LENGTH²
BEAD = 8.4e-3 * LENGTH**2 / KT  # γ_b of a bead of 1 µm in water, by Stokes' law: pN ms/nm, in kT ms/LENGTH²
PRIORS = {
    "temperature": 1.0,  # kT
    "friction": pyro.distributions.LogNormal(1.0, 1.0),  # of both, kT ms/LENGTH²: D is between 6 and 150 nm²/ms
    "noise_scale": math.hypot(DETECTOR, LENGTH / LINK**0.5),  # nm, of the detector and of the bead
}
BARRIER, DIFFUSION, NAMES = 3.0, 40.0, ("barrier", "distance", "diffusion")  # true ones; kT, nm, nm²/ms


class Moving(nld.Potential):
    """U(x, b), kT, of which the simulation is made."""

    latent, molecule = 2, nld.DoubleWell(BARRIER)

    def forward(self, z):
        return self.molecule(z[..., :1]) + LINK / 2 * (z[..., 1] - z[..., 0]).square()


class Bead(nld.Decoder):
    """The place of the last axis in nm."""

    fixes_gauge = True

    def __init__(self, latent=1):
        super().__init__(latent=latent, channels=1, standardise=False)

    def decode(self, z):
        return LENGTH * z[..., -1:]


def build(data, noise=None):
    """A neural potential of the molecule, noise and drag of a bead that has settled, two-sided guide."""
    prior = nld.OverdampedLangevin(nld.NeuralPotential(1, (32, 32)), PRIORS["temperature"], PRIORS["friction"])
    model = nld.LatentLangevin(prior, nld.Gaussian(Bead(), noise or PRIORS["noise_scale"]), substeps=15, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=32, hidden=32))


def simulate(seed):
    """60 traces of 20 ms, in which molecule and bead both move, begun 1 ms before the first value."""
    motion = nld.OverdampedLangevin(Moving(), 1.0, torch.tensor([LENGTH**2 / DIFFUSION, BEAD]))
    model = nld.LatentLangevin(motion, nld.Gaussian(Bead(2), DETECTOR), substeps=40, time_unit=1.0)
    with torch.random.fork_rng(), pyro.get_param_store().scope(), torch.no_grad():
        torch.manual_seed(seed)
        x = model(INTERVAL * torch.arange(420.0).expand(60, -1))[:, 20:]
    truth = zip(NAMES, [BARRIER, 2 * LENGTH, DIFFUSION], strict=True)
    return nld.io.from_arrays(INTERVAL * torch.arange(400.0), x).assign_attrs(truth)


def barrier_and_distance(potential):
    """Height of the pass above the mean of both wells in kT, and their distance in nm, on a line of points."""
    with torch.no_grad():
        energy = potential(torch.linspace(-2.0, 2.0, 801).unsqueeze(-1))
    top = 250 + int(energy[250:551].argmax())
    left, right = int(energy[:top].argmin()), top + int(energy[top:].argmin())
    return float(energy[top] - (energy[left] + energy[right]) / 2), LENGTH * 0.005 * (right - left)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(300, 15, learning_rate=0.02, exact=10, balance=True))
    found = [*barrier_and_distance(fit.potential), LENGTH**2 / (float(fit.dynamics.friction) - BEAD)]
    print("{:.2f} kT, {:.2f} nm, D = {:.1f} nm²/ms; true: {}".format(*found, data.attrs))
    assert all(abs(found[i] - data.attrs[NAMES[i]]) < (0.3, 0.8, 8.0)[i] for i in range(3))
