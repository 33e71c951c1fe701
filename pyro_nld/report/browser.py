"""Sequences packed for the sequence browser of a page: one byte per value, probability and label."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..plots.style import STATE_COLOURS
from .html import INKS

LONGEST = 2000  # observations of a sequence; of longer ones every second, third … is shown
PAGE_BYTES = 300_000  # of sequences in a page
BYTE_LEVELS, UNKNOWN = 254, 255  # a value within the range of its channel is one byte; 255 means that it is missing
CERTAIN = 250  # the byte of the probability 1
OVERHEAD = 10  # bytes of an observation beside its values and probabilities: time and labels
CHANNEL_QUANTILES = (0.005, 0.995)  # the range of a channel; values outside are drawn at its ends


def shown_part(segments: xr.Dataset, data: xr.Dataset) -> tuple[int, int]:
    """The number of sequences in a page, counted from the first, and the step between their observations.

    Parameters
    ----------
    segments: from `segment`. data: the data that were segmented.
    """
    step = -(-segments.sizes["time"] // LONGEST)
    each = -(-segments.sizes["time"] // step) * (data.sizes["channel"] + segments.sizes["state"] + OVERHEAD)
    return min(segments.sizes["sequence"], max(1, PAGE_BYTES // each)), step


def packed(
    segments: xr.Dataset, data: xr.Dataset, names: Sequence[str], truth: xr.Dataset | None = None
) -> dict[str, object]:
    """The data of the sequence browser in `page.js`.

    Parameters
    ----------
    segments: from `segment`. data: the data that were segmented, `observations (sequence, time, channel)`.
    names: of the channels. truth: from `tables.score`, where the data have true states.

    Returns
    -------
    `channels`, `states`, `colours` and `inks` (by state), and `sequences`. Each sequence has its `name` and, in base64,
    `times` (float64) and one byte for every entry of `x` (time, channel), `p` (time, state), `label` (time) and perhaps
    `truth` (time).
    """
    shown, step = shown_part(segments, data)
    x = data["observations"].transpose("sequence", "time", "channel").values
    low, high = np.nanquantile(x.reshape(-1, x.shape[-1]), CHANNEL_QUANTILES, axis=0)
    level = np.clip(np.round(BYTE_LEVELS * (x[:shown] - low) / np.maximum(high - low, 1e-300)), 0, BYTE_LEVELS)
    called = data["sequence"].values if "sequence" in data.coords else range(shown)
    sequences = []
    for row in range(shown):
        times = segments["times"].values[row]
        there = np.flatnonzero(np.isfinite(times))[::step]
        one = {
            "name": str(called[row]),
            "times": _coded(times[there].astype("<f8")),
            "x": _bytes(level[row, there]),
            "p": _bytes(np.round(CERTAIN * segments["probability"].values[row, there])),
            "label": _bytes(segments["label"].values[row, there]),
        }
        if truth is not None:
            one["truth"] = _bytes(truth["states"].values[row, there])
        sequences.append(one)
    states = segments.sizes["state"]
    look = {"channels": list(names), "states": states, "colours": STATE_COLOURS, "inks": INKS}
    return look | {"sequences": sequences}


def _bytes(values: NDArray) -> str:
    """One byte per value; the last one where there is none, or where a label is −1."""
    known = np.isfinite(values) & (values >= 0)
    return _coded(np.where(known, values, UNKNOWN).astype(np.uint8))


def _coded(values: NDArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
