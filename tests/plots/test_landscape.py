"""Pictures: they show the numbers they are given, in every dimension, and are written whole or not at all."""

import numpy as np
import pytest
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld import plots
from pyro_nld.fitting.trainer import COLUMNS

CENTRES = {
    1: [[-1.5], [1.5]],
    2: [[-1.5, 0.0], [1.5, 0.0], [0.0, 2.0]],
    3: [[-1.5, 0.0, 0.0], [1.5, 0.0, 1.0], [0.0, 2.0, 0.0]],
}


@pytest.fixture(params=CENTRES)
def scene(request):
    """A landscape, its minima, points in every well, and a path."""
    centres = torch.tensor(CENTRES[request.param])
    potential = nld.GaussianWells(centres, widths=0.4)
    draw = torch.Generator().manual_seed(0)
    points = centres.repeat(200, 1) + 0.4 * torch.randn(200 * len(centres), request.param, generator=draw)
    return potential, nld.landscape.minima(potential, points), points, points[:50]


def history(steps=40):
    step = np.arange(steps)
    columns = dict.fromkeys(COLUMNS, ("step", 1.0 / (1 + step)))
    return xr.Dataset(columns | {"log_likelihood": ("step", -1.0 / (1 + step)), "global_kl": ("step", 0.0 * step)})


def labels_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_energy_is_that_of_the_potential_in_kT(scene):
    potential, wells, points, path = scene
    cold, warm = (
        plots.energy(potential, wells, points, path, temperature=t, resolution=20).axes[0] for t in (1.0, 2.0)
    )
    if points.shape[-1] == 1:
        heights = [axes.lines[0].get_ydata() for axes in (cold, warm)]
        np.testing.assert_allclose(heights[0], 2 * heights[1], rtol=1e-4, atol=1e-4)
        grid = torch.as_tensor(cold.lines[0].get_xdata(), dtype=torch.float32).unsqueeze(-1)
        expected = potential(grid).numpy() - float(wells["energy"].min())
        np.testing.assert_allclose(heights[0], expected, rtol=1e-3, atol=1e-3)
    assert "one sequence" in labels_of(cold)[-1]
    assert cold.get_title().startswith(f"{wells.sizes['state']} states")


def test_every_minimum_is_marked_where_it_is(scene):
    potential, wells, points, _ = scene
    axes = plots.energy(potential, wells, points, resolution=20).axes[0]
    places = nld.landscape.project(nld.landscape.plane(points, wells), wells["position"].values)
    marks = {text.get_text(): text.xy for text in axes.texts}
    for state, place in enumerate(places):
        assert marks[str(state)][0] == pytest.approx(place[0], abs=1e-6)


def test_one_state_is_called_one_state():
    potential, points = nld.Quadratic([1.0, 1.0]), torch.randn(100, 2)
    figure = plots.energy(potential, nld.landscape.minima(potential, points), points, resolution=20)
    assert figure.axes[0].get_title() == "one state"


def test_a_minimum_that_is_no_state_is_a_ring():
    """No picture shows two wells under the title of one."""
    potential, points = nld.DoubleWell(0.5), 1.5 * torch.randn(400, 1)
    wells = nld.landscape.minima(potential, points, min_barrier=1.0)
    assert (wells.sizes["state"], wells.sizes["minimum"]) == (1, 2)
    figure = plots.energy(potential, wells, points, resolution=20)
    assert figure.axes[0].get_title() == "one state; 1 more minimum (rings)"
    rings = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    (spoken_for,) = wells["position"].values[:, 0]
    assert [line.get_xdata()[0] for line in rings] == pytest.approx([-spoken_for], abs=1e-3)
    assert rings[0].get_ydata()[0] == pytest.approx(0.0, abs=1e-3)


def test_the_loss_shows_bound_and_terms():
    bound, divergence, optimiser = plots.loss(history()).axes
    elbo = next(line for line in bound.lines if line.get_label() == "ELBO")
    np.testing.assert_allclose(elbo.get_ydata(), -3.0 / (1 + np.arange(40)))
    assert labels_of(divergence) == ["path", "initial state"]  # a term that is always zero has no line
    assert labels_of(optimiser) == ["norm of the gradient", "learning rate"]


@pytest.mark.parametrize("steps", [0, 1])
def test_a_short_history_can_be_drawn(steps):
    plots.loss(history(steps)).canvas.draw()


@pytest.fixture(scope="module")
def landscape():
    """Three wells on a triangle, with saddles."""
    centres = torch.tensor(CENTRES[2])
    potential = nld.GaussianWells(centres, [0.5, 0.3, 0.2], widths=0.45)
    wells = nld.landscape.minima(potential, centres.repeat(20, 1))
    return wells.merge(nld.saddles.saddles(potential, wells)).assign_attrs(temperature=1.0)


def test_every_saddle_has_its_path_and_its_height(landscape):
    profile, tree = plots.passes(landscape).axes
    heights = sorted(float(text.get_text()) for text in profile.texts if "." in text.get_text())
    expected = landscape["saddle_energy"].values - float(landscape["energy"].min())
    np.testing.assert_allclose(heights, sorted(expected), atol=0.06)
    assert {text.get_text() for text in tree.texts} == {"0", "1", "2"}


def test_the_tree_joins_at_the_passes(landscape):
    tree = plots.passes(landscape).axes[1]
    lowest = float(landscape["energy"].min())
    joins = sorted({round(float(line.get_ydata()[1]), 3) for line in tree.lines if len(line.get_ydata()) == 4})
    passes = sorted(landscape["saddle_energy"].values - lowest)[:2]
    np.testing.assert_allclose(joins, passes, atol=2e-3)


def test_one_well_has_no_path():
    wells = nld.landscape.minima(nld.Quadratic([1.0, 2.0]), torch.randn(50, 2))
    landscape = wells.merge(nld.saddles.saddles(nld.Quadratic([1.0, 2.0]), wells)).assign_attrs(temperature=1.0)
    assert plots.passes(landscape).axes[0].get_title() == "no path: there is one state"


def test_a_picture_is_written_whole(tmp_path):
    target = tmp_path / "deep" / "loss.png"
    plots.save(plots.loss(history()), target)
    assert target.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in target.parent.iterdir()] == ["loss.png"]
