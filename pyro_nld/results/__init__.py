"""Results: a fit, and the Datasets that are read from it.

Examples
--------
The states of two fits are matched by the means of the channels, here of two channels in units of their scale:

>>> from pyro_nld.results import ensemble
>>> one, other = np.array([[48.0, 0.8], [51.0, 0.2]]), np.array([[51.1, 0.2], [47.9, 0.8]])
>>> ensemble.match(one, other, scale=np.array([2.0, 0.3])).tolist()
[1, 0]
"""

from . import corrections, replicates
from .fit import Fit, fit
from ..io import save
from .saving import load_fit
from .segmentation import segment
from .forecasting import forecast
from .transition_paths import transition_paths

__all__ = [
    "corrections", "replicates", "Fit", "fit", "save", "load_fit", "segment", "forecast", "transition_paths",
]  # fmt: skip
