"""Learning: the bound and its gradient, particles, draws, the loop, and what is done once it ends."""

from . import particles
from .elbo import PathELBO
from .schedule import Schedule
from .depths import balance

__all__ = [
    "particles", "PathELBO", "Schedule", "balance",
]  # fmt: skip
