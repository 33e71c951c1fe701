"""The report of a run as one HTML page, which needs no network, no server and no other file."""

from __future__ import annotations

import json
import platform
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib import metadata, resources
from string import Template
from typing import NamedTuple

import xarray as xr
from matplotlib.figure import Figure

from .. import plots
from ..checks import accuracy
from ..errors import FitError, optional
from ..results.fit import Fit
from . import browser, checklist, states, tables
from . import scene as interactive
from .columns import titled
from .html import SHAPES, badge, facts, folded, number, picture, status, table
from .states import unit_of_time

VERSIONED = ("pyro_nld", "torch", "pyro-ppl", "plotly")


class Origin(NamedTuple):
    """The origin of a run.

    `title`: of the page. `claim`: the claim of the model file. `source`: the text of the model file.
    `data`: a description of the data. `commands`: the command lines that repeat the run.
    """

    title: str
    claim: str
    source: str
    data: str
    commands: Sequence[str]


def require_plotly() -> None:
    """Check that plotly is installed, before the work is done.

    Raises
    ------
    MissingExtra: plotly is not installed.
    """
    optional("plotly", interactive.PLOTLY_EXTRA)


def require_landscape(fit: Fit) -> None:
    """Check that a fit has a landscape.

    Raises
    ------
    FitError: the force of the fit is not the gradient of a potential.
    """
    if not fit.has_landscape:
        raise FitError(
            "a report tells a landscape, and this model has none: its force is no gradient. "
            "Read it with pyro-nld landscape, or fit a model with a potential."
        )


def page(fit: Fit, data: xr.Dataset, landscape: xr.Dataset, segments: xr.Dataset, summary: dict, origin: Origin) -> str:
    """The report of a run, as HTML.

    Parameters
    ----------
    fit: the fit. data: its data, perhaps with the true `states`.
    landscape: `fit.landscape()`. segments: from `segment(fit, wells=landscape)`.
    summary: the content of `summary.json`.
    origin: of the run.

    Raises
    ------
    MissingExtra: plotly is not installed. FitError: there is no landscape.
    """
    require_landscape(fit)
    truth = accuracy.score(segments, data)
    found = checklist.of_run(landscape, segments, fit.history, summary)
    points, first = fit.encoded(), fit.positions()[0, 0][fit.times[0].isfinite()]
    scene = interactive.picture(fit.potential, points, landscape, first, fit.temperature)
    still = plots.energy(fit.potential, landscape, points, first, fit.temperature)
    names = [str(name) for name in data["channel"].values] if "channel" in data.coords else _numbered(data)
    content = {
        "title": escape(origin.title),
        "headline": _count(landscape.sizes["state"], "state"),
        "lead": _lead(data, landscape, summary, origin),
        "tally": _tally(found),
        "data": _data(fit, data, names, origin),
        "states": states.section(landscape, summary, data, names),
        "landscape": _landscape(landscape, summary, still, plots.passes(landscape)),
        "segmentation": _segmentation(segments, data, truth),
        "kinetics": _kinetics(landscape, summary),
        "checks": _checks(found, plots.loss(fit.history)),
        "again": _again(origin),
        "made": f"Made by pyro_nld {metadata.version('pyro_nld')}. This page is one file: keep it, mail it, print it.",
        "version": metadata.version("pyro_nld"),
        "css": _file("page.css"),
        "js": _file("page.js"),
        "sequences": _embedded(json.dumps(browser.packed(segments, data, truth))),
        "scene": _embedded(scene.to_json()),
        "plotly": interactive.library(),
    }
    return Template(_file("page.html")).substitute(content)


# In words


