"""The oracles themselves, against sums over every hidden path and against the joint Gaussian written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import xarray as xr
from scipy.linalg import block_diag
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from pyro_nld import datasets
from pyro_nld.datasets.oracles import (
    LinearGaussian,
    hmm_posterior,
    kalman,
    ornstein_uhlenbeck_chain,
    ornstein_uhlenbeck_posterior,
)
from pyro_nld.errors import DataError, ShapeError


def chain(**changes: object) -> xr.Dataset:
    """Four short sequences of overlapping states, a fifth of the entries missing."""
    settings = {"transition": [[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.0, 0.5, 0.5]], "first_state": None, "channels": 2}
    data = datasets.three_state(4, 5, seed=11, **(settings | changes))
    hidden = np.random.default_rng(12).random(data["observations"].shape) < 0.2
    return data.assign(observations=data["observations"].where(~hidden))


def every_path(data: xr.Dataset, sequence: int, times: int) -> tuple[np.ndarray, np.ndarray]:
    """All state paths of a sequence up to `times`, and log p(path, x)."""
    x = data["observations"].to_numpy()[sequence]
    initial, transition = data["initial"].to_numpy(), data["transition"].to_numpy()
    paths = np.array(list(product(range(len(initial)), repeat=times)))
    with np.errstate(divide="ignore"):
        joint = np.log(initial[paths[:, 0]]) + np.log(transition[paths[:, :-1], paths[:, 1:]]).sum(-1)
    for t in range(times):
        seen = np.isfinite(x[t])
        for state in range(len(initial)):
            mean = data["means"].to_numpy()[state, seen]
            covariance = data["covariances"].to_numpy()[state][seen][:, seen]
            if seen.any():
                joint[paths[:, t] == state] += multivariate_normal(mean, covariance).logpdf(x[t, seen])
    return paths, joint


@pytest.mark.parametrize("first_state", [None, 1])
def test_smoother_and_evidence_equal_the_sum_over_all_paths(first_state: int | None) -> None:
    data = chain(first_state=first_state)
    posterior = hmm_posterior(data, online=False)
    for sequence in range(4):
        paths, joint = every_path(data, sequence, 5)
        evidence = logsumexp(joint)
        np.testing.assert_allclose(posterior["log_evidence"][sequence], evidence, rtol=1e-12)
        for state in range(3):
            wanted = (np.exp(joint - evidence)[:, None] * (paths == state)).sum(0)
            np.testing.assert_allclose(posterior["probability"][sequence, :, state], wanted, atol=1e-12)
    np.testing.assert_array_equal(posterior["label"], posterior["probability"].argmax("state"))


@pytest.mark.parametrize("times", [1, 2, 4])
def test_filter_equals_the_sum_over_all_paths_so_far(times: int) -> None:
    data = chain()
    online = hmm_posterior(data, online=True)["probability"].to_numpy()
    for sequence in range(4):
        paths, joint = every_path(data, sequence, times)
        wanted = [np.exp(logsumexp(joint[paths[:, -1] == state]) - logsumexp(joint)) for state in range(3)]
        np.testing.assert_allclose(online[sequence, times - 1], wanted, atol=1e-12)


def test_a_filter_does_not_see_the_future_and_a_smoother_does() -> None:
    data = chain()
    changed = data.assign(observations=data["observations"].where(data["time"] < 4, 3.0))
    filters = [hmm_posterior(part, online=True)["probability"].isel(time=slice(4)) for part in (data, changed)]
    smoothers = [hmm_posterior(part, online=False)["probability"].isel(time=slice(4)) for part in (data, changed)]
    xr.testing.assert_equal(*filters)
    assert float(abs(smoothers[0] - smoothers[1]).max()) > 1e-3


def test_probabilities_are_calibrated() -> None:
    """Where the posterior says p, the state is there in a share p of cases; noise taken for half as large says more."""
    data = datasets.three_state(300, 100, seed=13, channels=2)
    accuracy = []
    for online in (True, False):
        posterior = hmm_posterior(data, online)
        claimed = posterior["probability"].max("state").mean("time").to_numpy()
        right = (posterior["label"] == data["states"]).mean("time").to_numpy()
        error = (right - claimed).std(ddof=1) / np.sqrt(len(right))
        assert abs((right - claimed).mean()) < 5 * error
        accuracy.append(right.mean())
    assert accuracy[0] < accuracy[1]
    wrong = hmm_posterior(data.assign(covariances=data["covariances"] / 4), online=True)
    off = (wrong["label"] == data["states"]).mean("time") - wrong["probability"].max("state").mean("time")
    assert abs(float(off.mean())) > 5 * float(off.std(ddof=1)) / np.sqrt(300)


def test_an_absurd_observation_leaves_probabilities() -> None:
    data = chain(first_state=0)
    data["observations"][0, 0] = data["means"][2] + 1e3
    posterior = hmm_posterior(data, online=False)
    np.testing.assert_allclose(posterior["probability"].sum("state"), 1, rtol=1e-9)
    assert posterior["label"][0, 0] == 0
    assert bool(np.isfinite(posterior["log_evidence"]).all())


def test_a_ragged_sequence_is_one_that_was_cut() -> None:
    data = chain().drop_vars("time")
    times = np.tile(np.arange(5.0), (4, 1))
    times[1, 3:] = np.nan
    ragged = data.assign(times=(("sequence", "time"), times))
    ragged["observations"][1, 3:] = np.nan
    posterior = hmm_posterior(ragged, online=False)
    cut = hmm_posterior(chain().isel(sequence=[1], time=slice(3)), online=False)
    np.testing.assert_allclose(posterior["probability"][1, :3], cut["probability"][0], atol=1e-14)
    np.testing.assert_allclose(posterior["log_evidence"][1], cut["log_evidence"][0])
    assert posterior["label"][1].to_numpy().tolist()[3:] == [-1, -1]
    assert bool(posterior["probability"][1, 3:].isnull().all())


@pytest.mark.parametrize("name", ["observations", "transition", "initial", "means", "covariances"])
def test_hmm_needs_every_truth(name: str) -> None:
    with pytest.raises(DataError, match=f"an exact posterior needs the true {name}: the data have none"):
        hmm_posterior(chain().drop_vars(name), online=True)


SEQUENCES, TIMES, STATE, CHANNELS = 3, 6, 3, 2


def linear(seed: int = 21, *, noiseless: bool = False) -> tuple[np.ndarray, LinearGaussian]:
    """A model with its own full matrices in every step and sequence, and data with missing entries."""
    random = np.random.default_rng(seed)

    def spread(*shape: int) -> np.ndarray:
        a = random.standard_normal(shape)
        return a @ np.swapaxes(a, -1, -2)

    noise = spread(SEQUENCES, TIMES - 1, STATE, STATE)
    if noiseless:
        noise[..., 0, :] = noise[..., :, 0] = 0
    model = LinearGaussian(
        mean=random.standard_normal(STATE),
        covariance=spread(STATE, STATE),
        transition=0.6 * random.standard_normal((SEQUENCES, TIMES - 1, STATE, STATE)),
        noise=noise,
        observation=random.standard_normal((CHANNELS, STATE)),
        observation_noise=spread(CHANNELS, CHANNELS),
    )
    x = 2 * random.standard_normal((SEQUENCES, TIMES, CHANNELS))
    x[0, 2], x[1, 3, 0], x[2, 0, 1], x[2, 5] = np.nan, np.nan, np.nan, np.nan
    return x, model


def joint_gaussian(
    model: LinearGaussian, sequence: int, times: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean and covariance of (z₀, …, z) stacked, and what maps it to the observations, with their noise.

    Written as z = G e: G the block lower triangle of products of A, e the independent starting point and noises.
    """
    size = len(model.mean)
    a = model.transition[sequence]
    grow = np.zeros((times * size, times * size))
    for column in range(times):
        block = np.eye(size)
        for row in range(column, times):
            grow[row * size : (row + 1) * size, column * size : (column + 1) * size] = block
            if row < times - 1:
                block = a[row] @ block
    source = block_diag(model.covariance, *model.noise[sequence, : times - 1])
    see = np.kron(np.eye(times), model.observation)
    return grow[:, :size] @ model.mean, grow @ source @ grow.T, see, np.kron(np.eye(times), model.observation_noise)


