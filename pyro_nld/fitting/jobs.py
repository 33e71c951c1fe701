"""One thread for a fit, and several fits side by side through `joblib`, on this machine or on many.

The networks of a fit are so small that threads wait for each other longer than they compute, and beside another busy
program they wait longest. Cores are better used by whole fits.

Examples
--------
>>> from pyro_nld.fitting.jobs import one_thread
>>> with one_thread():
...     torch.get_num_threads()
1
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

CHOICES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # by which users choose a number of threads before they start Python
_ALONE = threading.RLock()  # a worker of dask.distributed may make two calls in two threads


@contextmanager
def one_thread() -> Iterator[None]:
    """A scope in which torch computes with one thread, unless somebody has chosen another number.

    A choice is a variable `OMP_NUM_THREADS` or `MKL_NUM_THREADS` of the environment, or `torch.set_num_threads` with
    fewer threads than there are cores. Afterwards the number is what it was.
    """
    before = torch.get_num_threads()
    if not any(name in os.environ for name in CHOICES) and before >= _cores():
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def workers(n_jobs: int | None) -> int:
    """How many calls `side_by_side` makes at once.

    Threads of one process share the random numbers of torch and the parameters of Pyro. Where `joblib` is told to use
    threads, calls are made one after the other.
    """
    import joblib  # costs time, and few fits need it

    backend, _ = joblib.parallel.get_active_backend()
    return 1 if getattr(backend, "supports_sharedmem", False) else joblib.effective_n_jobs(n_jobs)


def side_by_side(task: Callable[..., Any], calls: Sequence[tuple], n_jobs: int | None = None) -> Iterator[Any]:
    """task(*call) for every call, in the order of the calls, as `joblib` distributes them over processes.

    Every call computes with the threads and the default dtype of the caller. Its warnings are raised again here. A task
    seeds its own random numbers and changes none of its arguments, so that the results do not depend on `n_jobs`.

    Parameters
    ----------
    task, calls: both can be pickled by `cloudpickle`, where processes do the work.
    n_jobs: how many at once: 1 makes the calls here; −1 takes all cores; None is what `joblib.parallel_config` says,
        and 1 where it says nothing. Which processes they are, on which machines, is said there, too:
        `parallel_config(backend="dask")` where there is a client of `dask.distributed`.
    """
    if workers(n_jobs) == 1:
        yield from (task(*call) for call in calls)
        return
    import joblib

    share = torch.get_num_threads(), torch.get_default_dtype()
    try:
        pool = joblib.Parallel(n_jobs, return_as="generator")
    except ValueError:  # a backend that returns everything at the end
        pool = joblib.Parallel(n_jobs)
    for result, told in pool(joblib.delayed(_alone)(task, call, *share) for call in calls):
        for message in told:
            warnings.warn(message, stacklevel=2)
        yield result


class _Told(NamedTuple):
    result: Any
    warnings: list[Warning]


def _alone(task: Callable[..., Any], call: tuple, threads: int, dtype: torch.dtype) -> _Told:
    """One call, with the settings of the caller, while no other thread of this process computes one."""
    with _ALONE, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = torch.get_num_threads(), torch.get_default_dtype()
        try:
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            result = task(*call)
        finally:
            torch.set_num_threads(before[0])
            torch.set_default_dtype(before[1])
    return _Told(result, [found.message for found in caught if isinstance(found.message, Warning)])


def _cores() -> int:
    import joblib

    return joblib.cpu_count(only_physical_cores=True)
