"""The witness names what hops, with its time and levels, and nothing else: not what diffuses, not what states carry."""

import numpy as np
import pytest
import xarray as xr
from deeptime import data as simulators
from scipy.signal import lfilter
from signals import autoregressive, markov, ring, rows, telegraph, well

from pyro_nld import ShapeError
from pyro_nld.kinetics import testimony, witness

THREE = np.full((3, 3), 1 / 30) + 0.9 * np.eye(3)  # eigenvalue .9 twice
HOPS = -1 / np.log(0.9)  # its relaxation time, and that of two states with a dwell of 20 observations
SES = 5.0


@pytest.fixture
def draw(seed) -> np.random.Generator:
    return np.random.default_rng(seed)


def off(process, truth):
    """The distance of a time from the truth, as a rate, in standard errors."""
    rates = 1 / np.array([float(process[name]) for name in ("high", "time", "low")])
    return abs(rates[1] - 1 / truth) / ((rates[2] - rates[0]) / 2 / witness.INTERVAL)


def hopping(found):
    return found.isel(process=np.flatnonzero(found["kind"].values == "hopping"))


def three_levels(draw, length=8000):
    states = markov(draw, THREE, length)
    return rows(np.array([0.0, 1.0, 2.0])[states][:, None] + 0.2 * draw.standard_normal((length, 1))), states[None]


@pytest.mark.parametrize("noise", [0.1, 0.35])
def test_two_levels_in_one_state_are_named_with_time_and_levels(draw, noise):
    x, times = rows(telegraph(draw, 10_000, noise=noise)[0])
    found = witness.processes(x, times, channels=["extension"])
    one = hopping(found)
    assert one.sizes["process"] == 1
    assert found.attrs["verdict"] == "bad"
    assert off(one.isel(process=0), HOPS) < SES
    levels = np.sort(np.concatenate([one["from_level"].values[0], one["to_level"].values[0]]))
    np.testing.assert_allclose(levels, [0, 1], atol=0.06)
    assert "hops inside state 0 between" in found.attrs["message"]
    assert "in channel extension" in found.attrs["message"]


def test_noise_shortens_the_timescale_of_the_partition_and_not_that_of_the_process(draw):
    x, times = rows(telegraph(draw, 10_000, noise=0.5)[0])
    found = witness.processes(x, times)
    assert found["partition"].values[0, 0] < 0.5 * HOPS
    assert off(found.isel(process=0), HOPS) < SES


def test_levels_that_labels_merge_are_missed_and_named(draw):
    (x, times), states = three_levels(draw)
    found = witness.processes(x, times, np.minimum(states, 1), channels=["d"])
    one = hopping(found)
    assert one["state"].values.tolist() == [1]
    assert off(one.isel(process=0), HOPS) < SES
    np.testing.assert_allclose(
        sorted([one["from_level"].values[0, 0], one["to_level"].values[0, 0]]), [1, 2], atol=0.06
    )
    assert "inside state 1" in found.attrs["message"]
    assert "no pair of states carries it" in found.attrs["message"]
    carried = np.sort(found["carried"].values[1, :2])
    assert carried[0] < 0.2  # one of two processes
    assert carried[1] > 0.8


def test_levels_at_both_ends_that_labels_merge_are_found_although_they_never_meet(draw):
    (x, times), states = three_levels(draw)
    one = hopping(witness.processes(x, times, (states == 1).astype(int)))
    assert one["state"].values.tolist() == [0]
    np.testing.assert_allclose(
        sorted([one["from_level"].values[0, 0], one["to_level"].values[0, 0]]), [0, 2], atol=0.06
    )


def test_a_rare_state_that_both_labels_share_is_named(draw):
    """Two levels that switch fast are told; the second channel is raised 5 % of the time, in twelve visits."""
    fast, labels = telegraph(draw, 40_000, (8, 8))
    rare = np.zeros((40_000, 1))
    for begin in np.sort(draw.choice(39_000, 12, replace=False)):
        rare[begin : begin + draw.geometric(1 / 170)] = 1
    x = np.concatenate([fast, rare + 0.2 * draw.standard_normal(rare.shape)], -1)
    found = witness.processes(*rows(x), labels[None])
    assert found.attrs["verdict"] == "bad", found.attrs["message"]
    told = (labels + 2 * (rare[..., 0] > 0))[None]
    assert witness.processes(*rows(x), told).attrs["ok"] == 1


