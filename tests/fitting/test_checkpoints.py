"""Checkpoints: whole or not there, and never a program."""

import os
import pickle
import random

import pytest
import torch

import pyro_nld as nld
from pyro_nld.fitting.checkpoints import load_checkpoint, save_checkpoint

STATE = {
    "schedule": {"steps": 3, "minutes": None},
    "initial": [{"weight": torch.arange(6.0).view(2, 3)}],
    "runs": [],
    "current": {"progress": [0.5, 1, 2.25], "good": [{"a": torch.tensor(True)}], "name": "µ"},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


def test_a_checkpoint_comes_back_as_it_was(path):
    save_checkpoint(STATE, path)
    loaded = load_checkpoint(path)
    assert loaded["schedule"] == STATE["schedule"]
    assert loaded["current"]["progress"] == [0.5, 1, 2.25]
    assert torch.equal(loaded["initial"][0]["weight"], STATE["initial"][0]["weight"])
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_last_good_file(path, monkeypatch):
    save_checkpoint(STATE, path)
    before = path.read_bytes()

    def half(state, file):
        file.write_bytes(b"half a check")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(STATE, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


class Hostile:
    """Unpickled, it would write a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_a_hostile_file_is_refused_and_nothing_is_executed(path, tmp_path, write):
    payload = tmp_path / "executed"
    state = STATE | {"current": Hostile(payload)}
    if write == "torch":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    with pytest.raises(nld.CheckpointError, match=r"^checkpoint.pt is no checkpoint of tensors and plain values: "):
        load_checkpoint(path)
    assert not payload.exists()


def test_the_payload_would_have_worked(path, tmp_path):
    """Negative control: the file of the test above does execute where code is unpickled."""
    payload = tmp_path / "executed"
    torch.save(STATE | {"current": Hostile(payload)}, path)
    torch.load(path, weights_only=False)
    assert payload.exists()


def test_a_hostile_file_does_not_start_a_fit(path, tmp_path):
    payload = tmp_path / "executed"
    torch.save(STATE | {"current": Hostile(payload)}, path)
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(nld.IdentityDecoder(1)))
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1))
    with pytest.raises(nld.CheckpointError):
        nld.fit(model, guide, (torch.arange(5.0), torch.randn(2, 5, 1)), checkpoint=path, resume=True, progress=False)
    assert not payload.exists()


@pytest.mark.parametrize("content", [b"", b"hello world\n", b"\x80\x02}q\x00.", b"PK\x03\x04", bytes(range(256))])
def test_what_is_no_checkpoint_at_all(path, content):
    path.write_bytes(content)
    with pytest.raises(nld.CheckpointError, match=r"^checkpoint.pt is no checkpoint of .*[Ff]it again\.$"):
        load_checkpoint(path)


def test_every_truncation_is_refused(path):
    save_checkpoint(STATE, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(nld.CheckpointError):
            load_checkpoint(path)


def test_damaged_bytes_are_refused_or_harmless(path, seed):
    """Whatever torch's reader makes of them, a user sees one kind of error."""
    save_checkpoint(STATE, path)
    whole, draw, refused = path.read_bytes(), random.Random(seed), 0
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(10):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
        except nld.CheckpointError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize(
    ("state", "missing"),
    [
        ({"weight": torch.zeros(2)}, "schedule, initial, runs, current"),
        ({name: value for name, value in STATE.items() if name != "runs"}, "runs"),
        ([1, 2], "schedule, initial, runs, current"),
    ],
    ids=["another dictionary", "a part missing", "a list"],
)
def test_tensors_that_are_no_state_of_a_fit(path, state, missing):
    torch.save(state, path)
    with pytest.raises(nld.CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == f"checkpoint.pt is no checkpoint of a fit: it lacks {missing}. Fit again."


def test_a_file_that_is_not_there_is_what_python_says_it_is(path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)
