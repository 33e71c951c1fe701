"""How fast the prior moves, and how much of what is seen is noise: scales that the bound gets wrong by some per cent.

The bound pays for every step in which the guide's paths are rougher or smoother than the posterior's, and a guide that
misses a little is cheaper under a slower prior with more noise: frictions come out too high, and states last too long
by as much. Expectation maximisation is no cure, since paths on a fine grid repeat the very friction that they were
drawn with. The evidence itself, by particles, is free of both.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..guide.amortized import AmortizedGuide
from ..model.latent_langevin import LatentLangevin
from .particles import particle_posterior
from .quadratic import parabola

QUANTITIES = ("friction", "mass", "noise_scale")
LOOKS = 4  # grids, each around the top of the last, while that is far from its centre
WIDTH = 0.08  # between points at which the evidence is asked for, in the logarithm
SEQUENCES, PARTICLES = 256, 16  # of which it is made; 50 000 observations as noisy as steps are long: within 2 %
PRIOR = 100.0  # precision of the logarithms around what they were: keeps what the evidence says nothing of
CHUNK = 32  # sequences at a time: bounds the memory of their particles


@torch.no_grad()
def fit_scales(
    model: LatentLangevin,
    guide: AmortizedGuide,
    times: Float[Tensor, "sequence time"],
    x: Float[Tensor, "sequence time channel"],
    *,
    particles: int = PARTICLES,
    seed: int = 0,
) -> dict[str, float]:
    """γ ← f γ, M ← g M, σ ← s σ with (f, g, s) = argmax Σ log p̂(x | fγ, gM, sσ): the top of a parabola in logarithms.

    The evidence is asked for with the same random numbers at every point of a small grid, from a few sequences; where
    the top is far from its centre, there is another one around that.

    Parameters
    ----------
    model, guide: fitted; the model's dynamics are changed in place, where friction, mass or noise is learned.
    times, x: checked data.
    particles: paths per sequence. seed: of the sequences chosen, and of the particles.

    Returns
    -------
    The factors by name; nothing where nothing of the kind is learned.
    """
    learned = {
        name: getattr(part, f"{name}_unconstrained")
        for part in (model.dynamics, model.likelihood)
        for name in QUANTITIES
        if name in part._pyro_params
    }
    if not learned:
        return {}
    before = [value.detach().clone() for value in learned.values()]
    chosen = torch.as_tensor(np.random.default_rng(seed).permutation(len(x))[:SEQUENCES])

    def moved(logarithms: Tensor) -> None:
        for value, old, shift in zip(learned.values(), before, logarithms.tolist(), strict=True):
            value.copy_(old + shift)  # of positive parameters, these are the logarithms

    def height(place: Tensor) -> float:
        moved(place)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            parts = [
                particle_posterior(model, guide, times[few], x[few], particles).log_evidence.double().sum()
                for few in chosen.split(CHUNK)
            ]
        return float(torch.stack(parts).sum())

    top, places = torch.zeros(len(learned), dtype=torch.float64), _places(len(learned))
    for _ in range(LOOKS):
        step = _top(places, torch.tensor([height(top + place) for place in places], dtype=torch.float64))
        top = top + step
        if bool(step.abs().max() < WIDTH):  # farther out, the evidence is no parabola
            break
    moved(top)
    return dict(zip(learned, top.exp().tolist(), strict=True))


def _places(axes: int) -> Float[Tensor, "point axis"]:
    """The centre, two widths along each axis, and the corners one width away: enough for every parabola."""
    along, corners = 2 * torch.eye(axes), torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * axes).view(-1, axes)
    return WIDTH * torch.cat([torch.zeros(1, axes), along, -along, corners]).double()


def _top(places: Float[Tensor, "point axis"], heights: Float[Tensor, "point"]) -> Float[Tensor, "axis"]:
    """Where the parabola through the heights, less a prior around 0, is highest; no farther than the places are."""
    found, reach = parabola(places, heights), float(places.max())
    if found is None:
        return torch.zeros_like(places[0])
    bend, basis = torch.linalg.eigh(found.bend)
    step = basis @ ((basis.mT @ found.slope) / (bend.clamp(min=0.0) + PRIOR))
    return step.clamp(-reach, reach)
