"""The M-step of expectation maximisation: U learned from paths of the exact posterior.

Gradient steps on the bound learn the relative depths of wells and the heights of saddles last, because few points of a
path lie there and the bound depends on them only weakly. An M-step takes its expectation over particles and is free of
the errors of the guide. It has two parts. First all layers of U learn by gradients on steps of paths that are drawn
once; such a gradient costs a thousandth of one through the guide. Then the coefficients of the last layer, on which the
mean of every step depends linearly, are the solution of one least-squares problem. Last, the guide is fitted to the new
prior, because it proposes the paths that the particle filter weights.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import forward_ad
from tqdm.auto import tqdm

from ..dynamics.grids import Grid, stratify
from ..dynamics.paths import LangevinPath
from ..dynamics.potentials import Potential
from ..errors import DoubtfulFitWarning, FitError
from ..guide.amortized import AmortizedGuide
from ..model.latent_langevin import LatentLangevin
from ..nn import condition_on
from .elbo import ENOUGH_STEPS, PathELBO, stride_for
from .particles import Steps, particle_steps
from .scales import fit_scales

PARTICLES = 8  # per sequence; more of them are less biased towards the guide
PARTICLE_CHUNK = 50  # sequences at a time: bounds the memory of their particles
POINTS_AT_A_TIME = 20_000  # of paths: their hidden layers fit the cache of the processor, which is twice as fast
PICKS_PER_STEP = 4  # draws that one run of the particle filter gives of every step of the time grid
COEFFICIENT_PRECISION = 1.0  # of a Gaussian prior around the present coefficients: holds those that no path informs
GUIDE_STEPS, GUIDE_BATCH = 200, 32  # gradient steps of the guide after U has changed, and sequences per step
POTENTIAL_STEPS, POTENTIAL_BATCH = 1000, 8192  # gradient steps of all layers of U, and steps of paths per step
LEARNING_RATE = 2e-3  # of Adam at first, for both
MOST_STEPS = 2_000_000  # steps of paths that are drawn once, and from which the batches are taken


def maximise(
    model: LatentLangevin,
    guide: AmortizedGuide,
    times: Tensor,
    x: Tensor,
    *,
    particles: int = PARTICLES,
    progress: bool = False,
) -> None:
    """One M-step, in place: `learn_layers`, `solve_coefficients`, `follow` and `scales.fit_scales`, in this order.

    Parameters
    ----------
    model, guide, times, x, particles, progress: as for `learn_layers` and `solve_coefficients`.

    Raises
    ------
    FitError: the noise of the dynamics depends on the position, which the solution by least squares does not know.
    """
    if not model.dynamics.additive_noise:
        raise FitError(
            f"an M-step needs the same noise everywhere: got {type(model.dynamics).__name__}. Use Schedule(polish=0)."
        )
    learn_layers(model, guide, times, x, particles=particles, progress=progress)
    solve_coefficients(model, guide, times, x, particles=particles, progress=progress)
    follow(model, guide, times, x, progress=progress)
    fit_scales(model, guide, times, x, seed=int(torch.randint(2**31, ())))  # other sequences than in the last M-step


def follow(
    model: LatentLangevin,
    guide: AmortizedGuide,
    times: Float[Tensor, "sequence time"],
    x: Float[Tensor, "sequence time channel"],
    *,
    gradient_steps: int = GUIDE_STEPS,
    batch_size: int = GUIDE_BATCH,
    progress: bool = False,
) -> None:
    """Maximise the bound over the guide alone, in place, so that its paths suit the prior as it is now.

    A limited number of particles corrects a guide only in part. A guide that was learned under a prior that is too slow
    lowers the estimated evidence of a faster one, and `scales.fit_scales` would then find the same scales again.

    Parameters
    ----------
    model, guide, times, x, progress: as for `learn_layers`; the model stays as it is.
    gradient_steps: of Adam; their learning rate falls along a cosine.
    batch_size: sequences per step.
    """
    with frozen(model):
        learned = [value for value in guide.parameters() if value.requires_grad]
        adam = torch.optim.Adam(learned, lr=LEARNING_RATE, betas=(0.9, 0.99))
        elbo = PathELBO(path_stride=stride_for(x[:batch_size], model.substeps, ENOUGH_STEPS))
        subsample = batch_size if len(x) > batch_size else None
        for step in tqdm(range(gradient_steps), desc="guide", disable=not progress, mininterval=1.0):
            _fall(adam, step / gradient_steps)
            loss = -elbo.combine(elbo.terms(model, guide, times, x, subsample)) / x.numel()
            loss.backward()
            if bool(nn.utils.clip_grad_norm_(learned, torch.inf).isfinite()):
                adam.step()


@contextmanager
def frozen(part: nn.Module) -> Iterator[None]:
    """A scope in which the parameters of a part do not learn.

    Parameters
    ----------
    part: afterwards those of its parameters learn that did before.
    """
    held = [value for value in part.parameters() if value.requires_grad]
    for value in held:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in held:
            value.requires_grad_(True)


def _fall(adam: torch.optim.Adam, share: float) -> None:
    """Set the learning rate after this share of the gradient steps, along a cosine, and clear the gradients."""
    adam.param_groups[0]["lr"] = 0.5 * LEARNING_RATE * (1 + math.cos(math.pi * share))
    adam.zero_grad()


@torch.no_grad()
def learn_layers(
    model: LatentLangevin,
    guide: AmortizedGuide,
    times: Float[Tensor, "sequence time"],
    x: Float[Tensor, "sequence time channel"],
    *,
    particles: int = PARTICLES,
    gradient_steps: int = POTENTIAL_STEPS,
    progress: bool = False,
) -> None:
    """Maximise Σ log N(z_{k+1}; step(z_k, −∇U), scale) over all layers of U, for steps of paths that are drawn once.

    The features of the last layer decide which potentials `solve_coefficients` can reach, above all at saddles. The law
    of the initial states is left to that function.

    Parameters
    ----------
    model, guide: fitted. The potential is changed in place, if it is a network with `coefficients`.
    times, x: checked data; so many sequences are chosen at random that they have about `MOST_STEPS` steps.
    particles: paths per sequence of the particle filter.
    gradient_steps: of Adam; their learning rate falls along a cosine.
    progress: show a bar.

    Warns
    -----
    DoubtfulFitWarning: paths are not finite, and nothing is changed.
    """
    potential = model.dynamics.landscape
    if potential is None or potential.coefficients is None:
        return
    learned = [value for value in potential.parameters() if value.requires_grad]
    before = [value.clone() for value in learned]
    every = model.batch(times).grid.valid.shape[-1]
    chosen = torch.randperm(len(x))[: max(MOST_STEPS // every, 1)].split(PARTICLE_CHUNK)
    drawn = [
        _PathSteps.of(model, times[few], particle_steps(model, guide, times[few], x[few], particles, 1))
        for few in tqdm(chosen, desc="paths", disable=not progress, mininterval=1.0)
    ]
    adam = torch.optim.Adam(learned, lr=LEARNING_RATE, betas=(0.9, 0.99))
    for step in tqdm(range(gradient_steps), desc="all layers", disable=not progress, mininterval=1.0):
        _fall(adam, step / gradient_steps)
        with torch.enable_grad():
            drawn[int(torch.randint(len(drawn), ()))].loss(model).backward()
        adam.step()
    if not all(bool(value.isfinite().all()) for value in learned):
        for value, old in zip(learned, before, strict=True):
            value.copy_(old)
        _warn("the layers of the potential")


class _PathSteps(NamedTuple):
    """Steps of posterior paths that were drawn under the same globals, in no particular order."""

    latents: dict[str, Tensor]
    origins: Tensor  # (step, state)
    ends: Tensor
    h: Tensor  # (step, 1)

    @classmethod
    def of(cls, model: LatentLangevin, times: Tensor, steps: Steps) -> _PathSteps:
        grid, shape = model.batch(times).grid, steps.origins.shape[:-1]
        there = grid.valid.expand(shape)
        return cls(steps.latents, steps.origins[there], steps.ends[there], grid.h.expand(*shape, 1)[there])

    def loss(self, model: LatentLangevin) -> Tensor:
        """The mean of ½ r² over a batch; r is an end minus the mean of its step, in units of the noise."""
        batch = torch.randint(len(self.h), (POTENTIAL_BATCH,))
        origins, h = self.origins[batch], self.h[batch]
        grid = Grid(h, torch.ones_like(h[:, 0], dtype=torch.bool))
        path = LangevinPath(model.dynamics, model.integrator, origins[0], grid, self.latents)
        with condition_on(model.dynamics, self.latents):
            step = path.transitions(origins)
        residual = (model.integrator.stochastic_component(self.ends[batch]) - step.loc) / step.scale
        return 0.5 * residual.square().sum(-1).mean()


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

    Where sequences start in equilibrium, the sum includes Σ log p(z₀) to second order in the change of w.

    Parameters
    ----------
    model, guide: fitted. The potential is changed in place, if it has `coefficients`.
    times, x: checked data.
    particles: paths per sequence of the particle filter.
    draws: runs of the filter, each of which gives four draws of every step; more runs give less noise.
    progress: show a bar.

    Returns
    -------
    The gain of the maximised sum per sequence, nats; 0.0 where U has no coefficients.

    Warns
    -----
    DoubtfulFitWarning: paths are not finite, and nothing is changed.
    """
    potential = model.dynamics.landscape
    coefficients = None if potential is None else potential.coefficients
    if potential is None or coefficients is None:
        return 0.0
    count = coefficients.numel()
    normal = COEFFICIENT_PRECISION * torch.eye(count, dtype=torch.float64, device=x.device)
    moment = torch.zeros(count, dtype=torch.float64, device=x.device)
    chunks = list(torch.arange(len(x)).split(PARTICLE_CHUNK)) * draws
    for chosen in tqdm(chunks, desc="last layer", disable=not progress, mininterval=1.0):
        steps = particle_steps(model, guide, times[chosen], x[chosen], particles, PICKS_PER_STEP)
        for part in (*_parts(model, coefficients, times[chosen], steps), *_start(model, steps)):
            normal += part.normal / (PICKS_PER_STEP * draws)
            moment += part.moment / (PICKS_PER_STEP * draws)
    change = torch.linalg.solve(normal, moment)
    if not bool(change.isfinite().all()):
        _warn("the last layer of the potential")
        return 0.0
    coefficients.add_(change.to(coefficients).view_as(coefficients))
    return float(0.5 * change @ moment) / len(x)