def test_labels_that_tell_all_levels_leave_nothing(draw):
    (x, times), states = three_levels(draw)
    found = witness.processes(x, times, states)
    assert found.attrs["verdict"] == "good"
    assert not len(hopping(found)["process"])
    assert found["carried"].values[1, :2].min() > 0.9
    np.testing.assert_allclose(found["states"].values[0], HOPS, rtol=0.25)


def test_a_well_known_double_well(draw):
    """deeptime's plane with two wells: exact relaxation 33.56 by a fine grid."""
    path = simulators.double_well_2d(h=1e-3, n_steps=200).trajectory([[-1.0, 0.0]], length=20_000, seed=5)
    path = np.asarray(path).reshape(-1, 2)
    times = 0.2 * np.arange(len(path))[None]
    found = witness.processes(path[None], times)
    one = hopping(found).isel(process=0)
    assert off(one, 33.56) < SES
    np.testing.assert_allclose(
        sorted([one["from_level"].values[0], one["to_level"].values[0]]), [-0.95, 0.95], atol=0.15
    )


NOTHING = {
    "white": lambda draw: draw.standard_normal((4000, 1)),
    "three white channels": lambda draw: draw.standard_normal((500, 3)),
    "autoregressive": lambda draw: autoregressive(draw, 4000, 20),
    "five autoregressive channels": lambda draw: autoregressive(draw, 4000, 20, 5),
    "autoregressive in noise": lambda draw: autoregressive(draw, 4000, 20) + 0.5 * draw.standard_normal((4000, 1)),
    "skewed": lambda draw: np.exp(0.7 * autoregressive(draw, 4000, 10)),
    "quartic": lambda draw: well(draw, lambda x: -4 * x**3, 3000, 0.2),
    "ring": lambda draw: ring(draw, 6000),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_nothing_hops_where_nothing_does(draw, kind):
    for _ in range(3):
        found = witness.processes(*rows(NOTHING[kind](draw)))
        assert found.attrs["verdict"] != "bad", found.attrs["message"]
        assert "state 0" not in found.attrs["message"]


def test_a_gaussian_process_is_diffusion_whatever_the_noise(draw):
    """Its canonical correlations are λ, λ², …: the gap is 2, and one state is a finding."""
    x = autoregressive(draw, 20_000, 20) + 0.5 * draw.standard_normal((20_000, 1))
    found = witness.processes(*rows(x))
    assert found.attrs["verdict"] == "good"
    assert "diffuses inside one well: nothing hops" in found.attrs["message"]
    assert abs(float(found["gap"][0]) - 2) < 0.5
    assert off(found.isel(process=0), 20.0) < SES


def test_a_ring_is_neither(draw):
    found = witness.processes(*rows(ring(draw, 20_000)))
    assert found["kind"].values[0] == "open"
    assert "the data do not tell" in found.attrs["message"]


def test_a_well_cut_in_two_by_labels_has_no_process_inside(draw):
    x, times = rows(autoregressive(draw, 4000, 20))
    assert witness.processes(x, times, (x[..., 0] > 0).astype(int)).attrs["verdict"] == "good"


def test_few_passages_and_few_observations_are_not_called_hopping(draw):
    x, times = rows(np.repeat([0.0, 1.0, 0.0, 1.0], 500)[:, None] + 0.1 * draw.standard_normal((2000, 1)))
    assert not len(hopping(witness.processes(x, times))["process"])
    x, times = rows(telegraph(draw, 900, (8.0, 8.0))[0])
    assert witness.processes(x, times).attrs["verdict"] == "doubtful"


def test_times_are_in_the_users_unit_and_pairs_do_not_span_pauses(draw):
    x, times = rows(telegraph(draw, 4000)[0])
    whole, scaled = witness.processes(x, times), witness.processes(x, 1e-3 * times)
    np.testing.assert_allclose(scaled["time"].values, 1e-3 * whole["time"].values)
    order = np.argsort(draw.random(40))
    pieces, clock = x.reshape(40, 100, 1)[order], (times.reshape(40, 100) % 100) + 1e4 * np.arange(40)[:, None]
    broken = witness.processes(pieces.reshape(1, -1, 1), clock.reshape(1, -1))  # pieces in no order, far apart
    assert off(hopping(broken).isel(process=0), HOPS) < SES


def test_pieces_of_a_recording_are_joined(draw):
    x, times = rows(telegraph(draw, 8000, (100.0, 100.0))[0])
    whole = witness.processes(x, times)
    pieces = witness.processes(x.reshape(80, 100, 1), times.reshape(80, 100), np.zeros((80, 100), int))
    np.testing.assert_allclose(pieces["time"].values, whole["time"].values)
    assert off(hopping(pieces).isel(process=0), -1 / np.log(0.98)) < SES


def test_sequences_of_different_lengths_and_missing_observations(draw):
    x, times = rows(*(telegraph(draw, 1000)[0] for _ in range(8)))
    times = np.where(np.arange(1000) < np.linspace(300, 1000, 8)[:, None], times, np.nan)
    x[draw.random(x.shape[:2]) < 0.05] = np.nan
    x[np.isnan(times)] = np.nan
    one = hopping(witness.processes(x, times))
    assert off(one.isel(process=0), HOPS) < SES
    assert np.isfinite(one["from_level"].values).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"same \(sequence, time\): got \(2, 5, 1\), \(2, 4\)"):
        witness.processes(np.zeros((2, 5, 1)), np.zeros((2, 4)))


