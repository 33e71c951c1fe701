"""Time read: from labels to counts, rates by independent routes, and whether to believe them."""

from . import generators, verdicts, witness
from .counting import by_counting, count, milestones, transition_matrix
from .markov import implied_timescales, of_rates, passage_times, relaxation, reversible, stationary
from .memberships import memberships
from .routes import committor, cores, exact, eyring_kramers, in_unit, joined, routes, saddle_committors, simulated
from .states import cut, metastable, tree
from .visits import most_probable, recordings, state_paths, visits

__all__ = [
    "generators", "verdicts", "witness", "by_counting", "count", "milestones", "transition_matrix",
    "implied_timescales", "of_rates", "passage_times", "relaxation", "reversible", "stationary", "committor", "cores",
    "exact", "eyring_kramers", "in_unit", "joined", "routes", "saddle_committors", "simulated", "memberships", "cut",
    "metastable", "tree", "most_probable", "recordings", "state_paths", "visits",
]  # fmt: skip
