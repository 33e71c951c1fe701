"""The Pyro model: a latent Langevin path and an observation likelihood."""

from __future__ import annotations

from typing import Literal

import pyro
import torch
from jaxtyping import Float
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from torch import Tensor, nn
from torch.distributions import constraints

from .._typing import Series, Times
from ..dynamics.circles import circles_of
from ..dynamics.equations import Dynamics
from ..dynamics.integrators import Integrator, check_integrator, default_integrator
from ..dynamics.path_models import Batch, PathModel, Rows, check_name
from ..dynamics.paths import LangevinPath, refine
from ..dynamics.quantities import place_latents
from ..dynamics.stationary import StationaryLaw
from ..errors import Count, Positive, PriorError, ShapeError, Share, checked
from ..io.validation import Passed, check_channels, check_rows, check_times
from ..nn import Described, Module, draw_latents, versions
from .likelihoods import Likelihood
from .missing import filled, observed_law

FIRST_SUBSTEPS = 5  # the first number of substeps when it is "auto" …
MOST_SUBSTEPS = 50  # … and the last; where more are needed, the fit warns at its end
_passed = Passed()  # a likelihood and its data, which it would otherwise check at every step of a fit
STEPS_PER_UNIT = 10
"""The unit of time, in median observation intervals, when the model takes it from data (the paper's Δt = 0.1)."""


