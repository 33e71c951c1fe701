"""Saddles: published and closed-form ones, wells that lie between, certificates redone independently, routes."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import pyro_nld as nld
from pyro_nld.dynamics.potentials import in_double
from pyro_nld.landscape import saddles as module
from pyro_nld.landscape import strings
from pyro_nld.landscape.minima import minima
from pyro_nld.landscape.saddles import disconnectivity, saddles

PLACES = [[-0.558, 1.442], [-0.050, 0.467], [0.623, 0.028]]  # Müller–Brown's minima, in the order of the valley
PASSES = [[-0.822, 0.624], [0.212, 0.293]]  # between the first two, between the last two
LINE = [[-3.0, 0.0], [0.0, 0.0], [3.0, 0.0]]
TRIANGLE = [[-3.0, 0.0], [3.0, 0.0], [0.0, 5.0]]


def scattered(n, latent, spread, seed=0):
    return spread * torch.randn(n, latent, generator=torch.Generator().manual_seed(seed))


def searched(potential, starts, **settings):
    wells = minima(potential, starts)
    return wells, saddles(potential, wells, **settings)


def nearest(wells, places):
    """The state of each place."""
    apart = np.linalg.norm(wells["position"].values - np.array(places)[:, None], axis=-1)
    return apart.argmin(1)


def pairs(story):
    return sorted(tuple(ends) for ends in story["saddle_states"].values.tolist())


def network(latent):
    """Random but fixed weights, steep enough for a few wells."""
    torch.manual_seed(1)
    potential = nld.NeuralPotential(latent, (16,), confinement=0.3)
    with torch.no_grad():
        potential.layers[0].weight.mul_(3)
        potential.output.weight.mul_(40)
    return potential


@pytest.fixture(scope="module")
def mueller_brown():
    starts = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) * 2.5 - torch.tensor([1.5, 0.5])
    return searched(nld.MuellerBrown(), starts)


@pytest.fixture(scope="module")
def triangle():
    return searched(nld.GaussianWells(TRIANGLE, [0.5, 0.3, 0.2], 0.8), scattered(200, 2, 3.0))


@pytest.fixture(scope="module", params=[2, 10])
def neural(request):
    potential = network(request.param)
    return potential, *searched(potential, scattered(200, request.param, 2.0))


# Known answers


def test_mueller_brown_saddles_to_three_digits(mueller_brown):
    wells, story = mueller_brown
    top, middle, right = nearest(wells, PLACES)
    np.testing.assert_allclose(story["saddle_position"], PASSES[::-1], atol=6e-4)
    np.testing.assert_allclose(story["saddle_energy"], [-72.249, -40.665], atol=6e-4)
    assert [set(ends) for ends in story["saddle_states"].values.tolist()] == [{middle, right}, {top, middle}]


def test_mueller_brown_barriers_and_routes(mueller_brown):
    wells, story = mueller_brown
    top, middle, right = nearest(wells, PLACES)
    barrier, route = story["barrier"].values, story["pass_energy"].values
    assert barrier[top, middle] == pytest.approx(146.700 - 40.665, abs=2e-3)
    assert barrier[middle, top] == pytest.approx(80.768 - 40.665, abs=2e-3)
    assert barrier[right, middle] == pytest.approx(108.167 - 72.249, abs=2e-3)
    assert np.isnan(barrier[top, right])  # no saddle joins them, but a route does
    assert route[top, right] == pytest.approx(-40.665, abs=1e-3)
    np.testing.assert_array_equal(route.diagonal(), wells["energy"])
    assert np.isnan(barrier.diagonal()).all()


@pytest.mark.parametrize("latent", [1, 2, 5, 20])
def test_a_tilted_double_well_against_the_roots_of_its_slope(latent):
    """U' = 4 B z (z² − 1) + b in the first axis; the others are harmonic."""
    height, slope = 5.0, 1.0
    potential = nld.Tilted(nld.DoubleWell(height, latent=latent, stiffness=3.0), [slope] + [0.0] * (latent - 1))
    wells, story = searched(potential, scattered(60, latent, 1.0))
    left, saddle, right = np.sort(np.roots([4 * height, 0, -4 * height, slope]).real)
    energy = np.polyval([height, 0, -2 * height, slope, height], [left, saddle, right])
    first, second = nearest(wells, [[left] + [0.0] * (latent - 1), [right] + [0.0] * (latent - 1)])
    assert story.sizes["saddle"] == 1
    np.testing.assert_allclose(story["saddle_position"].values[0], [saddle] + [0.0] * (latent - 1), atol=1e-9)
    assert float(story["barrier"][first, second]) == pytest.approx(energy[1] - energy[0], abs=1e-9)
    assert float(story["barrier"][second, first]) == pytest.approx(energy[1] - energy[2], abs=1e-9)
    curvature = [4 * height * (3 * saddle**2 - 1)] + [3.0] * (latent - 1)
    np.testing.assert_allclose(story["saddle_curvature"].values[0], curvature, rtol=1e-9)


