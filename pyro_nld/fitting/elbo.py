"""The evidence lower bound (ELBO) of path models, and its terms one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import kl_divergence

from ..dynamics.paths import ControlledPath, LangevinPath
from ..errors import Amount, Count, checked
from ..guide.amortized import AmortizedGuide
from ..nn import Described

ENOUGH_STEPS = 5000  # of paths, at which the path KL is evaluated in one gradient step
MANY_STEPS = 200_000  # of paths, which give the path KL of a data set to about a thousandth
TERMS = ("log_likelihood", "path_kl", "initial_kl", "global_kl")


class PathELBO(Described, Trace_ELBO):
    """ELBO = E_q[log p(x|z)] − E_q Σ_k KL(q step ‖ p step) − KL(q(z₀) ‖ p(z₀)) − KL(global latents).

    In expectation the path term is the exact KL of the two discretised chains. For Euler steps of equal noise it is
    ½ Σ ‖u‖² h, with the ½ that the paper's code leaves out. A latent site without an analytic KL contributes the ratio
    of its log densities, so that the objective works for all priors and autoguides of a model.

    Parameters
    ----------
    num_particles, vectorize_particles, …: as for `pyro.infer.Trace_ELBO`.
    path_weight: factor of the path KL and the initial KL. Annealing raises it from near 0 to 1. Only 1 gives the bound.
    path_stride: evaluate the path KL at one random step out of so many, which is unbiased. With a stride equal to the
        number of substeps, fine steps need no more gradients of U than coarse ones.

    Examples
    --------
    A constant force f that drives a particle for a time t costs the path KL f² t/(4 γ T), ¼ nat where all are 1:

    >>> import pyro
    >>> from pyro_nld.dynamics.paths import refine, run
    >>> class ConstantForce:
    ...     ratio, mixing = torch.ones(1), None
    ...     def force(self, path, origins):
    ...         return path.dynamics.force(origins) + 1.0
    ...     def draw(self, path, noise):
    ...         return run(path, lambda state: self.force(path, state), noise), None
    ...     def at(self, index):
    ...         return self
    >>> grid = refine(torch.tensor([0.0, 1.0]), substeps=100)
    >>> law = nld.OverdampedLangevin(nld.DoubleWell()), nld.EulerMaruyama(), torch.zeros(1), grid
    >>> def model():
    ...     return pyro.sample("z", nld.LangevinPath(*law))
    >>> def guide():
    ...     return pyro.sample("z", nld.ControlledPath(*law, ConstantForce()))
    >>> round(nld.PathELBO().loss(model, guide), 4)
    0.25
    """

    @checked
    def __init__(self, *args: object, path_weight: Amount = 1.0, path_stride: Count = 1, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.path_weight, self.path_stride = path_weight, path_stride

    def terms(self, model: Callable, guide: Callable, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """The terms of log_likelihood − path_kl − initial_kl − global_kl, unweighted, averaged over particles."""
        sums: dict[str, Tensor] = dict.fromkeys(TERMS, torch.zeros(()))
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            for name, value in terms_of(model_trace, guide_trace, self.path_stride).items():
                sums[name] = sums[name] + value / self.num_particles
        return sums

    def combine(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted bound."""
        path = terms["path_kl"] + terms["initial_kl"]
        return terms["log_likelihood"] - self.path_weight * path - terms["global_kl"]

    def loss(self, model: Callable, guide: Callable, *args: object, **kwargs: object) -> float:
        """−ELBO, a float."""
        return torch_item(-self.combine(self.terms(model, guide, *args, **kwargs)))

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple:
        return paired_traces(model, guide, *args, **kwargs)

    def _differentiable_loss_particle(
        self, model_trace: poutine.Trace, guide_trace: poutine.Trace
    ) -> tuple[float, Tensor]:
        sums = dict.fromkeys(TERMS, torch.zeros(())) | terms_of(model_trace, guide_trace, self.path_stride)
        loss = -self.combine(sums)
        return torch_item(loss), loss


