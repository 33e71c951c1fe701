"""Known systems: their answers by independent means; criteria that a right reading meets and a wrong one does not."""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise, product

import numpy as np
import pytest
import systems
import xarray as xr
from known import criteria, recordings, wells
from scipy.special import gamma

import pyro_nld as nld
from pyro_nld import kinetics
from pyro_nld.io.series import cut_long
from pyro_nld.runs import summary
from pyro_nld.runs.model_files import load_model_file

RELAXATION = {
    "double_well_2d": [33.56],
    "triple_well_2d": [12.68, 1.338],
    "prinz_potential": [0.834, 0.1268, 0.0651],
    "triple_well_1d": [5293, 188.8],
}
"""By another grid, in the table of reference data of this project."""


@pytest.mark.parametrize("name", RELAXATION)
def test_relaxation_times_are_those_of_another_grid(name):
    found = wells.exact(wells.WELLS[name])["relaxation"].values[:-1]
    np.testing.assert_allclose(found, RELAXATION[name], rtol=5e-3)


@pytest.mark.parametrize("name", ["prinz_potential", "triple_well_1d"])
def test_weights_of_one_axis_are_those_of_quadrature(name):
    """The law is exp(∫f/D); its basins end where the force changes from negative to positive."""
    system = wells.WELLS[name]
    z = np.linspace(*system.box[0][:2], 20_001)
    force = np.array([float(system.make().f(0.0, np.array([point]))) for point in z])
    slope = force / system.diffusion
    exponent = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(z))])
    law = np.exp(exponent - exponent.max())
    ridge = np.flatnonzero((force[:-1] < 0) & (force[1:] > 0))
    expected = [part.sum() / law.sum() for part in np.split(law, ridge + 1)]
    np.testing.assert_allclose(wells.exact(system)["weight"], expected, atol=2e-3)


def test_wells_that_mirror_each_other_weigh_the_same():
    np.testing.assert_allclose(wells.exact(wells.WELLS["double_well_2d"])["weight"], 0.5, atol=1e-6)
    np.testing.assert_allclose(wells.exact(wells.WELLS["quadruple_well"])["weight"], 0.25, atol=1e-6)


def test_wells_of_a_sum_of_potentials_weigh_as_products():
    """U(x, y) = U₁(x) + U₂(y), so that w(left, low) w(right, high) = w(left, high) w(right, low)."""
    weight = wells.exact(wells.WELLS["quadruple_well_asymmetric"])["weight"].values
    assert weight[0] * weight[3] == pytest.approx(weight[1] * weight[2], rel=1e-3)


def test_processes_among_visited_states_are_those_of_their_basins_alone():
    """Without the rare well of three, the process between the others stays; all visited, it is the whole answer."""
    system = wells.WELLS["triple_well_1d"]
    answer = wells.exact(system)
    among = wells.relaxation_among(system, answer, np.array([False, True, True]))
    np.testing.assert_allclose(among, [188.8], rtol=5e-3)
    every = wells.relaxation_among(system, answer, np.ones(3, bool))
    np.testing.assert_allclose(every, answer["relaxation"][:-1], rtol=1e-6)


def test_a_state_that_is_never_visited_is_not_asked_for():
    data = wells.simulated("triple_well_1d", 0)  # seed 0 never enters the rare well
    assert len(data.attrs["relaxation"]) == 1
    assert "states" not in missed("triple_well_1d", reading(data, data["states"].values - 1))
    assert "states" in missed("triple_well_1d", reading(data, 0 * data["states"].values))


@pytest.mark.parametrize("name", wells.WELLS)
def test_a_recording_sees_inside_a_well_and_its_slowest_process(name):
    times = wells.exact(wells.WELLS[name])["relaxation"].values
    interval, frames = wells.sampling(times)
    assert times[-1] * 0.9 < interval < 4.4 * times[-1]
    assert 20_000 <= frames <= 60_000
    assert frames * interval > 8 * times[0]


def test_a_simulated_double_well_has_its_weights_and_relaxation_time():
    data = wells.simulated("double_well_2d", 0)
    exact, length = data.attrs["relaxation"][0], data.sizes["time"] * data.attrs["interval"]
    labels = data["states"].values
    error = np.sqrt(2 * exact / length)  # of τ, relative, and of a share of ½ twice as much as absolute
    assert abs((labels == 0).mean() - 0.5) < 5 * error / 2
    lag = round(exact / data.attrs["interval"])
    matrix = kinetics.transition_matrix(labels, 2, lag)
    found = kinetics.implied_timescales(matrix, lag * data.attrs["interval"])[0]
    assert found == pytest.approx(exact, rel=5 * error)
    hot = wells.exact(wells.WELLS["double_well_2d"]._replace(diffusion=0.5))["relaxation"].values[0]
    assert abs(found / hot - 1) > 5 * error


