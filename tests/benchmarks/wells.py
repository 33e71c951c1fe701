"""Three wells of unequal depth seen through 15 noisy channels: what a fit says of them, beside what is true.

    python tests/benchmarks/wells.py --seeds 5
    python tests/benchmarks/wells.py --seeds 5 --underdamped
    python tests/benchmarks/wells.py --ablate --sequences 1000 --steps 450

One row per seed, each with its own data and its own fit; no seed is left out. With --out a row is kept as soon as it is
made, and a row that is there is not made again. With --ablate one row per way to do less:
one step per observation, axes that do not pull at each other, a causal guide, friction held, the law of the start
learned apart from U, a third of the steps, no solving for the last layer in the end, depths not balanced; and one where
gradients learn from particles instead. Columns:

* occupancy: ℓ1 error of the sampled occupancy; barriers: largest error between connected states, kT;
* counted: dwell times counted in the data's posterior paths, largest error against those of the true paths;
* simulated: dwell times of the fitted prior, largest error against those of the true equation, both run for long and
  looked at as often as the data;
* verdict: whether the fit says that its kinetics can be believed.
"""

import argparse
import json
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld import kinetics
from pyro_nld.checks import accuracy
from pyro_nld.dynamics.integrators import BAOA, default_integrator
from pyro_nld.runs.model_files import load_model_file

WELLS = load_model_file(Path(__file__).parents[2] / "models" / "three_wells.py")
MASS, FRICTION = 0.2, 2.0  # momenta are forgotten within an observation interval, a well is crossed in less
INTERVAL, FINE = 0.1, 40
SCHEDULE = nld.Schedule(steps=800, batch_size=32, polish=2, balance=True)

ABLATIONS = {
    "as it is": {},
    "one step per observation": {"substeps": 1},
    "axes uncoupled": {"coupled": False},
    "causal guide": {"causal": True},
    "friction held": {"friction": 1.0},
    "start learned apart": {"start": "normal"},
    "a third of the steps": {"share": 1 / 3},
    "last layer not solved for": {"polish": 0},
    "depths not balanced": {"balance": False},
    "particles for the last 40 %": {"particles": 8, "polish": 0},
}


def simulate(seed: int, mass: float | None, sequences: int) -> xr.Dataset:
    """Sequences of 200 observations: in 1000 of them, exact counts of the true paths are off by 0.03 themselves."""
    friction = 1.0 if mass is None else FRICTION
    return nld.datasets.langevin_wells(
        WELLS.TRUTH, sequences, 200, seed, interval=INTERVAL, mass=mass, friction=friction, channels=15, noise=0.5
    )


def build(
    mass: float | None, substeps: int = 8, coupled: bool = True, causal: bool = False, friction=None,
    start: str = "equilibrium",
):  # fmt: skip
    """That of models/three_wells.py, for sequences that start in equilibrium; with momenta if the data have them."""
    potential = nld.NeuralPotential(latent=2, hidden=(64, 64, 64))  # a rich last layer, which is solved for
    prior = (
        nld.OverdampedLangevin(potential, friction=friction)
        if mass is None
        else nld.UnderdampedLangevin(potential, friction=friction, mass=None)
    )
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.LinearDecoder(2, 15)), substeps=substeps, start=start)
    control = nld.AffineControl(coupled=coupled)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(15, causal=causal), control=control)


def truth(data: xr.Dataset, mass: float | None) -> dict[str, np.ndarray]:
    """By true state: barriers; dwell times of the true paths, and of the true equation run for long."""
    dynamics = (
        nld.OverdampedLangevin(WELLS.TRUTH)
        if mass is None
        else nld.UnderdampedLangevin(WELLS.TRUTH, friction=FRICTION, mass=mass)
    )
    wells = nld.landscape.minima(WELLS.TRUTH, torch.tensor(WELLS.CENTRES))
    order = [int(abs(wells["position"].values - minimum).sum(-1).argmin()) for minimum in data["minima"].values]
    paths = torch.as_tensor(data["path"].values)
    labels = kinetics.cores(WELLS.TRUTH, wells, paths).numpy()
    times = np.broadcast_to(INTERVAL * np.arange(paths.shape[1]), labels.shape)
    integrator = default_integrator(dynamics) if mass is None else BAOA()
    chain = kinetics.simulated(
        dynamics, integrator, wells, paths[:400, 0].float(), interval=INTERVAL, substeps=FINE, intervals=3000
    )
    counted = kinetics.count(labels, times, wells.sizes["state"])
    dwell = [kinetics.by_counting(counts)["dwell"].values[order] for counts in (counted, chain)]
    barrier = nld.saddles.saddles(WELLS.TRUTH, wells)["barrier"].values[order][:, order]
    return {"barrier": barrier, "counted": dwell[0], "simulated": dwell[1], "occupancy": data["occupancy"].values}


