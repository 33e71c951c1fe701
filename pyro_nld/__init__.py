"""Neural Langevin dynamics as Pyro models: hidden states, their landscape, and how long they last.

In the order of the data flow: data, potentials, dynamics, paths, observations, model, guide, fit, and what is read from
the fit.
"""

from .landscape import attractors
from .checks import calibration
from .checks import comparisons
from .results import corrections
from . import datasets
from .checks import diagnostics
from .kinetics import generators
from .datasets import hidden_markov
from .io import inference_data
from . import kinetics
from . import landscape
from .datasets import oracles
from .fitting import particles
from . import plots
from .checks import predictive_checks
from .runs import published
from .results import replicates
from . import report
from .landscape import saddles
from .landscape import samplers
from .checks import scores
from .dynamics import simulation
from .report import tables
from .kinetics import verdicts
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
from .guide.controls import AffineControl
from .guide.controls import NeuralControl
from .io import as_tensors
from .io import load
from .io import save
from .dynamics.equations import OverdampedLangevin
from .dynamics.equations import OverdampedSDE
from .dynamics.equations import UnderdampedLangevin
from .dynamics.equations import UnderdampedSDE
from .guide.encoders import GRUEncoder
from .results.forecasting import forecast
from .dynamics.forces import NeuralForce
from .dynamics.forces import SumOfForces
from .guide.amortized import AmortizedGuide
from .dynamics.integrators import BAOA
from .dynamics.integrators import EulerMaruyama
from .dynamics.integrators import Leapfrog
from .model.latent_langevin import LatentLangevin
from .fitting.elbo import PathELBO
from .model.likelihoods import Gaussian
from .model.decoders import IdentityDecoder
from .model.decoders import LinearDecoder
from .model.decoders import MLPDecoder
from .model.decoders import OrthonormalDecoder
from .dynamics.paths import ControlledPath
from .dynamics.paths import LangevinPath
from .dynamics.potentials import DoubleWell
from .dynamics.potentials import GaussianWells
from .dynamics.potentials import MuellerBrown
from .dynamics.potentials import NeuralPotential
from .dynamics.potentials import Quadratic
from .dynamics.potentials import ResidualPotential
from .dynamics.potentials import Tilted
from .results.fit import Fit
from .fitting.schedule import Schedule
from .results.segmentation import segment
from .results.fit import fit

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
