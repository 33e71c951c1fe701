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
