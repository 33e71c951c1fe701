"""Claim: three hidden states, switching at once, are what a force draws positions to; nothing says it has a landscape.

The generic neural SDE that the paper's Langevin prior wants to replace: any force of the position in place of −∇U, the
rest as in `three_state_switching.py`. Known answer: the hidden states, and nothing else. What a landscape would tell
(depths, barriers, occupancies by energy, rates from them) cannot be read; lines of flow can be drawn.
"""

import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # energy unit of F · length; with a free decoder only F/T is identified
    "friction": None,  # learned, one per axis: with a free decoder it is the axis' unit of length
    "noise_scale": None,  # learned, in standard deviations of each channel
    "latent": 3,  # axes
}


def build(data):
    """Overdamped prior under a neural force, MLP decoder, causal guide: states can be read online."""
    channels, latent = data.sizes["channel"], PRIORS["latent"]
    # With momenta: nld.UnderdampedSDE(nld.NeuralForce(latent)), of both with NeuralForce(latent, "both"), or of a sum
    # with nld.SumOfForces(nld.NeuralForce(latent), nld.NeuralForce(latent, "momentum")).
    prior = nld.OverdampedSDE(nld.NeuralForce(latent), temperature=PRIORS["temperature"], friction=PRIORS["friction"])
    likelihood = nld.Gaussian(nld.MLPDecoder(latent, channels), noise_scale=PRIORS["noise_scale"])
    model = nld.LatentLangevin(prior, likelihood, substeps=20)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(channels, causal=True), control=nld.AffineControl())


def simulate(seed):
    """1000 sequences of 200 observations, with their states and occupancies."""
    return nld.datasets.three_state(sequences=1000, steps=200, seed=seed).assign_attrs(states=3)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=250, batch_size=16, coarse=0.7))
    attractors, few = fit.attractors(), data.isel(sequence=slice(200))
    truth = nld.tables.score(nld.segment(fit, few, wells=attractors, online=True), few)
    print(nld.tables.attractors(attractors, truth))
    assert float(truth["accuracy"]) > 0.93, f"the hidden states should be found: {float(truth['accuracy']):.3f} right"