def _warn(what: str) -> None:
    message = f"{what} did not learn from particles: their paths are not finite. Use more substeps."
    warnings.warn(message, DoubtfulFitWarning, stacklevel=3)


class _Part(NamedTuple):
    """The normal equations of some steps: `normal` · change = `moment`, in standard deviations of their noise."""

    normal: Tensor  # (coefficient, coefficient), Rᵀ R, with R the derivative of the means of steps by w
    moment: Tensor  # (coefficient,), Rᵀ r, with r the ends of the steps minus their means


def _parts(model: LatentLangevin, coefficients: Tensor, times: Tensor, steps: Steps) -> Iterator[_Part]:
    picks, sequences, length, _ = steps.origins.shape
    for chosen in torch.arange(sequences).split(max(POINTS_AT_A_TIME // (picks * length), 1)):
        few = Steps(steps.latents, steps.origins[:, chosen], steps.ends[:, chosen])
        yield _part(model, coefficients, times[chosen], few)


def _start(model: LatentLangevin, steps: Steps) -> list[_Part]:
    """Gradient and curvature of Σ log p(z₀) = −Σ w · φ(z₀)/T − log Z, where sequences start in equilibrium."""
    if model.equilibrium is None:
        return []
    with condition_on(model.dynamics, steps.latents):
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
    """Rᵀ r is minus the gradient of Σ r² / 2; Rᵀ R is taken from one step of every interval, weighted for all of them.

    One step is enough, because the noise of the paths is in r, while R varies little within an interval.
    """
    grid, origins = model.batch(times).grid, steps.origins
    path = LangevinPath(model.dynamics, model.integrator, origins[..., 0, :], grid, steps.latents)
    valid = grid.valid.unsqueeze(-1)
    with condition_on(model.dynamics, steps.latents), torch.enable_grad():
        force = path.force(origins)
        step, offset = path.transitions(origins, force), path.transitions(origins, force + 1)
        sensitivity = (offset.loc - step.loc) / step.scale
        residual = (model.integrator.stochastic_component(steps.ends) - step.loc) / step.scale
        (slope,) = torch.autograd.grad(torch.where(valid, residual, 0.0).square().sum() / 2, coefficients)
    strata = stratify(origins.shape[-2], model.substeps)
    there = (grid.valid.expand(origins.shape[:-1])[..., strata.chosen]).unsqueeze(-1)
    points = model.dynamics.position(origins[..., strata.chosen, :])
    weight = (there * strata.weight.unsqueeze(-1)).sqrt() * sensitivity.detach()[..., strata.chosen, :]
    normal = information(model.dynamics.potential, points.flatten(0, -2), weight.flatten(0, -2))
    return _Part(normal, -slope.flatten().double())


def information(
    potential: Potential, points: Float[Tensor, "point latent"], weight: Float[Tensor, "#point latent"]
) -> Float[Tensor, "coefficient coefficient"]:
    """Fisher information of w, Rᵀ R in float64, in steps out of `points`; R = weight · ∂φ/∂q.

    Parameters
    ----------
    potential: with features φ. points: `(point, latent)`, where the steps begin.
    weight: derivative of a step's mean with respect to the force, in standard deviations of its noise.
    """
    fisher = torch.zeros((), dtype=torch.float64, device=points.device)
    for axis in range(points.shape[-1]):
        response = weight[:, [axis]] * feature_slope(potential, points, axis)
        fisher = fisher + (response.T @ response).double()
    return fisher


def feature_slope(potential: Potential, q: Tensor, axis: int) -> Float[Tensor, "point coefficient"]:
    """∂φ/∂q_axis at points `(point, latent)`."""
    along = torch.zeros_like(q)
    along[:, axis] = 1
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch raises it at the first use of forward mode
        return forward_ad.unpack_dual(potential.features(forward_ad.make_dual(q, along))).tangent
