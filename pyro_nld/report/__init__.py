r"""Report: tables for the terminal, and the HTML page of a run.

Examples
--------
The title line of a page is the claim at the head of the docstring of a model file:

>>> nld.report.claim("Claim: the molecule has two states,\nand T is 1.\n\nPriors stand below.")
'the molecule has two states, and T is 1.'
"""

from . import tables
from .document import Origin, claim, page, require_landscape, require_plotly

__all__ = [
    "tables", "Origin", "claim", "page", "require_landscape", "require_plotly",
]  # fmt: skip
