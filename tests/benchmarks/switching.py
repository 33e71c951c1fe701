"""The paper's benchmark over seeds: wells found, occupancy error, accuracy beside the best possible. One row per seed.

    python tests/benchmarks/switching.py --seeds 5 --steps 1000
    python tests/benchmarks/switching.py --seeds 5 --steps 1000 --polish 1 --asymmetric

Every seed draws its own data and its own fit of models/three_state_switching.py; accuracy is that of causal
segmentation on 500 new sequences of length 500, as in the paper's Table 1. No seed is left out.
"""

import argparse
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

import pyro_nld as nld
from pyro_nld import tables
from pyro_nld.model_files import load_model_file
from pyro_nld.runs import BUDGETS

MODEL = Path(__file__).parents[2] / "models" / "three_state_switching.py"


def row(seed: int, asymmetric: bool, stationary: bool, schedule: nld.Schedule) -> dict:
    """Simulate, fit, read and judge one seed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the curvature × step stands in the table
    transition = nld.datasets.asymmetric_transition() if asymmetric else None
    draw = partial(nld.datasets.three_state, transition=transition, first_state=None if stationary else 0)
    data = draw(sequences=1000, steps=200, seed=seed)
    torch.manual_seed(seed)
    started = time.perf_counter()
    fit = nld.fit(*load_model_file(MODEL).build(data), data, schedule, seed=seed, progress=False)
    seconds = time.perf_counter() - started
    story = fit.wells()
    new = draw(sequences=500, steps=500, seed=10_000 + seed)
    truth = tables.score(nld.segment(fit, new, wells=story, draws=10, online=True), new)
    harmonic, energy = (np.abs(story[f"occupancy_{way}"] - truth["occupancy"]).sum() for way in ("harmonic", "energy"))
    return {
        "seed": seed,
        "wells": story.sizes["state"],
        "not finite": int((~np.isfinite(fit.history["loss"])).sum()),
        "ℓ1 harmonic": f"{float(harmonic):.4f}",
        "ℓ1 energy": f"{float(energy):.4f}",
        "harmonic": " ".join(f"{share:.3f}" for share in story["occupancy_harmonic"].values),
        "true": " ".join(f"{share:.3f}" for share in truth["occupancy"].values),
        "accuracy %": f"{100 * float(truth['accuracy']):.2f} ± {100 * float(truth['spread']):.2f}",
        "HMM filter %": f"{100 * float(truth['best']):.2f}",
        "curvature × step": f"{story.attrs['max_curvature_step']:.2f}",
        "seconds": round(seconds),
    }


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--asymmetric", action="store_true", help="occupancies .5, .3, .2 instead of ⅓ each")
    parser.add_argument("--stationary", action="store_true", help="start in the stationary law, not always in state 0")
    parser.add_argument("--budget", default="default", choices=sorted(BUDGETS))
    parser.add_argument("--batch", type=int, help="sequences per step, if not the budget's")
    parser.add_argument("--steps", type=int, help="gradient steps, if not the budget's")
    parser.add_argument("--polish", type=int, default=0, help="runs of particles that end a fit, see Schedule")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one thread each")
    args = parser.parse_args()
    schedule = BUDGETS[args.budget]
    schedule = replace(schedule, batch_size=args.batch or schedule.batch_size, steps=args.steps or schedule.steps)
    schedule = replace(schedule, polish=args.polish)
    chosen = partial(row, asymmetric=args.asymmetric, stationary=args.stationary, schedule=schedule)
    with ProcessPoolExecutor(args.jobs) as pool:
        rows = pool.map(chosen, range(args.first, args.first + args.seeds))
        for place, found in enumerate(rows):
            if place == 0:
                print("| " + " | ".join(found) + " |\n|" + "---|" * len(found))
            print("| " + " | ".join(str(value) for value in found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
