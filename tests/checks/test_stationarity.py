"""Every cause is named, in one sentence, where it is the cause, and stationary series are left in peace."""

import re

import numpy as np
import pytest
import xarray as xr
from signals import autoregressive, ring, telegraph, well

import pyro_nld as nld
from pyro_nld import ShapeError
from pyro_nld.checks import stationarity
from pyro_nld.io.series import from_arrays


@pytest.fixture
def draw(seed) -> np.random.Generator:
    return np.random.default_rng(seed)


def examined(x, labels=None, channels=None, sequences=None, times=None, unit="s"):
    x = x[None] if x.ndim == 2 else x
    observed = xr.DataArray(x, dims=("sequence", "time", "channel"))
    observed = observed if channels is None else observed.assign_coords(channel=channels)
    observed = observed if sequences is None else observed.assign_coords(sequence=sequences)
    times = np.tile(np.arange(float(x.shape[1])), (len(x), 1)) if times is None else times
    labels = labels[None] if labels is not None and labels.ndim == 1 else labels
    return stationarity.examine(observed, times, labels, unit)


def causes(found):
    return found.attrs["causes"].split("\n") if found.attrs["causes"] else []


STEADY = {
    "white": lambda draw: (draw.standard_normal((300, 1)), None),
    "five white channels": lambda draw: (draw.standard_normal((2000, 5)), None),
    "autoregressive, 40 times": lambda draw: (autoregressive(draw, 4000, 100), None),
    "short and autoregressive": lambda draw: (np.stack([autoregressive(draw, 60, 5) for _ in range(50)]), None),
    "skewed": lambda draw: (np.exp(0.7 * autoregressive(draw, 4000, 50)), None),
    "ring": lambda draw: (ring(draw, 4000), None),
    "telegraph, dwell of 100": lambda draw: telegraph(draw, 8000, (100.0, 100.0)),
    "telegraph, a rare state": lambda draw: telegraph(draw, 6000, (300.0, 20.0)),
    "double well": lambda draw: (well(draw, lambda x: -8 * x * (x * x - 1), 2000, 0.1), None),
}


@pytest.mark.parametrize("kind", STEADY)
def test_stationary_series_are_left_in_peace(draw, kind):
    for _ in range(4):
        found = examined(*STEADY[kind](draw))
        assert causes(found) == [], found.attrs["message"]
        assert found.attrs["verdict"] == "good"


def jumps(draw):
    return np.repeat([0.0, 3.0, 0.0], [150, 100, 150])[:, None] + 0.5 * draw.standard_normal((400, 1))


def halves(draw):
    """Three quarters of the first half in state 0, of the second half in state 1."""
    parts = [telegraph(draw, 3000, dwell) for dwell in ((60.0, 20.0), (20.0, 60.0))]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def shifted(draw):
    x = autoregressive(draw, 4000, 5)
    return x + np.where(np.arange(4000) < 2500, 0.0, 1.2)[:, None]


def taking_turns(draw):
    short = (np.arange(300) + np.cumsum(draw.random(300) < 0.1)) % 2
    return np.where(short, 2.0, 4.3)[:, None] + 0.35 * draw.standard_normal((300, 1))


def sine(draw):
    return np.sin(2 * np.pi * np.arange(2000) / 40)[:, None] + 0.3 * draw.standard_normal((2000, 1))


def held_once(draw):
    x = telegraph(draw, 4000, (30.0, 20.0))[0]
    x[2200:2300] = 4 + 0.2 * draw.standard_normal((100, 1))
    return x


UNSTEADY = {
    "lone visit": (
        held_once,
        "From 2200 s to 2299 s, and never again, the data hold a level of their own (channel d at ",
    ),
    "alternating": (taking_turns, "Successive observations of channel d alternate (correlation −0."),
    "trend": (
        lambda draw: np.linspace(0, 3, 1000)[:, None] + 0.5 * draw.standard_normal((1000, 1)),
        "Channel d follows a straight trend (+",
    ),
    "few changes": (jumps, "Channel d changes fewer than 10 times between the levels "),
    "random walk": (
        lambda draw: np.random.default_rng(0).standard_normal((3000, 1)).cumsum(0),
        "Channel d wanders like a random walk",
    ),
    "drift": (shifted, "The mean of channel d drifts from the first third to the last ("),
    "periodic": (sine, "Channel d repeats with a fixed period of 40 s:"),
    "discrete": (
        lambda draw: draw.integers(0, 2, (500, 1)).astype(float),
        "Channel d holds only 2 different values from 0 to 1:",
    ),
}


@pytest.mark.parametrize("cause", UNSTEADY)
def test_a_cause_is_named(draw, cause):
    series, words = UNSTEADY[cause]
    found = examined(series(draw), channels=["d"])
    assert causes(found) == [cause], found.attrs["message"]
    assert found.attrs["says"].startswith(words)
    assert found.attrs["verdict"] != "good"


@pytest.mark.parametrize("cause", UNSTEADY)
def test_one_sentence_names_all_channels_of_a_cause(draw, cause):
    series, _ = UNSTEADY[cause]
    one = series(draw)
    found = examined(np.concatenate([one, draw.standard_normal(one.shape), 2 * one], 1), channels=["a", "b", "c"])
    assert causes(found) == [cause]
    assert re.search(r"[Cc]hannels a and c" if cause != "lone visit" else "channel [ac]", found.attrs["says"])


