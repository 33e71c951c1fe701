"""Recipes as a person meets them: errors in one line, Ctrl-C with a way back."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable

from ._checks import NLDError


def recipe(main: Callable[..., None]) -> Callable[..., None]:
    """Let `main` end in exit code 1 and one plain line on anything this library refuses, and 130 on Ctrl-C."""

    @functools.wraps(main)
    def run(*args: object, **kwargs: object) -> None:
        warnings.showwarning = _one_line
        try:
            main(*args, **kwargs)
        except NLDError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("\nstopped: the last checkpoint is kept. The same command with --resume goes on.", file=sys.stderr)
            raise SystemExit(130) from None

    return run


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)
