"""Importing the library changes nothing for whoever else works in the same process."""

import json
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
