"""The response of rates to the landscape, against finite differences of the exact rates of a double well."""

import numpy as np
import pytest
import torch
from polynomials import Polynomial

import pyro_nld as nld
from pyro_nld.kinetics import generators, reactive

WEIGHT = [0.3, -6.0, 3.0]  # U = 3 (z² − 1)² + 0.3 z, up to a constant
CORE = 0.9


def motion(weight, friction=1.0):
    return nld.OverdampedLangevin(Polynomial((1, 2, 4), weight), temperature=1.0, friction=friction)


def label(z):
    return torch.where(z < -CORE, 0, torch.where(z > CORE, 1, -1))


def exact(weight):
    grid = generators.generator(motion(weight), [-3.0], [3.0])
    return np.log(generators.core_kinetics(grid, label(torch.as_tensor(grid.centres[:, 0])).numpy(), 2)[1])


@pytest.fixture(scope="module")
def run():
    torch.manual_seed(0)
    starts = torch.randn(400, 1).sign() + 0.1 * torch.randn(400, 1)
    z = nld.kinetics.chain(motion(WEIGHT), nld.EulerMaruyama(), starts, interval=0.05, substeps=5, intervals=400)
    met = reactive.next_cores(label(z[..., 0]))
    points, met = z[met >= 0], met[met >= 0]
    return points, reactive.committors(points, met, motion(WEIGHT).potential.features, 2)


def test_the_response_is_that_of_the_exact_rates(run):
    points, committor = run
    features = motion(WEIGHT).potential.features
    found = reactive.response(points, committor, features, torch.ones(1), 1.0).numpy()
    for place in range(3):
        step = 1e-3 * np.eye(3)[place]
        slope = (exact((WEIGHT + step).tolist()) - exact((WEIGHT - step).tolist())) / 2e-3
        # What is neglected, and the noise of the chain, are worth .03 of a slope near 1.
        np.testing.assert_allclose([found[0, 1, place], found[1, 0, place]], [slope[0, 1], slope[1, 0]], atol=0.08)
    assert not found[0, 0].any()


def test_the_committor_is_that_of_the_generator(run):
    _, committor = run
    grid = generators.generator(motion(WEIGHT), [-1.5], [1.5], cells=300)
    core = label(torch.as_tensor(grid.centres[:, 0])).numpy()
    expected = generators.committor(grid, core == 0, core == 1)
    found = committor(torch.as_tensor(grid.centres, dtype=torch.float32))[:, 1].numpy()
    # Looks .05 apart miss the shortest crossings.
    np.testing.assert_allclose(found, expected, atol=0.06)


def test_what_only_lifts_both_wells_and_the_ridge_changes_no_rate(run):
    points, committor = run
    constant = reactive.response(points, committor, lambda z: torch.ones(len(z), 1), torch.ones(1), 1.0)
    np.testing.assert_allclose(constant, 0, atol=1e-9)


def test_the_core_met_next():
    labels = torch.tensor([[-1, 0, -1, 1, -1], [1, -1, -1, -1, 2]])
    assert reactive.next_cores(labels).tolist() == [[0, 0, 1, 1, -1], [1, 2, 2, 2, 2]]
