"""Do 90 % intervals hold the truth where the landscape is learned? Two wells and three, simulated again and again.

    python tests/benchmarks/interval_coverage.py --out runs/coverage --data-sets 100
    python tests/benchmarks/interval_coverage.py --out runs/coverage --table

Each data set is new: 40 sequences of 100 observations of a double well (barriers of 2.3 and 1.7 kT), or of three wells
on a plane (2.9 to 4.0 kT), which make a few tens of transitions. A network is fitted, learns from particles once, and
is balanced; then the intervals that `fit.landscape()` gives are held against the truth. Encoder and control start from
those of one fit to other data, which saves most of the steps; the landscape starts anew. Twenty seconds a data set on
one core, and three times as long on one that does other work.

Truths: barriers of the true potential; its occupancies by quadrature; its slowest relaxation times on a grid; and dwell
times of a long true path between the very cores that the fit counts with. A study that was stopped goes on: there is a
file per data set.
"""

import argparse
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import scipy
import torch
import xarray as xr
from rates import landscapes

import pyro_nld as nld
from pyro_nld import kinetics
from pyro_nld.io.files import write_atomically
from pyro_nld.kinetics import markov
from pyro_nld.results import intervals


def fitted(
    system: landscapes.System, trained: dict, seed: int, steps: int, layers: int
) -> tuple[nld.Fit, xr.Dataset | None]:
    """Gradient steps, one M-step of U, balance."""
    data = system.simulate(seed)
    torch.manual_seed(seed)
    fit = nld.fit(*system.build(trained), data, nld.Schedule(steps=steps, learning_rate=2e-2), progress=False)
    landscapes.learn_from_particles(fit, layers)
    return fit, landscapes.balanced(fit)


def read(fit: nld.Fit, balanced: xr.Dataset) -> xr.Dataset:
    """What `fit.landscape()` says, without its simulations: shares of exp(−U/T) are exact here, on a grid.

    The chain was simulated when rates were balanced, which gave the rates of the route "simulated".
    """
    wells = fit.wells()
    states = wells.merge(nld.saddles.saddles(fit.potential, wells, temperature=fit.temperature))
    labels = kinetics.cores(fit.potential, states, fit.recorded()[0], fit.temperature).numpy()
    counted = kinetics.by_counting(kinetics.count(labels, fit.recorded()[1], states.sizes["state"]))
    chain = markov.of_rates(balanced["after"].values)
    routes = {"counted": counted, "simulated": chain, "exact": kinetics.exact(fit.dynamics, states)}
    told = intervals.of_routes(kinetics.joined(routes))
    states = states.merge(told.drop_vars("exits"), compat="override")
    states = states.assign({  # another candidate: as if a barrier were the logarithm of a rate
        "counts_low": states["barrier"] - np.log(counted["rate_high"] / counted["rate"]),
        "counts_high": states["barrier"] + np.log(counted["rate"] / counted["rate_low"]),
    })  # fmt: skip
    states = states.assign(occupancy_sampled=told["stationary"].sel(route="exact", drop=True))
    return states.assign(intervals.of_landscape(fit, states, fit.balance["covariance"]))


def row(system: landscapes.System, trained: dict, seed: int, steps: int, layers: int) -> dict:
    """Simulate, fit, and hold every interval against the truth."""
    started = time.perf_counter()
    fit, balanced = fitted(system, trained, seed, steps, layers)
    found = {"system": system.name, "seed": seed, "seconds": time.perf_counter() - started, "entries": []}
    truth = None
    if balanced is not None:
        landscape = read(fit, balanced)
        found |= {"price": balanced.attrs["path_kl"], "transitions": balanced.attrs["transitions"]}
        truth = system.truth(fit, landscape)
    if truth is None:
        return found
    said = {("landscape", "barrier"): ("barrier", "barrier", landscape)}
    said["log rate", "barrier"] = ("counts", "barrier", landscape)
    said["landscape", "occupancy"] = ("occupancy", "occupancy_sampled", landscape)
    for route in ("counted", "simulated"):  # "exact" is another time: recrossings between observations end a visit
        one = landscape.sel(route=route)
        said |= {(route, what): (what, what, one) for what in ("dwell", "relaxation")}
        said[route, "occupancy"] = ("stationary", "stationary", one)
    for (route, what), (name, middle, where) in said.items():
        ends = [where[f"{name}_{end}"].values.ravel() for end in ("low", "high")]
        for true, value, low, high in zip(truth[what].ravel(), where[middle].values.ravel(), *ends, strict=True):
            if np.isfinite(true):
                numbers = {"truth": true, "value": value, "low": low, "high": high}
                found["entries"].append(
                    {"of": what, "route": route} | {key: float(one) for key, one in numbers.items()}
                )
    return found