# Who joins whom


def test_a_string_through_a_third_well_gives_its_two_saddles():
    potential = nld.GaussianWells(LINE, widths=0.6)
    wells, story = searched(potential, scattered(200, 2, 2.0))
    left, middle, right = nearest(wells, LINE)
    assert pairs(story) == sorted([tuple(sorted((left, middle))), tuple(sorted((middle, right)))])
    np.testing.assert_allclose(np.sort(story["saddle_position"].values[:, 0]), [-1.5, 1.5], atol=1e-3)
    assert np.isnan(story["barrier"][left, right])
    outer = torch.tensor([LINE[0], LINE[2]]).double()
    tops, _ = module._tops(in_double(potential), strings.bent(outer[:1], outer[1:], 41)[:1])
    np.testing.assert_allclose(tops[:, 0], [-1.5, 1.5], atol=0.15)  # of one string: both are seen


def test_a_triangle_has_three_saddles(triangle):
    _, story = triangle
    assert pairs(story) == [(0, 1), (0, 2), (1, 2)]


def test_a_hill_between_two_wells_has_a_way_around_on_either_side():
    """U = 8 (r² − 1)² − 2 x² + 0.3 y: the chord between the wells runs over the hill at the origin."""
    wells, story = searched(
        lambda z: 8 * (z.square().sum(-1) - 1).square() - 2 * z[..., 0].square() + 0.3 * z[..., 1],
        scattered(100, 2, 1.0),
    )
    # on the y-axis U' = 32 y (y² − 1) + 0.3
    hill, *ways = sorted(np.roots([32, 0, -32, 0.3]).real, key=abs)
    assert story.sizes["saddle"] == 2
    np.testing.assert_allclose(np.sort(story["saddle_position"].values[:, 1]), np.sort(ways), atol=1e-9)
    assert abs(story["saddle_position"].values[:, 1] - hill).min() > 0.9
    assert float(story["barrier"][0, 1]) == pytest.approx(float(story["saddle_energy"][0] - wells["energy"][0]))


def test_saddles_inside_a_state_are_dropped_and_paths_go_on_to_its_minimum():
    """The way from the left ends in a dent of the right state, half a kT deep, and has to go on."""
    potential = nld.GaussianWells([[-2.0], [2.0], [0.6]], [0.5, 0.45, 0.05], [0.4, 0.45, 0.25])
    wells, story = searched(potential, torch.linspace(-3, 4, 200).unsqueeze(-1))
    assert wells.sizes["minimum"] == 3
    assert wells.sizes["state"] == 2
    assert pairs(story) == [(0, 1)]
    assert float(story["saddle_position"].values[0, 0]) < 0.5
    np.testing.assert_allclose(story["saddle_path"].values[0, [0, -1]], wells["position"], atol=1e-12)
    rises = np.diff(story["saddle_path_energy"].values[0]) > 0
    assert (np.diff(rises.astype(int)) != 0).sum() == 3  # over the saddle, through the dent, over the lip


