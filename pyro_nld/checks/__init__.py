"""Trust: findings about a fit, its posterior, its predictions and its rivals, each with a verdict."""

from . import calibration
from . import comparisons
from . import diagnostics
from . import predictive_checks
from . import scores

__all__ = ["calibration", "comparisons", "diagnostics", "predictive_checks", "scores"]
