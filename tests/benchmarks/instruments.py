"""What an instrument written into the model gives: smFRET by photons, and by distances computed from them beforehand.

python tests/benchmarks/instruments.py --out docs/evidence/instruments --seeds 10
python tests/benchmarks/instruments.py --out docs/evidence/instruments --seeds 10 --system tweezers
python tests/benchmarks/instruments.py --out docs/evidence/instruments --seeds 2 --system hairpin
python tests/benchmarks/instruments.py --spikes --seeds 1

Every data set of `models/smfret.py` is fitted twice, by photon counts and by the distance R₀ (1/E − 1)^⅙ that the
acceptor's share E of the photons suggests, with a Gaussian noise that is learned. One file per fit, and what has
a file is not fitted again: barrier above the shallower well (kT), distance of the wells (nm) and D (nm²/ms), each with
its 90 % interval, and seconds. The table of all files is written to `smfret.md`, or that of another system, at the end,
and at once with --table. With --system tweezers it is the data of `models/tweezers.py`: by that model, on one axis with
the bead for noise and drag of known size, and as if the bead were the molecule, with the detector's noise alone; with
--system hairpin, those of `tests/benchmarks/hairpin.py`, whose molecule is as fast as its bead.

With --spikes, `models/spike_counts.py` is fitted by its counts and by a Gaussian of their square roots, and hidden
Markov models with Poisson emissions are fitted to the same counts: bits per spike of the neurons that were hidden, and
at the true rates. The table is docs/evidence/instruments/README.md.
"""

import argparse
import json
import math
import time
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pyro.distributions as dist
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.fitting.draws import inference_mode
from pyro_nld.runs.model_files import load_model_file

SMFRET = load_model_file(Path(__file__).parents[2] / "models" / "smfret.py")
TWEEZERS = load_model_file(Path(__file__).parents[2] / "models" / "tweezers.py")
HAIRPIN = load_model_file(Path(__file__).parent / "hairpin.py")
SPIKES = load_model_file(Path(__file__).parents[2] / "models" / "spike_counts.py")
SCHEDULES = {
    SMFRET: {"steps": 300, "batch_size": 8, "learning_rate": 0.02, "exact": 30, "balance": True},
    TWEEZERS: {"steps": 300, "batch_size": 15, "learning_rate": 0.02, "exact": 30, "balance": True},
    HAIRPIN: {"steps": 300, "batch_size": 15, "learning_rate": 0.02, "balance": True},
}
SYSTEMS = {
    "smfret": (SMFRET, ("photons", "distances")),
    "tweezers": (TWEEZERS, ("bead and linker", "bead as noise", "bead alone")),
    "hairpin": (HAIRPIN, ("bead and linker", "bead alone")),
}  # data, and by what they are fitted: the first with the instrument, the last without
CLOCKS = {TWEEZERS: 1.0, HAIRPIN: HAIRPIN.CLOCK}
DETECTORS = {TWEEZERS: TWEEZERS.DETECTOR, HAIRPIN: HAIRPIN.PRIORS["noise_scale"]}
TRACES = {TWEEZERS: {"traces": 120}}  # 60, as in the file, tell the distance too poorly
WITHIN = {"barrier": 0.3, "distance": 0.2, "diffusion": 0.3}  # kT, nm, and a share of D
CHAINS = (3, 6, 12, 24)  # states of hidden Markov models, of which the best is as many as the data can tell apart
EM = 100  # iterations of Baum and Welch
SHARES = (0.02, 0.98)  # of the photons, to which E is kept


def distances(photons: xr.Dataset) -> xr.Dataset:
    """R − R₀ in nm from the acceptor's share of the photons, as if there were no leak and no background."""
    donor, acceptor = np.moveaxis(photons["observations"].values, -1, 0)
    share = (acceptor / (donor + acceptor)).clip(*SHARES)[..., None]
    return nld.datasets.from_arrays(photons["times"].values, SMFRET.R0 * ((1 / share - 1) ** (1 / 6) - 1))


