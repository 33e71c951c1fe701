"""Words: tables for the terminal, and the page that tells a run."""

from . import tables
from .document import Origin
from .document import claim
from .document import page
from .document import require_landscape
from .document import require_plotly

__all__ = ["tables", "Origin", "claim", "page", "require_landscape", "require_plotly"]
