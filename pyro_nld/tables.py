"""Tables a person reads in a terminal: the states, and how they compare with a truth that is known."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment


def match(labels: np.ndarray, truth: np.ndarray, states: int) -> np.ndarray:
    """The true state that each found state stands for: the assignment that agrees most often; -1 for none.

    Parameters
    ----------
    labels, truth: integers of one shape, -1 unknown.
    states: number of found states.
    """
    known = (labels >= 0) & (truth >= 0)
    true_states = int(truth.max()) + 1
    agree = np.zeros((states, true_states), int)
    np.add.at(agree, (labels[known], truth[known]), 1)
    rows, columns = linear_sum_assignment(-agree)
    partner = np.full(states, -1)
    partner[rows] = columns
    return partner


def score(segments: xr.Dataset, truth: xr.DataArray, occupancy: xr.DataArray | None = None) -> xr.Dataset:
    """How often labels agree with a known truth, after matching the states.

    Parameters
    ----------
    segments: from `segment`.
    truth: true states `(sequence, time)`, -1 unknown.
    occupancy: true occupancy by true state; the shares in `truth` when None.

    Returns
    -------
    Dataset with `accuracy`, `spread` (standard deviation over sequences), `partner (state)`, `states (sequence, time)`
    (the truth in the numbers of the found states, -1 without partner) and `occupancy (state)`.
    """
    labels, known = segments["label"].values, truth.values >= 0
    partner = match(labels, truth.values, segments.sizes["state"])
    found = np.full(int(truth.max()) + 2, -1)
    found[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    states = np.where(known, found[truth.values], -1)
    right = np.where(known, labels == np.where(states < 0, -2, states), np.nan)
    law = np.bincount(truth.values[known]) / known.sum() if occupancy is None else occupancy.values
    shares = np.where(partner >= 0, law[np.clip(partner, 0, len(law) - 1)], 0.0)
    return xr.Dataset(
        {
            "accuracy": float(np.nanmean(right)),
            "spread": float(np.nanmean(right, -1).std()),
            "partner": ("state", partner),
            "states": (("sequence", "time"), states),
            "occupancy": ("state", shares),
        }
    )


def states(story: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """One row per state: depth, occupancies by energy, harmonic and data (and the truth), curvatures.

    Parameters
    ----------
    story: `Fit.landscape()`.
    truth: from `score`.
    """
    depth = (story["energy"] - story["energy"].min()) / story.attrs["temperature"]
    columns = {
        "state": [str(state) for state in range(story.sizes["state"])],
        "U/T": _numbers(depth, 2),
        "by energy": _numbers(story["occupancy_energy"], 3),
        "harmonic": _numbers(story["occupancy_harmonic"], 3),
        "in the data": _numbers(story["occupancy_data"], 3),
    }
    if truth is not None:
        columns["truth"] = _numbers(truth["occupancy"], 3)
    columns["curvature/T"] = [
        f"{low:.1f} … {high:.1f}" for low, high in story["curvature"].values[:, [0, -1]] / story.attrs["temperature"]
    ]
    return _aligned(columns)


def findings(story: xr.Dataset, truth: xr.Dataset | None = None) -> str:
    """What to say under the table of states: agreement with the truth, and whether the step was fine enough."""
    lines = []
    if truth is not None:
        error = float(abs(story["occupancy_harmonic"] - truth["occupancy"]).sum())
        lines.append(f"accuracy against the true states {100 * float(truth['accuracy']):.2f} %")
        lines.append(f"ℓ1 error of the harmonic occupancies {error:.3f}")
    verdict = (
        "fine"
        if story.attrs["ok"]
        else f"too coarse for landscape numbers: use substeps = {story.attrs['substeps_needed']}"
    )
    lines.append(f"largest curvature × step {story.attrs['max_curvature_step']:.2f}: {verdict}")
    return "\n".join(lines)


def _numbers(values: xr.DataArray, digits: int) -> list[str]:
    return [f"{value:.{digits}f}" for value in values.values]


def _aligned(columns: dict[str, list[str]]) -> str:
    widths = {name: max(len(name), *(len(cell) for cell in cells)) for name, cells in columns.items()}
    rows = [list(columns), *([*row] for row in zip(*columns.values(), strict=True))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths.values(), strict=True)) for row in rows
    )
