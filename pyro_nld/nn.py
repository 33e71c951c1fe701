"""How the parts of a model meet Pyro: parts, layers, physical quantities, and drawing every latent value once."""

from __future__ import annotations

import copy
import math
from abc import ABCMeta
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import linear

from .errors import PriorError

Quantity = float | int | Tensor | TorchDistributionMixin | PyroSample | PyroParam | nn.Parameter
"""A physical quantity as a user writes it: a number (fixed), a distribution (a latent site), a parameter (learned)."""


class _PartType(ABCMeta, type(PyroModule)):  # type: ignore[misc]
    """Lets a Pyro module be an abstract class."""


class Part(PyroModule, metaclass=_PartType):
    """A module that may be called on its own before it becomes part of a model.

    Pyro names the sites of a module by the root it is called from, and refuses modules that were called before they
    had one. A potential is looked at before it is fitted, so a part opens no naming context of its own: inside a model
    it uses the model's, outside it simply computes.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute `forward`, without a naming context of its own."""
        return nn.Module.__call__(self, *args, **kwargs)


class Dense(Part):
    """y = W z + b, whose weight and bias may be random.

    A weight drawn under a vectorised plate has shape `(particle, 1, out, in)`: its batch axes align with those of
    `z (particle, sequence, time, in)` left of time.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√inputs, unless the weights are random."""
        for parameter in self._parameters.values():
            nn.init.uniform_(parameter, -1 / math.sqrt(self.inputs), 1 / math.sqrt(self.inputs))

    def forward(self, z: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*out outputs"]:
        """W z + b for z of shape `(*batch, in)`."""
        weight, bias = self.weight, self.bias
        if weight.dim() == 2 and bias.dim() == 1:
            return linear(z, weight, bias)
        return z @ weight.mT + (bias if bias.dim() == 1 else bias.unsqueeze(-2))


PartList = PyroModule[nn.ModuleList]
"""Parts in a row. In a plain `nn.ModuleList` they would be out of Pyro's sight, and their random weights no sites."""


class Physical(Part):
    """A part with positive physical quantities, each of which may be fixed, learned or random.

    Assigning a number, a distribution, a `PyroSample`, or a parameter to one of the names in `quantities` is all it
    takes to swap a prior. Their site names are bare (`temperature`, not `dynamics.temperature`), whatever holds the
    part.
    """

    quantities: tuple[str, ...] = ()

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
        if name not in self._pyro_samples:
            return min(value.dim(), 1)
        prior = self._pyro_samples[name]
        if not hasattr(prior, "sample"):  # a prior that depends on other quantities
            prior = prior(self)
        return getattr(prior, "event_dim", 0)


def _declare(name: str, value: object) -> object:
    """A user's quantity as Pyro stores it: a positive tensor, a `PyroSample`, or a positive `PyroParam`.

    NOT checked: a prior that is a function of other quantities.
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


def random_attributes(module: PyroModule) -> dict[str, str]:
    """What an autoguide must know of every `PyroSample` below `module`: its place, its support and its shape."""
    return {
        f"{path}.{name}": f"{getattr(prior, 'support', None)} {tuple(getattr(prior, 'event_shape', ()))}"
        for path, part in module.named_modules()
        for name, prior in getattr(part, "_pyro_samples", {}).items()
    }


def at_values(module: PyroModule, values: Mapping[str, Tensor]) -> PyroModule:
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
def condition_on(module: PyroModule, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Let `module` and its parts read their random attributes as `values` (by site name) and declare no sites."""
    if not values:
        yield
        return
    context = module._pyro_context
    with context:
        for name, value in values.items():
            context.set(name, value)
        yield
