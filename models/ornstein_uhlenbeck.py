"""Claim: one harmonic well, seen directly with noise. The case in which everything is known exactly.

dz = −k z dt + √(2T) dW, x = z + noise. Known answers: the evidence by Kalman filter, which the ELBO may never
exceed, and the stationary variance T/k.
"""

import pyro.distributions as dist
import torch

import pyro_nld as nld

PRIORS = {
    "temperature": dist.LogNormal(0.0, 1.0),  # data unit² per user's time unit (γ = 1): the identity decoder fixes it
    "confinement": 0.5,  # k/2, starting value, per user's time unit
    "noise_scale": dist.LogNormal(-2.0, 1.0),  # data unit
}


class Harmonic(nld.Potential):
    """U(z) = c‖z‖², c > 0 learned."""

    def __init__(self, latent, confinement):
        super().__init__()
        self.latent = latent
        self.log_confinement = torch.nn.Parameter(torch.tensor(float(confinement)).log())

    def forward(self, z):
        """C‖z‖²."""
        return self.log_confinement.exp() * z.square().sum(-1)

    def gradient(self, z):
        """2 c z."""
        return 2 * self.log_confinement.exp() * z


def build(data):
    """Harmonic prior in the data's own units, two-sided guide."""
    channels = data.sizes["channel"]
    prior = nld.OverdampedLangevin(Harmonic(channels, PRIORS["confinement"]), temperature=PRIORS["temperature"])
    likelihood = nld.Gaussian(nld.IdentityDecoder(channels), noise_scale=PRIORS["noise_scale"])
    model = nld.LatentLangevin(prior, likelihood, substeps=4, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(channels))


def simulate(seed):
    """200 sequences of 100 observations, k = 1, T = 1, noise 0.1, Δt = 0.1."""
    return nld.datasets.ornstein_uhlenbeck(sequences=200, steps=100, seed=seed).assign_attrs(variance=1.0)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    model, guide = build(data)
    fit = nld.fit(model, guide, data, nld.Schedule(steps=300, batch_size=16))
    variance = fit.temperature / (2 * float(fit.potential.log_confinement.exp()))
    assert abs(variance - data.attrs["variance"]) < 0.2, f"stationary variance T/k should be 1: got {variance:.2f}"
    evidence = float(nld.oracles.ornstein_uhlenbeck_posterior(data)["log_evidence"].sum())
    elbo = fit.elbo()["total"]
    print(f"T/k = {variance:.3f} (exact 1), ELBO {elbo:.0f}, exact log evidence at the true parameters {evidence:.0f}")
