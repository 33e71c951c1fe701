"""Occupancies by sampling exp(−U/T), and whether the chains behind them have mixed."""

from __future__ import annotations

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from . import landscape, samplers
from .inference_data import convergence
from .potentials import Energy, hessian, in_double


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
    `occupancy_sampled`, `occupancy_rhat` and `occupancy_ess (state)`.

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
            "occupancy_rhat": ("state", mixing["rhat"].values),
            "occupancy_ess": ("state", mixing["ess"].values),
        }
    )


def equilibrium(
    potential: Energy, wells: xr.Dataset, starts: Float[Tensor, "chain latent"], temperature: float, seed: int = 0
) -> tuple[Float[Tensor, "chain draw latent"], Int[Tensor, "chain draw"]]:
    """Draws of exp(−U/T), and the basin that each is in; arguments as for `sampled`."""
    minima = torch.as_tensor(wells["dent_position"].values)
    wide = temperature * torch.linalg.inv(hessian(in_double(potential), minima))
    jumps = samplers.Mixture(torch.ones(len(minima)), minima, wide)
    drawn = samplers.mala(potential, starts, temperature=temperature, jumps=jumps, seed=seed)
    points = torch.as_tensor(drawn["position"].values).to(starts)
    return points, landscape.basins(potential, wells, points)
