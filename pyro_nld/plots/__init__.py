"""Figures: matplotlib pictures of the Datasets that the library returns; only `save` writes."""

from .style import save
from .training import loss
from .landscape import energy
from .landscape import passes
from .space import arrows
from .space import gallery
from .space import isosurface
from .space import streamlines
from .space import surface
from .sequences import segmentation
from .kinetics import dwell
from .kinetics import rates
from .kinetics import timescales
from .forecasts import forecast
from .diagnostics import checks
from .diagnostics import comparison
from .diagnostics import evidence
from .diagnostics import marginals
from .diagnostics import pareto_shapes
from .diagnostics import pit
from .diagnostics import ranks
from .diagnostics import restarts
from .diagnostics import statistics

__all__ = [
    "save",
    "loss",
    "energy",
    "passes",
    "arrows",
    "gallery",
    "isosurface",
    "streamlines",
    "surface",
    "segmentation",
    "dwell",
    "rates",
    "timescales",
    "forecast",
    "checks",
    "comparison",
    "evidence",
    "marginals",
    "pareto_shapes",
    "pit",
    "ranks",
    "restarts",
    "statistics",
]