def _lead(data: xr.Dataset, landscape: xr.Dataset, summary: dict, origin: Origin) -> str:
    series, channels = _count(data.sizes["sequence"], "sequence"), _count(data.sizes["channel"], "channel")
    lead = f"{series} of {channels} were explained by a hidden system that moves on a landscape. "
    states = landscape.sizes["state"]
    lead += _minima_in_words(landscape)
    if states == 1:
        return lead
    shares = _listed(
        [f"{number(p, '.0f', 100.0)}&nbsp;% in state {k}" for k, p in enumerate(summary["occupancy"]["data"])]
    )
    lead += f"The data spend {shares}. "
    dwell = [value for value in summary["dwell"]["counted"] if value]
    if dwell:
        span = f"between {min(dwell):.3g} and {max(dwell):.3g}" if max(dwell) > min(dwell) else f"{dwell[0]:.3g}"
        lead += f"A visit lasts {span} on average, in {escape(unit_of_time(landscape))}. "
    if not summary["verdict"]["kinetics_agree"]:
        return f"{lead}The speeds that the fitted model itself predicts are not to be believed, see below."
    barriers = "" if summary["verdict"]["barriers_agree"] else "; its barriers are effective ones, see below"
    return f"{lead}The speeds that the fitted model itself predicts can be believed{barriers}."


def _minima_in_words(landscape: xr.Dataset) -> str:
    """How many states there are, what became of the other minima, and whether the data hold a process beside them."""
    count = landscape.sizes["state"]
    others = int((landscape["minimum_into"] >= 0).sum())
    words = "It has one state. " if count == 1 else f"It has {count} states. "
    if others:
        kind = "Another minimum is no state" if others == 1 else f"{others} other minima are no states"
        words += f"{kind} of its own, see below why. " if others == 1 else f"{kind} of their own, see below why. "
    said, verdict = escape(landscape.attrs.get("process_message", "")), landscape.attrs.get("process_verdict", "")
    if said and verdict != "good":
        words += f"<strong>{said}</strong> "
    elif said and count == 1:
        words += "No slow process in the data speaks for a second one. "
    if landscape.attrs.get("data_verdict", "good") != "good":
        words += f"<strong>{escape(landscape.attrs['data_message'])}</strong> "
    return words


def _tally(found: Sequence[checklist.Item]) -> str:
    counts: Counter[str] = Counter(one.status for one in found)
    words = {"good": "good", "look": "to look at closer", "bad": "not to rely on"}
    parts = [f"<span>{status(name)}<b>{counts[name]} {words[name]}</b></span>" for name in words if counts[name]]
    return f'<span><a href="#checks">{_count(len(found), "check")}</a>:</span>' + "".join(parts)


def _data(fit: Fit, data: xr.Dataset, names: Sequence[str], origin: Origin) -> str:
    gaps = fit.times.diff()
    gaps = gaps[gaps.isfinite()]
    lengths = fit.times.isfinite().sum(-1)
    missing = float((fit.x.isnan().all(-1) & fit.times.isfinite()).sum() / lengths.sum())
    shortest, longest = int(lengths.min()), int(lengths.max())
    low, middle, high = float(gaps.min()), float(gaps.median()), float(gaps.max())
    even = high - low < 1e-3 * middle
    pieces = " piece" if len(fit.x) > data.sizes["sequence"] else ""
    holes = float(fit.x.isnan().logical_and(fit.times.isfinite().unsqueeze(-1)).float().sum()) / (
        float(lengths.sum()) * fit.x.shape[-1]
    )
    entries = {
        "sequences": f"{data.sizes['sequence']}" + (f", cut into {len(fit.x)} pieces" if pieces else ""),
        f"observations in each{pieces}": f"{longest}" if shortest == longest else f"{shortest} to {longest}",
        "channels": f"{fit.x.shape[-1]}",
        titled("time between two", str(data.attrs.get("units", ""))): f"{middle:.4g}"
        if even
        else f"{low:.3g} to {high:.3g}, typically {middle:.3g}",
        "values missing": f"{100 * holes:.1f} %",
    }
    if missing:
        entries["observations without any value"] = f"{100 * missing:.1f} %"
    listed = ", ".join(escape(name) for name in names[:40]) + (" …" if len(names) > 40 else "")
    return (
        f"<p>{escape(origin.data)}</p>{facts(entries)}<p>Channels: {listed}.</p>"
        f"<p>The claim that was fitted to them: <em>{escape(origin.claim)}</em></p>"
    )


