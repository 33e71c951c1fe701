"""Intervals of a landscape from the covariance of its last layer, held against derivatives that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from polynomials import Polynomial, follower

import pyro_nld as nld
from pyro_nld.fitting.posterior import Posterior
from pyro_nld.results import intervals

TILT, BEND, RISE = 0.2, -2.5, 0.8  # U = a z + b z² + c z⁴
WEIGHT = torch.tensor([TILT, BEND, RISE], dtype=torch.float64)
COVARIANCE = 1e-3 * torch.tensor([[4.0, 0.5, 0.0], [0.5, 9.0, -2.0], [0.0, -2.0, 1.0]], dtype=torch.float64)
SMALL = 1e-3
LINE = torch.linspace(-3, 3, 20_001, dtype=torch.float64).unsqueeze(-1)


def quartic(weight):
    return Polynomial((1, 2, 4), weight.float().tolist())


RIDGE = 0.0400411  # the saddle of U; basins are held where they are, as `of_landscape` holds them


def described(weight):
    """Minima, saddles and the shares of exp(−U) on either side of the ridge, by quadrature."""
    potential = quartic(weight)
    wells = nld.landscape.minima(potential, LINE[::100].float())
    states = wells.merge(nld.saddles.saddles(potential, wells))
    height = potential.features(LINE) @ potential.weight.detach().double()
    density = torch.exp(-height).squeeze(-1)
    left = float(density[LINE[:, 0] < RIDGE].sum() / density.sum())
    order = [left, 1 - left] if states["position"][0, 0] < 0 else [1 - left, left]
    return states.assign(occupancy_sampled=("state", order)), density


@pytest.fixture(scope="module")
def posterior():
    """A fit whose encoded points are the equilibrium of U."""
    model, guide = follower(quartic(WEIGHT))
    times = torch.arange(5.0).expand(2, -1)
    fit = Posterior(model, guide, times, torch.zeros(2, 5, 1))
    _, density = described(WEIGHT)
    chosen = torch.multinomial(density, 50_000, replacement=True, generator=torch.Generator().manual_seed(0))
    fit.encoded = lambda limit, seed: LINE[chosen].float()
    return fit


@pytest.fixture(scope="module")
def around():
    """The landscape with each coefficient a little larger and smaller."""
    return [[described(WEIGHT + sign * SMALL * axis)[0] for sign in (1, -1)] for axis in torch.eye(3).double()]


def numeric(around, name, pick):
    """The derivative of a number by the coefficients."""
    ends = [[pick(one[name].values) for one in pair] for pair in around]
    return np.array([(above - below) / (2 * SMALL) for above, below in ends])


def test_barriers_have_the_error_of_the_delta_method(posterior, around):
    states, _ = described(WEIGHT)
    assert abs(states["saddle_position"].item() - RIDGE) < 1e-4
    found = intervals.of_landscape(posterior, states, COVARIANCE)
    for state, to in ((0, 1), (1, 0)):
        slope = numeric(around, "barrier", lambda values, state=state, to=to: values[state, to])
        expected = 1.645 * np.sqrt(slope @ COVARIANCE.numpy() @ slope)
        middle = states["barrier"].values[state, to]
        np.testing.assert_allclose(found["barrier_high"].values[state, to] - middle, expected, rtol=1e-2)
        np.testing.assert_allclose(middle - found["barrier_low"].values[state, to], expected, rtol=1e-2)
    assert np.isnan(found["barrier_low"].values[[0, 1], [0, 1]]).all()


def test_occupancies_have_it_in_their_logits(posterior, around):
    states, _ = described(WEIGHT)
    found = intervals.of_landscape(posterior, states, COVARIANCE)
    slope = numeric(around, "occupancy_sampled", lambda values: np.log(values[0] / values[1]))
    expected = 1.645 * np.sqrt(slope @ COVARIANCE.numpy() @ slope)
    for end, sign in (("low", -1), ("high", 1)):
        share = found[f"occupancy_{end}"].values
        middle = states["occupancy_sampled"].values
        moved = np.log(share / (1 - share)) - np.log(middle / (1 - middle))
        np.testing.assert_allclose(moved, sign * expected, rtol=0.02)  # of 50 000 points
    np.testing.assert_allclose(found["occupancy_low"].values[0] + found["occupancy_high"].values[1], 1.0, atol=1e-6)


def test_routes_have_the_factors_of_the_counts():
    times = {name: (("route", "state"), [[4.0, 10.0], [5.0, 8.0]]) for name in intervals.CARRIED}
    share = {"stationary": (("route", "state"), [[0.2, 0.8], [0.25, 0.75]])}
    own = [[3.0, 9.0], [4.99, 7.99]]  # a long simulation is sure of itself
    ends = {f"{name}_{end}": (("route", "state"), own) for name in intervals.CARRIED for end in ("low", "high")}
    ends |= {f"stationary_{end}": (("route", "state"), [[0.1, 0.7], [np.nan] * 2]) for end in ("low", "high")}
    found = intervals.of_routes(xr.Dataset(times | share | ends, coords={"route": ["counted", "simulated"]}))
    np.testing.assert_allclose(found["dwell_low"], [[3.0, 9.0], [5 * 3 / 4, 8 * 9 / 10]])
    odds = (1 / 9) / (1 / 4) * (1 / 3)
    np.testing.assert_allclose(found["stationary_low"][1, 0], odds / (1 + odds))
    assert found["dwell_low"].dims == ("route", "state")


def test_a_landscape_that_was_not_balanced_has_none(posterior):
    states, _ = described(WEIGHT)
    assert intervals.given(posterior, states, None) is states


def test_a_number_of_the_landscape_has_the_interval_of_its_coefficients(posterior):
    """U(1) − U(−1) = 2a and U(2) − U(0) = 2a + 4b + 16c are linear in w: Gaussian, with a known deviation."""
    points = torch.tensor([[1.0], [-1.0], [2.0], [0.0]])
    direction = np.array([[2.0, 0.0, 0.0], [2.0, 4.0, 16.0]])
    deviation = np.sqrt(np.einsum("ni,ij,nj->n", direction, COVARIANCE.numpy(), direction))

    def differences(potential):
        one, two, three, four = potential(points).tolist()
        return one - two, three - four

    before = posterior.model.dynamics.landscape.weight.detach().clone()
    posterior.balance = {"covariance": COVARIANCE}
    low, high = intervals.of_number(posterior, differences, draws=4000)
    np.testing.assert_allclose((high + low) / 2, direction @ WEIGHT.numpy(), atol=0.1 * deviation.max())
    np.testing.assert_allclose((high - low) / 2, 1.645 * deviation, rtol=0.06)  # quantiles of 4000 draws
    torch.testing.assert_close(posterior.model.dynamics.landscape.weight.detach(), before)  # the fit is left alone
    posterior.balance = {}
    with pytest.raises(nld.FitError, match="an interval needs the covariance of a balanced landscape: got Polynomial"):
        intervals.of_number(posterior, differences)
