"""Neural Langevin dynamics as Pyro models: hidden states, their landscape, and how long they last.

In the order of the data flow: data, potentials, dynamics, paths, observations, model, guide, fit, and what is read from
the fit.
"""

from . import attractors
from . import calibration
from . import comparisons
from . import corrections
from . import datasets
from . import diagnostics
from . import generators
from . import hidden_markov
from .io import inference_data
from . import kinetics
from . import landscape
from . import oracles
from . import particles
from . import plots
from . import predictive_checks
from . import published
from . import replicates
from . import report
from . import saddles
from . import samplers
from . import scores
from . import simulation
from . import tables
from . import verdicts
from .errors import CheckpointError
from .errors import DataError
from .errors import DoubtfulDataWarning
from .errors import DoubtfulFitWarning
from .errors import FitError
from .errors import MissingExtra
from .errors import NLDError
from .errors import PriorError
from .errors import RunDirectoryError
from .errors import ShapeError
from .errors import TimeGridError
from .controls import AffineControl
from .controls import NeuralControl
from .datasets import as_tensors
from .datasets import load
from .datasets import save
from .dynamics import OverdampedLangevin
from .dynamics import OverdampedSDE
from .dynamics import UnderdampedLangevin
from .dynamics import UnderdampedSDE
from .encoders import GRUEncoder
from .forecasting import forecast
from .forces import NeuralForce
from .forces import SumOfForces
from .guide import AmortizedGuide
from .integrators import BAOA
from .integrators import EulerMaruyama
from .integrators import Leapfrog
from .model import LatentLangevin
from .objective import PathELBO
from .observations import Gaussian
from .observations import IdentityDecoder
from .observations import LinearDecoder
from .observations import MLPDecoder
from .observations import OrthonormalDecoder
from .paths import ControlledPath
from .paths import LangevinPath
from .potentials import DoubleWell
from .potentials import GaussianWells
from .potentials import MuellerBrown
from .potentials import NeuralPotential
from .potentials import Quadratic
from .potentials import ResidualPotential
from .potentials import Tilted
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
