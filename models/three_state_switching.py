"""Claim: three hidden states, switching at once, are the wells of an overdamped landscape (the paper's benchmark).

The chain switches to each other state with probability .025 per observation; every state shows 15 channels with a mean
and a covariance of its own. Known answer: three wells with occupancy ⅓ each, and the hidden states themselves.
"""

import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # energy unit of U; with a free decoder only U/T is identified
    "friction": None,  # learned, one per axis: with a free decoder it is the axis' unit of length
    "noise_scale": None,  # learned, in standard deviations of each channel
    "latent": 3,  # axes
}


def build(data):
    """Overdamped prior with a neural potential, MLP decoder, causal guide: states can be read online."""
    channels, latent = data.sizes["channel"], PRIORS["latent"]
    prior = nld.OverdampedLangevin(
        nld.NeuralPotential(latent), temperature=PRIORS["temperature"], friction=PRIORS["friction"]
    )
    likelihood = nld.Gaussian(nld.MLPDecoder(latent, channels), noise_scale=PRIORS["noise_scale"])
    # A state that switches at once crosses within one interval: only fine steps tell such a push from heat.
    model = nld.LatentLangevin(prior, likelihood, substeps=20)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(channels, causal=True), control=nld.AffineControl())
    return model, guide


def simulate(seed):
    """1000 sequences of 200 observations, with their states and occupancies."""
    return nld.datasets.three_state(sequences=1000, steps=200, seed=seed).assign_attrs(states=3)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    model, guide = build(data)
    fit = nld.fit(model, guide, data, nld.Schedule(steps=300, batch_size=16, coarse=0.7, balance=True))
    wells = fit.wells()
    assert wells.sizes["state"] == data.attrs["states"], f"expected 3 wells, found {wells.sizes['state']}"
    error = float(abs(wells["occupancy_harmonic"] - 1 / 3).sum())
    assert error < 0.15, f"occupancies should be 1/3 each: ℓ1 error {error:.3f}"
    print(wells[["occupancy_energy", "occupancy_harmonic", "occupancy_data"]])
