"""Observed series from a known landscape: any potential, over- or underdamped, with true states and occupancies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.quasirandom import SobolEngine

from .. import landscape
from .._typing import Numbers, Points
from ..dynamics.circles import circles_of
from ..dynamics.equations import Dynamics, OverdampedLangevin, UnderdampedLangevin
from ..dynamics.integrators import default_integrator
from ..dynamics.paths import LangevinPath, refine
from ..dynamics.potentials import Potential
from ..errors import PriorError, ShapeError
from ..io.series import from_arrays
from ..io.validation import check_times
from ..landscape.rest import STARTS
from .switching import PARAMETER_STREAM

QUADRATURE_NODES = 2**17
LEAST_EFFECTIVE_NODES = 500  # that must lie in the wells
LARGEST_CURVATURE_STEP = 0.04  # below it a simulated well is as wide as exp(−U/T), within 1 %


def langevin_wells(
    potential: Potential,
    sequences: int = 200,
    steps: int = 200,
    seed: int = 0,
    *,
    interval: Numbers = 0.1,
    temperature: float = 1.0,
    friction: float = 1.0,
    mass: float | None = None,
    initial: Numbers | Tensor | None = None,
    channels: int | None = None,
    decoder: Callable[[Tensor], Tensor] | None = None,
    noise: float = 0.1,
    parameter_seed: int = 0,
    box: tuple[Numbers, Numbers] = (-4.0, 4.0),
    fine: int | None = None,
) -> xr.Dataset:
    """dq = −γ⁻¹∇U dt + √(2T/γ) dW (with a mass: dq = p/M dt, dp = …), observed as x = decoder(q) + noise·ξ.

    Parameters
    ----------
    potential: U, any potential of a few axes.
    sequences: number of sequences.
    steps: number of observations in each.
    seed: of starts, paths and noise.
    interval: time between observations, one number or one for each of the `steps - 1` intervals.
    temperature: T. friction: γ. mass: M; overdamped when None.
    initial: positions to start from, `(latent,)` or `(sequence, latent)`; drawn from equilibrium when None.
    channels: observe A q, A `(channel, latent)` standard normal from `parameter_seed`; q itself when None.
    decoder: observe this function of q instead, `(*batch, latent)` to `(*batch, channel)`.
    noise: standard deviation in each channel, ≥ 0, in its unit.
    box: lowest and highest position, a number or one per axis; quadrature and the search for wells run in it. On an
        axis that is a circle they run around it.
    fine: steps of the integrator per interval; when None, as many as the stiffest well requires.

    Returns
    -------
    Dataset with `states`, the basin of each position, numbered by decreasing occupancy, and the truths path(sequence,
    time, latent), minima(state, latent), occupancy(state) (by quadrature of exp(−U/T)), temperature, friction, noise;
    mass and map(channel, latent) where there are any.

    Raises
    ------
    PriorError: a quantity is impossible, or the box cuts wells off or is far too wide for them. ShapeError,
    TimeGridError: counts, start or intervals do not fit together.

    Not checked: that `fine`, when given, is fine enough.

    Examples
    --------
    >>> data = nld.datasets.langevin_wells(nld.Quadratic([4.0]), sequences=1000, steps=2, temperature=1.0)
    >>> data.sizes["state"], round(float(data["path"].var()), 2)  # one well, with the variance T/k
    (1, 0.25)
    """
    times = _times(interval, sequences, steps)
    if not noise >= 0:
        raise PriorError(f"noise must be zero or positive: got {noise}. Give a standard deviation.")
    dynamics: Dynamics = OverdampedLangevin(potential, temperature, friction)
    if mass is not None:
        dynamics = UnderdampedLangevin(potential, temperature, friction, mass)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        law = _quadrature(potential, temperature, box)
        wells = landscape.minima(potential, law.draw(STARTS), temperature=temperature)
        start = law.draw(sequences) if initial is None else _start(initial, sequences, potential.latent)
        path = _walk(dynamics, start, times, fine or _resolving(dynamics, wells, times))
        decode, parameters = _decoder(potential.latent, channels, decoder, parameter_seed)
        means = decode(path)
        x = means + noise * torch.randn_like(means)
    states, occupancy, number = _numbered(landscape.basins(potential, wells, path), law.shares(potential, wells))
    truths: dict[str, object] = {
        "path": (("sequence", "time", "latent"), path.numpy()),
        "minima": (("state", "latent"), wells["position"].values[number]),
        "occupancy": ("state", occupancy),
    }
    physics = {"temperature": temperature, "friction": friction, "mass": mass, "noise": noise}
    truths |= parameters | {name: float(value) for name, value in physics.items() if value is not None}
    description = "Langevin dynamics in a known landscape, observed with Gaussian noise"
    return from_arrays(times, x, states).assign(truths).assign_attrs(description=description, seed=seed)


class _Quadrature(NamedTuple):
    """exp(−U/T) on the nodes of a quadrature: `points (node, latent)` and their normalised `weight`."""

    points: Points
    weight: Tensor

    def draw(self, count: int) -> Points:
        """Nodes by weight: draws from exp(−U/T), for the nodes are much closer to each other than a well is wide."""
        return self.points[torch.multinomial(self.weight, count, replacement=True)]

    def shares(self, potential: Potential, wells: xr.Dataset) -> Tensor:
        """∫ exp(−U/T) over the basin of each state, normalised."""
        matter = self.weight > 1e-9 * self.weight.max()
        label, weight = landscape.basins(potential, wells, self.points[matter]), self.weight[matter]
        shares = torch.stack([weight[label == state].sum() for state in range(wells.sizes["state"])])
        return shares / shares.sum()


def _quadrature(potential: Potential, temperature: float, box: tuple[Numbers, Numbers]) -> _Quadrature:
    low, high = (torch.as_tensor(np.broadcast_to(edge, potential.latent).astype(float)).float() for edge in box)
    circles = circles_of(potential)
    lines = torch.ones_like(low, dtype=torch.bool)
    if circles:
        lines[circles.round], half = False, torch.pi * circles.radius(low)
        low[circles.round], high[circles.round] = -half, half
    if not bool((low < high).all()):
        raise PriorError(f"box must be a lowest and a highest position: got {box}. Swap them.")
    unit = SobolEngine(potential.latent, scramble=True, seed=0).draw(QUADRATURE_NODES)
    points = (low + (high - low) * unit).to(torch.get_default_dtype())
    weight = torch.softmax(-potential(points).double() / temperature, 0)
    edge = float(weight[((unit - 0.5).abs()[:, lines] > 0.49).any(-1)].sum())
    if edge > 1e-3:
        raise PriorError(f"box must hold the wells: got {box}, with {edge:.1%} of exp(−U/T) at its edge. Widen it.")
    effective = float(1 / weight.square().sum())
    if effective < LEAST_EFFECTIVE_NODES:
        filled = effective / QUADRATURE_NODES
        raise PriorError(f"box must fit the wells: got {box}, of which they fill {filled:.2%}. Narrow it.")
    return _Quadrature(points, weight)


def _times(interval: Numbers, sequences: int, steps: int) -> Tensor:
    if sequences < 1:
        raise ShapeError(f"a data set needs a sequence or more: got {sequences}. Ask for more.")
    if steps < 2 or np.shape(interval) not in ((), (steps - 1,)):
        raise ShapeError(
            f"interval must be a number or one per interval of 2 steps or more: got shape {np.shape(interval)} for "
            f"{steps} steps. Count it."
        )
    times = np.concatenate([[0.0], np.broadcast_to(np.asarray(interval, float), (steps - 1,)).cumsum()])
    return check_times(torch.as_tensor(times, dtype=torch.float64))


def _start(initial: Numbers | Tensor, sequences: int, latent: int) -> Points:
    start = torch.as_tensor(initial, dtype=torch.get_default_dtype())
    if start.shape not in ((latent,), (sequences, latent)):
        raise ShapeError(
            f"initial must be ({latent},) or ({sequences}, {latent}): got {tuple(start.shape)}. Give one position, or "
            "one per sequence."
        )
    return start.expand(sequences, latent)


def _resolving(dynamics: Dynamics, wells: xr.Dataset, times: Tensor) -> int:
    """Steps per interval, a power of 2, at which curvature × step is small in every well."""
    stiffest, gap = float(wells["curvature"].max()), times.diff().max().to(torch.get_default_dtype())
    fine, scheme = 1, default_integrator(dynamics)
    while bool((stiffest > LARGEST_CURVATURE_STEP * scheme.unit_stiffness(dynamics, gap / fine)).any()):
        fine *= 2
    return fine


def _walk(dynamics: Dynamics, start: Points, times: Tensor, fine: int) -> Tensor:
    """Positions at the observation times; the fine path is dropped after every interval."""
    thermal = dynamics.thermal_scale()
    momentum = thermal * torch.randn(len(start), thermal.shape[-1], dtype=start.dtype)
    states = [torch.cat([start, momentum], -1)]
    for gap in times.to(start.dtype).diff():
        grid = refine(torch.stack([torch.zeros_like(gap), gap]), fine)
        states.append(LangevinPath(dynamics, default_integrator(dynamics), states[-1], grid).sample()[..., -1, :])
    return dynamics.position(torch.stack(states, -2))


def _decoder(
    latent: int, channels: int | None, decoder: Callable[[Tensor], Tensor] | None, seed: int
) -> tuple[Callable[[Tensor], Tensor], dict[str, tuple]]:
    """The decoder of positions, and the parameters of it that are truths of the data."""
    if decoder is not None or channels is None:
        return decoder or (lambda q: q), {}
    matrix = np.random.default_rng((PARAMETER_STREAM, seed)).standard_normal((channels, latent))
    columns = torch.as_tensor(matrix, dtype=torch.get_default_dtype())
    return lambda q: q @ columns.mT, {"map": (("channel", "latent"), matrix)}


def _numbered(labels: Tensor, shares: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, occupancies and the order of the wells, by decreasing occupancy."""
    order = shares.argsort(descending=True, stable=True)
    rank = order.argsort()
    return torch.where(labels < 0, -1, rank[labels]).numpy(), shares[order].numpy(), order.numpy()
