"""The door: what is refused, in which words, what is only doubted, and what passes untouched."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pyro_nld import errors
from pyro_nld.errors import (
    CheckpointError,
    DataError,
    DoubtfulDataWarning,
    FitError,
    MissingExtra,
    NLDError,
    PriorError,
    RunDirectoryError,
    ShapeError,
    TimeGridError,
    optional,
)
from pyro_nld.io import validation
from pyro_nld.io.validation import check_series, check_times

NAN, INF = float("nan"), float("inf")
SEQUENCES, STEPS, CHANNELS = 5, 30, 3


def shared() -> tuple[Tensor, Tensor]:
    x = torch.randn(SEQUENCES, STEPS, CHANNELS, generator=torch.Generator().manual_seed(1))
    return torch.arange(STEPS) / 10, x


def ragged() -> tuple[Tensor, Tensor]:
    """Sequence 2 ends after 20 times."""
    times, x = shared()
    times = times.repeat(SEQUENCES, 1)
    times[2, 20:] = NAN
    x[2, 20:] = NAN
    return times, x


def with_time(
    at: int | tuple[int, ...], value: float, make: Callable[[], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    times, x = make()
    times[at] = value
    return times, x


def with_value(
    at: tuple[object, ...], value: float, make: Callable[[], tuple[Tensor, Tensor]] = shared
) -> tuple[Tensor, Tensor]:
    times, x = make()
    x[at] = value
    return times, x


REFUSED: dict[str, tuple[Callable[[], tuple[object, object]], type[NLDError], str]] = {
    "no tensor": (
        lambda: (shared()[0], shared()[1].numpy()),
        DataError,
        "observations must be a tensor: got ndarray. Use nld.as_tensors on the data.",
    ),
    "integer observations": (
        lambda: (shared()[0], shared()[1].int()),
        DataError,
        "observations must be real floating-point numbers: got torch.int32. Use for example observations.float().",
    ),
    "complex observations": (lambda: (shared()[0], shared()[1].cfloat()), DataError, "got torch.complex64"),
    "no times": (lambda: (None, shared()[1]), TimeGridError, "times must be a tensor: got NoneType"),
    "integer times": (lambda: (torch.arange(STEPS), shared()[1]), TimeGridError, "got torch.int64"),
    "no channel axis": (
        lambda: (shared()[0], shared()[1][..., 0]),
        ShapeError,
        "observations must be (sequence, time, channel), none of them empty: got (5, 30). Add the axis",
    ),
    "no sequences": (lambda: (shared()[0], shared()[1][:0]), ShapeError, "got (0, 30, 3)"),
    "no channels": (lambda: (shared()[0], shared()[1][..., :0]), ShapeError, "got (5, 30, 0)"),
    "times are a number": (
        lambda: (torch.tensor(0.0), shared()[1]),
        ShapeError,
        "times must be (time,) or (sequence, time), not empty: got (). Reshape it.",
    ),
    "times have three axes": (lambda: (shared()[0][None, None], shared()[1]), ShapeError, "got (1, 1, 30)"),
    "times are empty": (lambda: (torch.zeros(0), shared()[1]), ShapeError, "got (0,)"),
    "too few times": (
        lambda: (shared()[0][:-1], shared()[1]),
        ShapeError,
        "got times (29,) for observations (5, 30, 3). Give one time per observation.",
    ),
    "times of other sequences": (lambda: (ragged()[0][:3], shared()[1]), ShapeError, "got times (3, 30)"),
    "infinite time": (
        lambda: with_time((1, 29), INF, ragged),
        TimeGridError,
        "times must be finite: sequence 1 has inf (index 29). Drop it.",
    ),
    "shared time missing": (
        lambda: with_time(29, NAN, shared),
        TimeGridError,
        "times shared by all sequences must be finite: got nan (index 29).",
    ),
    "hole in times": (
        lambda: with_time((3, 4), NAN, ragged),
        TimeGridError,
        "times may be NaN only after the end of a sequence: sequence 3 has 0.5 after nan (index 5).",
    ),
    "times go back": (
        lambda: with_time((3, 17), 0.4, ragged),
        TimeGridError,
        "times must increase within a sequence: sequence 3 has 0.4 after 1.6 (index 17). Sort or drop it.",
    ),
    "shared times go back": (
        lambda: with_time(17, 0.4, shared),
        TimeGridError,
        "times must increase within a sequence: every sequence has 0.4 after 1.6 (index 17). Sort or drop it.",
    ),
    "times stand still": (lambda: with_time(1, 0.0, shared), TimeGridError, "has 0.0 after 0.0 (index 1)"),
    "one time": (
        lambda: (shared()[0][:1], shared()[1][:, :1]),
        TimeGridError,
        "a sequence needs at least 2 observation times: every sequence has 1. Drop or merge it.",
    ),
    "one time in a sequence": (
        lambda: with_time((4, slice(1, None)), NAN, ragged),
        TimeGridError,
        "a sequence needs at least 2 observation times: sequence 4 has 1.",
    ),
    "a sequence without times": (lambda: with_time(0, NAN, ragged), TimeGridError, "sequence 0 has 0."),
    "infinite observation": (
        lambda: with_value((4, 7, 2), -INF),
        DataError,
        "observations must be finite, or NaN where missing: got -inf at sequence 4, time 7, channel 2. Replace it",
    ),
    "observation after the end": (
        lambda: with_value((2, 25, 1), 1.5, ragged),
        DataError,
        "after the end of a sequence must be NaN as its times are: got 1.5 at sequence 2, time 25, channel 1.",
    ),
    "silent channel": (
        lambda: with_value((..., 1), NAN),
        DataError,
        "every channel must be observed somewhere: channel 1 is all NaN. Drop that channel.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_in_which_words(name: str) -> None:
    make, kind, message = REFUSED[name]
    with pytest.raises(kind) as caught:
        check_series(*make())
    assert message in str(caught.value)


@pytest.mark.parametrize("make", [shared, ragged])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_legal_passes_untouched(make: Callable[[], tuple[Tensor, Tensor]], dtype: torch.dtype) -> None:
    times, x = (part.to(dtype) for part in make())
    x[0, 3, 1] = NAN
    checked = check_series(times, x)
    assert checked[0] is times
    assert checked[1] is x


def test_values_are_named_in_their_own_precision() -> None:
    late = torch.tensor([1.7e9, 1.7e9 + 0.25, 1.7e9 + 0.125], dtype=torch.float64)
    with pytest.raises(TimeGridError, match=r"1700000000\.125 after 1700000000\.25 \(index 2\)"):
        check_times(late)


DOUBTED: dict[str, tuple[Callable[[], tuple[Tensor, Tensor]], str]] = {
    "constant channel": (lambda: with_value((..., 1), 2.5), "channel 1 is constant and says nothing about the states."),
    "constant where observed": (
        lambda: with_value((slice(None), slice(5), 1), NAN, lambda: with_value((..., 1), 2.5)),
        "channel 1 is constant",
    ),
    "one short sequence": (
        lambda: (shared()[0][:10], shared()[1][:1, :10]),
        "one sequence of 10 times says little about the dynamics. Give more or longer sequences.",
    ),
    "nothing observed at a time": (
        lambda: with_value((3, slice(4, 6)), NAN),
        "nothing is observed at 2 of the times, first at sequence 3, time 4.",
    ),
}


@pytest.mark.parametrize("name", DOUBTED)
def test_what_is_doubted_and_only_of_a_whole_data_set(name: str) -> None:
    make, message = DOUBTED[name]
    with pytest.warns(DoubtfulDataWarning) as caught:
        check_series(*make())
    assert [str(warning.message).startswith(message) for warning in caught] == [True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_series(*make(), whole=False)


def test_a_batch_may_hold_a_silent_channel() -> None:
    check_series(*with_value((..., 1), NAN), whole=False)


def test_a_ragged_end_and_a_long_sequence_are_not_doubted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_series(*ragged())
        times, x = shared()
        check_series(times, x[:1])


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (DataError, ValueError),
        (ShapeError, ValueError),
        (TimeGridError, ValueError),
        (PriorError, ValueError),
        (CheckpointError, ValueError),
        (FitError, RuntimeError),
        (RunDirectoryError, OSError),
        (MissingExtra, ImportError),
    ],
)
def test_every_error_is_ours_and_the_one_a_caller_expects(kind: type[NLDError], builtin: type[Exception]) -> None:
    assert issubclass(kind, NLDError)
    assert issubclass(kind, builtin)
    assert str(kind("one plain sentence.")) == "one plain sentence."


def test_tensors_that_passed_are_known_until_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(validation, "check_series", lambda *data, whole: looked.append(data) or check_series(*data))
    times, x = ragged()
    for _ in range(3):
        validation.check_rows(times, x)
    assert len(looked) == 1
    validation.check_rows(times, x.clone())
    assert len(looked) == 2
    validation.check_rows(times, x)
    x[0, 3, 1] = INF
    with pytest.raises(DataError, match="observations must be finite"):
        validation.check_rows(times, x)
    with torch.inference_mode():
        kept = x.nan_to_num(posinf=0.0)
        validation.check_rows(times, torch.where(times.isnan().unsqueeze(-1), NAN, kept))
    with pytest.raises(DataError, match="must be a tensor"):
        validation.check_rows(times, None)


def test_an_installed_package_is_imported() -> None:
    assert optional("torch.nn", "scale") is torch.nn


@pytest.mark.parametrize("name", ["absent_package", "absent_package.part"])
def test_an_absent_package_answers_with_its_install_line(name: str) -> None:
    with pytest.raises(MissingExtra, match=r'Run: pip install "pyro_nld\[report\]"'):
        optional(name, "report")


def test_a_broken_package_raises_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import absent_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="absent_dependency") as caught:
        optional("broken_package", "report")
    assert not isinstance(caught.value, MissingExtra)
    assert "broken_package" not in sys.modules


def test_every_class_says_what_it_means() -> None:
    classes = [part for part in vars(errors).values() if isinstance(part, type) and part.__module__ == errors.__name__]
    assert all(part.__doc__ for part in classes)
    assert len(classes) == 12
