"""Importing the library changes nothing for whoever else works in the same process, and takes no time of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Prints what differs from before, twice: after the import, and after faults were planted on purpose.
PROGRAM = """
import json, logging, random, sys, warnings
import arviz, matplotlib.pyplot, numpy, pyro, scipy, torch, torchsde, tqdm, typer, xarray
from pyro.distributions import Delta, Distribution
from torch.distributions.kl import _KL_REGISTRY, register_kl


def ours(pair):
    return any(law.__module__.split(".")[0] == "pyro_nld" for law in pair)


def everybodys():
    return {
        "divergences": {pair: rule for pair, rule in _KL_REGISTRY.items() if not ours(pair)},
        "settings of Pyro": pyro.settings.get(),
        "parameters": list(pyro.get_param_store()),
        "precision": (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()),
        "random numbers": (torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), random.getstate()),
        "warnings": list(warnings.filters),
        "figures": dict(matplotlib.rcParams),
        "tables": {**xarray.get_options(), **numpy.geterr()},
        "messages": (list(logging.root.handlers), logging.root.level, sys.excepthook),
    }


def changed(before):
    return [name for name, value in everybodys().items() if value != before[name]]


before = everybodys()
import pyro_nld
for name in pyro_nld.__all__:
    getattr(pyro_nld, name)
print(json.dumps(changed(before)))

register_kl(Delta, Distribution)(lambda posterior, prior: 0.0)
pyro.enable_validation(not pyro.settings.get()["validate_distributions_pyro"])
pyro.param("a", torch.ones(1))
torch.set_default_dtype(torch.float64)
random.random()
warnings.simplefilter("error")
matplotlib.rcParams["lines.linewidth"] = 9.0
xarray.set_options(display_width=41)
logging.root.setLevel(logging.CRITICAL)
print(json.dumps(changed(before)))
print(json.dumps(list(before)))
"""


def test_the_import_changes_nothing_for_others_and_a_change_would_be_seen():
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    imported, planted, everything = map(json.loads, done.stdout.splitlines())
    assert imported == []
    assert planted == everything


def ran(program):
    """What a new interpreter prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True,
                          env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


STEPS = """
import time
import torch, pyro
stands_on = time.process_time()
import pyro_nld
ours = time.process_time()
for name in pyro_nld.__all__:
    getattr(pyro_nld, name)
import arviz, matplotlib.pyplot
print(ours / stands_on, time.process_time() / stands_on)
"""


def shares():
    """Time of a processor that a new interpreter takes for the import, and for that of everything, in units of what the
    library stands on.
    """
    return map(float, ran(STEPS).split())


def test_the_import_takes_no_longer_than_what_it_stands_on():
    for _ in range(3):  # an unlucky interpreter cannot spoil it
        ours, everything = shares()
        if ours < 1.3:
            break
    assert ours < 1.3
    assert everything > 1.3  # seen: with all rooms and the libraries of results and figures it takes more than that


HEAVY = ("torch", "pyro", "pandas", "xarray", "matplotlib", "scipy", "arviz")
HELP = """
import sys
sys.argv = ["pyro-nld", *{words}, "--help"]
from pyro_nld.command_line import commands
try:
    commands()
except SystemExit as end:
    assert end.code == 0, end.code
print()
print(*sorted(set(sys.modules) & {{"numpy", *{heavy}}}), sep=",")
"""


def test_help_imports_nothing_heavy():
    for words in ([], ["fit"], ["report"]):
        shown = ran(HELP.format(words=words, heavy=HEAVY)).splitlines()
        assert "Usage: pyro-nld" in "".join(shown)
        assert shown[-1] == ""
    assert ran("import sys, pyro_nld.runs; print('torch' in sys.modules)").strip() == "True"
