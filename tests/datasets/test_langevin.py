"""Simulated landscapes: the series follow the law they state, and impossible ones are refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import quad

from pyro_nld.datasets.langevin import LARGEST_CURVATURE_STEP, langevin_wells
from pyro_nld.dynamics.potentials import DoubleWell, GaussianWells, Potential, Quadratic, Tilted
from pyro_nld.errors import NLDError, PriorError, ShapeError, TimeGridError

SE = 5
TILTED = Tilted(DoubleWell(2.0), [0.4])


def off(values: np.ndarray, truth: float) -> float:
    """Mean over the first axis (independent sequences) against a truth, in standard errors."""
    return abs(values.mean() - truth) / (values.std(ddof=1) / np.sqrt(len(values)))


def boltzmann(low: float, high: float, temperature: float) -> float:
    return quad(lambda q: np.exp(-(2 * (q**2 - 1) ** 2 + 0.4 * q) / temperature), low, high)[0]


@pytest.fixture(scope="module")
def tilted() -> xr.Dataset:
    return langevin_wells(TILTED, 400, 60, seed=1, temperature=0.8)


def test_occupancy_is_the_integral_over_the_basin(tilted):
    saddle = np.roots([8.0, 0.0, -8.0, 0.4])
    top = saddle[np.abs(saddle).argmin()].real
    left = boltzmann(-4, top, 0.8) / boltzmann(-4, 4, 0.8)
    np.testing.assert_allclose(tilted["occupancy"], [left, 1 - left], atol=1e-3)
    assert (tilted["minima"][:, 0] * [-1, 1] > 0).all()


@pytest.mark.parametrize("time", [0, -1])
def test_sequences_are_in_equilibrium_from_first_to_last(tilted, time):
    visits = (tilted["states"][:, time] == 0).to_numpy().astype(float)
    assert off(visits, float(tilted["occupancy"][0])) < SE
    hotter = boltzmann(-4, 0.05, 4.0) / boltzmann(-4, 4, 4.0)
    assert off(visits, hotter) > SE


def test_states_are_the_basins_of_the_path(tilted):
    side = (tilted["path"][..., 0] > 0.05).astype(int)
    assert (tilted["states"] == side).mean() > 0.99
    assert ((tilted["states"] == 0) | (tilted["states"] == 1)).all()


@pytest.mark.parametrize("mass", [None, 0.5])
def test_a_harmonic_well_has_its_variance_and_memory(mass):
    data = langevin_wells(Quadratic([2.0]), 1000, 3, seed=2, temperature=0.5, friction=1.5, mass=mass, interval=0.3)
    first, second, third = data["path"][..., 0].to_numpy().T
    assert off(third**2, 0.25) < SE
    assert off(third**2, 0.5) > SE
    assert off(first * second, 0.25 * memory(0.3, mass)) < SE
    assert off(first * second, 0.25 * memory(0.9, mass)) > SE


def memory(elapsed: float, mass: float | None) -> float:
    """Correlation of the position with itself for k = 2, γ = 1.5."""
    if mass is None:
        return np.exp(-2 / 1.5 * elapsed)
    decay, omega = 1.5 / (2 * mass), np.sqrt(2 / mass - (1.5 / (2 * mass)) ** 2)
    return np.exp(-decay * elapsed) * (np.cos(omega * elapsed) + decay / omega * np.sin(omega * elapsed))


def test_a_random_map_with_noise_is_seen():
    data = langevin_wells(DoubleWell(2.0, latent=2), 50, 20, seed=3, channels=4, noise=0.3)
    noise = (data["observations"] - data["path"] @ data["map"]).transpose("sequence", "time", "channel").to_numpy()
    assert noise.shape == (50, 20, 4)
    assert off((noise**2).ravel(), 0.09) < SE
    other = langevin_wells(DoubleWell(2.0, latent=2), 50, 20, seed=4, channels=4, noise=0.3)
    xr.testing.assert_identical(data["map"], other["map"])
    assert not np.array_equal(data["path"], other["path"])


def test_a_decoder_is_seen():
    data = langevin_wells(Quadratic([1.0]), 5, 10, decoder=lambda q: torch.cat([q, q**2, q**3], -1), noise=0.0)
    path = data["path"].to_numpy()
    np.testing.assert_allclose(data["observations"], np.concatenate([path, path**2, path**3], -1), rtol=1e-6)


def test_without_decoder_the_position_is_seen():
    data = langevin_wells(Quadratic([1.0, 2.0]), 5, 10, noise=0.0)
    np.testing.assert_array_equal(data["observations"], data["path"])
    assert "map" not in data
    assert "mass" not in data


def test_wells_are_numbered_by_occupancy():
    wells = GaussianWells([[-1.5, 0.0], [1.5, 0.0], [0.0, 2.5]], [0.2, 0.5, 0.3], widths=0.35)
    data = langevin_wells(wells, 10, 5, mass=1.0)
    np.testing.assert_allclose(data["occupancy"], [0.5, 0.3, 0.2], atol=0.01)
    np.testing.assert_allclose(data["minima"], [[1.5, 0.0], [0.0, 2.5], [-1.5, 0.0]], atol=0.01)
    assert float(data["mass"]) == 1


def test_a_start_and_intervals_can_be_given():
    data = langevin_wells(DoubleWell(), 3, 4, initial=[-1.0], interval=[0.1, 0.4, 0.2], noise=0.0)
    np.testing.assert_allclose(data["time"], [0, 0.1, 0.5, 0.7])
    np.testing.assert_array_equal(data["path"][:, 0], -1)
    starts = np.array([[-1.0], [0.5], [1.0]])
    np.testing.assert_array_equal(langevin_wells(DoubleWell(), 3, 4, initial=starts)["path"][:, 0], starts)


def test_a_stiff_well_gets_the_steps_it_needs():
    """An unresolved chain at curvature × step κ is 1/(1 − κ/2) times too wide."""
    wide = langevin_wells(Quadratic([10.0]), 2000, 3, seed=5, interval=0.1, fine=1, initial=[0.0])
    right = langevin_wells(Quadratic([10.0]), 2000, 10, seed=5, interval=0.1)
    assert off(wide["path"][:, -1, 0].to_numpy() ** 2, 0.1) > SE
    assert off(right["path"][:, -1, 0].to_numpy() ** 2, 0.1 / (1 - LARGEST_CURVATURE_STEP / 4)) < SE


def test_a_seed_is_a_data_set_and_leaves_the_callers_randomness_alone():
    torch.manual_seed(0)
    once = langevin_wells(DoubleWell(), 4, 5, seed=6)
    after = torch.rand(1)
    torch.manual_seed(1)
    again = langevin_wells(DoubleWell(), 4, 5, seed=6)
    xr.testing.assert_identical(once, again)
    torch.manual_seed(0)
    assert torch.rand(1) == after


class Slope(Potential):
    """Confined nowhere."""

    latent = 1

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z[..., 0]


@pytest.mark.parametrize(
    ("error", "message", "potential", "options"),
    [
        (PriorError, "noise must be zero or positive: got -1.", DoubleWell(), {"noise": -1.0}),
        (PriorError, "noise must be zero or positive: got nan.", DoubleWell(), {"noise": float("nan")}),
        (PriorError, "temperature must be positive and finite: got 0.0.", DoubleWell(), {"temperature": 0.0}),
        (PriorError, "mass must be positive and finite: got -1.0.", DoubleWell(), {"mass": -1.0}),
        (PriorError, "box must hold the wells: got (-1.0, 1.0), with", DoubleWell(), {"box": (-1.0, 1.0)}),
        (PriorError, "box must hold the wells: got (-4.0, 4.0), with", Slope(), {}),
        (PriorError, "box must fit the wells", Quadratic([1e3] * 3), {}),
        (PriorError, "box must be a lowest and a highest position", DoubleWell(), {"box": (4.0, -4.0)}),
        (ShapeError, "initial must be (1,) or (5, 1): got (2,).", DoubleWell(), {"initial": [0.0, 1.0]}),
        (ShapeError, "got shape (2,) for 4 steps", DoubleWell(), {"interval": [1.0, 1.0], "steps": 4}),
        (ShapeError, "2 steps or more: got shape () for 1 steps", DoubleWell(), {"steps": 1}),
        (ShapeError, "needs a sequence or more: got 0", DoubleWell(), {"sequences": 0}),
        (TimeGridError, "times must increase within a sequence", DoubleWell(), {"interval": -0.1}),
    ],
)
def test_what_cannot_be_simulated_is_refused(error, message, potential, options):
    with pytest.raises(error, match=re.escape(message)) as caught:
        langevin_wells(potential, **{"sequences": 5, "steps": 3} | options)
    assert isinstance(caught.value, NLDError)
