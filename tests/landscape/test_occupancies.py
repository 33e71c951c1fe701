"""Sampled occupancies: weights that are known, and chains that are stuck, on their way, or short but many."""

import numpy as np
import pytest
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.io.inference_data import convergence
from pyro_nld.landscape import occupancies
from pyro_nld.landscape.minima import minima

CHAINS, DRAWS = 400, 500


def hopping(relaxation: float, begun: np.ndarray, seed: int = 0) -> np.ndarray:
    """Indicators `(chain, draw, state)` of chains in two states, .7 and .3 of the time; memory in draws."""
    random = np.random.default_rng(seed)
    leave = (1 - np.exp(-1 / relaxation)) * np.array([0.3, 0.7])
    state, visited = begun.copy(), []
    for _ in range(DRAWS):
        state = np.where(random.random(CHAINS) < leave[state], 1 - state, state)
        visited.append(state)
    return (np.stack(visited, 1)[..., None] == np.arange(2)).astype(float)


BOTH = np.arange(CHAINS) % 2
FIRST = np.zeros(CHAINS, int)


def test_short_chains_that_forget_have_mixed():
    """Each alone is too short for the usual r̂, which is what that of the group is for."""
    inside = hopping(10, BOTH)
    alone = convergence(xr.DataArray(inside, dims=("chain", "draw", "state")))["rhat"].values
    assert alone.min() > 1.01
    assert occupancies.nested_rhat(inside, BOTH).max() < 1.01


@pytest.mark.parametrize(("relaxation", "begun"), [(250, BOTH), (250, FIRST), (5000, BOTH), (np.inf, BOTH)])
def test_chains_that_remember_where_they_began_have_not(relaxation, begun):
    assert occupancies.nested_rhat(hopping(relaxation, begun), begun).min() > 1.01


def test_one_state_tells_nothing():
    assert np.isnan(occupancies.nested_rhat(np.ones((CHAINS, DRAWS, 1)), FIRST)).all()


def test_samples_of_gaussian_wells_have_their_weights():
    potential = nld.GaussianWells([[0.0, 0.0], [6.0, 0.0]], [0.7, 0.3], [0.5, 0.7])
    starts = torch.tensor([[0.0, 0.0], [6.0, 0.0]]).repeat(100, 1)
    found = occupancies.sampled(potential, minima(potential, starts), starts, 1.0)
    error = np.sqrt(0.21 / found["occupancy_ess"].values.min())
    heavier = found["occupancy_sampled"].values.max()
    assert abs(heavier - 0.7) < 4 * error < 0.05
    assert found["occupancy_rhat"].values.max() < 1.01


def test_a_quartic_term_empties_a_well_as_the_series_has_it():
    """Z of ½ z² + a z⁴ is √(2πT) (1 − 3 a T + …); a cubic term fills: + 15/2 b² T of ½ z² + b z³, 5/24 of u₃²."""

    def bent(z):
        return (0.5 * z**2 + 0.3 * z**4).sum(-1)

    def skewed(z):
        return (0.5 * z**2 + 0.3 * z**3 + 0.5 * z**4).sum(-1)

    for energy, expected in ((bent, -0.9), (skewed, 7.5 * 0.09 - 1.5)):
        wells = minima(energy, 0.3 * torch.randn(9, 1))
        found = occupancies.next_order(energy, wells, temperature=0.01)
        np.testing.assert_allclose(found, 0.01 * expected, rtol=1e-3)


def test_two_axes_pull_at_each_other():
    """U = ½ x² + 0.8 y² + a x² y² + b x² y, against quadrature at a low temperature."""
    temperature, a, b = 0.02, 0.4, 1.0

    def energy(z):
        x, y = z.unbind(-1)
        return 0.5 * x**2 + 0.8 * y**2 + a * x**2 * y**2 + b * x**2 * y

    line = torch.linspace(-2, 2, 801, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
    mass = torch.exp(-energy(grid) / temperature).sum() * (line[1] - line[0]) ** 2
    harmonic = 2 * torch.pi * temperature / np.sqrt(1.6)
    found = occupancies.next_order(energy, minima(energy, 0.3 * torch.randn(9, 2)), temperature)
    assert abs(float(found[0]) - float((mass / harmonic).log())) < 0.1 * abs(float((mass / harmonic).log()))


def test_wells_that_are_no_parabolas_are_filled_better():
    """Two wells of different width; each route against quadrature."""
    potential = nld.Tilted(nld.DoubleWell(3.0), [0.6])
    wells = minima(potential, torch.tensor([[-1.0], [1.0]]))
    line = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    mass = torch.exp(-potential(line.unsqueeze(-1).float()).double())
    left = float(mass[line < 0.05].sum() / mass.sum())
    exact = np.where(wells["position"].values[:, 0] < 0, left, 1 - left)
    found = occupancies.occupancy(wells, 1.0, potential=potential)
    error = {name: float(abs(found[name] - exact).sum()) for name in ("harmonic", "anharmonic")}
    assert error["anharmonic"] < 0.6 * error["harmonic"]
