"""Simulation of any dynamics with the solvers and Brownian paths of torchsde: an independent check of `integrators`.

Examples
--------
Positions in a harmonic well of stiffness 4, long after a start at the bottom, have the variance T/k = 0.25.

>>> prior = nld.OverdampedLangevin(nld.Quadratic([4.0]), temperature=1.0)
>>> z = nld.simulation.simulate(prior, torch.zeros(2000, 1), torch.tensor([0.0, 1.0]), dt=0.02, seed=0)
>>> z.shape  # path, time, state
torch.Size([2000, 2, 1])
>>> round(z[:, -1].var().item(), 2)  # of 2000 paths, hence ± 0.01
0.24
"""

from __future__ import annotations

import torch
import torchsde
from jaxtyping import Float
from torch import Tensor

from ..errors import PriorError, ShapeError, TimeGridError
from .equations import Dynamics


class _AsSDE:
    """A dynamics in the form that torchsde expects: Itô, diagonal noise, states `(batch, state)`."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, dynamics: Dynamics) -> None:
        self.dynamics = dynamics

    def f(self, t: Tensor, z: Tensor) -> Tensor:
        return self.dynamics.drift(z.unsqueeze(-2)).squeeze(-2)

    def g(self, t: Tensor, z: Tensor) -> Tensor:
        return self.dynamics.diffusion(z.unsqueeze(-2)).squeeze(-2)


def simulate(
    dynamics: Dynamics,
    initial: Float[Tensor, "path state"],
    times: Float[Tensor, " time"],
    dt: float,
    method: str = "srk",
    seed: int = 0,
) -> Float[Tensor, "path time state"]:
    """dz = drift(z) dt + diffusion(z) dW, solved from `initial` on: the states at `times`.

    Parameters
    ----------
    dynamics: overdamped or underdamped. Its quantities are fixed or learned, not random.
    initial: z at the first time, `(path, state)`.
    times: increasing, `(time,)`, in the dynamics' unit.
    dt: step of the solver, > 0; it need not divide the intervals.
    method: a solver of torchsde for Itô equations with diagonal noise: `euler`, `milstein`, `srk` (strong order 1.5).
    seed: of the Brownian paths.

    Raises
    ------
    PriorError: a quantity or weight of the dynamics is random.
    ShapeError: `initial` does not have the dynamics' number of state axes.
    TimeGridError: times do not increase, or dt is not positive.

    References
    ----------
    X. Li et al., Scalable gradients for stochastic differential equations, AISTATS 2020 (torchsde).
    """
    _require_numbers(dynamics)
    if initial.shape[-1] != dynamics.state:
        raise ShapeError(
            f"initial states need {dynamics.state} axes: got {initial.shape[-1]}. Underdamped states are (q, p)."
        )
    if not bool((times.diff() > 0).all()) or dt <= 0:
        raise TimeGridError(f"times must increase and dt be positive: got dt = {dt}. Sort the times.")
    noise = torchsde.BrownianInterval(
        t0=times[0], t1=times[-1], size=initial.shape, dtype=initial.dtype, device=initial.device, entropy=seed,
        levy_area_approximation="space-time",
    )  # fmt: skip
    with torch.no_grad():
        path = torchsde.sdeint(_AsSDE(dynamics), initial, times, bm=noise, method=method, dt=dt)
    return path.transpose(0, 1)


def _require_numbers(dynamics: Dynamics) -> None:
    # A random quantity would be drawn anew at every evaluation of the drift.
    for part in dynamics.modules():
        for name in getattr(part, "_pyro_samples", ()):
            raise PriorError(
                f"a simulation needs numbers: {name} is random. Assign one, for example dynamics.{name} = 1.0."
            )
