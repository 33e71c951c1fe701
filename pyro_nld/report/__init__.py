"""Words: tables for the terminal, and the page that tells a run."""

from . import tables
from .document import Origin, claim, page, require_landscape, require_plotly

__all__ = [
    "tables", "Origin", "claim", "page", "require_landscape", "require_plotly",
]  # fmt: skip
