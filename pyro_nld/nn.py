"""How the parts of a model meet Pyro: parts, layers, and drawing every latent value once.

Parts print what they are, also in a notebook.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import math
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from textwrap import shorten
from typing import Any, cast

import pyro
import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.nn import PyroModule, PyroSample
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, transform_to
from torch.nn.functional import linear

PRINTED_VALUES = 6  # largest number of values that are printed one by one


class Described:
    """An object that prints the arguments of its constructor with their present values, also in a notebook.

    Nothing is computed or drawn for it. A prior is shown as a law. An argument that is not stored under its own name is
    left out. An object with other facts defines `_facts`: for every name a text that begins with its relation ("= 3",
    "~ LogNormal(0, 1)"), or another described object.
    """

    fits_a_line = True
    """Whether plain facts stand behind the name, in parentheses; otherwise each has a line of its own."""

    def _title(self) -> str:
        return type(self).__name__

    def _facts(self) -> dict[str, object]:
        kept = ((name, _kept(self, name)) for name in inspect.signature(type(self)).parameters)
        return {name: fact for name, fact in kept if fact is not None}

    def __repr__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        return _html(self)


class _PartType(ABCMeta, type(PyroModule)):  # type: ignore[misc]
    """The metaclass of a Pyro module that can be an abstract class."""


class Module(PyroModule):
    """A Pyro module whose parameters stay frozen where `requires_grad_(False)` froze them.

    Pyro enters every parameter that is read into its store, and the store makes it learn again (Pyro's issue 3438). A
    frozen parameter is read here without the store.
    """

    def __getattr__(self, name: str) -> Any:
        """A frozen parameter as it is, everything else as Pyro does."""
        found = self.__dict__.get("_parameters", {}).get(name)
        return super().__getattr__(name) if found is None or found.requires_grad else found


def versions(*modules: nn.Module) -> list[tuple[int, int]]:
    """Which parameters there are, and how often each was changed: equal at two times if nothing was learned between."""
    return [(id(value), value._version) for module in modules for value in module.parameters()]


@torch.no_grad()
def redraw(*modules: nn.Module) -> None:
    """Draw all weights anew, except frozen ones: inner modules first, because outer ones may rescale them."""
    values = [value for module in modules for value in module.parameters()]
    frozen = [(value, value.clone()) for value in values if not value.requires_grad]
    for module in modules:
        for part in reversed(list(module.modules())):
            getattr(part, "reset_parameters", lambda: None)()
    for value, kept in frozen:
        value.copy_(kept)


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Inside this context, `modules` are in PyTorch's mode of evaluation: dropout is off."""
    parts = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in parts:
            part.training = training


class Part(Described, Module, metaclass=_PartType):
    """A module that can be called on its own before it becomes part of a model.

    Pyro names the sites of a module after the root module that is called, and refuses modules that were called before
    they had a root. But a potential is often evaluated before it is fitted. A part therefore opens no naming context of
    its own: inside a model it uses that of the model, and outside it only computes.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute `forward`, without a naming context of its own."""
        return nn.Module.__call__(self, *args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        """Store an attribute. In place of a parameter, a distribution is the prior of each of its numbers."""
        if isinstance(value, Distribution) and name in self.__dict__.get("_parameters", {}):
            shape = getattr(self, name).shape
            value = PyroSample(value if value.event_shape else value.expand(shape).to_event(len(shape)))
        super().__setattr__(name, value)


class Pointwise(Part):
    """A part that is a function of points `(*batch, time, axis)`, and sees one draw of what is random in it at a time.

    Under a vectorised plate, a random attribute comes as `(particle, 1)` beside points `(particle, sequence, time,
    axis)`. No shape of it would suit every formula, so that the function is called once for each particle.
    """

    def __call__(self, points: Tensor) -> Tensor:
        """Compute `forward`, one draw at a time where there are several."""
        return one_draw_at_a_time(self, super().__call__, points)


def one_draw_at_a_time(module: nn.Module, function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """function(points), called once for each draw where random attributes of `module` have several.

    A draw of shape `(particle, 1, …)` belongs to the points `(particle, sequence, time, axis)` with the same first
    index. Weights of `Dense` need no such help.
    """
    found = _several(module)
    if not any(alone for *_, alone in found):
        return function(points)
    lead = torch.broadcast_shapes(points.shape[:-2], *(batch for _, _, batch, _ in found))
    points = points.expand(*lead, *points.shape[-2:])
    sizes = torch.broadcast_shapes(*(batch for _, _, batch, _ in found))
    sizes = (1,) * (len(lead) - len(sizes)) + tuple(sizes)
    cache = cast(PyroModule, module)._pyro_context.cache
    before = dict(cache)
    results = []
    try:
        for place in itertools.product(*map(range, sizes)):
            for name, value, batch, _ in found:
                own = place[len(place) - len(batch) :]
                cache[name] = value[tuple(at if size > 1 else 0 for at, size in zip(own, batch, strict=True))]
            results.append(
                function(points[tuple(at if size > 1 else slice(None) for at, size in zip(place, sizes, strict=True))])
            )
    finally:
        cache.update(before)
    many = [axis for axis, size in enumerate(sizes) if size > 1]
    stacked = torch.stack(results).unflatten(0, [sizes[axis] for axis in many])
    return stacked.movedim(tuple(range(len(many))), tuple(many))


def _several(module: nn.Module) -> list[tuple[str, Tensor, torch.Size, bool]]:
    """Name, value and batch shape of every attribute that was drawn several times, and whether it is no `Dense`'s."""
    if not isinstance(module, PyroModule) or not module._pyro_context.cache:
        return []
    found = []
    for part in module.modules():
        if not isinstance(part, PyroModule):
            continue
        for attribute in part._pyro_samples:
            name = part._pyro_get_fullname(attribute)
            value = module._pyro_context.cache.get(name)
            batch = torch.Size() if value is None else value.shape[: value.dim() - event_dim(part, attribute)]
            if value is not None and math.prod(batch) > 1:
                found.append((name, value, batch, not isinstance(part, Dense)))
    return found


def event_dim(part: PyroModule, name: str) -> int:
    """The number of axes that belong to one value of a random attribute."""
    prior = part._pyro_samples[name]
    if not hasattr(prior, "sample"):  # a prior that depends on other quantities
        prior = prior(part)
    return getattr(prior, "event_dim", 0)


class Dense(Part):
    """y = W z + b, where weight W and bias b may be random.

    A weight that is drawn under a vectorised plate has the shape `(particle, 1, out, in)`. Its batch axes are those of
    `z (particle, sequence, time, in)` to the left of time.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw W and b uniformly from ±1/√inputs, unless they are random variables."""
        for parameter in self._parameters.values():
            nn.init.uniform_(parameter, -1 / math.sqrt(self.inputs), 1 / math.sqrt(self.inputs))

    def forward(self, z: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*out outputs"]:
        """y = W z + b, for z of shape `(*batch, in)`."""
        weight, bias = self.weight, self.bias
        if weight.dim() == 2 and bias.dim() == 1:
            return linear(z, weight, bias)
        return z @ weight.mT + (bias if bias.dim() == 1 else bias.unsqueeze(-2))


def widths(function: object) -> tuple[int | None, int | None]:
    """How many axes go into the first linear layer of a module and come out of the last; None where there is none."""
    parts = function.modules() if isinstance(function, nn.Module) else ()
    layers = [part for part in parts if isinstance(part, nn.Linear)]
    return (layers[0].in_features, layers[-1].out_features) if layers else (None, None)


PartList = PyroModule[nn.ModuleList]
"""A list of parts. In a plain `nn.ModuleList`, Pyro would not find them, and random weights would not become sites."""


def draw_latents(module: PyroModule) -> dict[str, Tensor]:
    """Draw every `PyroSample` below `module` once, outside all plates, and return the values by site name.

    It must run inside the call of the module. Pyro draws a site when it is first read; inside the plate over sequences
    it would be drawn once for each of them. One that has a value for each group is drawn in a plate of groups, after
    the others, on which its prior may depend.
    """
    random = random_parts(module)
    found = {part._pyro_get_fullname(name): getattr(part, name) for part, name in random if not group_count(part, name)}
    for part, name in random:
        if groups := group_count(part, name):
            with pyro.plate(f"{name}_group", groups, dim=-1):
                found[part._pyro_get_fullname(name)] = getattr(part, name)
    return found


def group_count(part: nn.Module, name: str) -> int:
    """The number of groups that have a value of this random attribute each; 0 where there is one value for all."""
    counts: dict[str, int] = part.__dict__.get("group_counts", {})
    return counts.get(name, 0)


def random_parts(module: nn.Module) -> list[tuple[PyroModule, str]]:
    """Every `PyroSample` below `module`: the part and the name of the attribute."""
    parts = [part for part in module.modules() if isinstance(part, PyroModule)]
    return [(part, name) for part in parts for name in part._pyro_samples]


def random_sites(module: nn.Module) -> list[str]:
    """Names of the sites of every `PyroSample` below `module`."""
    return [part._pyro_get_fullname(name) for part, name in random_parts(module)]


def random_attributes(module: PyroModule) -> dict[str, str]:
    """Support and shape of every `PyroSample` below `module`, by its path: all that an autoguide depends on."""
    return {
        f"{path}.{name}": f"{getattr(prior, 'support', None)} {tuple(getattr(prior, 'event_shape', ()))}"
        for path, part in module.named_modules()
        for name, prior in getattr(part, "_pyro_samples", {}).items()
    }


def at_values(module: PyroModule, values: Mapping[str, Tensor]) -> PyroModule:
    """A copy of `module` in which every random attribute has the value that `values` gives for its site."""
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
    """Inside this context, random attributes of `module` and its parts have these `values`, by site name.

    They are then no sites. Parameters that are read here are entered into Pyro's store, where a handler looks: SVI
    learns what it saw.
    """
    if not values and not am_i_wrapped():  # nobody is looking, and Pyro's store costs time
        yield
        return
    context = module._pyro_context
    with context:
        for name, value in values.items():
            context.set(name, value)
        yield


def _kept(thing: object, name: str) -> object:
    """The value that `thing` stores under `name`, as a fact; None where there is none."""
    stored = vars(thing)
    if name in stored.get("_pyro_samples", {}):
        return f"~ {_law(stored['_pyro_samples'][name])}"
    if name in stored.get("_pyro_params", {}):
        to_constrained = transform_to(stored["_pyro_params"][name][0])
        with torch.no_grad():
            return f"learned, now {numbers(to_constrained(stored['_parameters'][f'{name}_unconstrained']))}"
    for group in (stored, stored.get("_buffers", {}), stored.get("_modules", {})):
        if name in group:
            value = group[name]
            return value if isinstance(value, Described) else f"= {_word(value)}"
    return None


def _word(value: object) -> str:
    if isinstance(value, Tensor | float):
        return numbers(torch.as_tensor(value))
    if isinstance(value, nn.ModuleList):
        return str(len(value))
    return value.__name__ if inspect.isclass(value) or inspect.isfunction(value) else shorten(repr(value), 80)


def counted(number: int, noun: str) -> str:
    """A number of things, as in "1 run" and "2 runs"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def numbers(values: Tensor) -> str:
    """Text of numbers: a few one by one, many by their shape and range.

    Parameters
    ----------
    values: of any shape.
    """
    if values.dim() == 0:
        return f"{float(values):.4g}"
    if values.numel() <= PRINTED_VALUES:
        return f"({', '.join(map(numbers, values))})"
    low, high, shape = float(values.min()), float(values.max()), " × ".join(map(str, values.shape))
    return f"{shape} times {low:.4g}" if low == high else f"{shape} numbers from {low:.4g} to {high:.4g}"


def _law(prior: object) -> str:
    """Name and parameters of a prior, and the number of its values where there is more than one."""
    if not isinstance(prior, Distribution):
        return "a law that depends on other quantities"
    many, base = prior.batch_shape.numel() * prior.event_shape.numel(), prior
    while isinstance(base, Independent | ExpandedDistribution):
        base = base.base_dist
    names = [name for name in base.arg_constraints if name in vars(base)] or [*base.arg_constraints]
    parameters = [numbers(_common(torch.as_tensor(getattr(base, name)))) for name in names]
    text = f"{type(base).__name__}({', '.join(parameters)})"
    return text if many == 1 else f"{text} for each of {many}"


def _common(values: Tensor) -> Tensor:
    """One number where all values are equal, otherwise all values."""
    return values.flatten()[0] if bool((values == values.flatten()[0]).all()) else values


def _lines(thing: Described) -> list[str]:
    """One line where all facts are plain values, otherwise one line per fact."""
    facts = thing._facts()
    plain = {name: fact[2:] for name, fact in facts.items() if isinstance(fact, str) and fact.startswith("= ")}
    if len(plain) == len(facts) and thing.fits_a_line:
        learned = sum(weight.numel() for weight in thing.parameters()) if isinstance(thing, nn.Module) else 0
        called = f"{thing._title()}({', '.join(f'{name}={value}' for name, value in plain.items())})"
        return [f"{called}, {learned} parameters" if learned else called]
    rows = [line for name, fact in facts.items() for line in _row(name, fact)]
    return [thing._title(), *(f"  {row}" for row in rows)]


def _row(name: str, fact: object) -> list[str]:
    first, *rest = _lines(fact) if isinstance(fact, Described) else [str(fact)]
    return [f"{name} = {first}" if isinstance(fact, Described) else f"{name} {first}", *rest]


def _html(thing: Described) -> str:
    """The same facts as a table that can be folded."""
    first, *rest = _lines(thing)
    if not rest:
        return f"<code>{escape(first)}</code>"
    rows = (f"<tr><th>{escape(name)}</th><td>{_cell(fact)}</td></tr>" for name, fact in thing._facts().items())
    return f"<details open><summary>{escape(first)}</summary><table>{''.join(rows)}</table></details>"


def _cell(fact: object) -> str:
    return _html(fact) if isinstance(fact, Described) else escape(str(fact).removeprefix("= "))
