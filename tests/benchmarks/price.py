"""Does the price of the balance tell Langevin systems from others? The area under the ROC curve.

    python tests/benchmarks/price.py --out runs/price
    python tests/benchmarks/price.py --out runs/price --exact 10
    python tests/benchmarks/price.py --out runs/price --table
    python tests/benchmarks/price.py --run runs/mine --run runs/other

Every system of rates/impostors.py is simulated (60 sequences of 100 observations), fitted by a network on its own axes,
and balanced: half a minute each on one core. Written are the price, path KL in nats per transition; and beside it how
far dwell times are from an exponential law in the data, the largest |log ratio of rates of old and young visits| over
its standard error. The area is the probability that a system that is none has more of it than a Langevin one; one half
is chance. A study that was stopped goes on.

The last command asks of run directories, where rates were balanced, what their price is of. The last layer of U learns
again from particles, once from the data and once from data that the balanced prior made itself, and is balanced again.
If the guide or the filter were wrong, both would cost as much; if the data are no Langevin data in this chart, the
first alone.
"""

import argparse
import copy
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from rates import impostors, landscapes

import pyro_nld as nld
from pyro_nld import kinetics
from pyro_nld.fitting import em, transitions
from pyro_nld.io.files import write_atomically

SUBSTEPS = 8


def row(name: str, seed: int, steps: int, exact: int) -> dict:
    """Simulate, fit, balance."""
    langevin = name in impostors.LANGEVIN
    x = torch.as_tensor((impostors.LANGEVIN if langevin else impostors.OTHERS)[name](seed)).float()
    times = (impostors.INTERVAL * torch.arange(float(x.shape[1]))).expand(len(x), -1)
    channels, started = x.shape[-1], time.perf_counter()
    torch.manual_seed(seed)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=channels, hidden=(32, 32)), friction=None)
    likelihood = nld.Gaussian(nld.IdentityDecoder(channels), impostors.NOISE)
    model = nld.LatentLangevin(prior, likelihood, substeps=SUBSTEPS, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(channels, size=32, hidden=32), nld.AffineControl(hidden=32))
    schedule = nld.Schedule(steps=steps, learning_rate=2e-2, exact=exact)
    fit = nld.fit(model, guide, (times, x), schedule, seed=seed, progress=False)
    if not exact:
        landscapes.learn_from_particles(fit)
    found = landscapes.balanced(fit)
    told = {"system": name, "langevin": langevin, "seed": seed, "price": None, "ageing": None, "transitions": 0.0}
    if found is not None:
        labels = kinetics.cores(fit.potential, fit.metastable(), fit.recorded()[0], fit.temperature).numpy()
        counted = kinetics.by_counting(kinetics.count(labels, fit.recorded()[1], found.sizes["state"]))
        ageing = np.abs(counted["ageing"] / counted["ageing_error"]).values
        told["ageing"] = float(np.nanmax(ageing)) if np.isfinite(ageing).any() else None
        told["price"] = found.attrs["path_kl"] / found.attrs["transitions"]
        told["transitions"] = found.attrs["transitions"]
        told["states"] = found.sizes["state"]
    return told | {"seconds": time.perf_counter() - started}


def cause(run: Path) -> str:
    """The price of a run, and of one M-step of its last layer on its data and on replicated data."""
    fit = nld.runs.load(run).fit
    torch.manual_seed(0)
    replicated = torch.as_tensor(nld.replicates.from_fit(fit, draws=1).values[0, 0])
    prices = [fit.balance["path_kl"] / fit.balance["transitions"]]
    for x in (fit.x, replicated):
        model, guide = copy.deepcopy((fit.model, fit.guide))
        em.solve_coefficients(model, guide, fit.times, x)
        found = transitions.balance(nld.Fit(model, guide, fit.times, fit.x))
        prices.append(found.attrs["path_kl"] / found.attrs["transitions"])
    return f"| {run.name} | " + " | ".join(f"{price:.2f}" for price in prices) + " |"


def area(langevin: list[float], others: list[float]) -> float:
    """P(another has more than a Langevin system), ties by half: the area under the ROC curve."""
    more = np.subtract.outer(others, langevin)
    return float(((more > 0) + 0.5 * (more == 0)).mean())


def table(folder: Path) -> str:
    """One row per system, then the areas."""
    rows = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    rows.sort(key=lambda row: (not row["langevin"], row["price"] or 0.0))
    head = (
        "system",
        "Langevin",
        "seed",
        "states",
        "transitions",
        "price, nats per transition",
        "ageing, standard errors",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for one in rows:
        price, ageing = ("–" if one[name] is None else f"{one[name]:.3f}" for name in ("price", "ageing"))
        kind = "yes" if one["langevin"] else "no"
        about = one["system"], kind, one["seed"], one.get("states", 1), f"{one['transitions']:.0f}", price, ageing
        lines.append("| " + " | ".join(map(str, about)) + " |")
    for name in ("price", "ageing"):
        read = [one for one in rows if one[name] is not None]
        apart = [[one[name] for one in read if one["langevin"] is kind] for kind in (True, False)]
        if all(apart):
            lines.append(
                f"\nArea under the curve, {name}: {area(*apart):.3f} ({len(apart[0])} and {len(apart[1])} fits)."
            )
    return "\n".join(lines)


def main() -> None:
    """Fill the folder with rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the rows")
    parser.add_argument("--run", type=Path, action="append", help="directory of a balanced fit; repeat for several")
    parser.add_argument("--seeds", type=int, default=1, help="of every system")
    parser.add_argument("--steps", type=int, default=150, help="gradient steps of each fit")
    parser.add_argument("--exact", type=int, default=0, help="rounds on a lattice, in place of an M-step by particles")
    parser.add_argument("--table", action="store_true", help="print the table of the rows that are there; fit nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if args.run:
        print("| run | price | data | replicated |\n|---|---|---|---|")
        for run in args.run:
            print(cause(run), flush=True)
        return
    if args.out is None:
        parser.error("give --out or --run")
    args.out.mkdir(parents=True, exist_ok=True)
    names = [] if args.table else [*impostors.LANGEVIN, *impostors.OTHERS]
    for seed in range(args.seeds):
        for name in names:
            file = args.out / f"{name.replace(' ', '_').replace(',', '').replace(':', '').replace('.', '')}_{seed}.json"
            if not file.is_file():
                text = json.dumps(row(name, seed, args.steps, args.exact), allow_nan=False) + "\n"
                write_atomically(file, lambda unfinished, text=text: unfinished.write_text(text))
                print(file.name, flush=True)
    print(table(args.out))


if __name__ == "__main__":
    main()
