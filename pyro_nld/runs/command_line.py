"""The command line of recipes: errors and warnings in one line each, and how to go on after Ctrl-C."""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
import xarray as xr
from tqdm import tqdm

from ..errors import NLDError
from ..fitting.jobs import one_thread

Time = Annotated[str | None, typer.Option(help="Column of times; rows: count them; columns: the titles are times.")]
Sequences = Annotated[str | None, typer.Option("--sequence", help="Columns that tell sequences apart, with commas.")]
Channels = Annotated[str | None, typer.Option(help="Columns to use, with commas.")]
Missing = Annotated[str | None, typer.Option(help="What means missing beside the empty cell, with commas.")]
"""Options for reading a table; what is not given is guessed."""
Jobs = Annotated[int, typer.Option(help="Processes at once; -1: as many as there are cores. Results are the same.")]
"""How much is done side by side."""

INTERRUPTED = 130  # exit code of a program that Ctrl-C ended
PERSISTENCE = (
    "A minimum is a state if it takes so many times longer to forget whether the system was there than to forget where "
    "in it; 0 keeps every minimum."
)
BARRIER = "Join minima with a lower barrier than that, in kT, to a neighbour."


def run(main: Callable[..., None]) -> None:
    """Run `main` as a program: arguments from the command line, every error of this library as one plain line.

    Exit codes: 0 done; 1 an error of this library; 2 a command line that cannot be understood; 130 Ctrl-C.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_plain(main))
    try:
        code = typer.main.get_command(app)(standalone_mode=False)
    except Exception as error:
        # The errors of Typer have one base class, but its module depends on the version of Typer.
        if not hasattr(error, "format_message"):
            raise
        _end(f"error: {' '.join(error.format_message().split())} --help shows what there is.", 2)
    raise SystemExit(code)


def reading(time: str | None, sequence: str | None, channels: str | None, missing: str | None) -> dict[str, str]:
    """The options of a command for reading a table, those that were given."""
    given = {"time": time, "sequence": sequence, "channels": channels, "missing": missing}
    return {name: value for name, value in given.items() if value is not None}


def tell(data: xr.Dataset) -> None:
    """Print in one line how a table was read."""
    if "read_as" in data.attrs:
        print(f"read as: {data.attrs['read_as']}")


@contextmanager
def noted() -> Iterator[list[str]]:
    """Print every warning once, in one line that does not break a progress bar, and yield the list of all."""
    messages: list[str] = []

    def say(message: Warning | str, *_: object, **__: object) -> None:
        line = " ".join(str(message).split())
        if line not in messages:
            messages.append(line)
            tqdm.write(f"warning: {line}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = say
        yield messages


def _plain(main: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(main)
    def plain(**arguments: object) -> None:
        try:
            with one_thread():
                main(**arguments)
        except (NLDError, OSError) as error:  # an OSError explains itself: no space left, permission denied
            _end(f"error: {' '.join(str(error).split())}", 1)
        except KeyboardInterrupt:
            _end(f"\nstopped. {_way_back(main)}", INTERRUPTED)

    return plain


def _way_back(main: Callable[..., None]) -> str:
    if "resume" not in inspect.signature(main).parameters:
        return "Nothing is half-written."
    words = [word for word in sys.argv if word != "--resume"]
    return f"The last checkpoint is kept; go on with: python {shlex.join(words)} --resume"


def _end(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr)
    raise SystemExit(code) from None
