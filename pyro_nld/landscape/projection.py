"""The plane on which a landscape is looked at: principal axes, there and back."""

from __future__ import annotations

import numpy as np
import xarray as xr
from torch import Tensor


def plane(points: Tensor, wells: xr.Dataset | None = None, axes: int = 2) -> xr.Dataset:
    """The plane (or space) to look at: principal axes of the minima, as many as they span, then those of the points.

    Minima that span less than a plane are left out: what matters then is how the points spread.

    Parameters
    ----------
    points: `(point, latent)`. wells: from `minima`. axes: how many; fewer where the latent space has fewer.

    Returns
    -------
    `origin (latent)`, `axes (axis, latent)`, orthonormal; where there is one latent axis, that axis itself.
    """
    if points.shape[-1] == 1:
        return xr.Dataset({"origin": ("latent", np.zeros(1)), "axes": (("axis", "latent"), np.eye(1))})
    cloud = points.detach().double().reshape(-1, points.shape[-1]).numpy()
    centres = cloud[:0] if wells is None else wells["position"].values
    span = _principal(centres) if len(centres) > 2 else cloud[:0]
    if len(span) < 2:
        origin, span = cloud.mean(0), cloud[:0]
    else:
        origin, span = centres.mean(0), span[:axes]
    rest = (cloud - origin) - (cloud - origin) @ span.T @ span
    span = np.concatenate([span, _principal(rest, 0.0)[: axes - len(span)]])
    return xr.Dataset({"origin": ("latent", origin), "axes": (("axis", "latent"), span)})


def _principal(points: np.ndarray, least: float = 1e-3) -> np.ndarray:
    """Principal axes `(axis, latent)`, widest first, without those narrower than `least` of the widest."""
    _, width, axes = np.linalg.svd(points - points.mean(0), full_matrices=False)
    return axes[width > least * width[0]]


def project(view: xr.Dataset, points: Tensor | np.ndarray) -> np.ndarray:
    """Coordinates `(*batch, axis)` of points `(*batch, latent)` on a plane."""
    return (np.asarray(points, float) - view["origin"].values) @ view["axes"].values.T


def lift(view: xr.Dataset, coordinates: np.ndarray) -> np.ndarray:
    """Points `(*batch, latent)` of coordinates `(*batch, axis)` on a plane."""
    return view["origin"].values + coordinates @ view["axes"].values
