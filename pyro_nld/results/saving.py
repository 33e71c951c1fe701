"""A fit in one file, without the code that made it: what its parts are, their parameters, the data, the history.

The file holds tensors and plain values alone, and is read without executing anything. A part is described by its class
and the arguments of its constructor; classes are looked up among those of this library, laws among those of Pyro.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
import xarray as xr
from pyro import distributions as dist
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.infer import autoguide
from pyro.nn import PyroSample
from torch import Tensor, nn
from torch.distributions import Independent, transform_to

from ..errors import CheckpointError, DataError, NLDError
from ..fitting.checkpoints import refusing_another_model
from ..fitting.draws import inference_mode
from ..fitting.settling import COLUMNS, history_dataset
from ..io.files import read_plain, save, write_atomically
from ..nn import Described
from .fit import Fit

FORMAT = "pyro_nld fit 1"
ROOMS = ("dynamics", "model", "guide")
"""Rooms whose classes a file may name."""

STORED_AS = {"force": "field"}
"""Attributes of another name than the argument."""

RUN = ("substeps", "model", "guide", "history", "terms", "elbo", "observed", "exact", "balance")
REMEDY = (
    "Parts of your own need their code: keep it in a model file, fit that with pyro-nld fit, and load the run with "
    "nld.runs.load."
)


@save.register(Fit)
def save_fit(fit: Fit, path: str | PathLike[str]) -> None:
    """Write a fit to `.pt`: `nld.save(fit, "mine.pt")`.

    Raises
    ------
    DataError: the path is not possible, or a part is not one of this library, or was changed so that its constructor
        cannot make it again. Nothing is written.
    """
    path = Path(path)
    if path.suffix != ".pt":
        raise DataError(f"a fit is saved as .pt: got {path}. Rename it.")
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} must be a directory: there is none. Create it first.")
    about = None if fit.about is None else _plain(fit.about.to_dict())
    content = {
        "format": FORMAT,
        "model": _described(fit.model, "model"),
        "priors": _priors(fit.model),
        "guide": _described(fit.guide, "guide"),
        "state": {"substeps": fit.model.substeps, "model": fit.model.state_dict(), "guide": fit.guide.state_dict()},
        "data": {"times": fit.times, "x": fit.x, "about": about},
        "history": _history(fit),
        "runs": [{name: run[name] for name in RUN if name in run} for run in fit.runs],
    }
    try:
        _restored(content)
    except CheckpointError as error:
        raise DataError(f"this fit was changed after its parts were made: {error} {REMEDY}") from error
    write_atomically(path, lambda unfinished: torch.save(content, unfinished))


def load_fit(path: str | PathLike[str]) -> Fit:
    """Read a fit that `save` wrote.

    Parameters
    ----------
    path: of the file. No model file is needed, and nothing in the file is executed.

    Raises
    ------
    CheckpointError: the file is damaged, or is not a fit of this library.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=10, rate=4.0)
    >>> motion, likelihood = nld.OverdampedLangevin(nld.Quadratic([4.0])), nld.Gaussian(nld.IdentityDecoder(1))
    >>> model = nld.LatentLangevin(motion, likelihood, substeps=4, time_unit=1.0)
    >>> fit = nld.fit(model, nld.AmortizedGuide(model, nld.GRUEncoder(1)), data, nld.Schedule(2), progress=False)
    >>> with TemporaryDirectory() as folder:
    ...     nld.save(fit, Path(folder) / "mine.pt")
    ...     again = nld.load_fit(Path(folder) / "mine.pt")
    >>> again.elbo() == fit.elbo(), round(again.wells()["curvature"].item(), 2)
    (True, 4.0)
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} must be a saved fit: there is none. Check the path.")
    content = read_plain(path, "Save the fit again.")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} is no saved fit of this version. Make one with nld.save(fit, path).")
    try:
        return _restored(content)
    except (NLDError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path.name} cannot be made a fit again: {error} Save the fit again.") from error


def _restored(content: dict) -> Fit:
    model = _built(content["model"], {})
    for path, prior in content["priors"].items():
        part, _, name = path.rpartition(".")
        setattr(model.get_submodule(part), name, PyroSample(_built(prior, {})))
    guide = _built(content["guide"], {"model": model})
    data, state = content["data"], content["state"]
    times, x = data["times"], data["x"]
    model.to(x.dtype)
    guide.to(x.dtype)
    with inference_mode(0), pyro.validation_enabled(False):
        guide(times, x, 1)  # the autoguide makes its parameters when it meets data
    guide.refine(state["substeps"])
    with refusing_another_model():
        model.load_state_dict(state["model"])
        guide.load_state_dict(state["guide"])
    about = None if data["about"] is None else xr.Dataset.from_dict(data["about"])
    return Fit(model, guide, times, x, history_dataset(content["history"]), content["runs"], about)


# What a part is


