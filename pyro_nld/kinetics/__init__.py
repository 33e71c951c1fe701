"""Time read: from labels to counts, rates by independent routes, and whether to believe them.

Examples
--------
Two states that are left at the rates 0.1 and 0.3 relax within 1/(0.1 + 0.3), and share the time 3 to 1:

>>> rates = np.array([[0.0, 0.1], [0.3, 0.0]])
>>> nld.kinetics.relaxation(rates).round(3).tolist(), nld.kinetics.stationary(rates).round(3).tolist()
([2.5], [0.75, 0.25])
"""

from . import generators, reactive, verdicts, witness
from .counting import by_counting, count, milestones, transition_matrix
from .markov import implied_timescales, of_rates, passage_times, relaxation, stationary
from .memberships import memberships
from .passages import passages
from .routes import (
    chain, committor, cores, exact, eyring_kramers, in_unit, joined, routes, saddle_committors, simulated,
)  # fmt: skip
from .states import cut, metastable, tree
from .visits import levels, most_probable, recordings, state_paths, visits

__all__ = [
    "generators", "reactive", "verdicts", "witness", "by_counting", "count", "milestones", "transition_matrix",
    "implied_timescales", "of_rates", "passage_times", "relaxation", "stationary", "memberships", "passages", "chain",
    "committor", "cores", "exact", "eyring_kramers", "in_unit", "joined", "routes", "saddle_committors", "simulated",
    "cut", "metastable", "tree", "levels", "most_probable", "recordings", "state_paths", "visits",
]  # fmt: skip
