"""Annotations are executed in the first call of each function in a test, then now and then.

The others repeat its shapes, and are worth no more than a count: tests of models and guides take 64 processor seconds
with five first calls, 55 with one. What executes the annotations of a function is made at the first call that
needs it. jaxtyping decorates a function wherever its definition is executed, so an inner one is counted by its code.
"""

import warnings
from functools import wraps
from inspect import isfunction
from types import CodeType

import jaxtyping

EVERY = 50
_numbers: dict[CodeType, int] = {}  # of definitions: to hash their code in every call takes longer than the rest
_calls: dict[int, int] = {}  # of definitions, in the present test
_jaxtyped = jaxtyping.jaxtyped


def begin() -> None:
    """Another test."""
    _calls.clear()


def _sparingly(fn=None, /, *, typechecker=None):
    if fn is None:
        return lambda function: _sparingly(function, typechecker=typechecker)
    if not isfunction(fn):
        return _jaxtyped(fn, typechecker=typechecker)
    number, executing = _numbers.setdefault(fn.__code__, len(_numbers)), None

    @wraps(fn)
    def sparing(*args, **kwargs):
        __tracebackhide__ = True
        nonlocal executing
        count = _calls[number] = _calls.get(number, 0) + 1
        if count % EVERY != 1 or jaxtyping.config.jaxtyping_disable:
            return fn(*args, **kwargs)
        if executing is None:
            with warnings.catch_warnings():  # beartype's, of annotations: none of the test
                warnings.simplefilter("ignore")
                executing = _jaxtyped(fn, typechecker=typechecker)
        return executing(*args, **kwargs)

    return sparing


jaxtyping.jaxtyped = _sparingly
