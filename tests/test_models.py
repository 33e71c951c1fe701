"""The gallery: every model file keeps its contract, and ends in its own known answer when it is run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from programs import Programs
from pyro import poutine
from pyro.distributions import Distribution

import pyro_nld as nld
from pyro_nld.runs.model_files import load_model_file

ROOT = Path(__file__).parents[1]
GALLERY = sorted((ROOT / "models").glob("*.py"))
NAMES = [path.stem for path in GALLERY]


@pytest.fixture(params=GALLERY, ids=NAMES)
def file(request):
    return load_model_file(request.param)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    return Programs(tmp_path_factory.mktemp("gallery"), patience=900.0, brief=False)


@cache
def simulated(path: Path) -> xr.Dataset:
    """Simulation 0 of a model file, made once; and it leaves the caller's random numbers alone."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    data = load_model_file(path).simulate(0)
    assert torch.equal(before, torch.get_rng_state())
    return data


def few(file) -> xr.Dataset:
    return simulated(Path(file.__file__)).isel(sequence=slice(4), time=slice(12))


def test_the_gallery_is_listed_where_people_look():
    """models/README.md names every file, and no file that is not there."""
    text = (ROOT / "models" / "README.md").read_text()
    assert [name for name in NAMES if f"{name}.py" not in text] == []
    named = [Path(word.split()[-1]).stem for word in text.split("`") if word.endswith(".py")]
    assert sorted(set(named)) == NAMES


def test_a_model_file_says_what_it_claims(file):
    assert file.__doc__.startswith("Claim: ")
    assert file.PRIORS
    assert all(value is None or isinstance(value, int | float | Distribution) for value in file.PRIORS.values())


@pytest.mark.parametrize("path", GALLERY, ids=NAMES)
def test_a_model_file_run_directly_says_the_same_every_time(path):
    """Torch begins at another seed in every process; the data have theirs, the weights of `build` do not."""
    main = path.read_text().split('__name__ == "__main__"')[1]
    assert main.index("torch.manual_seed(") < main.index("build(")


def test_a_simulation_carries_its_known_answer(file):
    data = simulated(Path(file.__file__))
    assert set(data["observations"].dims) == {"sequence", "time", "channel"}
    assert data.attrs or "occupancy" in data
    xr.testing.assert_identical(data, file.simulate(0))
    assert not np.allclose(data["observations"], file.simulate(1)["observations"])


def test_a_built_pair_has_a_finite_bound(file):
    data = few(file)
    model, guide = file.build(data)
    times, x = nld.as_tensors(data)
    guide(times, x)
    assert np.isfinite(nld.PathELBO().loss(model, guide, times, x))


def test_every_prior_reaches_the_model(file):
    """Swapping a distribution in PRIORS for a number fixes the site: PRIORS is no decoration."""
    data = few(file)
    for name, value in file.PRIORS.items():
        if not isinstance(value, Distribution):
            continue
        assert name in sites(file, data)
        file.PRIORS[name] = 0.7
        assert name not in sites(file, data)
        file.PRIORS[name] = value


def sites(file, data: xr.Dataset) -> set[str]:
    pyro.clear_param_store()
    trace = poutine.trace(file.build(data)[0]).get_trace(*nld.as_tensors(data))
    return set(trace.nodes)


IN_A_NOTEBOOK = {
    "three_state_switching": (
        "05_the_paper",
        ["three_state_switching.py", 'assert wells.sizes["state"] == 3', "assert error < 0.1"],
    ),
    "smfret": ("08_instruments", ["nld.Poisson(Dyes())", 'assert error["photons"] < 0.1']),
    "spike_counts": ("08_instruments", ["assert by_counts.wells().sizes", "assert gained > 0.75"]),
    "my_data": ("07_real_recordings", ["nld.select(", "assert with_judge > 0.95"]),
}
"""Files whose answer a notebook finds, in CI: in which, and what it has to say. `make science` runs the files, too."""


@pytest.mark.parametrize("name", IN_A_NOTEBOOK)
def test_what_is_not_run_directly_here_has_its_answer_in_a_notebook(name):
    notebook, said = IN_A_NOTEBOOK[name]
    code = "".join(cell.source for cell in nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4).cells)
    assert [words for words in said if words not in code] == []


MINUTES = {
    "tweezers"
}  # alone it takes four; what it stands on, a molecule and its bead, is in fitting/test_point_masses


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.science] * (path.stem in MINUTES | {*IN_A_NOTEBOOK})) for path in GALLERY],
    ids=NAMES,
)
def test_a_model_file_run_directly_finds_its_answer(programs, path):
    done = programs.run(str(path))
    assert done.code == 0, done.err[-2000:]
    assert done.out.strip()


def test_an_answer_that_is_wrong_fails(programs):
    """The double well, left after five steps, far from the temperature of its data."""
    text = (ROOT / "models" / "double_well.py").read_text()
    wrong = text.replace("steps=500", "steps=5")
    assert wrong != text
    path = programs.folder / "double_well.py"
    path.write_text(wrong)
    done = programs.run(str(path))
    assert done.code == 1
    assert "AssertionError" in done.err
