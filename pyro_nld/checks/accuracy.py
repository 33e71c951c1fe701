"""Labels against true states: the matching of the states, and the share of correct labels."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..datasets import oracles

Labels = NDArray[np.integer]


def match(labels: Labels, truth: Labels, states: int) -> Labels:
    """The true state of each found state: the assignment with the most equal labels; -1 where there is none.

    Parameters
    ----------
    labels, truth: integers of the same shape, -1 where unknown.
    states: number of found states.
    """
    known = (labels >= 0) & (truth >= 0)
    agree = np.zeros((states, int(truth.max(initial=0)) + 1), int)
    np.add.at(agree, (labels[known], truth[known]), 1)
    rows, columns = linear_sum_assignment(-agree)
    partner = np.full(states, -1)
    partner[rows] = columns
    return partner


def score(segments: xr.Dataset, data: xr.Dataset) -> xr.Dataset | None:
    """How often labels agree with the true states, after matching; None where the data have no true states.

    Parameters
    ----------
    segments: from `segment`.
    data: the data that were segmented, with `states (sequence, time)`, -1 where unknown, and perhaps `occupancy` by
        true state and the parameters of the hidden Markov chain that made them (`datasets.three_state`).

    Returns
    -------
    Dataset with `accuracy`, `spread` (standard deviation over sequences), `partner (state)`, `states (sequence, time)`
    (the truth in the numbers of the found states, -1 without partner), `occupancy (state)`; and `best`, the accuracy of
    the exact posterior under the true parameters, where they are known. An undecided label counts as wrong.
    """
    truth = np.asarray(data["states"]) if "states" in data else np.array([-1])
    known = truth >= 0
    if not known.any():
        return None
    labels, found_states = segments["label"].values, segments.sizes["state"]
    partner = match(labels, truth, found_states)
    found = np.full(int(truth.max()) + 2, -1)  # its last entry is for an unknown truth, -1
    found[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    states = found[truth]
    right = np.where(known, (labels == states) & (states >= 0), np.nan)[known.any(-1)]
    variables = {
        "accuracy": float(np.nanmean(right)),
        "spread": float(np.nanmean(right, -1).std()),
        "partner": ("state", partner),
        "states": (("sequence", "time"), states),
        "occupancy": ("state", _shares(truth[known], data.get("occupancy"), partner)),
    }
    best = _best(data, truth, bool(segments.attrs["online"]))
    return xr.Dataset(variables if best is None else variables | {"best": best}, attrs=segments.attrs)


def _shares(truth: Labels, law: xr.DataArray | None, partner: Labels) -> NDArray[np.floating]:
    """The true occupancy of each found state; 0 where it has no partner."""
    every = np.bincount(truth) / len(truth) if law is None else np.asarray(law)
    return np.where(partner >= 0, every[np.clip(partner, 0, None)], 0.0)


def _best(data: xr.Dataset, truth: Labels, online: bool) -> float | None:
    if not all(name in data for name in oracles.HIDDEN_MARKOV):
        return None
    labels = oracles.hmm_posterior(data, online=online)["label"].values
    return float((labels == truth)[truth >= 0].mean())
