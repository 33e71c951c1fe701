"""The one check of observed series: everything a user hands in is looked at once, at the door."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import cast

from torch import Tensor

from .._typing import Series, Times
from ..errors import DataError, DoubtfulDataWarning, NLDError, ShapeError, TimeGridError

SHORT = 20
"""Observation times below which a lone sequence is too short to say anything about its dynamics."""

PAUSE = 10.0
"""Times the median interval between observations from which a pause is worth a word."""

ROUNDING = 1e-6
"""Share of an interval that may be rounding: a pause of just ten intervals is one."""


def check_series(times: object, x: object, *, whole: bool = True) -> tuple[Times, Series]:
    """Refuse observed series that no model could explain; return them unchanged.

    Parameters
    ----------
    times: `(time,)` or `(sequence, time)`, user's unit, floating, strictly increasing; a ragged row ends in NaN.
    x: `(sequence, time, channel)`, floating, NaN where nothing was measured.
    whole: x is a whole data set, not a batch of one: also ask that every channel was measured somewhere, and warn of
        what is doubtful.

    Raises
    ------
    ShapeError, TimeGridError, DataError: naming the first offending index and its value.

    Warns
    -----
    DoubtfulDataWarning: a constant channel, one short sequence, a long pause, times at which nothing was measured.

    Not checked: whether the time unit or the scale of the channels is sensible.
    """
    grid, series = check_times(times), _check_observations(x)
    expected = series.shape[:2] if grid.dim() == 2 else series.shape[1:2]
    if grid.shape != expected:
        raise ShapeError(
            f"times must be (time,) or (sequence, time) of the observations: got times {tuple(grid.shape)} for "
            f"observations {tuple(series.shape)}. Give one time per observation."
        )
    _check_tail(grid, series)
    if whole:
        _check_channels(series)
        _warn_doubtful(grid, series)
    return grid, series


def check_rows(times: object, x: object) -> tuple[Tensor, Series]:
    """Check a batch as `check_series` does, and give every sequence its own row of times, `(sequence, time)`.

    Tensors that passed last are known again, unless they were changed in place: a fit asks at every step.
    """
    if not _passed.holds(times, x):
        check_series(times, x, whole=False)
        _passed.remember(times, x)
    grid, series = cast(tuple[Tensor, Tensor], (times, x))
    return grid.expand(series.shape[:2]), series


class Passed:
    """What passed a check last: tensors known by identity and by how often they were changed in place, and others."""

    def __init__(self) -> None:
        self.known: list[tuple[Callable[[], object], int]] = []

    def holds(self, *things: object) -> bool:
        """Whether just these passed last, unchanged."""
        return len(self.known) == len(things) and all(
            known() is thing and version == getattr(thing, "_version", 0)
            for (known, version), thing in zip(self.known, things, strict=True)
        )

    def remember(self, *things: object) -> None:
        """These passed."""
        # tensors made in inference mode do not count their changes
        whole = [thing for thing in things if not (isinstance(thing, Tensor) and thing.is_inference())]
        self.known = [(weakref.ref(thing), getattr(thing, "_version", 0)) for thing in whole]


_passed = Passed()


def check_channels(x: Series, channels: int, part: str) -> None:
    """Refuse observations with another number of channels than a part of the model was made for."""
    if x.shape[-1] != channels:
        raise ShapeError(
            f"the {part} expects {channels} channels: got observations with {x.shape[-1]}. Build it for "
            f"{x.shape[-1]}, or give the channels it was built for."
        )


def check_support(x: Series, allowed: Tensor, needs: str, remedy: str) -> None:
    """Refuse observed values that a likelihood cannot explain.

    Parameters
    ----------
    x: NaN where missing. allowed: which values there may be. needs: what is expected. remedy: what to do.

    Raises
    ------
    DataError: naming the first such value and its place.
    """
    if at := _first(~allowed & ~x.isnan()):
        raise DataError(f"{needs}: got {_text(x, at)} at {_place(at)}. {remedy}.")


def check_times(times: object) -> Times:
    """Refuse times that do not increase strictly, and return them; parameters and errors as in `check_series`."""
    grid = _floating("times", times, TimeGridError)
    if grid.dim() not in (1, 2) or grid.numel() == 0:
        raise ShapeError(f"times must be (time,) or (sequence, time), not empty: got {tuple(grid.shape)}. Reshape it.")
    _check_ends(grid)
    if at := _first(grid.diff() <= 0, shift=1):
        before = (*at[:-1], at[-1] - 1)
        raise TimeGridError(
            f"times must increase within a sequence: {_row(at)} has {_text(grid, at)} after {_text(grid, before)} "
            f"(index {at[-1]}). Sort or drop it."
        )
    lengths = (~grid.isnan()).sum(-1, keepdim=True)
    if at := _first(lengths < 2):
        raise TimeGridError(
            f"a sequence needs at least 2 observation times: {_row(at)} has {int(lengths[at])}. Drop or merge it."
        )
    return grid


def _check_ends(times: Tensor) -> None:
    """Only the end of a row of its own may be NaN."""
    if at := _first(times.isinf()):
        raise TimeGridError(f"times must be finite: {_row(at)} has {_text(times, at)} (index {at[-1]}). Drop it.")
    ended = times.isnan()
    if times.dim() == 1 and (at := _first(ended)):
        raise TimeGridError(
            f"times shared by all sequences must be finite: got nan (index {at[-1]}). "
            "Drop it, or give times per sequence, (sequence, time), which may end in NaN."
        )
    if at := _first(ended[..., :-1] & ~ended[..., 1:], shift=1):
        raise TimeGridError(
            f"times may be NaN only after the end of a sequence: {_row(at)} has {_text(times, at)} after nan "
            f"(index {at[-1]}). Drop the NaN or fill it in."
        )


def _check_observations(x: object) -> Series:
    series = _floating("observations", x, DataError)
    if series.dim() != 3 or series.numel() == 0:
        raise ShapeError(
            f"observations must be (sequence, time, channel), none of them empty: got {tuple(series.shape)}. "
            "Add the axis that is missing, for example x[None] for one sequence or x[..., None] for one channel."
        )
    if at := _first(series.isinf()):
        raise DataError(
            f"observations must be finite, or NaN where missing: got {_text(series, at)} at {_place(at)}. "
            "Replace it by NaN or drop it."
        )
    return series


def _check_tail(times: Tensor, x: Tensor) -> None:
    if times.dim() == 2 and (at := _first(times.isnan().unsqueeze(-1) & ~x.isnan())):
        raise DataError(
            f"observations after the end of a sequence must be NaN as its times are: got {_text(x, at)} at "
            f"{_place(at)}. Give that observation a time or drop it."
        )


def _check_channels(x: Tensor) -> None:
    if at := _first(x.isnan().all(0).all(0)):
        raise DataError(f"every channel must be observed somewhere: channel {at[0]} is all NaN. Drop that channel.")


def _warn_doubtful(times: Tensor, x: Tensor) -> None:
    spread = x.nan_to_num(-float("inf")).amax((0, 1)) - x.nan_to_num(float("inf")).amin((0, 1))
    if at := _first(spread == 0):
        _doubt(f"channel {at[0]} is constant and says nothing about the states. Drop it unless that is meant.")
    if x.shape[0] == 1 and x.shape[1] < SHORT:
        _doubt(f"one sequence of {x.shape[1]} times says little about the dynamics. Give more or longer sequences.")
    gaps = times.diff()
    usual = gaps[gaps.isfinite()].median()
    if at := _first(gaps >= PAUSE * usual * (1 - ROUNDING)):
        _doubt(
            f"{_row(at)} pauses for {float(gaps[at] / usual):.3g} times the usual interval after {_text(times, at)} "
            f"(index {at[-1]}), and a fit steps as coarsely as its longest pause. Cut it with nld.datasets.cut, or "
            "fit.py --pieces 200."
        )
    silent = x.isnan().all(-1) & ~times.isnan()
    if at := _first(silent):
        _doubt(
            f"nothing is observed at {int(silent.sum())} of the times, first at {_place(at)}. "
            "Drop them unless the states there are wanted."
        )


def _doubt(message: str) -> None:
    warnings.warn(message, DoubtfulDataWarning, stacklevel=4)


def _floating(name: str, value: object, error: type[NLDError]) -> Tensor:
    if not isinstance(value, Tensor):
        raise error(f"{name} must be a tensor: got {type(value).__name__}. Use nld.as_tensors on the data.")
    if not value.is_floating_point():
        raise error(f"{name} must be real floating-point numbers: got {value.dtype}. Use for example {name}.float().")
    return value


def _first(wrong: Tensor, shift: int = 0) -> tuple[int, ...]:
    """Index of the first True, its last axis moved by `shift`; empty when there is none."""
    if not wrong.any():
        return ()
    *lead, last = wrong.nonzero()[0].tolist()
    return (*lead, last + shift)


def _text(values: Tensor, at: tuple[int, ...]) -> str:
    """A value in the fewest digits that tell it from its neighbours in its own precision."""
    return str(values[at].detach().cpu().numpy())


def _row(at: tuple[int, ...]) -> str:
    return f"sequence {at[0]}" if len(at) > 1 else "every sequence"


def _place(at: tuple[int, ...]) -> str:
    return ", ".join(f"{axis} {index}" for axis, index in zip(("sequence", "time", "channel"), at, strict=False))
