"""A second device on a machine that has none: tensors that were moved there, and those that were made at home.

On a card, a tensor that was made without a device meets one of the model and the operation is refused. Here both lie in
the same memory, with the same numbers. Every storage remembers where it would lie: `elsewhere.THERE` is the device, a
tensor made without naming a device is at home, and what is computed lies where its operands do. A tensor that is made
on the device of another is not followed: that device is called "cpu" in both places.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

THERE = torch.device("cpu", 1)
MAKERS = {
    torch.tensor, torch.as_tensor, torch.from_numpy, torch.zeros, torch.ones, torch.full, torch.empty, torch.eye,
    torch.arange, torch.linspace, torch.randn, torch.rand, torch.randint, torch.randperm,
}  # fmt: skip
INDEXED = ("aten.index.", "aten.index_put", "aten._index_put", "aten._unsafe_index")  # indices may come from home
COPIES = ("aten.copy_.", "aten._to_copy.")
TOGETHER = ("aten.cat.", "aten.stack.")  # where even single numbers must not come from home


class MixedError(RuntimeError):
    """An operation that a card refuses."""


class Marks:
    """Where every storage lies; it keeps them, so that no memory is given out twice."""

    def __init__(self) -> None:
        self.places: dict[int, tuple[object, str]] = {}

    def of(self, tensor: torch.Tensor) -> str:
        return self.places.get(tensor.untyped_storage()._cdata, (None, ""))[1]

    def mark(self, tensor: torch.Tensor, place: str) -> torch.Tensor:
        storage = tensor.untyped_storage()
        self.places[storage._cdata] = storage, place
        return tensor


class _Made(TorchFunctionMode):
    """Marks what is made, and what is moved."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in MAKERS:
            device = kwargs.get("device")
            if device == THERE:
                kwargs["device"] = torch.device("cpu")
            made = func(*args, **kwargs)
            shared = isinstance(made, torch.Tensor) and self.marks.of(made)
            return (
                made if shared or device not in (None, THERE) else self.marks.mark(made, "there" if device else "home")
            )
        if func is torch.Tensor.to:
            for target in (*args[1:], *kwargs.values()):
                if isinstance(target, torch.Tensor):
                    moved = args[0].to(target.dtype).clone()
                    return self.marks.mark(moved, place) if (place := self.marks.of(target)) else moved
                if target == THERE:
                    return self.marks.mark(args[0].clone(), "there")
        if func is torch.Tensor.cpu:
            return self.marks.mark(args[0].clone(), "home")
        return func(*args, **kwargs)


class _Met(TorchDispatchMode):
    """Refuses operations between the two places."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = str(func), kwargs or {}
        given = [part for part in tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)]
        if name.startswith(INDEXED):
            given = [args[0], *(part for part in given[1:] if self.marks.of(part) == "there")]
        many = [part for part in given if part.dim() or name.startswith(TOGETHER)]
        places = {self.marks.of(part) for part in many} - {""}
        if len(places) > 1 and not name.startswith(COPIES):
            raise MixedError(f"{name} of {[(tuple(part.shape), self.marks.of(part)) for part in given]}")
        places = places or {self.marks.of(part) for part in given} - {""}
        out = func(*args, **kwargs)
        for made in tree_leaves(out):
            if isinstance(made, torch.Tensor) and places and not self.marks.of(made):
                self.marks.mark(made, "there" if "there" in places else "home")
        return out


@contextmanager
def two_places():
    """Inside this context, THERE is another device."""
    marks = Marks()
    with _Made(marks), _Met(marks):
        yield marks
