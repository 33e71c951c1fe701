"""Time read: from labels to counts, rates by independent routes, and whether to believe them."""

from . import generators
from . import verdicts
from .counting import by_counting
from .counting import count
from .counting import milestones
from .counting import transition_matrix
from .markov import implied_timescales
from .markov import of_rates
from .markov import passage_times
from .markov import relaxation
from .markov import reversible
from .markov import stationary
from .routes import committor
from .routes import cores
from .routes import exact
from .routes import eyring_kramers
from .routes import in_unit
from .routes import joined
from .routes import routes
from .routes import saddle_committors
from .routes import simulated

__all__ = [
    "generators",
    "verdicts",
    "by_counting",
    "count",
    "milestones",
    "transition_matrix",
    "implied_timescales",
    "of_rates",
    "passage_times",
    "relaxation",
    "reversible",
    "stationary",
    "committor",
    "cores",
    "exact",
    "eyring_kramers",
    "in_unit",
    "joined",
    "routes",
    "saddle_committors",
    "simulated",
]
