"""The plain alternative: a hidden Markov model with one Gaussian per state, fitted by expectation maximisation.

It knows that states switch at once, which a Langevin prior does not, and it says how many there are only if it is told.
What it knows of states is in `oracles.hmm_posterior`, here with parameters that were fitted instead of true ones.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..errors import DataError, optional
from ..io.series import dataset_observations, dataset_times
from . import oracles

EM_ITERATIONS = 100


def fitted(data: xr.Dataset, states: int, seed: int = 0) -> xr.Dataset:
    """argmax log p(x | P, π, μ, Σ) by Baum and Welch's algorithm, full covariances, started by k-means.

    Parameters
    ----------
    data: observations(sequence, time, channel) at regular times, none missing. states: how many.
    seed: of the start.

    Returns
    -------
    `transition (state, next_state)`, `initial (state)`, `means (state, channel)`, `covariances (state, channel,
    other_channel)`, as `oracles.hmm_posterior` wants them; attr `log_evidence`, per observed value.

    Raises
    ------
    DataError: observations are missing. MissingExtra: hmmlearn is not installed.

    References
    ----------
    L. R. Rabiner, Proc. IEEE 77:257–286, 1989; hmmlearn.
    """
    hmm = optional("hmmlearn.hmm", "kinetics")
    x = dataset_observations(data).astype(float)
    if not np.isfinite(x).all() or np.isnan(dataset_times(data)).any():
        raise DataError("hmmlearn reads whole sequences alone: some observations are missing. Drop or fill those.")
    model = hmm.GaussianHMM(states, covariance_type="full", n_iter=EM_ITERATIONS, tol=1.0, random_state=seed)
    rows, lengths = x.reshape(-1, x.shape[-1]), [x.shape[1]] * len(x)
    model.fit(rows, lengths)
    return xr.Dataset(
        {
            "transition": (("state", "next_state"), model.transmat_),
            "initial": ("state", model.startprob_),
            "means": (("state", "channel"), model.means_),
            "covariances": (("state", "channel", "other_channel"), model.covars_),
        },
        attrs={"log_evidence": float(model.score(rows, lengths)) / x.size},
    )


def segment(model: xr.Dataset, data: xr.Dataset, online: bool) -> xr.Dataset:
    """P(sₜ | data) under fitted parameters, in the form of `segment`; the best that such a model can do.

    Parameters
    ----------
    model: from `fitted`. data: what to segment. online: use the past and present alone.
    """
    series = data[["observations", *(name for name in ("times",) if name in data)]]
    return oracles.hmm_posterior(series.assign({name: model[name] for name in oracles.HIDDEN_MARKOV}), online)
