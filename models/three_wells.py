"""Claim: 15 noisy channels see a point that diffuses between three wells of unequal depth.

The data are Langevin dynamics themselves, so that everything the landscape says can be checked. Known answers:
occupancies .5, .3, .2; barriers; and how long each well is held.
"""

import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # energy unit of U; with a free decoder only U/T is identified
    "friction": None,  # learned, one per axis: with a free decoder it is the axis' unit of length
    "noise_scale": None,  # learned, in standard deviations of each channel
}
CENTRES = [[-1.0, -0.6], [1.0, -0.6], [0.1, 1.1]]
TRUTH = nld.GaussianWells(CENTRES, weights=[0.5, 0.3, 0.2], widths=0.35)


def build(data):
    """Overdamped prior with a neural potential on a plane, linear decoder, two-sided guide."""
    channels = data.sizes["channel"]
    prior = nld.OverdampedLangevin(
        nld.NeuralPotential(latent=2), temperature=PRIORS["temperature"], friction=PRIORS["friction"]
    )
    likelihood = nld.Gaussian(nld.LinearDecoder(2, channels), noise_scale=PRIORS["noise_scale"])
    model = nld.LatentLangevin(prior, likelihood, substeps=8)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(channels))


def simulate(seed):
    """1000 sequences of 200 observations, 0.1 apart, with the basin of every position and the exact answers."""
    data = nld.datasets.langevin_wells(TRUTH, 1000, 200, seed, interval=0.1, channels=15, noise=0.5)
    wells = nld.landscape.minima(TRUTH, torch.tensor(CENTRES))
    order = [int(abs(wells["position"].values - minimum).sum(-1).argmin()) for minimum in data["minima"].values]
    passes = nld.saddles.saddles(TRUTH, wells)
    dwell = nld.kinetics.exact(nld.OverdampedLangevin(TRUTH), wells)["dwell"].values[order]
    barrier = passes["barrier"].values[order][:, order]
    return data.assign(dwell=("state", dwell), barrier=(("state", "to"), barrier))


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=300, batch_size=16, coarse=0.7, balance=True))
    landscape = fit.landscape()
    truth = nld.tables.score(nld.segment(fit, wells=landscape, draws=5), data)
    order = truth["partner"].values
    error = abs(landscape["occupancy_sampled"].values - data["occupancy"].values[order]).sum()
    dwell = landscape["dwell"].sel(route="counted").values
    expected = data["dwell"].values[order]
    print(f"occupancies off by {error:.3f} (ℓ1); dwell counted {dwell.round(2)}, true {expected.round(2)}")
    print(nld.tables.verdict(landscape))
    assert landscape.sizes["state"] == 3
    assert error < 0.08
    assert abs(dwell / expected - 1).max() < 0.25