@pytest.mark.parametrize("places", [1, 2, 3])
def test_few_distinct_places_have_few_processes(places, seed):
    """A partition cannot have more cells than there are places, nor more processes than cells less one."""
    draw = np.random.default_rng(seed)
    position = draw.integers(0, places, (4, 500, 1)).astype(float)
    found = witness.processes(position, np.broadcast_to(np.arange(500.0), (4, 500)))
    known = np.isfinite(found["partition"].values).any(0)
    assert known.sum() <= places - 1
    assert found.attrs["verdict"] == "good"


def left_as_one(draw, place):
    """From a first place into one of two others, ten times each, and back; these two never change into each other."""
    order = np.concatenate([[0, other] for other in draw.permutation([1, 2] * 10)])
    states = np.repeat(order, 1 + draw.exponential(np.where(order == 0, 1000, 60)).astype(int))
    return place[states] + 0.15 * draw.standard_normal((len(states), place.shape[1])), states


def test_two_places_in_one_state_that_are_left_as_one_are_named(draw):
    """Nothing hops inside the state that has both."""
    x, states = left_as_one(draw, np.array([[0, 0], [3, 0.45], [3, -0.45]]))
    one = hopping(witness.processes(*rows(x), np.minimum(states, 1)[None]))
    assert one["state"].values.tolist() == [1]
    ends = sorted([one["from_level"].values[0, 1], one["to_level"].values[0, 1]])
    np.testing.assert_allclose(ends, [-0.45, 0.45], atol=0.05)
    assert not len(hopping(witness.processes(*rows(x), states[None]))["process"])


def test_slow_diffusion_in_a_state_that_is_left_often_is_none(draw):
    """Another place along the first channel, and inside the second state a process as slow as its visits are long."""
    labels = telegraph(draw, 20_000, (1000, 100))[1]
    slow = lfilter([np.sqrt(1 - 0.97**2)], [1, -0.97], draw.standard_normal(20_000))
    x = np.stack([3 * labels, labels * slow], -1) + 0.3 * draw.standard_normal((20_000, 2))
    assert witness.processes(*rows(x), labels[None]).attrs["verdict"] == "good"


def process(ends):
    """A process that hops inside a state, between two levels of two channels."""
    return xr.Dataset(
        {
            "kind": ("process", ["hopping"]), "state": ("process", [0]), "time": ("process", [20.0]),
            "low": ("process", [15.0]), "high": ("process", [30.0]), "from_level": (("process", "channel"), [ends[0]]),
            "to_level": (("process", "channel"), [ends[1]]),
        },
        coords={"channel": ["x", "y"]},
    )  # fmt: skip


def test_a_process_between_two_equal_levels_is_not_told_as_two_levels():
    spread = np.array([1.0, 10.0])
    verdict, sentence = testimony.said(process([[0.0, 1.0], [0.05, 1.5]]), 1, spread)
    assert verdict == "bad"
    assert "hops inside state 0 between two ends with the same level in every channel" in sentence
    assert sentence.endswith("such as the size of the fluctuations in short windows.")
    _, apart = testimony.said(process([[0.0, 1.0], [0.05, 4.0]]), 1, spread)
    assert "hops inside state 0 between 1 and 4 in channel y" in apart
    assert "lower min_persistence" in apart
