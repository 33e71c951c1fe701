"""Threads are left as users have them, and calls side by side give what they give one after the other."""

import sys
import warnings

import cloudpickle
import joblib
import pyro.distributions as dist
import pytest
import torch

import pyro_nld as nld
from pyro_nld.fitting import jobs


@pytest.fixture
def many_threads(monkeypatch):
    """As many threads as cores, which is torch's own number; the tests themselves run with one."""
    for name in jobs.CHOICES:
        monkeypatch.delenv(name, raising=False)
    cores = joblib.cpu_count(only_physical_cores=True)
    torch.set_num_threads(cores)
    yield cores
    torch.set_num_threads(1)


def test_a_number_that_nobody_chose_is_one_inside_and_what_it_was_after(many_threads):
    def fail():
        with jobs.one_thread():
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.get_num_threads() == many_threads


@pytest.mark.parametrize("name", jobs.CHOICES)
def test_a_choice_in_the_environment_is_respected(many_threads, monkeypatch, name):
    monkeypatch.setenv(name, str(many_threads))
    with jobs.one_thread():
        assert torch.get_num_threads() == many_threads


def test_a_choice_in_the_program_is_respected(many_threads, monkeypatch):
    monkeypatch.setattr(jobs, "_cores", lambda: 8)
    torch.set_num_threads(3)
    with jobs.one_thread():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 3


def draw(seed, size):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        warnings.warn(f"drawn with {seed}", nld.DoubtfulDataWarning, stacklevel=1)
        return torch.randn(size), torch.get_num_threads()


@pytest.fixture(scope="module", autouse=True)
def _tests_go_to_other_processes():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_calls_side_by_side_are_those_one_after_the_other(backend):
    calls = [(seed, 3) for seed in range(5)]
    torch.set_default_dtype(torch.float64)
    with pytest.warns(nld.DoubtfulDataWarning) as told:
        alone = list(jobs.side_by_side(draw, calls, 1))
    with joblib.parallel_config(backend=backend), pytest.warns(nld.DoubtfulDataWarning) as told_again:
        together = list(jobs.side_by_side(draw, calls, 2))
    assert [str(one.message) for one in told] == [str(one.message) for one in told_again]
    assert together[0][0].dtype == torch.float64
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one[0], other[0])
        assert other[1] == torch.get_num_threads()


def build(seed):
    """A model of a class that no other process can import."""

    class Well(nld.Quadratic):
        pass

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        motion = nld.OverdampedLangevin(Well([1.0]), dist.LogNormal(0.0, 0.2))
        model = nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1)), substeps=2, time_unit=1.0)
        return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))


def test_restarts_in_other_processes_are_those_one_after_the_other_to_the_bit(tmp_path):
    data, schedule = nld.datasets.ornstein_uhlenbeck(6, 8, seed=0), nld.Schedule(steps=5)
    options = {"restarts": 3, "seed": 7, "progress": False}
    alone, before = nld.fit(*build(0), data, schedule, **options), torch.get_rng_state()
    path = tmp_path / "checkpoint.pt"
    together = nld.fit(*build(0), data, schedule, n_jobs=2, checkpoint=path, **options)
    assert [run["elbo"] for run in alone.runs] == [run["elbo"] for run in together.runs]
    for one, other in zip(alone.runs, together.runs, strict=True):
        for part in ("model", "guide"):
            assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())
    assert torch.equal(torch.get_rng_state(), before)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.fixture(scope="module")
def cluster():
    """Two processes of dask.distributed on this machine."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as made, Client(made) as client:
        yield client


@pytest.mark.dask
@pytest.mark.filterwarnings("ignore")  # of the messages between processes, none of ours
def test_restarts_of_a_client_of_dask_are_those_one_after_the_other_to_the_bit(cluster):
    data, schedule = nld.datasets.ornstein_uhlenbeck(6, 8, seed=0), nld.Schedule(steps=5)
    options = {"restarts": 3, "seed": 7, "progress": False}
    alone = nld.fit(*build(0), data, schedule, **options)
    with joblib.parallel_config(backend="dask"):
        assert jobs.workers(None) == 2
        together = nld.fit(*build(0), data, schedule, **options)
    assert [run["elbo"] for run in alone.runs] == [run["elbo"] for run in together.runs]
    for one, other in zip(alone.runs, together.runs, strict=True):
        for part in ("model", "guide"):
            assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())
    who = cluster.run(lambda: "torch" in __import__("sys").modules)
    assert set(who.values()) == {True}  # it was they who computed


def test_the_number_of_jobs_is_what_joblib_is_told():
    assert jobs.workers(None) == 1
    assert jobs.workers(2) == 2
    with joblib.parallel_config(n_jobs=3):
        assert jobs.workers(None) == 3
    with joblib.parallel_config(backend="threading", n_jobs=3):
        assert jobs.workers(2) == 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_a_call_is_that_of_all(n_jobs):
    with pytest.raises(ZeroDivisionError):
        list(jobs.side_by_side(divmod, [(1, 1), (1, 0)], n_jobs))
