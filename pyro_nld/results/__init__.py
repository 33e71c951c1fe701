"""Answers: a fit, and what is read from it as Datasets."""

from . import corrections, replicates
from .fit import Fit, fit
from .segmentation import segment
from .forecasting import forecast

__all__ = [
    "corrections", "replicates", "Fit", "fit", "segment", "forecast",
]  # fmt: skip
