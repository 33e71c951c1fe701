"""Sequences with their states: whole recordings in which no visit is lost, and the close-ups below them."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb

from pyro_nld import plots
from pyro_nld.plots import sequences
from pyro_nld.plots.style import STATE_COLOURS, colour

DIMS = ("sequence", "time")


def segments(states=3, times=12):
    label = np.arange(times)[None] // 4 % states
    probability = np.where(label[..., None] == np.arange(states), 0.8, 0.2 / (states - 1))
    clock = np.arange(times, dtype=float)[None]
    clock[:, -2:], probability[:, -2:], label[:, -2:] = np.nan, np.nan, -1
    dims = ("sequence", "time")
    return xr.Dataset({"probability": ((*dims, "state"), probability), "label": (dims, label), "times": (dims, clock)})


@pytest.mark.parametrize("channels", [2, 9])
def test_a_segmentation_ends_where_the_sequence_ends(channels):
    observations = xr.DataArray(
        np.random.default_rng(0).normal(size=(1, 12, channels)), dims=("sequence", "time", "channel")
    )
    truth = xr.Dataset({"states": (("sequence", "time"), segments()["label"].values)})
    figure = plots.segmentation(segments(), observations, truth)
    figure.canvas.draw()
    bar = next(axes for axes in figure.axes if axes.get_ylabel() == "label")
    assert bar.get_xlim() == (0.0, 10.0)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel() == "truth"] == ["truth"]


def test_states_keep_their_colour_across_pictures():
    observations = xr.DataArray(np.zeros((1, 12, 1)), dims=("sequence", "time", "channel"))
    figure = plots.segmentation(segments(), observations)
    colours = [to_hex(patch.get_facecolor()).upper() for patch in figure.legends[0].get_patches()]
    assert colours == STATE_COLOURS[:3]


def recording(label, channels=1, names=None, times=None):
    """Segments of one sequence, sure of their labels, and observations at the level of the label."""
    label = np.asarray(label)
    times = np.arange(len(label), dtype=float) if times is None else times
    probability = np.eye(max(label.max(), 0) + 1)[np.maximum(label, 0)]
    found = {"probability": ((*DIMS, "state"), probability[None]), "label": (DIMS, label[None])}
    x = np.repeat(10.0 * label[None, :, None], channels, -1)
    data = xr.Dataset({"observations": ((*DIMS, "channel"), x), "times": (DIMS, times[None])})
    return xr.Dataset(found | {"times": (DIMS, times[None])}), data.assign_coords(channel=names) if names else data


def axes_named(figure, name):
    return [axes for axes in figure.axes if axes.get_ylabel().replace("\n", " ") == name]


def lane(axes, state):
    """Whether each column of a bar has the colour of a state in its lane."""
    mesh = axes.collections[0]
    shown = mesh.get_array().filled(np.nan) if np.ma.isMaskedArray(mesh.get_array()) else mesh.get_array()
    return shown[state] == state + 1


def drawn(axes, state):
    """Values at both ends of every stroke in the colour of a state."""
    found = []
    for lines in (one for one in axes.collections if isinstance(one, LineCollection)):
        strokes = lines.get_segments()
        colours = np.resize(lines.get_colors(), (len(strokes), 4))
        shown = [to_hex(shade) == colour(state).lower() for shade in colours]
        found += [stroke[[0, -1]] for stroke, here in zip(strokes, shown, strict=True) if here]
    return np.array(found)


def test_a_single_observation_in_40_000_is_seen():
    """In the trace, at its level and time, in its colour; in its lane; and not without it."""
    label = np.zeros(40_000, int)
    label[20_000:], label[12_345] = 1, 2
    figure = plots.segmentation(*recording(label))
    figure.canvas.draw()
    overview, bar = axes_named(figure, "observed")[0], axes_named(figure, "label")[0]
    stroke = drawn(overview, 2)
    assert stroke[..., 1].tolist() == [[20.0, 20.0]]
    assert stroke[..., 0] == pytest.approx(12_345, abs=40_000 / sequences.COLUMNS)
    assert lane(bar, 2).sum() == 1
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box, image = overview.get_window_extent(), np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    within = image[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)]
    assert (abs(within - 255 * np.array(to_rgb(colour(2)))).max(-1) < 60).any()  # a line of no length has no pixel
    label[12_345] = 0
    assert lane(axes_named(plots.segmentation(*recording(label)), "label")[0], 1).sum() == sequences.COLUMNS / 2


def test_channels_have_axes_names_and_units_of_their_own():
    segments, data = recording(np.arange(60) // 20, 3, ["fret", "intensity", "angle"])
    data = data.assign_coords(unit=("channel", ["", "kHz", "deg"]))
    data["times"].attrs["units"] = "ms"
    figure = plots.segmentation(segments, data)
    named = [axes.get_ylabel().replace("\n", " ") for axes in figure.axes[:3]]
    assert named == ["fret", "intensity (kHz)", "angle (deg)"]
    assert figure.axes[-1].get_xlabel() == "time (ms)"
    plain = plots.segmentation(segments, data["observations"].drop_vars(["channel", "unit"]))
    assert [axes.get_ylabel() for axes in plain.axes[:3]] == ["channel 0", "channel 1", "channel 2"]
    assert plain.axes[-1].get_xlabel() == "time"


def test_many_channels_are_rows_with_names():
    names = [f"residue {k}" for k in range(60)]
    figure = plots.segmentation(*recording(np.arange(60) // 20, 60, names))
    named = [text.get_text() for text in axes_named(figure, "channel")[0].get_yticklabels()]
    assert named == names[::3]


def test_close_ups_show_a_short_and_a_typical_visit_of_the_rarest_state():
    """State 2 is visited for 3, 9 and 30 observations; state 1, for 1, does not matter, being more frequent."""
    label = np.zeros(5000, int)
    label[3000:4000], label[100] = 1, 1
    for begin, length in ((500, 30), (1500, 9), (2500, 3)):
        label[begin : begin + length] = 2
    figure = plots.segmentation(*recording(label))
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [
        "sequence 0: 5000 observations",
        "a: a short visit to state 2, 3 observations",
        "b: a typical visit to state 2, 9 observations",
    ]
    for axes, begin, end in zip(axes_named(figure, "observed")[1:], (2500, 1500), (2503, 1509), strict=True):
        left, right = axes.get_xlim()
        assert left < begin
        assert end < right
        assert right - left == sequences.CLOSE_UP


def test_a_long_visit_is_shown_to_its_ends():
    label = np.zeros(5000, int)
    label[1000:2000] = 1
    figure = plots.segmentation(*recording(label))
    axes = axes_named(figure, "observed")[1]
    assert axes.get_title(loc="left") == "a: the only visit to state 1, 1000 observations"
    assert axes.get_xlim() == (750.0, 2250.0)


@pytest.mark.parametrize(("length", "panels"), [(sequences.SHORT, 1), (sequences.SHORT + 1, 2)])
def test_a_short_sequence_has_no_close_up(length, panels):
    label = np.zeros(length, int)
    assert len(axes_named(plots.segmentation(*recording(label)), "label")) == panels


def test_no_line_crosses_a_pause_or_a_gap():
    """Between 49 and 150 there is nothing: neither a line nor a colour."""
    times = np.arange(100.0)
    times[50:] += 100
    segments, data = recording(np.zeros(100, int), times=times)
    data["observations"][0, 20] = np.nan
    figure = plots.segmentation(segments, data)
    strokes = np.array([stroke[:, 0] for stroke in axes_named(figure, "observed")[0].collections[0].get_segments()])
    inside = (strokes > 49.6) & (strokes < 149.4)
    assert not inside.any()
    assert not ((strokes > 19) & (strokes < 21) & (strokes != 20)).any()
    mesh = axes_named(figure, "label")[0].collections[0]
    edges = mesh.get_coordinates()[0, :, 0]
    assert edges[[50, 51]].tolist() == [50.0, 150.0]
    assert np.flatnonzero(np.ma.getmaskarray(mesh.get_array())[0]).tolist() == [50]


def test_the_legend_counts_what_the_labels_say():
    """Undecided observations within a visit do not end it."""
    label = np.array([0] * 10 + [-1] + [0] * 9 + [1] * 20 + [0] * 10)
    figure = plots.segmentation(*recording(label))
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == [
        "state 0: 58 % of the observations, 2 visits", "state 1: 40 % of the observations, 1 visit",
        "undecided or unknown",
    ]  # fmt: skip


def test_a_named_recording_is_called_by_its_name():
    segments, data = recording(np.zeros(50, int))
    figure = plots.segmentation(segments, data.assign_coords(sequence=["riboswitch"]))
    assert figure.axes[0].get_title(loc="left") == "sequence riboswitch: 50 observations"