def _described(value: object, place: str) -> Any:
    """Plain values that say how `value` is made; `place` is its name in messages."""
    if isinstance(value, Described):
        return {"part": _named(value, place), "arguments": _arguments(value, place)}
    if isinstance(value, PyroSample):
        return {"prior": _law(value.prior, place)}
    if isinstance(value, nn.Parameter):
        return {"learned": value.detach()}
    if isinstance(value, Tensor):
        return value.detach() if value.dim() else value.item()
    if isinstance(value, list | tuple | nn.ModuleList):
        return [_described(one, f"{place}[{index}]") for index, one in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    name = getattr(value, "__name__", type(value).__name__)
    if isinstance(value, type) and getattr(autoguide, name, None) is value:
        return {"autoguide": name}
    raise DataError(f"{place} cannot be saved: {name} is not a part of this library. {REMEDY}")


def _named(part: Described, place: str) -> str:
    kind = type(part)
    room, _, module = kind.__module__.removeprefix("pyro_nld.").partition(".")
    if not kind.__module__.startswith("pyro_nld.") or room not in ROOMS or "." in kind.__qualname__:
        raise DataError(f"{place} cannot be saved: {kind.__qualname__} is not a part of this library. {REMEDY}")
    return f"{room}.{module}.{kind.__qualname__}"


def _arguments(part: Described, place: str) -> dict[str, Any]:
    found = {}
    for name, argument in inspect.signature(type(part)).parameters.items():
        if name == "model":
            continue
        value = _stored(part, name)
        if isinstance(value, nn.ModuleList) and argument.kind is not argument.VAR_POSITIONAL:
            value = len(value)  # so many layers
        if value is not inspect.Parameter.empty:
            found[name] = _described(value, f"{place}.{name}")
        elif argument.default is inspect.Parameter.empty:
            raise DataError(f"{place} cannot be saved: it does not say what its argument {name} was. {REMEDY}")
    return found  # what has a default and is not stored is in the state, or is the default


def _stored(part: Described, name: str) -> object:
    """What a part was given, as it is now."""
    if name == "substeps" and getattr(part, "refines", False):
        return "auto"
    for alias in (name, f"_{name}", STORED_AS.get(name, name)):
        kept = vars(part)
        if alias in kept.get("_pyro_samples", {}):
            prior = kept["_pyro_samples"][alias]
            return prior if isinstance(prior, PyroSample) else PyroSample(prior)
        if alias in kept.get("_pyro_params", {}):
            constrained = transform_to(kept["_pyro_params"][alias][0])(kept["_parameters"][f"{alias}_unconstrained"])
            return nn.Parameter(constrained.detach())
        for group in (kept.get("_buffers", {}), kept.get("_modules", {}), kept.get("_parameters", {}), kept):
            if alias in group:
                return group[alias]
    return inspect.Parameter.empty


def _priors(model: nn.Module) -> dict[str, Any]:
    """Priors that were set by hand on what is no argument of a constructor, such as the weights of a layer."""
    return {
        f"{path}.{name}": {"prior": _law(prior, f"{path}.{name}")}
        for path, part in model.named_modules()
        for name, prior in getattr(part, "_pyro_samples", {}).items()
        if name not in inspect.signature(type(part)).parameters
    }


def _law(prior: Any, place: str) -> dict[str, Any]:
    """A law by its name, the parameters of each of its numbers, and how many axes are one event."""
    base, events = prior, 0
    while isinstance(base, Independent | ExpandedDistribution):
        events += base.reinterpreted_batch_ndims if isinstance(base, Independent) else 0
        base = base.base_dist
    if not isinstance(base, dist.Distribution) or getattr(dist, type(base).__name__, None) is not type(base):
        raise DataError(f"the prior of {place} cannot be saved: {type(base).__name__} is no law of Pyro. {REMEDY}")
    names = [name for name in inspect.signature(type(base)).parameters if name in base.arg_constraints]
    shape = list(prior.batch_shape + prior.event_shape)[: len(prior.batch_shape) + events]
    return {
        "law": type(base).__name__,
        "arguments": {name: torch.as_tensor(getattr(base, name)).detach().clone() for name in names},
        "shape": shape,
        "events": events,
    }


# And how it is made again


def _built(told: Any, given: Mapping[str, object]) -> Any:
    if isinstance(told, list):
        return [_built(one, {}) for one in told]
    if not isinstance(told, dict):
        return told
    if "prior" in told:
        prior = told["prior"]
        law = _class(dist, prior["law"], dist.Distribution)(**prior["arguments"])
        return law.expand(torch.Size(prior["shape"])).to_event(prior["events"])
    if "learned" in told:
        return nn.Parameter(told["learned"])
    if "autoguide" in told:
        return _class(autoguide, told["autoguide"], autoguide.AutoGuide)
    room, module, name = told["part"].split(".")
    if room not in ROOMS or not module.isidentifier():
        raise CheckpointError(f"{told['part']} is no part of this library.")
    kind = _class(import_module(f"pyro_nld.{room}.{module}"), name, Described)
    arguments = {key: _built(value, {}) for key, value in told["arguments"].items()} | dict(given)
    several = [key for key, one in inspect.signature(kind).parameters.items() if one.kind is one.VAR_POSITIONAL]
    first = [one for key in several for one in arguments.pop(key)]
    return kind(*first, **arguments)


def _class(module: Any, name: str, base: type) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise CheckpointError(f"{name} is no {base.__name__} of {module.__name__}.")
    return found


def _plain(value: Any) -> Any:
    """Dictionaries and lists of plain values; a number of numpy is one of Python."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    value = value.item() if isinstance(value, np.generic) else value
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _history(fit: Fit) -> Tensor:
    columns = [torch.as_tensor(fit.history[name].values) for name in COLUMNS if name in fit.history]
    return torch.stack(columns, -1) if columns else torch.zeros(0, len(COLUMNS), dtype=torch.float64)
