"""Checks: findings about a fit, its posterior, its predictions and its rivals, each with a verdict.

Examples
--------
A number is graded by two limits. The labels of two restarts agree on 80 % of the observations:

>>> from pyro_nld.checks import diagnostics, findings
>>> diagnostics.LABEL_AGREEMENT
(0.9, 0.75)
>>> findings.graded(0.8, diagnostics.LABEL_AGREEMENT, high_is_good=True)
'doubtful'
"""

from . import calibration, comparisons, diagnostics, predictive_checks, scores, stationarity
from .findings import run_check

__all__ = [
    "calibration", "comparisons", "diagnostics", "predictive_checks", "scores", "stationarity", "run_check",
]  # fmt: skip
