"""How deep one well is beside another, from the transitions that the data make: as many go as come.

Step by step, a path tells the force wherever it goes. How deep a whole well is it tells only through the passes, where
it hardly ever is and nobody sees it: expectation maximisation creeps there, and where states switch at once the few
paths that cross are no Langevin paths. Transitions between states are seen. So U is changed as little as the paths
would notice, until exp(−U/T) holds the shares in which these transitions balance.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .. import kinetics
from ..errors import DoubtfulFitWarning
from ..kinetics import counting, markov
from ..landscape import flows, occupancies
from .em import COEFFICIENT_PRECISION, information
from .posterior import CHAINS, PATHS, Posterior

ENOUGH = 10  # entries and exits of a state below which it is not balanced
POINTS = 20_000  # of the data, at which the information is averaged
DRAWS = 50_000  # of exp(−U/T)
CLOSE = 1e-3  # log shares
TURNS = 20  # of Newton's method; three are usual


@torch.no_grad()
def balance(fit: Posterior, seed: int = 0) -> xr.Dataset | None:
    """Change w in U = w · φ(z) + … by the smallest path KL that gives every basin its share π, where πQ = 0.

    Q are the rates between cores, counted on posterior paths. Where sequences start in equilibrium, they say of π by
    where they start, too: see `counting.reversible`. The path KL of a change Δw is ½ Δwᵀ N Δw, with N the
    information of all steps; shares p of exp(−U/T) follow d log p_k = −(E_k φ − E φ) · dw/T, E_k being over basin k.
    Occupancies that are read from a balanced U are then those of the counts, and no second witness for them.

    Parameters
    ----------
    fit: its model's potential is changed in place, if it has `coefficients` and at least two wells.
    seed: of posterior draws, and of the draws of exp(−U/T).

    Returns
    -------
    `before`, `counted` and `after (state)`, shares; attr `path_kl`, the price in nats for all data. None where nothing
    was changed.

    Raises
    ------
    FitError: no minimum was found, or exp(−U/T) cannot be sampled.

    Warns
    -----
    DoubtfulFitWarning: a state has too few entries or exits, or no draws; nothing is changed.
    """
    potential = fit.model.dynamics.landscape
    coefficients = None if potential is None else potential.coefficients
    if coefficients is None:
        return None
    points = flows.some(fit.positions(draws=PATHS, seed=seed)[0][fit.times.isfinite()], POINTS, seed)
    wells = fit.metastable(seed)
    share = _counted(fit, wells, seed)
    if share is None:
        return None
    drawn, basins = occupancies.equilibrium(fit.potential, wells, points[:CHAINS], fit.temperature, seed)
    chosen = torch.randperm(basins.numel(), generator=torch.Generator().manual_seed(seed))[:DRAWS]
    features = fit.dynamics.potential.features(drawn.flatten(0, 1)[chosen]).double().cpu()
    inside = (basins.flatten()[chosen].cpu().unsqueeze(-1) == torch.arange(len(share))).double()
    noticed = _information(fit, points)
    change, seen = _smallest(features / fit.temperature, inside, noticed, share)
    if not (share / seen[-1]).log().abs().max() < CLOSE:  # also where a state holds none of the draws
        _left_alone(f"draws of exp(−U/T) do not reach the shares {share.numpy().round(3)}")
        return None
    coefficients.add_(change.to(coefficients).view_as(coefficients))
    fit.forget()
    variables = {"before": seen[0], "counted": share, "after": seen[-1]}
    price = float(change @ noticed @ change) / 2
    return xr.Dataset({name: ("state", values.numpy()) for name, values in variables.items()}, attrs={"path_kl": price})


def _left_alone(reason: str) -> None:
    warnings.warn(
        f"depths were not balanced: {reason}. Read occupancies as approximate, or bring more data.",
        DoubtfulFitWarning,
        stacklevel=4,
    )


def _counted(fit: Posterior, wells: xr.Dataset, seed: int) -> Tensor | None:
    """π, if there are states, and transitions to tell it by."""
    states = wells.sizes["state"]
    if states < 2:
        return None
    paths, times = fit.recorded(seed)
    labels = kinetics.cores(fit.potential, wells, paths, fit.temperature)
    counts = counting.count(labels.numpy(), times, states)
    exits = counts["exits"].values
    fewest = np.minimum(exits.sum(0), exits.sum(1))
    if (fewest < ENOUGH).any():
        _left_alone(f"state {fewest.argmin()} was entered or left {fewest.min():.0f} times, not {ENOUGH}")
        return None
    time = counts["time"].values
    if fit.model.equilibrium is None:
        return torch.as_tensor(markov.stationary(exits / time[:, None]))
    begun = fit.basins(wells, fit.positions(draws=PATHS, seed=seed)[:, :, 0])
    starts = np.bincount(begun[begun >= 0].numpy(), minlength=states) / PATHS
    return torch.as_tensor(markov.reversible(exits, time, starts))


def _smallest(features: Tensor, inside: Tensor, noticed: Tensor, share: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Newton's method on reweighted draws: the change of w, least in the metric `noticed`, and the shares on the way.

    Parameters
    ----------
    features: φ/T of draws `(draw, coefficient)`. inside: which basin they are in, `(draw, state)`, 0 or 1.
    """
    change, seen = torch.zeros(len(noticed), dtype=torch.float64), []
    for _ in range(TURNS):
        weight = torch.softmax(-features @ change, 0).unsqueeze(-1)
        seen.append((weight * inside).sum(0))
        missing = (share / seen[-1]).log()
        if not CLOSE <= missing.abs().max() < torch.inf:
            break
        means = (weight * inside).T @ features / seen[-1].unsqueeze(-1)
        pull = (weight * features).sum(0) - means  # d log p_k/dw
        lever = torch.linalg.solve(noticed, pull.T)
        # Shares sum to one: as many equations as states less one.
        change = change + lever @ torch.linalg.pinv(pull @ lever, rtol=1e-6) @ missing
    return change, seen


def _information(fit: Posterior, points: Tensor) -> Tensor:
    """What all steps tell of w, and the prior of the M-step: Σ Rᵀ R + 1, with all steps as long as the mean one."""
    dynamics, integrator, gaps = fit.dynamics, fit.model.integrator, fit.times.diff()
    gaps = gaps[gaps.isfinite()]
    h = points.new_full((1, 1, 1), float(gaps.mean()) / fit.time_unit / fit.model.substeps)
    origin = points.new_zeros(1, 1, dynamics.state)
    forces = (points.new_full((1, 1, dynamics.latent), force) for force in (0.0, 1.0))
    step, pushed = (integrator.step(dynamics, origin, force, h) for force in forces)
    told = information(dynamics.potential, points, ((pushed.loc - step.loc) / step.scale)[0]).cpu()
    told *= len(gaps) * fit.model.substeps / len(points)
    return told + COEFFICIENT_PRECISION * torch.eye(len(told), dtype=torch.float64)