def _landscape(landscape: xr.Dataset, summary: dict, still: Figure, passes: Figure) -> str:
    states = landscape.sizes["state"]
    depth = _listed([f"state {k} holds {100 * p:.0f} %" for k, p in enumerate(summary["occupancy"]["data"])])
    alternative = f"Contours of the learned energy with the encoded data. {_count(states, 'well')}: {depth}."
    turn = "".join(
        f'<button type="button" {what}>{word}</button>'
        for what, word in (
            ('data-turn="0.5"', "⟲ turn left"),
            ('data-turn="-0.5"', "turn right ⟳"),
            ('data-view="above"', "from above"),
            ('data-view="side"', "from the side"),
            ('data-view="start"', "as at first"),
        )
    )
    text = (
        "<p>Dark is deep: the system rests there and must climb to leave. Black dots are observations, as the fit "
        "places them; the orange line is one sequence on its way.</p>"
    )
    caption = "The plane through the wells. Heights above 12 kT are cut off."
    parts = [
        text,
        '<div id="turnable"><div class="plot" role="img" aria-label="The same landscape in space, to be turned."></div>'
        f'<div class="buttons turn">{turn}</div></div>',
        picture(still, alternative, caption, "middle"),
    ]
    if states > 1:
        words = "Energy along the easiest path between wells, and the tree of wells joined by their lowest passes."
        parts.append(picture(passes, f"{words} The heights are in the table of barriers.", words))
        parts.append(_square("Barriers: the climb, in kT, from the state in the row to a pass towards the state in the "
                             "column.", summary["barriers_kT"], "barrier"))  # fmt: skip
    return "".join(parts)


def _square(caption: str, values: Sequence[Sequence[float | None]], name: str) -> str:
    states = range(len(values))
    head = ["from", *(f"to {badge(state)}" for state in states)]
    rows = [
        [badge(k), *("" if k == to else number(values[k][to], name=f"{name}-{k}-{to}") for to in states)]
        for k in states
    ]
    return table(caption, head, rows)


def _segmentation(segments: xr.Dataset, data: xr.Dataset, truth: xr.Dataset | None) -> str:
    kind = "the past and present alone" if segments.attrs["online"] else "the whole sequence, before and after"
    text = (
        f"<p>For every observation, the probability of each state given {kind}, and the most probable state. "
        "Choose a sequence; move along it with the slider, or point into the picture; drag over a part to look closer, "
        "or go from visit to visit. In a long one each column of pixels holds all that its observations show.</p>"
    )
    if truth is not None:
        text += f"<p>The data carry their true states: {tables.agreement(truth)}.</p>"
    states = range(segments.sizes["state"])
    key = "".join(f"<li>{badge(state)} state {state}</li>" for state in states)
    grey = '<li><span class="badge" style="background:#ddd">&nbsp;</span> undecided or unknown</li>'
    shown, step = browser.shown_part(segments, data)
    notes = []
    if shown < segments.sizes["sequence"]:
        notes.append(f"The first {shown} of {segments.sizes['sequence']} sequences are in this page.")
    if step > 1:
        notes.append(f"One observation of {step} is shown, and the first of every visit.")
    if data.sizes["channel"] > 6:
        notes.append("Channels are rows of colour: blue is low, orange high, in each channel's own range.")
    return f'{text}{browser.CONTROLS}<ul class="key">{key}{grey}</ul><p>{" ".join(notes)}</p>'


