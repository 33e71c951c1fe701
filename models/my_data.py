"""Claim: channels in units of their own, noisy, perhaps with gaps, see something that hops between a few places.

Nothing else is believed beforehand, so this is where to start with a recording nobody prepared: give it with --data.
Known answer of its own simulation: three levels of two noisy channels, seen at irregular times, with their occupancies.
"""

import numpy as np
import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # energy unit of U; with a free decoder only U/T is identified
    "friction": None,  # learned, one per axis: with a free decoder it is the axis' unit of length
    "noise_scale": None,  # learned, in standard deviations of each channel
}
LATENT = 2  # axes of the hidden space: three or four states find room in a plane; more of them, or a ring, may want 3
LEVELS = [[0.0, 1.0], [2.0, 3.0], [4.0, 0.0]]


def build(data):
    """Overdamped prior with a neural potential, linear decoder (few numbers to learn), two-sided guide."""
    channels = data.sizes["channel"]
    prior = nld.OverdampedLangevin(
        nld.NeuralPotential(latent=LATENT), temperature=PRIORS["temperature"], friction=PRIORS["friction"]
    )
    # A curve through the channels (a spectrum, a power law) needs MLPDecoder(LATENT, channels) here.
    likelihood = nld.Gaussian(nld.LinearDecoder(LATENT, channels), noise_scale=PRIORS["noise_scale"])
    model = nld.LatentLangevin(prior, likelihood, substeps=8)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(channels))


def simulate(seed):
    """50 sequences of 60 observations at irregular times, one value in fifty missing; a state holds for about 20."""
    draw = np.random.default_rng((seed, 50))
    data = nld.datasets.three_state(50, 60, seed, means=LEVELS, covariances=[0.25 * np.eye(2)] * 3, first_state=None)
    times = np.arange(60.0) + draw.uniform(-0.3, 0.3, (50, 60))
    x = np.where(draw.random((50, 60, 2)) < 0.02, np.nan, data["observations"])
    irregular = nld.datasets.from_arrays(times, x, data["states"])
    return irregular.assign(occupancy=data["occupancy"], means=data["means"])


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=200))
    wells = fit.wells()
    truth = nld.tables.score(nld.segment(fit, wells=wells), data)
    found, expected = wells["decoded"].values, data["means"].values[truth["partner"].values]
    shares = [float((truth["states"] == state).mean()) for state in range(wells.sizes["state"])]
    error = float(abs(wells["occupancy_data"].values - shares).sum())
    print(f"{wells.sizes['state']} states; levels {found.round(2).tolist()}; ℓ1 error of occupancies {error:.3f}")
    print(f"{100 * float(truth['accuracy']):.1f} % of the observations in their true state")
    assert wells.sizes["state"] == 3
    assert abs(found - expected).max() < 0.4
    assert error < 0.05
    assert truth["accuracy"] > 0.95
