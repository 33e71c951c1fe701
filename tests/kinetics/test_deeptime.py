"""Counting beside deeptime, the Markov-state-model library: the same labels give the same chain."""

import numpy as np
import pytest
from deeptime.markov import msm as estimators

import pyro_nld as nld
from pyro_nld import kinetics

LAG = 3


@pytest.fixture(scope="module")
def labels():
    """A long asymmetric chain of three states."""
    data = nld.datasets.three_state(
        sequences=40, steps=500, seed=0, transition=nld.datasets.asymmetric_transition(), first_state=None
    )
    return data["states"].values


def fitted(labels, **options):
    return estimators.MaximumLikelihoodMSM(lagtime=LAG, **options).fit_fetch(list(labels))


def test_the_transition_matrix_is_that_of_an_unconstrained_msm(labels):
    msm = fitted(labels, reversible=False)
    np.testing.assert_allclose(kinetics.transition_matrix(labels, 3, lag=LAG), msm.transition_matrix, atol=1e-12)


def test_implied_timescales_are_those_of_the_msm(labels):
    own = kinetics.implied_timescales(kinetics.transition_matrix(labels, 3, lag=LAG), float(LAG))
    np.testing.assert_allclose(own, fitted(labels, reversible=False).timescales(), rtol=1e-8)
    np.testing.assert_allclose(own, fitted(labels).timescales(), rtol=0.02)  # reversible: the same within statistics


def test_relaxation_times_of_counted_rates_are_those_of_the_msm(labels):
    times = np.arange(labels.shape[1], dtype=float)[None].repeat(len(labels), 0)
    route = kinetics.by_counting(kinetics.count(labels, times, 3))
    # A rate seen once per unit of time is 1 − e^{−k}, short of k by k/2.
    np.testing.assert_allclose(kinetics.relaxation(route["rate"].values), fitted(labels).timescales(), rtol=0.06)
