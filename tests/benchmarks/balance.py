"""What balancing the passes changes and costs: rates beside the counts, held-out bound, price.

    python tests/benchmarks/balance.py models/three_wells.py --seeds 5
    python tests/benchmarks/balance.py models/three_state_switching.py models/three_state_underdamped.py --steps 800

Every model file is fitted to its own simulation without balance, and then balanced: two to six minutes a fit on one
core. Off is the largest departure of a rate, over all pairs of states with ten transitions or more: of the fitted chain
from the counts, by simulations that `fitting.balance` has not seen.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld import kinetics
from pyro_nld.fitting import balance
from pyro_nld.runs import model_files

FRESH = 1_000_003  # added to the seed, for sequences that were not fitted
HELD_OUT = 100
SEEN = 10  # transitions from which a rate is compared


def off(fit: nld.Fit, wells: xr.Dataset, counted: xr.Dataset) -> float:
    """The largest factor between a rate of the fitted chain and the counted one, less one."""
    interval = float(fit.times.diff().nanmedian()) / fit.time_unit
    with torch.no_grad():
        chain = kinetics.simulated(
            fit.dynamics, fit.model.integrator, wells, fit.encoded(400), interval=interval,
            substeps=fit.model.substeps, intervals=1000, seed=17,
        )  # fmt: skip
    rate = (chain["exits"] / chain["time"]).values / fit.time_unit
    known = counted["transitions"].values >= SEEN
    return float(np.exp(np.abs(np.log(rate[known] / counted["counted"].values[known])).max()) - 1)


def row(path: Path, seed: int, steps: int) -> dict[str, str]:
    """Fit, balance, and compare."""
    source = model_files.load_model_file(path)
    data, fresh = source.simulate(seed), source.simulate(seed + FRESH).isel(sequence=slice(HELD_OUT))
    torch.manual_seed(seed)
    fit = nld.fit(*source.build(data), data, nld.Schedule(steps=steps), seed=seed, progress=False)
    wells, held = fit.metastable(), fit.elbo(fresh)["per_observation"]
    before = {name: value.clone() for name, value in fit.model.dynamics.state_dict().items()}
    found = balance(fit)
    row = {"model": path.stem, "seed": str(seed), "states": str(wells.sizes["state"])}
    if found is None:
        return row
    after, held_after = off(fit, wells, found), fit.elbo(fresh)["per_observation"]
    fit.model.dynamics.load_state_dict(before)
    fit.forget()
    return row | {
        "transitions": f"{found.attrs['transitions']:.0f}",
        "off before %": f"{100 * off(fit, wells, found):.0f}",
        "off after %": f"{100 * after:.0f}",
        "nats per transition": f"{found.attrs['path_kl'] / found.attrs['transitions']:.3f}",
        "held out before": f"{held:.4f}",
        "held out after": f"{held_after:.4f}",
    }


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="model files with a simulation")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--steps", type=int, default=800, help="gradient steps")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    first = True
    for path in args.models:
        for seed in range(args.seeds):
            found = row(path, seed, args.steps)
            if first:
                print("| " + " | ".join(found) + " |\n|" + "---|" * len(found))
            first = False
            print("| " + " | ".join(found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
