"""The lattice on which a fitted model is solved: where its points are, how close, and whether there is one.

One axis has as many points as the evidence asks for. On several, cells are about as wide as a step of the integrator,
and no wider than one observation is sharp where there is room for so many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..dynamics.circles import circles_of
from ..errors import FitError
from ..guide.amortized import AmortizedGuide
from ..model.latent_langevin import LatentLangevin
from ..model.missing import filled, log_prob_of_observed
from ..nn import group_count, random_parts
from .draws import inference_mode, positions
from .point_masses import Lattice, rounded
from .posterior import Posterior

FEWEST, MOST = 64, 1024  # points of a line
EXACT = 1e-3  # nats per value that twice the points may still change
SAME = 1e-4  # nats per value that parts of a cell may change where they are left out
TRIED = 10  # sequences on which that is tried
MARGIN = 0.15  # of the range of the positions, that a line goes on beyond them
CELLS = 1000  # on several axes, at most: the time of a round grows with their third power
WIDE = 1.5  # noises of one step between two points of several axes: the trapezoidal rule is off by 2e-4
SMOOTH = 1.6  # widths of what one observation tells, between two points: the same rule is off by 9e-4 at most
JITTER = 0.03  # of the variance of an interval, that is added by not knowing where in its cell a path is
REACH = 3.0  # widths of a step, within which of a position there are points: paths go there between observations
PARTS = (5, 3)  # of a cell, on one axis or on each of several, over which the density of the data is averaged
AXES = 3  # at most: a point of ten has millions of cells around it
GAPS = 200  # different times between observations, at most: every one has a matrix of its own


def obstacle(model: LatentLangevin, times: Tensor) -> str:
    """Why a model has no lattice, in words; nothing where it may have one.

    Parameters
    ----------
    model: to be solved. times: `(sequence, time)`, of the data.
    """
    dynamics = model.dynamics
    grouped = any(group_count(part, name) for part, name in random_parts(model))
    gaps = rounded(model.batch(times[:, :2000]).gaps).unique()
    found = {
        f"{dynamics.latent} latent axes": dynamics.latent > AXES,
        "momenta": dynamics.state != dynamics.latent,
        "an axis that is a circle": circles_of(dynamics.landscape) is not None,
        "an exposure": model.exposure > 0,
        "something that acts from outside": dynamics.drive(torch.arange(1), len(times), 1) is not None,
        "quantities of groups": grouped,
        f"more than {GAPS} different times between observations": len(gaps) > GAPS,
    }
    return next((reason for reason, there in found.items() if there), "")


def lattice_of(model: LatentLangevin, guide: AmortizedGuide, times: Tensor, x: Tensor) -> Lattice:
    """The lattice of a fitted model, as wide as its positions ask for.

    One axis has as many points as the evidence asks for, several have cells about as wide as a step.

    Parameters
    ----------
    model, guide, times, x: fitted; random quantities are taken at their median.

    Raises
    ------
    FitError: the model is of another kind, see `obstacle`, or 1024 points are too few for it.
    """
    if reason := obstacle(model, times):
        raise FitError(
            f"point masses need an overdamped model of one to three axes: got {reason}. Use Schedule(polish=…) instead."
        )
    latents = Posterior(model, guide, times, x).medians
    with inference_mode(0):
        drawn = positions(model, guide, times, x, 1)[0][times.isfinite()].double()
    if drawn.shape[-1] == 1:
        return _line(model, latents, float(drawn.min()), float(drawn.max()), times, x)
    return _cells(model, latents, drawn, times, x)


def _line(
    model: LatentLangevin, latents: Mapping[str, Tensor], low: float, high: float, times: Tensor, x: Tensor
) -> Lattice:
    """So many points that twice as many would change nothing, and parts of a cell only where they change something."""
    beyond = MARGIN * (high - low)
    few = torch.linspace(0, len(x) - 1, min(TRIED, len(x))).long()
    values = int(x[few].isfinite().sum())

    def line(points: int, parts: int) -> Lattice:
        return Lattice.line(model, latents, low - beyond, high + beyond, points, parts)

    def evidence(points: int, parts: int = PARTS[0]) -> float:
        return float(line(points, parts).evidence(times[few], x[few]).sum()) / values

    points, before = FEWEST, evidence(FEWEST)
    while points < MOST:
        now = evidence(2 * points)
        if abs(now - before) < EXACT:
            same = abs(evidence(points, 1) - before) < SAME
            return line(points, 1 if same else PARTS[0])
        points, before = 2 * points, now
    raise FitError(
        f"{MOST} points are too few for this axis: its steps or its noise are too small for its length. "
        "Use fewer substeps, or Schedule(polish=…) instead."
    )


@torch.no_grad()
def _cells(model: LatentLangevin, latents: Mapping[str, Tensor], drawn: Tensor, times: Tensor, x: Tensor) -> Lattice:
    """Cells about as wide as a step, wherever a position is near.

    Where points stand as closely as an observation is sharp, each has its density. Cells that are wider have the mean
    over their parts, which is as if the noise were larger by what is not known of the place in a cell.
    """
    probe = Lattice(model, latents, drawn, torch.ones_like(drawn[0]))
    gaps, _ = probe.gaps(times)
    width = probe._step(drawn, gaps[gaps > 0].min()).scale.expand_as(drawn).amin(0)
    close = torch.minimum(WIDE * width, SMOOTH * _sharpness(probe, drawn, x[times.isfinite()]))
    wide = width * min(WIDE, math.sqrt(6 * JITTER * model.substeps))  # a cell has the variance Δ²/12, on both sides
    for spacing, parts in ((close, 1), (wide, PARTS[1])):
        cells = _near(drawn, spacing, REACH * width)
        if len(cells) <= CELLS:
            return Lattice(model, latents, cells * spacing, spacing, parts)
    raise FitError(
        f"{CELLS} cells are too few for {len(width)} latent axes: steps are too small for the space that "
        "positions take. Use fewer axes or substeps, or Schedule(polish=…) instead."
    )


def _near(drawn: Tensor, spacing: Tensor, reach: Tensor) -> Tensor:
    """Numbers of all cells within reach of a position; those in which there is one if these are too many already."""
    cells = (drawn / spacing).round().unique(dim=0)
    if len(cells) > CELLS:
        return cells
    counts = (reach / spacing + 1e-9).floor()
    near = torch.cartesian_prod(*(torch.arange(-count, count + 1.0).double() for count in counts.tolist()))
    near = near[(near * spacing / reach).square().sum(-1) <= 1 + 1e-9]
    return (cells.unsqueeze(1) + near).flatten(0, 1).unique(dim=0)


def _sharpness(probe: Lattice, drawn: Tensor, x: Tensor) -> Tensor:
    """How far off an observation lets each axis be: 1/√E[(∂ log p(x_t | z_t)/∂z)²], `(latent,)`."""
    with torch.enable_grad(), probe.known():
        z = drawn.clone().requires_grad_()
        law = probe.model.likelihood(z)
        told = log_prob_of_observed(law, filled(x.double(), law), x.isfinite()).sum()
        (score,) = torch.autograd.grad(told, z)
    return score.square().mean(0).rsqrt()
