"""A page of a run for the tests that read one, made without a fit."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld import report
from pyro_nld.runs import summary

CENTRES = [[-1.0, -0.6], [1.0, -0.6], [0.1, 1.1]]
INTERVAL = 0.25
ORIGIN = report.Origin("wells <2>.csv", "three wells", 'PRIORS = {"a": 1 < 2}', "Read from a file.", ["python a & b"])


def landscape_of(centres):
    """A landscape that is written down, and data that visit its wells in turn, with a guide that was not fitted."""
    latent = len(centres[0])
    potential = nld.GaussianWells(centres, widths=0.35)
    draw = np.random.default_rng(0)
    states = np.arange(6 * 60).reshape(6, 60) // 12 % len(centres)
    x = np.asarray(centres)[states] + 0.2 * draw.standard_normal((6, 60, latent))
    x[1, 3, 1:] = np.nan  # one channel alone stays whole: nothing observed at a time would be a warning
    times = np.tile(INTERVAL * np.arange(60.0), (6, 1))
    times[2, 50:], x[2, 50:], states[2, 50:] = np.nan, np.nan, -1
    data = nld.datasets.from_arrays(times, x, states)
    dynamics = nld.OverdampedLangevin(potential, temperature=1.0)
    model = nld.LatentLangevin(dynamics, nld.Gaussian(nld.IdentityDecoder(latent), 0.1), substeps=20)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(latent, size=4, hidden=4))
    guide(*nld.as_tensors(data))
    fit = nld.Fit(model, guide, *nld.as_tensors(data), history=history())
    positions = torch.as_tensor(np.nan_to_num(x), dtype=torch.float32)
    fit.positions = lambda data=None, draws=1, seed=0: positions.expand(draws, *positions.shape)
    return fit, data


def history(steps=50):
    step = np.arange(steps)
    terms = dict.fromkeys(("path_kl", "initial_kl", "global_kl"), ("step", np.full(steps, 0.1)))
    columns = {"log_likelihood": ("step", -np.exp(-step / 5.0)), "gradient_norm": ("step", np.ones(steps))}
    return xr.Dataset(columns | terms | {"learning_rate": ("step", np.ones(steps)), "seconds": ("step", step / 9.0)})


def made(centres, folder):
    """A page with all that it was made from."""
    fit, data = landscape_of(centres)
    # What is simulated is shown here, not judged.
    routes, fits = (sys.modules[f"pyro_nld.{name}"] for name in ("kinetics.routes", "results.fit"))
    with patch.object(routes, "LOOKS", (50, 60)), patch.object(fits, "CHAINS", 40):
        landscape = fit.landscape()
    segments = nld.segment(fit, wells=landscape, draws=2)
    temperature = dict.fromkeys(summary.FIELDS["temperature"]) | {"mean": 1.0}
    numbers = summary.update(folder, ["it <rained>"], temperature=temperature, **summary.of_landscape(landscape))
    text = report.page(fit, data, landscape, segments, numbers, ORIGIN)
    return SimpleNamespace(fit=fit, data=data, landscape=landscape, segments=segments, summary=numbers, text=text)
