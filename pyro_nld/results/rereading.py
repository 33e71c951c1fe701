"""Results that are read again with another landscape, from the draws that they hold: nothing is drawn anew.

Examples
--------
>>> _ = torch.manual_seed(0)
>>> data = nld.datasets.ornstein_uhlenbeck(sequences=4, steps=10)
>>> motion, likelihood = nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(nld.IdentityDecoder(1))
>>> model = nld.LatentLangevin(motion, likelihood, substeps=2, time_unit=1.0)
>>> fit = nld.Fit(model, nld.AmortizedGuide(model, nld.GRUEncoder(1)), *nld.as_tensors(data))
>>> from pyro_nld.results.rereading import with_states
>>> results = with_states(fit, fit.inference_data(draws=3, states=False), fit.wells())
>>> results["posterior"]["basin"].values.max().item()  # one well
0.0
"""

from __future__ import annotations

import torch
import xarray as xr

from ..fitting.draws import Draw, inference_mode
from ..io.inference_data import Results, group, groups, to_inference_data
from . import ensemble
from .fit import Fit
from .naming import named

NOTHING = torch.zeros(0)


def with_states(fit: Fit, results: Results, states: xr.Dataset) -> Results:
    """The results of `Fit.inference_data`, with these states read in their draws.

    Parameters
    ----------
    fit: that gave the results. results: with the group posterior. states: `Fit.landscape()` or `Fit.wells()`.
    """
    names, found = [*fit.medians, "z"], {name: group(results, name) for name in groups(results)}
    bare = group(results, "posterior", *names)[names]
    with inference_mode(0):
        read = fit.ensemble(fit.restarts(), drawn(bare), states)
    told = bare.assign(read.data_vars)
    free = ensemble.gauge_free(fit.model)
    for name, values in told.items():
        values.attrs["gauge_free"] = int(name in free)
    return to_inference_data(found | {"posterior": named(told, fit.about)})


def drawn(posterior: xr.Dataset) -> list[list[Draw]]:
    """The draws of every chain as far as a posterior group holds them: globals and z.

    Parameters
    ----------
    posterior: globals and z, each over `chain` and `draw` first.
    """
    values = {str(name): torch.as_tensor(held.values) for name, held in posterior.items()}

    def one(chain: int, draw: int) -> Draw:
        own = {name: held[chain, draw] for name, held in values.items()}
        return Draw(own, own.pop("z"), {}, NOTHING, NOTHING, NOTHING, NOTHING)

    chains, draws = (range(posterior.sizes[name]) for name in ("chain", "draw"))
    return [[one(chain, draw) for draw in draws] for chain in chains]
