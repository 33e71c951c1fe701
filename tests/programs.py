"""Recipes as real processes, without paying for the import of torch each time: one server imports it and forks.

A test can start a recipe, look on, send it a signal, and wait for its end. Only the import is shared: every program
runs its file from the top, has its own arguments and streams, and ends with its own exit code.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # seconds after which a program that does not end is a failure
BRIEF = (("pyro_nld.kinetics.routes", "LOOKS", (50, 60)), ("pyro_nld.results.fit", "CHAINS", 40))
"""Little is simulated of a fitted prior, where it is shown what that is for, and not judged."""


TINY = '''
"""Small enough to fit in a second; temperature is random."""
import pyro.distributions as dist
import pyro_nld as nld

PRIORS = {"temperature": dist.LogNormal(0.0, 1.0)}


def build(data):
    prior = nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(8,)), temperature=PRIORS["temperature"])
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.3), substeps=2, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))


def simulate(seed):
    return nld.datasets.ornstein_uhlenbeck(sequences=8, steps=24, seed=seed)
'''


@dataclass
class Ended:
    """How a program ended; `code` is minus the signal that killed it."""

    code: int
    out: str
    err: str


class Program:
    """A running program."""

    def __init__(self, server: Programs, pid: int, streams: tuple[Path, Path]) -> None:
        self.server, self.pid, self.streams = server, pid, streams

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def end(self) -> Ended:
        """Wait for its end."""
        code = self.server.ask({"wait": self.pid, "patience": self.server.patience})
        assert code is not None, f"the program did not end in {self.server.patience} s"
        return Ended(code, *(stream.read_text() for stream in self.streams))


@cache
def server() -> subprocess.Popen:
    """The server of this process, for all of its tests; it ends with it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "ignore", __file__]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    atexit.register(ended, started)
    return started


def ended(process: subprocess.Popen) -> None:
    """Tell the server to end, and wait for it."""
    process.stdin.close()
    process.wait()
    process.stdout.close()


class Programs:
    """Programs in a folder. One that does not end within `patience` seconds is a failure.

    Those that are `brief` simulate little of the fitted prior: for tests that show what it is for, and do not judge it.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE, *, brief: bool = True) -> None:
        self.folder, self.patience, self.brief, self.count = folder, patience, brief, 0
        self.process = server()

    def ask(self, order: dict) -> int | None:
        """One order, one answer."""
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, recipe: str, *arguments: object) -> Program:
        """Start `inference/RECIPE.py ARGUMENTS`, or any file given by its path or suffix, in the server's folder."""
        self.count += 1
        streams = self.folder / f"{self.count}.out", self.folder / f"{self.count}.err"
        file = recipe if "/" in recipe or recipe.endswith(".py") else str(ROOT / "inference" / f"{recipe}.py")
        words = [file, *map(str, arguments)]
        order = {"run": words, "streams": [str(s) for s in streams], "folder": str(self.folder), "brief": self.brief}
        pid = self.ask(order)
        return Program(self, pid, streams)

    def run(self, recipe: str, *arguments: object) -> Ended:
        """Start and wait."""
        return self.start(recipe, *arguments).end()


def until(condition: object, patience: float = PATIENCE) -> None:
    """Wait until `condition()` is true."""
    ends = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.005)


def warm() -> None:
    """Import what recipes import, and what torch and matplotlib import at first use."""
    import arviz  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch
    from matplotlib.figure import Figure

    import pyro_nld as nld

    for name in nld.__all__:
        getattr(nld, name)
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    figure = Figure(layout="constrained")
    figure.subplots().set_title("γ")
    figure.savefig(io.BytesIO())


def serve() -> None:
    warm()
    for line in sys.stdin:
        order = json.loads(line)
        answer = fork(order) if "run" in order else waited(order["wait"], order["patience"])
        print(json.dumps(answer), flush=True)


def fork(order: dict) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(child(order))
    return pid


def child(order: dict) -> int:
    for number, file in zip((0, 1, 2), ("/dev/null", *order["streams"]), strict=True):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["folder"])
    sys.argv = order["run"]
    for module, name, value in BRIEF if order["brief"] else ():
        setattr(sys.modules[module], name, value)
    sys.path.insert(0, str(Path(sys.argv[0]).parent))  # as Python does for a file it runs
    code: object = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def waited(pid: int, patience: float) -> int | None:
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


if __name__ == "__main__":
    serve()