def test_unknown_minima_are_counted_and_missing_routes_announced():
    potential = nld.GaussianWells(LINE, widths=0.6)
    wells = minima(potential, torch.tensor([[-3.1, 0.1], [3.1, 0.1]]))
    with pytest.warns(
        nld.DoubtfulFitWarning, match=r"no route was found between .*\[0, 1\]; 2 saddles lead to unknown"
    ):
        story = saddles(potential, wells)
    assert story.attrs["unassigned_saddles"] == 2
    assert story.sizes["saddle"] == 0
    assert np.isnan(story["pass_energy"][0, 1])
    assert disconnectivity(story) == []


def test_few_strings_still_span_all_states(monkeypatch):
    """Three wells together and one far away: the three shortest chords alone would never reach it."""
    monkeypatch.setattr(module, "PAIRS", 3)
    potential = nld.GaussianWells([[-1.5, 0.0], [1.5, 0.0], [0.0, 2.5], [0.0, -6.0]], widths=0.5)
    _, story = searched(potential, scattered(200, 2, 3.0))
    assert story["pass_energy"].shape == (4, 4)
    assert story["pass_energy"].notnull().all()


# Certificates


def test_saddles_carry_their_certificates(neural):
    potential, _, story = neural
    assert story.sizes["saddle"] >= 3
    stiff = abs(story["saddle_curvature"]).max("latent").clip(min=1.0)
    assert bool((story["saddle_gradient_norm"] < 1e-6 * stiff).all())
    assert ((story["saddle_curvature"] < 0).sum("latent") == 1).all()
    assert bool((story["saddle_curvature"].diff("latent") >= 0).all())
    assert bool((story["saddle_energy"].diff("saddle") >= 0).all())
    exact, points = in_double(potential), torch.as_tensor(story["saddle_position"].values)
    np.testing.assert_allclose(story["saddle_energy"], exact(points).detach(), rtol=1e-12)


def test_both_sides_lead_to_the_named_states_by_an_independent_solver(neural):
    potential, wells, story = neural
    exact = in_double(potential)

    def downhill(_, z):
        return -exact.gradient(torch.as_tensor(z[None]))[0].detach().numpy()

    for place, ends in zip(story["saddle_position"].values, story["saddle_states"].values, strict=True):
        matrix = torch.autograd.functional.hessian(exact, torch.as_tensor(place)).numpy()
        kick = 1e-2 * np.linalg.eigh(matrix)[1][:, 0]
        last = [solve_ivp(downhill, (0, 50), place + side * kick, "LSODA", rtol=1e-6).y[:, -1] for side in (-1, 1)]
        apart = np.linalg.norm(wells["minimum_position"].values - np.array(last)[:, None], axis=-1)
        assert apart.min(1).max() < 1e-3
        assert set(wells["minimum_state"].values[apart.argmin(1)]) == set(ends)


def test_the_highest_image_of_a_string_is_no_saddle_yet(mueller_brown):
    wells, story = mueller_brown
    exact = in_double(nld.MuellerBrown())
    centres = torch.as_tensor(wells["position"].values[nearest(wells, PLACES)])
    tops, _ = module._tops(exact, strings.bent(centres[:2], centres[1:], 41)[:2])
    saddle = torch.as_tensor(story["saddle_position"].values)
    assert torch.cdist(saddle, tops.detach()).min() > 1e-4
    assert exact.gradient(tops).norm(dim=-1).min() > 1e-3


# Paths


def test_paths_run_from_minimum_over_saddle_to_minimum(mueller_brown, triangle):
    for wells, story in (mueller_brown, triangle):
        path, energy = story["saddle_path"].values, story["saddle_path_energy"].values
        middle = path.shape[1] // 2
        ends = wells["position"].values[story["saddle_states"].values]
        np.testing.assert_allclose(path[:, [0, -1]], ends, atol=1e-12)
        np.testing.assert_allclose(path[:, middle], story["saddle_position"], atol=1e-12)
        assert (np.diff(energy[:, : middle + 1]) > 0).all()
        assert (np.diff(energy[:, middle:]) < 0).all()
        spacing = np.linalg.norm(np.diff(path, axis=1), axis=-1)
        for side in (spacing[:, :middle], spacing[:, middle:]):
            assert (side / side.mean(1, keepdims=True)).min() > 0.95  # chords cut the corners of arcs


