"""Sequences packed for the sequence browser of a page: one byte per value, probability and label."""

from __future__ import annotations

import base64

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..plots import envelopes
from ..plots.style import STATE_COLOURS, channel_names, time_name
from .html import INKS

PAGE_BYTES = 1_500_000  # of sequences in a page
BYTE_LEVELS, UNKNOWN = 254, 255  # a value within the range of its channel is one byte; 255 means that it is missing
CERTAIN = 250  # the byte of the probability 1
OVERHEAD = 10  # bytes of an observation beside its values and probabilities: time and labels
CHANNEL_QUANTILES = (0.005, 0.995)  # the range of a channel in one state; values outside are drawn at its ends

CONTROLS = (
    '<div class="buttons"><label for="choice">sequence</label><select id="choice"></select>'
    '<button type="button" id="before">◀ previous</button><button type="button" id="after">next ▶</button></div>'
    '<p id="about" aria-live="polite"></p>'
    '<div class="buttons" role="group" aria-label="Look closer"><button type="button" id="closer">+ closer</button>'
    '<button type="button" id="wider">− wider</button><button type="button" id="whole">whole</button>'
    '<label for="visited">visits to</label><select id="visited"></select>'
    '<button type="button" id="visit-before">◀ visit before</button>'
    '<button type="button" id="visit-after">next visit ▶</button></div>'
    '<p id="extent" aria-live="polite"></p><div><canvas id="trace" role="img"></canvas></div>'
    '<div class="cursor"><label for="cursor">at</label> <output id="said" for="cursor"></output>'
    '<input type="range" id="cursor" min="0" value="0" step="1"></div>'
)
"""What `page.js` fills and listens to."""


def shown_part(segments: xr.Dataset, data: xr.Dataset) -> tuple[int, int]:
    """The number of sequences in a page, counted from the first, and the step between their observations.

    Every observation is kept, unless the first sequence alone is too long. Then the first of each visit is kept beside.

    Parameters
    ----------
    segments: from `segment`. data: the data that were segmented.
    """
    each = data.sizes["channel"] + segments.sizes["state"] + OVERHEAD
    total = each * np.cumsum(segments["times"].notnull().sum("time").values)
    return max(1, int((total <= PAGE_BYTES).sum())), max(1, -(-int(total[0]) // PAGE_BYTES))


def ranges(x: NDArray, label: NDArray) -> tuple[NDArray, NDArray]:
    """Lowest and highest value that is told apart, `(channel,)`: a state that is seen seldom lies within it, too.

    Parameters
    ----------
    x: `(sequence, time, channel)`. label: `(sequence, time)`, -1 undecided.
    """
    parts = [x[label == state] for state in np.unique(label)]
    ends = np.stack([_quantiles(part) for part in parts])
    return np.nanmin(ends[:, 0], 0), np.nanmax(ends[:, 1], 0)


def _quantiles(x: NDArray) -> NDArray:
    """Those of each channel, `(2, channel)`, NaN where it has no value."""
    found = np.full((2, x.shape[-1]), np.nan)
    seen = np.isfinite(x).any(0)
    found[:, seen] = np.nanquantile(x[:, seen], CHANNEL_QUANTILES, axis=0)
    return found


def packed(segments: xr.Dataset, data: xr.Dataset, truth: xr.Dataset | None = None) -> dict[str, object]:
    """The data of the sequence browser in `page.js`.

    Parameters
    ----------
    segments: from `segment`. data: what was segmented, `observations (sequence, time, channel)`; whole recordings
        where pieces were joined. truth: from `tables.score`, where the data carry one.

    Returns
    -------
    `channels`, `low` and `high` (their ranges), `time` (the word below the axis), `states`, `colours` and `inks` (by
    state), `sequences`: for each its `name`, how many `observations` it has, the `share` of each state in them, the
    `interval` between two, the `pause` from which on a gap is drawn, and in base64 `times` (float64), `x` (time,
    channel), `p` (time, state), `label` and perhaps `truth` (time), one byte each, see above, and `visits` (visit, 4),
    uint32: state, place of the first observation here, place behind the last, observations.
    """
    shown, step = shown_part(segments, data)
    x = data["observations"].transpose("sequence", "time", "channel").values
    low, high = ranges(x, segments["label"].values)
    level = np.clip(np.round(BYTE_LEVELS * (x[:shown] - low) / np.maximum(high - low, 1e-300)), 0, BYTE_LEVELS)
    called = data["sequence"].values if "sequence" in data.coords else range(shown)
    sequences = []
    for row in range(shown):
        one, there = _sequence(segments.isel(sequence=row), step)
        one |= {"name": str(called[row]), "x": _bytes(level[row, there])}
        if truth is not None:
            one["truth"] = _bytes(truth["states"].values[row, there])
        sequences.append(one)
    look = {
        "channels": channel_names(data),
        "low": low.tolist(),
        "high": high.tolist(),
        "time": time_name(data),
        "states": segments.sizes["state"],
        "colours": STATE_COLOURS,
        "inks": INKS,
    }
    return look | {"sequences": sequences}


def _sequence(one: xr.Dataset, step: int) -> tuple[dict[str, object], NDArray]:
    """What was found in a sequence, and which of its observations are kept."""
    length = int(one["times"].notnull().sum())
    times, label = (one[name].values[:length] for name in ("times", "label"))
    visits = np.array(envelopes.visits(label, times), int).reshape(-1, 3)
    changes = np.append(True, (np.diff(label) != 0) | envelopes.pauses(times))
    there = np.flatnonzero(changes | (np.arange(length) % step == 0))
    places = np.searchsorted(there, visits[:, 1:])
    interval = float(np.median(np.diff(times)))
    found: dict[str, object] = {
        "observations": length,
        "share": [float((label == state).mean()) for state in range(one.sizes["state"])],
        "interval": interval,
        "pause": interval * max(envelopes.PAUSE, 1.5 * step),
        "visits": _coded(np.column_stack([visits[:, 0], places, visits[:, 2] - visits[:, 1]]).astype("<u4")),
        "times": _coded(times[there].astype("<f8")),
        "p": _bytes(np.round(CERTAIN * one["probability"].transpose("time", "state").values[there])),
        "label": _bytes(label[there]),
    }
    return found, there


def _bytes(values: NDArray) -> str:
    """One byte per value; the last one where there is none, or where a label is −1."""
    known = np.isfinite(values) & (values >= 0)
    return _coded(np.where(known, values, UNKNOWN).astype(np.uint8))


def _coded(values: NDArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
