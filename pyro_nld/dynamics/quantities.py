"""Positive quantities of physics: fixed, learned, or random, as a user writes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam, PyroSample
from torch import Tensor, nn
from torch.distributions import constraints

from ..errors import PriorError
from ..nn import Part

Quantity = float | int | Tensor | TorchDistributionMixin | PyroSample | PyroParam | nn.Parameter
"""A physical quantity as a user gives it: a number (fixed), a distribution (a latent site), a parameter (learned)."""


class Physical(Part):
    """A part with positive physical quantities, each of which may be fixed, learned or random.

    A quantity is an attribute whose name is in `quantities`. To change its prior, assign a number, a distribution, a
    `PyroSample` or a parameter. Its site has the bare name, `temperature` and not `dynamics.temperature`, whatever the
    part belongs to. `units` gives the unit of each quantity.
    """

    quantities: tuple[str, ...] = ()
    units: Mapping[str, str] = {}
    fits_a_line = False

    def _facts(self) -> dict[str, object]:
        return {
            name: f"{fact} [{self.units[name]}]" if name in self.units else fact
            for name, fact in super()._facts().items()
        }

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.quantities:
            value = _declare(name, value)
            if isinstance(value, Tensor):
                with suppress(AttributeError):
                    delattr(self, name)
                self.register_buffer(name, value)
                return
        super().__setattr__(name, value)

    def _pyro_get_fullname(self, name: str) -> str:
        return name if name in self.quantities else super()._pyro_get_fullname(name)

    def broadcast_quantity(self, name: str) -> Tensor:
        """The quantity in a shape that broadcasts against `(*batch, time, axis)`.

        A scalar site under a vectorised plate has the shape `(particle, 1)`. These batch axes belong to the left of
        time, so that two axes of length 1 are added on the right. To a quantity with one value per axis one is added.
        """
        value = getattr(self, name)
        event = self._event_dim(name, value)
        if value.dim() == event:
            return value
        return value.unsqueeze(-2) if event else value[..., None, None]

    def _event_dim(self, name: str, value: Tensor) -> int:
        if name not in self._pyro_samples:
            return min(value.dim(), 1)
        prior = self._pyro_samples[name]
        if not hasattr(prior, "sample"):  # a prior that depends on other quantities
            prior = prior(self)
        return getattr(prior, "event_dim", 0)


def _declare(name: str, value: object) -> object:
    """A quantity in the form that Pyro stores: a positive tensor, a `PyroSample`, or a positive `PyroParam`.

    Not checked: a prior that is a function of other quantities.
    """
    if isinstance(value, TorchDistributionMixin):
        return PyroSample(_require_positive_support(name, value).to_event())
    if isinstance(value, PyroSample):
        if isinstance(value.prior, TorchDistributionMixin):
            _require_positive_support(name, value.prior)
        return value
    if isinstance(value, PyroParam):
        return _require_positive_parameter(name, value)
    if isinstance(value, nn.Parameter):
        return PyroParam(_require_positive(name, value.detach().clone()), constraints.positive)
    try:
        number = torch.as_tensor(value, dtype=torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError) as error:
        raise PriorError(
            f"{name} must be a positive number, a distribution, or a parameter: got {type(value).__name__}."
        ) from error
    return _require_positive(name, number)


def _require_positive_support(name: str, prior: TorchDistributionMixin) -> TorchDistributionMixin:
    if not _positive(prior.support):
        raise PriorError(
            f"{name} is positive, so its prior needs positive support: got {type(prior).__name__} on "
            f"{prior.support}. Use for example LogNormal or Gamma."
        )
    return prior


def _require_positive_parameter(name: str, parameter: PyroParam) -> PyroParam:
    if not _positive(parameter.constraint):
        raise PriorError(
            f"{name} is positive, so its parameter needs the constraint positive: got {parameter.constraint}. "
            "Use PyroParam(value, constraints.positive) or nn.Parameter(value)."
        )
    if isinstance(parameter.init_value, Tensor):
        _require_positive(name, parameter.init_value)
    return parameter


def _positive(support: constraints.Constraint) -> bool:
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    lower = getattr(support, "lower_bound", None)
    return support is constraints.positive or (lower is not None and bool((torch.as_tensor(lower) >= 0).all()))


def _require_positive(name: str, value: Tensor) -> Tensor:
    if not bool(value.numel() and torch.isfinite(value).all() and (value > 0).all()):
        raise PriorError(f"{name} must be positive and finite: got {value.tolist()}. Give a value above zero.")
    return value