def fitted(source: ModuleType, kind: str, data: xr.Dataset) -> dict[str, float]:
    """Barrier, distance and D of a fit, each with its 90 % interval, and the seconds it took.

    The intervals of the first two are those of the landscape's last layer, that of D is the guide's.
    """
    torch.manual_seed(0)
    started, pair, number, drag, unit = time.perf_counter(), source.build(data), source.barrier_and_distance, 0.0, 1.0
    if kind == "distances":
        data = distances(data)
        pair = source.build(data, nld.Gaussian(nld.IdentityDecoder(1)))
    elif source in (TWEEZERS, HAIRPIN):
        unit = source.LENGTH**2 / CLOCKS[source]
        if kind != "bead and linker":
            noise = DETECTORS[source]
            if kind == "bead as noise":
                noise, drag = math.hypot(noise, source.LENGTH / source.LINK**0.5), source.BEAD
            pair = one_axis(source, noise)

            def number(potential: nld.Potential) -> tuple[float, float]:
                return source.barrier_and_distance(SimpleNamespace(molecule=potential))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = nld.fit(*pair, data, nld.Schedule(**SCHEDULES[source]), progress=False)
    with inference_mode(0):
        friction = fit.guide.others.quantiles([0.05, 0.5, 0.95], fit.times[:1], fit.x[:1])["friction"]
    ends = nld.results.intervals.of_number(fit, number)
    middle = number(fit.potential)
    high, diffusion, low = (unit / (np.asarray(friction, float).reshape(3, -1)[:, 0] - drag)).tolist()
    found = {}
    for name, value, between in zip(SMFRET.NAMES, [*middle, diffusion], [*ends.T.tolist(), [low, high]], strict=True):
        found |= {name: value, f"{name}_low": between[0], f"{name}_high": between[1]}
    return found | {
        "transitions": fit.balance["transitions"],
        "price": fit.balance["path_kl"] / fit.balance["transitions"],
        "seconds": time.perf_counter() - started,
    }


def one_axis(source: ModuleType, noise: float) -> tuple[nld.LatentLangevin, nld.AmortizedGuide]:
    """The bead's place as if it were the molecule's, in white noise: one axis, and neither linker nor exposure."""

    def place(q: torch.Tensor) -> torch.Tensor:
        return source.LENGTH * q

    place.latent = place.channels = 1
    molecule, friction = nld.NeuralPotential(latent=1, hidden=(32, 32)), dist.LogNormal(0.0, 1.0)
    prior = nld.OverdampedLangevin(molecule, 1.0, friction)
    substeps = 15 if source is TWEEZERS else 10
    model = nld.LatentLangevin(prior, nld.Gaussian(place, noise), substeps, time_unit=CLOCKS[source])
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=32, hidden=32))


