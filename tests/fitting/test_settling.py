"""Whether a bound still rises: known for curves that rise, that have settled, and that go on in another round."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.fitting.settling import COLUMNS, Rise, late_rise, say_rise, settled

SCHEDULE = nld.Schedule(steps=400, settle=1)


def history(steps: int, scale: float, noise: float = 0.01, dip: float = 0.0, seed: int = 0) -> xr.Dataset:
    """1 − exp(−step/scale) with noise, lower by `dip` while the learning rate is high in the second round."""
    step = np.arange(steps)
    rate = np.array([SCHEDULE.rate(SCHEDULE.position(one)) for one in range(steps)])
    elbo = 1 - np.exp(-step / scale) + noise * np.random.default_rng(seed).standard_normal(steps)
    elbo = elbo - np.where(step >= SCHEDULE.steps, dip * rate / SCHEDULE.learning_rate, 0.0)
    zero = ("step", np.zeros(steps))
    return xr.Dataset(
        {"log_likelihood": ("step", elbo), "path_kl": zero, "initial_kl": zero, "global_kl": zero}
        | {"learning_rate": ("step", rate)}
    )


def test_a_rise_is_measured():
    found = late_rise(history(400, 400))
    expected = np.exp(-np.arange(200, 300) / 400).mean() - np.exp(-np.arange(300, 400) / 400).mean()
    assert found.gain == pytest.approx(expected, abs=5 * 0.01 * np.sqrt(2 / 100))
    assert found.goes_on
    assert found.whole == pytest.approx(0.56, abs=0.05)


def test_what_has_settled_does_not_go_on():
    assert sum(late_rise(history(400, 20, seed=seed)).goes_on for seed in range(40)) <= 4
    assert not late_rise(history(400, 20, noise=0.5)).goes_on
    assert not Rise(0.004, 1e-4, 1.0).goes_on  # sure, but small
    assert late_rise(history(99, 400)) == Rise(0.0, 0.0, 0.0)


def test_another_round_is_compared_with_the_end_of_the_one_before():
    """The learning rate begins high again, and the bound dips: that is no rise."""
    settled = [late_rise(history(600, 20, dip=1.0, seed=seed)) for seed in range(40)]
    assert sum(one.goes_on for one in settled) <= 4
    assert late_rise(history(600, 400, dip=1.0)).goes_on


def test_steps_that_were_lost_do_not_count():
    broken = history(400, 400)
    broken["log_likelihood"][100:103] = np.nan
    assert late_rise(broken).gain == pytest.approx(late_rise(history(400, 400)).gain, abs=0.01)


def test_a_rise_is_said_with_its_remedy():
    def tensor(found: xr.Dataset) -> torch.Tensor:
        columns = [found[name].values if name in found else np.zeros(400) for name in COLUMNS]
        return torch.as_tensor(np.stack(columns, -1))

    rising, flat = tensor(history(400, 400)), tensor(history(400, 20))
    assert (settled(rising), settled(flat)) == (False, True)
    with pytest.warns(nld.DoubtfulFitWarning, match=r"not settled: it gained 0\.1.* end of 400 steps\. Give it more"):
        say_rise(rising)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say_rise(flat)
