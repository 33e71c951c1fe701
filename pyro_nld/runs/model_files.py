"""Model files: a user's Python file with `PRIORS`, `build(data)` and `simulate(seed)`, loaded by path."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import cloudpickle
import pyro
import torch
import xarray as xr
from torch import nn

from .. import command_line
from ..errors import DataError, NLDError
from ..fitting.elbo import PathELBO
from ..fitting.posterior import Pair
from ..guide.amortized import AmortizedGuide
from ..io.files import load
from ..io.series import as_tensors, cut, cut_long
from ..io.validation import check_rows


def named(model: Path | None, data: Path | None) -> Path:
    """The model file to fit: `model`, or `my_data.py` of this library for data that come without one.

    Raises
    ------
    DataError: neither is given.
    """
    if model is None and data is None:
        raise DataError(
            "there is nothing to fit: give a model file, or --data FILE, to which my_data.py is fitted then. "
            "pyro-nld new mine.py writes a model file."
        )
    return command_line.folder("models") / "my_data.py" if model is None else model


def load_model_file(path: Path) -> ModuleType:
    """Execute a model file and return it as a module with `PRIORS`, `build(data)` and `simulate(seed)`.

    Raises
    ------
    DataError: the file does not exist, it fails, or a name is missing.
    """
    if not path.is_file() or path.suffix != ".py":
        raise DataError(f"{path} is no model file: expected an existing .py file. pyro-nld new writes one.")
    source = ModuleType(f"model_file_{path.stem}")
    source.__file__ = str(path)
    sys.modules[source.__name__] = source  # dataclasses in the file look up their module
    cloudpickle.register_pickle_by_value(source)  # another process, or another machine, cannot import it
    with _blaming(path):
        exec(compile(path.read_bytes(), str(path), "exec"), source.__dict__)
    missing = [name for name in ("PRIORS", "build", "simulate") if not hasattr(source, name)]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}: a model file has PRIORS, build(data) and simulate(seed).")
    return source


def choose(source: ModuleType, data: xr.Dataset, seed: int, steps: int) -> dict[str, Any] | None:
    """What a model file chooses for the data, if it has `choose(data, seed, steps)`: see `fitting.select`.

    Parameters
    ----------
    source: the model file. data: to be fitted. seed: of all randomness. steps: of a short fit.

    Returns
    -------
    The attributes of what `choose` returns, and its rows as `candidates`; None where the model file chooses nothing.

    Raises
    ------
    DataError: `choose` fails, or returns no Dataset.
    """
    if not hasattr(source, "choose"):
        return None
    with _blaming(source.__file__):
        found = source.choose(data, seed, steps)
    if not isinstance(found, xr.Dataset):
        raise DataError(f"{source.__file__}: choose must return a Dataset: got {type(found).__name__}. Mend it.")
    rows = {str(name): values.values.tolist() for name, values in found.data_vars.items()}
    return dict(found.attrs) | {
        "candidates": [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    }


def build(source: ModuleType, data: xr.Dataset, seed: int, choice: Mapping[str, Any] | None = None) -> Pair:
    """The model and guide of a model file for `data`, after a test of another such pair on two sequences.

    Parameters
    ----------
    source: the model file. data: to be fitted. seed: of the weights. choice: from `choose`, if the file has that.

    Raises
    ------
    DataError: `build` fails, does not return (model, guide), or the pair does not work on the data.
    """
    times, x = check_rows(*as_tensors(data))
    with _blaming(source.__file__), torch.random.fork_rng(), pyro.get_param_store().scope():
        model, guide = _pair(source, data, seed, choice)
        few = guide.numbers(torch.arange(min(2, len(x))), len(x)) if isinstance(guide, AmortizedGuide) else {}
        PathELBO().loss(model, guide, times[:2], x[:2], **few)
        return _pair(source, data, seed, choice)


def _pair(source: ModuleType, data: xr.Dataset, seed: int, choice: Mapping[str, Any] | None) -> Pair:
    torch.manual_seed(seed)
    pair = source.build(data) if choice is None else source.build(data, choice)
    if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, nn.Module) for part in pair)):
        raise DataError(f"{source.__file__}: build must return (model, guide): got {type(pair).__name__}. Mend it.")
    return pair


def load_data(
    source: ModuleType,
    path: str | Path | None,
    seed: int,
    pieces: int | Literal["auto"] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The data file at `path`, or the simulation of the model file where it is None; in pieces.

    Parameters
    ----------
    source: the model file. path: of the data. seed: of the simulation.
    pieces: observations in one, at most; "auto": as `series.cut_long` cuts; None: sequences stay whole.
    reading: how a table is read: `time`, `sequence`, `channels`, `missing` of `load`.
    """
    if path is not None:
        data = load(path, **(reading or {}))
    else:
        with _blaming(source.__file__):
            data = source.simulate(seed)
    if pieces == "auto":
        return cut_long(data)
    return data if pieces is None else cut(data, pieces)


@contextmanager
def _blaming(file: str | Path | None) -> Iterator[None]:
    """Name the file of the user that fails, and the line. Errors of this library are raised as they are."""
    try:
        yield
    except NLDError:
        raise
    except (Exception, SystemExit) as error:  # a user's file may fail in any way
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        place = f" in line {lines[-1]}" if lines else ""
        raise DataError(f"{file} fails{place}: {type(error).__name__}: {error}. Mend the file.") from error
