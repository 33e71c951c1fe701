"""The paper's Table 1, one seed at a time: every seed draws its data, its fit and its test data, and none is left out.

A *cell* of the table says which equation, which chain, how many latent axes, and whose settings:

* `ours`: `models/three_state_switching.py` or `models/three_state_underdamped.py`, whichever has the equation;
* `two-sided`: the same, with an encoder that sees the whole sequence. Labels may use the future, and are judged beside
  the smoother;
* `sde`: `models/neural_sde.py`, the generic neural SDE with the same guide (overdamped);
* `paper`: the paper's networks and choices. One Euler step per observation, neural control, residual energy network,
  linear decoder with a fixed noise of 0.5, learned T (and γ, M), control and energy started at 0.2 of the default, 128
  sequences per step. Kept from ours: the rate falls along a cosine, and the path KL has its ½;
* `hmm`: a Gaussian hidden Markov model fitted by EM, told that there are three states (`hidden_markov`).

Rows are kept on disk, one file each, so that a kill costs one seed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from pyro_nld import datasets, plots, results
from pyro_nld.checks import accuracy
from pyro_nld.datasets import hidden_markov
from pyro_nld.dynamics.equations import OverdampedLangevin, UnderdampedLangevin
from pyro_nld.dynamics.neural_potentials import ResidualPotential
from pyro_nld.errors import DataError, FitError, RunDirectoryError
from pyro_nld.fitting.posterior import Pair
from pyro_nld.fitting.schedule import Schedule
from pyro_nld.guide.amortized import AmortizedGuide
from pyro_nld.guide.controls import AffineControl, NeuralControl
from pyro_nld.guide.encoders import GRUEncoder
from pyro_nld.kinetics import counting, markov
from pyro_nld.landscape import occupancies
from pyro_nld.model.decoders import LinearDecoder
from pyro_nld.model.latent_langevin import LatentLangevin
from pyro_nld.model.likelihoods import Gaussian
from pyro_nld.results import corrections
from pyro_nld.results.fit import Fit
from pyro_nld.results.segmentation import segment
from pyro_nld.runs import summary
from pyro_nld.runs.model_files import load_model_file

FILES = {
    ("overdamped", "ours"): "three_state_switching.py",
    ("overdamped", "two-sided"): "three_state_switching.py",
    ("underdamped", "ours"): "three_state_underdamped.py",
    ("underdamped", "two-sided"): "three_state_underdamped.py",
    ("overdamped", "sde"): "neural_sde.py",
}
EQUATIONS, CHAINS = ["overdamped", "underdamped"], ["symmetric", "asymmetric"]
SETTINGS = ["ours", "two-sided", "paper", "sde", "hmm"]
NOISE, SHRUNK, BATCH = 0.5, 0.2, 128  # of the paper
SIZES = {"context": 64, "hidden": 128}  # the smaller of the paper's
TRAIN, TEST = (1000, 200), (500, 500)  # sequences and steps
STARTS = 400  # chains that sample exp(−U/T)
EVIDENCE = (50, 16)  # test sequences, and particles, that the evidence is estimated with


class Cell(NamedTuple):
    """One cell of the table."""

    dynamics: str = "overdamped"
    chain: str = "symmetric"
    latent: int = 3
    settings: str = "ours"

    @property
    def name(self) -> str:
        """As in file names."""
        return "-".join(map(str, self))


class Sizes(NamedTuple):
    """Sequences and steps of the data to train and to test on."""

    train: tuple[int, int] = TRAIN
    test: tuple[int, int] = TEST


SMALL = Sizes((24, 40), (12, 40))
"""Enough to prove that it runs."""


def draw(cell: Cell, size: tuple[int, int], seed: int, first_state: int | None = 0) -> xr.Dataset:
    """Data of a cell: three states that all switch alike, or with occupancies .5, .3, .2."""
    transition = {"symmetric": None, "asymmetric": datasets.asymmetric_transition()}[cell.chain]
    return datasets.three_state(*size, seed=seed, transition=transition, first_state=first_state)


def build(cell: Cell, data: xr.Dataset, models: Path, seed: int) -> Pair:
    """The model and guide of a cell.

    Parameters
    ----------
    models: folder of the model files.

    Raises
    ------
    DataError: there is no such cell.
    """
    torch.manual_seed(seed)
    if cell.settings == "paper":
        return _of_the_paper(cell, data.sizes["channel"])
    file = FILES.get((cell.dynamics, cell.settings))
    if file is None:
        raise DataError(f"no model is {cell.dynamics} with the settings {cell.settings}. Choose of {sorted(FILES)}.")
    source = load_model_file(models / file)
    source.PRIORS["latent"] = cell.latent
    model, guide = source.build(data)
    if cell.settings == "two-sided":
        guide = AmortizedGuide(model, GRUEncoder(data.sizes["channel"]), AffineControl())
    return model, guide


def run_cell(
    cell: Cell,
    seed: int,
    schedule: Schedule,
    models: Path,
    *,
    sizes: Sizes | None = None,
    figures: Path | None = None,
    first_state: int | None = 0,
) -> dict:
    """One seed of one cell: simulate, fit, read, judge on new data.

    Parameters
    ----------
    schedule: of the fit. models: folder of the model files. sizes: of the data.
    figures: folder for the paper's Figures 2 and 3 of this seed, when given.
    first_state: of all sequences, as in the paper; None for the stationary law.

    Returns
    -------
    `cell`, `seed`, `steps`; `l1_seen`, the ℓ1 error of occupancies had the true states of the training data been seen;
    `wells`; `not_finite` (steps undone); `seconds`; ℓ1 errors of the occupancies `l1_sampled`, `l1_energy`,
    `l1_harmonic`; `accuracy` and `spread` over sequences of the labels; `best`, the accuracy of the exact
    filter (two-sided: smoother) with the true parameters, which nothing exceeds but by luck; `elbo` and `evidence` per
    held-out value; `curvature_step`. What a model lacks is NaN. A fit that fails says why in `failed`, and has no
    results.
    """
    sizes = sizes or Sizes()
    data, new = draw(cell, sizes.train, seed, first_state), draw(cell, sizes.test, 10_000 + seed, first_state)
    found = {"cell": list(cell), "seed": seed, "steps": schedule.steps, "failed": "", "l1_seen": sampling_error(data)}
    if cell.settings == "hmm":
        return found | _hidden_markov(data, new, seed)
    schedule = replace(schedule, batch_size=BATCH) if cell.settings == "paper" else schedule
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # curvature × step stands in the row
        try:
            fit = results.fit(*build(cell, data, models, seed), data, schedule, seed=seed, progress=False)
            found["seconds"] = time.perf_counter() - started
            found["not_finite"] = int((~np.isfinite(fit.history["loss"])).sum())
            return found | _judged(cell, fit, new, figures)
        except FitError as error:
            return found | {"failed": str(error)}


def sampling_error(data: xr.Dataset) -> float:
    """ℓ1 error of the stationary law of the transitions that were drawn: no fit to the data beats it but by luck.

    The occupancies of a landscape are those of equilibrium, and a finite recording deviates from it by chance. This
    much of an error belongs to the data, not to the method.

    Parameters
    ----------
    data: with the true `states` and `occupancy`, at regular times.
    """
    drawn = counting.transition_matrix(data["states"].values, data.sizes["state"])
    return float(np.abs(markov.stationary(drawn) - data["occupancy"].values).sum())


def _hidden_markov(data: xr.Dataset, new: xr.Dataset, seed: int) -> dict:
    model = hidden_markov.fitted(data, 3, seed)
    found = hidden_markov.segment(model, new, online=True)
    truth = accuracy.score(found, new)
    assert truth is not None  # simulated data carry it
    return _agreement(truth) | {"evidence": float(found["log_evidence"].sum()) / new["observations"].size}


def _judged(cell: Cell, fit: Fit, new: xr.Dataset, figures: Path | None) -> dict:
    states = fit.states()
    segments = segment(fit, new, wells=states, draws=10)
    truth = accuracy.score(segments, new)
    assert truth is not None  # simulated data carry it
    if figures is not None:
        _draw(figures, cell, fit, states, segments, new, truth)
    return {
        "wells": states.sizes["state"],
        "curvature_step": states.attrs["max_curvature_step"],
        "elbo": fit.elbo(new)["per_observation"],
        "evidence": _evidence(fit, new),
    } | (_agreement(truth) | _errors(fit, states, truth["occupancy"].values))


def _agreement(truth: xr.Dataset) -> dict:
    return {name: float(truth[name]) for name in ("accuracy", "spread", "best")}


def _errors(fit: Fit, states: xr.Dataset, true: np.ndarray) -> dict:
    """ℓ1 errors of the three occupancies of a landscape (Table 1 a, b, c)."""
    routes = {"l1_energy": "energy", "l1_harmonic": "harmonic", "l1_sampled": "sampled"}
    if not fit.has_landscape:
        return dict.fromkeys(routes, float("nan"))
    starts = fit.encoded(limit=STARTS)
    states = states.assign(dict(occupancies.sampled(fit.potential, states, starts, fit.temperature)))
    return {name: float(np.abs(states[f"occupancy_{way}"] - true).sum()) for name, way in routes.items()}


def _evidence(fit: Fit, new: xr.Dataset) -> float:
    """log p̂(x) per value of held-out sequences, by particles: tighter than the ELBO, and fair to a poor guide."""
    sequences, count = EVIDENCE
    some = new.isel(sequence=slice(sequences))
    estimate = corrections.log_evidence(fit, some, particles=count, draws=1)
    return float(estimate.sum()) / some["observations"].size


def _of_the_paper(cell: Cell, channels: int) -> Pair:
    potential = ResidualPotential(cell.latent, inner=96)
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.mul_(SHRUNK)

    def learned(count: int) -> nn.Parameter:
        return nn.Parameter(torch.ones(count) if count else torch.tensor(1.0))

    if cell.dynamics == "overdamped":
        dynamics: OverdampedLangevin | UnderdampedLangevin = OverdampedLangevin(potential, learned(0))
    else:
        dynamics = UnderdampedLangevin(potential, learned(0), learned(cell.latent), learned(cell.latent))
    decoder = LinearDecoder(cell.latent, channels)
    decoder.standardise = False  # the noise is in the data's unit
    model = LatentLangevin(dynamics, Gaussian(decoder, NOISE), substeps=1)
    encoder = GRUEncoder(channels, size=SIZES["context"], hidden=SIZES["hidden"], causal=True)
    return model, AmortizedGuide(model, encoder, NeuralControl(SIZES["hidden"], SHRUNK))


# Rows on disk


def cells(
    equations: Sequence[str], chains: Sequence[str], latents: Sequence[int], settings: Sequence[str]
) -> list[Cell]:
    """All cells of these that there are: a hidden Markov model has no equation, and a generic SDE no momenta here.

    Raises
    ------
    DataError: a name is unknown.
    """
    for known, asked in ((EQUATIONS, equations), (CHAINS, chains), (SETTINGS, settings)):
        for name in asked:
            if name not in known:
                raise DataError(f"{name} is none of {', '.join(known)}. Choose of these.")
    every = [Cell(*names) for names in product(equations, chains, latents, settings)]
    found = [Cell("any", cell.chain, 0, "hmm") if cell.settings == "hmm" else cell for cell in every]
    return [cell for cell in dict.fromkeys(found) if cell.settings in ("hmm", "paper") or (cell[0], cell[3]) in FILES]


def cached_row(
    cell: Cell, seed: int, folder: Path, schedule: Schedule, models: Path, sizes: Sizes, pictured: bool
) -> dict:
    """The row of `run_cell`: read from disk where it was written before, otherwise computed and written.

    Parameters
    ----------
    folder: of rows and figures. pictured: draw the figures if the row is made now. The others as for `run_cell`.

    Raises
    ------
    RunDirectoryError: the row was made with another number of steps.
    """
    file = folder / "rows" / cell.name / f"{seed}.json"
    if not file.is_file():
        made = run_cell(cell, seed, schedule, models, sizes=sizes, figures=folder / "figures" if pictured else None)
        file.parent.mkdir(parents=True, exist_ok=True)
        summary.write_json(file, made)
    found = summary.read_json(file)
    if found["steps"] != schedule.steps:
        raise RunDirectoryError(
            f"{file} was made with {found['steps']} steps, not {schedule.steps}. Use the same, or another folder."
        )
    return found


def rows_in(folder: Path) -> list[list[dict]]:
    """All rows on disk, a list per cell, by settings and place in the table; each by seed.

    Parameters
    ----------
    folder: as for `cached_row`.
    """
    found: dict[Cell, list[dict]] = {}
    for file in (folder / "rows").glob("*/*.json"):
        row = summary.read_json(file)
        found.setdefault(Cell(*row["cell"]), []).append(row)
    order = sorted(found, key=lambda cell: (SETTINGS.index(cell.settings), cell))
    return [sorted(found[cell], key=lambda row: row["seed"]) for cell in order]


def _draw(
    folder: Path, cell: Cell, fit: Fit, states: xr.Dataset, segments: xr.Dataset, new: xr.Dataset, truth: xr.Dataset
) -> None:
    """Figure 2, the landscape in the plane of its minima with one path, and its lines of flow; Figure 3, a sequence."""
    points, path = fit.encoded(), fit.positions(new.isel(sequence=slice(1)))[0, 0]
    pictures = {"figure_3": plots.segmentation(segments, new["observations"], truth)}
    if points.shape[-1] > 1:
        pictures["figure_2_flow"] = plots.streamlines(fit.dynamics.rest_force, points, states)
    if fit.has_landscape:
        pictures["figure_2"] = plots.energy(fit.potential, states, points, path, fit.temperature)
    for name, figure in pictures.items():
        plots.save(figure, folder / cell.name / f"{name}.png")
