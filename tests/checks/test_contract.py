"""What every diagnostic keeps: quiet where all is well, loud where a fault was planted, and in whole sentences.

A new diagnostic gets a line in `MEMBERS`, with results that are good and results with a fault, and inherits every test.
"""

import re

import numpy as np
import pytest
import xarray as xr

from pyro_nld.checks import diagnostics
from pyro_nld.checks.findings import VERDICTS, finding, run_check
from pyro_nld.io.inference_data import group, to_inference_data


def weights(draw, spread):
    """Results with log weights `(chain, draw, sequence)` of mean weight exp(−3), whatever the spread."""
    values = -3.0 - spread**2 / 2 + spread * draw.normal(size=(2, 200, 40))
    return to_inference_data({"sample_stats": xr.Dataset({"log_weight": (("chain", "draw", "sequence"), values)})})


def temperatures(draw, loc, scale):
    """Results with a temperature whose prior is LogNormal(0, 1) and whose posterior is LogNormal(loc, scale)."""
    laws = {"prior": (0.0, 1.0), "posterior": (loc, scale)}
    drawn = {name: np.exp(a + b * draw.normal(size=(1, 2000))) for name, (a, b) in laws.items()}
    return to_inference_data({name: xr.Dataset({"temperature": (("chain", "draw"), t)}) for name, t in drawn.items()})


def history(draw, rise):
    """Terms of an ELBO that rises as `rise(share of the steps)`, with noise."""
    elbo = rise(np.linspace(0, 1, 400)) + 0.01 * draw.normal(size=400)
    rest = dict.fromkeys(("path_kl", "initial_kl", "global_kl"), ("step", np.zeros(400)))
    return xr.Dataset({"log_likelihood": ("step", elbo), "learning_rate": ("step", np.full(400, 0.01)), **rest})


MEMBERS = {
    "guide": (diagnostics.guide, lambda draw: weights(draw, 0.3), lambda draw: weights(draw, 6.0)),
    "evidence": (diagnostics.evidence, lambda draw: weights(draw, 0.3), lambda draw: weights(draw, 8.0)),
    "identifiability": (
        diagnostics.identifiability,
        lambda draw: temperatures(draw, -0.3, 0.1),
        lambda draw: temperatures(draw, 0.0, 1.0),
    ),
    "optimisation": (
        diagnostics.optimisation,
        lambda draw: history(draw, lambda share: -np.exp(-20 * share)),
        lambda draw: history(draw, lambda share: 5 * share),
    ),
}


@pytest.fixture(params=MEMBERS, ids=list(MEMBERS))
def member(request):
    return MEMBERS[request.param]


@pytest.fixture
def draw(seed) -> np.random.Generator:
    return np.random.default_rng(seed)


def is_said_well(found: xr.Dataset) -> bool:
    """Whether a message is whole sentences, without a number that is none."""
    message = found.attrs["message"]
    return bool(re.fullmatch(r"\S[^\n]*[.!]", message)) and not re.search(r"\b(nan|inf|None)\b|  ", message)


def copies(results):
    """The Datasets in results."""
    if isinstance(results, xr.Dataset):
        return {"": results.copy(deep=True)}
    names = [name for name in ("posterior", "prior", "sample_stats") if name in dict_of(results)]
    return {name: group(results, name).copy(deep=True) for name in names}


def dict_of(results):
    return {name.strip("/") for name in (results.groups() if callable(results.groups) else results.groups)}


def test_it_is_quiet_where_all_is_well(member, draw):
    check, good, _ = member
    found = check(good(draw))
    assert (found.attrs["verdict"], found.attrs["ok"]) == ("good", 1)


def test_it_speaks_where_a_fault_was_planted(member, draw):
    check, _, bad = member
    found = check(bad(draw))
    assert found.attrs["verdict"] in VERDICTS[1:]
    assert found.attrs["ok"] == 0


def test_it_says_what_was_found_and_what_to_do(member, draw):
    check, good, bad = member
    well, ill = check(good(draw)), check(bad(draw))
    assert is_said_well(well)
    assert is_said_well(ill)
    assert well.attrs["message"] != ill.attrs["message"]


@pytest.mark.parametrize("message", ["low", "The gain is nan.", "Two  spaces.", "No end", ""])
def test_a_poor_sentence_is_seen(message):
    assert not is_said_well(finding({}, "bad", message))


def test_it_finds_the_same_again_and_leaves_its_results_alone(member, draw):
    check, good, _ = member
    results = good(draw)
    before = copies(results)
    xr.testing.assert_identical(check(results), check(results))
    after = copies(results)
    assert before.keys() == after.keys()
    for name, values in before.items():
        xr.testing.assert_identical(values, after[name])


def test_results_that_lack_what_it_needs_are_not_called_bad(member, draw):
    check, good, _ = member
    if isinstance(good(draw), xr.Dataset):
        return
    empty = to_inference_data({"observed_data": xr.Dataset({"x": ("time", [0.0])})})
    found = run_check(check, empty)
    assert found.attrs["verdict"] not in VERDICTS[1:]
    assert is_said_well(found)
