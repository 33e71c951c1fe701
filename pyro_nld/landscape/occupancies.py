"""Occupancies by sampling exp(−U/T), and whether the chains behind them have mixed."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ..dynamics.potentials import Energy, hessian, in_double
from ..io.inference_data import convergence
from . import samplers
from .charts import chart
from .minima import basins

DIFFERENCE = 0.01  # thermal widths between Hessians
LARGEST = 1.0  # of the logarithm of a correction


def sampled(
    potential: Energy, wells: xr.Dataset, starts: Float[Tensor, "chain latent"], temperature: float, seed: int = 0
) -> xr.Dataset:
    """Shares of draws of exp(−U/T) in each basin, with jumps between the harmonic wells so that chains mix.

    Parameters
    ----------
    potential: U. wells: from `landscape.minima`. starts: one per chain, for example encoded data.
    temperature: T, in the unit of U. seed: of the chains.

    Returns
    -------
    `occupancy_sampled`; `occupancy_rhat (state)`, whether chains remember where they began, see `nested_rhat`, NaN for
    a state that all or none of the draws are in; `occupancy_ess (state)`, the effective number of draws.

    References
    ----------
    Koop et al., NLDL 2024, section 6 (their first route).
    """
    _, labels = equilibrium(potential, wells, starts, temperature, seed)
    inside = (labels.unsqueeze(-1) == torch.arange(wells.sizes["state"])).double().numpy()
    mixing = convergence(xr.DataArray(inside, dims=("chain", "draw", "state")))
    shares = inside.mean((0, 1))
    return xr.Dataset(
        {
            "occupancy_sampled": ("state", shares / shares.sum()),
            "occupancy_rhat": ("state", nested_rhat(inside, basins(potential, wells, starts).numpy())),
            "occupancy_ess": ("state", mixing["ess"].values),
        }
    )


def nested_rhat(inside: NDArray[np.floating], begun: NDArray[np.integer]) -> NDArray[np.floating]:
    """r̂ = (1 + B/W)^½ of many short chains: B between groups of them, W within, first and second halves apart.

    A group has begun in one state. Chains that are stuck differ by group; those still on their way, by half. The r̂ of
    every chain for itself asks that each alone be long, which hundreds of chains together need not be.

    Parameters
    ----------
    inside: 1 where a draw is in the state, `(chain, draw, state)`. begun: the state each chain began in, `(chain,)`.

    References
    ----------
    Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari, Gelman, arXiv:2110.13017: chains that begin together are one.
    """
    middle = inside.shape[1] // 2
    halves = np.stack([inside[:, :middle].mean(1), inside[:, middle:].mean(1)])  # (half, chain, state)
    groups = [begun == state for state in np.unique(begun)]
    share = np.concatenate([halves[:, group].mean(1) for group in groups])  # (group and half, state)
    weight = np.repeat([group.mean() / 2 for group in groups], 2)
    between = weight @ (share - weight @ share) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(1 + between / (weight @ (share * (1 - share))))


def equilibrium(
    potential: Energy, wells: xr.Dataset, starts: Float[Tensor, "chain latent"], temperature: float, seed: int = 0
) -> tuple[Float[Tensor, "chain draw latent"], Int[Tensor, "chain draw"]]:
    """Draws of exp(−U/T), and the basin that each is in; arguments as for `sampled`."""
    points = draws(potential, wells, starts, temperature, seed)
    return points, basins(potential, wells, points)


def draws(
    potential: Energy, wells: xr.Dataset, starts: Float[Tensor, "chain latent"], temperature: float, seed: int = 0
) -> Float[Tensor, "chain draw latent"]:
    """Draws of exp(−U/T), one out of those between two jumps; arguments as for `sampled`."""
    if round_axes := chart(potential, wells["minimum_position"].values, temperature):
        lifted = round_axes.circles.lift(starts)
        return round_axes.circles.lower(draws(round_axes, round_axes.states(wells), lifted, temperature, seed))
    minima = torch.as_tensor(wells["minimum_position"].values)
    wide = temperature * torch.linalg.inv(hessian(in_double(potential), minima))
    jumps = samplers.Mixture(torch.ones(len(minima)), minima, wide)
    drawn = samplers.mala(potential, starts, temperature=temperature, jumps=jumps, seed=seed)
    return torch.as_tensor(drawn["position"].values[:, :: samplers.EVERY]).to(starts)


def occupancy(
    wells: xr.Dataset, temperature: float, labels: Tensor | None = None, potential: Energy | None = None
) -> xr.Dataset:
    """Occupancies `(state,)`: `energy` ∝ exp(−U/T); `harmonic` ∝ exp(−U/T) det(T H⁻¹)^½; `data`, shares of labels.

    Parameters
    ----------
    wells: from `minima`.
    temperature: T, in the unit of U.
    potential: U, for `anharmonic`: harmonic ones to the `next_order` in T.
    labels: from `basins` of encoded data; labels of −1 do not count.

    References
    ----------
    Koop et al., NLDL 2024, section 6.
    """
    log_weight = -wells["energy"].values / temperature
    volume = 0.5 * np.log(temperature / wells["curvature"].values).sum(-1)
    shares = {"energy": _normalised(log_weight), "harmonic": _normalised(log_weight + volume)}
    if potential is not None:
        shares["anharmonic"] = _normalised(log_weight + volume + next_order(potential, wells, temperature))
    if labels is not None:
        counts = np.bincount(labels[labels >= 0].numpy().ravel(), minlength=len(log_weight))
        shares["data"] = counts / max(counts.sum(), 1)
    return xr.Dataset({route: ("state", share) for route, share in shares.items()})


def next_order(potential: Energy, wells: xr.Dataset, temperature: float) -> NDArray[np.floating]:
    """The logarithm `(state,)` by which a well holds more than its harmonic approximation, to the next order in T.

    With y the offset from the minimum in thermal widths, U/T = ½ y·y + …, and u its derivatives by y (Laplace's method)

        log Z/Z_harmonic = −⅛ Σ u_iikk + ⅛ Σ_k (Σ_i u_iik)² + ¹⁄₁₂ Σ u_ijk².

    Third and fourth derivatives are differences of the Hessian along each y. A correction beyond LARGEST is none: the
    series has no meaning there, and it is cut at that value.

    Parameters
    ----------
    potential: U. wells: from `minima`. temperature: T, in the unit of U.

    Examples
    --------
    U = z⁴ + z²/2 at a low temperature, where Z = √(2πT) (1 − 3 T + …):

    >>> wells = nld.landscape.minima(lambda z: (z**4 + z**2 / 2).sum(-1), torch.randn(9, 1))
    >>> nld.landscape.next_order(lambda z: (z**4 + z**2 / 2).sum(-1), wells, temperature=0.01).round(4).tolist()
    [-0.03]

    References
    ----------
    C. M. Bender, S. A. Orszag, Advanced Mathematical Methods for Scientists and Engineers, section 6.4.
    """
    energy, found = in_double(potential), []
    for centre in torch.as_tensor(wells["position"].values).double():
        value, vector = torch.linalg.eigh(hessian(energy, centre[None])[0] / temperature)
        width = vector / value.sqrt()  # columns: one thermal width along each axis of the well
        there = torch.cat([centre[None], centre + DIFFERENCE * width.T, centre - DIFFERENCE * width.T])
        bent = width.T @ (hessian(energy, there) / temperature) @ width
        up, down = bent[1:].chunk(2)
        third = (up - down) / (2 * DIFFERENCE)  # (k, i, j)
        fourth = (up + down - 2 * bent[0]).diagonal(dim1=-2, dim2=-1).sum() / DIFFERENCE**2
        trace = third.diagonal(dim1=-2, dim2=-1).sum(-1)
        found.append(float(-fourth / 8 + trace.square().sum() / 8 + third.square().sum() / 12))
    return np.clip(found, -LARGEST, LARGEST)


def _normalised(log_weight: np.ndarray) -> np.ndarray:
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()
