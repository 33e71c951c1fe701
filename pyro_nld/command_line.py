"""The command `pyro-nld`, and what recipes share: errors and warnings in one line each, how to go on after Ctrl-C.

Recipes are files of the folder `inference/`, which the wheel carries. `pyro-nld NAME` does what `python
inference/NAME.py` does in a checkout. Nothing here, nor at the top of a recipe, imports torch: help comes at once.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import math
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from tqdm import tqdm
from typer.core import TyperGroup

from .errors import DataError, NLDError

Time = Annotated[str | None, typer.Option(help="Column of times; rows: count them; columns: the titles are times.")]
Sequences = Annotated[str | None, typer.Option("--sequence", help="Columns that tell sequences apart, with commas.")]
Channels = Annotated[str | None, typer.Option(help="Columns to use, with commas.")]
Missing = Annotated[str | None, typer.Option(help="What means missing beside the empty cell, with commas.")]
Log = Annotated[str | None, typer.Option(help="Channels of which the logarithm is taken, with commas.")]
Angle = Annotated[str | None, typer.Option(help="Channels that are angles, with commas: cosine and sine are taken.")]
Covariates = Annotated[str | None, typer.Option(help="Columns of what acts from outside, with commas.")]
"""Options for reading a table; what is not given is guessed."""
Jobs = Annotated[int, typer.Option(help="Processes at once; -1: as many as there are cores. Results are the same.")]
"""How much is done side by side."""

NAME = "pyro-nld"
INTERRUPTED = 130  # exit code of a program that Ctrl-C ended
PERSISTENCE = (
    "A minimum is a state if it takes so many times longer to forget whether the system was there than to forget where "
    "in it; 0 keeps every minimum."
)
BARRIER = "Join minima with a lower barrier than that, in kT, to a neighbour."
ORDER = ("fit", "landscape", "check", "segment", "predict", "compare", "calibrate", "report")


# Programs


def run(main: Callable[..., None]) -> None:
    """Run `main` as a program: arguments from the command line, every error of this library as one plain line.

    Exit codes: 0 done; 1 an error of this library; 2 a command line that cannot be understood; 130 Ctrl-C.
    """
    _run(_program(main), Path(sys.argv[0]).name)


def commands() -> None:
    """The command `pyro-nld`: one sub-command per recipe, and `new`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, cls=_Recipes, no_args_is_help=True)
    app.callback()(_purpose)
    app.command()(_plain(new))
    _run(app, NAME)


def new(
    file: Annotated[Path, typer.Argument(help="The model file to write, for example mine.py.")],
    like: Annotated[str, typer.Option(help="Which of the model files to begin with.")] = "my_data",
) -> None:
    """Copy a model file to FILE: priors in the open, to be changed by hand.

    Raises
    ------
    DataError: FILE is no name of a Python file, or exists; or no model file has that name.
    """
    known = sorted(path.stem for path in folder("models").glob("*.py"))
    if like not in known:
        raise DataError(f"--like must be one of {', '.join(known)}: got {like}.")
    if file.suffix != ".py":
        raise DataError(f"a model file ends in .py: got {file}. Rename it.")
    try:
        with file.open("xb") as copy, (folder("models") / f"{like}.py").open("rb") as template:
            shutil.copyfileobj(template, copy)
    except FileExistsError:
        raise DataError(f"{file} exists already. Choose another name, or delete it.") from None
    print(f"Wrote {file}. Open it, then: {NAME} fit {shlex.quote(str(file))} --data FILE --out RUN")


