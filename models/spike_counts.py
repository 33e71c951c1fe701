"""Claim: 40 neurons count spikes at rates that follow one point, which diffuses between three wells.

Neuron n ~ Poisson(exp(b + a·z)) per bin. In every session a quarter of the neurons were not recorded; what they would
have counted is known of simulated data. Known answers: the states, and bits per spike of the neurons that were hidden:
what the posterior's rates explain of their counts beyond their mean rates, and what the true rates would. Fitted as
Gaussian square roots, the same data give .25 bits instead of .29 (tests/benchmarks/instruments.py --spikes).
"""

import numpy as np
import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # energy unit of U; with a free decoder only U/T is identified
    "friction": None,  # learned, one per axis: with a free decoder it is the axis' unit of length
}
NEURONS, SESSIONS, BINS = 40, 60, 100
TRUTH = nld.GaussianWells([[-1.0, -0.6], [1.0, -0.6], [0.1, 1.1]], weights=[0.5, 0.3, 0.2], widths=0.35)


def build(data):
    """Overdamped prior with a neural potential on a plane, log rates linear in the position, two-sided guide."""
    neurons = data.sizes["channel"]
    prior = nld.OverdampedLangevin(
        nld.NeuralPotential(latent=2), temperature=PRIORS["temperature"], friction=PRIORS["friction"]
    )
    model = nld.LatentLangevin(prior, nld.Poisson(nld.LinearDecoder(2, neurons)), substeps=8)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(neurons))


def simulate(seed):
    """60 sessions of 100 bins; about one spike in two bins and neuron. `counts` are those of hidden neurons, too."""
    draw = np.random.default_rng((seed, NEURONS))
    weight = torch.as_tensor(0.7 * draw.normal(size=(NEURONS, 2))).float()
    logs = {"decoder": lambda q: q @ weight.mT - 1.0, "noise": 0.0}
    data = nld.datasets.langevin_wells(TRUTH, SESSIONS, BINS, seed, interval=0.1, **logs)
    rate = np.exp(data["observations"].values)
    counts = draw.poisson(rate).astype(float)
    hidden = (np.arange(SESSIONS)[:, None, None] + draw.permutation(NEURONS)) % 4 == 0
    data["observations"].values = np.where(hidden, np.nan, counts)
    dims = ("sequence", "time", "channel")
    data = data.assign(counts=(dims, counts), hidden=(dims, np.broadcast_to(hidden, counts.shape)))
    return data.assign_attrs(bits_per_spike=bits_per_spike(data, rate))


def bits_per_spike(data, rate):
    """Σ (log Poisson(x | rate) − log Poisson(x | mean rate)) / (spikes · log 2), over the neurons that were hidden."""
    hidden, x = data["hidden"].values, data["counts"].values
    mean = np.broadcast_to(np.nanmean(data["observations"].values, (0, 1)), x.shape)
    gain = x * np.log(rate / mean) - rate + mean
    return float(gain[hidden].sum() / x[hidden].sum() / np.log(2))


def rates(fit, draws=20):
    """E[rate | recorded neurons] of every neuron, `(sequence, time, neuron)`."""
    return torch.stack([fit.decode(paths) for paths in fit.positions(draws=draws)]).mean(0).double().numpy()


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=300, batch_size=16))
    wells = fit.wells()
    truth = nld.tables.score(nld.segment(fit, wells=wells), data)
    found = bits_per_spike(data, rates(fit))
    print(f"{wells.sizes['state']} states, {100 * float(truth['accuracy']):.1f} % of the bins in their true one")
    print(f"{found:.3f} bits per spike of hidden neurons; at the true rates {data.attrs['bits_per_spike']:.3f}")
    assert wells.sizes["state"] == 3
    assert truth["accuracy"] > 0.9
    assert found > 0.75 * data.attrs["bits_per_spike"]
