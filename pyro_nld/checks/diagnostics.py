"""Diagnostics of a fit: guide, evidence, identifiability, convergence, agreement of restarts, time step.

Every function reads Datasets and returns a Dataset of numbers. Its attrs say what they mean: `verdict` ("good",
"doubtful" or "bad"), `ok` (1 where good), and `message`, which says what was found and what to do.

Examples
--------
A posterior that is ten times narrower than its prior has the contraction 0.9; one of equal width has none:

>>> import xarray as xr
>>> draw = np.random.default_rng(0)
>>> def drawn(**width):
...     return xr.Dataset({name: (("chain", "draw"), draw.normal(0, sd, (1, 4000))) for name, sd in width.items()})
>>> groups = {"prior": drawn(temperature=1.0, friction=1.0), "posterior": drawn(temperature=0.1, friction=1.0)}
>>> found = nld.diagnostics.identifiability(nld.inference_data.to_inference_data(groups))
>>> found["contraction"].values.round(1).tolist(), found.attrs["verdict"]
([0.9, 0.0], 'bad')
>>> found.attrs["message"]
'friction follows its prior (contraction 0.02): the data do not tell it. Fix it, or mean its prior.'
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from .._typing import Array
from ..fitting.settling import FEWEST_STEPS, LATE_GAIN, RISE_SIGMAS, bound, late_rise
from ..io.inference_data import Results, convergence, group, groups, pareto_shape
from .findings import VERDICTS, finding, graded

LARGEST_SHAPE = 0.7  # k̂ up to which smoothed importance weights work (Vehtari et al. 2024)
UNRELIABLE_SHARE = (0.1, 0.5)  # of the sequences above that limit: the guide is doubtful, and bad
EFFECTIVE_DRAWS = (10.0, 3.0)  # per sequence, below which a mean weight is doubtful, and bad
CONTRACTION = (0.5, 0.1)  # 1 − sd posterior/sd prior above which the data decide, and below which the prior does
LABEL_AGREEMENT = (0.9, 0.75)  # share of equal labels in two restarts below which they are doubtful, and bad
BARRIER_GAP = (1.0, 2.0)  # kT between the barriers of two restarts above which they are doubtful, and bad


# Guide and evidence


def guide(results: Results) -> xr.Dataset:
    """k̂ of the weights w = p(x, z | globals)/q(z | x, globals): how well the guide covers the posterior of paths.

    Parameters
    ----------
    results: with `log_weight (chain, draw, sequence)` in `sample_stats`.

    Returns
    -------
    `pareto_shape (chain, sequence)`; `reliable (chain)`, the share of sequences with k̂ below the limit `limit`, which
    is 0.7, or less for fewer than two thousand draws.

    References
    ----------
    Y. Yao, A. Vehtari, D. Simpson, A. Gelman, Yes, but did it work?, ICML 2018.
    """
    weights = group(results, "sample_stats", "log_weight")["log_weight"]
    draws = weights.sizes["draw"]
    limit = min(LARGEST_SHAPE, 1 - 1 / np.log10(draws))
    shape = pareto_shape(weights)
    reliable = (shape <= limit).mean("sequence")
    share = float(reliable.max())
    verdict = graded(1 - share, UNRELIABLE_SHARE)
    advice = {
        "good": "Its intervals can be read as they are.",
        "doubtful": "Read its intervals as a little too narrow; fit longer, or with a two-sided encoder.",
        "bad": "Do not trust its intervals: correct them (nld.corrections), fit longer, or use a richer guide.",
    }[verdict]
    message = f"The guide covers the posterior of {100 * share:.0f} % of the sequences (k̂ ≤ {limit:.2f}). {advice}"
    return finding({"pareto_shape": shape, "reliable": reliable, "limit": limit}, verdict, message)


def evidence(results: Results) -> xr.Dataset:
    """log (1/K) Σ w_k: a bound on the log evidence that rises with the number K of draws, from the ELBO at K = 1.

    Parameters
    ----------
    results: with `log_weight (chain, draw, sequence)`, and perhaps `global_kl`, in `sample_stats`.

    Returns
    -------
    `bound (chain, count)` and its standard `error`, at K = `count` draws, summed over sequences, less the KL of the
    globals; `evidence (chain)` and `evidence_error`, from all draws; `effective (chain, sequence)`, 1/Σ w² of the
    normalised weights. The globals differ from draw to draw. Where they are uncertain, the sum over sequences may
    exceed the joint evidence by half the variance that they cause.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, Importance weighted autoencoders, ICLR 2016.
    """
    statistics = group(results, "sample_stats", "log_weight")
    weights = statistics["log_weight"].transpose("chain", "draw", "sequence").values
    cost = statistics["global_kl"].mean("draw").values if "global_kl" in statistics else np.zeros(len(weights))
    draws = weights.shape[1]
    counts = [2**power for power in range(int(np.log2(draws)) + 1)]
    means, errors = zip(*(_grouped(weights, count) for count in counts), strict=True)
    bound, error = np.stack(means, -1) - cost[:, None], np.stack(errors, -1)
    shares = np.exp(weights - logsumexp(weights, 1, keepdims=True))
    effective = 1 / np.square(shares).sum(1)
    total = (logsumexp(weights, 1) - np.log(draws)).sum(-1) - cost
    # relative variance of a mean weight, by the delta method
    spread = np.sqrt(np.maximum(1 / effective - 1 / draws, 0).sum(-1))
    best = int(total.argmax())
    middle = float(np.median(effective[best]))
    verdict = graded(middle, EFFECTIVE_DRAWS, high_is_good=True)
    advice = {
        "good": "Use it to compare hypotheses.",
        "doubtful": "It still rises with the draws: compare hypotheses by more than its error.",
        "bad": "One draw outweighs all others: it is no more than a lower bound. Use particles, or a better guide.",
    }[verdict]
    message = (
        f"The log evidence is {total[best]:.1f} ± {spread[best]:.1f}, {total[best] - bound[best, 0]:.1f} above the "
        f"ELBO, with {middle:.0f} of {draws} draws effective. {advice}"
    )
    variables = {
        "bound": (("chain", "count"), bound),
        "error": (("chain", "count"), error),
        "evidence": ("chain", total),
        "evidence_error": ("chain", spread),
        "effective": (("chain", "sequence"), effective),
    }
    return finding(variables, verdict, message, count=counts)


def _grouped(weights: Array, count: int) -> tuple[Array, Array]:
    """Mean over groups of `count` draws of the log mean weight, summed over sequences, and its standard error."""
    chains, draws, sequences = weights.shape
    groups = draws // count
    parts = weights[:, : groups * count].reshape(chains, groups, count, sequences)
    totals = (logsumexp(parts, 2) - np.log(count)).sum(-1)
    error = totals.std(1, ddof=1) / np.sqrt(groups) if groups > 1 else np.full(chains, np.nan)
    return totals.mean(1), error


# What is identified


def identifiability(results: Results, fixes_gauge: bool | None = None) -> xr.Dataset:
    """1 − sd posterior/sd prior of every random quantity: 1 where the data determine it, 0 where the prior does.

    With a free decoder only U/T is observable, because z → a z exchanges the latent unit for T. The interval of T is
    then that of one choice of the unit, however narrow it is, and the message says that T follows its prior.

    Parameters
    ----------
    results: with groups `posterior` and `prior` that share variables. Positive quantities are compared by their
        logarithms.
    fixes_gauge: whether the decoder fixes the unit of the latent axes (`Decoder.fixes_gauge`). When None, the attribute
        `gauge_free` of the temperature decides; without that attribute it is True.

    Returns
    -------
    `contraction (quantity)`, the smallest one over chains and axes; attrs `verdicts` and `says`, one line per quantity.
    """
    held = groups(results)  # there is no prior where no quantity is random
    posterior, prior = (group(results, name) if name in held else xr.Dataset() for name in ("posterior", "prior"))
    names = [name for name in map(str, prior.data_vars) if name in posterior and "sequence" not in prior[name].dims]
    if not names:
        message = "Nothing of physics is random, so there is nothing to identify. Give a quantity a prior to learn it."
        return finding({"contraction": ("quantity", np.zeros(0))}, "good", message, quantity=[]).assign_attrs(
            says="", verdicts=""
        )
    if fixes_gauge is None and "temperature" in names:
        fixes_gauge = bool(posterior["temperature"].attrs.get("gauge_free", True))
    contraction = np.array([_contraction(posterior[name], prior[name]) for name in names])
    says = [_identified(name, value, fixes_gauge) for name, value in zip(names, contraction, strict=True)]
    order = [VERDICTS.index(verdict) for verdict, _ in says]
    lines = [line for _, line in says]
    worst = int(np.argmax(order))
    message = lines[worst] if order[worst] else " ".join(lines)
    found = finding({"contraction": ("quantity", contraction)}, VERDICTS[order[worst]], message, quantity=names)
    return found.assign_attrs(says="\n".join(lines), verdicts="\n".join(verdict for verdict, _ in says))


def of_quantity(results: Results, name: str) -> tuple[float, str, str]:
    """The contraction of one random quantity, the verdict on it, and the message. It is graded nowhere else.

    Parameters
    ----------
    results: as for `identifiability`. name: of a quantity that both of its groups have.
    """
    found = identifiability(results)
    place = list(found["quantity"].values).index(name)
    verdict, line = (found.attrs[what].splitlines()[place] for what in ("verdicts", "says"))
    return float(found["contraction"][place]), verdict, line


def _contraction(posterior: xr.DataArray, prior: xr.DataArray) -> float:
    if float(posterior.min()) > 0 and float(prior.min()) > 0:  # the sd of a heavy tail depends on few draws
        posterior, prior = (xr.apply_ufunc(np.log, values) for values in (posterior, prior))
    return float((1 - posterior.std("draw") / prior.std(("chain", "draw"))).min())


def _identified(name: str, contraction: float, fixes_gauge: bool | None) -> tuple[str, str]:
    size = f"contraction {contraction:.2f}"
    if name == "temperature" and not fixes_gauge:
        return "doubtful", (
            f"temperature follows its prior: behind a free decoder its unit is free ({size} is that of one choice of "
            "unit). Report U/T, occupancies and times; take IdentityDecoder or OrthonormalDecoder where T matters."
        )
    verdict = graded(contraction, CONTRACTION, high_is_good=True)
    if verdict == "bad":
        return verdict, f"{name} follows its prior ({size}): the data do not tell it. Fix it, or mean its prior."
    if verdict == "doubtful":
        return verdict, f"{name} is weakly identified ({size}): its prior still matters. Say which prior you used."
    return verdict, f"{name} is identified ({size})."


# Optimisation and restarts


def optimisation(history: xr.Dataset) -> xr.Dataset:
    """Whether the ELBO still rises: its mean over the last quarter of the steps minus that over the quarter before.

    Parameters
    ----------
    history: `Fit.history`, per observed value, by `step`.

    Returns
    -------
    `gain`, nats per observed value; `gain_error`, its standard error from means of batches of steps; `share`, the gain
    over the whole rise of the ELBO; `lost`, the number of steps that were not finite.

    Not checked: that the learning rate did not fall too fast to show a further rise.
    """
    elbo = bound(history)
    lost = int((~np.isfinite(elbo)).sum())
    elbo = elbo[np.isfinite(elbo)]
    if len(elbo) < FEWEST_STEPS:
        message = f"{len(elbo)} steps are too few to see whether the ELBO has settled. Fit longer."
        return finding({"gain": np.nan, "gain_error": np.nan, "share": np.nan, "lost": lost}, "bad", message)
    gain, error, risen = late_rise(history)
    if not risen > 0:
        message = f"The ELBO did not rise in {len(elbo)} steps. Fit longer, restart, or use more substeps."
        return finding({"gain": gain, "gain_error": error, "share": np.nan, "lost": lost}, "bad", message)
    share = gain / risen
    # a gain within the noise, or a small loss, is not a rise
    verdict = graded(share, LATE_GAIN) if gain > RISE_SIGMAS * error else "good"
    message = (
        f"The ELBO gained {gain:.4f} ± {error:.4f} per observed value in its last quarter of steps. "
        + {
            "good": "It has settled.",
            "doubtful": "It may gain a little more: fit longer if numbers matter.",
            "bad": "It has not settled: fit longer.",
        }[verdict]
    )
    if lost:
        verdict = "doubtful" if verdict == "good" else verdict
        message += f" {lost} steps were not finite: use more substeps or a lower learning rate."
    return finding({"gain": gain, "gain_error": error, "share": share, "lost": lost}, verdict, message)


def agreement(results: Results) -> xr.Dataset:
    """Whether independent restarts found the same wells: whether their labels and their barriers agree.

    Parameters
    ----------
    results: chains are restarts with matched states; `posterior` with `basin (chain, draw, sequence, time)`, and
        perhaps `barrier (chain, draw, state, to)` in kT, `occupancy (chain, draw, state)` and globals.

    Returns
    -------
    By `pair` of chains: `labels`, the share of observations with equal labels; `barriers`, the largest difference in
    kT; `occupancies`, the ℓ1 distance. By `quantity`: `rhat` of the globals over the chains. `restart (pair, side)`.
    """
    posterior = group(results, "posterior", "basin")
    chains = posterior.sizes["chain"]
    if chains < 2:
        message = "There is one restart, so nothing to compare it with. Fit again with --restarts 4."
        return finding({"labels": ("pair", np.zeros(0))}, "doubtful", message)
    pairs = list(combinations(range(chains), 2))
    labels = np.array([_alike(posterior["basin"].values, *pair) for pair in pairs])
    variables: dict[str, object] = {"labels": ("pair", labels), "restart": (("pair", "side"), np.array(pairs))}
    verdicts = [graded(labels.min(), LABEL_AGREEMENT, high_is_good=True)]
    message = f"Two restarts agree on {100 * labels.min():.0f} % of the labels at worst"
    if "barrier" in posterior:
        apart = _differences(posterior["barrier"], pairs).max(-1)
        variables["barriers"] = ("pair", apart)
        verdicts.append(graded(apart.max(), BARRIER_GAP))
        size = f"{apart.max():.1f} kT" if apart.max() < np.inf else "a whole state"
        message += f", and their barriers differ by up to {size}"
    if "occupancy" in posterior:
        variables["occupancies"] = ("pair", _differences(posterior["occupancy"], pairs).sum(-1))
    scalars = [str(name) for name, values in posterior.items() if values.dims == ("chain", "draw")]
    variables["rhat"] = ("quantity", np.array([float(convergence(posterior[name])["rhat"]) for name in scalars]))
    verdict = max(verdicts, key=VERDICTS.index)
    advice = {
        "good": "They found the same wells.",
        "doubtful": "They found about the same wells: read their numbers over all restarts.",
        "bad": "They found different wells: keep the one of highest evidence; fit longer, or with fewer latent axes.",
    }[verdict]
    return finding(variables, verdict, f"{message}. {advice}", quantity=scalars)


def _alike(states: Array, one: int, other: int) -> float:
    """The share of observations with equal labels in two chains, each labelled by its most frequent state."""
    count = int(np.nanmax(states, initial=0)) + 1
    votes = [(states[chain, ..., None] == np.arange(count)).sum(0) for chain in (one, other)]
    labelled = (votes[0].sum(-1) > 0) & (votes[1].sum(-1) > 0)
    return float((votes[0].argmax(-1) == votes[1].argmax(-1))[labelled].mean())


def _differences(values: xr.DataArray, pairs: list[tuple[int, int]]) -> Array:
    """|differences| of the medians of two chains, `(pair, entry)`; infinite where only one of them has the state."""
    centre = values.median("draw").values.reshape(values.sizes["chain"], -1)
    one, other = (centre[list(side)] for side in zip(*pairs, strict=True))
    apart = np.where(np.isnan(one) & np.isnan(other), 0.0, np.abs(one - other))
    return np.nan_to_num(apart, nan=np.inf)


# Step


def discretisation(states: xr.Dataset) -> xr.Dataset:
    """κ = curvature × step at the stiffest well, and the number of substeps that lowers it to 0.2.

    Parameters
    ----------
    states: `Fit.landscape()` or `Fit.wells()`, which have these numbers in their attrs.
    """
    largest, needed = float(states.attrs["max_curvature_step"]), int(states.attrs["substeps_needed"])
    verdict = "good" if states.attrs["ok"] else graded(largest, (0.2, 0.5))
    message = (
        f"Curvature × step is {largest:.3f} at the stiffest well. "
        + {
            "good": "Chain and landscape agree within about 10 %.",
            "doubtful": f"Occupancies and times are approximate: fit with substeps={needed}.",
            "bad": f"Chain and landscape disagree: fit with substeps={needed} before reading anything off.",
        }[verdict]
    )
    return finding({"max_curvature_step": largest, "substeps_needed": needed}, verdict, message)
