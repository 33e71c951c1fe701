"""Do exact rounds follow the noise of the data? Every fifth piece is held out of them, and judged after each.

    python tests/benchmarks/held_out.py double_well_2d 0
    python tests/benchmarks/held_out.py prinz_potential 1 --rounds 10

A known system is fitted by `models/my_data.py` as by the default budget, without exact rounds and balance. Then rounds
learn from four fifths of the pieces. Printed are, for each, the gain in log p(x) of these and of the rest, in nats, the
latter with its standard error over pieces, and the slowest relaxation times of the lattice's chain, in observations.
A gain that is the data's is a quarter as large in the rest; one that is noise would lower the evidence of the rest.
"""

import argparse
import copy
import math
from dataclasses import replace
from pathlib import Path

import pyro
import torch
from known import recordings

import pyro_nld as nld
from pyro_nld import runs
from pyro_nld.fitting.exact import _Learner
from pyro_nld.fitting.isolation import own_parameters, own_randomness, without_denormals
from pyro_nld.fitting.lattices import lattice_of
from pyro_nld.fitting.point_masses import Lattice

ROOT = Path(__file__).parents[2]
EVERY = 5  # pieces, of which one is held out
SLOWEST = 3


def relaxations(lattice: Lattice, gap: torch.Tensor) -> list[float]:
    """The slowest relaxation times of the chain between observations, in these."""
    with torch.no_grad():
        values = torch.linalg.eigvals(lattice.transition(gap)).real.sort(descending=True)[0][1 : SLOWEST + 1]
    return [-1 / math.log(value) for value in values.tolist() if 0 < value < 1]


@without_denormals()
def judged(fit: nld.Fit, rounds: int) -> None:
    """One line per round."""
    held = torch.arange(len(fit.x)) % EVERY == EVERY - 1
    lattice = lattice_of(fit.model, fit.guide, fit.times, fit.x)
    learner = _Learner(lattice, fit.model, fit.guide, fit.x[~held])
    gap = lattice.gaps(fit.times)[0][-1]
    print("round  learned from  held out (± error)  relaxation times")
    first = None
    for number in range(rounds + 1):
        found = lattice.explained(fit.times[~held], fit.x[~held])
        apart = copy.copy(lattice)
        apart._kept = {}  # densities of the others
        evidence = apart.evidence(fit.times[held], fit.x[held])
        first = first or (found.log_evidence.sum(), evidence)
        gain = evidence - first[1]
        times = " ".join(f"{value:.1f}" for value in relaxations(lattice, gap))
        error = f"{gain.sum():.1f} ± {gain.std() * len(gain) ** 0.5:.1f}"
        print(f"{number:5}  {found.log_evidence.sum() - first[0]:12.1f}  {error:>18}  {times}", flush=True)
        learner.go(learner.climb(found))


def main() -> None:
    """Fit a system, and do rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=recordings.SYSTEMS)
    parser.add_argument("seed", type=int)
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    recipe = runs.model_files.load_model_file(ROOT / "models" / "my_data.py")
    data = nld.io.series.cut_long(recordings.SYSTEMS[args.system](args.seed))
    choice = recipe.choose(data, seed=args.seed).attrs
    print(f"{args.system} {args.seed}: {choice['message']}", flush=True)
    torch.manual_seed(args.seed)
    schedule = replace(runs.BUDGETS["default"], exact=0, balance=False)
    fit = nld.fit(*recipe.build(data, choice), data, schedule, seed=args.seed, progress=False)
    with own_randomness(0), own_parameters(), pyro.validation_enabled(False):
        judged(fit, args.rounds)


if __name__ == "__main__":
    main()
