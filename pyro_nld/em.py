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
from .paths import LangevinPath, stratify
from .potentials import Potential

PARTICLES = 8  # per sequence; more are less biased towards the guide
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
    particles: int = PARTICLES,
    draws: int = 1,
    progress: bool = False,
) -> float:
    """Set w in U = w · φ(z) + … to argmax Σ log N(z_{k+1}; step(z_k, −∇U), scale) − ½ ‖w − w_before‖², over all data.

    Where sequences start in equilibrium, with Σ log p(z₀), too, to second order in the change of w.

    Parameters
    ----------
    model, guide: fitted; the model's potential is changed in place, if it has `coefficients`.
    times, x: checked data.
    particles: of the filter that draws posterior paths.
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
        for part in (*_parts(model, coefficients, times[chosen], steps), *_start(model, steps)):
            normal += part.normal / (PICKS * draws)
            moment += part.moment / (PICKS * draws)
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


class _Part(NamedTuple):
    """What steps of paths ask of the coefficients: `normal` · change = `moment`, in the unit of their noise."""

    normal: Tensor  # (coefficient, coefficient), Rᵀ R with R how far the means of steps move
    moment: Tensor  # (coefficient,), Rᵀ r with r how far they are from where the paths went


def _parts(model: LatentLangevin, coefficients: Tensor, times: Tensor, steps: Steps) -> Iterator[_Part]:
    picks, sequences, length, _ = steps.origins.shape
    for chosen in torch.arange(sequences).split(max(ROWS // (picks * length), 1)):
        few = Steps(steps.latents, steps.origins[:, chosen], steps.ends[:, chosen])
        yield _part(model, coefficients, times[chosen], few)


def _start(model: LatentLangevin, steps: Steps) -> list[_Part]:
    """Slope and bend of Σ log p(z₀) = −Σ w · φ(z₀)/T − log Z, where that is the law of the start."""
    if model.equilibrium is None:
        return []
    with holding(model.dynamics, steps.latents):
        dynamics = model.dynamics
        law, temperature = model.equilibrium.distribution(dynamics), dynamics.temperature
        features, first = (
            dynamics.potential.features(q) for q in (law.points, dynamics.position(steps.origins[..., 0, :]))
        )
    weight = law.log_weight.softmax(-1).unsqueeze(-1)
    mean = (weight * features).sum(0)
    spread = weight.sqrt() * (features - mean) / temperature
    slope = (mean - first).flatten(0, -2).sum(0) / temperature
    return [_Part(first[..., 0].numel() * (spread.mT @ spread).double(), slope.double())]


def _part(model: LatentLangevin, coefficients: Tensor, times: Tensor, steps: Steps) -> _Part:
    """Rᵀ r is the gradient of Σ r² / 2, one pass backwards; Rᵀ R comes from one step of every interval for all of it.

    It may: the noise of the paths is in r, while R varies as little within an interval as the paths do.
    """
    grid, origins = model.batch(times).grid, steps.origins
    path = LangevinPath(model.dynamics, model.integrator, origins[..., 0, :], grid, steps.latents)
    seen = grid.valid.unsqueeze(-1)
    with holding(model.dynamics, steps.latents), torch.enable_grad():
        force = path.force(origins)
        step, pushed = path.transitions(origins, force), path.transitions(origins, force + 1)
        lever = (pushed.loc - step.loc) / step.scale
        missing = (model.integrator.noisy(steps.ends) - step.loc) / step.scale
        (slope,) = torch.autograd.grad(torch.where(seen, missing, 0.0).square().sum() / 2, coefficients)
    strata = stratify(origins.shape[-2], model.substeps)
    there = (grid.valid.expand(origins.shape[:-1])[..., strata.chosen]).unsqueeze(-1)
    points = model.dynamics.position(origins[..., strata.chosen, :])
    weight = (there * strata.weight.unsqueeze(-1)).sqrt() * lever.detach()[..., strata.chosen, :]
    normal = information(model.dynamics.potential, points.flatten(0, -2), weight.flatten(0, -2))
    return _Part(normal, -slope.flatten().double())


def information(
    potential: Potential, points: Float[Tensor, "point latent"], weight: Float[Tensor, "#point latent"]
) -> Float[Tensor, "coefficient coefficient"]:
    """Rᵀ R of steps out of `points`, with R = weight · ∂φ/∂q how far their means move with w, in float64.

    Parameters
    ----------
    weight: how far a step's mean moves with the force, in the unit of its noise.
    """
    told = torch.zeros((), dtype=torch.float64, device=points.device)
    for axis in range(points.shape[-1]):
        response = weight[:, [axis]] * feature_slope(potential, points, axis)
        told = told + (response.T @ response).double()
    return told


def feature_slope(potential: Potential, q: Tensor, axis: int) -> Float[Tensor, "point coefficient"]:
    """∂φ/∂q_axis at points `(point, latent)`."""
    along = torch.zeros_like(q)
    along[:, axis] = 1
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, the first time it goes forward
        return forward_ad.unpack_dual(potential.features(forward_ad.make_dual(q, along))).tangent
