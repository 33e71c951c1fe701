"""Neural Langevin dynamics as Pyro models: hidden states, their landscape, and how long they last.

In the order of the data flow: data, potentials, dynamics, paths, observations, model, guide, fit, and what is read from
the fit.
"""

from . import (
    attractors,
    calibration,
    comparisons,
    corrections,
    datasets,
    diagnostics,
    generators,
    hidden_markov,
    inference_data,
    kinetics,
    landscape,
    oracles,
    particles,
    plots,
    predictive_checks,
    published,
    replicates,
    report,
    saddles,
    samplers,
    scores,
    simulation,
    tables,
    verdicts,
)
from ._checks import (
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
from .controls import AffineControl, NeuralControl
from .datasets import as_tensors, load, save
from .dynamics import OverdampedLangevin, OverdampedSDE, UnderdampedLangevin, UnderdampedSDE
from .encoders import GRUEncoder
from .forecasting import forecast
from .forces import NeuralForce, SumOfForces
from .guide import AmortizedGuide
from .integrators import BAOA, EulerMaruyama, Leapfrog
from .model import LatentLangevin
from .objective import PathELBO
from .observations import Gaussian, IdentityDecoder, LinearDecoder, MLPDecoder, OrthonormalDecoder
from .paths import ControlledPath, LangevinPath
from .potentials import (
    DoubleWell,
    GaussianWells,
    MuellerBrown,
    NeuralPotential,
    Quadratic,
    ResidualPotential,
    Tilted,
)
from .results import Fit
from .schedules import Schedule
from .segmentation import segment
from .training import fit

__version__ = "0.1.0"

__all__ = [
    "datasets", "oracles", "hidden_markov", "as_tensors", "load", "save",
    "NeuralPotential", "ResidualPotential", "Quadratic", "DoubleWell", "MuellerBrown", "GaussianWells", "Tilted",
    "OverdampedLangevin", "UnderdampedLangevin", "NeuralForce", "SumOfForces", "OverdampedSDE", "UnderdampedSDE",
    "EulerMaruyama", "Leapfrog", "BAOA", "LangevinPath", "ControlledPath",
    "simulation", "IdentityDecoder", "OrthonormalDecoder", "LinearDecoder", "MLPDecoder", "Gaussian", "GRUEncoder",
    "LatentLangevin", "AffineControl", "NeuralControl", "AmortizedGuide", "PathELBO", "particles", "Schedule", "fit",
    "Fit", "inference_data", "landscape", "samplers", "saddles", "kinetics", "generators", "verdicts",
    "attractors", "segment", "forecast", "corrections", "replicates", "diagnostics", "predictive_checks", "scores",
    "comparisons", "calibration", "tables", "plots", "report", "published",
    "NLDError", "DataError", "ShapeError", "TimeGridError", "PriorError", "CheckpointError", "FitError",
    "RunDirectoryError", "MissingExtra", "DoubtfulDataWarning", "DoubtfulFitWarning",
]  # fmt: skip
