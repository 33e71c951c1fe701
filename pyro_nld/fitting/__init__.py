"""Fitting: the bound and its gradient, particle filters, posterior draws, the training loop, and the M-steps after it.

Examples
--------
The maximum of a log density and its width, from the values at nine points:

>>> from pyro_nld.fitting.quadratic import response_surface
>>> x = torch.linspace(-2, 2, 9).unsqueeze(-1)
>>> surface = response_surface(x, -0.5 * ((x.squeeze(-1) - 1.0) / 0.5).square())
>>> round(float(surface.slope / surface.curvature), 3), round(float(surface.curvature) ** -0.5, 3)
(1.0, 0.5)
"""

from . import particles
from .elbo import PathELBO
from .schedule import Schedule
from .transitions import balance

__all__ = [
    "particles", "PathELBO", "Schedule", "balance",
]  # fmt: skip
