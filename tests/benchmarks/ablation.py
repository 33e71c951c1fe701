"""What balance, fine steps and the next order of Laplace's method are worth: one at a time, against known truths.

    python tests/benchmarks/ablation.py --sequences 80

Data come from two wells, and from three on a plane, see rates/landscapes.py. Each is fitted with few and with many
steps per observation, and read before and after rates are balanced: half a minute to two a fit on one core. Columns:

* curvature × step: of the stiffest well; the chain of Euler's steps departs from exp(−U/T) with it;
* price: of the balance, nats per transition;
* barriers: largest error, kT;
* exact, harmonic, anharmonic: ℓ1 error of the occupancy by exp(−U/T) on a grid, by the harmonic formula, and by that to
  the next order in T;
* dwell: of the fitted chain, largest departure from the counts, and from the true equation between the same cores.
"""

import argparse
import warnings

import numpy as np
import torch
from rates import landscapes

import pyro_nld as nld
from pyro_nld import kinetics


def reading(system: landscapes.System, fit: nld.Fit) -> dict[str, str]:
    """Errors of a fit as it is now."""
    states = fit.wells()
    passes = nld.saddles.saddles(fit.potential, states, temperature=fit.temperature)
    truth = system.truth(fit, states)
    if truth is None:
        return {}
    step, interval = fit.model, float(fit.times.diff().nanmedian())
    counts, chain = (
        kinetics.by_counting(one)["dwell"].values
        for one in (
            kinetics.count(
                kinetics.cores(fit.potential, states, fit.recorded()[0], fit.temperature).numpy(),
                fit.recorded()[1],
                states.sizes["state"],
            ),
            kinetics.simulated(
                fit.dynamics, step.integrator, states, fit.encoded(400), interval=interval, substeps=step.substeps,
                intervals=1000, seed=17,
            ),
        )
    )  # fmt: skip
    shares = {"exact": kinetics.exact(fit.dynamics, states)["stationary"].values}
    shares |= {name: states[f"occupancy_{name}"].values for name in ("harmonic", "anharmonic")}
    return {
        "barriers kT": f"{np.nanmax(np.abs(passes['barrier'].values - truth['barrier'])):.2f}",
        **{name: f"{np.abs(share - truth['occupancy']).sum():.3f}" for name, share in shares.items()},
        "dwell, counted %": f"{100 * np.abs(chain / counts - 1).max():.0f}",
        "dwell, true %": f"{100 * np.abs(chain / truth['dwell'] - 1).max():.0f}",
    }


def rows(system: landscapes.System, seed: int, substeps: int, sequences: int, steps: int) -> list[dict]:
    """One fit, read before and after the balance."""
    torch.manual_seed(seed)
    schedule = nld.Schedule(steps=steps, learning_rate=2e-2)
    fit = nld.fit(*system.build(substeps=substeps), system.simulate(seed, sequences), schedule, progress=False)
    landscapes.learn_from_particles(fit)
    about = {"system": system.name, "seed": seed, "steps per observation": substeps}
    found = [about | {"balance": "no", "price": "–"} | _step(fit) | reading(system, fit)]
    told = landscapes.balanced(fit)
    fit.forget()
    price = "–" if told is None else f"{told.attrs['path_kl'] / told.attrs['transitions']:.3f}"
    return [*found, about | {"balance": "yes", "price": price} | _step(fit) | reading(system, fit)]


def _step(fit: nld.Fit) -> dict[str, str]:
    return {"curvature × step": f"{fit.discretisation()['max_curvature_step']:.2f}"}


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="append", choices=landscapes.NAMES, help="both, if not said")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--substeps", type=int, nargs="+", default=[2, 4, 8], help="steps per observation")
    parser.add_argument("--sequences", type=int, default=120, help="of 100 observations each")
    parser.add_argument("--steps", type=int, default=150, help="gradient steps of each fit")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the curvature × step stands in the table
    first = True
    for name in args.system or landscapes.NAMES:
        system = landscapes.System(name)
        for seed in range(args.seeds):
            for substeps in args.substeps:
                for found in rows(system, seed, substeps, args.sequences, args.steps):
                    if first:
                        print("| " + " | ".join(found) + " |\n|" + "---|" * len(found))
                    first = False
                    print("| " + " | ".join(map(str, found.values())) + " |", flush=True)


if __name__ == "__main__":
    main()
