"""Figures of the course of a fit."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from .style import ACCENT, STATE_COLOURS

KL_LABELS = {"path_kl": "path", "initial_kl": "initial state", "global_kl": "other latents"}


def loss(history: xr.Dataset) -> Figure:
    """The ELBO and its terms per observed value, the norm of the gradient and the learning rate, against the step.

    Parameters
    ----------
    history: `Fit.history`.
    """
    figure = Figure(figsize=(11, 3.3), layout="constrained")
    bound, divergence, optimiser = figure.subplots(1, 3)
    elbo = history["log_likelihood"] - sum(history[name] for name in KL_LABELS)
    bound.plot(history["step"], history["log_likelihood"], color=STATE_COLOURS[4], lw=0.8, label="log likelihood")
    bound.plot(history["step"], elbo, color="black", lw=0.8, label="ELBO")
    if late := elbo.values[len(elbo) // 20 :].tolist():  # the first steps would compress the rest
        lowest, highest = np.nanmin(late), np.nanmax(history["log_likelihood"])
        bound.set_ylim(lowest - 0.1 * (highest - lowest), highest + 0.1 * (highest - lowest))
    bound.set(title="bound, per observed value", xlabel="step")
    for shade, (name, label) in zip(STATE_COLOURS, KL_LABELS.items(), strict=False):
        positive = history[name].where(history[name] > 0)
        if bool(positive.notnull().any()):
            divergence.semilogy(history["step"], positive, color=shade, lw=0.8, label=label)
    divergence.set(title="KL terms, per observed value", xlabel="step")
    optimiser.semilogy(history["step"], history["gradient_norm"], color="0.4", lw=0.8, label="norm of the gradient")
    optimiser.semilogy(history["step"], history["learning_rate"], color=ACCENT, lw=1, label="learning rate")
    optimiser.set(title="optimiser", xlabel="step")
    for axes in (bound, divergence, optimiser):
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
