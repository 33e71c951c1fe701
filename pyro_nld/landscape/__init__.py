"""A landscape read: where flows end, minima, the passes between them, samples, occupancies, the view."""

from . import attractors
from . import saddles
from . import samplers
from .minima import basins
from .minima import downhill
from .minima import minima
from .minima import polish
from .occupancies import occupancy
from .step_size import discretisation
from .projection import lift
from .projection import plane
from .projection import project

__all__ = [
    "attractors",
    "saddles",
    "samplers",
    "basins",
    "downhill",
    "minima",
    "polish",
    "occupancy",
    "discretisation",
    "lift",
    "plane",
    "project",
]