def judged(found: dict[str, float], truth: dict[str, float]) -> dict[str, bool]:
    """Whether each number is as near to the truth as asked, and its interval holds the truth."""
    off = {name: abs(found[name] - truth[name]) for name in WITHIN}
    off["diffusion"] /= truth["diffusion"]
    return {name: off[name] < limit for name, limit in WITHIN.items()} | {
        f"{name} inside": found[f"{name}_low"] < truth[name] < found[f"{name}_high"] for name in WITHIN
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
    for states in CHAINS:
        rate = hidden_markov_rates(data["observations"].values, states, seed)
        found[f"{states} hidden states"] = SPIKES.bits_per_spike(data, rate)
    return found | {"true rates": data.attrs["bits_per_spike"]}


def hidden_markov_rates(counts: np.ndarray, states: int, seed: int) -> np.ndarray:
    """E[rate | recorded neurons] of a Markov chain whose states have Poisson rates, by Baum and Welch, `counts`' shape.

    Parameters
    ----------
    counts: `(session, bin, neuron)`, NaN where not recorded. states: how many. seed: of the start: random bins.
    """
    draw, there = np.random.default_rng(seed), np.isfinite(counts)
    x, (sessions, bins, _) = np.nan_to_num(counts), counts.shape
    mean = x.sum((0, 1)) / there.sum((0, 1))
    begun = draw.choice(sessions * bins, states, replace=False)
    rate = 0.5 * mean + 0.5 * np.where(there, x, mean).reshape(-1, len(mean))[begun]
    switch, first = np.full((states, states), 0.1 / states) + 0.9 * np.eye(states), np.full(states, 1 / states)
    for _ in range(EM):
        log_law = x @ np.log(rate).T - there @ rate.T
        law = np.exp(log_law - log_law.max(-1, keepdims=True))
        held = np.empty_like(law)  # P(state | bins so far)
        for t in range(bins):
            before = first if t == 0 else held[:, t - 1] @ switch
            held[:, t] = before * law[:, t]
            held[:, t] /= held[:, t].sum(-1, keepdims=True)
        smoothed, moves = held.copy(), np.zeros_like(switch)
        for t in range(bins - 2, -1, -1):
            ahead = smoothed[:, t + 1] / np.maximum(held[:, t] @ switch, 1e-300)
            smoothed[:, t] = held[:, t] * (ahead @ switch.T)
            moves += switch * (held[:, t].T @ ahead)
        first, switch = smoothed[:, 0].mean(0), moves / moves.sum(1, keepdims=True)
        weight = smoothed.reshape(-1, states).T
        spikes, time = weight @ x.reshape(-1, len(mean)), weight @ there.reshape(-1, len(mean)).astype(float)
        rate = (spikes + mean) / (time + 1)  # as if one more bin had been seen at the mean rate
    return smoothed @ rate


def main(seeds: int, first: int, without: int, out: Path, system: str) -> None:
    """Fit what has no file yet, then write the table."""
    source, kinds = SYSTEMS[system]
    rows = out / system
    rows.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + seeds):
        for kind in kinds if seed < without else kinds[:1]:
            file = rows / f"{kind.replace(' ', '-')}_{seed}.json"
            if not file.exists():
                data = source.simulate(seed, **TRACES.get(source, {}))
                truth = {key: float(data.attrs[key]) for key in SMFRET.NAMES}
                file.write_text(json.dumps({"truth": truth, "found": fitted(source, kind, data)}, indent=1) + "\n")
                print(file, flush=True)
    write_table(out, system)


def write_table(out: Path, system: str) -> None:
    """The table of all rows, to `smfret.md`, `tweezers.md` or `hairpin.md`."""
    (out / f"{system}.md").write_text(table(out / system, SYSTEMS[system][1]))


def table(rows: Path, kinds: tuple[str, ...]) -> str:
    """One line per fit, and under each kind of data how many fits are as near to the truth as asked."""
    lines = []
    for name in kinds:
        files = sorted(rows.glob(f"{name.replace(' ', '-')}_*.json"), key=lambda file: int(file.stem.split("_")[1]))
        heads = ["data set", "barrier (kT)", "distance (nm)", "D (nm²/ms)", "transitions", "seconds"]
        lines += [f"## By {name}", "", "| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
        hits = []
        for file in files:
            row = json.loads(file.read_text())
            found = row["found"]
            hits.append(judged(found, row["truth"]))
            values = [
                f"{found[key]:.4g} ({found[f'{key}_low']:.4g} to {found[f'{key}_high']:.4g})" for key in SMFRET.NAMES
            ]
            count = [f"{found[key]:.0f}" for key in ("transitions", "seconds")]
            lines.append("| " + " | ".join([file.stem.split("_")[1], *values, *count]) + " |")
        if hits:
            truth = [f"{row['truth'][key]:.4g}" for key in SMFRET.NAMES]
            counts = {key: sum(hit[key] for hit in hits) for key in hits[0]}
            near = [
                f"{counts[key]} within {limit:g}, {counts[f'{key} inside']} inside" for key, limit in WITHIN.items()
            ]
            lines += ["| truth | " + " | ".join(truth) + " | | |"]
            lines += [f"| of {len(hits)} | " + " | ".join(near) + " | | |"]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="data sets")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--without", type=int, default=10, help="also fit distances to data sets below this number")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/instruments"), help="where the rows are kept")
    parser.add_argument("--table", action="store_true", help="only write the table of the rows there are")
    parser.add_argument("--system", choices=SYSTEMS, default="smfret", help="whose data")
    parser.add_argument("--spikes", action="store_true", help="fit spike counts instead")
    given = vars(parser.parse_args())
    alone = given.pop("table")
    if given.pop("spikes"):
        for seed in range(given["first"], given["first"] + given["seeds"]):
            print(seed, "  ".join(f"{name} {bits:.3f}" for name, bits in spikes(seed).items()), flush=True)
    elif alone:
        write_table(given["out"], given["system"])
    else:
        main(**given)
