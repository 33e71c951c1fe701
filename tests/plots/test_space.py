"""Pictures of force and energy in space: they show the numbers they are given, and the wells where they are."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import pyro_nld as nld
from pyro_nld import plots
from pyro_nld.landscape.projection import plane, project
from pyro_nld.plots.style import STATE_COLOURS

CENTRES = torch.tensor([[-1.5, 0.0, 0.0], [1.5, 0.0, 1.0], [0.0, 2.0, 0.0]])
WIDTH = 0.4


@pytest.fixture(scope="module")
def scene():
    """Three round wells in space: their prior, minima, and points in every one."""
    prior = nld.OverdampedLangevin(nld.GaussianWells(CENTRES, widths=WIDTH))
    draw = torch.Generator().manual_seed(0)
    points = CENTRES.repeat(200, 1) + WIDTH * torch.randn(600, 3, generator=draw)
    return prior, points, nld.landscape.minima(prior.potential, points)


def shown(figure):
    figure.canvas.draw()
    return figure.axes[0]


def test_arrows_point_along_the_force(scene):
    prior, points, wells = scene
    (drawn,) = [part for part in shown(plots.arrows(prior.force, points, wells)).collections if hasattr(part, "U")]
    view = plane(points, wells)
    where = torch.as_tensor(nld.landscape.lift(view, drawn.get_offsets()), dtype=torch.float32)
    expected = prior.force(where).numpy() @ view["axes"].values.T
    cosine = (expected * np.stack([drawn.U, drawn.V], -1)).sum(-1) / np.linalg.norm(expected, axis=-1)
    np.testing.assert_allclose(cosine, 1.0, atol=1e-4)
    np.testing.assert_allclose(drawn.get_array(), np.linalg.norm(expected, axis=-1), rtol=1e-3)


def test_every_well_is_marked_in_space(scene):
    prior, points, wells = scene
    axes = shown(plots.arrows(prior.force, points, wells, axes=3))
    places = project(plane(points, wells, 3), wells["position"].values)
    marks = {text.get_text().strip(): np.array(text.get_position_3d()) for text in axes.texts}
    for state, place in enumerate(places):
        np.testing.assert_allclose(marks[str(state)], place, atol=1e-5)


def test_lines_of_flow_end_in_the_well_of_their_colour(scene):
    prior, points, wells = scene
    axes = shown(plots.streamlines(prior.force, points, wells, axes=3))
    (lines,) = [part for part in axes.collections if type(part).__name__ == "Line3DCollection"]
    view = plane(points, wells, 3)
    home = nld.landscape.basins(prior.potential, wells, points[: len(lines.get_color())]).tolist()
    assert [to_hex(shade).upper() for shade in lines.get_color()] == [STATE_COLOURS[state] for state in home]
    ends = np.array([line[-1] for line in lines._segments3d])
    apart = np.linalg.norm(ends - project(view, wells["position"].values)[home], axis=-1)
    assert apart.max() < 0.1


def test_the_plane_of_the_minima_has_lines_everywhere(scene):
    prior, points, wells = scene
    axes = shown(plots.streamlines(prior.force, points, wells))
    assert {text.get_text() for text in axes.texts} == {"0", "1", "2"}
    assert len(axes.collections[0].get_segments()) > 300


def test_a_field_without_wells_can_be_drawn(scene):
    _, points, _ = scene
    for axes in (2, 3):
        shown(plots.arrows(lambda z: z.roll(1, -1), points, axes=axes))
        shown(plots.streamlines(lambda z: z.roll(1, -1), points, axes=axes))


def test_the_surface_lies_at_the_energy(scene):
    prior, points, wells = scene
    axes = shown(plots.surface(prior.potential, points, wells, temperature=2.0))
    drawn = axes.collections[0]
    vertices = drawn._faces[~np.broadcast_to(drawn._invalid_vertices, drawn._faces.shape[:2])]
    lifted = torch.as_tensor(nld.landscape.lift(plane(points, wells), vertices[:, :2]), dtype=torch.float32)
    height = (prior.potential(lifted).numpy() - float(wells["energy"].min())) / 2.0
    np.testing.assert_allclose(vertices[:, 2], np.minimum(height, 12), atol=0.01)


def test_an_isosurface_of_a_round_well_is_a_ball(scene):
    """At a level L above a harmonic well, ½ r²/w² = L."""
    prior, points, wells = scene
    axes = shown(plots.isosurface(prior.potential, points, wells, level=0.5))
    centres = project(plane(points, wells, 3), wells["position"].values)
    for line in axes.lines:
        outline = np.stack(line.get_data_3d(), -1)
        state = int(np.linalg.norm(outline.mean(0) - centres, axis=-1).argmin())
        radius = np.linalg.norm(outline - centres[state], axis=-1)
        np.testing.assert_allclose(radius, WIDTH, rtol=0.08)
        assert to_hex(line.get_color()).upper() == STATE_COLOURS[state]


@pytest.mark.parametrize(("latent", "names"), [(1, 0), (2, 3), (3, 6)])
def test_the_gallery_holds_what_the_axes_allow(scene, latent, names):
    potential = nld.Quadratic(torch.ones(latent))
    points = torch.randn(50, latent)
    found = plots.gallery(
        nld.OverdampedLangevin(potential).force, potential, points, nld.landscape.minima(potential, points)
    )
    assert len(found) == names


def test_space_needs_three_axes():
    potential = nld.Quadratic([1.0, 1.0])
    points = torch.randn(50, 2)
    with pytest.raises(nld.ShapeError, match=r"3 axes needs as many latent ones: got 2"):
        plots.isosurface(potential, points, nld.landscape.minima(potential, points))
