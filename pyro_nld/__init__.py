"""Neural Langevin dynamics as Pyro models: hidden states, their landscape, and how long they last.

In the order of the data flow: data, motion, model, guide, fit, and what is read from the fit. A name is imported when
somebody asks for it (PEP 562), so that a command can say what it does without waiting for torch.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        io,
        dynamics,
        landscape,
        kinetics,
        model,
        guide,
        datasets,
        plots,
        fitting,
        results,
        checks,
        report,
        runs,
    )
    from .errors import (
        CheckpointError,
        DataError,
        DoubtfulDataWarning,
        DoubtfulFitWarning,
        FitError,
        MissingExtra,
        NLDError,
        PriorError,
        RunDirectoryError,
        ShapeError,
        TimeGridError,
    )
    from .io import as_tensors, inference_data, load
    from .datasets import hidden_markov, oracles
    from .dynamics import (
        BAOA,
        ControlledPath,
        DoubleWell,
        DrivenLangevin,
        Dynamics,
        EulerMaruyama,
        ExponentialEuler,
        Force,
        GaussianWells,
        Integrator,
        LangevinPath,
        Leapfrog,
        MuellerBrown,
        NeuralForce,
        NeuralPotential,
        OverdampedLangevin,
        OverdampedSDE,
        PerGroup,
        Periodic,
        Potential,
        Quadratic,
        ResidualPotential,
        SumOfForces,
        Tilted,
        UnderdampedLangevin,
        UnderdampedSDE,
        VariableFrictionLangevin,
        simulation,
    )
    from .landscape import attractors, saddles, samplers
    from .kinetics import generators, verdicts
    from .model import (
        Bernoulli,
        Categorical,
        Channels,
        CorrelatedGaussian,
        Decoder,
        Gaussian,
        IdentityDecoder,
        LatentLangevin,
        Likelihood,
        LinearDecoder,
        LogNormal,
        MLPDecoder,
        NegativeBinomial,
        OrthonormalDecoder,
        Poisson,
        StudentT,
        VaryingGaussian,
    )
    from .guide import (
        AffineControl,
        AmortizedGuide,
        CircularControl,
        Control,
        Encoder,
        GRUEncoder,
        LeakyEncoder,
        NeuralControl,
    )
    from .fitting import PathELBO, Schedule, particles, select
    from .results import corrections, forecast, load_fit, replicates, save, segment
    from .results.fit import Fit, fit
    from .checks import calibration, comparisons, diagnostics, predictive_checks, scores
    from .report import tables
    from .runs import published

__version__ = "0.1.0"

__all__ = [
    "datasets", "oracles", "hidden_markov", "as_tensors", "load", "save",
    "Potential", "NeuralPotential", "ResidualPotential", "Quadratic", "DoubleWell", "MuellerBrown", "GaussianWells",
    "Tilted", "Periodic", "Dynamics", "OverdampedLangevin", "UnderdampedLangevin", "Force", "NeuralForce",
    "SumOfForces", "OverdampedSDE", "UnderdampedSDE", "Integrator", "EulerMaruyama", "ExponentialEuler",
    "Leapfrog", "BAOA", "LangevinPath",
    "ControlledPath", "PerGroup", "VariableFrictionLangevin", "DrivenLangevin",
    "simulation",
    "Decoder", "IdentityDecoder", "OrthonormalDecoder", "LinearDecoder", "MLPDecoder", "Likelihood", "Gaussian",
    "StudentT", "LogNormal", "CorrelatedGaussian", "VaryingGaussian", "Poisson", "NegativeBinomial", "Bernoulli",
    "Categorical", "Channels",
    "Encoder", "GRUEncoder", "LeakyEncoder", "LatentLangevin", "Control", "AffineControl", "NeuralControl",
    "CircularControl", "AmortizedGuide",
    "PathELBO", "particles", "Schedule", "select", "fit", "Fit", "load_fit", "inference_data", "landscape", "samplers",
    "saddles",
    "kinetics", "generators", "verdicts", "attractors", "segment", "forecast", "corrections", "replicates",
    "diagnostics", "predictive_checks", "scores", "comparisons", "calibration", "tables", "plots", "report",
    "published",
    "io", "dynamics", "model", "guide", "fitting", "results", "checks", "runs",
    "NLDError", "DataError", "ShapeError", "TimeGridError", "PriorError", "CheckpointError", "FitError",
    "RunDirectoryError", "MissingExtra", "DoubtfulDataWarning", "DoubtfulFitWarning",
]  # fmt: skip

_MOVED = {
    "potentials": "dynamics.potentials", "forces": "dynamics.forces", "integrators": "dynamics.integrators",
    "paths": "dynamics.paths", "equilibrium": "dynamics.stationary", "flows": "landscape.flows",
    "occupancies": "landscape.occupancies", "counting": "kinetics.counting", "observations": "model",
    "encoders": "guide.encoders", "controls": "guide.controls", "objective": "fitting.elbo",
    "pace": "fitting.scales", "schedules": "fitting.schedule", "em": "fitting.em", "depths": "fitting.transitions",
    "checkpoints": "fitting.checkpoints", "training": "fitting.training", "draws": "fitting.draws",
    "ensemble": "results.ensemble", "segmentation": "results.segmentation", "forecasting": "results.forecasting",
    "findings": "checks.findings", "simulated_wells": "datasets.langevin", "model_files": "runs.model_files",
    "errors": "errors", "nn": "nn", "command_line": "command_line", "summary": "runs.summary",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """A name of the contents page, or a module by the name that it had before there were rooms."""
    if name in _MOVED:
        return import_module(f"pyro_nld.{_MOVED[name]}")
    if name.startswith("__") or name not in _homes():
        raise AttributeError(f"module 'pyro_nld' has no attribute {name!r}")
    home = _homes()[name]
    found = getattr(import_module(f"pyro_nld.{home}"), name) if home else import_module(f"pyro_nld.{name}")
    globals()[name] = found  # asked for once
    return found


def __dir__() -> list[str]:
    """Every public name, imported or not."""
    return sorted({*globals(), *__all__})


@cache
def _homes() -> dict[str, str]:
    """Where each name of the contents page is imported from, read off the page, so that it stands there alone."""
    (page,) = (node for node in ast.parse(Path(__file__).read_text("utf-8")).body if isinstance(node, ast.If))
    imports = (node for node in page.body if isinstance(node, ast.ImportFrom))
    return {alias.name: node.module or "" for node in imports for alias in node.names}
