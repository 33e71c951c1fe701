"""Claim: a known pull u(t) acts on the coordinate, with an unknown coupling, beside the landscape that is there anyway.

dz = (−U'(z) + a u(t)) dt + √(2T) dW, x = z + noise: U(z, u) = U(z) − a u z. The pull is the variable `covariates` of
the data. Known answers: the coupling a and the stiffness of the well under no pull.
"""

import pyro.distributions as dist
import torch

import pyro_nld as nld

PRIORS = {
    "temperature": dist.LogNormal(0.0, 1.0),  # data unit² per user's time unit (γ = 1)
    "noise_scale": 0.1,  # data unit, from calibrating the instrument
}


class Pulled(torch.nn.Module):
    """U(z, u) = U(z) − a u z."""

    def __init__(self, landscape, coupling):
        super().__init__()
        self.landscape, self.coupling = landscape, torch.nn.Parameter(torch.tensor(coupling))

    def forward(self, z, u):
        """Energies of positions under pulls."""
        return self.landscape(z) - self.coupling * (u * z).sum(-1)


def build(data):
    """A neural landscape and a coupling that begins at nothing; the pull comes with the data."""
    energy = Pulled(nld.NeuralPotential(latent=1, hidden=(32,)), 0.0)
    temperature, noise = PRIORS["temperature"], PRIORS["noise_scale"]
    prior = nld.DrivenLangevin(energy, 1, nld.io.covariates(data), temperature=temperature)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), noise), substeps=3, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=32, hidden=32))


def simulate(seed):
    """100 sequences of 60 observations, 0.1 apart, in a well of stiffness 1, pulled to and fro with a = 1.5."""
    times = torch.linspace(0.0, 5.9, 60)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        pull = torch.sign(torch.sin(2 * torch.pi * (times / 3.0 + torch.rand(100, 1)))).unsqueeze(-1)
        truth = nld.DrivenLangevin(Pulled(nld.Quadratic([1.0]), 1.5), 1, pull, temperature=0.5)
        likelihood = nld.Gaussian(nld.IdentityDecoder(1), noise_scale=0.1)
        x = nld.LatentLangevin(truth, likelihood, substeps=20, time_unit=1.0)(times.expand(100, -1))
    data = nld.io.from_arrays(times, x).assign_attrs(coupling=1.5, stiffness=1.0)
    return data.assign(covariates=(("sequence", "time", "input"), pull.numpy()))


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=400))
    wells = fit.wells()
    found = {"coupling": float(fit.dynamics.potential.energy.coupling), "stiffness": float(wells["curvature"][0, 0])}
    for name, value in found.items():
        print(f"{name} {value:.3f}, true {data.attrs[name]:.3f}")
    assert wells.sizes["state"] == 1
    assert abs(found["coupling"] - data.attrs["coupling"]) < 0.3
    assert abs(found["stiffness"] - data.attrs["stiffness"]) < 0.5
