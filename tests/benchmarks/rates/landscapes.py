"""Systems in the data's own units, so that what is learned can be held against the truth; and short fits."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld import kinetics
from pyro_nld.dynamics.integrators import default_integrator
from pyro_nld.fitting import balance, em, transitions
from pyro_nld.kinetics import generators

SEQUENCES, OBSERVATIONS, FINE, REFERENCE = 40, 100, 20, 10**6
LAYERS = 300  # gradient steps of all layers of U on paths from particles
NAMES = ("two wells", "three wells")


class System:
    """A true landscape in the data's own units, so that what is learned can be held against it point by point."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "two wells":
            self.potential, self.box = nld.Tilted(nld.DoubleWell(barrier=2.0, half_distance=2.0), [0.15]), (-5.0, 5.0)
            self.interval, self.substeps, self.noise = 0.2, 5, 0.3
        else:
            centres = [[-1.0, -0.6], [1.0, -0.6], [0.1, 1.1]]
            self.potential, self.box = nld.GaussianWells(centres, weights=[0.5, 0.3, 0.2], widths=0.35), (-3.0, 3.0)
            self.interval, self.substeps, self.noise = 0.1, 8, 0.2
        self.latent = self.potential.latent
        dynamics, ends = nld.OverdampedLangevin(self.potential), [[edge] * self.latent for edge in self.box]
        self.relaxation = generators.relaxation_times(generators.generator(dynamics, *ends), 2)
        some = self.simulate(REFERENCE)
        points = torch.as_tensor(some["path"].values).flatten(0, 1)
        self.wells = nld.landscape.minima(self.potential, points[::10])
        self.barrier = nld.saddles.saddles(self.potential, self.wells)["barrier"].values
        self.occupancy = dict(zip(map(tuple, some["minima"].values.round(3)), some["occupancy"].values, strict=True))
        self.path = kinetics.chain(
            dynamics, default_integrator(dynamics), points[::10], interval=self.interval, substeps=FINE, intervals=3000
        )

    def simulate(self, seed: int, sequences: int = SEQUENCES) -> xr.Dataset:
        """One data set, of sequences of 100 observations."""
        return nld.datasets.langevin_wells(
            self.potential, sequences, OBSERVATIONS, seed, interval=self.interval, noise=self.noise, box=self.box
        )

    def build(self, trained: dict | None = None, substeps: int | None = None):
        """A network on the data's own axes; temperature and noise are known. Encoder and control as `trained`."""
        prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=self.latent, hidden=(32, 32)))
        likelihood = nld.Gaussian(nld.IdentityDecoder(self.latent), self.noise)
        model = nld.LatentLangevin(prior, likelihood, substeps=substeps or self.substeps, time_unit=1.0)
        encoder = nld.GRUEncoder(self.latent, size=32, hidden=32)
        guide = nld.AmortizedGuide(model, encoder, nld.AffineControl(hidden=32))
        guide.load_state_dict(trained or {}, strict=False)
        return model, guide

    def truth(self, fit: nld.Fit, landscape: xr.Dataset) -> dict[str, np.ndarray] | None:
        """What is true of each state of a fit, or None where it has other states."""
        apart = np.abs(landscape["position"].values[:, None] - self.wells["position"].values).sum(-1)
        order = apart.argmin(1)
        if sorted(order) != list(range(self.wells.sizes["state"])):
            return None
        core = kinetics.cores(fit.potential, landscape, self.path, fit.temperature).numpy()
        times = np.broadcast_to(self.interval * np.arange(core.shape[1]), core.shape)
        known = np.array(list(self.occupancy))
        shares = np.array(list(self.occupancy.values()))
        own = [np.abs(known - place).sum(-1).argmin() for place in self.wells["position"].values[order]]
        return {
            "barrier": self.barrier[order][:, order],
            "occupancy": shares[own],
            "dwell": kinetics.by_counting(kinetics.count(core, times, len(order)))["dwell"].values,
            "relaxation": self.relaxation[: len(order) - 1],
        }


def trained_guide(system: System) -> dict:
    """Encoder and control of a guide fitted to data of its own."""
    torch.manual_seed(0)
    model, guide = system.build()
    nld.fit(model, guide, system.simulate(REFERENCE), nld.Schedule(steps=300), progress=False)
    return {name: value for name, value in guide.state_dict().items() if not name.startswith("others")}


def learn_from_particles(fit: nld.Fit, layers: int = LAYERS) -> None:
    """All layers of U, then the last one by least squares, on paths of particles; the guide stays."""
    series = fit.model, fit.guide, fit.times, fit.x
    em.learn_layers(*series, gradient_steps=layers)
    em.solve_coefficients(*series)
    fit.forget()


def balanced(fit: nld.Fit) -> xr.Dataset | None:
    """What `balance` says, kept where `Schedule(balance=True)` keeps it."""
    found = balance(fit, exact=bool(fit.runs[-1].get("exact")))
    fit.runs[-1]["balance"] = transitions.record(found)
    return found
