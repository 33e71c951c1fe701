"""Figures: matplotlib pictures of the Datasets that the library returns. Only `save` writes a file.

Examples
--------
>>> well = nld.DoubleWell(barrier=3.0)
>>> points = torch.linspace(-1.5, 1.5, 200).unsqueeze(-1)
>>> figure = nld.plots.energy(well, nld.landscape.minima(well, points), points)
>>> figure.axes[0].get_title()
'2 states, with 50 %, 50 % of the data'
"""

from .style import save
from .training import loss
from .landscape import energy, passes
from .space import arrows, gallery, isosurface, streamlines, surface
from .sequences import segmentation
from .kinetics import dwell, rates, timescales
from .passages import passages
from .forecasts import forecast
from .diagnostics import checks, comparison, evidence, marginals, pareto_shapes, pit, ranks, restarts, statistics

__all__ = [
    "save", "loss", "energy", "passes", "arrows", "gallery", "isosurface", "streamlines", "surface", "segmentation",
    "dwell", "rates", "timescales", "passages", "forecast", "checks", "comparison", "evidence", "marginals",
    "pareto_shapes", "pit", "ranks", "restarts", "statistics",
]  # fmt: skip
