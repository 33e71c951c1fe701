"""One fit in several processes: the same as in one, and resumed with another number of them."""

import os
import subprocess
import sys

import in_two_processes
import pytest
import torch
from in_two_processes import built, fitted

import pyro_nld as nld
from pyro_nld.fitting.processes import Crew

STEPS, SOON = 8, 4


class Other:
    """A Fabric of two, of which this is the second; the first has computed zeros."""

    device, global_rank, world_size = torch.device("cpu"), 1, 2

    def all_reduce(self, data, group=None, reduce_op="mean"):
        assert reduce_op == "sum"
        return data

    def broadcast(self, obj, src=0):
        return obj


def test_parts_are_shared_evenly():
    crew = Crew(Other())
    assert [*crew.own(4)] == [1, 3]
    assert not crew.first
    assert crew.agreed([3.0]) == [0.0]
    with pytest.raises(nld.FitError, match=r"got 3 for 2 processes\. Set Schedule\(parts=…\) to a multiple of 2"):
        crew.own(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes find: of a fit, and of one that was begun in this process alone."""
    folder = tmp_path_factory.mktemp("processes")
    with pytest.raises(KeyboardInterrupt):
        fitted(STEPS, checkpoint=folder / "half.pt", callbacks=[stop])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, in_two_processes.__file__, str(folder), str(STEPS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def stop(step, row):
    if step == SOON + 1:
        raise KeyboardInterrupt


def test_two_processes_find_what_one_finds(folder):
    alone, found = fitted(STEPS), torch.load(folder / "found.pt", weights_only=True)
    loss = torch.tensor(alone.history["loss"].values)
    for name in ("whole", "half"):  # begun by two, begun by one
        torch.testing.assert_close(found[name]["loss"], loss.expand(2, -1), rtol=0, atol=1e-5)
        for key, value in alone.model.state_dict().items():
            torch.testing.assert_close(found[name]["model"][key], value, rtol=0, atol=1e-4)


def test_the_first_process_keeps_what_one_can_go_on_from(folder):
    found = torch.load(folder / "found.pt", weights_only=True)
    again = fitted(STEPS, checkpoint=folder / "whole.pt", resume=True)
    torch.testing.assert_close(torch.tensor(again.history["loss"].values), found["whole"]["loss"][0], rtol=0, atol=0)


def test_parts_learn_what_a_whole_batch_does():
    """Their gradients are those of one batch, up to the noise of the draws."""
    losses = []
    for parts in (1, 3):
        torch.manual_seed(0)
        pair, data = built()
        schedule = nld.Schedule(60, batch_size=12, parts=parts)
        fit = nld.fit(*pair, data, schedule, progress=False)
        losses.append(float(fit.history["loss"][-20:].mean()))
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