@checked
@PathModel.register  # from Python 3.12 on, a protocol looks for no attribute that a module keeps among its parts
class LatentLangevin(Described, Module):
    """z₀ ~ N(m, s²);  z ~ Langevin path;  x_i ~ likelihood(z at t_i): the joint density of paths and data.

    The first sites are the random quantities of dynamics and likelihood (`temperature`, `friction`, `mass`,
    `noise_scale`, weights of networks). In the plate `sequence` follow `z0 (state)`, `z (time, state)` on the fine grid
    without z₀, and `x (time, channel)`.

    Parameters
    ----------
    dynamics: prior of the path, overdamped or underdamped.
    likelihood: p(x | q).
    substeps: steps of the integrator per observation interval, ≥ 1. Every number of the landscape depends on it. "auto"
        is 5, and up to 50 where the landscape asks for more.
    time_unit: the unit of time of the dynamics, in the user's unit. When None, it is ten median observation intervals
        of the first data, so that the user's unit does not change the fit. Give 1.0 if the prior of temperature or
        friction is meant in the user's unit.
    start: law of z₀. "normal" is N(m, s²), with m and s learned. "equilibrium" is ∝ exp(−U/T), for sequences that were
        cut out of a stationary process: where they start then says how deep the wells are.
    integrator: when None, Euler–Maruyama for overdamped and leapfrog for underdamped dynamics.
    exposure: share of the interval before each observation over which the instrument averages, from 0 (it sees the
        position at a point of time) to 1 (a camera whose shutter never closes). The likelihood is then given the mean
        position, by the trapezoidal rule on the steps, which is exact for decoders that are straight. It takes a few
        substeps. The first observation has no interval before it and sees z₀.
    most_substeps: up to so many are taken in the course of `fit`, where curvature × step is above 0.2; when None, as
        many as are given.
    name: of the module, in front of the names of its parameters: two models in one store of Pyro need two names.

    Raises
    ------
    ShapeError: `substeps` is below 1, or decoder and dynamics have different numbers of axes.
    PriorError: a part of another kind, an unknown `start`, "equilibrium" without a landscape, or an integrator that
        does not suit the dynamics or cannot be steered.

    Examples
    --------
    The joint density of one sequence. Its path has 5 steps in each of 40 intervals.

    >>> import pyro
    >>> prior = nld.OverdampedLangevin(nld.DoubleWell(barrier=3.0), temperature=pyro.distributions.LogNormal(0.0, 0.5))
    >>> model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.1), substeps=5, time_unit=1.0)
    >>> trace = pyro.poutine.trace(model).get_trace(torch.linspace(0.0, 4.0, 41))
    >>> trace.stochastic_nodes
    ['temperature', 'sequence', 'z0', 'z', 'x']
    >>> trace.nodes["z"]["fn"].event_shape  # time, state
    torch.Size([200, 1])
    """

    def __init__(
        self,
        dynamics: Dynamics,
        likelihood: Likelihood,
        substeps: Count | Literal["auto"] = 5,
        time_unit: Positive | None = None,
        start: str = "normal",
        integrator: Integrator | None = None,
        name: str = "",
        exposure: Share = 0.0,
        most_substeps: Count | None = None,
    ) -> None:
        super().__init__(name)
        _check_parts(dynamics, likelihood)
        if likelihood.latent != dynamics.latent:
            raise ShapeError(
                f"decoder and dynamics need the same number of latent axes: got {likelihood.latent} and "
                f"{dynamics.latent}. Change one of them."
            )
        if start not in ("normal", "equilibrium"):
            raise PriorError(f'start must be "normal" or "equilibrium": got {start!r}.')
        if start == "equilibrium" and not hasattr(dynamics, "stationary_log_density"):
            raise PriorError(
                f'start="equilibrium" needs exp(−U/T): {type(dynamics).__name__} has no landscape. Use start="normal".'
            )
        if start == "equilibrium" and circles_of(dynamics.landscape):
            raise PriorError(
                'start="equilibrium" needs a density that can be normalised: on the line that covers a circle '
                'exp(−U/T) repeats for ever. Use start="normal".'
            )
        integrator = integrator or default_integrator(dynamics)
        check_integrator(integrator, dynamics)
        if not integrator.steerable:
            raise PriorError(
                f"{type(integrator).__name__} cannot carry a posterior: positions must follow from "
                "the noise alone. Use Leapfrog() for underdamped dynamics."
            )
        self.dynamics, self.likelihood = dynamics, likelihood
        dynamics.root = likelihood.root = name
        self.refines = substeps == "auto"
        self.substeps: int = FIRST_SUBSTEPS if substeps == "auto" else substeps
        self.most_substeps = MOST_SUBSTEPS if substeps == "auto" and most_substeps is None else most_substeps
        self.integrator, self.start, self.exposure = integrator, start, float(exposure)
        # The name of this part stands in the checkpoints of fits.
        self.equilibrium = StationaryLaw(dynamics.latent) if start == "equilibrium" else None
        if self.equilibrium is None:
            self.initial_loc = nn.Parameter(torch.zeros(dynamics.latent))
            self.initial_scale = PyroParam(torch.ones(dynamics.latent), constraints.positive)
        self.register_buffer("time_unit", torch.tensor(float("nan") if time_unit is None else float(time_unit)))
        self.register_buffer("adapted", torch.tensor(False))
        self.takes_time_unit = time_unit is None
        self._versions: list[tuple[int, int]] | None = None  # of the parameters when units were taken

    def _facts(self) -> dict[str, object]:
        known = not bool(self.time_unit.isnan())
        steps = f"{self.substeps} per observation interval" + ", more where the landscape asks for it" * (
            self.most_substeps is not None
        )
        return {
            "dynamics": self.dynamics,
            "likelihood": self.likelihood,
            "steps": f"= {steps}, {self.integrator!r}",
            "start": f"= {self.start}",
            **({"exposure": f"= {self.exposure:g} of the interval"} if self.exposure else {}),
            "time_unit": f"= {float(self.time_unit):.4g} of the data's" if known else "to be taken from the first data",
        }

    def adapt(self, times: Times, x: Series | None) -> None:
        """Check the data, and take the units of time and channels from the first; times alone change nothing."""
        if x is None:
            return
        if not _passed.holds(self.likelihood, x):
            self.likelihood.check(x)
            _passed.remember(self.likelihood, x)
        if bool(self.time_unit.isnan()):  # also where channels need no unit, as in published models
            self.time_unit.fill_(_unit(times))
        if bool(self.adapted):
            return
        self.likelihood.adapt(x)
        self.adapted.fill_(True)
        self._versions = versions(self)

    def forget_units(self) -> None:
        """Take the units anew from the next data, unless something was learned in the present ones."""
        if bool(self.adapted) and self._versions == versions(self):
            self.adapted.fill_(False)
            if self.takes_time_unit:
                self.time_unit.fill_(float("nan"))

    def features(self, x: Series) -> Float[Tensor, "sequence time feature"]:
        """What an encoder sees of data, NaN where missing: as the likelihood says."""
        return self.likelihood.features(x)

    def batch(self, times: Times, number: Tensor | None = None, size: int | None = None) -> Batch:
        """Intervals and fine grid of `times`, in units of the model; in those of `times` where it has met no data.

        Parameters
        ----------
        times: `(sequence, time)`. number: of these sequences, out of how many (`size`): all of them when None.
        """
        scaled = times / torch.where(self.time_unit.isnan(), _unit(times), self.time_unit)
        grid = refine(scaled, self.substeps)
        gaps = grid.h[..., :: self.substeps, 0] * self.substeps
        if times.dim() > 1:
            number = torch.arange(len(times)) if number is None else number
            drive = self.dynamics.drive(number, size or len(times), gaps.shape[-1])
            if drive is not None:
                grid = grid._replace(drive=drive.repeat_interleave(self.substeps, -2))
        return Batch(gaps, times.isfinite(), grid)

    def observed_positions(self, z0: Tensor, z: Tensor) -> Float[Tensor, "*batch time latent"]:
        """q at the observation times, taken from the path on the fine grid."""
        at_observations = torch.cat([z0.unsqueeze(-2), z[..., self.substeps - 1 :: self.substeps, :]], -2)
        return self.dynamics.position(at_observations)

    def seen_positions(self, z0: Tensor, z: Tensor) -> Float[Tensor, "*batch time latent"]:
        """What the likelihood is given at the observation times: q there, or its mean over the exposure before.

        Parameters
        ----------
        z0: where the path starts, `(*batch, state)`. z: the path on the fine grid, of any number of whole intervals.
        """
        averaged = self.exposure_steps
        if not averaged:
            return self.observed_positions(z0, z)
        fine = self.dynamics.position(torch.cat([z0.unsqueeze(-2), z], -2))
        middle = (fine[..., 1:, :] + fine[..., :-1, :]) / 2  # of every step
        each = middle.unflatten(-2, (-1, self.substeps))[..., -averaged:, :]
        return torch.cat([fine[..., :1, :], each.mean(-2)], -2)

    @property
    def exposure_steps(self) -> int:
        """Steps of the integrator over which an observation averages; at least one where there is an exposure."""
        return max(1, round(self.exposure * self.substeps)) if self.exposure > 0 else 0

    def initial(self) -> TorchDistributionMixin:
        """p(z₀), event `(state,)`: the position by `start`, and the momentum from N(0, M T)."""
        if self.equilibrium is not None:
            return self.equilibrium.distribution(self.dynamics)
        thermal = self.dynamics.thermal_scale()
        loc = nn.functional.pad(self.initial_loc, (0, thermal.shape[-1]))
        scale = torch.cat([self.initial_scale.expand(*thermal.shape[:-1], -1), thermal], -1)
        return dist.Normal(loc, scale).to_event(1)

    def forward(
        self,
        times: Times,
        x: Series | None = None,
        subsample_size: int | None = None,
        subsample: Tensor | None = None,
        size: int | None = None,
    ) -> Tensor:
        """Run the generative model: draw all sites, or score the data `x`.

        Parameters
        ----------
        times: `(time,)` or `(sequence, time)`, user's unit; NaN after the end of a ragged sequence.
        x: `(sequence, time, channel)`, NaN where missing. When None, x is drawn: one sequence for times `(time,)`.
        subsample_size: sequences in a random batch of the plate; all when None.
        subsample, size: a batch of one's own, as from a `DataLoader`: its numbers, and of how many; see `Rows`.

        Raises
        ------
        TimeGridError, ShapeError, DataError: see `check_series`. FitError: the program holds another model of its name.
        """
        check_name(self)
        times, x = (torch.atleast_2d(check_times(times)), None) if x is None else check_rows(times, x)
        if x is not None:
            check_channels(x, self.likelihood.channels, "decoder")
        rows = Rows(subsample_size, subsample, size)
        self.adapt(times, x)
        latents = draw_latents(self)
        with rows.plate(len(times)) as number:
            index = rows.of(len(times), number)
            latents = place_latents(self, latents, number, size or len(times))
            _, valid, grid = self.batch(times[index], number, size or len(times))
            z0 = pyro.sample("z0", self.initial(), infer={"event_dims": ["latent"]})
            _check_sequences("z0", z0.shape[-2], index)
            path = LangevinPath(self.dynamics, self.integrator, z0, grid, latents)
            z = pyro.sample("z", path, infer={"event_dims": ["time", "latent"]})
            noise = self.likelihood(self.seen_positions(z0, z))
            observed = valid.unsqueeze(-1) if x is None else x[index].isfinite()
            law = observed_law(noise, observed)
            data = None if x is None else filled(x[index], noise)
            x = pyro.sample("x", law, obs=data, infer={"event_dims": ["time", "channel"]})
            _check_sequences("x", x.shape[-3], index)
            return x


def _check_sequences(site: str, found: int, index: Tensor) -> None:
    if found != len(index):
        raise ShapeError(
            f"the values given for {site} are {found} sequences, but the times those of {len(index)}. Give every "
            f"sequence its row of times: times.expand({found}, -1)."
        )


def _unit(times: Times) -> Tensor:
    return STEPS_PER_UNIT * times.diff().nanmedian()


def _check_parts(dynamics: object, likelihood: object) -> None:
    for name, part, kind, remedy in (
        ("dynamics", dynamics, Dynamics, "nld.OverdampedLangevin(potential)"),
        ("likelihood", likelihood, Likelihood, "nld.Gaussian(decoder)"),
    ):
        if not isinstance(part, kind):
            raise PriorError(f"{name} must be a {kind.__name__}: got {type(part).__name__}. Give for example {remedy}.")
