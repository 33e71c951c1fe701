"""The algebra of rate matrices: stationary laws, relaxation and passage times, timescales."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._typing import Array


def of_rates(rate: Array, dwell: Array | None = None) -> xr.Dataset:
    """A route of which the rates are known.

    Parameters
    ----------
    rate: k → l, `(state, to)`, NaN where unknown; its diagonal does not matter. dwell: `(state,)`; 1/Σ rates when None.

    Returns
    -------
    `rate`, NaN on the diagonal; `dwell (state)`; `passage (state, to)`, mean first passage times; `relaxation (mode)`,
    the chain's relaxation times; `stationary (state)`, its law in the long run, NaN where it is not unique; and the
    variables of `by_counting` that only counts can fill, NaN or empty.
    """
    total = np.nansum(off_diagonal(rate), -1)
    dwell = 1 / np.where(total > 0, total, np.nan) if dwell is None else dwell
    square = {"rate": off_diagonal(rate), "passage": passage_times(rate)}
    single = {"dwell": dwell, "stationary": stationary(rate)}
    modes = {"relaxation": relaxation(rate)}
    variables: dict[str, tuple] = {"exits": ("state", np.full(len(rate), np.nan))}
    for dims, values in ((("state", "to"), square), (("state",), single), (("mode",), modes)):
        for name, value in values.items():
            variables[name] = (dims, value)
            variables |= dict.fromkeys((f"{name}_low", f"{name}_high"), (dims, np.full(value.shape, np.nan)))
    variables |= {"implied": (("lag", "mode"), np.empty((0, len(rate) - 1)))}
    return xr.Dataset(variables, coords={"lag": np.empty(0, int)})


def passage_times(rate: Array) -> Array:
    """Mean first passage times τ `(state, to)` of a chain: Σ_m k_im (τ_ml − τ_il) = −1, τ_ll = 0.

    Parameters
    ----------
    rate: `(state, to)`, NaN where unknown; its diagonal does not matter.

    Returns
    -------
    τ; infinite where the chain may never arrive.
    """
    hops = np.nan_to_num(off_diagonal(rate))
    passage = np.zeros(hops.shape)
    for to in range(len(hops)):
        others = np.delete(np.arange(len(hops)), to)
        between, arriving = hops[np.ix_(others, others)], hops[others, to]
        linked = np.linalg.matrix_power(np.eye(len(others)) + (between > 0), len(hops)) > 0
        lost = ~(linked & (arriving > 0)).any(1)
        sure = ~(linked & lost).any(1)
        leaving = np.diag(hops[others].sum(1)) - between
        passage[others, to] = np.inf
        passage[others[sure], to] = np.linalg.solve(leaving[np.ix_(sure, sure)], np.ones(sure.sum()))
    return passage


def ergodic_passage_times(rate: Array, share: Array) -> Array:
    """`passage_times (*batch, state, to)` of chains that go everywhere: τ_kl = (Z_ll − Z_kl)/π_l, Z = (1πᵀ − Q)⁻¹."""
    inverse = np.linalg.inv(share[..., None, :] - _generator(rate))
    return (np.diagonal(inverse, axis1=-2, axis2=-1)[..., None, :] - inverse) / share[..., None, :]


def relaxation(rate: Array) -> Array:
    """−1/λ of rate matrices `(*batch, state, to)`, longest first, `(*batch, state − 1)`; NaN where not connected."""
    value = np.sort(-np.linalg.eigvals(_generator(rate)).real, -1)[..., 1:]
    return np.where(value > 0, 1 / np.where(value > 0, value, 1.0), np.nan)


def stationary(rate: Array) -> Array:
    """π with Σ_k π_k (k_kl − δ_kl Σ_m k_km) = 0: the shares of time in which as many go as come.

    Parameters
    ----------
    rate: `(*batch, state, to)`, NaN where unknown; its diagonal does not matter.

    Returns
    -------
    π `(*batch, state)`; NaN where more than one law is stationary.
    """
    flow = np.swapaxes(_generator(rate), -1, -2)
    states = flow.shape[-1]
    several = np.linalg.matrix_rank(flow)[..., None] < states - 1
    flow[..., -1, :] = 1.0  # one equation follows from the others; in its place, shares sum to 1
    flow = np.where(several[..., None], np.eye(states), flow)
    return np.where(several, np.nan, np.linalg.solve(flow, np.eye(states)[:, -1:])[..., 0])


def _generator(rate: Array) -> Array:
    """Q: rates, unknown ones zero, and minus their sums on the diagonal."""
    hops = np.nan_to_num(off_diagonal(rate))
    return hops - hops.sum(-1)[..., None] * np.eye(hops.shape[-1])


def implied_timescales(matrix: Array, lag: float) -> Array:
    """−lag/log|λ| of a transition matrix, longest first, `(state − 1,)`, in the unit of `lag`; NaN where it has NaN.

    Parameters
    ----------
    matrix: `(state, to)`. lag: between the states of a pair.
    """
    if np.isnan(matrix).any():
        return np.full(len(matrix) - 1, np.nan)
    value = np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1][1:]
    with np.errstate(divide="ignore"):
        return -lag / np.log(np.minimum(value, 1.0))


def off_diagonal(matrix: Array) -> Array:
    """Rates with NaN on the diagonal, which says nothing."""
    return np.where(np.eye(matrix.shape[-1], dtype=bool), np.nan, matrix)
