"""The control of paths on circles: it pulls towards an angle, whichever image of it is near.

A spring towards a point of the line that covers a circle would tear: data at angles of π − ε and ε − π are neighbours,
and their targets would lie a turn apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ..dynamics.circles import Circles, circles_of
from ..dynamics.equations import Dynamics
from ..dynamics.paths import ControlledPath, Forces, Path, Plan, run_cheaply
from ..errors import Count, PriorError, checked
from .controls import Contexts, Control, both_ends


@checked
class CircularControl(Control):
    """F_t(q, p) = Λ_t R (b_t cos q/R − a_t sin q/R) − N_t p on a circle of radius R; Λ_t (m_t − q) − N_t p on a line.

    The direction (a, b), in the unit disc, is where the data point to, and Λ says how strongly. Every substep has its
    own, and its own noise, as in `AffineControl`; here the axes do not act on each other, and a path is drawn step by
    step, without a network in the loop. It is the control of an `AmortizedGuide` where the landscape has `periods`.

    Parameters
    ----------
    hidden: width of the hidden layer between contexts and control.

    Raises
    ------
    PriorError: when it is prepared for dynamics whose landscape has no circle, or whose noise depends on the position.

    Examples
    --------
    The same pull at an angle and one turn further:

    >>> class Cosine(nld.Potential):
    ...     latent, periods = 1, (2 * np.pi,)
    ...     def forward(self, z):
    ...         return -torch.cos(z).sum(-1)
    >>> control, prior = nld.CircularControl(hidden=8), nld.OverdampedLangevin(Cosine())
    >>> control.prepare(context=4, dynamics=prior, substeps=1)
    >>> plan = control.plan(contexts=torch.randn(1, 2, 4), gaps=torch.full((1, 1), 0.1))
    >>> grid = nld.dynamics.paths.refine(torch.tensor([0.0, 0.1]), substeps=1)
    >>> path = nld.ControlledPath(prior, nld.EulerMaruyama(), torch.zeros(1, 1), grid, plan)
    >>> here = torch.tensor([[[0.5]]])
    >>> bool(torch.isclose(path.force(here), path.force(here + 2 * np.pi), atol=1e-5))
    True
    """

    def __init__(self, hidden: Count = 64) -> None:
        super().__init__()
        self.hidden = hidden

    def prepare(self, context: int, dynamics: Dynamics, substeps: int) -> None:
        """Create the network, which maps two contexts to all substeps of the interval between them."""
        circles = circles_of(dynamics.landscape)
        if circles is None or not dynamics.additive_noise:
            raise PriorError(
                "CircularControl needs a landscape with `periods`, and the same noise everywhere: got "
                f"{type(dynamics).__name__}. Use {'AffineControl' if dynamics.additive_noise else 'NeuralControl'}()."
            )
        self.circles, self.substeps = circles, substeps
        self.latent, self.parts = dynamics.latent, dynamics.state // dynamics.latent
        self.network = nn.Sequential(nn.Linear(2 * context + 1, self.hidden), nn.Tanh(), self._last(substeps))

    def refine(self, substeps: int) -> None:
        """Split every step: the parts keep its direction, and have gains and noise in proportion."""
        old = cast(nn.Linear, self.network[-1])
        new = self._last(substeps).to(old.weight)
        source = torch.arange(substeps) * self.substeps // substeps
        finer = math.log(substeps / self.substeps)
        shift = old.bias.new_tensor([0.0, 0.0, finer, -self.parts * finer, *(self.parts - 1) * [-finer]])
        with torch.no_grad():
            new.weight.copy_(old.weight.unflatten(0, (self.substeps, -1))[source].flatten(0, 1))
            bias = old.bias.unflatten(0, (self.substeps, -1))[source] + shift.repeat_interleave(self.latent)
            new.bias.copy_(bias.flatten())
        self.substeps = substeps
        self.network[-1] = new

    def _last(self, substeps: int) -> nn.Linear:
        return nn.Linear(self.hidden, substeps * self.latent * (3 + self.parts))

    def plan(self, contexts: Contexts, gaps: Float[Tensor, "*batch interval"]) -> Plan:
        """Directions, gains and noise, for all substeps of all intervals at once."""
        fields = self.network(both_ends(contexts, gaps)).unflatten(-1, (self.substeps, -1)).flatten(-3, -2)
        first, second, noise, gain, *drags = fields.split(self.latent, -1)
        shrink = (1 + first.square() + second.square()).rsqrt()  # a direction that data leave open has length 0
        turned, straight = self.circles.round, self.circles.straight
        target = _Target(
            first[..., turned] * shrink[..., turned], second[..., turned] * shrink[..., turned], first[..., straight]
        )
        gains = [logsigmoid(part - 1).exp() for part in (gain, *drags)]
        return _CircularPlan(self.circles, target, gains, torch.sigmoid(noise + 3))


class _Target(NamedTuple):
    """Directions (a, b) on circles, `(*batch, time, circle)`, and places m on lines, `(*batch, time, line)`."""

    cosine: Tensor
    sine: Tensor
    place: Tensor


class _CircularPlan:
    def __init__(self, circles: Circles, target: _Target, gains: list[Tensor], ratio: Tensor) -> None:
        self.circles, self.target, self.gains, self.ratio = circles, target, gains, ratio
        self.mixing: Tensor | None = None
        order = torch.tensor([*circles.round, *circles.straight])
        self.order = order.argsort().to(ratio.device)

    def force(self, path: ControlledPath, origins: Path) -> Tensor:
        return self._force(path, origins, self.target, self._units(path))

    def draw(self, path: ControlledPath, noise: Tensor) -> tuple[Path, Forces | None]:
        units = self._units(path)
        parts = [*self.target, *units]
        steps = zip(*(part.expand(*part.shape[:-2], noise.shape[-2], -1).split(1, -2) for part in parts), strict=True)

        def force(state: Tensor) -> Tensor:
            cosine, sine, place, *now = next(steps)
            return self._force(path, state, _Target(cosine, sine, place), now)

        return run_cheaply(path, force, noise), None

    def at(self, index: Tensor) -> Plan:
        target = _Target(*(part[..., index, :] for part in self.target))
        gains = [gain[..., index, :] for gain in self.gains]
        return _CircularPlan(self.circles, target, gains, self.ratio[..., index, :])

    def _units(self, path: ControlledPath) -> list[Tensor]:
        """Λ and N: shares of what one step would cover, in the units of force per length and per momentum."""
        spring, *drags = self.gains
        stiffness = spring * path.integrator.unit_stiffness(path.dynamics, path.grid.h)
        return [stiffness, *(drag / path.grid.h for drag in drags)]

    def _force(self, path: ControlledPath, state: Tensor, target: _Target, units: list[Tensor]) -> Tensor:
        position, *momenta = state.split(path.dynamics.latent, -1)
        radius = self.circles.radius(position)
        turn = position[..., self.circles.round] / radius
        around = radius * (target.sine * turn.cos() - target.cosine * turn.sin())
        away = torch.cat([around, target.place - position[..., self.circles.straight]], -1)[..., self.order]
        force = units[0] * away
        for drag, momentum in zip(units[1:], momenta, strict=True):
            force = force - drag * momentum
        return force
