"""A landscape read: where flows end, minima, the passes between them, samples, occupancies, the view."""

from . import attractors, saddles, samplers
from .minima import basins, downhill, grouped, minima, polish
from .occupancies import occupancy
from .step_size import discretisation
from .projection import lift, plane, project

__all__ = [
    "attractors", "saddles", "samplers", "basins", "downhill", "grouped", "minima", "polish", "occupancy",
    "discretisation", "lift", "plane", "project",
]  # fmt: skip
