"""Which score of a fit tells how good its landscape is? Rank correlations over fits of mixed quality.

    python tests/benchmarks/scores.py --fits 30 --out runs/scores.csv

Every fit is of the same small data, a tilted double well behind five noisy channels, with other steps, substeps, guide
and seed. The true error is the ℓ1 error of the harmonic occupancy plus that of the barriers (kT, mean over both ways);
2 and the wells too many or too few, where there are not two. Scores are taken on sequences held out; agreement is how
far apart, by the same measure, a second fit with the same choices and another seed is. Prints one line per fit, then
Spearman's correlation of every score with −error, and how far below the best score's it is, with 90 % intervals: over
all fits, and over those with both wells.
"""

import argparse
import csv
import itertools
import warnings
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from scipy.stats import rankdata

import pyro_nld as nld
from pyro_nld.checks import predictive_checks, scores

CHOICES = list(itertools.product((200, 500, 1200), (1, 2, 5), ("affine", "causal", "neural")))


def well() -> nld.Tilted:
    """The truth."""
    return nld.Tilted(nld.DoubleWell(2.5), [0.3])


SCORES = ("elbo", "evidence", "future", "dwell", "agreement")
RESAMPLED = 1000  # times the fits are drawn anew, for 90 % intervals
MISSING = 2.0  # the error where there are not two wells, and one more for each too many or too few
AGAIN = 1000  # added to the seed of a fit: that of a second one


def fitted(data: xr.Dataset, place: int, seed: int) -> nld.Fit:
    """The fit at one place of the table of choices."""
    steps, substeps, way = CHOICES[place % len(CHOICES)]
    torch.manual_seed(seed)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(16,)), friction=None)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.LinearDecoder(1, 5)), substeps=substeps)
    control = nld.NeuralControl() if way == "neural" else nld.AffineControl(hidden=32)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(5, size=16, hidden=16, causal=way == "causal"), control)
    return nld.fit(model, guide, data, nld.Schedule(steps=steps, batch_size=16), seed=seed, progress=False)


def read(fit: nld.Fit) -> dict[str, np.ndarray]:
    """Barriers and occupancies; states are numbered by their share of the data."""
    wells = fit.wells()
    barrier = nld.saddles.saddles(fit.potential, wells, temperature=fit.temperature)["barrier"].values
    return {"barrier": barrier, "occupancy": wells["occupancy_harmonic"].values}


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """ℓ1 of occupancies and mean of barriers; a worst case where the wells are not as many."""
    off = abs(len(one["occupancy"]) - len(other["occupancy"]))
    if off:
        return MISSING + off
    if len(one["occupancy"]) == 1:
        return 0.0
    gap = np.nanmean(np.abs(one["barrier"] - other["barrier"]))
    return float(gap + np.abs(one["occupancy"] - other["occupancy"]).sum())


def correlations(rows: list[dict]) -> str:
    """A line per score: rank correlation with −error, and how far it is below the best, with intervals over fits."""
    values = np.array([[row[name] for name in SCORES] + [-row["error"]] for row in rows])
    random = np.random.default_rng(0)
    again = [ranked(values[random.integers(len(rows), size=len(rows))]) for _ in range(RESAMPLED)]
    found, best = ranked(values), int(ranked(values).argmax())
    low, high = np.quantile(again, [0.05, 0.95], axis=0)
    below = np.quantile(np.array(again)[:, [best]] - again, [0.05, 0.95], axis=0)
    return "\n".join(
        f"{name}: rank correlation {found[k]:.2f} ({low[k]:.2f} to {high[k]:.2f}), "
        f"below {SCORES[best]} by {found[best] - found[k]:.2f} ({below[0, k]:.2f} to {below[1, k]:.2f})"
        for k, name in enumerate(SCORES)
    )


def ranked(values: np.ndarray) -> np.ndarray:
    """Spearman's correlation of every column with the last."""
    ranks = rankdata(values, axis=0)
    return np.corrcoef(ranks.T)[-1, :-1]


def main() -> None:
    """A line per fit, then the correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True, help="table, .csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    data, held = (nld.datasets.langevin_wells(well(), 32, 60, seed, channels=5, noise=0.5) for seed in (0, 1))
    wells = nld.landscape.minima(well(), torch.tensor([[-1.0], [1.0]]))
    order = [int(abs(wells["position"].values - minimum).sum(-1).argmin()) for minimum in data["minima"].values]
    barrier = nld.saddles.saddles(well(), wells)["barrier"].values[order][:, order]
    truth = {"barrier": barrier, "occupancy": data["occupancy"].values}
    classes = predictive_checks.state_classes(held["observations"], held["states"].astype(float))
    rows = []
    for place in range(args.fits):
        fit, again = (fitted(data, place, seed) for seed in (place, AGAIN + place))
        row = {name: float(scores.by_sequence(fit, held, name).sum()) for name in ("elbo", "evidence", "future")}
        found = read(fit)
        row |= {"dwell": scores.dwell(fit, held, classes), "agreement": -apart(found, read(again))}
        row |= {"error": apart(found, truth)}
        rows.append({"fit": place} | row)
        print(", ".join(f"{name} {value:.3f}" for name, value in row.items()), flush=True)
        with args.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    both = [row for row in rows if row["error"] < MISSING]
    for what, some in (("all fits", rows), ("fits with both wells", both)):
        print(f"{len(some)} {what}:\n{correlations(some)}")


if __name__ == "__main__":
    main()
