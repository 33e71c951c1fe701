"""The page of a run: whole, without a network, its numbers those of summary.json, its words those of the checks."""

from __future__ import annotations

import base64
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import xarray as xr
from pages import CENTRES, INTERVAL, history, made

import pyro_nld as nld
from pyro_nld import report
from pyro_nld.checks import accuracy
from pyro_nld.plots.style import STATE_COLOURS
from pyro_nld.report import browser, checklist, tables
from pyro_nld.report import scene as interactive
from pyro_nld.report.document import _embedded, _file
from pyro_nld.report.html import BLACK, INKS, WHITE, ink, number
from pyro_nld.runs import summary

SECTIONS = ["data", "states", "landscape", "segmentation", "kinetics", "checks", "again", "words"]
VOID = {"meta", "link", "img", "br", "input", "path", "circle", "rect"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return made(CENTRES, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """One axis, two wells."""
    return made([[-1.0], [1.0]], tmp_path_factory.mktemp("line"))


class Reader(HTMLParser):
    """Reads a page as a browser does, and refuses tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.numbers, self.texts = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "data" and "data-name" in given:
            self.numbers[given["data-name"]] = float(given["value"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def named(self, tag):
        return [given for name, given in self.tags if name == tag]


def embedded(text, name):
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)[1])


# The page as a document


def test_every_tag_closes_and_every_section_has_its_heading(page):
    reader = Reader(page.text)
    assert reader.open == []
    assert [given["id"] for given in reader.named("section")] == SECTIONS
    headings = [(name, given.get("id")) for name, given in reader.tags if name in ("h1", "h2")]
    assert headings == [("h1", None), *(("h2", f"{section}-h") for section in SECTIONS)]
    targets = {given["href"] for given in reader.named("a")}
    assert targets >= {f"#{section}" for section in SECTIONS}
    assert {target[1:] for target in targets} <= {given["id"] for _, given in reader.tags if "id" in given}


def test_a_tag_that_does_not_close_is_seen():
    with pytest.raises(AssertionError, match="closes something else"):
        Reader("<p><b>bold</p></b>")


def test_names_are_used_once(page):
    names = [given["id"] for _, given in Reader(page.text).tags if "id" in given]
    assert len(names) == len(set(names))


def test_nothing_is_fetched(page):
    """No attribute that a browser follows leads out of the page, and a policy in it forbids that any script does."""
    reader = Reader(page.text)
    followed = [given[key] for _, given in reader.tags for key in ("src", "href", "srcset", "data") if key in given]
    assert [address for address in followed if not address.startswith(("#", "data:"))] == []
    assert "url(" not in _file("page.css")
    policy = next(given["content"] for given in reader.named("meta") if given.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?:", policy)


def test_every_picture_speaks_to_those_who_cannot_see_it(page):
    reader = Reader(page.text)
    images = reader.named("img")
    assert len(images) == 4
    assert all(len(given["alt"]) > 30 for given in images)
    assert len({given["alt"] for given in images}) == len(images)


def test_what_a_user_wrote_is_text(page):
    """A title, a warning, a command and a model file with signs of HTML in them."""
    assert "wells &lt;2&gt;.csv" in page.text
    assert "it &lt;rained&gt;" in page.text
    assert "python a &amp; b" in page.text
    assert "1 &lt; 2" in page.text
    assert "<rained>" not in page.text


def test_data_cannot_end_the_script_that_holds_them():
    assert json.loads(_embedded(json.dumps({"a": "</script>"}))) == {"a": "</script>"}
    assert "</script>" not in _embedded(json.dumps({"a": "</script>"}))


def test_the_page_is_small(page):
    """Plotly is a third of its size; the rest is pictures and sequences."""
    assert len(page.text) < 3.5e6


# Numbers


def test_numbers_are_those_of_the_summary(page):
    """To the last digit, one for each number of every table."""
    found, states = Reader(page.text).numbers, range(page.summary["states"])
    expected = {
        f"occupancy-{route}-{k}": share for route in tables.OCCUPANCIES for k, share in
        enumerate(page.summary["occupancy"][route])
    }  # fmt: skip
    expected |= {f"mean-{k}-{c}": page.summary["decoded_minima"][k][c] for k in states for c in range(2)}
    expected |= {f"level-{k}-{c}": page.summary["levels"][k][c] for k in states for c in range(2)}
    expected |= {f"visit-mean-{k}": page.summary["visits"]["mean"][k] for k in states}
    expected |= {f"dwell-{way}-{k}": page.summary["dwell"][way][k] for way in ("counted", "simulated") for k in states}
    dwell = {route: page.landscape["dwell"].sel(route=route) for route in ("exact", "eyring_kramers")}
    expected |= {f"dwell-{route}-{k}": float(dwell[route][k]) for route in dwell for k in states}
    pairs = [(k, to) for k in states for to in states if k != to]
    expected |= {f"barrier-{k}-{to}": page.summary["barriers_kT"][k][to] for k, to in pairs}
    expected |= {f"rate-{k}-{to}": page.summary["rates"]["counted"][k][to] for k, to in pairs}
    assert page.summary["states"] == 3
    assert found == {name: value for name, value in expected.items() if value is not None}


def test_a_number_is_written_as_it_is_meant():
    assert number(-0.61234, name="a") == '<data value="-0.61234" data-name="a">−0.612</data>'
    assert number(20.0) == '<data value="20.0">20.0</data>'
    assert number(0.4, ".0f", 100.0) == '<data value="0.4">40</data>'
    assert "–" in number(None) == number(float("nan"))


@pytest.mark.parametrize("which", ["page", "line"])
def test_nothing_is_escaped_twice(which, request):
    """The words of a page, as a browser shows them, hold no marks of HTML."""
    assert not re.search(r"&amp;(#x?[0-9a-f]+|[a-z]+);", request.getfixturevalue(which).text)


def test_the_verdict_is_told_whole(page):
    text = Reader(page.text).text
    assert all(" ".join(line.split()) in text for line in page.summary["verdict"]["messages"])
    times, barriers = (page.summary["verdict"][name] for name in ("kinetics_agree", "barriers_agree"))
    assert ("Believe the times." if times else "Do not believe the fitted model’s own") in text
    assert ("Believe the barriers." if barriers else "Do not believe the barriers.") in text
    assert all(" ".join(line.split()) in text for line in page.summary["verdict"]["barrier_messages"])


def test_one_axis_is_a_line(line):
    scene = embedded(line.text, "scene")
    assert "scene" not in scene["layout"]
    assert {trace["type"] for trace in scene["data"]} == {"scatter"}
    assert Reader(line.text).open == []


def test_one_state_has_no_kinetics(tmp_path):
    """A single state: no barriers, no rates, no dwell times, and it is said."""
    one = made([[0.0, 0.0]], tmp_path)
    reader = Reader(one.text)
    assert "It has one state." in reader.text
    assert not [name for name in reader.numbers if name.startswith(("barrier", "rate", "dwell"))]
    assert reader.open == []


def test_plotly_absent_is_one_sentence(monkeypatch, page):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(nld.MissingExtra, match=r'plotly is needed here .* pip install "pyro_nld\[report\]"'):
        report.require_plotly()


# The landscape to turn


def decoded(entry):
    """A plotly array: plain, or bytes with their kind."""
    if not isinstance(entry, dict):
        return np.asarray(entry)
    values = np.frombuffer(base64.b64decode(entry["bdata"]), entry["dtype"])
    return values.reshape([int(n) for n in entry["shape"].split(",")]) if "shape" in entry else values


def test_the_surface_is_the_energy_in_kT(page):
    """At every point of the grid, lifted back to the latent plane."""
    scene = embedded(page.text, "scene")
    surface = next(trace for trace in scene["data"] if trace["type"] == "surface")
    x, y, z = (decoded(surface[axis]) for axis in "xyz")
    view = nld.landscape.plane(page.fit.encoded(), page.landscape)
    points = nld.landscape.lift(view, np.stack(np.meshgrid(x, y), -1))
    with torch.no_grad():
        energy = page.fit.potential(torch.as_tensor(points)).numpy() - float(page.landscape["energy"].min())
    np.testing.assert_allclose(z, np.minimum(energy, 12), atol=2e-3)


def test_every_minimum_has_its_pin(page):
    scene = embedded(page.text, "scene")
    pins = {trace["name"]: trace for trace in scene["data"] if trace.get("name", "").startswith("state")}
    view = nld.landscape.plane(page.fit.encoded(), page.landscape)
    places = nld.landscape.project(view, page.landscape["position"].values)
    for state, place in enumerate(places):
        pin = pins[f"state {state}"]
        assert (pin["x"][0], pin["y"][0]) == pytest.approx(place.tolist())
        assert pin["marker"]["color"] == STATE_COLOURS[state]


def test_plotly_travels_gzipped():
    import gzip

    from plotly.offline import get_plotlyjs

    code = interactive.library()
    assert gzip.decompress(base64.b64decode(code)).decode() == get_plotlyjs()
    assert code == interactive.library()


# Sequences to leaf through


def test_sequences_are_unpacked_as_they_were(page):
    packed = browser.packed(page.segments, page.data, accuracy.score(page.segments, page.data))
    assert embedded(page.text, "sequences") == packed
    assert len(packed["sequences"]) == 6
    x, label = page.data["observations"].values, page.segments["label"].values
    low, high = browser.ranges(x, label)
    for row, one in enumerate(packed["sequences"]):
        length = 50 if row == 2 else 60
        raw = {key: np.frombuffer(base64.b64decode(one[key]), np.uint8) for key in ("x", "p", "label", "truth")}
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(one["times"])), INTERVAL * np.arange(length))
        level = raw["x"].reshape(length, 2).astype(float)
        level[level == browser.UNKNOWN] = np.nan
        seen = low + level / browser.BYTE_LEVELS * (high - low)
        np.testing.assert_allclose(seen, x[row, :length].clip(low, high), atol=0.003 * (high - low).max())
        share = raw["p"].reshape(length, -1) / browser.CERTAIN
        np.testing.assert_allclose(share, page.segments["probability"].values[row, :length], atol=0.003)
        np.testing.assert_array_equal(
            raw["label"].astype(int), np.where(label[row, :length] < 0, 255, label[row, :length])
        )
        assert (raw["truth"] < 3).all()


def recordings(label, channels=1):
    """Segments and data of sequences `(sequence, time)` that show their labels."""
    dims = ("sequence", "time")
    times = np.broadcast_to(0.5 * np.arange(label.shape[1]), label.shape)
    segments = xr.Dataset(
        {
            "probability": ((*dims, "state"), np.eye(3)[label]),
            "label": (dims, label),
            "times": (dims, times),
        }
    )
    data = xr.Dataset({"observations": ((*dims, "channel"), np.repeat(label[..., None].astype(float), channels, -1))})
    return segments, data.assign(times=segments["times"])


def unpacked(one):
    times, x = np.frombuffer(base64.b64decode(one["times"])), np.frombuffer(base64.b64decode(one["x"]), np.uint8)
    return times, x, np.frombuffer(base64.b64decode(one["visits"]), "<u4").reshape(-1, 4)


def test_a_long_recording_comes_whole():
    """40 000 observations, and a visit of one observation among them, whose level is far from all others."""
    label = np.zeros((1, 40_000), int)
    label[0, 10_000:30_000], label[0, 12_345] = 1, 2
    segments, data = recordings(label)
    assert browser.shown_part(segments, data) == (1, 1)
    packed = browser.packed(segments, data)
    times, x, visits = unpacked(packed["sequences"][0])
    np.testing.assert_array_equal(times, 0.5 * np.arange(40_000))
    assert (packed["low"], packed["high"]) == ([0.0], [2.0])
    assert x[12_345] == browser.BYTE_LEVELS
    assert (x == browser.BYTE_LEVELS).sum() == 1
    expected = [[0, 0, 10_000], [1, 10_000, 12_345], [2, 12_345, 12_346], [1, 12_346, 30_000], [0, 30_000, 40_000]]
    np.testing.assert_array_equal(visits, [[*one, one[2] - one[1]] for one in expected])
    assert packed["sequences"][0]["share"] == pytest.approx([0.5, 0.499975, 0.000025])


def test_of_what_is_too_long_no_visit_is_lost():
    label = np.zeros((1, 200_000), int)
    label[0, 777::1000] = 2
    segments, data = recordings(label, channels=9)
    shown, step = browser.shown_part(segments, data)
    assert (shown, step) == (1, 3)
    one = browser.packed(segments, data)["sequences"][0]
    times, x, visits = unpacked(one)
    assert len(times) < 70_000
    assert (np.diff(times) <= 0.5 * step).all()
    rare = visits[visits[:, 0] == 2]
    assert len(rare) == 200
    np.testing.assert_array_equal(2 * times[rare[:, 1]], np.flatnonzero(label[0] == 2))
    assert (rare[:, 3] == 1).all()
    assert (x.reshape(-1, 9)[rare[:, 1]] == browser.BYTE_LEVELS).all()
    assert (one["observations"], one["share"][2]) == (200_000, 0.001)
    assert one["pause"] > np.diff(times).max()


def test_many_sequences_are_cut():
    def sizes(sequences, times, channels):
        empty = xr.Dataset({"probability": (("sequence", "time", "state"), np.zeros((sequences, times, 3)))})
        empty["times"] = ("sequence", "time"), np.zeros((sequences, times))
        return browser.shown_part(
            empty, xr.Dataset({"observations": (("a", "b", "channel"), np.zeros((1, 1, channels)))})
        )

    assert sizes(5, 200, 15) == (5, 1)
    assert sizes(1000, 200, 15) == (browser.PAGE_BYTES // (200 * 28), 1)
    assert sizes(1, 15_000, 45) == (1, 1)
    assert sizes(4, 4000, 400) == (1, 2)


def test_names_in_the_browser_have_their_units():
    segments, data = recordings(np.zeros((1, 50), int), 2)
    data["times"].attrs["units"] = "ms"
    named = data.assign_coords(channel=["extension", "force"], unit=("channel", ["nm", ""]))
    packed = browser.packed(segments, named)
    assert (packed["channels"], packed["time"]) == (["extension (nm)", "force"], "time (ms)")
    assert browser.packed(segments, data)["channels"] == ["channel 0", "channel 1"]


# Checklist


def one_item(found, title):
    return next(item for item in found if item.title == title)


def changed(page, landscape=None, segments=None, history=None, **numbers):
    return checklist.of_run(
        landscape or page.landscape, segments or page.segments, history or page.fit.history, page.summary | numbers
    )


@pytest.mark.parametrize(("rate", "status"), [(5.0, "good"), (1e4, "bad")], ids=["settled", "rising"])
def test_a_fit_that_still_rises_is_seen(page, rate, status):
    past = history(200)
    past["log_likelihood"] = "step", -np.exp(-np.arange(200) / rate)
    found = one_item(changed(page, history=past), "Has the fit settled?")
    assert found.status == status
    assert ("fit longer" in found.words) == (status != "good")


@pytest.mark.parametrize(("ok", "status"), [(1, "good"), (0, "bad")])
def test_coarse_steps_are_seen(page, ok, status):
    landscape = page.landscape.assign_attrs(ok=ok, substeps_needed=9, max_curvature_step=0.6 - 0.5 * ok)
    found = one_item(changed(page, landscape=landscape), "Are the steps fine enough?")
    assert (found.status, "substeps=9" in found.words) == (status, status == "bad")


@pytest.mark.parametrize(("shift", "status"), [(0.0, "good"), (0.08, "look"), (0.2, "bad")])
def test_a_landscape_that_contradicts_the_data_is_seen(page, shift, status):
    shares = np.array([0.5, 0.3, 0.2])
    apart = ("state", shares + np.array([-shift, shift, 0.0]))
    landscape = page.landscape.assign(
        occupancy_data=("state", shares), occupancy_sampled=("state", shares), occupancy_harmonic=apart
    )
    found = one_item(changed(page, landscape=landscape), "Does the landscape hold its states as often as the data do?")
    assert found.status == status
    assert f"within {100 * shift:.1f} points" in found.words


@pytest.mark.parametrize(("rhat", "status"), [(1.005, "good"), (1.2, "look"), (np.inf, "look")])  # stuck for good
def test_chains_that_have_not_mixed_are_seen(page, rhat, status):
    landscape = page.landscape.assign(occupancy_rhat=("state", np.full(3, rhat)))
    assert one_item(changed(page, landscape=landscape), "Have the samples of the landscape mixed?").status == status


@pytest.mark.parametrize(("share", "status"), [(0.0, "good"), (0.1, "look"), (0.5, "bad")])
def test_states_that_cannot_be_told_apart_are_seen(page, share, status):
    segments = page.segments.copy(deep=True)
    there = np.argwhere(segments["times"].notnull().values)
    for row, column in there[: round(share * len(there))]:
        segments["label"][row, column] = -1
    assert one_item(changed(page, segments=segments), "Can the states be told apart?").status == status


@pytest.mark.parametrize(
    ("temperature", "status", "said"),
    [
        ({"q05": None, "q95": None}, "good", "not random"),
        (
            {"q05": 0.9, "q95": 1.1, "verdict": "good", "message": "it is identified."},
            "good",
            "90 % between 0.9 and 1.1",
        ),
        ({"q05": 0.4, "q95": 2.1, "verdict": "doubtful", "message": "it is weak."}, "look", "it is weak."),
        (
            {"q05": 0.4, "q95": 2.1, "verdict": "bad", "message": "it follows its prior."},
            "bad",
            "it follows its prior.",
        ),
        ({"q05": 0.4, "q95": 2.1}, "look", "was not recorded"),  # a run of the first schema
    ],
)
def test_the_temperature_is_graded_as_the_checks_grade_it(page, temperature, status, said):
    whole = dict.fromkeys(summary.FIELDS["temperature"]) | {"mean": 1.0} | temperature
    found = one_item(changed(page, temperature=whole), "Is the temperature known?")
    assert found.status == status
    assert said in found.words


@pytest.mark.parametrize(("agree", "times", "barriers"), [(1, "good", "good"), (0, "bad", "look")])
def test_the_verdicts_are_items(page, agree, times, barriers):
    said = {"kinetics_agree": agree, "messages": "one.\ntwo.", "barriers_agree": agree, "barrier_messages": "three."}
    items = changed(page, landscape=page.landscape.assign_attrs(said))
    title = "Can the prior's times be believed?"
    assert one_item(items, title) == checklist.Item(times, title, "one. two.")
    title = "Can the barriers be believed?"
    assert one_item(items, title) == checklist.Item(barriers, title, "three.")
    older = page.landscape.assign_attrs(said | {"barrier_messages": ""})
    assert title not in [item.title for item in changed(page, landscape=older)]


@pytest.mark.parametrize(
    ("verdict", "status"), [("good", "good"), ("doubtful", "look"), ("bad", "bad"), ("unknown", "look")]
)
def test_what_the_recipe_check_found_is_told(page, verdict, status):
    checks = {"verdicts": {"prior_predictive": verdict}, "messages": {"prior_predictive": "Said so."}}
    found = one_item(changed(page, checks=checks), "Check: prior predictive")
    assert (found.status, found.words) == (status, "Said so.")


def test_what_every_page_has_is_not_told_twice(page):
    checks = {"verdicts": {"optimisation": "good", "step": "good"}, "messages": {"optimisation": "A.", "step": "B."}}
    assert not any(item.title.startswith("Check:") for item in changed(page, checks=checks))


def test_a_model_without_a_landscape_is_refused(page, monkeypatch):
    fit = page.fit
    monkeypatch.setattr(type(fit), "has_landscape", False)
    with pytest.raises(nld.FitError, match=r"this model has none: its force is no gradient\. Read it with"):
        report.require_landscape(fit)


def test_every_warning_is_an_item_and_every_item_is_in_the_page(page):
    found = changed(page)
    assert found[-1] == checklist.Item("look", "Warning while computing", "it <rained>")
    text = Reader(page.text).text
    assert all(" ".join(item.words.split()) in text for item in found)
    words = {"good": "good", "look": "to look at closer", "bad": "not to rely on"}
    for status, word in words.items():
        count = sum(item.status == status for item in found)
        assert (f"{count} {word}" in text) == (count > 0)


def contrast(one, other):
    """WCAG 2: (L₁ + 0.05)/(L₂ + 0.05) of the relative luminances."""

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_everything_written_can_be_read():
    """At least 4.5 : 1, numbers on state colours and text colours of the page on white."""
    assert contrast(WHITE, "#000000") == pytest.approx(21)
    assert [ink(WHITE), ink("#000000")] == [BLACK, WHITE]
    assert min(contrast(*pair) for pair in zip(STATE_COLOURS, INKS, strict=True)) > 4.5
    colours = dict(re.findall(r"--(\w+): (#\w{6})", _file("page.css")))
    text = {name: contrast(shade, WHITE) for name, shade in colours.items() if name not in ("line", "pale")}
    assert text.keys() == {"ink", "soft", "link", "good", "look", "bad"}
    assert min(text.values()) > 4.5