def folder(name: Literal["inference", "models"]) -> Path:
    """The folder of recipes or of model files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return found if (found := package / name).is_dir() else package.parent / name


def spelled(recipe: str, *words: object) -> str:
    """The command line of another recipe, as this one was called: `pyro-nld NAME …` or `python inference/NAME.py …`."""
    here = Path(sys.argv[0])
    start = ["python", str(here.with_name(f"{recipe}.py"))] if here.suffix == ".py" else [NAME, recipe]
    return shlex.join([*start, *map(str, words)])


class _Recipes(TyperGroup):
    """The recipes as sub-commands, each loaded when somebody asks for it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["new", *ORDER]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        file = folder("inference") / f"{cmd_name}.py"
        if cmd_name not in ORDER or not file.is_file():
            return super().get_command(ctx, cmd_name)
        spec = importlib.util.spec_from_file_location(f"pyro_nld_recipe_{cmd_name}", file)
        assert spec is not None
        assert spec.loader is not None
        recipe = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(recipe)
        return typer.main.get_command(_program(recipe.main, cmd_name))


def _purpose() -> None:
    """Hidden states of multichannel time series, their landscape, and how long they last."""


def _program(main: Callable[..., None], name: str | None = None) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(_plain(main))
    return app


def _run(app: typer.Typer, name: str) -> NoReturn:
    try:
        code = typer.main.get_command(app)(standalone_mode=False, prog_name=name)
    except Exception as error:
        # The errors of Typer have one base class, but its module depends on the version of Typer.
        if not hasattr(error, "format_message"):
            raise
        message = " ".join(error.format_message().split())
        _end(f"error: {message} --help shows what there is." if message else "", 2)  # the help was shown already
    raise SystemExit(code)


def _plain(main: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(main)
    def plain(**arguments: object) -> None:
        try:
            main(**arguments)
        except (NLDError, OSError) as error:  # an OSError explains itself: no space left, permission denied
            _end(f"error: {' '.join(str(error).split())}", 1)
        except KeyboardInterrupt:
            _end(f"\nstopped. {_way_back(main)}", INTERRUPTED)

    return plain


def _way_back(main: Callable[..., None]) -> str:
    if "resume" not in inspect.signature(main).parameters:
        return "Nothing is half-written."
    first, *words = (word for word in sys.argv if word != "--resume")
    start = ["python", first] if first.endswith(".py") else [NAME]
    return f"The last checkpoint is kept; go on with: {shlex.join([*start, *words])} --resume"


def _end(line: str, code: int) -> NoReturn:
    if line:
        print(line, file=sys.stderr)
    raise SystemExit(code) from None


# What recipes share


def reading(
    time: str | None,
    sequence: str | None,
    channels: str | None,
    missing: str | None,
    log: str | None,
    angle: str | None,
    covariates: str | None = None,
) -> dict[str, str]:
    """The options of a command for reading a table, those that were given."""
    given = {"time": time, "sequence": sequence, "channels": channels, "missing": missing, "log": log}
    given |= {"angle": angle, "covariates": covariates}
    return {name: value for name, value in given.items() if value is not None}


def numbers(option: str, text: str | None) -> list[float] | None:
    """The numbers of an option, which are separated by commas.

    Raises
    ------
    DataError: something else stands between the commas.
    """
    try:
        found = None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        found = [math.nan]
    if found and not all(map(math.isfinite, found)):
        raise DataError(
            f"{option} needs numbers with commas between them: got {text}. Give for example {option} 0.5,1."
        )
    return found


def tell(attrs: Mapping[str, object]) -> None:
    """Print in one line how a table was read, from the attributes of the data."""
    if "read_as" in attrs:
        print(f"read as: {attrs['read_as']}")


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


def tell_choice(choice: Mapping[str, Any] | None) -> None:
    """Print what was chosen for the data and the candidates, see `model_files.choose`."""
    if choice is None:
        return
    rows = [{name: _cell(value) for name, value in one.items()} for one in choice["candidates"]]
    for row in [{name: name for name in rows[0]}, *rows] if rows else []:
        mine = all(row[name] == _cell(choice[name]) for name in row if name in choice)
        print("  ".join(f"{text:>10}" for text in row.values()) + "  chosen" * mine)
    print(f"chosen: {choice['message']}")


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "–" if value is None else str(value)
