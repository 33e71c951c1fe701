"""Joint draws from the posterior and the prior with their densities: the numbers in the groups of ArviZ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.infer import Predictive
from torch import Tensor

from ..guide.amortized import PATH_SITES, AmortizedGuide
from ..model.latent_langevin import LatentLangevin
from .elbo import TERMS, paired_traces, terms_of
from .particles import particle_posterior

AXES = ("sequence", "time", "channel")
DRAW_CHUNK = 256  # sequences drawn at a time: bounds the memory that a large data set needs
PRIOR_NUMBERS = 20_000_000  # values of fine paths that are drawn from the prior at a time
PATH_NUMBERS = 2_000_000  # the same for the posterior; larger arrays leave the cache of the processor and are slower


class Part(NamedTuple):
    """A joint draw for a chunk of the sequences: values by site, positions at observation times, both traces."""

    sites: dict[str, Tensor]
    positions: Tensor
    traces: tuple[poutine.Trace, poutine.Trace]


class Draw(NamedTuple):
    """A joint draw for all sequences."""

    globals: dict[str, Tensor]
    z: Float[Tensor, "sequence time latent"]  # NaN after the end of a sequence
    terms: dict[str, Tensor]  # of the bound
    log_weight: Float[Tensor, "sequence"]  # log p(x, z | globals) − log q(z | x, globals)
    evidence: Float[Tensor, "sequence"]  # log p̂(x | globals)
    log_likelihood: Float[Tensor, "sequence time"]  # log p(x_t | z_t), over the channels observed
    x: Float[Tensor, "sequence time channel"]  # new data, NaN where nothing was observed


@contextmanager
def inference_mode(seed: int) -> Iterator[None]:
    """A scope without gradients, with its own random numbers and its own parameter store.

    Pyro's global store may hold parameters of another model under the same names.

    Parameters
    ----------
    seed: of the random numbers. The caller's generators are left as they were.
    """
    with torch.no_grad(), torch.random.fork_rng(), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        yield


def parts(model: LatentLangevin, guide: AmortizedGuide, times: Tensor, x: Tensor) -> Iterator[Part]:
    """One joint draw from the posterior: the globals once, then the paths of all sequences, a chunk at a time.

    Parameters
    ----------
    model, guide: as for any ELBO. times, x: `(sequence, time)` and `(sequence, time, channel)`, checked.
    """
    proposal = guide
    for chunk in torch.arange(len(x)).split(DRAW_CHUNK):
        traces = paired_traces(model, proposal, times[chunk], x[chunk], **guide.numbers(chunk, len(x)))
        sites = {name: site["value"] for name, site in traces[1].nodes.items() if site["type"] == "sample"}
        yield Part(sites, model.observed_positions(sites["z0"], sites["z"]), traces)
        proposal = poutine.replay(guide, trace=_of_globals(traces[1]))


def positions(
    model: LatentLangevin, guide: AmortizedGuide, times: Tensor, x: Tensor, draws: int
) -> Float[Tensor, "draw sequence time latent"]:
    """Posterior draws of the positions at the observation times. The data are encoded once for all draws.

    Parameters
    ----------
    model, guide, times, x: as for `parts`. draws: number of draws.
    """
    steps = draws * times.shape[-1] * model.substeps * model.dynamics.state
    proposal, found = guide, []
    for chunk in torch.arange(len(x)).split(max(1, min(DRAW_CHUNK, PATH_NUMBERS // steps))):
        with pyro.plate("draw", draws, dim=-2):
            trace = poutine.trace(proposal).get_trace(times[chunk], x[chunk], **guide.numbers(chunk, len(x)))
        found.append(model.observed_positions(*(trace.nodes[name]["value"] for name in ("z0", "z"))))
        proposal = poutine.replay(guide, trace=_of_globals(trace))
    return torch.cat(found, 1)


def posterior(
    model: LatentLangevin,
    guide: AmortizedGuide,
    times: Tensor,
    x: Tensor,
    names: Iterable[str],
    particles: int = 1,
) -> Draw:
    """One joint draw from the posterior with its densities, and new data from its path.

    Parameters
    ----------
    model, guide, times, x: as for `parts`. names: the sites of the globals.
    particles: paths per sequence, over which `evidence` averages, see `particles.particle_posterior`. With one path,
        `evidence` is `log_weight`.
    """
    terms = dict.fromkeys(TERMS, torch.zeros(()))
    found: list[tuple[Tensor, ...]] = []
    local: list[dict[str, Tensor]] = []
    for chunk, part in zip(torch.arange(len(x)).split(DRAW_CHUNK), parts(model, guide, times, x), strict=True):
        weight = _log_weight(*part.traces)  # before the terms, which then reuse the forces that it has evaluated
        # Globals are the same in every chunk and count once.
        counted = {name: value for name, value in terms_of(*part.traces).items() if name != "global_kl" or not found}
        if guide.numbers(chunk, len(x)):  # then a chunk speaks for all
            counted = {name: value * len(chunk) / len(x) for name, value in terms_of(*part.traces).items()}
        terms |= {name: terms[name] + value for name, value in counted.items()}
        proposal = poutine.replay(guide, trace=_of_globals(part.traces[1]))
        series = times[chunk], x[chunk]
        evidence = weight if particles < 2 else particle_posterior(model, proposal, *series, particles).log_evidence
        data = part.traces[0].nodes["x"]
        log_likelihood = data["fn"].base_dist.log_prob(data["value"])
        if log_likelihood.dim() == 3:  # one number per channel
            log_likelihood = log_likelihood.sum(-1)
        found.append((part.positions, weight, evidence, log_likelihood, data["fn"].sample()))
        values = {name: part.sites[name] for name in names}
        local.append({name: values[name] for name in names if _is_local(part.traces[1].nodes[name])})
    values |= {name: torch.cat([chunk[name] for chunk in local], -1) for name in local[0]}
    z, weight, evidence, log_likelihood, new = (torch.cat(several) for several in zip(*found, strict=True))
    z = torch.where(times.isfinite().unsqueeze(-1), z, torch.nan)
    return Draw(values, z, terms, weight, evidence, log_likelihood, torch.where(x.isfinite(), new, torch.nan))


def prior(model: LatentLangevin, times: Tensor, draws: int, globals_: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Draws of globals and data from the prior, `(draw, …)` by site. Data are NaN where a path is not finite.

    Parameters
    ----------
    model: as for any ELBO. times: `(sequence, time)`. draws: number of draws.
    globals_: one value of every global site, which gives its shape.
    """
    size = times.numel() * model.substeps * model.dynamics.state
    found = []
    # A wide prior allows values for which the steps are too coarse.
    with pyro.validation_enabled(False):
        for some in torch.arange(draws).split(max(1, PRIOR_NUMBERS // size)):
            made = Predictive(model, num_samples=len(some), return_sites=[*globals_, "x"], parallel=True)(times)
            drawn = {name: made[name].reshape(len(some), *value.shape) for name, value in globals_.items()}
            found.append(drawn | {"x": torch.where(made["x"].isfinite(), made["x"], torch.nan)})
    return {name: torch.cat([drawn[name] for drawn in found]) for name in found[0]}


def _log_weight(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> Tensor:
    """log p(x, z₀, z | globals) − log q(z₀, z | x, globals) per sequence."""
    joint, proposal = model_trace.nodes, guide_trace.nodes
    data, first = (joint[name]["fn"].log_prob(joint[name]["value"]) for name in ("x", "z0"))
    start = first - proposal["z0"]["fn"].log_prob(proposal["z0"]["value"])
    return data + start + proposal["z"]["fn"].log_ratio(joint["z"]["fn"], proposal["z"]["value"])


def _of_globals(trace: poutine.Trace) -> poutine.Trace:
    kept = trace.copy()
    for name, site in trace.nodes.items():
        if name in PATH_SITES or _is_local(site):
            kept.remove_node(name)
    return kept


def _is_local(site: dict) -> bool:
    """Whether every sequence has a latent of its own there."""
    return any(frame.name == "sequence" for frame in site.get("cond_indep_stack", ()))
