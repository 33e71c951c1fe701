"""Print every public name of the library with its signature: `python tests/surface.py > before.txt`, then compare.

A change of the house must not change what a user finds in it, but for the renames that the CHANGELOG lists.
"""

from __future__ import annotations

import inspect
from types import ModuleType

import pyro_nld


def public(holder: object) -> list[str]:
    """The names that belong to a contents page or module; of a class, those that it or its bases here define."""
    if isinstance(holder, ModuleType):
        listed = getattr(holder, "__all__", None)
        return listed or [name for name, value in vars(holder).items() if ours(value, name)]
    return [name for name in dir(holder) if not name.startswith("_") and ours(getattr(holder, name), name)]


def ours(value: object, name: str) -> bool:
    home = getattr(value, "__module__", "") or ""
    return not name.startswith("_") and home.startswith("pyro_nld") and callable(value)


def lines(name: str, value: object) -> list[str]:
    if isinstance(value, ModuleType):
        inside = [(f"{name}.{below}", getattr(value, below)) for below in sorted(public(value))]
        return [line for below, part in inside for line in lines(below, part)]
    if isinstance(value, type):
        methods = [(f"{name}.{below}", getattr(value, below)) for below in sorted(public(value))]
        return [f"{name}{signature(value)}", *(f"{below}{signature(method)}" for below, method in methods)]
    return [f"{name}{signature(value)}"]


def signature(value: object) -> str:
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):
        return ""


if __name__ == "__main__":
    for each in sorted(pyro_nld.__all__):
        print("\n".join(lines(each, getattr(pyro_nld, each))))
