"""Whether the integrator's step is fine enough for the stiffest minimum."""

from __future__ import annotations

import copy
import warnings
from bisect import bisect_left

import torch
import xarray as xr

from ..dynamics.equations import Dynamics
from ..dynamics.integrators import Integrator
from ..errors import DoubtfulFitWarning

LIMIT = 0.2  # largest curvature × step at which chain and landscape agree within about 10 %
MOST_SUBSTEPS = 1000  # looked for when there are too few


def discretisation(
    dynamics: Dynamics, integrator: Integrator, wells: xr.Dataset, step: float, substeps: int = 1
) -> dict[str, float | int]:
    """The stiffest minimum against the integrator: κ, the largest eigenvalue of ∇²U/k₀(h), `coarse_stiffness`.

    Where the force is no gradient, −∂F/∂q stands for ∇²U, and the modulus of its eigenvalues counts.

    Of a scheme that is exact at a stiffness s, what is beyond s counts. For Euler steps κ is curvature × step, the
    largest eigenvalue of ∇²U/γ times h. A well of the chain has variance T/(k (1 − κ/2)), not the T/k that exp(−U/T)
    claims; at κ = 2 the chain explodes.

    Parameters
    ----------
    dynamics: with fixed quantities. integrator: that of the chain. wells: from `minima`, or `attractors.rest_points`.
    step: h, model's unit of time. substeps: those that gave h.

    Returns
    -------
    `max_curvature_step`, κ; `ok` (1 if κ ≤ 0.2, else 0); `substeps_needed`, the fewest with κ ≤ 0.2 (at most 1000).

    Warns
    -----
    DoubtfulFitWarning: above 0.2.
    """
    curvature = copy.deepcopy(dynamics).double().stiffness(torch.as_tensor(wells["position"].values))
    curvature = curvature - torch.diag(curvature.new_tensor(integrator.stiffness).expand(curvature.shape[-1]))

    def coarseness(count: int) -> float:
        h = torch.full((1,), step * substeps / count, dtype=torch.float64)
        root = integrator.coarse_stiffness(dynamics, h).detach().double().rsqrt().expand(curvature.shape[-1])
        return float(torch.linalg.eigvals(root.unsqueeze(-1) * curvature * root).abs().max())

    largest = coarseness(substeps)
    finer = range(substeps, max(substeps, MOST_SUBSTEPS) + 1)
    needed = bisect_left(finer, -LIMIT, key=lambda count: -coarseness(count)) + substeps
    if largest > LIMIT:
        warnings.warn(
            f"curvature × step is {largest:.3f} at the stiffest minimum, above {LIMIT}: chain and landscape "
            f"disagree there. Use substeps={needed}, or read occupancies as approximate.",
            DoubtfulFitWarning,
            stacklevel=3,
        )
    return {"max_curvature_step": largest, "ok": int(largest <= LIMIT), "substeps_needed": needed}
