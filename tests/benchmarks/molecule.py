"""Alanine dipeptide from the 45 distances of its heavy atoms, against the angles φ and ψ that the fit never sees.

    python tests/benchmarks/molecule.py --seeds 3

One row per seed; none is left out. Several restarts make one fit, the best of which is kept by its ELBO. Every state
found is named after the basin of most of its frames (β, α_R, α_L by a rule in the angles). Columns:

* shares: occupancy of the three basins as the states have it, by frames; reference .591, .360, .049;
* ΔG: free energy of α_R above β in kT from the sampled occupancies; reference 0.50;
* core: least share, over basins, of frames within 30° of its centre that lie in a state of that name;
* relaxation: of the processes between cores, ps, at a lag as long as they are, and implied at a lag of 5 ps;
  reference, by a Markov model on φ and ψ at 5 ps, 250 (180 to 290) and 7.5;
* α_L: 90 % interval of its share, from the counted transitions.

The data: 4 trajectories of 15 ns at 450 K, by OpenMM 8.6.1, amber14 with implicit solvent (OBC2); the references are
from 90 ns of the same simulation, and for α_L also from umbrella sampling.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import pyro_nld as nld

FILE = Path(__file__).parents[2] / "notebooks" / "data" / "alanine_dipeptide.npz"
BASINS = ["β", "α_R", "α_L"]
CORE, LAG = 30.0, 5  # degrees; frames, of 1 ps each


def build(latent: int, substeps: int):
    """Overdamped in a network on `latent` axes, a bending decoder, a two-sided guide."""
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent), friction=None)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.MLPDecoder(latent, 45)), substeps=substeps)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(45))


def cores(angles: np.ndarray, basin: np.ndarray) -> np.ndarray:
    """The basin of frames that are near its centre on the circle of both angles, −1 elsewhere."""
    phase = np.exp(1j * np.deg2rad(angles))
    found = np.full(basin.shape, -1)
    for place in range(len(BASINS)):
        centre = phase[basin == place].mean(0)
        off = np.rad2deg(np.abs(np.angle(phase / centre)))
        found[(basin == place) & (np.linalg.norm(off, axis=-1) < CORE)] = place
    return found


def row(seed: int, latent: int, substeps: int, restarts: int, schedule: nld.Schedule) -> dict:
    """Fit one seed and judge it."""
    whole, held = nld.load(FILE), np.load(FILE)
    angles, basin = np.stack([held["phi"], held["psi"]], -1).astype(float), held["basin"].astype(int)
    started = time.perf_counter()
    torch.manual_seed(seed)
    pieces = nld.datasets.cut(whole, 150)
    fit = nld.fit(*build(latent, substeps), pieces, schedule, seed=seed, restarts=restarts, progress=False)
    seconds = time.perf_counter() - started
    times, x = nld.as_tensors(whole)
    complete = nld.Fit(fit.model, fit.guide, times.expand(len(x), -1), x)
    landscape = complete.landscape()
    states = nld.segment(complete, wells=landscape, draws=5)["label"].values
    count = landscape.sizes["state"]
    table = np.array([[np.sum((states == state) & (basin == place)) for place in range(3)] for state in range(count)])
    name = table.argmax(1)
    share = np.array([(name[states] == place).mean() for place in range(3)])
    sampled = np.array([landscape["occupancy_sampled"].values[name == place].sum() for place in range(3)])
    core = cores(angles, basin)
    inside = [float((name[states] == place)[core == place].mean()) for place in range(3)]
    relaxation = landscape["relaxation"].sel(route="counted").values
    implied = landscape["implied"].sel(route="counted").sel(lag=LAG, method="nearest").values
    found = {
        "seed": seed, "states": count, "named": " ".join(BASINS[place] for place in name),
        "ELBO": f"{fit.elbo()['per_observation']:.4f}",
        "shares": " ".join(f"{value:.3f}" for value in share),
        "ΔG kT": f"{np.log(sampled[0] / sampled[1]):.2f}",
        "core %": f"{100 * min(inside):.1f}",
        "relaxation ps": " ".join(f"{value:.3g}" for value in relaxation),
        "implied ps": " ".join(f"{value:.3g}" for value in implied),
        "α_L 90 %": interval(landscape, name),
        "verdict": "yes" if landscape.attrs["kinetics_agree"] else "no",
        "of barriers": "yes" if landscape.attrs["barriers_agree"] else "no",
        "curvature × step": f"{landscape.attrs['max_curvature_step']:.2f}",
        "seconds": round(seconds),
    }  # fmt: skip
    return found


def interval(landscape: xr.Dataset, name: np.ndarray) -> str:
    """Of the share of α_L, by transitions counted."""
    if not (name == 2).any():
        return "–"
    ends = [landscape[f"stationary_{end}"].sel(route="counted").values[name == 2].sum() for end in ("low", "high")]
    return f"{ends[0]:.3f} … {ends[1]:.3f}"


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--latent", type=int, default=8, help="axes")
    parser.add_argument("--substeps", type=int, default=4)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600, help="gradient steps")
    parser.add_argument("--polish", type=int, default=1, help="M-steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the curvature × step stands in the table
    schedule = nld.Schedule(steps=args.steps, polish=args.polish, balance=True)
    for seed in range(args.first, args.first + args.seeds):
        found = row(seed, args.latent, args.substeps, args.restarts, schedule)
        if seed == args.first:
            print("| " + " | ".join(found) + " |\n|" + "---|" * len(found))
        print("| " + " | ".join(str(value) for value in found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