def test_paths_follow_the_gradient(mueller_brown):
    """On a minimum-energy path ∇U has no component across; the chord between the minima is the control."""
    wells, _ = mueller_brown
    exact = in_double(nld.MuellerBrown())
    path = torch.as_tensor(saddles(exact, wells, images=201)["saddle_path"].values)
    share = torch.linspace(0, 1, 201).double().unsqueeze(-1)
    assert across(exact, path) < 0.02
    assert across(exact, path[:, :1] * (1 - share) + path[:, -1:] * share) > 0.2


def across(potential, path):
    """Median share of the gradient that points across a path."""
    tangent = path[:, 2:] - path[:, :-2]
    slope = potential.gradient(path)[:, 1:-1].detach()
    cosine = torch.cosine_similarity(tangent, slope, dim=-1)
    return float((1 - cosine.square()).clamp(min=0).sqrt().median())


# Tables


def test_barriers_scale_as_one_over_temperature(triangle):
    wells, warm = triangle
    potential = nld.GaussianWells(TRIANGLE, [0.5, 0.3, 0.2], 0.8)
    cold = saddles(potential, wells, temperature=0.25)
    np.testing.assert_allclose(cold["barrier"], 4 * warm["barrier"])
    np.testing.assert_allclose(cold["pass_energy"], warm["pass_energy"])


def test_pass_energies_are_ultrametric_and_no_higher_than_direct_saddles(neural, triangle):
    for wells, story in (neural[1:], triangle):
        route = story["pass_energy"].values
        direct = story["barrier"].values + wells["energy"].values[:, None]
        np.testing.assert_array_equal(route, route.T)
        for i, j, k in permutations(range(len(route)), 3):
            assert route[i, j] <= max(route[i, k], route[k, j])
        assert np.nanmin(direct - route) > -1e-12


def test_disconnectivity_joins_from_the_lowest_saddle_up(mueller_brown, neural):
    wells, story = mueller_brown
    top, middle, right = nearest(wells, PLACES)
    low, high = disconnectivity(story)
    assert low == (pytest.approx(-72.249, abs=1e-3), frozenset({middle, right}))
    assert high == (pytest.approx(-40.665, abs=1e-3), frozenset({top, middle, right}))
    _, wells, story = neural
    joins = disconnectivity(story)
    assert len(joins) == wells.sizes["state"] - 1
    assert [energy for energy, _ in joins] == sorted(energy for energy, _ in joins)
    assert len(joins[-1][1]) == wells.sizes["state"]


def test_one_well_has_no_saddle():
    wells, story = searched(nld.Quadratic([1.0, 2.0]), scattered(20, 2, 1.0), images=21)
    assert story.sizes == {"saddle": 0, "latent": 2, "end": 2, "image": 21, "state": 1, "to": 1}
    assert story["barrier"].isnull().all()
    np.testing.assert_array_equal(story["pass_energy"], wells["energy"].values[:, None])
    assert disconnectivity(story) == []


def test_float32_modules_are_read_in_float64_and_left_alone(neural):
    potential, _, story = neural
    assert {str(array.dtype) for name, array in story.items() if name != "saddle_states"} == {"float64"}
    assert {parameter.dtype for parameter in potential.parameters()} == {torch.float32}
    assert all(parameter.grad is None for parameter in potential.parameters())


@pytest.mark.parametrize("images", [3, 40])
def test_a_path_needs_a_middle(triangle, images):
    with pytest.raises(nld.ShapeError, match=f"images must be odd and at least 5: got {images}"):
        saddles(nld.GaussianWells(TRIANGLE), triangle[0], images=images)