def test_states_whose_share_of_time_drifts_are_named(draw):
    x, states = halves(draw)
    found = examined(x, states)
    assert "occupancy drift" in causes(found)
    assert re.search(r"The share of time in state 1 drifts .*\(0\.\d+ to 0\.\d+\)", found.attrs["message"])


def test_states_that_change_faster_than_the_sampling_are_named_in_one_sentence(draw):
    states = draw.integers(0, 2, 2000)
    found = examined(states[:, None] + 0.1 * draw.standard_normal((2000, 1)), states, unit="ms")
    assert causes(found) == ["too fast"]
    assert re.match(r"States 0 and 1 last [12]\.\d+ ms and [12]\.\d+ ms on average", found.attrs["says"])
    assert "by chance at observations 1 ms apart" in found.attrs["says"]


def test_recordings_that_never_meet_are_named(draw):
    places = np.array([0.0, 0.1, 3.0])
    x = places[:, None, None] + 0.3 * draw.standard_normal((3, 100, 1))
    found = examined(x, channels=["d"], sequences=["first", "second", "third"])
    assert causes(found) == ["disconnected"]
    assert "fall into 2 sets that share no values (first and second: d from" in found.attrs["says"]
    assert "no transition between them was ever seen" in found.attrs["says"]
    assert "longer than 99 s" in found.attrs["says"]
    x[2, :50] -= 3.0  # one that was seen to cross
    assert "disconnected" not in causes(examined(x))


def test_a_slow_two_state_system_is_not_called_a_random_walk_lightly(draw):
    said = [causes(examined(telegraph(draw, 4000, (800.0, 800.0))[0])) for _ in range(30)]
    assert sum("random walk" in some for some in said) <= 2
    assert sum("few changes" in some for some in said) >= 24


def test_a_random_walk_is_called_one(draw):
    said = [causes(examined(draw.standard_normal((1000, 1)).cumsum(0))) for _ in range(40)]
    assert sum("random walk" in some for some in said) >= 30  # 95 % but for trends


def test_pieces_that_follow_one_another_are_one_recording(draw):
    x = np.linspace(0, 3, 1000)[:, None] + 0.5 * draw.standard_normal((1000, 1))
    pieces = examined(x.reshape(10, 100, 1), times=np.arange(1000.0).reshape(10, 100))
    whole = examined(x)
    np.testing.assert_allclose(pieces["trend"].values, whole["trend"].values)
    assert causes(pieces) == ["trend"]


def test_missing_values_and_ends_do_not_matter(draw):
    x = np.stack([draw.standard_normal((400, 2)) for _ in range(6)])
    times = np.tile(np.arange(400.0), (6, 1))
    times[2, 100:], times[3, 1:] = np.nan, np.nan
    x[draw.random(x.shape) < 0.1] = np.nan
    x[np.isnan(times)] = np.nan
    x[..., 1] = np.nan  # a channel never seen
    found = examined(x, times=times)
    assert causes(found) == []
    assert np.isfinite(found["coming_back"].values[0])


def test_a_recording_of_a_few_observations_says_nothing():
    found = examined(np.array([[0.1], [0.7], [0.4]]))
    assert causes(found) == []


@pytest.mark.parametrize("cause", UNSTEADY)
def test_sentences_are_plain(draw, cause):
    message = examined(UNSTEADY[cause][0](draw), channels=["d"]).attrs["message"]
    assert not re.search(r"\b(inf|nan)\b|–|e[+-]\d\d", message)


def test_the_unit_of_a_channel_or_of_time_does_not_matter(draw):
    x, times = shifted(draw), np.arange(4000.0)[None]
    one, other = examined(x, times=times), examined(1e-6 * x + 7, times=1e9 * times)
    assert causes(one) == causes(other)
    np.testing.assert_allclose(one["drift"].values, other["drift"].values, rtol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_a_data_set_is_examined_with_its_own_names_and_unit(draw, shared):
    times = np.arange(2000.0) if shared else np.tile(np.arange(2000.0), (1, 1))
    data = from_arrays(times, sine(draw)[None]).assign_coords(channel=["d"]).assign_attrs(units="ms")
    found = stationarity.of_data(data)
    assert found.attrs["says"].startswith("Channel d repeats with a fixed period of 40 ms:")
    assert found["channel"].values.tolist() == ["d"]


def test_shapes_that_do_not_fit_are_refused():
    observed = xr.DataArray(np.zeros((2, 5, 1)), dims=("sequence", "time", "channel"))
    with pytest.raises(ShapeError, match=r"\(sequence, time\) = \(2, 5\): got \(2, 4\)"):
        stationarity.examine(observed, np.zeros((2, 4)))


def test_few_values_are_no_cause_where_they_are_fitted_as_such(draw):
    data = nld.datasets.from_arrays(np.arange(500.0), draw.integers(0, 2, (1, 500, 1)).astype(float))
    assert stationarity.of_data(data).attrs["causes"] == "discrete"
    assert stationarity.of_data(data, discrete=nld.Bernoulli(nld.LinearDecoder(1, 1)).discrete).attrs["causes"] == ""
    assert not nld.Channels(a=nld.Gaussian(nld.LinearDecoder(1, 1))).discrete
