"""Motion: potentials and forces, the equations they drive, their integrators, and whole paths as distributions.

Examples
--------
A double well whose barrier is six times the temperature:

>>> prior = nld.dynamics.OverdampedLangevin(nld.dynamics.DoubleWell(barrier=3.0), temperature=0.5)
>>> minimum, top = torch.tensor([[-1.0], [0.0]])
>>> ((prior.landscape(top) - prior.landscape(minimum)) / prior.temperature).item()
6.0
"""

from . import simulation
from .quantities import PerGroup
from .potentials import DoubleWell, GaussianWells, MuellerBrown, Potential, Quadratic, Tilted
from .circles import Periodic
from .neural_potentials import NeuralPotential, ResidualPotential
from .forces import Force, NeuralForce, SumOfForces
from .equations import (
    Dynamics, Overdamped, OverdampedLangevin, OverdampedSDE, Underdamped, UnderdampedLangevin, UnderdampedSDE,
    jacobian,
)  # fmt: skip
from .driven import DrivenLangevin
from .variable_friction import VariableFrictionLangevin
from .integrators import BAOA, EulerMaruyama, ExponentialEuler, Integrator, Leapfrog, default_integrator
from .paths import ControlledPath, LangevinPath

__all__ = [
    "simulation", "DoubleWell", "GaussianWells", "MuellerBrown", "NeuralPotential", "Periodic", "Potential",
    "Quadratic",
    "ResidualPotential", "Tilted", "PerGroup", "Force", "NeuralForce", "SumOfForces", "Dynamics", "Overdamped",
    "OverdampedLangevin", "OverdampedSDE", "Underdamped", "UnderdampedLangevin", "UnderdampedSDE", "jacobian",
    "VariableFrictionLangevin", "DrivenLangevin",
    "BAOA", "EulerMaruyama", "ExponentialEuler", "Integrator", "Leapfrog", "default_integrator", "ControlledPath",
    "LangevinPath",
]  # fmt: skip
