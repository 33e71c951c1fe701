"""Friction, mass and observation noise, fitted to the evidence because the bound gets them wrong by some per cent.

Where the guide misses a little of the posterior, the bound is higher under a slower prior with more noise: the fitted
friction is then too high, and states last too long in proportion. Expectation maximisation does not help, because
paths on a fine time grid repeat the friction with which they were drawn. The evidence p(x), estimated with particles,
has neither error.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..guide.amortized import AmortizedGuide
from ..model.latent_langevin import LatentLangevin
from .particles import particle_posterior
from .quadratic import response_surface

QUANTITIES = ("friction", "mass", "noise_scale")
GRID_ITERATIONS = 4  # each grid is centred on the maximum of the last, until the maximum is near the centre
GRID_SPACING = 0.08  # between the points of a grid, in the logarithm of each quantity
EVIDENCE_SEQUENCES = 256  # and EVIDENCE_PARTICLES give the friction within 2 %, from 50 000 observations that are as
EVIDENCE_PARTICLES = 16  # noisy as the steps between them are long
SCALE_PRECISION = 100.0  # of a Gaussian prior on each logarithm: holds a scale of which the evidence says nothing
EVIDENCE_CHUNK = 32  # sequences at a time: bounds the memory of their particles


@torch.no_grad()
def fit_scales(
    model: LatentLangevin,
    guide: AmortizedGuide,
    times: Float[Tensor, "sequence time"],
    x: Float[Tensor, "sequence time channel"],
    *,
    particles: int = EVIDENCE_PARTICLES,
    seed: int = 0,
) -> dict[str, float]:
    """γ ← f γ, M ← g M, σ ← s σ with (f, g, s) = argmax Σ log p̂(x | fγ, gM, sσ), found by a response surface.

    The evidence of some of the sequences is estimated at every point of a small grid, each time with the same random
    numbers. A quadratic function of log f, log g and log s is fitted to it, and its maximum is taken. Where the maximum
    is far from the centre of the grid, the procedure is repeated around it.

    Parameters
    ----------
    model, guide: fitted. Frictions, masses and noise scales that are learned parameters are changed in place.
    times, x: checked data.
    particles: paths per sequence. seed: of the choice of sequences, and of the particles.

    Returns
    -------
    The factors f, g and s by name; an empty dict where none of the three is a learned parameter.
    """
    learned = {
        name: getattr(part, f"{name}_unconstrained")
        for part in (model.dynamics, model.likelihood)
        for name in QUANTITIES
        if name in part._pyro_params and getattr(part, f"{name}_unconstrained").requires_grad
    }
    if not learned:
        return {}
    before = [value.detach().clone() for value in learned.values()]
    chosen = torch.as_tensor(np.random.default_rng(seed).permutation(len(x))[:EVIDENCE_SEQUENCES])

    def moved(logarithms: Tensor) -> None:
        for value, old, shift in zip(learned.values(), before, logarithms.tolist(), strict=True):
            value.copy_(old + shift)  # of positive parameters, these are the logarithms

    def height(place: Tensor) -> float:
        moved(place)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            parts = [
                particle_posterior(model, guide, times[few], x[few], particles).log_evidence.double().sum()
                for few in chosen.split(EVIDENCE_CHUNK)
            ]
        return float(torch.stack(parts).sum())

    top, places = torch.zeros(len(learned), dtype=torch.float64), _places(len(learned))
    for _ in range(GRID_ITERATIONS):
        step = _top(places, torch.tensor([height(top + place) for place in places], dtype=torch.float64))
        top = top + step
        if bool(step.abs().max() < GRID_SPACING):  # farther out, the evidence is not quadratic
            break
    moved(top)
    return dict(zip(learned, top.exp().tolist(), strict=True))


def _places(axes: int) -> Float[Tensor, "point axis"]:
    """Points that determine every quadratic: the centre, two spacings along each axis, and the corners one away."""
    along, corners = 2 * torch.eye(axes), torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * axes).view(-1, axes)
    return GRID_SPACING * torch.cat([torch.zeros(1, axes), along, -along, corners]).double()


def _top(places: Float[Tensor, "point axis"], heights: Float[Tensor, "point"]) -> Float[Tensor, "axis"]:
    """The maximum of the quadratic through the heights, with a prior around 0, kept within the range of the places."""
    found, reach = response_surface(places, heights), float(places.max())
    if found is None:
        return torch.zeros_like(places[0])
    curvature, basis = torch.linalg.eigh(found.curvature)
    step = basis @ ((basis.mT @ found.slope) / (curvature.clamp(min=0.0) + SCALE_PRECISION))
    return step.clamp(-reach, reach)
