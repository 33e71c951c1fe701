"""How even are the axes that a bent decoder found, and how high are barriers on them? Known wells, from runs.

    python tests/benchmarks/axes.py runs/systems/runs/prinz_potential_0 runs/systems/runs/triple_well_2d_0

Run directories are those of `systems.py`. True positions are simulated again by their seed, and found ones regressed
on them cell by cell: an axis is even where the slope is the same everywhere. Printed are, over the cells and weighted
by how much of the data is in each, the standard deviation of the logarithm of the stretch (of several axes,
of the principal ones in the friction's metric), its range, and on one axis the heights of all barriers between the ends
of the data, from the left and from the right, beside the true ones.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from known import wells
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from pyro_nld import runs

CELLS = {1: 12, 2: 25}  # by the number of axes
FEWEST = 200  # observations of a cell that is looked at
ENDS = (0.0005, 0.9995)  # of the positions, between which barriers are looked for


def stretch(true: NDArray, found: NDArray, friction: NDArray) -> tuple[NDArray, NDArray]:
    """Principal stretches of every cell over those of all cells together, and the weights of cells.

    Parameters
    ----------
    true, found: positions `(observation, axis)`. friction: `(axis,)`: a distance counts √γ.
    """
    axes = true.shape[1]
    if axes == 1:
        edges = np.linspace(*np.quantile(true, ENDS), CELLS[axes] + 1)
        cell = np.digitize(true[:, 0], edges) - 1
    else:
        centre, _ = kmeans2(true[:8000], CELLS[axes], minit="++", seed=0)
        cell = np.square(true[:, None] - centre).sum(-1).argmin(1)
    metric, weight = [], []
    for number in range(CELLS[axes]):
        here = cell == number
        if here.sum() < FEWEST:
            continue
        known = np.column_stack([np.ones(here.sum()), true[here]])
        slope = np.linalg.lstsq(known, found[here], rcond=None)[0][1:] * np.sqrt(friction)
        metric.append(slope @ slope.T)
        weight.append(here.sum())
    share = np.array(weight) / sum(weight)
    root = np.linalg.inv(np.linalg.cholesky(np.tensordot(share, metric, 1)))
    return np.sqrt(np.linalg.eigvalsh(root @ np.array(metric) @ root.T)), share


def heights(energy: NDArray) -> list[float]:
    """Of every maximum of a profile above the minima on its left and right, in this order."""
    turns = np.flatnonzero(np.diff(np.sign(np.diff(energy)))) + 1
    at = energy[turns]
    tops = [k for k in range(1, len(at) - 1) if at[k] > at[k - 1] and at[k] > at[k + 1]]
    return [float(at[k] - at[k + side]) for k in tops for side in (-1, 1)]


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, NAME_SEED, of systems of wells")
    print("| run | axes | spread of stretch | smallest, largest | barriers, kT | true |\n|---|---|---|---|---|---|")
    for place in parser.parse_args().runs:
        name, seed = place.name.rsplit("_", 1)
        system, random = wells.WELLS[name], np.random.default_rng((1, int(seed)))
        answer = wells.exact(system)
        interval, frames = wells.sampling(answer["relaxation"].values)
        true = wells.followed(system, answer, interval, frames, random)
        fit = runs.load(place).fit
        found = fit.positions(draws=1)[0][fit.times.isfinite()].double().numpy()[: len(true)]
        if found.shape[1] != true.shape[1]:
            print(f"| {place.name} | {found.shape[1]} for {true.shape[1]} | – | – | – | – |")
            continue
        friction = torch.as_tensor(fit.dynamics.friction).detach().double().expand(true.shape[1]).numpy()
        sizes, share = stretch(true, found, friction)
        spread = np.sqrt((share[:, None] * np.log(sizes) ** 2).sum(0).mean())
        barriers = known = "–"
        if true.shape[1] == 1:
            turned = np.sign(np.corrcoef(true[:, 0], found[:, 0])[0, 1])
            axis = torch.linspace(*np.quantile(found, ENDS)[:: int(turned)], 2000).unsqueeze(-1)
            with torch.no_grad():
                energy = fit.dynamics.potential(axis).double().numpy() / float(fit.temperature)
            barriers = " ".join(f"{height:.2f}" for height in heights(energy))
            grid = np.linspace(*np.quantile(true, ENDS), 2000)
            field = system.make().f
            force = np.array([np.ravel(field(0.0, np.array([point])))[0] for point in grid]) / system.diffusion
            fall = np.concatenate([[0], np.cumsum((force[1:] + force[:-1]) / 2 * np.diff(grid))])
            known = " ".join(f"{height:.2f}" for height in heights(-fall))
        range_ = f"{sizes.min():.2f}, {sizes.max():.2f}"
        print(f"| {place.name} | {true.shape[1]} | {spread:.3f} | {range_} | {barriers} | {known} |", flush=True)


if __name__ == "__main__":
    main()
