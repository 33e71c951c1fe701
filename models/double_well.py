"""Claim: one coordinate, seen directly with known noise, hops between two wells at an unknown temperature.

dz = −U'(z) dt + √(2T) dW, x = z + noise. The identity decoder fixes the gauge: T is in squared data units per unit of
time. Known answers: T, the height of the pass above the deeper well in kT, and the share of time in that well.
"""

import pyro.distributions as dist
import torch

import pyro_nld as nld

PRIORS = {
    "temperature": dist.LogNormal(0.0, 1.0),  # data unit² per user's time unit (γ = 1)
    "noise_scale": 0.2,  # data unit, from calibrating the instrument; LogNormal(-1.6, 0.5) when it was not
}
TRUTH = nld.Tilted(nld.DoubleWell(barrier=1.6, half_distance=2.0), [0.15])


def build(data):
    """A neural potential on the data's own axis, in the data's own units; two-sided guide."""
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=1), temperature=PRIORS["temperature"])
    likelihood = nld.Gaussian(nld.IdentityDecoder(1), noise_scale=PRIORS["noise_scale"])
    # Curvature × step biases T by as much: 6 substeps keep it near 0.05.
    model = nld.LatentLangevin(prior, likelihood, substeps=6, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=32, hidden=32))


def simulate(seed):
    """200 sequences of 100 observations, 0.1 apart, of a tilted double well at T = 0.8, with its states."""
    data = nld.datasets.langevin_wells(TRUTH, 200, 100, seed, interval=0.1, temperature=0.8, noise=0.2)
    height, share = pass_and_share(TRUTH, 0.8)
    return data.assign_attrs(temperature=0.8, height=height, share=share)


def pass_and_share(potential, temperature):
    """Height of the pass above the deeper well in kT, and ∫ exp(−U/T) over that well, on a line of points."""
    with torch.no_grad():
        energy = potential(torch.linspace(-4.0, 4.0, 801).unsqueeze(-1)) / temperature
    top = 300 + int(energy[300:501].argmax())
    weight = torch.softmax(-energy, 0)
    return float(energy[top] - energy.min()), float(torch.stack([weight[:top].sum(), weight[top:].sum()]).max())


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=500))
    height, share = pass_and_share(fit.potential, fit.temperature)
    found = {"temperature": fit.temperature, "height": height, "share": share}
    for name, value in found.items():
        print(f"{name} {value:.3f}, true {data.attrs[name]:.3f}")
    assert abs(fit.temperature / data.attrs["temperature"] - 1) < 0.1
    assert abs(height - data.attrs["height"]) < 0.3
    assert abs(share - data.attrs["share"]) < 0.06
