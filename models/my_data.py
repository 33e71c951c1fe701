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
LATENT = None  # axes of the hidden space; None: as many as sequences held out are predicted best with
DECODER = (
    None  # "straight" (each channel a line along the axes) or "bent" (a curve: a spectrum, a power law); None: so, too
)
SUBSTEPS = None  # steps of the path between two observations; None: as many as the landscape needs, and no more than …
MOST_SUBSTEPS = 30  # … these, because a fit takes time in proportion
LEVELS = [[0.0, 1.0], [2.0, 3.0], [4.0, 0.0]]


def choose(data, seed=0, steps=1280):
    """Axes, decoder and substeps, where they are None above, by the evidence of sequences held out from short fits."""
    return nld.select(build, data, latent=LATENT, decoder=DECODER, substeps=SUBSTEPS, seed=seed, steps=steps)


def build(data, choice=None):
    """Overdamped prior with a neural potential, the decoder that was chosen, two-sided guide."""
    choice = choose(data).attrs if choice is None else choice
    latent, channels = choice["latent"], data.sizes["channel"]
    prior = nld.OverdampedLangevin(
        nld.NeuralPotential(latent=latent), temperature=PRIORS["temperature"], friction=PRIORS["friction"]
    )
    decoder = (nld.MLPDecoder if choice["decoder"] == "bent" else nld.LinearDecoder)(latent, channels)
    noise = PRIORS["noise_scale"]
    if noise is None:  # start from what the data show between neighbours in time
        noise = torch.nn.Parameter(nld.io.nugget(data).clamp(min=0.1))
    likelihood = nld.Gaussian(decoder, noise_scale=noise)
    most = MOST_SUBSTEPS if SUBSTEPS is None else None
    model = nld.LatentLangevin(prior, likelihood, substeps=choice["substeps"], most_substeps=most)
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
    fit = nld.fit(*build(data, choose(data, steps=240).attrs), data, nld.Schedule(steps=400, batch_size=16))
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
