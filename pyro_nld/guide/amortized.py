"""The Pyro guide: encoder, initial state, controlled posterior path, and an autoguide for every other latent."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer.autoguide import AutoGuide, AutoNormal
from pyro.nn import PyroModule
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import register_kl
from torch.nn.functional import softplus

from .._typing import Series, Times
from ..dynamics.paths import ControlledPath, PathModel
from ..io.validation import check_channels, check_rows
from ..nn import Described, random_attributes
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


class AmortizedGuide(Described, PyroModule):
    """q(globals) · q(z₀ | c₀) · q(path | z₀, contexts): the variational posterior, amortised over sequences.

    The posterior path runs on the prior's own noise (same T, γ, M, as drawn here), steered by a control. Every latent
    site of the model beside the path, whatever it is, gets its posterior from `autoguide`, also when a prior is swapped
    later.

    Parameters
    ----------
    model: the model this is a guide for.
    encoder: data to contexts; causal or two-sided.
    control: how contexts steer the path.
    autoguide: makes the guide of all other latents, given the model with its path sites hidden.
    """

    def __init__(
        self,
        model: PathModel,
        encoder: Encoder,
        control: Control | None = None,
        autoguide: Callable[[Callable[..., object]], AutoGuide] = AutoNormal,
    ) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple, because the model's parameters are not the guide's
        self.encoder = encoder
        self.control = AffineControl() if control is None else control
        self.control.prepare(encoder.size, model.dynamics, model.substeps)
        self.initial: nn.Module = nn.Linear(encoder.size, 2 * model.dynamics.state)
        self._autoguide, self._random = autoguide, random_attributes(model)
        self.others = autoguide(poutine.block(model, hide=PATH_SITES))
        self.register_buffer("adapted", torch.tensor(False))

    def _facts(self) -> dict[str, object]:
        sites = ", ".join(path.rpartition(".")[2] for path in random_attributes(self.model)) or "nothing else"
        return super()._facts() | {"autoguide": f"= {type(self.others).__name__} of {sites}"}

    @property
    def model(self) -> PathModel:
        """The model this is a guide for."""
        return self._model[0]

    def adapt(self, times: Times, x: Series) -> None:
        """Take units from the first data seen, for the model too."""
        self.model.adapt(times, x)
        if not bool(self.adapted):
            self.encoder.adapt(x)
            self.adapted.fill_(True)

    def refine(self, substeps: int) -> None:
        """Go on with another number of substeps, the model too; the posterior stays about what it was.

        Parameters of the control are replaced: an optimiser that holds them must be told.
        """
        if substeps != self.model.substeps:
            self.model.substeps = substeps
            self.control.refine(substeps)

    def forward(self, times: Times, x: Series, subsample_size: int | None = None) -> None:
        """Draw all latents given data; arguments as for the model."""
        times, x = check_rows(times, x)
        check_channels(x, self.encoder.channels, "encoder")
        self.adapt(times, x)
        self._follow_swapped_priors()
        with _Points():
            latents = self.others(times, x, subsample_size)
        with pyro.plate("sequence", len(times), subsample_size, dim=-1) as index:
            batch = self.model.batch(times[index])
            contexts = self.encoder(x[index], batch.gaps, batch.valid)
            z0 = pyro.sample("z0", self._first(contexts[..., 0, :]).to_event(1))
            plan = self.control.plan(contexts, batch.gaps)
            pyro.sample("z", ControlledPath(self.model.dynamics, self.model.integrator, z0, batch.grid, plan, latents))

    def _follow_swapped_priors(self) -> None:
        """Make the autoguide anew when other attributes of the model are random, or on another support, than before."""
        random = random_attributes(self.model)
        if random != self._random:
            self._random = random
            self.others = self._autoguide(poutine.block(self.model, hide=PATH_SITES))

    def _first(self, context: Tensor) -> dist.Normal:
        loc, raw = self.initial(context).chunk(2, -1)
        return dist.Normal(loc, softplus(raw))
