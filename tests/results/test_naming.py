"""Names of channels and sequences, units and dates of the data stand on every result."""

import sys
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from pages import CENTRES, made

import pyro_nld as nld
from pyro_nld.io.inference_data import group
from pyro_nld.results.naming import named

MORNING = np.datetime64("2021-03-01T06:00:00")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A fit of known wells whose data have names, units and dates."""
    known = made(CENTRES, tmp_path_factory.mktemp("named"))
    channels, units = ["force", "extension"], ["pN", "nm"]
    data = known.data.assign_coords(
        channel=channels, unit=("channel", units), sequence=[f"bead {k}" for k in range(known.data.sizes["sequence"])]
    ).assign_attrs(units="s", time_origin="2021-03-01T06:00:00")
    about = xr.Dataset(coords=data.coords, attrs=data.attrs)
    fit = nld.Fit(known.fit.model, known.fit.guide, known.fit.times, known.fit.x, about=about)
    routes, fits = (sys.modules[f"pyro_nld.{name}"] for name in ("kinetics.routes", "results.fit"))
    with patch.object(routes, "LOOKS", (50, 60)), patch.object(fits, "CHAINS", 40):  # named here, not judged
        return fit, data, fit.landscape()


def test_slow_processes_are_told_with_the_names_of_channels(walked, monkeypatch):
    seen, found = [], nld.kinetics.witness.processes
    monkeypatch.setattr(
        nld.kinetics.witness, "processes", lambda *given, **more: seen.append(given[4]) or found(*given, **more)
    )
    walked[0].processes(np.zeros(walked[0].times.shape, int))
    assert seen == [["force", "extension"]]


def test_a_landscape_has_names_and_units(walked):
    fit, _, landscape = walked
    assert landscape["decoded"].sel(channel="force").dims == ("state",)
    assert landscape["unit"].values.tolist() == ["pN", "nm"]
    assert landscape["dwell"].attrs["units"] == landscape["visit_mean_low"].attrs["units"] == "s"
    assert landscape["rate"].attrs["units"] == landscape["rate_high"].attrs["units"] == "1/s"
    assert landscape["barrier"].attrs["units"] == "kT"
    assert landscape.attrs["units"] == "s"
    assert fit.wells()["decoded"].sel(channel="extension").sizes == {"state": landscape.sizes["state"]}


def test_a_landscape_without_names_has_none_but_kt(tmp_path_factory):
    walked = made(CENTRES, tmp_path_factory.mktemp("plain"))
    assert walked.landscape["barrier"].attrs == {"units": "kT"}
    assert walked.landscape["dwell"].attrs == {}


def test_segments_have_names_and_dates(walked):
    fit, data, landscape = walked
    found = nld.segment(fit, wells=landscape, draws=2)
    one = found.sel(sequence="bead 1")
    assert one["label"].dims == ("time",)
    assert found["times"].attrs["units"] == "s"
    passed = found["times"].values[0, :3]
    expected = MORNING + np.round(1e6 * passed).astype("timedelta64[us]")
    assert (found["date"].values[0, :3] == expected).all()
    other = nld.segment(fit, data.isel(sequence=[2], channel=[1, 0]), wells=landscape, draws=2)
    assert other["sequence"].values.tolist() == ["bead 2"]
    plain = nld.segment(fit, (fit.times[:2], fit.x[:2]), wells=landscape, draws=2)
    assert "sequence" not in plain.coords


def test_forecasts_have_names(walked):
    fit, _, landscape = walked
    ahead = nld.forecast(fit, 0.5, wells=landscape, draws=3)
    assert ahead["mean"].sel(channel="force", sequence="bead 0").dims == ("lead",)
    assert ahead["times"].attrs["units"] == "s"
    assert ahead["mean"].attrs == {}


def test_arviz_selects_by_name_and_time(walked):
    fit, data, landscape = walked
    results = fit.inference_data(
        draws=2, states=landscape, groups=["posterior", "posterior_predictive", "observed_data"]
    )
    predicted, posterior = group(results, "posterior_predictive"), group(results, "posterior")
    assert predicted["x"].sel(channel="force", sequence="bead 3").dims == ("chain", "draw", "time")
    if "time" in data.coords:
        assert posterior["z"].sel(time=float(data["time"][1]), method="nearest").sizes["draw"] == 2
    assert posterior["decoded"].sel(channel="extension").sizes["state"] == landscape.sizes["state"]
    assert posterior["dwell"].attrs["units"] == "s"


def test_tables_and_figures_say_units(walked):
    _, _, landscape = walked
    assert "level of force (pN)" in nld.tables.levels(landscape)
    assert "dwell counted (s)" in nld.tables.transitions(landscape)
    assert "mean (s)" in nld.tables.visits(landscape)
    assert nld.plots.dwell(landscape).axes[0].get_xlabel() == "time since entry (s)"
    assert nld.plots.rates(landscape).axes[0].get_xlabel() == "rate counted in the data (1/s)"


def test_pieces_of_a_recording_keep_their_dates():
    hours = pd.date_range("2021-03-01", periods=40, freq="h")
    data = nld.datasets.from_table(pd.DataFrame({"time": hours, "level": np.arange(40) % 5 / 3}))
    pieces = nld.datasets.cut(data, length=15)
    labels = xr.Dataset(
        {"label": (("sequence", "time"), np.zeros(pieces["times"].shape, int)), "times": pieces["times"]}
    )
    found = named(labels, xr.Dataset(coords=pieces.coords, attrs=pieces.attrs))
    whole = nld.datasets.joined(found, pieces)
    assert (whole["date"].values[0] == hours.values).all()
    assert whole["date"].dims == ("sequence", "time")
    assert "date" in whole.coords


@pytest.mark.parametrize(
    ("levels", "printed"),
    [
        ([9192631770.2, 9192631773.1], ["9192631770.2", "9192631773.1"]),
        ([0.2, 0.8], ["0.200", "0.800"]),
        ([51.0, 48.0], ["51.0", "48.0"]),
        ([1e-5, 1.002e-5], ["1.0000e-05", "1.0020e-05"]),
        ([0.5, 0.5], ["0.500", "0.500"]),
        ([0.0, 1e-4, 100.0], ["0.00", "0.000100", "100"]),
        ([np.nan, 2.0], ["–", "2.00"]),
    ],
)
def test_levels_have_as_many_digits_as_tell_them_apart(levels, printed):
    found = xr.Dataset({"decoded": (("state", "channel"), np.array(levels)[:, None])}, {"channel": ["f"]})
    rows = nld.tables.levels(found).splitlines()[1:]
    assert [row.split()[1] for row in rows] == printed


def test_a_fit_of_tensors_has_no_names(walked):
    fit = walked[0]
    plain = nld.Fit(fit.model, fit.guide, *map(torch.clone, (fit.times, fit.x)))
    assert "channel" not in plain.wells().coords
