"""Passages of paths that are written down, and of a double well whose transition paths are known by quadrature."""

import numpy as np
import pytest
import torch

import pyro_nld as nld
from pyro_nld import kinetics

CORE = 0.9


def test_a_passage_begins_at_the_last_look_and_ends_at_the_first():
    place = torch.tensor([[-1.0, -1.0, -0.2, 0.4, 1.0, 1.1, 0.0, -1.0, -0.5, -1.0]]).unsqueeze(-1)
    cores = torch.where(place < -0.9, 0, torch.where(place > 0.9, 1, -1))[..., 0]
    found = kinetics.passages(place, cores, 0.5, 2)
    assert found["passage_from"].values.tolist() == [0, 1]
    assert found["passage_duration"].values.tolist() == [1.5, 1.0]
    np.testing.assert_allclose(found["passage_position"][0, [0, -1], 0], [-1, 1])
    np.testing.assert_allclose(found["passage_position"][1, 10, 0], 0.0)
    assert found["number"].values.tolist() == [[0, 1], [1, 0]]
    assert found["first_passage"].sel(state=0, to=1, quantile=0.5).item() == 2.0
    assert found["first_passage"].sel(state=1, to=0, quantile=0.5).item() == 1.5
    assert np.isnan(found["duration"].values.diagonal()).all()


def test_waits_that_were_cut_off_are_censored():
    """Three waits of 2 are seen, one of 6 is cut off: a quarter lasts longer, and nobody knows how long."""
    cores = torch.tensor([[0, -1, 1, -1, 0, -1, 1, -1, 0, -1, 1, -1, 0, -1, -1, -1, -1, -1, -1]])
    found = kinetics.passages(cores.unsqueeze(-1).float(), cores, 1.0, 2)["first_passage"].sel(state=0, to=1)
    assert found.values[:3].tolist() == [2.0, 2.0, 2.0]
    assert np.isnan(found.values[-1])


def test_the_mean_duration_is_that_of_quadrature():
    """⟨t⟩ = ∫ e^U dx · ∫ q (1 − q) e^(−U) dx between the cores, q the committor (Hummer 2004)."""
    dynamics = nld.OverdampedLangevin(nld.DoubleWell(3.0), temperature=1.0, friction=1.0)
    torch.manual_seed(0)
    starts = torch.tensor([[-1.0], [1.0]]).repeat(100, 1)
    place = kinetics.chain(dynamics, nld.EulerMaruyama(), starts, interval=0.002, substeps=1, intervals=4000)
    cores = torch.where(place < -CORE, 0, torch.where(place > CORE, 1, -1))[..., 0]
    found = kinetics.passages(place, cores, 0.002, 2)
    line = np.linspace(-CORE, CORE, 20_001)
    energy = 3 * (line**2 - 1) ** 2
    rise = np.cumsum(np.exp(energy))
    q = rise / rise[-1]
    exact = np.exp(energy).mean() * (q * (1 - q) * np.exp(-energy)).mean() * (2 * CORE) ** 2
    assert found["number"].values.sum() > 100
    # Looks .002 apart see a core late; durations have a standard deviation of half their mean.
    np.testing.assert_allclose(found["duration"].values[[0, 1], [1, 0]], exact, rtol=0.2)
    tube = found["tube"].sel(quantile=0.5).values[..., 0]
    np.testing.assert_allclose(tube[0, 1, 10], 0, atol=0.15)
    np.testing.assert_allclose(tube[0, 1], tube[1, 0][::-1], atol=0.25)


@pytest.mark.parametrize("cores", [[[0, 0, 0]], [[-1, -1, -1]]])
def test_nothing_is_told_of_what_was_not_seen(cores):
    cores = torch.tensor(cores)
    found = kinetics.passages(cores.unsqueeze(-1).float(), cores, 1.0, 2)
    assert found.sizes["passage"] == 0
    assert np.isnan(found["tube"]).all()
    assert np.isnan(found["first_passage"]).all()


def circle(*angles):
    """A path on the line that covers a circle of length 2π, with cores around all images of 0 and π."""
    place = torch.as_tensor(np.stack(angles)).unsqueeze(-1)
    cores = torch.where(place.cos() > 0.9, 0, torch.where(place.cos() < -0.9, 1, -1))[..., 0]
    return place, cores


def test_a_tube_on_a_circle_is_not_averaged_across_the_seam():
    """The same passage, written down some turns on and back, and out of a core that the seam cuts."""
    turn, climb = 2 * np.pi, np.array([0.0, 1.0, 2.0, np.pi])
    place, cores = circle(*(climb + turns * turn for turns in (0, 1, -3)))
    found = kinetics.passages(place, cores, 1.0, 2, [turn])
    tube = found["tube"].isel(state=0, to=1)[..., 0]
    np.testing.assert_allclose(tube.isel(quantile=0), tube.isel(quantile=4), atol=1e-12)
    np.testing.assert_allclose(tube.isel(quantile=2)[[0, 20]], [0, np.pi], atol=1e-12)
    back = np.array([np.pi - 0.1, 4.0, 5.0, turn]), np.array([np.pi + 0.1 - turn, 4.0 - turn, 5.0 - turn, 0.0])
    place, cores = circle(*back)  # out of one core, on both sides of the seam at π
    split = kinetics.passages(place, cores, 1.0, 2, [turn])["tube"].isel(state=1, to=0)[..., 0]
    assert float((split.isel(quantile=4) - split.isel(quantile=0)).max()) < 0.3
    torn = kinetics.passages(place, cores, 1.0, 2)["tube"].isel(state=1, to=0)[..., 0]
    assert float((torn.isel(quantile=4) - torn.isel(quantile=0)).max()) > 5  # without the periods


def test_the_two_ways_round_a_circle_are_not_one_tube():
    turn, climb = 2 * np.pi, np.array([0.0, 1.0, 2.0, np.pi])
    place, cores = circle(climb, climb + turn, -climb)
    found = kinetics.passages(place, cores, 1.0, 2, [turn])
    assert found["passage_turns"][:, 0].values.tolist() == [0, 0, -1]
    assert found["tube_share"].isel(state=0, to=1).item() == pytest.approx(2 / 3)
    np.testing.assert_allclose(found["tube"].isel(state=0, to=1, quantile=2)[..., 0][[0, 20]], [0, np.pi], atol=1e-12)
    assert found["number"].isel(state=0, to=1).item() == 3
