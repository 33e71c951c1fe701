"""Tables: labels matched with a truth, numbers that mean what their heading says."""

import numpy as np
import pytest
import xarray as xr

import pyro_nld as nld
from pyro_nld.checks import accuracy
from pyro_nld.report import tables


def segmented(labels, states=3, online=0, times=None):
    labels = np.asarray(labels)
    probability = (labels[..., None] == np.arange(states)).astype(float)
    times = np.broadcast_to(np.arange(labels.shape[-1], dtype=float), labels.shape) if times is None else times
    return xr.Dataset(
        {
            "probability": (("sequence", "time", "state"), probability),
            "label": (("sequence", "time"), labels),
            "times": (("sequence", "time"), times),
        },
        attrs={"online": online, "draws": 1},
    )


def truth(states, **more):
    return xr.Dataset({"states": (("sequence", "time"), np.asarray(states))} | more)


STORY = xr.Dataset(
    {
        "energy": ("state", [-2.0, -1.0]),
        "curvature": (("state", "latent"), [[1.0, 4.0], [2.0, 6.0]]),
        "occupancy_data": ("state", [0.7, 0.3]),
        "occupancy_energy": ("state", [0.75, 0.25]),
        "occupancy_harmonic": ("state", [0.72, 0.28]),
        "occupancy_anharmonic": ("state", [0.71, 0.29]),
        "occupancy_sampled": ("state", [0.74, 0.26]),
        "occupancy_rhat": ("state", [1.004, 1.002]),
        "occupancy_ess": ("state", [812.4, 950.0]),
        "dwell": (("route", "state"), [[12.34, np.inf], [10.0, 1234.0]]),
        "dwell_low": (("route", "state"), [[11.0, 30.0], [9.0, np.nan]]),
        "dwell_high": (("route", "state"), [[13.0, np.nan], [11.0, np.nan]]),
        "stationary_low": (("route", "state"), [[0.66, 0.26], [np.nan, np.nan]]),
        "stationary_high": (("route", "state"), [[0.74, 0.34], [np.nan, np.nan]]),
        "relaxation": (("route", "mode"), [[6.31], [8.0]]),
        "relaxation_low": (("route", "mode"), [[5.0], [np.nan]]),
        "relaxation_high": (("route", "mode"), [[7.0], [np.nan]]),
        "barrier": (("state", "to"), [[np.nan, 4.5], [2.5, np.nan]]),
        "route": ["counted", "simulated"],
    },
    attrs={"temperature": 0.5, "max_curvature_step": 0.31, "ok": 0, "substeps": 5, "substeps_needed": 8},
)


def test_states_are_matched_whatever_their_numbers():
    found, true = np.array([2, 2, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2, 0])
    assert accuracy.match(found, true, 3).tolist() == [1, 2, 0]


def test_unknown_labels_do_not_decide_a_match():
    assert accuracy.match(np.array([0, -1, -1, 1]), np.array([1, 0, 0, -1]), 2).tolist() == [1, 0]


def test_a_state_too_many_has_no_partner():
    assert sorted(accuracy.match(np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1]), 3).tolist()) == [-1, 0, 1]


def test_accuracy_counts_known_times_and_an_undecided_label_as_wrong():
    score = accuracy.score(segmented([[0, 0, 1, -1], [1, 1, 1, 1]], 2), truth([[1, 1, 0, 0], [0, 0, -1, 1]]))
    assert float(score["accuracy"]) == pytest.approx(5 / 7)
    assert float(score["spread"]) == pytest.approx((3 / 4 - 2 / 3) / 2)
    assert score["states"].values.tolist() == [[0, 0, 1, 1], [1, 1, -1, 0]]


def test_true_occupancies_come_in_the_numbers_of_the_found_states():
    law = ("law", np.array([0.2, 0.8]))
    assert accuracy.score(segmented([[0, 1]], 2), truth([[1, 0]], occupancy=law))["occupancy"].values.tolist() == [
        0.8,
        0.2,
    ]
    assert accuracy.score(segmented([[0, 0, 1]], 2), truth([[1, 1, 0]]))["occupancy"].values == pytest.approx(
        [2 / 3, 1 / 3]
    )


def test_there_is_no_score_without_a_truth():
    assert accuracy.score(segmented([[0, 1]]), xr.Dataset()) is None
    assert accuracy.score(segmented([[0, 1]]), truth([[-1, -1]])) is None