def test_the_curved_map_adds_ten_per_cent_of_noise():
    path = np.random.default_rng(0).standard_normal((4000, 2))
    y = wells.curved(np.concatenate([path, path]), np.random.default_rng(1))
    noise = (y[4000:] - y[:4000]).std(0) / np.sqrt(2)
    np.testing.assert_allclose(noise, 0.1 * y.std(0), rtol=5 / np.sqrt(2 * 4000) + 0.01)  # y.std has the noise in it


def test_a_curved_map_is_not_a_plane():
    path = np.random.default_rng(0).standard_normal((4000, 2))
    y = wells.curved(path, np.random.default_rng(1))
    plane = np.column_stack([path, np.ones(len(path))])
    left = y - plane @ np.linalg.lstsq(plane, y)[0]
    assert np.median(left.std(0) / y.std(0)) > 0.3


def dwell(data: xr.Dataset) -> np.ndarray:
    times = np.broadcast_to(data["time"].values, data["states"].shape)
    return criteria.dwell_of_labels(data["states"].values, times, 2)


def test_a_telegraph_signal_holds_for_its_dwell():
    data = recordings.telegraph(0)
    exits = data.sizes["time"] / 2 / 21.7
    np.testing.assert_allclose(dwell(data), 21.7, rtol=5 / np.sqrt(exits))


def test_an_ion_channel_opens_34_times():
    data = recordings.ion_channel(0)
    states = data["states"].values[0]
    assert (np.diff(states) == 1).sum() == 34
    assert states.mean() == pytest.approx(0.006, rel=5 / np.sqrt(34))
    assert dwell(data)[1] == pytest.approx(data.attrs["dwell"][1], rel=5 / np.sqrt(34))


def test_reaction_times_have_two_regimes():
    data = recordings.reaction_times(0)
    states, x = data["states"].values, data["observations"].values
    assert (states >= 0).sum() == 439
    for state, (level, right) in enumerate(zip((6.385, 5.510), (0.90, 0.53), strict=True)):
        rows = x[states == state]
        assert rows[:, 0].mean() == pytest.approx(level, abs=5 * 0.25 / np.sqrt(len(rows)))
        assert rows[:, 1].mean() == pytest.approx(right, abs=5 * 0.5 / np.sqrt(len(rows)))
    right = (data["smoothed"].values == states)[states >= 0].mean()
    assert 0.93 < right < 1


def test_the_smoother_is_that_of_all_paths():
    random = np.random.default_rng(0)
    density, initial = random.uniform(0.1, 1, (7, 2)), np.array([0.3, 0.7])
    chain = np.array([[0.8, 0.2], [0.35, 0.65]])
    expected = np.zeros((7, 2))
    for path in product(range(2), repeat=7):
        steps = [chain[here, to] for here, to in pairwise(path)]
        weight = initial[path[0]] * np.prod(steps) * np.prod(density[range(7), path])
        expected[range(7), path] += weight
    np.testing.assert_allclose(recordings.smoother(density, chain, initial), expected / expected.sum(-1, keepdims=True))


def correlation(x: np.ndarray, lag: int = 1) -> np.ndarray:
    x = x - x.mean(0)
    return (x[:-lag] * x[lag:]).mean(0) / (x**2).mean(0)


@pytest.mark.parametrize(("channels", "memory"), [(1, [10.0]), (2, [20.0, 5.0])])
def test_autoregressive_channels_forget_in_time(channels, memory):
    x = recordings.autoregressive(channels, 0)["observations"].values[0]
    decay = np.exp(-1 / np.array(memory))
    assert (np.abs(correlation(x) - decay) < 5 * np.sqrt((1 - decay**2) / len(x))).all()


def test_white_noise_has_no_memory():
    x = recordings.white_noise(0)["observations"].values[0]
    assert abs(correlation(x)) < 5 / np.sqrt(len(x))


def test_a_flat_quartic_is_as_wide_as_its_law():
    """⟨x²⟩ = 2 Γ(¾)/Γ(¼) under exp(−x⁴/4); the noise adds 1 %, and a value is forgotten in about one unit of time."""
    x = recordings.flat_quartic(0)["observations"].values
    expected = 2 * gamma(0.75) / gamma(0.25) * 1.01
    assert x.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / (x.size * 0.2)))


def test_a_skewed_channel_is_skewed():
    x = np.log(recordings.skewed(0)["observations"].values[0])
    assert x.std() == pytest.approx(0.7, rel=5 * np.sqrt(10 / len(x)))


def test_a_ring_has_every_angle_and_forgets_it_in_twenty():
    x = recordings.ring(0)["observations"].values[0]
    angle = np.arctan2(x[:, 1], x[:, 0])
    assert np.histogram(angle, 6)[0].min() > 0
    lag = 10
    found = np.cos(angle[lag:] - angle[:-lag]).mean()
    assert found == pytest.approx(np.exp(-lag / 20 - 0.01), abs=5 * np.sqrt(lag / len(x)))


