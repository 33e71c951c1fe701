"""90 % intervals of what a balanced landscape says: barriers, occupancies, and kinetics by every route.

After `fitting.balance` rates are those of the counts, and so is what is not known of them. The last layer of U is
Gaussian around its value, with the covariance that `balance` tells: across the changes of w that move rates it is the
noise of the counts, and along the others, which leave rates as they are, that of the steps. A barrier is linear in w.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from scipy.special import expit, logit
from torch import Tensor

from .._typing import Array
from ..dynamics.potentials import Energy
from ..errors import Count, FitError, Whole, checked
from ..fitting.posterior import Posterior

WIDTH = 1.645  # standard deviations from the middle of a 90 % interval to its ends
POINTS = 5000  # of the data, over which features are averaged in every state
CARRIED = ("rate", "dwell", "passage", "relaxation")
"""Of a route; their intervals are those of the counted ones, as factors."""


def given(fit: Posterior, states: xr.Dataset, covariance: object, seed: int = 0) -> xr.Dataset:
    """The landscape with the intervals of `of_landscape` and `of_routes`; as it is where rates were not balanced.

    The guide's errors move a landscape that was not balanced by more than its noise, and no interval would hold.

    Parameters
    ----------
    fit, states, covariance, seed: as for `of_landscape`; the covariance is that of `fitting.balance`, None without.
    """
    if not isinstance(covariance, Tensor):
        return states
    return of_routes(states).assign(of_landscape(fit, states, covariance, seed))


@torch.no_grad()
def of_landscape(
    fit: Posterior, states: xr.Dataset, covariance: Float[Tensor, "coefficient coefficient"], seed: int = 0
) -> xr.Dataset:
    """`barrier_low`, `barrier_high (state, to)` in kT, and `occupancy_low`, `occupancy_high (state)`.

    With φ the features of the last layer and U = w · φ + …, the barrier b = (U(s) − U(m))/T changes by (φ(s) − φ(m))/T
    with w, since minimum and saddle are points of rest, and the logit of an occupancy by −(⟨φ⟩ inside − ⟨φ⟩ outside)/T,
    with the ridges held where they are.

    Parameters
    ----------
    fit: with a potential that has features. states: with the variables of `wells` and `saddles.saddles`, and
        `occupancy_sampled`. covariance: of w. seed: of the points of the data over which φ is averaged.

    Not checked: that the lower layers are known. Their errors are seen only as far as the last one can make them.
    """
    potential, temperature = fit.dynamics.potential, fit.temperature
    dtype = fit.x.dtype

    def features(points: Tensor) -> Tensor:
        return potential.features(points.to(dtype)).double()

    def error(direction: Tensor) -> Tensor:
        return ((direction @ covariance) * direction).sum(-1).clamp(min=0).sqrt() / temperature

    barrier, count = states["barrier"].values, states.sizes["state"]
    off = np.full(barrier.shape, np.nan)
    top, bottom = (features(torch.as_tensor(states[name].values)) for name in ("saddle_position", "position"))
    for place in reversed(range(states.sizes["saddle"])):  # the lowest saddle of a pair comes first, and is told last
        for state, to in np.stack([ends := states["saddle_states"].values[place], ends[::-1]]):
            off[state, to] = error(top[place] - bottom[state])
    points = fit.encoded(POINTS, seed)
    label, phi = fit.basins(states, points), features(points)
    inside = torch.stack([(label == state).double() for state in range(count)])
    apart = [_mean(phi, one) - _mean(phi, 1 - one) for one in inside]
    height, odds = WIDTH * off, WIDTH * error(torch.stack(apart)).numpy()
    share = states["occupancy_sampled"].values
    return xr.Dataset(
        {
            "barrier_low": (("state", "to"), barrier - height),
            "barrier_high": (("state", "to"), barrier + height),
            "occupancy_low": ("state", _shifted(share, -odds)),
            "occupancy_high": ("state", _shifted(share, odds)),
        }
    )


@partial(checked, error=FitError)
@torch.no_grad()
def of_number(
    fit: Posterior, number: Callable[[Energy], float | Sequence[float]], *, draws: Count = 200, seed: Whole = 0
) -> Array:
    """The 90 % interval of any number that is read off U, such as the distance of two wells: quantiles of f(U_w).

    w is drawn from its Gaussian around the fitted value, with the covariance that `fitting.balance` tells.

    Parameters
    ----------
    fit: a fit whose schedule asked for `balance`. number: f, from a potential to one number or several.
    draws: of w. seed: of the draws.

    Returns
    -------
    `(2,)` or `(2, number)`, the lower and the upper end.

    Raises
    ------
    FitError: rates were not balanced, or the potential has no coefficients.

    Not checked: as for `of_landscape`.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=4, steps=10, interval=0.5)
    >>> prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=1, hidden=(4,)))
    >>> model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1)), time_unit=1.0)
    >>> guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
    >>> fit = nld.fit(model, guide, data, nld.Schedule(steps=2), progress=False)
    >>> fit.runs[0]["balance"] = {"covariance": 0.01 * torch.eye(4)}  # as `Schedule(balance=True)` leaves it

    How much higher U is at 1 than at 0:

    >>> low, high = nld.results.intervals.of_number(fit, lambda U: float(U(torch.ones(1)) - U(torch.zeros(1))))
    >>> bool(low < high)
    True
    """
    covariance = getattr(fit, "balance", {}).get("covariance")
    potential = copy.deepcopy(fit.model.dynamics.landscape)
    if not isinstance(covariance, Tensor) or potential is None or potential.coefficients is None:
        raise FitError(
            f"an interval needs the covariance of a balanced landscape: got {type(potential).__name__} without one. "
            "Fit with Schedule(balance=True), at least two states and a potential that is learned."
        )
    value, vector = torch.linalg.eigh(covariance.double())
    root, middle = vector * value.clamp(min=0).sqrt(), potential.coefficients.clone()
    shifts = torch.randn(draws, len(value), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = []
    for shift in shifts @ root.mT:
        potential.coefficients.copy_(middle + shift.to(middle).view_as(middle))
        found.append(np.asarray(number(potential), float))
    ends: Array = np.quantile(found, (0.05, 0.95), axis=0)
    return ends


def of_routes(routes: xr.Dataset) -> xr.Dataset:
    """The routes of a balanced landscape, with the intervals of the counts around the values of each.

    A rate, a dwell, a passage or a relaxation time has the same factors between it and its ends by every route; a
    share of time has the same differences of its logit. The ends of a simulation, which tell how long it was and
    nothing of the data, are replaced.

    Parameters
    ----------
    routes: from `kinetics.routes`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from pyro_nld.results import intervals
    >>> known = {name: (("route", "state"), [[10.0], [12.0]]) for name in intervals.CARRIED}
    >>> ends = {f"{name}_low": (("route", "state"), [[8.0], [np.nan]]) for name in known}
    >>> ends |= {f"{name}_high": (("route", "state"), [[15.0], [np.nan]]) for name in known}
    >>> routes = xr.Dataset(known | ends, coords={"route": ["counted", "simulated"]})
    >>> round(intervals.of_routes(routes)["dwell_low"].sel(route="simulated").item(), 3)
    9.6
    """
    found, own = {}, routes["route"] == "counted"
    counted = routes.sel(route="counted", drop=True)
    for name in (*CARRIED, "stationary"):
        for end in (f"{name}_low", f"{name}_high"):
            if end in routes:
                with np.errstate(divide="ignore", invalid="ignore"):
                    if name == "stationary":
                        carried = routes[name].copy(data=_moved(routes[name], counted[end], counted[name]))
                    else:
                        carried = routes[name] * (counted[end] / counted[name])
                found[end] = routes[end].where(own, carried.where(np.isfinite(carried))).transpose(*routes[end].dims)
    return routes.assign(found)


def _moved(share: xr.DataArray, end: xr.DataArray, middle: xr.DataArray) -> Array:
    return _shifted(share.values, logit(end.values) - logit(middle.values))


def _shifted(share: Array, odds: Array) -> Array:
    """A share whose logit is moved."""
    with np.errstate(divide="ignore"):
        found: Array = expit(logit(share) + odds)
    return found


def _mean(phi: Tensor, weight: Tensor) -> Tensor:
    return weight @ phi / weight.sum().clamp(min=1e-300)
