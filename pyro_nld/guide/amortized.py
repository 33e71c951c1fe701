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
from ..dynamics.path_models import PathModel
from ..dynamics.paths import ControlledPath, PathDistribution
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


class AmortizedGuide(Described, PyroModule):
    """q(globals) · q(z₀ | c₀) · q(path | z₀, contexts): the variational posterior, amortised over sequences.

    The posterior path has the noise of the prior, with T, γ and M as they were drawn, and a force that a control
    chooses. All latent sites of the model beside the path get their posterior from `autoguide`, also when a prior is
    changed later.

    Parameters
    ----------
    model: the model whose posterior this is.
    encoder: maps data to contexts; causal or two-sided.
    control: maps contexts to the force on the path; `AffineControl()` when None.
    autoguide: makes the guide of all other latent sites, given the model with its path sites hidden.

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
        autoguide: Callable[[Callable[..., object]], AutoGuide] = AutoNormal,
    ) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple, because the model's parameters are not the guide's
        self.encoder = encoder
        self.control = AffineControl() if control is None else control
        self.control.prepare(encoder.size, model.dynamics, model.substeps)
        self.initial: nn.Module = nn.Linear(encoder.size, 2 * model.dynamics.state)
        self._autoguide, self._random = autoguide, random_attributes(model)
        self.others = autoguide(of_globals(model))
        self.register_buffer("adapted", torch.tensor(False))

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
            self.encoder.adapt(x)
            self.adapted.fill_(True)

    def refine(self, substeps: int) -> None:
        """Change the number of substeps, also of the model. The posterior stays about the same.

        The parameters of the control are replaced: an optimiser that holds them must be made anew.
        """
        if substeps != self.model.substeps:
            self.model.substeps = substeps
            self.control.refine(substeps)

    def forward(self, times: Times, x: Series, subsample_size: int | None = None) -> None:
        """Draw all latent sites, given data. The arguments are those of the model."""
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
        """Make the autoguide anew if other attributes of the model are random now, or have another support."""
        random = random_attributes(self.model)
        if random != self._random:
            self._random = random
            self.others = self._autoguide(of_globals(self.model))

    def _first(self, context: Tensor) -> dist.Normal:
        loc, raw = self.initial(context).chunk(2, -1)
        return dist.Normal(loc, softplus(raw))