def test_what_changes_changes_as_it_should():
    walk = np.diff(recordings.random_walk(0)["observations"].values[0, :, 0])
    assert walk.std() == pytest.approx(1, rel=5 / np.sqrt(2 * len(walk)))
    line = recordings.trend(0)["observations"].values[0, :, 0]
    slope = np.polyfit(np.linspace(0, 1, len(line)), line, 1)[0]
    assert slope == pytest.approx(10, abs=5 * np.sqrt(12 / len(line)))
    power = np.abs(np.fft.rfft(recordings.sine(0)["observations"].values[0, :, 0]))
    assert power.argmax() == 6000 / 50


@pytest.mark.parametrize("name", ["telegraph", "ring", "reaction_times"])
def test_a_seed_gives_the_same_data_and_another_gives_others(name):
    first, again, other = (recordings.made(name, seed, None)["observations"] for seed in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    assert not np.array_equal(first, other)


# Criteria


def reading(data: xr.Dataset, labels: np.ndarray, said: tuple[str, ...] = ()) -> criteria.Reading:
    """As if a fit had given these labels, and kinetics counted from them."""
    states = int(labels.max()) + 1
    times = data["times"].values if "times" in data else np.broadcast_to(data["time"].values, labels.shape)
    counted = kinetics.by_counting(kinetics.count(labels, times, states))
    routes = kinetics.joined({"counted": counted, "simulated": counted})
    segments = xr.Dataset({"label": (("sequence", "time"), labels), "times": (("sequence", "time"), times)})
    return criteria.Reading(routes.assign_attrs(kinetics_agree=1), segments, data, said)


def missed(name: str, read: criteria.Reading) -> set[str]:
    return {criterion.name for criterion in criteria.judge(name, read) if not criterion.met}


@pytest.mark.parametrize("name", ["telegraph", "ion_channel", "reaction_times"])
def test_true_labels_meet_every_criterion_in_any_numbering(name):
    data = recordings.made(name, 0, None)
    states = data["states"].values
    assert missed(name, reading(data, states)) == set()
    assert missed(name, reading(data, np.where(states >= 0, 1 - states, -1))) == set()


@pytest.mark.parametrize("name", ["telegraph", "ion_channel", "reaction_times"])
def test_one_state_where_there_are_two_meets_none_of_them(name):
    data = recordings.made(name, 0, None)
    assert "states" in missed(name, reading(data, np.minimum(data["states"].values, 0)))


def test_labels_that_flicker_are_told_by_their_dwell():
    data = recordings.telegraph(0)
    flickering = data["states"].values ^ (np.random.default_rng(0).random(data["states"].shape) < 0.05)
    assert {"dwell 0", "dwell 1"} <= missed("telegraph", reading(data, flickering))


def test_a_dwell_that_is_not_that_of_the_labels_is_told():
    data = recordings.telegraph(0)
    true = reading(data, data["states"].values)
    longer = true.landscape.assign(dwell=1.2 * true.landscape["dwell"])
    assert "dwell as the labels'" in missed("telegraph", criteria.Reading(longer, true.segments, data, ()))


def test_true_labels_of_wells_meet_what_is_asked_of_labels():
    data = wells.simulated("double_well_2d", 0)
    # A recrossing of the ridge within an observation is no visit: cores end it.
    assert missed("double_well_2d", reading(data, data["states"].values)) <= {"relaxation 1", "prior's relaxation 1"}
    assert "states" in missed("double_well_2d", reading(data, 0 * data["states"].values))


def test_observations_that_are_in_no_piece_are_left_out():
    data = recordings.telegraph(0)
    whole = reading(data, data["states"].values)
    part = whole.segments.isel(time=slice(500, None))
    fewer = criteria.Reading(whole.landscape, part, data, ())
    np.testing.assert_array_equal(fewer.known(), fewer.labels)
    np.testing.assert_array_equal(fewer.rows, data["observations"].values[0, 500:])


def test_a_false_state_and_a_missing_word_are_told():
    ring = recordings.ring(0)
    halves = (ring["observations"].values[..., 0] > 0).astype(int)
    assert missed("ring", reading(ring, halves)) == {"states"}
    assert missed("ring", reading(ring, 0 * halves)) == set()
    line = recordings.trend(0)
    doubtful = reading(line, np.zeros((1, line.sizes["time"]), int), ("There is a trend in channel 0.",))
    doubtful.landscape.attrs["kinetics_agree"] = 0
    assert missed("trend", doubtful) == set()
    silent = reading(line, np.zeros((1, line.sizes["time"]), int), ("There is one state.",))
    assert missed("trend", silent) == {"says", "verdict"}


def test_dwell_of_labels_bridges_what_is_undecided_and_stops_at_the_end():
    labels = np.array([[0, -1, 0, 1, 1, 0, -1, -1]])
    times = np.array([[0.0, 1, 2, 3, 4, 5, 6, np.nan]])
    np.testing.assert_allclose(criteria.dwell_of_labels(labels, times, 2), [4, 2])


# All of them, small

SMALL = ("double_well_2d", "triple_well_1d", "reaction_times", "white_noise", "ring", "trend")
"""One of each kind; the others run with `make science`."""


@pytest.mark.filterwarnings("ignore")  # a fit of three steps has much to say of itself
@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    "name", [name if name in SMALL else pytest.param(name, marks=pytest.mark.science) for name in recordings.SYSTEMS]
)
def test_every_system_is_fitted_read_and_judged_at_smoke_size(name, tmp_path):
    """By the parts of the recipe. Nothing is found in three steps, but every number and every question is there."""
    make = recordings.SYSTEMS[name]
    data = make(0) if name == "reaction_times" else make(0, frames=600)
    pieces = cut_long(data)
    recipe = load_model_file(systems.ROOT / "models" / "my_data.py")
    model, guide = recipe.build(pieces, {"latent": 2, "decoder": "bent", "substeps": 2})
    fit = nld.fit(model, guide, pieces, nld.Schedule(steps=3, lead=0.5), progress=False)
    landscape = fit.landscape()
    read = criteria.Reading(landscape, nld.segment(fit, wells=landscape), data, ())
    asked = [criterion for criterion in criteria.judge(name, read) if criterion.name]
    assert "states" in {criterion.name for criterion in asked} or data.attrs["kind"] == "changing"
    file = tmp_path / "row.json"
    summary.write_json(file, systems.told(read) | {"criteria": [criterion._asdict() for criterion in asked]})
    kept = summary.read_json(file)
    assert sum(kept["shares"]) == pytest.approx(1)
    assert len(kept["levels"]) == kept["states"] == landscape.sizes["state"]


