"""Pictures of findings show the numbers they are given."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from pyro_nld import plots
from pyro_nld.checks import comparisons, diagnostics
from pyro_nld.checks.findings import finding
from pyro_nld.io.inference_data import to_inference_data


@pytest.fixture
def weights(seed):
    values = np.random.default_rng(seed).normal(size=(2, 64, 9))
    return to_inference_data({"sample_stats": xr.Dataset({"log_weight": (("chain", "draw", "sequence"), values)})})


def test_shapes_and_evidence_are_those_found(weights):
    found = diagnostics.guide(weights)
    (axes,) = plots.pareto_shapes(found).axes
    np.testing.assert_allclose(axes.lines[1].get_ydata(), found["pareto_shape"].values[1])
    found = diagnostics.evidence(weights)
    (axes,) = plots.evidence(found).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), found["bound"].values[0])


def test_a_statistic_outside_its_interval_stands_out():
    columns = {"observed": [0.0, 9.0], "mean": [0.1, 0.0], "low": [-1.0, -1.0], "high": [1.0, 1.0]}
    found = finding({name: ("statistic", values) for name, values in columns.items()}, "bad", "", statistic=["a", "b"])
    (axes,) = plots.statistics(found).axes
    inside, outside = axes.lines
    assert inside.get_ydata().tolist() == [1]
    assert outside.get_xdata().tolist() == [4.0]  # cut


def test_ranks_are_counted(seed):
    draw = np.random.default_rng(seed)
    dims = ("simulation", "route", "quantity")
    truth = draw.normal(size=(50, 1))
    table = xr.Dataset(
        {"rank": (dims, draw.integers(0, 100, (50, 2, 1))), "low": (dims, truth[:, None] + np.full((50, 2, 1), -1.0)),
         "high": (dims, truth[:, None] + np.ones((50, 2, 1))), "truth": (("simulation", "quantity"), truth)},
        {"route": ["variational", "corrected"], "quantity": ["temperature"]},
    )  # fmt: skip
    figure = plots.ranks(table)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["variational", "corrected"]
    figure.canvas.draw()


def test_every_finding_with_numbers_has_its_picture(weights, seed):
    draw = np.random.default_rng(seed)
    globals_ = xr.Dataset({"temperature": (("chain", "draw"), draw.lognormal(size=(2, 40)))})
    found = {"guide": diagnostics.guide(weights), "observations": finding({}, "skipped", "")}
    pictures = plots.checks(found, globals_, globals_.isel(chain=[0]))
    assert pictures.keys() == {"guide", "identifiability"}
    assert all(isinstance(figure, Figure) for figure in pictures.values())
    assert plots.checks(found, globals_, None).keys() == {"guide"}


def test_hypotheses_stand_in_order(seed):
    scores = np.random.default_rng(seed).normal(size=(3, 20)) + np.array([[0.0], [3.0], [1.0]])
    compared = comparisons.comparison(
        xr.DataArray(scores, dims=("model", "sequence"), coords={"model": ["a", "b", "c"]})
    )
    (axes,) = plots.comparison(compared).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["b", "c", "a"]
