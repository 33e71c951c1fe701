"""Neural Langevin dynamics as Pyro models: hidden states, their landscape, and how long they last.

In the order of the data flow: data, motion, model, guide, fit, and what is read from the fit.
"""

from importlib import import_module

from . import io, dynamics, landscape, kinetics, model, guide, datasets, plots, fitting, results, checks, report, runs
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
from .io import as_tensors, inference_data, load, save
from .datasets import hidden_markov, oracles
from .dynamics import (
    BAOA,
    ControlledPath,
    DoubleWell,
    Dynamics,
    EulerMaruyama,
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
    Potential,
    Quadratic,
    ResidualPotential,
    SumOfForces,
    Tilted,
    UnderdampedLangevin,
    UnderdampedSDE,
    simulation,
)
from .landscape import attractors, saddles, samplers
from .kinetics import generators, verdicts
from .model import (
    Decoder,
    Gaussian,
    IdentityDecoder,
    LatentLangevin,
    Likelihood,
    LinearDecoder,
    MLPDecoder,
    OrthonormalDecoder,
)
from .guide import AffineControl, AmortizedGuide, Control, Encoder, GRUEncoder, NeuralControl
from .fitting import PathELBO, Schedule, particles, select
from .results import Fit, corrections, fit, forecast, replicates, segment
from .checks import calibration, comparisons, diagnostics, predictive_checks, scores
from .report import tables
from .runs import published

__version__ = "0.1.0"

__all__ = [
    "datasets", "oracles", "hidden_markov", "as_tensors", "load", "save",
    "Potential", "NeuralPotential", "ResidualPotential", "Quadratic", "DoubleWell", "MuellerBrown", "GaussianWells",
    "Tilted", "Dynamics", "OverdampedLangevin", "UnderdampedLangevin", "Force", "NeuralForce", "SumOfForces",
    "OverdampedSDE", "UnderdampedSDE", "Integrator", "EulerMaruyama", "Leapfrog", "BAOA", "LangevinPath",
    "ControlledPath", "simulation",
    "Decoder", "IdentityDecoder", "OrthonormalDecoder", "LinearDecoder", "MLPDecoder", "Likelihood", "Gaussian",
    "Encoder", "GRUEncoder", "LatentLangevin", "Control", "AffineControl", "NeuralControl", "AmortizedGuide",
    "PathELBO", "particles", "Schedule", "select", "fit", "Fit", "inference_data", "landscape", "samplers", "saddles",
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
    "pace": "fitting.scales", "schedules": "fitting.schedule", "em": "fitting.em", "depths": "fitting.depths",
    "checkpoints": "fitting.checkpoints", "training": "fitting.training", "draws": "fitting.draws",
    "ensemble": "results.ensemble", "segmentation": "results.segmentation", "forecasting": "results.forecasting",
    "findings": "checks.findings", "simulated_wells": "datasets.langevin", "model_files": "runs.model_files",
    "command_line": "runs.command_line", "summary": "runs.summary",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """A module by the name that it had before there were rooms."""
    if name not in _MOVED:
        raise AttributeError(f"module 'pyro_nld' has no attribute {name!r}")
    return import_module(f"pyro_nld.{_MOVED[name]}")
