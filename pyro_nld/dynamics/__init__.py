"""Motion: potentials and forces, the equations they drive, their integrators, and whole paths as distributions."""

from . import simulation
from .potentials import DoubleWell
from .potentials import GaussianWells
from .potentials import MuellerBrown
from .potentials import NeuralPotential
from .potentials import Potential
from .potentials import Quadratic
from .potentials import ResidualPotential
from .potentials import Tilted
from .forces import Force
from .forces import NeuralForce
from .forces import SumOfForces
from .equations import Dynamics
from .equations import Overdamped
from .equations import OverdampedLangevin
from .equations import OverdampedSDE
from .equations import Underdamped
from .equations import UnderdampedLangevin
from .equations import UnderdampedSDE
from .equations import jacobian
from .integrators import BAOA
from .integrators import EulerMaruyama
from .integrators import Integrator
from .integrators import Leapfrog
from .integrators import default_integrator
from .paths import ControlledPath
from .paths import LangevinPath

__all__ = [
    "simulation",
    "DoubleWell",
    "GaussianWells",
    "MuellerBrown",
    "NeuralPotential",
    "Potential",
    "Quadratic",
    "ResidualPotential",
    "Tilted",
    "Force",
    "NeuralForce",
    "SumOfForces",
    "Dynamics",
    "Overdamped",
    "OverdampedLangevin",
    "OverdampedSDE",
    "Underdamped",
    "UnderdampedLangevin",
    "UnderdampedSDE",
    "jacobian",
    "BAOA",
    "EulerMaruyama",
    "Integrator",
    "Leapfrog",
    "default_integrator",
    "ControlledPath",
    "LangevinPath",
]