def _kinetics(landscape: xr.Dataset, summary: dict) -> str:
    said = summary["verdict"]
    verdict = (
        _judged("good", "Believe the times.", said["messages"])
        if said["kinetics_agree"]
        else _judged("bad", "Do not believe the fitted model’s own speeds.", said["messages"])
    )
    if said["barrier_messages"]:  # none where there is one state, or in a run of an older schema
        verdict += (
            _judged("good", "Believe the barriers.", said["barrier_messages"])
            if said["barriers_agree"]
            else _judged("look", "Do not believe the barriers.", said["barrier_messages"])
        )
    if landscape.sizes["state"] == 1:
        return verdict
    routes = [route for route in tables.ROUTES if route in landscape["route"]]
    known = {route: landscape["dwell"].sel(route=route).values.tolist() for route in routes}
    dwell = {route: summary["dwell"].get(route, known[route]) for route in routes}
    counted = landscape.sel(route="counted")
    ends = zip(counted["dwell_low"].values.tolist(), counted["dwell_high"].values.tolist(), strict=True)
    rows = [
        [
            badge(state),
            number(dwell["counted"][state], name=f"dwell-counted-{state}"),
            f"{number(low)} … {number(high)}",
            *(number(dwell[route][state], name=f"dwell-{route}-{state}") for route in routes if route != "counted"),
        ]
        for state, (low, high) in enumerate(ends)
    ]
    others = [f"{_route(route)}" for route in routes if route != "counted"]
    unit = unit_of_time(landscape)
    caption = f"How long a visit lasts on average, in {unit}, by routes that do not know of each other."
    return (
        verdict
        + table(caption, ["state", "counted in the data", "90 % interval", *others], rows)
        + picture(
            plots.dwell(landscape),
            "Share of visits that last longer than a time, for each state, beside the exponential law of every route.",
            "How visits end: steps are the data's. On a straight line it does not matter how long a visit has lasted.",
        )
        + _square(
            f"Rates counted in the data: changes from the state in the row to that in the column, per {unit}.",
            summary["rates"]["counted"],
            "rate",
        )
    )


def _judged(result: checklist.Status, head: str, messages: Sequence[str]) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in messages)
    return f'<div class="verdict {result}">{status(result)}<div><h3>{head}</h3><ul>{lines}</ul></div></div>'


def _route(route: str) -> str:
    return {"simulated": "by running the fitted model", "exact": "from the landscape, exactly"}.get(
        route, "by Eyring–Kramers’ formula"
    )


def _checks(found: Sequence[checklist.Item], loss: Figure) -> str:
    rows = "".join(
        f'<li class="item">{status(one.status)}<h3>{escape(one.title)} '
        f'<b class="{one.status}">{SHAPES[one.status][0]}</b></h3><p>{escape(one.words)}</p></li>'
        for one in found
    )
    words = "How the fit went: the bound rises and levels off."
    return f'<ul class="checklist">{rows}</ul>' + folded(
        "how the fit went", picture(loss, f"{words} Left: bound; middle: its terms; right: the optimiser.", words)
    )


def _again(origin: Origin) -> str:
    parts = [*((name, metadata.version(name)) for name in VERSIONED), ("Python", platform.python_version())]
    versions = ", ".join(f"{name} {version}" for name, version in parts)
    commands = "\n".join(escape(line) for line in origin.commands)
    return (
        "<p>In a folder with pyro_nld’s recipes, the model file below saved as <code>model.py</code>"
        f" and the same data:</p><pre><code>{commands}</code></pre><p>Made with {versions}.</p>"
        + folded("the model file, with its priors", f"<pre><code>{escape(origin.source)}</code></pre>")
    )


# Small words


def _embedded(text: str) -> str:
    """JSON in which `<` is escaped, so that it cannot end the script that contains it."""
    return text.replace("<", "\\u003c")


def _file(name: str) -> str:
    return resources.files("pyro_nld.report").joinpath(name).read_text("utf-8")


def _numbered(data: xr.Dataset) -> list[str]:
    return [str(channel) for channel in range(data.sizes["channel"])]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def claim(documentation: str) -> str:
    """The claim of a model file: the first paragraph of its docstring, without the word "Claim".

    Parameters
    ----------
    documentation: the docstring.
    """
    first = re.split(r"\n\s*\n", documentation.strip())[0]
    return " ".join(first.split()).removeprefix("Claim: ")
