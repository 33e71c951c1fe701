"""A landscape read: where flows end, minima, the passes between them, samples, occupancies, the view.

Examples
--------
The minima of a double well U = 3 (1 − z²)², whose barrier is 3, are at ±1:

>>> starts = torch.linspace(-2.0, 2.0, 100).unsqueeze(-1)
>>> wells = nld.landscape.minima(nld.DoubleWell(3.0), starts)
>>> sorted(wells["position"].values.ravel().round(3).tolist())
[-1.0, 1.0]
"""

from . import attractors, saddles, samplers
from .charts import Chart, chart
from .minima import basins, downhill, grouped, minima, on_axes, polish
from .occupancies import next_order, occupancy
from .step_size import discretisation
from .projection import lift, plane, project

__all__ = [
    "attractors", "saddles", "samplers", "Chart", "chart", "on_axes", "basins", "downhill",
    "grouped", "minima", "polish", "next_order",
    "occupancy",
    "discretisation", "lift", "plane", "project",
]  # fmt: skip
