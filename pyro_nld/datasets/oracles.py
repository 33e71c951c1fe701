"""Exact posteriors and evidences where they exist: the best that a segmentation, a smoother or a bound can reach.

They use the true parameters of the data, in NumPy and double precision, and share no code with the models they judge.

Examples
--------
One observation with noise of variance 1, of a position whose variance T/k is 1, leaves the variance 1/2.

>>> data = nld.datasets.ornstein_uhlenbeck(sequences=1, steps=2, rate=1.0, temperature=1.0, noise=1.0)
>>> nld.oracles.ornstein_uhlenbeck_posterior(data)["filtered_covariance"].values[0, 0].tolist()
[[0.5]]
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import scipy
import xarray as xr
from numpy.typing import NDArray

from .._typing import Array, Numbers
from ..errors import DataError, ShapeError
from ..io.series import dataset_observations, dataset_times

HIDDEN_MARKOV = ("transition", "initial", "means", "covariances")
ORNSTEIN_UHLENBECK = ("rate", "temperature", "noise")


def hmm_posterior(data: xr.Dataset, online: bool) -> xr.Dataset:
    """P(sₜ | x₁…xₜ) online, by the forward filter, or P(sₜ | x₁…x_T), by the forward–backward smoother.

    Parameters
    ----------
    data: observations(sequence, time, channel), NaN where missing, with the truths of `datasets.three_state`:
        transition(state, next_state) from one observation to the next, initial(state), means(state, channel),
        covariances.
    online: use the past and the present only.

    Returns
    -------
    probability(sequence, time, state); label(sequence, time), its argmax; log_evidence(sequence), log p(x). After the
    end of a ragged sequence: NaN and -1.

    Raises
    ------
    DataError: a truth is absent.

    Not checked: that the data were drawn from these parameters.

    References
    ----------
    L. R. Rabiner, Proc. IEEE 77:257–286, 1989.

    Examples
    --------
    >>> data = nld.datasets.three_state(sequences=20, steps=50)
    >>> exact = nld.oracles.hmm_posterior(data, online=False)
    >>> bool((exact["label"] == data["states"]).mean() > 0.99)
    True
    """
    _require(data, HIDDEN_MARKOV)
    transition, initial = data["transition"].to_numpy(), data["initial"].to_numpy()
    density = _emission(_observed(data), data["means"].to_numpy(), data["covariances"].to_numpy())
    probability, evidence = _forward(density, transition, initial)
    if not online:
        probability = _backward(probability, transition)
    ended = _ended(data)
    label = np.where(ended, -1, probability.argmax(-1))
    return xr.Dataset(
        {
            "probability": (("sequence", "time", "state"), np.where(ended[..., None], np.nan, probability)),
            "label": (("sequence", "time"), label),
            "log_evidence": ("sequence", evidence),
        },
        coords={name: data[name] for name in ("sequence", "time") if name in data.coords},
        attrs={"online": int(online), "description": "posterior of the hidden Markov chain with its true parameters"},
    )


def _emission(x: Array, means: Array, covariances: Array) -> Array:
    """log N(x; mean, covariance) of every state, over the observed channels, `(sequence, time, state)`."""
    density = np.zeros((*x.shape[:2], len(means)))
    patterns, member = np.unique(np.isfinite(x).reshape(-1, x.shape[-1]), axis=0, return_inverse=True)
    member = member.reshape(x.shape[:2])
    for index, observed in enumerate(patterns):
        if observed.any():
            at = member == index
            values, block = x[at][:, observed], np.ix_(observed, observed)
            laws = [
                scipy.stats.multivariate_normal(m[observed], c[block]) for m, c in zip(means, covariances, strict=True)
            ]
            density[at] = np.stack([law.logpdf(values).reshape(-1) for law in laws], -1)
    return density


def _forward(density: Array, transition: Array, initial: Array) -> tuple[Array, Array]:
    """Filtered probabilities and log p(x), in logarithms because improbable observations would underflow."""
    filtered, evidence = np.empty_like(density), np.zeros(len(density))
    predicted = np.broadcast_to(initial, filtered[:, 0].shape)
    for t in range(density.shape[1]):
        with np.errstate(divide="ignore"):
            joint = np.log(predicted) + density[:, t]
        gained = np.logaddexp.reduce(joint, -1)
        filtered[:, t] = np.exp(joint - gained[:, None])
        evidence += gained
        predicted = filtered[:, t] @ transition
    return filtered, evidence


def _backward(filtered: Array, transition: Array) -> Array:
    """Smoothed probabilities, from filtered ones and their predictions; likelihoods are not needed again."""
    smoothed = filtered.copy()
    for t in reversed(range(filtered.shape[1] - 1)):
        predicted = filtered[:, t] @ transition
        ratio = np.divide(smoothed[:, t + 1], predicted, out=np.zeros_like(predicted), where=predicted > 0)
        smoothed[:, t] = filtered[:, t] * (ratio @ transition.T)
    return smoothed


class LinearGaussian(NamedTuple):
    """z₀ ~ N(mean, covariance);  z_{k+1} = A_k z_k + N(0, Q_k);  xₖ = C zₖ + N(0, R).

    `mean`: `(state,)`. `covariance`: `(state, state)`. `transition`, `noise`: A and Q, broadcast to
    `(sequence, step, state, state)` with one step fewer than times. `observation`: C, `(channel, state)`.
    `observation_noise`: R, `(channel, channel)`.
    """

    mean: Array
    covariance: Array
    transition: Array
    noise: Array
    observation: Array
    observation_noise: Array


def kalman(x: Numbers, model: LinearGaussian) -> xr.Dataset:
    """log p(x), p(zₜ | x₁…xₜ) and p(zₜ | x₁…x_T) of a linear Gaussian model, exactly.

    For a discretised model with substeps, put NaN between the observations: the grid may be finer than they are.

    Parameters
    ----------
    x: `(sequence, time, channel)`, NaN where missing.
    model: the matrices of the model.

    Returns
    -------
    log_evidence(sequence); filtered_mean, smoothed_mean(sequence, time, state); filtered_covariance,
    smoothed_covariance(sequence, time, state, other_state).

    Raises
    ------
    ShapeError: the model's matrices do not fit the observations or each other.

    Not checked: that covariances are positive definite.

    References
    ----------
    S. Särkkä, Bayesian Filtering and Smoothing, 2013, theorems 4.2 and 8.2; update in Joseph's form.

    Examples
    --------
    A random walk with steps of variance 1, observed with noise of variance 1, is known with the variance (√5 − 1)/2.

    >>> one = np.eye(1)
    >>> walk = nld.oracles.LinearGaussian(np.zeros(1), *[one] * 5)
    >>> round(float(nld.oracles.kalman(np.zeros((1, 20, 1)), walk)["filtered_covariance"][0, -1, 0, 0]), 4)
    0.618
    """
    x = np.asarray(x, float)
    model = _broadcast(x, model)
    evidence, mean, covariance = _filter(x, model)
    smoothed_mean, smoothed_covariance = _smooth(mean, covariance, model)
    vector, matrix = ("sequence", "time", "state"), ("sequence", "time", "state", "other_state")
    return xr.Dataset(
        {
            "log_evidence": ("sequence", evidence),
            "filtered_mean": (vector, mean),
            "filtered_covariance": (matrix, covariance),
            "smoothed_mean": (vector, smoothed_mean),
            "smoothed_covariance": (matrix, smoothed_covariance),
        }
    )


def _broadcast(x: Array, model: LinearGaussian) -> LinearGaussian:
    """The model with A and Q of every sequence and step, in double precision."""
    parts = LinearGaussian(*(np.asarray(part, float) for part in model))
    if x.ndim != 3:
        raise ShapeError(f"observations must be (sequence, time, channel): got {x.shape}. Add the missing axis.")
    state = parts.mean.size
    square = (x.shape[0], x.shape[1] - 1, state, state)
    wanted = (state,), (state, state), square, square, (x.shape[2], state), (x.shape[2], x.shape[2])
    return LinearGaussian(*(_fit(*part) for part in zip(LinearGaussian._fields, parts, wanted, strict=True)))


def _fit(name: str, part: Array, shape: tuple[int, ...]) -> Array:
    """The matrix, broadcast over sequences and steps. Its own two axes are not broadcast."""
    if part.shape[-2:] == shape[-2:]:
        with suppress(ValueError):
            return np.broadcast_to(part, shape)
    raise ShapeError(f"{name} must be {shape}: got {part.shape}. Check it against the data and the other matrices.")


def _filter(x: Array, model: LinearGaussian) -> tuple[Array, Array, Array]:
    sequences, times, _ = x.shape
    mean = np.empty((sequences, times, len(model.mean)))
    covariance = np.empty((*mean.shape, len(model.mean)))
    predicted = np.tile(model.mean, (sequences, 1)), np.tile(model.covariance, (sequences, 1, 1))
    evidence = np.zeros(sequences)
    for k in range(times):
        gained, mean[:, k], covariance[:, k] = _update(x[:, k], *predicted, model)
        evidence += gained
        if k < times - 1:
            a = model.transition[:, k]
            moved = a @ covariance[:, k] @ a.mT + model.noise[:, k]
            predicted = (a @ mean[:, k, :, None])[..., 0], moved
    return evidence, mean, covariance


def _update(x: Array, mean: Array, covariance: Array, model: LinearGaussian) -> tuple[Array, Array, Array]:
    """log p(x | past), and mean and covariance given x. A missing channel counts as noise of variance 1."""
    observed = np.isfinite(x).astype(float)
    c = model.observation * observed[..., None]
    both = observed[:, :, None] * observed[:, None, :]
    r = model.observation_noise * both + (1 - observed)[..., None] * np.eye(x.shape[-1])
    surprise = np.where(observed > 0, x - (c @ mean[..., None])[..., 0], 0.0)
    spread = c @ covariance @ c.mT + r
    gain = np.linalg.solve(spread, c @ covariance).mT
    quadratic = (surprise * np.linalg.solve(spread, surprise[..., None])[..., 0]).sum(-1)
    evidence = -0.5 * (quadratic + np.linalg.slogdet(spread).logabsdet + observed.sum(-1) * np.log(2 * np.pi))
    rest = np.eye(mean.shape[-1]) - gain @ c
    return evidence, mean + (gain @ surprise[..., None])[..., 0], rest @ covariance @ rest.mT + gain @ r @ gain.mT


def _smooth(mean: Array, covariance: Array, model: LinearGaussian) -> tuple[Array, Array]:
    """The smoother of Rauch, Tung and Striebel. With a pseudo-inverse, some axes of a step may have no noise."""
    mean, covariance = mean.copy(), covariance.copy()
    for k in reversed(range(mean.shape[1] - 1)):
        a = model.transition[:, k]
        moved = a @ covariance[:, k] @ a.mT + model.noise[:, k]
        gain = covariance[:, k] @ a.mT @ np.linalg.pinv(moved, hermitian=True)
        ahead = mean[:, k + 1] - (a @ mean[:, k, :, None])[..., 0]
        mean[:, k] += (gain @ ahead[..., None])[..., 0]
        covariance[:, k] += gain @ (covariance[:, k + 1] - moved) @ gain.mT
    return mean, covariance


def ornstein_uhlenbeck_chain(times: Numbers, rate: Numbers, temperature: float, noise: float) -> LinearGaussian:
    """A = e^{−kΔ},  Q = (T/k)(1 − e^{−2kΔ}):  dz = −k z dt + √(2T) dW, observed as x = z + noise·ξ, exactly.

    Parameters
    ----------
    times: `(time,)` or `(sequence, time)`, user's unit; after the end of a ragged sequence, z does not move.
    rate: k > 0 per axis, 1/time. temperature: T > 0, length²/time (friction 1). noise: standard deviation, length.
    """
    rate = np.atleast_1d(np.asarray(rate, float))
    elapsed = np.nan_to_num(np.diff(np.asarray(times, float)))[..., None]
    eye, variance = np.eye(len(rate)), temperature / rate
    return LinearGaussian(
        mean=np.zeros(len(rate)),
        covariance=variance * eye,
        transition=np.exp(-rate * elapsed)[..., None] * eye,
        noise=(-variance * np.expm1(-2 * rate * elapsed))[..., None] * eye,
        observation=eye,
        observation_noise=noise**2 * eye,
    )


def ornstein_uhlenbeck_posterior(data: xr.Dataset) -> xr.Dataset:
    """`kalman` for data of `datasets.ornstein_uhlenbeck`, of which values may be missing and parts cut off.

    Parameters
    ----------
    data: observations(sequence, time, channel) with the truths rate, temperature and noise.

    Raises
    ------
    DataError: a truth is absent.
    """
    _require(data, ORNSTEIN_UHLENBECK)
    rate, temperature, noise = (data[name].to_numpy() for name in ORNSTEIN_UHLENBECK)
    return kalman(
        _observed(data), ornstein_uhlenbeck_chain(dataset_times(data), rate, float(temperature), float(noise))
    )


def _require(data: xr.Dataset, names: tuple[str, ...]) -> None:
    absent = [name for name in ("observations", *names) if name not in data]
    if absent:
        raise DataError(f"an exact posterior needs the true {absent[0]}: the data have none. Use simulated data.")


def _observed(data: xr.Dataset) -> Array:
    return dataset_observations(data).astype(float)


def _ended(data: xr.Dataset) -> NDArray[np.bool_]:
    """True after the end of a ragged sequence."""
    return np.broadcast_to(np.isnan(dataset_times(data)), (data.sizes["sequence"], data.sizes["time"]))
