"""Dips and crossings of densities and paths that are written down."""

import math

import numpy as np
import pytest
import torch

from pyro_nld.kinetics import hops
from pyro_nld.kinetics.memberships import between


def tables(density):
    """Of points on a line from −1.5 to 1.5 with this density, split in the middle."""
    line = np.linspace(-1.5, 1.5, 3001)
    points = np.repeat(line, np.round(200 * density(line)).astype(int))
    minima = torch.tensor([[-1.0], [1.0]])
    return between(torch.as_tensor(points)[:, None], torch.as_tensor((points > 0).astype(int)), minima)


@pytest.mark.parametrize("depth", [0.0, 0.5, 1.5, 3.0])
def test_the_dip_is_that_of_the_density(depth):
    found = tables(lambda z: np.exp(-depth * np.exp(-((z / 0.3) ** 2))))
    dips = hops.dips(found)
    assert dips[0, 1] == pytest.approx(depth, abs=0.15)
    np.testing.assert_allclose(dips, dips.T)
    assert not dips.diagonal().any()


def test_a_crossing_ends_in_the_other_core():
    core = np.array([0, 0, -1, 0, -1, -1, 1, 1, 0, 0])
    left = np.zeros(9, bool)
    left[5] = True  # state 0 until then
    assert hops.crossing(core, left) == 3
    assert math.isnan(hops.crossing(core, np.zeros(9, bool)))


def test_few_switches_and_slow_crossings_are_worth_little():
    assert hops.hopping(100.0, 5.0, 2.0, 19.0)["hopping"] == 0
    assert hops.hopping(100.0, 5.0, 2.0, 20.0)["hopping"] == 10
    assert hops.hopping(100.0, 5.0, 1.0, 20.0)["hopping"] == pytest.approx(1.5 * math.e)
    assert hops.hopping(100.0, 25.0, 2.0, 20.0)["hopping"] == 2


def test_a_way_around_is_a_way():
    """Four minima on a ring: opposite ones see a deep dip, neighbours none, and a group has both."""
    ring = np.array([[0, 0.2, 5, 0.3], [0.2, 0, 0.1, 6], [5, 0.1, 0, 0.4], [0.3, 6, 0.4, 0]])
    assert hops.shallowest(ring, np.array([True, False, False, False])) == 0.2
    assert hops.shallowest(ring, np.array([True, False, False, True])) == 0.2
    assert hops.shallowest(ring[::2, ::2], np.array([True, False])) == 5
    assert math.isnan(hops.shallowest(ring, np.ones(4, bool)))
