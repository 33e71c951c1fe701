"""Pictures of kinetics: they show the numbers they are given."""

import numpy as np
import pytest
import xarray as xr

from pyro_nld import kinetics
from pyro_nld.plots import kinetics as timings


@pytest.fixture(scope="module")
def landscape():
    """Visits to three states, and two routes to their kinetics."""
    states = np.array([[0, 0, 1, 1, 2, 2, 0, 1, 0, 2, 2, 1]]).repeat(5, 0)
    counts = kinetics.count(states, np.arange(12.0)[None].repeat(5, 0), 3)
    routes = {"counted": kinetics.by_counting(counts), "simulated": kinetics.by_counting(counts)}
    table = kinetics.joined(routes).assign_attrs(interval=1.0)
    return xr.merge([table, counts.drop_vars("exits").drop_dims("lag")], combine_attrs="drop_conflicts")


def test_survival_counts_cut_visits_as_long_as_they_were_seen():
    """Kaplan and Meier by hand: 4 at risk, one ends at 1; 3 left, one is cut at 2; 2 left, one ends at 3."""
    times, left = timings._survival(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 0, 1, 0]))
    assert times.tolist() == [0.0, 1.0, 3.0]
    np.testing.assert_allclose(left, [1.0, 0.75, 0.375])


def test_dwell_times_stand_beside_their_laws(landscape):
    for state, axes in enumerate(timings.dwell(landscape).axes):
        law = next(line for line in axes.lines if line.get_label() == "counted")
        mean = float(landscape["dwell"].sel(route="counted")[state])
        np.testing.assert_allclose(law.get_ydata(), np.exp(-law.get_xdata() / mean))


def test_rates_that_agree_stand_on_the_line(landscape):
    (axes,) = timings.rates(landscape).axes
    points = next(line for line in axes.lines if line.get_label() == "simulated")
    np.testing.assert_allclose(points.get_xdata(), points.get_ydata())


def test_timescales_are_drawn_at_their_lags_in_the_users_time(landscape):
    figure = timings.timescales(landscape.assign_attrs(interval=0.5))
    assert [axes.get_title() for axes in figure.axes] == ["process 1", "process 2"]
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(drawn) == 2
    np.testing.assert_allclose(drawn[0].get_xdata(), 0.5 * landscape["lag"].values)


def test_one_well_has_no_timescale(landscape):
    figure = timings.timescales(landscape.isel(mode=slice(0, 0)))
    assert not figure.axes[0].lines
