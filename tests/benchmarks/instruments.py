"""What an instrument written into the model gives: smFRET by photons, and by distances computed from them beforehand.

python tests/benchmarks/instruments.py --seeds 10
python tests/benchmarks/instruments.py --spikes --seeds 1

Every data set of `models/smfret.py` is fitted twice, by photon counts and by the distance R₀ (1/E − 1)^⅙ that the
acceptor's share E of the photons suggests, with a Gaussian noise that is learned. One line per fit: barrier above the
shallower well (kT), distance of the wells (nm), D (nm²/ms) with its 90 % interval, and seconds.

With --spikes, `models/spike_counts.py` is fitted by its counts and by a Gaussian of their square roots: bits per spike
of the neurons that were hidden, and at the true rates.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.fitting.draws import inference_mode
from pyro_nld.runs.model_files import load_model_file

SMFRET = load_model_file(Path(__file__).parents[2] / "models" / "smfret.py")
SPIKES = load_model_file(Path(__file__).parents[2] / "models" / "spike_counts.py")
SCHEDULE = {"steps": 300, "batch_size": 8, "learning_rate": 0.02}
WITHIN = {"barrier": 0.3, "distance": 0.2, "diffusion": 0.3}  # kT, nm, and a share of D
SHARES = (0.02, 0.98)  # of the photons, to which E is kept


def distances(photons: xr.Dataset) -> xr.Dataset:
    """R − R₀ in nm from the acceptor's share of the photons, as if there were no leak and no background."""
    donor, acceptor = np.moveaxis(photons["observations"].values, -1, 0)
    share = (acceptor / (donor + acceptor)).clip(*SHARES)[..., None]
    return nld.datasets.from_arrays(photons["times"].values, SMFRET.R0 * ((1 / share - 1) ** (1 / 6) - 1))


def fitted(data: xr.Dataset, likelihood: nld.Likelihood | None = None) -> dict[str, float]:
    """Barrier, distance and D of a fit, with the 90 % interval of D, and the seconds it took."""
    torch.manual_seed(0)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = nld.fit(*SMFRET.build(data, likelihood), data, nld.Schedule(**SCHEDULE), progress=False)
    with inference_mode(0):
        friction = fit.guide.others.quantiles([0.05, 0.5, 0.95], fit.times[:1], fit.x[:1])["friction"]
    high, middle, low = (1 / np.asarray(friction, float).ravel()).tolist()
    barrier, distance = SMFRET.barrier_and_distance(fit.potential)
    seconds = time.perf_counter() - started
    return {"barrier": barrier, "distance": distance, "diffusion": middle, "low": low, "high": high, "s": seconds}


def hit(found: dict[str, float], truth: dict[str, float]) -> dict[str, bool]:
    """Whether each number is as near to the truth as asked."""
    off = {name: abs(found[name] - truth[name]) for name in WITHIN}
    off["diffusion"] /= truth["diffusion"]
    return {name: off[name] < limit for name, limit in WITHIN.items()} | {
        "90 % interval of D": found["low"] < truth["diffusion"] < found["high"]
    }


def spikes(seed: int) -> dict[str, float]:
    """Bits per spike of hidden neurons: by counts, by a Gaussian of their square roots, at the true rates."""
    data, found = SPIKES.simulate(seed), {}
    for name in ("counts", "square roots"):
        torch.manual_seed(0)
        model, _ = SPIKES.build(data)
        given = data
        if name == "square roots":
            given = data.assign(observations=np.sqrt(data["observations"]))
            likelihood = nld.Gaussian(nld.LinearDecoder(2, SPIKES.NEURONS))
            model = nld.LatentLangevin(model.dynamics, likelihood, substeps=model.substeps)
        guide = nld.AmortizedGuide(model, nld.GRUEncoder(SPIKES.NEURONS))
        fit = nld.fit(model, guide, given, nld.Schedule(steps=300, batch_size=16), progress=False)
        with torch.no_grad():
            drawn = model.likelihood(fit.positions(draws=20))
            # E[x] of x = y² is E[y]² + var y
            rate = drawn.mean if name == "counts" else drawn.mean.square() + drawn.variance
        found[name] = SPIKES.bits_per_spike(data, rate.mean(0).double().numpy())
    return found | {"true rates": data.attrs["bits_per_spike"]}


def main(seeds: int, first: int, without: int) -> None:
    """Print a line per fit, then how many of them are within the limits."""
    hits: dict[str, list[dict[str, bool]]] = {}
    for seed in range(first, first + seeds):
        photons = SMFRET.simulate(seed)
        for name in ["photons", "distances"][: 1 + (seed < without)]:
            data, likelihood = photons, None
            if name == "distances":
                data, likelihood = distances(photons), nld.Gaussian(nld.IdentityDecoder(1))
            found = fitted(data, likelihood)
            hits.setdefault(name, []).append(hit(found, photons.attrs))
            values = "  ".join(f"{key} {value:.4g}" for key, value in found.items())
            print(f"{seed}  {name:9}  {values}  hits {sum(hits[name][-1].values())} of 4", flush=True)
    for name, rows in hits.items():
        told = ", ".join(f"{key} {sum(row[key] for row in rows)}" for key in rows[0])
        print(f"{name}, of {len(rows)}: {told}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="data sets")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--without", type=int, default=3, help="also fit distances to data sets below this number")
    parser.add_argument("--spikes", action="store_true", help="fit spike counts instead")
    given = vars(parser.parse_args())
    if given.pop("spikes"):
        for seed in range(given["first"], given["first"] + given["seeds"]):
            print(seed, "  ".join(f"{name} {bits:.3f}" for name, bits in spikes(seed).items()), flush=True)
    else:
        main(**given)
