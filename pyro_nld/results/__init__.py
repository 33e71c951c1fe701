"""Answers: a fit, and what is read from it as Datasets."""

from . import corrections
from . import replicates
from .fit import Fit
from .fit import fit
from .segmentation import segment
from .forecasting import forecast

__all__ = ["corrections", "replicates", "Fit", "fit", "segment", "forecast"]
