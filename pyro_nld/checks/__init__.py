"""Trust: findings about a fit, its posterior, its predictions and its rivals, each with a verdict."""

from . import calibration, comparisons, diagnostics, predictive_checks, scores, stationarity

__all__ = [
    "calibration", "comparisons", "diagnostics", "predictive_checks", "scores", "stationarity",
]  # fmt: skip
