"""Figures of transition paths: the tube they go through, and how long they take."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from .style import colour, in_unit

BINS = 30
LINES = ("-", "--", "-.", ":")  # of the first latent axis, the second, …


def passages(found: xr.Dataset) -> Figure:
    """For every two states: the place along each latent axis during a passage, and the durations of all passages.

    Bands hold 50 and 90 % of the paths, lines are their middle; the two directions have the colour of the state that is
    left. In equilibrium they are the same tube, run through in the two senses.

    Parameters
    ----------
    found: `transition_paths(fit)`, or `kinetics.passages`.
    """
    number = found["number"].values + found["number"].values.T
    pairs = np.argwhere(np.triu(number, 1) > 0).tolist()
    columns = max(len(pairs), 1)
    figure = Figure(figsize=(4.0 * columns, 5.0), layout="constrained")
    rows = figure.subplots(2, columns, squeeze=False, height_ratios=(2, 1))
    for place, (i, j) in enumerate(pairs):
        above, below = rows[0, place], rows[1, place]
        for state, to in ((i, j), (j, i)):
            tube = found["tube"].isel(state=state, to=to)
            for axis in range(found.sizes["latent"]):
                low, lower, middle, upper, high = tube.isel(latent=axis).values
                share = found["share"].values
                above.fill_between(share, low, high, color=colour(state), alpha=0.12, lw=0)
                above.fill_between(share, lower, upper, color=colour(state), alpha=0.25, lw=0)
                above.plot(
                    share, middle, color=colour(state), ls=("-", "--", "-.", ":")[axis % 4], label=f"axis {axis}"
                )
        mine = np.isin(found["passage_from"], (i, j)) & np.isin(found["passage_to"], (i, j))
        durations, source = found["passage_duration"].values[mine], found["passage_from"].values[mine]
        edges = np.linspace(0, np.quantile(durations, 0.99), BINS + 1)
        for state, to in ((i, j), (j, i)):
            count = int(found["number"][state, to])
            label = f"{state} to {to}: {count}"
            below.hist(durations[source == state], edges, histtype="step", color=colour(state), label=label)
        above.set(title=f"states {i} and {j}", xlabel="share of the passage", xlim=(0, 1))
        below.set(xlabel=in_unit("duration", found["passage_duration"]), yticks=[])
        below.legend(frameon=False, fontsize=7)
        if found.sizes["latent"] > 1:
            above.legend(frameon=False, fontsize=7)
    rows[0, 0].set_ylabel("latent position")
    rows[1, 0].set_ylabel("passages")
    return figure