@pytest.mark.parametrize("online", [0, 1])
def test_the_best_possible_is_the_exact_posterior(online):
    data = nld.datasets.three_state(sequences=5, steps=40, seed=0)
    labels = nld.oracles.hmm_posterior(data, online=bool(online))["label"].values
    score = accuracy.score(segmented(labels, online=online), data)
    assert float(score["best"]) == float(score["accuracy"]) > 0.98


def test_a_table_of_states_has_a_row_each():
    head, first, second = tables.states(STORY).splitlines()
    assert (
        " ".join(head.split())
        == "state U/T in the data sampled by energy harmonic anharmonic 90 % of counts curvature/T"
    )
    assert first.split() == [
        "0",
        "0.00",
        "0.700",
        "0.740",
        "0.750",
        "0.720",
        "0.710",
        "0.660",
        "…",
        "0.740",
        "2.0",
        "…",
        "8.0",
    ]
    assert second.split() == [
        "1",
        "2.00",
        "0.300",
        "0.260",
        "0.250",
        "0.280",
        "0.290",
        "0.260",
        "…",
        "0.340",
        "4.0",
        "…",
        "12.0",
    ]
    assert len(head) == len(first) == len(second)


def test_levels_are_those_of_the_channels_that_differ_most():
    landscape = STORY.assign(decoded=(("state", "channel"), [[0.01234, 7.0], [-3.5, 7.0]]))
    head, first, second = tables.levels(landscape.assign_coords(channel=["current (pA)", "light"])).splitlines()
    assert head == "state  level of current (pA)  level of light"
    assert (first.split(), second.split()) == (["0", "0.0123", "7.00"], ["1", "-3.50", "7.00"])
    wide = STORY.assign(decoded=(("state", "channel"), np.outer([1, -1], [0.1, 5, 1, 4, 2, 3, 0.2, 6])))
    assert tables.levels(wide).splitlines()[0].split("level of ")[1:] == ["1  ", "2  ", "3  ", "4  ", "5  ", "7"]


def test_a_level_is_the_mean_of_the_rows_beside_the_minimum():
    landscape = STORY.assign(
        decoded=(("state", "channel"), [[0.1], [0.9]]), level=(("state", "channel"), [[0.2], [0.8]])
    ).assign_coords(channel=["force"])
    head, first, second = tables.levels(landscape).splitlines()
    assert head == "state  level of force  force at its minimum"
    assert (first.split(), second.split()) == (["0", "0.200", "0.100"], ["1", "0.800", "0.900"])
    wide = STORY.assign(
        {name: (("state", "channel"), np.outer([1.0, -1.0], range(1, 5))) for name in ("decoded", "level")}
    )
    assert "minimum" not in tables.levels(wide)


def test_findings_name_errors_and_the_cure_of_the_step():
    score = accuracy.score(segmented([[0, 0, 0, 1]], 2, online=1), truth([[0, 0, 1, 1]]))
    text = tables.findings(STORY, score)
    assert "75.00 % right (online)" in text
    assert "0.400 in the data, 0.480 sampled, 0.500 by energy, 0.440 harmonic" in text
    assert "curvature × step 0.310: too coarse; substeps=8 would do" in text
    assert "r̂ 1.004, 812 effective draws: mixed" in text
    apart = STORY.assign(occupancy_rhat=("state", [1.3, 1.002]))
    assert "r̂ 1.300, 812 effective draws: not mixed" in tables.findings(apart)
    assert "0.110: fine" in tables.findings(STORY.assign_attrs(max_curvature_step=0.11, ok=1))


def test_a_table_of_transitions_has_a_dash_where_nothing_is_known():
    head, first, second = tables.transitions(STORY).splitlines()
    assert " ".join(head.split()) == "state dwell counted dwell simulated 90 % of counts kT to 0 kT to 1"
    assert first.split() == ["0", "12.3", "10.0", "11.0", "…", "13.0", "–", "4.50"]
    assert second.split() == ["1", "–", "1.23e+03", "30.0", "…", "–", "2.50", "–"]


