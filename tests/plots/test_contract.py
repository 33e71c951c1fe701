"""What every figure keeps: it is drawn from Datasets alone, has words on its axes, and leaves the rest as it was.

A new figure gets a line in `MEMBERS`, with what it is drawn from, and inherits every test.
"""

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import pyro_nld as nld
from pyro_nld import plots

CENTRES = torch.tensor([[-1.5, 0.0], [1.5, 0.0], [0.0, 2.0]])
POTENTIAL = nld.GaussianWells(CENTRES, [0.5, 0.3, 0.2], widths=0.45)
POINTS = CENTRES.repeat(50, 1) + 0.3 * torch.randn(150, 2, generator=torch.Generator().manual_seed(0))


def wells():
    """Three wells with their occupancies and the saddles between them, as `Fit.landscape()` has them."""
    found = nld.landscape.minima(POTENTIAL, POINTS)
    shares = {f"occupancy_{name}": ("state", np.array([0.5, 0.3, 0.2])) for name in ("energy", "harmonic", "data")}
    return found.merge(nld.saddles.saddles(POTENTIAL, found)).assign(shares).assign_attrs(temperature=1.0)


def history():
    """What `Fit.history` holds."""
    falling = ("step", 1.0 / (1 + np.arange(40)))
    names = ("log_likelihood", "path_kl", "initial_kl", "global_kl", "gradient_norm", "learning_rate", "seconds")
    return xr.Dataset(dict.fromkeys(names, falling))


def segments():
    """One sequence of two channels and its segmentation."""
    label = np.arange(12)[None] // 4
    probability = np.where(label[..., None] == np.arange(3), 0.8, 0.1)
    dims = ("sequence", "time")
    return xr.Dataset(
        {"probability": ((*dims, "state"), probability), "label": (dims, label), "times": (dims, np.arange(12.0)[None])}
    )


def observations():
    """Two channels of it."""
    return xr.DataArray(np.random.default_rng(0).normal(size=(1, 12, 2)), dims=("sequence", "time", "channel"))


MEMBERS = {
    "loss": (plots.loss, lambda: (history(),)),
    "energy": (plots.energy, lambda: (POTENTIAL, wells(), POINTS)),
    "passes": (plots.passes, lambda: (wells(),)),
    "segmentation": (plots.segmentation, lambda: (segments(), observations())),
}


@pytest.fixture(params=MEMBERS, ids=list(MEMBERS))
def member(request):
    return MEMBERS[request.param]


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def wordless(figure):
    """Axes with something drawn that say neither what is shown nor along which axis."""
    drawn = [axes for axes in figure.axes if axes.axison and axes.has_data()]
    return [axes for axes in drawn if not (axes.get_xlabel() or axes.get_ylabel() or axes.get_title())]


def test_it_is_a_figure_that_can_be_drawn(member):
    figure, drawn_from = member
    drawn = figure(*drawn_from())
    assert isinstance(drawn, Figure)
    assert pixels(drawn).std() > 0


def test_it_says_what_it_shows(member):
    figure, drawn_from = member
    drawn = figure(*drawn_from())
    assert drawn.axes
    assert wordless(drawn) == []


def test_axes_without_words_are_seen():
    figure = Figure()
    figure.subplots().plot([0, 1])
    assert len(wordless(figure)) == 1


def test_it_opens_no_window_and_changes_no_setting(member):
    """A figure of pyplot would stay in memory and show up in a notebook twice."""
    figure, drawn_from = member
    before = dict(plt.rcParams)
    figure(*drawn_from())
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before


def test_it_shows_the_same_again_and_leaves_its_data_alone(member):
    figure, drawn_from = member
    data, untouched = drawn_from(), drawn_from()
    np.testing.assert_array_equal(pixels(figure(*data)), pixels(figure(*data)))
    for mine, theirs in zip(data, untouched, strict=True):
        if isinstance(mine, xr.Dataset | xr.DataArray):
            xr.testing.assert_identical(mine, theirs)


def test_it_is_saved_whole(member, tmp_path):
    figure, drawn_from = member
    plots.save(figure(*drawn_from()), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
