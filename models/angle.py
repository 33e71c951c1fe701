"""Claim: one angle turns over two wells of its circle; its cosine and its sine are measured.

dθ = −γ⁻¹ U'(θ) dt + √(2 T γ⁻¹) dW, x = (cos θ, sin θ) + noise. The angle lives on the line that covers the circle,
where nothing tears; U has the period 2π, so that a well and its images are one state. Known answers, on
the circle: two states, where each observation is, the barriers in kT, and how long a passage takes, by quadrature.
"""

import numpy as np
import pyro.distributions as dist
import torch

import pyro_nld as nld

PRIORS = {
    "temperature": 1.0,  # kT: energies are in kT
    "friction": dist.LogNormal(0.0, 1.0),  # kT times the user's unit of time per rad²
    "noise_scale": 0.1,  # of a cosine or a sine, from calibrating the instrument
}


class Circle(nld.Decoder):
    """(cos θ, sin θ)."""

    fixes_gauge = True  # θ is in radians

    def __init__(self):
        super().__init__(latent=1, channels=2, standardise=False)

    def decode(self, q):
        """The point on the circle."""
        return torch.cat([q.cos(), q.sin()], -1)


class Wells(nld.Potential):
    """U(θ) = −1.5 cos 2θ − 0.3 cos θ: wells at 0 and π, kT."""

    latent, periods = 1, (2 * np.pi,)

    def forward(self, z):
        """Energy of an angle."""
        return -1.5 * torch.cos(2 * z[..., 0]) - 0.3 * torch.cos(z[..., 0])


def build(data):
    """A neural potential of the plane, looked at along its circle; two-sided guide."""
    potential = nld.Periodic(nld.NeuralPotential(latent=2, hidden=(32, 32)), periods=[2 * np.pi])
    prior = nld.OverdampedLangevin(potential, PRIORS["temperature"], PRIORS["friction"])
    model = nld.LatentLangevin(prior, nld.Gaussian(Circle(), PRIORS["noise_scale"]), substeps=5, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(2, size=32, hidden=32))


def simulate(seed):
    """400 sequences of 50 observations, 0.1 apart, γ = 1: about 150 passages."""
    data = nld.datasets.langevin_wells(Wells(), 400, 50, seed, interval=0.1, noise=0.1, decoder=Circle())
    return data.assign_attrs(passage=passage())


def passage():
    """Mean first passage time from 0 to π, both ways round: ∫₀^π e^U ∫₀^y e^−U, by quadrature."""
    angle = np.linspace(0.0, np.pi, 20001)
    energy = -1.5 * np.cos(2 * angle) - 0.3 * np.cos(angle)
    return float(np.trapezoid(np.exp(energy) * np.cumsum(np.exp(-energy)), angle) * angle[1])


if __name__ == "__main__":
    torch.manual_seed(0)
    data = simulate(0)
    fit = nld.fit(*build(data), data, nld.Schedule(steps=150, polish=2))
    story = fit.landscape()
    barrier = story["barrier"].values
    grid = nld.generators.generator(fit.dynamics, [-np.pi], [np.pi])
    there = np.abs(grid.centres[:, 0]) > np.pi - 0.01
    found = float(nld.generators.passage_time(grid, there)[len(there) // 2])
    accuracy = float(nld.tables.score(nld.segment(fit, wells=story), data)["accuracy"])
    print(f"{accuracy:.1%} in their true state; barriers {barrier[0, 1]:.2f} and {barrier[1, 0]:.2f} kT")
    print(f"passage from 0 to π {found:.1f}, true {data.attrs['passage']:.1f}")
    assert story.sizes["state"] == story.sizes["minimum"] == 2
    assert accuracy > 0.97
    assert abs(barrier[[0, 1], [1, 0]] - [3.31, 2.71]).max() < 0.3
    assert abs(np.log(found / data.attrs["passage"])) < np.log(1.3)
