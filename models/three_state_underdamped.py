"""Claim: three hidden states, switching at once, are the wells of an underdamped landscape (the paper's second model).

Positions move with momenta of their own and only positions are seen. Known answer: three wells with occupancy ⅓ each,
and the hidden states themselves.
"""

import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # energy unit of U; with a free decoder only U/T is identified
    # Momenta are forgotten within M/γ, half an observation interval. States that switch at once have no inertia to
    # learn: with M free, momenta took over from wells. A free decoder leaves the unit of length open, and the same
    # prior with γ and M 16 times larger, wells a quarter as wide and as far apart, missed wells where axes were ten.
    "friction": 0.25,  # γ
    "mass": 0.0125,  # M
    "noise_scale": None,  # learned, in standard deviations of each channel
    "latent": 3,  # axes
}


def build(data):
    """Underdamped prior with a neural potential, MLP decoder, causal guide: states can be read online."""
    channels, latent = data.sizes["channel"], PRIORS["latent"]
    prior = nld.UnderdampedLangevin(
        nld.NeuralPotential(latent),
        temperature=PRIORS["temperature"],
        friction=PRIORS["friction"],
        mass=PRIORS["mass"],
    )
    likelihood = nld.Gaussian(nld.MLPDecoder(latent, channels), noise_scale=PRIORS["noise_scale"])
    model = nld.LatentLangevin(prior, likelihood, substeps=10)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(channels, causal=True), control=nld.AffineControl())


def simulate(seed):
    """1000 sequences of 200 observations, with their states and occupancies."""
    return nld.datasets.three_state(sequences=1000, steps=200, seed=seed).assign_attrs(states=3)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=250, batch_size=16, coarse=0.7))
    wells = fit.wells()
    assert wells.sizes["state"] == data.attrs["states"], f"expected 3 wells, found {wells.sizes['state']}"
    error = float(abs(wells["occupancy_harmonic"] - 1 / 3).sum())
    assert error < 0.25, f"occupancies should be 1/3 each: ℓ1 error {error:.3f}"
    print(wells[["occupancy_energy", "occupancy_harmonic", "occupancy_data"]])
