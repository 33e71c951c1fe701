"""How the parts of a model meet Pyro: parts, physical quantities, and drawing every latent value once."""

from __future__ import annotations

import copy
from abc import ABCMeta
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import Tensor, nn
from torch.distributions import constraints

from ._checks import PriorError

Quantity = float | Tensor | TorchDistributionMixin | PyroSample | PyroParam | nn.Parameter
"""A physical quantity as a user writes it: a number (fixed), a distribution (a latent site), a parameter (learned)."""


class _PartType(ABCMeta, type(PyroModule)):  # type: ignore[misc]
    """Lets a Pyro module be an abstract class."""


class Part(PyroModule, metaclass=_PartType):
    """A module that may be called on its own before it becomes part of a model.

    Pyro names the sites of a module by the root it is called from, and refuses modules that were called before they
    had one. A potential is looked at before it is fitted, so a part opens no naming context of its own: inside a model
    it uses the model's, outside it simply computes.
    """

    def __call__(self, *args: object, **kwargs: object) -> object:
        return nn.Module.__call__(self, *args, **kwargs)


class Physical(Part):
    """A part with positive physical quantities, each of which may be fixed, learned or random.

    Assigning a number, a distribution, a `PyroSample`, or a parameter to one of the names in `quantities` is all it takes
    to swap a prior. Their site names are bare (`temperature`, not `dynamics.temperature`), whatever holds the part.
    """

    quantities: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.quantities:
            value = _declare(name, value)
            if isinstance(value, Tensor):
                if name in self._buffers or not hasattr(self, name):
                    self.register_buffer(name, value)
                    return
                delattr(self, name)
                self.register_buffer(name, value)
                return
        super().__setattr__(name, value)

    def _pyro_get_fullname(self, name: str) -> str:
        return name if name in self.quantities else super()._pyro_get_fullname(name)

    def aligned(self, name: str) -> Tensor:
        """The quantity, shaped to broadcast against `(*batch, time, axis)`.

        A scalar site under a vectorised plate has shape `(particle, 1)`: its batch axes stand left of time, so that two
        axes are opened behind it; a quantity with one value per axis opens one.
        """
        value = getattr(self, name)
        event = self._event_dim(name, value)
        if value.dim() == event:
            return value
        return value.unsqueeze(-2) if event else value[..., None, None]

    def _event_dim(self, name: str, value: Tensor) -> int:
        prior = self._pyro_samples.get(name)
        return min(value.dim(), 1) if prior is None else getattr(prior, "event_dim", 0)


def _declare(name: str, value: object) -> object:
    """A user's quantity as Pyro stores it: a positive tensor, a `PyroSample`, or a positive `PyroParam`."""
    if isinstance(value, PyroSample | PyroParam):
        return value
    if isinstance(value, TorchDistributionMixin):
        if not _positive(value):
            raise PriorError(
                f"{name} is positive, so its prior needs positive support: got {type(value).__name__} on "
                f"{value.support}. Use for example LogNormal or Gamma."
            )
        return PyroSample(value)
    if isinstance(value, nn.Parameter):
        return PyroParam(_require_positive(name, value.detach().clone()), constraints.positive)
    try:
        return _require_positive(name, torch.as_tensor(value, dtype=torch.get_default_dtype()))
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, PriorError):
            raise
        raise PriorError(
            f"{name} must be a positive number, a distribution, or a parameter: got {type(value).__name__}."
        ) from error


def _positive(prior: TorchDistributionMixin) -> bool:
    support = prior.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    lower = getattr(support, "lower_bound", None)
    return support is constraints.positive or (lower is not None and bool((torch.as_tensor(lower) >= 0).all()))


def _require_positive(name: str, value: Tensor) -> Tensor:
    if not bool(torch.isfinite(value).all() and (value > 0).all()):
        raise PriorError(f"{name} must be positive and finite: got {value.tolist()}. Give a value above zero.")
    return value


def draw_latents(module: PyroModule) -> dict[str, Tensor]:
    """Draw every `PyroSample` below `module` once, outside all plates, and return the values by site name.

    Must run inside the module's call. A lazily drawn site would be born inside the plate over sequences and be drawn
    anew for each of them.
    """
    return {
        part._pyro_get_fullname(name): getattr(part, name)
        for part in module.modules()
        if isinstance(part, PyroModule)
        for name in part._pyro_samples
    }


def fixed(module: PyroModule, values: Mapping[str, Tensor]) -> PyroModule:
    """A copy of `module` in which every random attribute is the number that `values` has for its site."""
    named = [
        (path, attribute, values[part._pyro_get_fullname(attribute)])
        for path, part in module.named_modules()
        if isinstance(part, PyroModule)
        for attribute in part._pyro_samples
    ]
    twin = copy.deepcopy(module)
    for path, attribute, value in named:
        part = twin.get_submodule(path)
        delattr(part, attribute)
        part.register_buffer(attribute, value.detach().clone())
    return twin.requires_grad_(False)


@contextmanager
def holding(module: PyroModule, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Let `module` and its parts read their random attributes as `values` (by site name) and declare no sites."""
    if not values:
        yield
        return
    context = module._pyro_context
    with context:
        for name, value in values.items():
            context.set(name, value)
        yield