def test_barriers_and_occupancies_have_their_intervals_where_they_are_known():
    known = STORY.assign(
        barrier_low=STORY["barrier"] - 0.5, barrier_high=STORY["barrier"] + 0.25,
        occupancy_low=("state", [0.625, 0.125]), occupancy_high=("state", [0.875, 0.375]),
    )  # fmt: skip
    head, first, _ = tables.transitions(known).splitlines()
    assert " ".join(head.split()).endswith("kT to 0 90 % of kT to 0 kT to 1 90 % of kT to 1")
    assert first.split()[-7:] == ["–", "…", "–", "4.50", "4.00", "…", "4.75"]
    assert "90 % of U" in tables.states(known).splitlines()[0]
    assert "0.625 … 0.875" in tables.states(known)
    assert "of U" not in tables.states(STORY)


def test_a_table_of_relaxations_has_a_row_per_process():
    head, row = tables.relaxations(STORY).splitlines()
    assert " ".join(head.split()) == "process relaxation counted relaxation simulated 90 % of counts"
    assert row.split() == ["1", "6.31", "8.00", "5.00", "…", "7.00"]


def test_a_verdict_is_read_out():
    alone = STORY.assign_attrs(kinetics_agree=0, messages="There is one state.", barriers_agree=0, barrier_messages="")
    assert tables.verdict(alone).splitlines() == [
        "times: do not believe those of the fitted prior",
        "  There is one state.",
    ]
    times = STORY.assign_attrs(kinetics_agree=1, messages="They agree.\nAnd more.")
    assert tables.verdict(times.assign_attrs(barriers_agree=0, barrier_messages="Too dear.")).splitlines() == [
        "times: believe those of the fitted prior",
        "  They agree.",
        "  And more.",
        "barriers: do not believe them",
        "  Too dear.",
    ]
    both = times.assign_attrs(barriers_agree=1, barrier_messages="Cheap.")
    assert "barriers: believe them\n  Cheap." in tables.verdict(both)


def test_segments_tell_what_stayed_undecided():
    times = np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, np.nan, np.nan]])
    text = tables.segments(segmented([[0, 0, 1, -1], [1, 0, -1, -1]], 2, times=times))
    assert "undecided           16.67 %" in text


MINIMA = xr.Dataset(
    {
        "minimum_into": ("minimum", [-1, 0, 0, 1]),
        "minimum_state": ("minimum", [0, 0, 0, 0]),
        "minimum_decoded": (("minimum", "channel"), [[1.0, 5.0], [1.1, 7.5], [1.0, 9.0], [1.0, 8.0]]),
        "minimum_share": ("minimum", [0.7, 0.2, 0.08, 0.02]),
        "minimum_barrier": ("minimum", [2.0, 0.33, 1.5, 0.1]),
        "minimum_dwell": ("minimum", [np.nan, 26.0, np.inf, np.nan]),
        "minimum_persistence": ("minimum", [np.nan, 2.345, 12.0, np.nan]),
        "minimum_persistence_low": ("minimum", [np.nan, 2.1, 1.2, np.nan]),
        "minimum_persistence_high": ("minimum", [np.nan, 2.7, 120.0, np.nan]),
        "minimum_kept": ("minimum", [np.inf, 2.345, 0.0, 0.0]),
        "minimum_reason": ("minimum", ["", "persistence", "visits", "barrier"]),
        "channel": ["rest", "extension"],
    }
)


def test_every_minimum_that_is_no_state_is_told_and_how_to_keep_it():
    lines = tables.merged(MINIMA).splitlines()
    assert len(lines) == 5
    assert "level of extension" in lines[1]
    shown = [line.split() for line in lines[2:]]
    assert [words[0] for words in shown] == ["1", "2", "3"]
    assert shown[0][1:7] == ["7.50", "0.200", "0.330", "26.0", "2.35", "2.10"]
    assert lines[2].endswith("--min-persistence 2.34")
    assert "not come back to" in lines[3]
    assert lines[3].endswith("--min-persistence 0")
    assert lines[4].endswith("--min-barrier 0")
    assert tables.merged(MINIMA.isel(minimum=[0])) == ""
    assert "level of 1" in tables.merged(MINIMA.drop_vars("channel"))  # a `Fit` of tensors has no names


def test_visits_are_told_state_by_state():
    labels, times = np.array([[0, 0, 0, 1, 1, 0, 0, 1]]), np.arange(8.0)[None]
    lines = tables.visits(nld.kinetics.visits(labels, times, 2)).splitlines()
    assert lines[1].split()[:3] == ["0", "2", "2.50"]
    assert lines[2].split()[-1] == "0.286"
