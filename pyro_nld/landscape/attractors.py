"""What there is to read where there is no landscape: points that draw positions in when the noise is switched off.

A force that is no gradient has no depths and no barriers. It still has points of rest, F(q, p = 0) = 0, and those that
are stable are states: a position belongs to the one that the force at rest, dq/ds = F(q, 0), leads it to. Where the
force is −∇U these are the minima and their basins. Cycles draw in too, but are nowhere at rest: what ends in one stays
without a state, and its share is told.

Examples
--------
Of U = 3 (1 − z²)² with friction 1, a push decays at the rate U″(±1) = 24:

>>> dynamics = nld.OverdampedLangevin(nld.DoubleWell(3.0))
>>> found = nld.attractors.rest_points(dynamics, torch.linspace(-2.0, 2.0, 100).unsqueeze(-1))
>>> sorted(found["position"].values.ravel().round(3).tolist()), found["decay"].values.ravel().round(1).tolist()
([-1.0, 1.0], [24.0, 24.0])
"""

from __future__ import annotations

import copy

import torch
import xarray as xr
from jaxtyping import Float, Int
from scipy.linalg import solve_continuous_lyapunov
from torch import Tensor

from ..dynamics.equations import Dynamics, jacobian
from ..errors import FitError
from . import flows
from .rest import newton, points_of_rest

SLOW = 2e-3  # largest force at the end of a flow that has come to rest; flows stop at half of it
STILL = 1e-6  # a rest point's largest force, relative to its stiffness
CHUNK = 200_000  # points that flow at a time


def rest_points(dynamics: Dynamics, starts: Float[Tensor, "point latent"]) -> xr.Dataset:
    """Stable q with F(q, 0) = 0 that points flow to along the force, dq/ds = F(q, 0), then Newton's method.

    Stable says that the drift, linearised at (q, 0), brings back: all its eigenvalues have negative real parts.

    Parameters
    ----------
    dynamics: with fixed quantities; polished in a float64 copy.
    starts: where to start, for example encoded data; at most 2000 of them are used.

    Returns
    -------
    Dataset over `state`, by decreasing share of the starts: `position (state, latent)`, `share`, `residual`, ‖F‖ there;
    `decay` and `angular_frequency (state, mode)`, minus the real and the modulus of the imaginary part of the
    eigenvalues of ∂drift/∂z, slowest first, 1/time: how fast a push dies out, and the angular frequency at which it
    goes round meanwhile (0 for a gradient without momenta). attrs: `unconverged_starts`, the share of starts that
    reached none.

    Raises
    ------
    FitError: no start comes to rest.

    Not checked: whether there are attractors that no start flows to.
    """
    exact = copy.deepcopy(dynamics).double()
    found = points_of_rest(exact.rest_force, starts, lambda ends, least: _polished(exact, ends, least), slowest=SLOW)
    if not len(found.position):
        raise FitError("no attractor was found: no start comes to rest. Fit longer, or look at the lines of flow.")
    return _described(exact, *found)


def basins(dynamics: Dynamics, attractors: xr.Dataset, points: Float[Tensor, "*batch latent"]) -> Int[Tensor, "*batch"]:
    """The state each point is led to by the force at rest; −1 where it comes to rest in none.

    Parameters
    ----------
    dynamics: with fixed quantities. attractors: from `rest_points`. points: any number of them.
    """
    exact, centres = copy.deepcopy(dynamics).double(), torch.as_tensor(attractors["position"].values)
    metrics = torch.stack([_metric(matrix) for matrix in exact.stiffness(centres)])
    found = [core.to(points.dtype) for core in flows.cores(exact.rest_force, centres, metrics)]
    chunks = points.detach().reshape(-1, points.shape[-1]).split(CHUNK)
    label = [flows.settle(dynamics.rest_force, lambda here: flows.core_of(found, here), part) for part in chunks]
    return torch.cat(label).reshape(points.shape[:-1])


def occupancy(labels: Int[Tensor, "*batch"], attractors: xr.Dataset) -> xr.DataArray:
    """Shares `(state,)` of the points that have a state, from `basins`."""
    counts = torch.bincount(labels[labels >= 0].flatten(), minlength=attractors.sizes["state"]).double()
    return xr.DataArray((counts / counts.sum().clamp(min=1)).numpy(), dims="state")


def _metric(stiffness: Tensor) -> Tensor:
    """P with KᵀP + PK = 2KᵀK, in which the linearised flow shrinks every offset; K itself where K is a Hessian."""
    matrix = stiffness.numpy()
    found = torch.as_tensor(solve_continuous_lyapunov(matrix.T, 2 * matrix.T @ matrix))
    return 0.5 * (found + found.mT)


def _polished(exact: Dynamics, ends: Tensor, least: float) -> Tensor:
    """The stable points of rest that Newton's method leads to."""

    def move(points: Tensor) -> Tensor:
        return torch.linalg.lstsq(exact.stiffness(points), exact.rest_force(points).unsqueeze(-1)).solution.squeeze(-1)

    with torch.no_grad():
        points = newton(ends, least, move)
        stiffness, force = exact.stiffness(points), exact.rest_force(points)
        at_rest = force.norm(dim=-1) < STILL * torch.linalg.matrix_norm(stiffness).clamp(min=1.0)
        led_in = (torch.linalg.eigvals(stiffness).real > 0).all(-1) & (_modes(exact, points).real < 0).all(-1)
    return points[at_rest & led_in]


def _modes(exact: Dynamics, points: Tensor) -> Tensor:
    """Eigenvalues of ∂drift/∂z at (q, 0), `(point, state)`."""
    at_rest = torch.nn.functional.pad(points, (0, exact.state - exact.latent))
    return torch.linalg.eigvals(jacobian(exact.drift, at_rest))


def _described(exact: Dynamics, points: Tensor, share: Tensor) -> xr.Dataset:
    modes = _modes(exact, points)
    slowest = (-modes.real).argsort(-1)
    with torch.no_grad():
        residual = exact.rest_force(points).norm(dim=-1)
    variables = {
        "position": (("state", "latent"), points),
        "minimum_position": (("minimum", "latent"), points),  # as of the minima of a landscape, each a state here
        "minimum_state": ("minimum", torch.arange(len(points))),
        "share": ("state", share),
        "residual": ("state", residual),
        "decay": (("state", "mode"), (-modes.real).gather(-1, slowest)),
        "angular_frequency": (("state", "mode"), modes.imag.abs().gather(-1, slowest)),
    }
    arrays = {name: (dims, value.detach().numpy()) for name, (dims, value) in variables.items()}
    return xr.Dataset(arrays, attrs={"unconverged_starts": 1 - float(share.sum())})
