"""Known answers: simulated series that contain their truths, and the best that can be inferred from them.

Examples
--------
Three states that are equally frequent and last 20 steps on average, in 15 channels:

>>> data = nld.datasets.three_state(sequences=100, steps=50, seed=0)
>>> dict(data["observations"].sizes)
{'sequence': 100, 'time': 50, 'channel': 15}
>>> data["occupancy"].values.round(3).tolist(), data["dwell"].values.round(3).tolist()
([0.333, 0.333, 0.333], [20.0, 20.0, 20.0])
"""

from . import hidden_markov, oracles
from ..io import as_tensors, centred, cut, from_arrays, from_table, joined, load, matched, save
from .switching import asymmetric_transition, three_state
from .harmonic import ornstein_uhlenbeck
from .langevin import langevin_wells

__all__ = [
    "hidden_markov", "oracles", "as_tensors", "centred", "cut", "from_arrays", "from_table", "joined", "load",
    "matched", "save", "asymmetric_transition", "three_state", "ornstein_uhlenbeck", "langevin_wells",
]  # fmt: skip
