"""Motion: potentials and forces, the equations they drive, their integrators, and whole paths as distributions."""

from . import simulation
from .potentials import DoubleWell, GaussianWells, MuellerBrown, Potential, Quadratic, Tilted
from .neural_potentials import NeuralPotential, ResidualPotential
from .forces import Force, NeuralForce, SumOfForces
from .equations import (
    Dynamics, Overdamped, OverdampedLangevin, OverdampedSDE, Underdamped, UnderdampedLangevin, UnderdampedSDE,
    jacobian,
)  # fmt: skip
from .integrators import BAOA, EulerMaruyama, Integrator, Leapfrog, default_integrator
from .paths import ControlledPath, LangevinPath

__all__ = [
    "simulation", "DoubleWell", "GaussianWells", "MuellerBrown", "NeuralPotential", "Potential", "Quadratic",
    "ResidualPotential", "Tilted", "Force", "NeuralForce", "SumOfForces", "Dynamics", "Overdamped",
    "OverdampedLangevin", "OverdampedSDE", "Underdamped", "UnderdampedLangevin", "UnderdampedSDE", "jacobian",
    "BAOA", "EulerMaruyama", "Integrator", "Leapfrog", "default_integrator", "ControlledPath", "LangevinPath",
]  # fmt: skip