# Rows


@pytest.fixture
def folder(tmp_path):
    """Two rows: one met, one failed."""
    met = {"name": "states", "found": "1", "wanted": "1", "met": True}
    wrong = {"name": "states", "found": "2", "wanted": "1", "met": False}
    rows = [
        {"system": "ring", "seed": 0, "failed": "", "states": 1, "shares": [1.0], "criteria": [met]},
        {"system": "ring", "seed": 1, "failed": "", "states": 2, "shares": [0.5, 0.5], "criteria": [wrong]},
        {"system": "ring", "seed": 2, "failed": "stopped after 12 minutes"},
    ]
    for row in rows:
        file = tmp_path / "rows" / "ring" / f"{row['seed']}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        summary.write_json(file, row)
    return tmp_path


def arguments(folder, **options):
    usual = {"out": folder, "rows": folder, "data_folder": None, "again": False, "read": False}
    return argparse.Namespace(**usual | options)


def test_a_row_that_is_there_is_read_and_one_without_a_fit_is_left_out(folder):
    assert systems.row("ring", 1, arguments(folder))["states"] == 2  # nothing is fitted: no run directory appears
    assert not (folder / "runs").exists()
    assert systems.row("trend", 0, arguments(folder, read=True)) is None
    assert systems.row("ngrip", 0, arguments(folder)) is None  # no folder of recordings is given


def test_the_table_tells_every_seed_and_what_was_missed(folder):
    text = systems.table([systems.row("ring", seed, arguments(folder)) for seed in range(3)])
    assert "| ring | 3 | 1 of 3 | 1 2 – | states (1), failed (1) |" in text
    assert "states: 2 (1)" in text
    assert "stopped after 12 minutes" in text


@pytest.mark.usefixtures("brief")
def test_the_command_fits_reads_and_keeps_its_rows(tmp_path, monkeypatch):
    """At smoke size, which finds nothing, but makes every file; given again it makes none anew."""
    command = ["systems.py", "--out", str(tmp_path), "--system", "reaction_times", "--seeds", "1", "--budget", "smoke"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    systems.main()
    row = tmp_path / "rows" / "reaction_times" / "0.json"
    made = summary.read_json(row)
    assert made["failed"] == ""
    assert made["steps"] == 20
    assert {one["name"] for one in made["criteria"]} == {"states", "labels"}
    assert "| reaction_times | 1 |" in (tmp_path / "table.md").read_text()
    summary.write_json(row, made | {"states": 7})
    systems.main()
    assert summary.read_json(row)["states"] == 7  # kept
    monkeypatch.setattr(sys, "argv", [*command, "--read", "--again"])
    systems.main()
    assert summary.read_json(row)["states"] == made["states"]  # read anew
