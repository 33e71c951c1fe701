"""New data in the terms of the old: channels by name, units, origins; and a word where values lie far outside."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.errors import DataError, DoubtfulDataWarning, ShapeError
from pyro_nld.io import centred, from_arrays, matched
from pyro_nld.io.matching import names_of

DRAW = np.random.default_rng(5)
TIMES, X = np.arange(20.0), DRAW.normal(size=(3, 20, 2)) * [1.0, 100.0]


def named(*channels: str, x: np.ndarray = X, **coords: list[str]) -> xr.Dataset:
    data = from_arrays(TIMES, x).assign_coords(channel=list(channels))
    return data.assign_coords({name: ("channel", values) for name, values in coords.items()})


def test_channels_are_put_in_the_order_of_the_fit() -> None:
    fitted, swapped = named("a", "b"), named("b", "a", x=X[..., ::-1])
    xr.testing.assert_identical(matched(swapped, fitted), fitted)
    xr.testing.assert_identical(matched(fitted, fitted), fitted)


def test_channels_that_the_fit_lacks_are_left_out() -> None:
    more = named("b", "c", "a", x=np.stack([X[..., 1], X[..., 0] + 7, X[..., 0]], -1))
    xr.testing.assert_identical(matched(more, named("a", "b")), named("a", "b"))


def test_case_and_marks_do_not_matter() -> None:
    np.testing.assert_array_equal(matched(named("B", "A ", x=X[..., ::-1]), named("a", "b"))["observations"], X)


def test_a_channel_that_is_missing_is_named() -> None:
    with pytest.raises(
        DataError, match=r"the data need the channels of the fit, a, b: they have a, c\. Name b alike\."
    ):
        matched(named("a", "c"), named("a", "b"))


def test_without_names_the_order_counts() -> None:
    bare = from_arrays(TIMES, X)
    assert matched(bare, named("a", "b")) is bare
    np.testing.assert_array_equal(matched(named("b", "a"), bare)["observations"], X)


def test_times_are_converted_into_the_unit_of_the_fit() -> None:
    hours, minutes = named("a", "b").assign_attrs(units="h"), named("a", "b").assign_attrs(units="min")
    found = matched(minutes, hours)
    np.testing.assert_allclose(found["time"], TIMES / 60)
    assert found.attrs["units"] == found["time"].attrs["units"] == "h"
    own = from_arrays(np.tile(TIMES, (3, 1)) + np.arange(3)[:, None], X).assign_attrs(units="d")
    np.testing.assert_allclose(matched(own, hours)["times"], 24 * own["times"])


def test_units_that_cannot_be_converted_are_doubted() -> None:
    fitted, other = named("a", "b", unit=["mV", "pA"]), named("a", "b", unit=["V", "pA"])
    with pytest.warns(DoubtfulDataWarning, match=r"channel a is in V, and was in mV in the fit\. Convert it"):
        matched(other, fitted)
    with pytest.warns(DoubtfulDataWarning, match=r"time is in frames, and was in s in the fit\."):
        matched(named("a", "b").assign_attrs(units="frames"), named("a", "b").assign_attrs(units="s"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matched(named("a", "b", unit=["", "pA"]), fitted)


def test_values_count_from_the_origin_of_the_fit() -> None:
    far = X + np.array([9192631770.0, 0.0])
    fitted = centred(named("a", "b", x=far))
    later = named("a", "b", x=far + np.array([35.0, 0.0]))
    assert fitted["origin"].values.tolist() == [9192631770.0, 0.0]
    for new in (later, centred(later)):
        found = matched(new, fitted)
        np.testing.assert_allclose(
            found["observations"] - fitted["observations"], [[[35.0, 0.0]]] * np.ones(X.shape), atol=1e-5
        )
        assert found["channel"].values.tolist() == ["a - 9192631770", "b"]
    back = matched(fitted, named("a", "b", x=far))
    np.testing.assert_allclose(back["observations"], far)
    assert names_of(back) == names_of(fitted) == ["a", "b"]


@pytest.mark.parametrize("origin", [0.0, 1e3, -1e4])
def test_channels_near_zero_are_left_alone(origin: float) -> None:
    data = named("a", "b", x=X + np.array([origin, 0.0]))
    assert centred(data) is data


def test_constant_and_empty_channels_have_no_origin() -> None:
    data = named("a", "b", x=np.stack([np.full(X.shape[:2], 1e12), np.full(X.shape[:2], np.nan)], -1))
    assert centred(data) is data


@pytest.fixture(scope="module")
def fit() -> nld.Fit:
    """Hardly fitted: what is tried is the door."""
    torch.manual_seed(0)
    prior = nld.OverdampedLangevin(nld.Quadratic(torch.ones(1)), temperature=1.0)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.LinearDecoder(1, 2), noise_scale=0.5))
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=4, hidden=4))
    return nld.fit(model, guide, named("a", "b").assign_attrs(units="h"), nld.Schedule(steps=2), progress=False)


def test_a_fit_knows_its_channels(fit: nld.Fit) -> None:
    times, x = fit.series(named("b", "a", x=X[..., ::-1]).assign_attrs(units="min"))
    torch.testing.assert_close(x, torch.as_tensor(X, dtype=x.dtype))
    torch.testing.assert_close(times[0], torch.as_tensor(TIMES / 60, dtype=x.dtype))
    with pytest.raises(DataError, match="they have a, c"):
        fit.series(named("a", "c"))
    with pytest.raises(ShapeError, match="expected 2, got 1"):
        fit.series((TIMES, X[..., :1]))


def test_a_fit_of_a_frame_knows_its_unit_of_time() -> None:
    """Days of hours are fitted, minutes are read: the same clock."""
    torch.manual_seed(0)
    prior = nld.OverdampedLangevin(nld.Quadratic(torch.ones(1)), temperature=1.0)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.LinearDecoder(1, 1), noise_scale=0.5))
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))
    hours, minutes = (pd.date_range("2021-03-01", periods=30, freq=freq) for freq in ("h", "min"))
    frame = pd.DataFrame({"a": DRAW.normal(size=30)}, index=hours)
    fitted = nld.fit(model, guide, frame, nld.Schedule(steps=2), progress=False)
    times, _ = fitted.series(pd.DataFrame({"b": 0.0, "a": DRAW.normal(size=30)}, index=minutes))
    torch.testing.assert_close(times[0], torch.arange(30) / 60)
    np.testing.assert_array_equal(fitted.times[0], np.arange(30))


def test_values_far_outside_what_was_fitted_are_doubted(fit: nld.Fit) -> None:
    with pytest.warns(
        DoubtfulDataWarning, match=r"channel a lie more than 5 standard deviations outside what was fitted, "
    ):
        fit.series((TIMES, X[..., ::-1].copy()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit.series((TIMES, 1.5 * X))
