"""Predictive checks: statistics of the data are compared with those of data drawn from the fit.

Replicated data must have new paths: `replicates.from_fit` simulates the fitted prior from where the sequences start.
Draws of the group `posterior_predictive` follow the paths of the data, and can only check channels and noise.

Examples
--------
The autocorrelation of an Ornstein–Uhlenbeck process is exp(−k τ), here with k = 1 and lags τ of 0.2 and 1:

>>> data = nld.datasets.ornstein_uhlenbeck(sequences=200, steps=100, rate=1.0, interval=0.2, noise=0.01)
>>> x, times = data["observations"].values, np.tile(data["time"].values, (200, 1))
>>> found = nld.predictive_checks.statistics(x, times)
>>> [round(found[f"autocorrelation {lag} of channel 0"], 2) for lag in (1, 5)], np.exp([-0.2, -1.0]).round(2).tolist()
([0.82, 0.37], [0.82, 0.37])
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from .. import kinetics
from .._typing import Array
from ..errors import ShapeError
from ..io.inference_data import Results, group
from .findings import finding, graded

FEWEST_REPLICATES = 20  # from which the spread of a statistic is estimated well enough
STATISTIC_P = (0.1, 0.01)  # p-values of the most extreme statistic below which a result is doubtful, and bad
CLASS_PROBABILITY = 0.9  # of a state, given the channels alone, from which an observation is labelled with it
BANDS = ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5))  # cycles per observation interval
BAND_NAMES = ("low", "middle", "high")
AUTOCORRELATION_LAGS = (1, 5)
PIT_DISTANCE = (0.05, 0.1)  # of a distribution function from the uniform one, above which it is doubtful, and bad


def statistics(x: Array, times: Array, classes: xr.Dataset | None = None) -> dict[str, float]:
    """Statistics of a set of series, by name.

    For every channel: mean, standard deviation, 5 % and 95 % quantile, autocorrelation at lags of 1 and 5 observations.
    For all channels together: shares of the spectral density in three bands. For every state, where `classes` are
    given: share of time, mean dwell time, coefficient of variation of visits (1 for an exponential law), transitions.

    Parameters
    ----------
    x: `(sequence, time, channel)`, NaN where missing. times: `(sequence, time)`, user's unit, NaN after the end.
    classes: from `state_classes`.
    """
    return dict(_statistics(x, times, classes))


def posterior(
    observed: xr.DataArray, replicated: xr.DataArray, times: xr.DataArray, classes: xr.Dataset | None = None
) -> xr.Dataset:
    """The posterior predictive p-value of every statistic: twice the share of replicates beyond the data, in one tail.

    Parameters
    ----------
    observed: `(sequence, time, channel)`. replicated: `(chain, draw, sequence, time, channel)`, 20 draws or more;
        values that were not observed are ignored. times: `(sequence, time)`. classes: from `state_classes`.

    Returns
    -------
    By `statistic`: `observed`; `mean`, `low` and `high` (90 %) of the replicates; `p`; and `score`, the distance of the
    data from the mean in standard deviations. The verdict is on the largest |score|, corrected for the number of
    statistics.

    References
    ----------
    A. Gelman, X.-L. Meng, H. Stern, Posterior predictive assessment of model fitness, Statistica Sinica 6, 1996.
    """
    mine, theirs, names = _both(observed, replicated, times, classes)
    spread = theirs.std(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (mine - theirs.mean(0)) / np.where(spread > 0, spread, np.nan)
    score = np.where(np.isnan(score), np.where(np.isclose(mine, theirs.mean(0)), 0.0, np.inf), score)
    chance = min(1.0, len(names) * 2 * scipy.stats.norm.sf(np.abs(score).max()))
    worst = int(np.abs(score).argmax())
    verdict = graded(chance, STATISTIC_P, high_is_good=True)
    advice = {
        "good": "Data drawn from the fit look like the data.",
        "doubtful": "Look at that statistic before you build on it.",
        "bad": "The model misses that: change what draws it (see the README, “I want to change”).",
    }[verdict]
    message = (
        f"Furthest off is {names[worst]}: {mine[worst]:.3g} in the data, {theirs[:, worst].mean():.3g} ± "
        f"{spread[worst]:.2g} in replicates. {advice}"
    )
    return finding(_columns(mine, theirs) | {"score": ("statistic", score)}, verdict, message, statistic=names)


def prior(results: Results) -> xr.Dataset:
    """Whether the prior allows such data: every statistic is compared with draws of `prior_predictive`.

    Parameters
    ----------
    results: with `x` in `prior_predictive` and `observed_data`, `times` in `constant_data`.

    Returns
    -------
    As `posterior`, without `score`; and `inside`, the share of statistics within the range of the draws.
    """
    drawn, observed = group(results, "prior_predictive", "x")["x"], group(results, "observed_data", "x")["x"]
    mine, theirs, names = _both(observed, drawn, group(results, "constant_data", "times")["times"], None)
    within = (mine >= theirs.min(0)) & (mine <= theirs.max(0))
    inside = float(within.mean())
    verdict = graded(1 - inside, (0.1, 0.5))
    message = f"{100 * inside:.0f} % of the statistics of the data lie in the range of data drawn from the prior. "
    advice = {
        "good": "The prior allows for them.",
        "doubtful": f"It does not for {names[int((~within).argmax())]}: look whether you mean that.",
        "bad": f"It does not for {names[int((~within).argmax())]} and others: widen the priors, or mind the units.",
    }[verdict]
    return finding(_columns(mine, theirs) | {"inside": inside}, verdict, message + advice, statistic=names)


def pit(results: Results, seed: int = 0) -> xr.Dataset:
    """The share of leave-one-out predictive draws below each observed value: uniform where noise and means are right.

    Draws are weighted by 1/p(x_t | z_t), which removes an observation from its own prediction. Of counts and categories
    many draws equal the value itself, of which it gets a random share, P(x < x_t) + v P(x = x_t) with v uniform. That
    is uniform where the law is right; with the middle of the step (v = ½) it would not be.

    Parameters
    ----------
    results: with `x` in `posterior_predictive (chain, draw, sequence, time, channel)`, `log_prob (chain, draw,
        observation)` in `sample_stats`, with `at_sequence` and `at_time`, and `observed_data`.
    seed: of v.

    Returns
    -------
    `pit (sequence, time, channel)`; `distance (channel)`, the largest distance of its distribution function from the
    uniform one.

    References
    ----------
    A. E. Gelfand, D. K. Dey, H. Chang, Model determination using predictive distributions, Bayesian Statistics 4, 1992.
    C. Czado, T. Gneiting, L. Held, Predictive model assessment for count data, Biometrics 65, 2009.
    """
    observed = group(results, "observed_data", "x")["x"].transpose("sequence", "time", "channel")
    drawn = group(results, "posterior_predictive", "x")["x"]
    log_prob = group(results, "sample_stats", "log_prob")["log_prob"]
    drawn, log_prob = (_flat_draws(values) for values in (drawn, log_prob))
    weight = np.zeros((drawn.sizes["sample"], *observed.shape[:2]))
    weight[:, log_prob["at_sequence"], log_prob["at_time"]] = -log_prob.transpose("sample", "observation").values
    weight = np.exp(weight - logsumexp(weight, 0, keepdims=True))[..., None]
    values = drawn.transpose("sample", *observed.dims).values
    equal = (weight * (values == observed.values)).sum(0)
    below = (weight * (values < observed.values)).sum(0) + np.random.default_rng(seed).random(equal.shape) * equal
    below = np.where(np.isfinite(observed.values), below, np.nan)
    distance = np.array(
        [scipy.stats.kstest(one[np.isfinite(one)], "uniform").statistic for one in np.moveaxis(below, -1, 0)]
    )
    worst = int(distance.argmax())
    shape = below[..., worst][np.isfinite(below[..., worst])]
    verdict = graded(distance[worst], PIT_DISTANCE)
    # against the variance of a uniform law: draws that are too wide give too many values in the middle
    fault = "shifted" if abs(shape.mean() - 0.5) > 0.05 else "too wide" if shape.var() < 1 / 12 else "too narrow"
    channel = observed["channel"].values[worst]
    message = (
        f"Predictions of single observations are off by {distance[worst]:.2f} at most, in channel {channel}. "
        + {
            "good": "Noise and means are right.",
            "doubtful": f"They are a little {fault}.",
            "bad": f"They are {fault}: change the likelihood or its noise_scale.",
        }[verdict]
    )
    return finding(
        {"pit": (("sequence", "time", "channel"), below), "distance": ("channel", distance)}, verdict, message
    )


def state_classes(observed: xr.DataArray, states: xr.DataArray) -> xr.Dataset:
    """The mean, covariance and weight of the channels in every state, which classify a single observation.

    Parameters
    ----------
    observed: `(sequence, time, channel)`. states: `(…, sequence, time)`, posterior draws, NaN where there is none.

    Returns
    -------
    `loc (state, channel)`, `covariance (channel, other)` shared by all states, `weight (state)`. The same rule labels
    observed and replicated series, so that it makes the same errors in both.
    """
    x = observed.transpose("sequence", "time", "channel").values
    labels = states.transpose(..., "sequence", "time").values.reshape(-1, *x.shape[:2])
    count = int(np.nanmax(labels, initial=0)) + 1
    share = (labels[..., None] == np.arange(count)).mean(0)
    share = np.where(np.isfinite(x).all(-1)[..., None], share, 0.0)
    weight = share.sum((0, 1))
    filled = np.nan_to_num(x)
    loc = np.einsum("stk,stc->kc", share, filled) / np.maximum(weight, 1e-12)[:, None]
    apart = filled[:, :, None] - loc
    covariance = np.einsum("stk,stkc,stkd->cd", share, apart, apart) / weight.sum()
    return xr.Dataset(
        {
            "loc": (("state", "channel"), loc),
            "covariance": (("channel", "other"), covariance),
            "weight": ("state", weight / weight.sum()),
        }
    )


def labelled(x: Array, classes: xr.Dataset) -> NDArray[np.integer]:
    """The state of each observation `(…, channel)`, from its channels alone; −1 where it is unsure or missing."""
    root = np.linalg.cholesky(classes["covariance"].values)
    white, centres = (np.linalg.solve(root, values[..., None])[..., 0] for values in (x, classes["loc"].values))
    with np.errstate(divide="ignore"):
        log_share = np.log(classes["weight"].values) - 0.5 * np.square(white[..., None, :] - centres).sum(-1)
    share = np.exp(log_share - logsumexp(log_share, -1, keepdims=True))
    return np.where(np.nan_to_num(share.max(-1)) >= CLASS_PROBABILITY, np.nan_to_num(share).argmax(-1), -1)


# Statistics


def _statistics(x: Array, times: Array, classes: xr.Dataset | None) -> Iterator[tuple[str, float]]:
    scale = np.nanstd(x, (0, 1))
    for channel in range(x.shape[-1]):
        one = x[..., channel]
        yield f"mean of channel {channel}", float(np.nanmean(one))
        yield f"sd of channel {channel}", float(scale[channel])
        yield f"5 % of channel {channel}", float(np.nanquantile(one, 0.05))
        yield f"95 % of channel {channel}", float(np.nanquantile(one, 0.95))
        centred = one - np.nanmean(one)
        for lag in AUTOCORRELATION_LAGS:
            if x.shape[1] > lag:
                product = np.nanmean(centred[:, lag:] * centred[:, :-lag])
                yield f"autocorrelation {lag} of channel {channel}", float(product / scale[channel] ** 2)
    yield from zip((f"spectrum, {name} frequencies" for name in BAND_NAMES), _bands(x / scale), strict=True)
    if classes is not None:
        yield from _of_states(labelled(x, classes), times, classes.sizes["state"])


def _bands(x: Array) -> list[float]:
    """Shares of the spectral density in `BANDS`, over all channels; missing values are set to the channel's mean."""
    filled = np.nan_to_num(x - np.nanmean(x, (0, 1)))
    density = np.square(np.abs(np.fft.rfft(filled, axis=1))).sum((0, 2))[1:]
    frequency = np.fft.rfftfreq(x.shape[1])[1:]
    return [float(density[(frequency > low) & (frequency <= high)].sum() / density.sum()) for low, high in BANDS]


