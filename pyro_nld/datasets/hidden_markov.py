"""A hidden Markov model with one Gaussian per state, fitted by expectation maximisation: a model to compare with.

It assumes that states switch instantly, which a Langevin prior does not, and it needs the number of states. States are
inferred as in `oracles.hmm_posterior`, with fitted parameters instead of the true ones.

Examples
--------
Two states that are left with probability 0.1 per step, at the levels ±1 (this needs the extra `kinetics`):

>>> levels = {"means": [[-1.0], [1.0]], "covariances": [[[0.04]], [[0.04]]]}
>>> data = nld.datasets.three_state(20, 100, transition=[[0.9, 0.1], [0.1, 0.9]], **levels)
>>> model = nld.hidden_markov.fitted(data, states=2)
>>> model["transition"].values.round(1).tolist()
[[0.9, 0.1], [0.1, 0.9]]
>>> float(abs(model["means"]).max().round(1))
1.0
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..errors import DataError, optional
from ..io.series import dataset_observations, dataset_times
from . import oracles

EM_ITERATIONS = 100


def fitted(data: xr.Dataset, states: int, seed: int = 0) -> xr.Dataset:
    """argmax log p(x | P, π, μ, Σ) by the algorithm of Baum and Welch, with full covariances, started by k-means.

    Parameters
    ----------
    data: observations(sequence, time, channel) at regular times, none missing.
    states: number of states.
    seed: of the start.

    Returns
    -------
    Dataset of transition(state, next_state), initial(state), means(state, channel) and covariances(state, channel,
    other_channel), the input of `oracles.hmm_posterior`; the attribute `log_evidence` is per observed value.

    Raises
    ------
    DataError: observations are missing. MissingExtra: hmmlearn is not installed.

    References
    ----------
    L. R. Rabiner, Proc. IEEE 77:257–286, 1989; hmmlearn.
    """
    hmm, pools = optional("hmmlearn.hmm", "kinetics"), optional("threadpoolctl", "kinetics")
    x = dataset_observations(data).astype(float)
    if not np.isfinite(x).all() or np.isnan(dataset_times(data)).any():
        raise DataError("hmmlearn reads whole sequences alone: some observations are missing. Drop or fill those.")
    model = hmm.GaussianHMM(states, covariance_type="full", n_iter=EM_ITERATIONS, tol=1.0, random_state=seed)
    rows, lengths = x.reshape(-1, x.shape[-1]), [x.shape[1]] * len(x)
    with pools.threadpool_limits(1):  # its first clusters take a thread per processor, which wait for each other
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
    model: from `fitted`.
    data: the series to segment.
    online: use the past and the present alone.
    """
    series = data[["observations", *(name for name in ("times",) if name in data)]]
    return oracles.hmm_posterior(series.assign({name: model[name] for name in oracles.HIDDEN_MARKOV}), online)
