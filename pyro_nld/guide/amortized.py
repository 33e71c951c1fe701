"""The Pyro guide: encoder, initial state, controlled posterior path, and an autoguide for every other latent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer.autoguide import AutoGuide, AutoNormal, init_to_median
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import register_kl
from torch.nn.functional import softplus

from .._typing import Series, Times
from ..dynamics.circles import circles_of
from ..dynamics.path_models import PathModel, Rows, check_name
from ..dynamics.paths import ControlledPath, PathDistribution
from ..dynamics.quantities import place_latents
from ..errors import DataError, FitError, ShapeError
from ..io.validation import check_channels, check_rows, check_times
from ..nn import Described, Module, group_count, random_attributes, random_parts, random_sites, versions
from .circular import CircularControl
from .controls import AffineControl, Control
from .encoders import Encoder

PATH_SITES = ["z0", "z", "x", "sequence"]


class _Point(dist.Delta):
    """A point with a density, which counts in its KL."""


@register_kl(_Point, dist.Distribution)
def _kl_point(posterior: _Point, prior: dist.Distribution) -> Tensor:
    """log q(v) − log p(v) at the point v.

    The KL that Pyro 1.9 has for a `Delta` leaves out log q, in which its autoguides put the Jacobian of a constrained
    site. A loss that uses it (`TraceMeanField_ELBO`) would be wrong by E[log |dv/du|]. NumPyro mended the same in 2023
    (#1625). The KL of `Delta` itself is left alone, because it belongs to every model of the process.
    """
    return posterior.log_density - prior.log_prob(posterior.v)


class _Points(Messenger):
    """Makes a `_Point` of every `Delta` that an autoguide draws from."""

    def _pyro_sample(self, msg: dict) -> None:
        law = msg["fn"]
        if type(law) is dist.Delta:
            msg["fn"] = _Point(law.v, law.log_density, law.event_dim)


class _Still(Messenger):
    """Leaves a path where it begins. The random numbers that it would have taken are drawn."""

    def _pyro_sample(self, msg: dict) -> None:
        law = msg["fn"]
        if isinstance(law, PathDistribution) and msg["value"] is None:
            shape = law.shape()
            torch.randn(*shape[:-1], law.dynamics.latent, dtype=law.initial.dtype, device=law.initial.device)
            msg["value"] = law.initial.unsqueeze(-2).expand(shape)


def of_globals(model: PathModel) -> Callable[..., object]:
    """The model with the sites of its paths hidden: what is left are the quantities that all sequences share.

    Their prior needs no path, and the simulation of one, step by step, would be most of the cost.
    """
    return poutine.block(_Still()(model), hide=PATH_SITES)


class AmortizedGuide(Described, Module):
    """q(globals) · q(z₀ | c₀) · q(path | z₀, contexts): the variational posterior, amortised over sequences.

    The posterior path has the noise of the prior, with T, γ and M as they were drawn, and a force that a control
    chooses. All latent sites of the model beside the path get their posterior from `autoguide`, also when a prior is
    changed later.

    Parameters
    ----------
    model: the model whose posterior this is.
    encoder: maps data to contexts; causal or two-sided.
    control: maps contexts to the force on the path; when None, `AffineControl()`, or `CircularControl()` where an axis
        is a circle.
    autoguide: makes the guide of all other latent sites, given the model with its path sites hidden. When None, an
        `AutoNormal` that begins at the median of each prior of one number, and not at 1 as Pyro's does where a quantity
        is positive: from there to a friction of .02 is a long way.
    name: of the module, as for the model.

    Raises
    ------
    FitError: a handler of Pyro is wrapped around the model. ShapeError: the encoder is no encoder.

    Examples
    --------
    One draw of the posterior path of each of four sequences: 19 intervals of 5 steps.

    >>> import pyro
    >>> heat = pyro.distributions.LogNormal(0.0, 0.5)
    >>> prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=1), temperature=heat)
    >>> model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1)), substeps=5)
    >>> guide = nld.AmortizedGuide(model, nld.GRUEncoder(channels=1))
    >>> times, x = nld.as_tensors(nld.datasets.ornstein_uhlenbeck(sequences=4, steps=20))
    >>> trace = pyro.poutine.trace(guide).get_trace(times, x)
    >>> trace.nodes["z"]["value"].shape
    torch.Size([4, 95, 1])
    >>> "temperature" in trace.nodes  # from the autoguide
    True
    """

    def __init__(
        self,
        model: PathModel,
        encoder: Encoder,
        control: Control | None = None,
        autoguide: Callable[[Callable[..., object]], AutoGuide] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(name)
        if not isinstance(model, PathModel):
            raise FitError(
                f"a guide is made of the model itself: expected a LatentLangevin, got {type(model).__name__}. Give the "
                "bare model here; put poutine.mask, scale or condition around it where both meet, in SVI."
            )
        if not isinstance(encoder, Encoder):
            raise ShapeError(
                f"the encoder must be an Encoder: got {type(encoder).__name__}. "
                "Give for example nld.GRUEncoder(channels)."
            )
        self._model = (model,)  # in a tuple, because the model's parameters are not the guide's
        self.encoder = encoder
        self._circles = circles_of(model.dynamics.landscape)
        usual = AffineControl if self._circles is None else CircularControl
        self.control = usual() if control is None else control
        self.control.prepare(encoder.size, model.dynamics, model.substeps)
        turned = len(self._circles.round) if self._circles else 0
        self.initial: nn.Module = nn.Linear(encoder.size, 2 * model.dynamics.state + turned)
        self._autoguide, self._random = autoguide, random_attributes(model)
        self._sites: list[str] | None = None  # of the random attributes, known after the first call
        self.others = self._of_others()
        self.register_buffer("adapted", torch.tensor(False))
        self._versions: list[tuple[int, int]] | None = None  # of the parameters when units were taken

    def _facts(self) -> dict[str, object]:
        sites = ", ".join(path.rpartition(".")[2] for path in random_attributes(self.model)) or "nothing else"
        return super()._facts() | {"autoguide": f"= {type(self.others).__name__} of {sites}"}

    @property
    def model(self) -> PathModel:
        """The model whose posterior this is."""
        return self._model[0]

    def adapt(self, times: Times, x: Series) -> None:
        """Take the units from the first data, for the model too."""
        self.model.adapt(times, x)
        if not bool(self.adapted):
            self.encoder.adapt(self.model.features(x))
            self.adapted.fill_(True)
            self._versions = self._own_versions()

    def take_units(self, times: Times, x: Series) -> None:
        """Take the units anew from these data, for the model too, unless something was learned in the present ones.

        A look at the model or the guide with other data, before the fit, then leaves no trace.
        """
        if not bool(self.adapted) or self._versions == self._own_versions():
            self.adapted.fill_(False)
            self.model.forget_units()
        self.adapt(times, x)

    def _own_versions(self) -> list[tuple[int, int]]:
        return versions(self.encoder, self.control, self.initial)  # the autoguide makes its parameters later

    def refine(self, substeps: int) -> None:
        """Change the number of substeps, also of the model. The posterior stays about the same.

        The parameters of the control are replaced: an optimiser that holds them must be made anew.
        """
        if substeps != self.model.substeps:
            self.model.substeps = substeps
            self.control.refine(substeps)

    def forward(
        self,
        times: Times,
        x: Series | None = None,
        subsample_size: int | None = None,
        subsample: Tensor | None = None,
        size: int | None = None,
    ) -> None:
        """Draw all latent sites, given data. The arguments are those of the model.

        `Predictive(model, guide=guide, num_samples=…)(times)` has no data to encode: the guide then draws the random
        quantities alone, and the paths come from the prior of the model, as those of new sequences.

        Raises
        ------
        DataError: there are no data in training. ShapeError: they have other channels. FitError: the autoguide leaves
        out a site, or the program holds another guide of its name.
        """
        check_name(self)
        rows = Rows(subsample_size, subsample, size)
        if x is None:
            if poutine.get_mask() is not False:  # as `Predictive` sets it, which asks for no density
                raise DataError(
                    "a guide reads the data: got none. Give them to both, svi.step(times, x); for new data from the "
                    "posterior use Predictive(poutine.uncondition(model), guide=guide, num_samples=…)(times, x)."
                )
            times = torch.atleast_2d(check_times(times))
            self._globals(times, None, rows, rows.plate(len(times)))
            return
        times, x = check_rows(times, x)
        check_channels(self.model.features(x[:1]), self.encoder.channels, "encoder")
        self.adapt(times, x)
        plate = rows.plate(len(times))
        latents = self._globals(times, x, rows, plate)
        with plate as number:
            index = rows.of(len(times), number)
            latents = place_latents(cast(nn.Module, self.model), latents, number, size or len(times))
            batch = self.model.batch(times[index], number, size or len(times))
            contexts = self.encoder(self.model.features(x[index]), batch.gaps, batch.valid)
            z0 = pyro.sample("z0", self._first(contexts[..., 0, :]).to_event(1))
            plan = self.control.plan(contexts, batch.gaps)
            pyro.sample("z", ControlledPath(self.model.dynamics, self.model.integrator, z0, batch.grid, plan, latents))

    def _globals(self, times: Times, x: Series | None, rows: Rows, plate: pyro.plate) -> dict[str, Tensor]:
        """Draw the random quantities, and whatever else is latent beside the path, by site."""
        self._follow_swapped_priors()
        self.others.create_plates = lambda *_, **__: plate  # that of the paths is the plate of latents in it, too
        if self._size not in (None, plate.size):
            raise FitError(
                f"a latent of every sequence was learned for {self._size} sequences: got {plate.size}. It cannot be "
                "read for others; give subsample= and size= for a batch."
            )
        with _Points():
            latents = self.others(times, x, **rows.given()) or {}
        if self._sites is None:
            self._sites = random_sites(cast(nn.Module, self.model))
        if left := [name for name in self._sites if name not in latents]:
            raise FitError(
                f"every latent site needs a guide: {type(self.others).__name__} leaves out {', '.join(left)}. Give an "
                "autoguide that covers it, for example AutoNormal."
            )
        return latents

    @property
    def _size(self) -> int | None:
        """The number of sequences, where every one of them has a latent of its own in the plate `sequence`."""
        frame = getattr(self.others, "_prototype_frames", {}).get("sequence")
        return None if frame is None else getattr(frame, "full_size", frame.size)

    def numbers(self, chunk: Tensor, size: int) -> dict[str, Any]:
        """The keywords of a chunk out of `size` sequences, where the posterior knows sequences by their number.

        It does where they have latents of their own, or values of their groups. Otherwise there are none.
        """
        driven = hasattr(self.model.dynamics, "covariates")
        grouped = driven or any(group_count(part, name) for part, name in random_parts(cast(nn.Module, self.model)))
        return {"subsample": chunk, "size": size} if len(chunk) < size and (grouped or self._size) else {}

    def _follow_swapped_priors(self) -> None:
        """Make the autoguide anew if other attributes of the model are random now, or have another support."""
        random = random_attributes(self.model)
        if random != self._random:
            self._random, self._sites = random, None
            self.others = self._of_others()

    def _of_others(self) -> AutoGuide:
        model = of_globals(self.model)
        return AutoNormal(model, init_loc_fn=init_to_median) if self._autoguide is None else self._autoguide(model)

    def _first(self, context: Tensor) -> dist.Normal:
        state = self.model.dynamics.state
        loc, raw, sine = self.initial(context).tensor_split([state, 2 * state], -1)
        if self._circles is not None:  # an angle, which neighbours across the end of a period share
            turned, loc = self._circles.round, loc.clone()
            loc[..., turned] = self._circles.radius(loc) * torch.atan2(sine, loc[..., turned])
        return dist.Normal(loc, softplus(raw))