def _of_states(labels: NDArray[np.integer], times: Array, states: int) -> Iterator[tuple[str, float]]:
    counts = kinetics.count(labels, times, states)
    exits, time = counts["exits"].values, counts["time"].values
    whole = counts["visit_ended"].values == 1
    for state in range(states):
        yield f"share of time in state {state}", float(time[state] / max(time.sum(), np.finfo(float).tiny))
        # one exit is added, so that the dwell time of a state that is never left stays finite
        yield f"mean dwell in state {state}", float(time[state] / (exits[state].sum() + 1))
        visits = counts["visit_duration"].values[whole & (counts["visit_state"].values == state)]
        if len(visits) > 2:
            yield f"variation of visits to state {state}", float(visits.std(ddof=1) / visits.mean())
        for to in range(states):
            if to != state:
                yield f"transitions {state} → {to}", float(exits[state, to])


def _both(
    observed: xr.DataArray, drawn: xr.DataArray, times: xr.DataArray, classes: xr.Dataset | None
) -> tuple[Array, Array, list[str]]:
    """The statistics that exist in data and all draws: `(statistic)`, `(sample, statistic)`, and their names."""
    x = observed.transpose("sequence", "time", "channel").values
    samples = _flat_draws(drawn).transpose("sample", "sequence", "time", "channel").values
    if len(samples) < FEWEST_REPLICATES or samples.shape[1:] != x.shape:
        raise ShapeError(
            f"replicates must be {FEWEST_REPLICATES} or more sets like the data, {x.shape}: got {len(samples)} of "
            f"{samples.shape[1:]}. Draw more, at the same times."
        )
    grid = times.transpose("sequence", "time").values
    samples = np.where(np.isfinite(x), samples, np.nan)
    mine = statistics(x, grid, classes)
    theirs = [statistics(sample, grid, classes) for sample in samples]
    names = [name for name in mine if all(name in one for one in theirs)]
    return np.array([mine[name] for name in names]), np.array([[one[name] for name in names] for one in theirs]), names


def _flat_draws(values: xr.DataArray) -> xr.DataArray:
    return values.stack(sample=("chain", "draw"), create_index=False)


def _columns(mine: Array, theirs: Array) -> dict[str, object]:
    """The columns of a table of statistics."""
    above, below = (theirs >= mine).mean(0), (theirs <= mine).mean(0)
    return {
        "observed": ("statistic", mine),
        "mean": ("statistic", theirs.mean(0)),
        "low": ("statistic", np.quantile(theirs, 0.05, axis=0)),
        "high": ("statistic", np.quantile(theirs, 0.95, axis=0)),
        "p": ("statistic", np.minimum(1.0, 2 * np.minimum(above, below))),
    }