def conditional(
    x: np.ndarray, model: LinearGaussian, sequence: int, times: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """log p(x), and mean and covariance of all states given x, by the formula for conditioning a Gaussian."""
    mean, covariance, see, noise = joint_gaussian(model, sequence, times)
    flat = x[sequence, :times].ravel()
    seen = np.isfinite(flat)
    see, noise = see[seen], noise[np.ix_(seen, seen)]
    total = see @ covariance @ see.T + noise
    gain = np.linalg.solve(total, see @ covariance).T
    evidence = multivariate_normal(see @ mean, total).logpdf(flat[seen])
    return evidence, mean + gain @ (flat[seen] - see @ mean), covariance - gain @ see @ covariance


@pytest.mark.parametrize("noiseless", [False, True])
def test_kalman_equals_the_joint_gaussian(noiseless: bool) -> None:
    x, model = linear(noiseless=noiseless)
    exact = kalman(x, model)
    for sequence in range(SEQUENCES):
        evidence, mean, covariance = conditional(x, model, sequence, TIMES)
        np.testing.assert_allclose(exact["log_evidence"][sequence], evidence, rtol=1e-10)
        np.testing.assert_allclose(exact["smoothed_mean"][sequence].to_numpy().ravel(), mean, rtol=1e-7, atol=1e-9)
        for t in range(TIMES):
            at = slice(t * STATE, (t + 1) * STATE)
            np.testing.assert_allclose(
                exact["smoothed_covariance"][sequence, t], covariance[at, at], rtol=1e-6, atol=1e-9
            )
            _, sofar, spread = conditional(x, model, sequence, t + 1)
            np.testing.assert_allclose(exact["filtered_mean"][sequence, t], sofar[at], rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(exact["filtered_covariance"][sequence, t], spread[at, at], rtol=1e-7, atol=1e-10)


def test_a_broken_kalman_would_be_seen() -> None:
    """The same comparison fails when one step's noise is off by a percent, or a missing entry counts as zero."""
    x, model = linear()
    truth = np.array([conditional(x, model, sequence, TIMES)[0] for sequence in range(SEQUENCES)])
    noisier = model._replace(noise=model.noise * np.where(np.arange(TIMES - 1) == 2, 1.01, 1)[:, None, None])
    assert not np.allclose(kalman(x, noisier)["log_evidence"], truth, rtol=1e-10)
    assert not np.allclose(kalman(np.nan_to_num(x), model)["log_evidence"], truth, rtol=1e-10)


def test_matrices_shared_by_steps_or_sequences_broadcast() -> None:
    x, model = linear()
    for kept in (np.s_[:1], np.s_[:1, :1]):
        few = model._replace(transition=model.transition[kept], noise=model.noise[kept])
        full = few._replace(
            transition=np.broadcast_to(few.transition, model.transition.shape),
            noise=np.broadcast_to(few.noise, model.noise.shape),
        )
        xr.testing.assert_identical(kalman(x, few), kalman(x, full))
    per_step = model._replace(transition=model.transition[0], noise=model.noise[0, 0])
    assert kalman(x, per_step)["log_evidence"].shape == (SEQUENCES,)


def test_substeps_are_observations_that_are_missing() -> None:
    """Two half steps of an Ornstein–Uhlenbeck process, seen only at their end, are the whole step."""
    times = np.array([0.0, 0.2, 0.5, 0.6])
    fine = np.sort(np.concatenate([times, (times[1:] + times[:-1]) / 2]))
    x = np.random.default_rng(22).standard_normal((2, 4, 2))
    padded = np.full((2, 7, 2), np.nan)
    padded[:, ::2] = x
    whole = kalman(x, ornstein_uhlenbeck_chain(times, [1.0, 3.0], 0.5, 0.2))
    halves = kalman(padded, ornstein_uhlenbeck_chain(fine, [1.0, 3.0], 0.5, 0.2))
    np.testing.assert_allclose(halves["log_evidence"], whole["log_evidence"], rtol=1e-12)
    np.testing.assert_allclose(halves["smoothed_mean"][:, ::2], whole["smoothed_mean"], atol=1e-12)


@pytest.mark.parametrize("field", LinearGaussian._fields[1:])
def test_a_matrix_of_another_size_is_named(field: str) -> None:
    """The mean, the first field, says how many axes a state has."""
    x, model = linear()
    with pytest.raises(ShapeError, match=f"{field} must be .*Check it against the data"):
        kalman(x, model._replace(**{field: np.ones((7, 7))}))


def test_a_number_is_no_matrix_and_observations_have_three_axes() -> None:
    x, model = linear()
    with pytest.raises(ShapeError, match=r"observation_noise must be \(2, 2\): got \(\)"):
        kalman(x, model._replace(observation_noise=np.array(0.5)))
    with pytest.raises(ShapeError, match=r"observations must be \(sequence, time, channel\): got \(6, 2\)"):
        kalman(x[0], model)


def test_ornstein_uhlenbeck_evidence_equals_its_covariance_function() -> None:
    """x ~ N(0, (T/k) e^{−k|t−t'|} + noise²), per axis: another road to the same number, irregular times included."""
    rate, temperature, noise = np.array([0.5, 2.0]), 0.8, 0.3
    interval = np.array([0.1, 1.5, 0.4, 0.05, 0.7])
    data = datasets.ornstein_uhlenbeck(
        3, 6, seed=23, rate=rate, temperature=temperature, noise=noise, interval=interval
    )
    data["observations"][1, 2, 0] = np.nan
    exact = ornstein_uhlenbeck_posterior(data)["log_evidence"]
    lag = abs(np.subtract.outer(data["time"].to_numpy(), data["time"].to_numpy()))
    for sequence, x in enumerate(data["observations"].to_numpy()):
        wanted = 0.0
        for axis in range(2):
            seen = np.isfinite(x[:, axis])
            covariance = temperature / rate[axis] * np.exp(-rate[axis] * lag) + noise**2 * np.eye(6)
            wanted += multivariate_normal(np.zeros(seen.sum()), covariance[np.ix_(seen, seen)]).logpdf(x[seen, axis])
        np.testing.assert_allclose(exact[sequence], wanted, rtol=1e-10)


def test_ornstein_uhlenbeck_times_may_be_ragged() -> None:
    data = datasets.ornstein_uhlenbeck(2, 5, seed=24, interval=0.3)
    times = np.tile(data["time"], (2, 1))
    times[1, 3:] = np.nan
    ragged = data.drop_vars("time").assign(times=(("sequence", "time"), times))
    ragged["observations"][1, 3:] = np.nan
    cut = ornstein_uhlenbeck_posterior(data.isel(sequence=[1], time=slice(3)))
    np.testing.assert_allclose(ornstein_uhlenbeck_posterior(ragged)["log_evidence"][1], cut["log_evidence"][0])


def test_smoothed_intervals_cover_the_true_path() -> None:
    data = datasets.ornstein_uhlenbeck(400, 20, seed=25, noise=0.5, interval=0.2)
    exact = ornstein_uhlenbeck_posterior(data)
    scale = np.sqrt(exact["smoothed_covariance"][..., 0, 0])
    score = ((data["path"][..., 0] - exact["smoothed_mean"][..., 0]) / scale).to_numpy()
    share = (np.square(score)).mean(1)
    assert abs(share.mean() - 1) < 5 * share.std(ddof=1) / np.sqrt(len(share))
    narrow = np.square(score / 0.8).mean(1)
    assert abs(narrow.mean() - 1) > 5 * narrow.std(ddof=1) / np.sqrt(len(narrow))


@pytest.mark.parametrize("name", ["observations", "rate", "temperature", "noise"])
def test_ornstein_uhlenbeck_needs_every_truth(name: str) -> None:
    with pytest.raises(DataError, match=f"needs the true {name}"):
        ornstein_uhlenbeck_posterior(datasets.ornstein_uhlenbeck(2, 5).drop_vars(name))
