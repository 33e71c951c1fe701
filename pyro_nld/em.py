"""The last step of a fit: what U is linear in, solved exactly on paths of the exact posterior.

A gradient finds last how deep one well is beside another and how high the pass between them: few points of a path lie
there, and the bound hardly bends. But the coefficients of a potential's last layer enter the mean of every step
linearly. Given posterior paths, their best values are one least-squares problem: the M-step of expectation
maximisation, with particles for the expectation, and free of the guide's own errors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from tqdm.auto import tqdm

from ._checks import DoubtfulFitWarning
from ._modules import holding
from .guide import AmortizedGuide
from .model import LatentLangevin
from .particles import Steps, particle_steps
from .paths import LangevinPath
from .potentials import Potential

CHUNK = 50  # sequences at a time: bounds the memory of their particles
ROWS = 20_000  # points of paths at a time: their hidden layers fit the processor's cache, which is twice as fast
PICKS = 4  # steps that one run of the particles gives for every one of the grid
PRIOR = 1.0  # precision of the coefficients around what they were: keeps those that no path asks about


@torch.no_grad()
def solve_coefficients(
    model: LatentLangevin,
    guide: AmortizedGuide,
    times: Float[Tensor, "sequence time"],
    x: Float[Tensor, "sequence time channel"],
    *,
    particles: int = 8,
    draws: int = 1,
    progress: bool = False,
) -> float:
    """Set w in U = w · φ(z) + … to argmax Σ log N(z_{k+1}; step(z_k, −∇U), scale) − ½ ‖w − w_before‖², over all data.

    Parameters
    ----------
    model, guide: fitted; the model's potential is changed in place, if it has `coefficients`.
    times, x: checked data.
    particles: of the filter that draws posterior paths; more are less biased towards the guide.
    draws: runs of the filter, each good for four draws of every step; more are less noisy.
    progress: show a bar.

    Returns
    -------
    Gain of the maximised sum per sequence, nats; 0.0 where U has no coefficients.

    Warns
    -----
    DoubtfulFitWarning: paths are not finite; nothing is changed.
    """
    potential = getattr(model.dynamics, "potential", None)
    coefficients = potential.coefficients if isinstance(potential, Potential) else None
    if potential is None or coefficients is None:
        return 0.0
    count = coefficients.numel()
    normal = PRIOR * torch.eye(count, dtype=torch.float64, device=x.device)
    moment = torch.zeros(count, dtype=torch.float64, device=x.device)
    chunks = list(torch.arange(len(x)).split(CHUNK)) * draws
    for chosen in tqdm(chunks, desc="last layer", disable=not progress, mininterval=1.0):
        steps = particle_steps(model, guide, times[chosen], x[chosen], particles, PICKS)
        for row in _rows(model, potential, times[chosen], steps):
            normal += row.response.T @ row.response / (PICKS * draws)
            moment += row.response.T @ row.missing / (PICKS * draws)
    change = torch.linalg.solve(normal, moment)
    if not bool(change.isfinite().all()):
        warnings.warn(
            "the last layer was not solved for: paths of the posterior are not finite. Use more substeps.",
            DoubtfulFitWarning,
            stacklevel=2,
        )
        return 0.0
    coefficients.add_(change.to(coefficients).view_as(coefficients))
    return float(0.5 * change @ moment) / len(x)


class _Row(NamedTuple):
    """What steps of paths ask of the coefficients, in standard deviations of their noise."""

    response: Tensor  # (step · axis, coefficient): how far the mean moves
    missing: Tensor  # (step · axis,): how far it is from where the path went


def _rows(model: LatentLangevin, potential: Potential, times: Tensor, steps: Steps) -> Iterator[_Row]:
    picks, sequences, length, _ = steps.origins.shape
    for chosen in torch.arange(sequences).split(max(ROWS // (picks * length), 1)):
        few = Steps(steps.latents, steps.origins[:, chosen], steps.ends[:, chosen])
        yield _row(model, potential, times[chosen], few)


def _row(model: LatentLangevin, potential: Potential, times: Tensor, steps: Steps) -> _Row:
    grid, origins = model.batch(times).grid, steps.origins
    path = LangevinPath(model.dynamics, model.integrator, origins[..., 0, :], grid, steps.latents)
    with holding(model.dynamics, steps.latents):
        force = path.force(origins)
        step, pushed = path.transitions(origins, force), path.transitions(origins, force + 1)
    seen = grid.valid.expand(origins.shape[:-1])
    lever = ((pushed.loc - step.loc) / step.scale)[seen]
    missing = ((model.integrator.noisy(steps.ends) - step.loc) / step.scale)[seen]
    points = model.dynamics.position(origins)[seen]
    slopes = (feature_slope(potential, points, axis) for axis in range(model.dynamics.latent))
    response = torch.cat([-slope * lever[:, [axis]] for axis, slope in enumerate(slopes)])
    return _Row(response.double(), missing.T.flatten().double())


def feature_slope(potential: Potential, q: Tensor, axis: int) -> Float[Tensor, "point coefficient"]:
    """∂φ/∂q_axis at points `(point, latent)`."""
    along = torch.zeros_like(q)
    along[:, axis] = 1
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, the first time it goes forward
        return forward_ad.unpack_dual(potential.features(forward_ad.make_dual(q, along))).tangent