def table(folder: Path) -> str:
    """Coverage by system, quantity and route, with its own interval, and errors beside what intervals say of them."""
    held: dict[tuple, list] = defaultdict(list)
    sets: dict[str, list] = defaultdict(list)
    for file in sorted(folder.glob("*.json")):
        found = json.loads(file.read_text())
        sets[found["system"]].append(bool(found["entries"]))
        for entry in found["entries"]:
            held[found["system"], entry["of"], entry["route"]].append((found["seed"], entry))
    head: tuple[str, ...] = ("system", "quantity", "route", "data sets", "inside, %", "that is within")
    head += ("missed below, above, %", "bias", "spread", "claimed")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (system, what, route), rows in sorted(held.items()):
        numbers = {name: np.array([one[name] for _, one in rows]) for name in ("truth", "value", "low", "high")}
        below, above = numbers["truth"] < numbers["low"], numbers["truth"] > numbers["high"]
        inside, count = float((~below & ~above).mean()), len({seed for seed, _ in rows})
        # what one data set says of several states goes together: the interval is that of so many data sets
        within = scipy.stats.beta.ppf([0.05, 0.95], inside * count + 0.5, (1 - inside) * count + 0.5)
        if what != "barrier":
            numbers = {name: np.log(value) for name, value in numbers.items()}
        error, claimed = numbers["value"] - numbers["truth"], (numbers["high"] - numbers["low"]) / (2 * intervals.WIDTH)
        lines.append(
            f"| {system} | {what} | {route} | {count} | {100 * inside:.0f} | {100 * within[0]:.0f} to "
            f"{100 * within[1]:.0f} | {100 * below.mean():.0f}, {100 * above.mean():.0f} | {error.mean():+.2f} | "
            f"{error.std():.2f} | {np.sqrt((claimed**2).mean()):.2f} |"
        )
    lines.append("\nBias, spread and claimed standard deviation: of barriers in kT, of all else in logarithms.")
    for system, good in sets.items():
        lines.append(f"{system.capitalize()}: {len(good)} data sets, the true states found in {sum(good)}.")
    return "\n".join(lines)


def main() -> None:
    """Fill the folder with rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--data-sets", type=int, default=100, help="of each system")
    parser.add_argument(
        "--layers", type=int, default=landscapes.LAYERS, help="steps of the network on particles' paths"
    )
    parser.add_argument("--system", action="append", choices=landscapes.NAMES, help="both, if not said")
    parser.add_argument("--steps", type=int, default=80, help="gradient steps of each fit")
    parser.add_argument(
        "--table", action="store_true", help="print the table of the rows that are there, and fit nothing"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.table:
        systems = [landscapes.System(name) for name in args.system or landscapes.NAMES]
        trained = [landscapes.trained_guide(system) for system in systems]
        for seed in range(args.data_sets):
            for system, guide in zip(systems, trained, strict=True):
                file = args.out / f"{system.name.replace(' ', '_')}_{seed:03d}.json"
                if not file.is_file():
                    text = json.dumps(row(system, guide, seed, args.steps, args.layers)) + "\n"
                    write_atomically(file, lambda unfinished, text=text: unfinished.write_text(text))
                    print(file.name, flush=True)
    print(table(args.out))


if __name__ == "__main__":
    main()
