"""Landscape: published minima, exact occupancies, basins against long flows, and what a reader must be told."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn

import pyro_nld as nld
from pyro_nld.dynamics.integrators import EulerMaruyama, Leapfrog
from pyro_nld.landscape.minima import basins, minima
from pyro_nld.landscape.occupancies import occupancy
from pyro_nld.landscape.projection import lift, plane, project
from pyro_nld.landscape.step_size import discretisation

WEIGHTS, WIDTHS = [0.5, 0.3, 0.2], [0.5, 0.6, 0.7]
CENTRES = [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]


def scattered(n, low, high, seed=0):
    random = torch.rand(n, len(low), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(low) + random * (torch.tensor(high) - torch.tensor(low))


@pytest.fixture(scope="module")
def mueller_brown():
    potential = nld.MuellerBrown()
    return potential, minima(potential, scattered(500, [-1.5, -0.5], [1.0, 2.0]))


@pytest.fixture(scope="module")
def wells():
    potential = nld.GaussianWells(CENTRES, WEIGHTS, WIDTHS)
    return potential, minima(potential, scattered(500, [-1.0, -1.0, -1.0], [4.0, 5.0, 1.0]))


def test_mueller_brown_minima_to_three_digits(mueller_brown):
    _, found = mueller_brown
    order = found["energy"].values.argsort()
    expected = [[-0.558, 1.442], [0.623, 0.028], [-0.050, 0.467]]
    np.testing.assert_allclose(found["position"].values[order], expected, atol=6e-4)
    np.testing.assert_allclose(found["energy"].values[order], [-146.700, -108.167, -80.768], atol=6e-4)


def test_minima_carry_their_certificates(mueller_brown):
    _, found = mueller_brown
    assert float(found["gradient_norm"].max()) < 1e-6
    assert float(found["curvature"].min()) > 0
    assert bool((found["curvature"].diff("latent") >= 0).all())
    assert float(found["share"].sum()) == pytest.approx(1.0)
    assert bool((found["share"].diff("state") <= 0).all())
    assert found.attrs["unconverged_starts"] == 0


def test_a_saddle_is_no_minimum():
    found = minima(nld.DoubleWell(barrier=5.0), torch.tensor([[0.0], [0.1], [-0.1]]))
    np.testing.assert_allclose(np.sort(found["position"].values[:, 0]), [-1.0, 1.0], atol=1e-6)


def test_float32_networks_are_polished_in_float64():
    torch.manual_seed(0)
    found = minima(nld.NeuralPotential(2), torch.randn(50, 2))
    assert found["position"].dtype == np.float64
    assert float(found["gradient_norm"].max()) < 1e-6


def test_a_shallow_dent_belongs_to_its_neighbour():
    """Two wells, and beside the right one a minimum with an escape barrier of about half a kT."""
    centres = [[-2.0], [2.0], [3.4]]
    potential = nld.GaussianWells(centres, [0.5, 0.45, 0.05], [0.4, 0.45, 0.25])
    starts = torch.linspace(-3, 4, 300).unsqueeze(-1)
    whole = minima(potential, starts)
    apart = minima(potential, starts, min_barrier=0.0)
    assert apart.sizes["state"] == 3
    assert whole.sizes == {"state": 2, "latent": 1, "minimum": 3}
    minimum = whole["minimum_position"].values[:, 0].argmax()
    right = whole["position"].values[:, 0].argmax()
    assert int(whole["minimum_state"][minimum]) == right
    labels = basins(potential, whole, torch.tensor([[3.4], [2.0], [-2.0]]))
    assert labels.tolist() == [right, right, 1 - right]


def test_the_data_say_whose_a_shallow_dent_is():
    """Between two wells a minimum, whose lower pass leads to the left; the data come and go on the right."""
    centres = [[-2.0], [0.7], [2.0]]
    potential = nld.GaussianWells(centres, [0.6, 0.02, 0.38], [0.9, 0.25, 0.3])
    starts = torch.linspace(-3, 3, 300).unsqueeze(-1)
    crossings = [[0.7, 2.0], [2.0, 0.7], [0.6, 2.1], [-2.0, 0.7], [-2.0, -1.9], [0.7, 0.6]]
    moves = torch.tensor(crossings).unsqueeze(-1)
    for found, owner in ((minima(potential, starts), -2.0), (minima(potential, starts, moves=moves), 2.0)):
        assert found.sizes == {"state": 2, "latent": 1, "minimum": 3}
        middle = int(abs(found["minimum_position"].values[:, 0] - 0.7).argmin())
        assert float(found["position"][int(found["minimum_state"][middle]), 0]) == pytest.approx(owner, abs=0.2)
    unmet = minima(potential, starts, moves=moves[-2:])  # nothing is seen to leave: the lowest pass, again
    np.testing.assert_array_equal(unmet["minimum_state"], minima(potential, starts)["minimum_state"])


def test_occupancies_of_gaussian_wells_are_their_weights(wells):
    potential, found = wells
    draws = np.random.default_rng(1).choice(3, 4000, p=WEIGHTS)
    noise = torch.randn(4000, 3, generator=torch.Generator().manual_seed(2)) * torch.tensor(WIDTHS)[draws, None]
    labels = basins(potential, found, torch.tensor(CENTRES)[draws] + noise)
    shares = occupancy(found, 1.0, labels)
    order = np.linalg.norm(found["position"].values[:, None] - np.array(CENTRES), axis=-1).argmin(1)
    np.testing.assert_allclose(shares["harmonic"], np.array(WEIGHTS)[order], atol=1e-3)
    # energies alone forget the widths
    weight = np.array(WEIGHTS) / np.array(WIDTHS) ** 3
    np.testing.assert_allclose(shares["energy"], (weight / weight.sum())[order], atol=1e-3)
    se = np.sqrt(0.25 / 4000)
    np.testing.assert_allclose(shares["data"], np.array(WEIGHTS)[order], atol=5 * se)


def test_basins_agree_with_an_independent_solver(mueller_brown):
    _, found = mueller_brown
    points = scattered(80, [-1.5, -0.5], [1.2, 2.0], seed=3).double()
    exact = nld.MuellerBrown().double()

    def downhill(_, z):
        return -exact.gradient(torch.as_tensor(z)).detach().numpy()

    ends = [solve_ivp(downhill, (0, 1), z, method="LSODA", rtol=1e-8).y[:, -1] for z in points.numpy()]
    expected = torch.cdist(torch.as_tensor(np.array(ends)), torch.as_tensor(found["position"].values)).argmin(1)
    assert basins(exact, found, points).tolist() == expected.tolist()


def test_the_nearest_minimum_would_be_the_wrong_basin(mueller_brown):
    potential, found = mueller_brown
    points = scattered(2000, [-1.5, -0.5], [1.2, 2.0], seed=4)
    nearest = torch.cdist(points.double(), torch.as_tensor(found["position"].values)).argmin(1)
    assert float((basins(potential, found, points) != nearest).float().mean()) > 0.02


@pytest.mark.parametrize("latent", [2, 5, 20])
def test_basins_end_at_the_ridge_in_many_axes(latent):
    """On the line between two wells the basins meet at the maximum, however many other axes there are."""
    potential = nld.Tilted(nld.DoubleWell(3.0, latent=latent, stiffness=2.0), [0.5] + [0.0] * (latent - 1)).double()
    found = minima(potential, torch.randn(100, latent, generator=torch.Generator().manual_seed(0)).double())
    line = torch.linspace(-0.95, 0.95, 191, dtype=torch.float64)
    top = float(line[potential(nn.functional.pad(line.unsqueeze(-1), (0, latent - 1))).argmax()])
    points = nn.functional.pad(line[(line - top).abs() > 0.02].unsqueeze(-1), (0, latent - 1))
    nearest = np.abs(found["position"].values[:, 0] - np.sign(points[:, :1].numpy() - top)).argmin(-1)
    assert basins(potential, found, points).tolist() == nearest.tolist()


def test_basins_keep_the_batch_shape(wells):
    potential, found = wells
    assert basins(potential, found, torch.zeros(2, 3, 4, 3)).shape == (2, 3, 4)


def test_points_that_cannot_settle_have_no_state(wells):
    potential, found = wells
    assert basins(potential, found, torch.tensor([[torch.nan, 0.0, 0.0]])).tolist() == [-1]


def test_no_minimum_is_an_error():
    with pytest.raises(nld.FitError, match="no minimum was found"):
        minima(lambda z: -z.square().sum(-1), torch.randn(5, 2))


def test_one_well_in_ten_dimensions():
    found = minima(nld.Quadratic(torch.linspace(0.5, 4.0, 10)), torch.randn(40, 10))
    assert found.sizes["state"] == 1
    np.testing.assert_allclose(found["curvature"].values[0], np.linspace(0.5, 4.0, 10), rtol=1e-5)


def test_a_single_well_far_from_all_starts():
    """All flows come in along one line, so that their ends have next to no spread."""
    found = minima(nld.Quadratic([6.3, 6.1], centre=[40.0, -130.0]), 2 * torch.randn(100, 2))
    np.testing.assert_allclose(found["position"], [[40.0, -130.0]], rtol=1e-6)


def test_too_coarse_a_step_warns_with_the_cure():
    prior, euler = nld.OverdampedLangevin(nld.Quadratic([2.0, 8.0]), friction=torch.tensor([0.5, 2.0])), EulerMaruyama()
    stiff = minima(prior.potential, torch.randn(20, 2))
    with pytest.warns(nld.DoubtfulFitWarning, match=r"curvature × step is 0.800 .* Use substeps=20"):
        check = discretisation(prior, euler, stiff, step=0.2, substeps=5)
    assert check["max_curvature_step"] == pytest.approx(0.8, rel=1e-5)
    assert not check["ok"]
    assert discretisation(prior, euler, stiff, step=0.2 / 4.01, substeps=20) == {
        "max_curvature_step": pytest.approx(0.8 / 4.01, rel=1e-5),
        "ok": 1,
        "substeps_needed": 20,
    }


def test_momenta_need_steps_for_their_own_time_not_for_friction():
    heavy = nld.UnderdampedLangevin(nld.Quadratic([50.0]), friction=0.1, mass=10.0)
    well = minima(heavy.potential, torch.randn(20, 1))
    # h²k/(2M) is 0.025 where k h/γ is 50
    assert discretisation(heavy, Leapfrog(), well, step=0.1)["max_curvature_step"] == pytest.approx(0.025, rel=1e-3)
    light = nld.UnderdampedLangevin(nld.Quadratic([1.0]), friction=1.0, mass=1e-3)
    assert discretisation(light, Leapfrog(), well, step=0.1)["max_curvature_step"] == pytest.approx(0.1, rel=1e-3)


def test_the_plane_of_three_minima_contains_them(wells):
    _, found = wells
    view = plane(scattered(100, [-1.0, -1.0, -1.0], [4.0, 5.0, 1.0]), found)
    positions = found["position"].values
    np.testing.assert_allclose(lift(view, project(view, positions)), positions, atol=1e-9)
    np.testing.assert_allclose(view["axes"].values @ view["axes"].values.T, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_the_plane_of_points_when_minima_span_none(latent):
    points = torch.randn(50, latent, generator=torch.Generator().manual_seed(5))
    single = minima(nld.Quadratic(torch.ones(latent)), points)
    view = plane(points, single)
    assert project(view, points).shape == (50, min(latent, 2))
