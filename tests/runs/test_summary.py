"""The summary: every field of the schema, numbers finite or null, older schemas still read."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from pyro_nld import diagnostics
from pyro_nld.io.inference_data import to_inference_data
from pyro_nld.runs import summary

FIRST = {
    "schema": 1,
    "elbo": {"total": -3.0, "log_likelihood": -2.0, "path_kl": 0.9, "initial_kl": 0.1, "per_observation": -0.5},
    "temperature": {"mean": 1.0, "q05": 0.8, "q95": 1.2, "contraction": 0.3},
    "states": 2,
    "occupancy": {"sampled": None, "energy": None, "harmonic": None, "data": [0.4, 0.6]},
    "warnings": ["it rained"],
}


def test_a_summary_of_the_first_schema_is_gone_on_with(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(FIRST))
    found = summary.update(tmp_path, ["it snowed"], states=3)
    assert found.keys() == summary.empty().keys()
    assert found["schema"] == summary.SCHEMA
    assert found["states"] == 3
    assert found["elbo"] == FIRST["elbo"]
    assert found["temperature"] == FIRST["temperature"] | {"verdict": None, "message": None}
    assert found["warnings"] == ["it rained", "it snowed"]


def test_what_is_not_finite_is_null(tmp_path):
    summary.write_json(tmp_path / "s.json", {"a": np.array([1.0, np.inf]), "b": {"c": float("nan")}, "d": np.int64(2)})
    assert summary.read_json(tmp_path / "s.json") == {"a": [1.0, None], "b": {"c": None}, "d": 2}


@pytest.mark.parametrize(("narrow", "free"), [(0.05, False), (0.7, False), (0.95, False), (0.05, True)])
def test_a_temperature_is_graded_in_one_place(narrow, free, seed):
    """Contraction in logarithms: of a log-normal, the linear sd is another number."""
    draw = np.random.default_rng(seed)
    prior = xr.DataArray(np.exp(draw.normal(size=(1, 4000))), dims=("chain", "draw"))
    posterior = xr.DataArray(np.exp(narrow * draw.normal(size=(1, 4000))), dims=("chain", "draw"))
    posterior.attrs["gauge_free"] = int(not free)
    results = to_inference_data(
        {"posterior": xr.Dataset({"temperature": posterior}), "prior": xr.Dataset({"temperature": prior})}
    )
    found = diagnostics.identifiability(results)
    contraction, verdict, message = diagnostics.of_quantity(results, "temperature")
    assert contraction == pytest.approx(1 - narrow, abs=0.05)
    assert (contraction, verdict, message) == (float(found["contraction"][0]), found.attrs["verdict"], message)
    assert message in found.attrs["message"]
    assert verdict == ("doubtful" if free or narrow == 0.7 else "good" if narrow == 0.05 else "bad")


def test_intervals_stand_beside_what_they_belong_to():
    routes = {"route": ["counted", "simulated"]}
    ends = {
        f"{name}_{end}": (("route", axis), [[value], [9.0]])
        for name, axis in (("dwell", "state"), ("relaxation", "mode"))
        for end, value in (("low", 1.0), ("high", 2.0))
    }
    landscape = xr.Dataset(ends, coords=routes)
    assert summary.finite(summary._intervals(landscape)) == {
        "occupancy": None, "barriers_kT": None, "dwell": [[1.0], [2.0]], "relaxation": [[1.0], [2.0]]
    }  # fmt: skip
    known = landscape.assign(barrier_low=(("state", "to"), [[np.nan]]), barrier_high=(("state", "to"), [[3.0]]))
    assert summary.finite(summary._intervals(known))["barriers_kT"] == [[[None]], [[3.0]]]