def stride_for(x: Tensor, substeps: int, enough: int) -> int:
    """The largest `path_stride` that leaves `enough` steps of paths, at most one per observation interval.

    Parameters
    ----------
    x: `(sequence, time, channel)`. substeps: steps per observation interval. enough: steps of all sequences together.
    """
    return min(substeps, max(1, x.shape[0] * (x.shape[1] - 1) * substeps // enough))


def evaluate(
    model: Callable, guide: Callable, times: Tensor, x: Tensor, draws: int = 3, chunk: int = 128
) -> dict[str, float]:
    """The bound of a whole data set and its terms, averaged over draws.

    Where there are very many steps, the path KL is estimated without bias from a part of them (`path_stride`).

    Parameters
    ----------
    model, guide: as for any ELBO.
    times, x: `(sequence, time)` and `(sequence, time, channel)`.
    draws: number of draws.
    chunk: sequences at a time, which bounds the memory.

    Returns
    -------
    `total`, the terms of `TERMS`, and `per_observation`, the total per observed value.
    """
    stride = stride_for(x, getattr(model, "substeps", 1), MANY_STEPS)
    elbo, rows = PathELBO(path_stride=stride), list(torch.arange(len(x)).split(chunk))
    sums = dict.fromkeys(TERMS, 0.0)
    with torch.no_grad():
        for part in rows * draws:
            numbers = guide.numbers(part, len(x)) if isinstance(guide, AmortizedGuide) else {}
            for name, value in elbo.terms(model, guide, times[part], x[part], **numbers).items():
                # With numbers, a chunk speaks for all; else the KL of the globals alone does not grow with it.
                share = len(part) / len(x) if numbers else 1 / len(rows) if name == "global_kl" else 1
                sums[name] += float(value) / draws * share
    total = sums["log_likelihood"] - sums["path_kl"] - sums["initial_kl"] - sums["global_kl"]
    return {"total": total, "per_observation": total / int(x.isfinite().sum())} | sums


def paired_traces(
    model: Callable, guide: Callable, *args: object, **kwargs: object
) -> tuple[poutine.Trace, poutine.Trace]:
    """A trace of the model with the latents of the guide, and the trace of the guide: (model, guide).

    The traces of `Trace_ELBO` evaluate the density of every site. That of a path is costly, and its KL needs none.
    """
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    return prune_subsample_sites(model_trace), prune_subsample_sites(guide_trace)


def terms_of(model_trace: poutine.Trace, guide_trace: poutine.Trace, stride: int = 1) -> dict[str, Tensor]:
    """The terms of the bound that occur in one pair of traces, summed over vectorised particles.

    Parameters
    ----------
    model_trace, guide_trace: from `paired_traces`.
    stride: `path_stride` of `PathELBO`.
    """
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    for name, site in model_trace.nodes.items():
        if site["type"] != "sample":
            continue
        if site["is_observed"]:
            sums["log_likelihood"] = sums["log_likelihood"] + _log_prob(site)
        else:
            # a scope of Pyro puts its prefix before the names
            term = {"z": "path_kl", "z0": "initial_kl"}.get(name.rpartition("/")[2], "global_kl")
            sums[term] = sums[term] + _kl(guide_trace.nodes[name], site, stride)
    for name, site in guide_trace.nodes.items():
        if site["type"] == "sample" and name not in model_trace.nodes:  # an autoguide's auxiliary sites
            sums["global_kl"] = sums["global_kl"] + _log_prob(site)
    return dict(sums)


def _kl(guide_site: dict, model_site: dict, stride: int) -> Tensor:
    posterior, prior = guide_site["fn"], model_site["fn"]
    # Pyro's KL of a point leaves out its density, in which an autoguide puts the Jacobian of a constrained site.
    if isinstance(posterior, Delta):
        return _log_prob(guide_site) - _log_prob(model_site)
    try:
        if isinstance(posterior, ControlledPath) and isinstance(prior, LangevinPath):
            kl = posterior.kl_along(prior, guide_site["value"], stride)
        else:
            kl = kl_divergence(posterior, prior)
    except NotImplementedError:
        return _log_prob(guide_site) - _log_prob(model_site)
    return scale_and_mask(kl, guide_site["scale"], guide_site["mask"]).sum()


def _log_prob(site: dict) -> Tensor:
    return scale_and_mask(site["fn"].log_prob(site["value"]), site["scale"], site["mask"]).sum()