def row(
    seed: int, underdamped: bool, sequences: int, schedule: nld.Schedule, name: str = "", share: float = 1.0, **options
) -> dict:
    """Simulate, fit, read and judge one seed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the curvature × step stands in the table
    mass = MASS if underdamped else None
    data = simulate(seed, mass, sequences)
    of_schedule = {key: options.pop(key) for key in options.keys() & {"particles", "polish", "balance"}}
    schedule = replace(schedule, steps=round(share * schedule.steps), **of_schedule)
    torch.manual_seed(seed)
    started = time.perf_counter()
    fit = nld.fit(*build(mass, **options), data, schedule, seed=seed, progress=False)
    seconds = time.perf_counter() - started
    landscape = fit.landscape()
    score = accuracy.score(nld.segment(fit, wells=landscape, draws=5), data)
    found = {"fit": name} if name else {"seed": seed}
    found |= {"wells": landscape.sizes["state"]}
    if landscape.sizes["state"] == 3:
        order, true = score["partner"].values, truth(data, mass)
        dwell = {route: landscape["dwell"].sel(route=route).values for route in ("counted", "simulated")}
        off = np.abs(landscape["barrier"].values - true["barrier"][order][:, order])
        found |= {
            "occupancy ℓ1": f"{np.abs(landscape['occupancy_sampled'].values - true['occupancy'][order]).sum():.3f}",
            "barriers kT": f"{np.nanmax(off):.3f}",
            "counted %": f"{100 * np.abs(dwell['counted'] / true['counted'][order] - 1).max():.1f}",
            "simulated %": f"{100 * np.abs(dwell['simulated'] / true['simulated'][order] - 1).max():.1f}",
            "dwell simulated": " ".join(f"{value:.2f}" for value in dwell["simulated"]),
            "true": " ".join(f"{value:.2f}" for value in true["simulated"][order]),
            "verdict": "yes" if landscape.attrs["kinetics_agree"] else "no",
            "of barriers": "yes" if landscape.attrs["barriers_agree"] else "no",
        }
    return found | {
        "accuracy %": f"{100 * float(score['accuracy']):.2f}",
        "curvature × step": f"{landscape.attrs['max_curvature_step']:.2f}",
        "ELBO per value": f"{fit.elbo()['per_observation']:.4f}",
        "seconds": round(seconds),
        "says": f"{landscape.attrs['messages']} {landscape.attrs['barrier_messages']}".replace("\n", " "),
    }


def kept(seed: int, folder: Path | None, name: str = "", **options) -> dict:
    """A row that lies in a folder, or a new one, which is put there."""
    if folder is None:
        return row(seed, name=name, **options)
    path = folder / f"{name.replace(' ', '_') or seed}.json"
    if not path.exists():
        made = row(seed, name=name, **options)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made, indent=1, default=str))
    return json.loads(path.read_text())


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--underdamped", action="store_true", help="data and prior with momenta")
    parser.add_argument("--ablate", action="store_true", help="the first seed, with one thing changed at a time")
    parser.add_argument("--sequences", type=int, default=3000, help="of 200 observations each")
    parser.add_argument("--steps", type=int, default=SCHEDULE.steps, help="gradient steps")
    parser.add_argument("--out", type=Path, help="folder of the rows, one file per seed or ablation")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, one thread each")
    args = parser.parse_args()
    schedule = replace(SCHEDULE, steps=args.steps)
    fitted = partial(kept, folder=args.out, underdamped=args.underdamped, sequences=args.sequences, schedule=schedule)
    with ProcessPoolExecutor(args.jobs) as pool:
        if args.ablate:
            jobs = [pool.submit(fitted, args.first, name=name, **options) for name, options in ABLATIONS.items()]
        else:
            jobs = [pool.submit(fitted, seed) for seed in range(args.first, args.first + args.seeds)]
        for place, job in enumerate(jobs):
            found = job.result()
            if place == 0:
                print("| " + " | ".join(found) + " |\n|" + "---|" * len(found))
            print("| " + " | ".join(str(value) for value in found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
