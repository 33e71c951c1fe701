"""Claim: a pair of dyes reports one distance, which diffuses over two wells; photons are measured, and not distances.

R in nm, E = 1/(1 + (R/R₀)⁶), donor ~ Poisson(I₀ (1 − E) Δt + b_D), acceptor ~ Poisson(I₀ E Δt + leak · I₀ (1 − E) Δt
+ b_A), and bleaching ends a trace. The axis is in nm and T is known. Known answers: the barrier in kT, the distance of
the wells in nm, and D = T/γ in nm²/ms. By distances from E the wells are .4 nm too close, D half of its value (manual).
"""

import numpy as np
import pyro.distributions as dist
import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # kT, 4.11 pN nm at 298 K: energies are in kT
    "friction": dist.LogNormal(4.0, 1.0),  # kT ms/nm², which is 4.11 pN ms/nm: D is between .003 and .1 nm²/ms
}
R0, RATE, LEAK, DARK, BIN = 5.5, 50.0, 0.08, 2.0, 1.0  # nm; photons/ms of both dyes; donor's share; photons/ms; ms
TRACES, BINS, LIFE = 240, 400, 400.0  # and ms until a dye bleaches, on average
TRUTH = nld.Tilted(nld.DoubleWell(barrier=3.0, half_distance=1.0), [0.25])  # kT over q = R − R₀ in nm
DIFFUSION, NAMES = 0.02, ("barrier", "distance", "diffusion")  # nm²/ms; kT, nm, nm²/ms


class Dyes(nld.Decoder):
    """The logarithms of the photons per bin of donor and acceptor at q = R − R₀: at 0, E tells most of R."""

    fixes_gauge = True  # q is in nm

    def __init__(self):
        super().__init__(latent=1, channels=2, standardise=False)

    def decode(self, q):
        """log(rate · Δt)."""
        transfer = 1 / (1 + ((R0 + q) / R0).pow(6))
        donor, acceptor = RATE * (1 - transfer), RATE * transfer
        return torch.cat([donor + DARK, acceptor + LEAK * donor + DARK], -1).mul(BIN).log()


def build(data, likelihood=None):
    """A neural potential over the distance, photons by Poisson's law, two-sided guide."""
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=1), PRIORS["temperature"], PRIORS["friction"])
    model = nld.LatentLangevin(prior, likelihood or nld.Poisson(Dyes()), substeps=10, time_unit=1.0)
    encoder = nld.GRUEncoder(data.sizes["channel"], size=32, hidden=32)
    return model, nld.AmortizedGuide(model, encoder)


def simulate(seed):
    """240 traces of at most 400 bins; each well is held for some tenths of a second."""
    physics = {"interval": BIN, "friction": 1 / DIFFUSION, "noise": 0.0, "decoder": lambda q: Dyes()(q).exp()}
    data = nld.datasets.langevin_wells(TRUTH, TRACES, BINS, seed, **physics)
    draw, clock = np.random.default_rng((seed, TRACES)), np.arange(BINS) * BIN
    alive = clock < np.maximum(draw.exponential(LIFE, (TRACES, 1)), 20.0)
    photons = draw.poisson(data["observations"].values).astype(float)
    traces = nld.datasets.from_arrays(np.where(alive, clock, np.nan), np.where(alive[..., None], photons, np.nan))
    return traces.assign_attrs(zip(NAMES, [*barrier_and_distance(TRUTH), DIFFUSION], strict=True))


def barrier_and_distance(potential):
    """Height of the pass above the shallower well in kT, and the distance of the wells in nm, on a line of points."""
    with torch.no_grad():
        energy = potential(torch.linspace(-2.0, 2.0, 801).unsqueeze(-1))
    top = 250 + int(energy[250:551].argmax())
    left, right = int(energy[:top].argmin()), top + int(energy[top:].argmin())
    return float(energy[top] - max(energy[left], energy[right])), 0.005 * (right - left)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=150, batch_size=8, learning_rate=0.02, exact=10))
    barrier, distance = barrier_and_distance(fit.potential)
    diffusion = 1 / float(fit.dynamics.friction)
    print(f"{barrier:.2f} kT, {distance:.2f} nm, D = {diffusion:.4f} nm²/ms; true: {data.attrs}")
    assert abs(barrier - data.attrs["barrier"]) < 0.3
    assert abs(distance - data.attrs["distance"]) < 0.1
    assert abs(diffusion / data.attrs["diffusion"] - 1) < 0.3
