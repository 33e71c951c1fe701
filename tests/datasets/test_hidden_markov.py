"""A Gaussian hidden Markov model fitted by EM: finds what made the data, and segments as well as the truth can."""

import importlib

import numpy as np
import pytest

import pyro_nld as nld
from pyro_nld.checks import accuracy
from pyro_nld.datasets import hidden_markov, oracles


@pytest.fixture(scope="module")
def data():
    return nld.datasets.three_state(40, 100, seed=1, channels=6, transition=nld.datasets.asymmetric_transition())


@pytest.fixture(scope="module")
def model(data):
    return hidden_markov.fitted(data, 3)


def test_the_parameters_are_found(data, model):
    order = np.linalg.norm(model["means"].values[:, None] - data["means"].values, axis=-1).argmin(0)
    assert sorted(order) == [0, 1, 2]
    visits = np.bincount(data["states"].values.ravel())
    error = np.abs(model["means"].values[order] - data["means"].values)
    spread = np.sqrt(data["covariances"].values[:, range(6), range(6)] / visits[:, None])
    assert (error < 5 * spread).all()
    stay = data["transition"].values.diagonal()
    error = np.abs(model["transition"].values.diagonal()[order] - stay)
    assert (error < 5 * np.sqrt(stay * (1 - stay) / visits)).all()


@pytest.mark.parametrize("online", [True, False])
def test_it_segments_nearly_as_well_as_the_truth(data, model, online):
    new = nld.datasets.three_state(40, 100, seed=2, channels=6, transition=nld.datasets.asymmetric_transition())
    score = accuracy.score(hidden_markov.segment(model, new, online), new)
    assert float(score["accuracy"]) > float(score["best"]) - 0.01
    assert float(score["best"]) == np.mean(oracles.hmm_posterior(new, online)["label"].values == new["states"].values)


def test_its_likelihood_is_no_less_than_the_truths(data, model):
    truth = float(oracles.hmm_posterior(data, True)["log_evidence"].sum()) / data["observations"].size
    assert model.attrs["log_evidence"] > truth


def test_too_few_states_segment_badly(data):
    score = accuracy.score(hidden_markov.segment(hidden_markov.fitted(data, 2), data, True), data)
    assert float(score["accuracy"]) < float(score["best"]) - 0.1


def test_missing_values_are_refused(data):
    holes = data.copy(deep=True)
    holes["observations"][0, 0, 0] = np.nan
    with pytest.raises(nld.DataError, match="hmmlearn reads whole sequences alone: some observations are missing"):
        hidden_markov.fitted(holes, 3)


def test_an_absent_extra_says_how_to_get_it(data, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(nld.MissingExtra, match=r'pip install "pyro_nld\[kinetics\]"'):
        hidden_markov.fitted(data, 3)
