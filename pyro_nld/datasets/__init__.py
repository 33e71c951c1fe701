"""Known answers: observed series, simulated with their truths inside, and the best that can be said of them."""

from . import hidden_markov, oracles
from ..io import as_tensors, cut, from_arrays, joined, load, save
from .switching import asymmetric_transition, three_state
from .harmonic import ornstein_uhlenbeck
from .langevin import langevin_wells

__all__ = [
    "hidden_markov", "oracles", "as_tensors", "cut", "from_arrays", "joined", "load", "save", "asymmetric_transition",
    "three_state", "ornstein_uhlenbeck", "langevin_wells",
]  # fmt: skip
