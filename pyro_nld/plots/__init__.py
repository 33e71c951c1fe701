"""Figures: matplotlib pictures of the Datasets that the library returns; only `save` writes."""

from .style import save
from .training import loss
from .landscape import energy, passes
from .space import arrows, gallery, isosurface, streamlines, surface
from .sequences import segmentation
from .kinetics import dwell, rates, timescales
from .forecasts import forecast
from .diagnostics import checks, comparison, evidence, marginals, pareto_shapes, pit, ranks, restarts, statistics

__all__ = [
    "save", "loss", "energy", "passes", "arrows", "gallery", "isosurface", "streamlines", "surface", "segmentation",
    "dwell", "rates", "timescales", "forecast", "checks", "comparison", "evidence", "marginals", "pareto_shapes",
    "pit", "ranks", "restarts", "statistics",
]  # fmt: skip
