"""Positive quantities of physics: fixed, learned, or random, as a user writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam, PyroSample
from torch import Tensor, nn
from torch.distributions import constraints

from ..errors import PriorError, ShapeError
from ..nn import Part, event_dim, group_count, random_parts


class PerGroup:
    """T_g ~ prior for each group g of sequences, and a sequence has the T of its group: a quantity per group.

    The site of the quantity is drawn in the plate `<name>_group`. With a group for every sequence, it is a quantity per
    sequence. A prior that is a function of the part may depend on other random attributes of it, which makes a
    hierarchy: `PerGroup(lambda part: LogNormal(part.level, 0.3), group)` with `dynamics.level = PyroSample(…)`.

    Parameters
    ----------
    prior: a distribution of one number, or a function from the part to one.
    group: of every sequence, `(sequence,)`, whole numbers from 0.

    Raises
    ------
    PriorError: the prior is not of one number, or groups are not numbered from 0 without a gap.

    Examples
    --------
    Two preparations of the same molecule, at a temperature each:

    >>> import pyro
    >>> heat = nld.PerGroup(pyro.distributions.LogNormal(0.0, 0.5), group=[0, 0, 1])
    >>> prior = nld.OverdampedLangevin(nld.DoubleWell(), temperature=heat)
    >>> model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.1))
    >>> trace = pyro.poutine.trace(model).get_trace(torch.arange(4.0).expand(3, -1))
    >>> trace.nodes["temperature"]["value"].shape
    torch.Size([2])
    """

    def __init__(
        self, prior: TorchDistributionMixin | Callable[..., TorchDistributionMixin], group: Tensor | Sequence[int]
    ) -> None:
        self.prior, self.group = prior, torch.as_tensor(group)
        shape = (*getattr(prior, "batch_shape", ()), *getattr(prior, "event_shape", ()))
        if shape:
            raise PriorError(
                f"a prior per group is of one number: got shape {shape}. Give one distribution for all groups."
            )
        found = self.group.unique().tolist()
        if self.group.dim() != 1 or self.group.is_floating_point() or found != [*range(len(found))]:
            raise PriorError(
                f"groups are numbered from 0 without a gap, one for every sequence: got {found}. "
                "Use for example numpy.unique(names, return_inverse=True)[1]."
            )

    @property
    def count(self) -> int:
        """The number of groups."""
        return int(self.group.max()) + 1


Quantity = float | int | Tensor | TorchDistributionMixin | PyroSample | PyroParam | nn.Parameter | PerGroup
"""A physical quantity as a user gives it: a number (fixed), a distribution (a latent site), a parameter (learned)."""


ALIKE = 0.85
"""Likeness of two names, from 0 to 1, from which one of them is probably a misspelling of the other."""


class Physical(Part):
    """A part with positive physical quantities, each of which may be fixed, learned or random.

    A quantity is an attribute whose name is in `quantities`. To change its prior, assign a number, a distribution, a
    `PyroSample` or a parameter. Its site has the bare name, `temperature` and not `dynamics.temperature`, whatever the
    part belongs to. `units` gives the unit of each quantity.
    """

    quantities: tuple[str, ...] = ()
    group_counts: Mapping[str, int] = {}
    """Of every quantity that has a value per group of sequences: how many groups there are."""
    units: Mapping[str, str] = {}
    root = ""
    """Name of the model, which stands before the names of learned quantities, not before those of sites."""
    along = ("axis", "axes")
    """What a quantity may have one value for each of, one and several."""
    fits_a_line = False

    def _facts(self) -> dict[str, object]:
        return {
            name: f"{fact} [{self.units[name]}]" if name in self.units else fact
            for name, fact in super()._facts().items()
        }

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.quantities:
            value = self._grouped(name, value)
            value = _declare(name, value)
            self._check_axes(name, value)
            if isinstance(value, Tensor):
                with suppress(AttributeError):
                    delattr(self, name)
                self.register_buffer(name, value)
                return
        elif meant := self._misspelt(name):
            raise PriorError(
                f"{type(self).__name__} has no quantity {name}: expected one of {', '.join(self.quantities)}. "
                f"Did you mean {meant}?"
            )
        super().__setattr__(name, value)

    def _grouped(self, name: str, value: object) -> object:
        """Remember the groups of sequences that have a value each, and return the prior of one."""
        self.group_counts = {other: count for other, count in self.group_counts.items() if other != name}
        self._buffers.pop(f"{name}_group", None)
        if not isinstance(value, PerGroup):
            return value
        self.group_counts |= {name: value.count}
        self.register_buffer(f"{name}_group", value.group)
        return PyroSample(value.prior)

    def _misspelt(self, name: str) -> str | None:
        """The quantity that is meant by a new public name much like it, which nothing would ever read."""
        near = get_close_matches(name, self.quantities, n=1, cutoff=ALIKE)
        mistaken = near and name not in {f"{near[0]}s", f"_{near[0]}"} and not hasattr(type(self), name)
        return near[0] if mistaken else None

    def _axes(self) -> int | None:
        """How many axes a quantity may have one value for each of; None where that is not known."""
        return None

    def _check_axes(self, name: str, value: object) -> None:
        stored = value.prior if isinstance(value, PyroSample) else getattr(value, "init_value", value)
        shape = getattr(stored, "event_shape", getattr(stored, "shape", None))
        axes = self._axes()
        if shape is None or axes is None:
            return
        if len(shape) > 1 or (len(shape) == 1 and shape[0] not in (1, axes)):
            raise PriorError(
                f"{name} needs one value, or one for each of {axes} {self.along[1]}: got values of shape "
                f"{tuple(shape)}. Give one number, or one for each {self.along[0]}."
            )

    def _pyro_get_fullname(self, name: str) -> str:
        bare = name in self.quantities and (name in self._pyro_samples or not self.root)
        return name if bare else super()._pyro_get_fullname(name)

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
        return event_dim(self, name) if name in self._pyro_samples else min(value.dim(), 1)


def _declare(name: str, value: object) -> object:
    """A quantity in the form that Pyro stores: a positive tensor, a `PyroSample`, or a positive `PyroParam`.

    Not checked: a prior that is a function of other quantities.
    """
    if isinstance(value, TorchDistributionMixin):
        return PyroSample(_require_positive_support(name, value).to_event())
    if isinstance(value, torch.distributions.Distribution):
        raise PriorError(
            f"{name} needs a prior of Pyro: got torch.distributions.{type(value).__name__}. "
            f"Use pyro.distributions.{type(value).__name__} with the same arguments."
        )
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


def place_latents(module: nn.Module, latents: Mapping[str, Tensor], number: Tensor, size: int) -> dict[str, Tensor]:
    """Give each sequence of a batch the value of its group, `(*batch, group)` to `(*batch, sequence)`.

    Parameters
    ----------
    module: whose quantities have groups. latents: values by site. number: of the sequences in the batch, `(sequence,)`.
    size: number of all sequences.

    Raises
    ------
    ShapeError: the groups are those of another number of sequences.
    """
    placed = dict(latents)
    for part, name in random_parts(module):
        if group_count(part, name):
            group, site = part.get_buffer(f"{name}_group"), part._pyro_get_fullname(name)
            if len(group) != size:
                raise ShapeError(
                    f"{name} has groups of {len(group)} sequences: got {size}. Give the group of every sequence, or "
                    "subsample= and size= for a batch."
                )
            placed[site] = latents[site][..., group[number]]
            part._pyro_context.set(site, placed[site])
    return placed
