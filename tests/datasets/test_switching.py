"""Simulated truths: the draws have the law they state, and impossible laws are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from pyro_nld import datasets
from pyro_nld.datasets import __all__, as_tensors, asymmetric_transition, switching, three_state
from pyro_nld.datasets.harmonic import ornstein_uhlenbeck
from pyro_nld.errors import DoubtfulDataWarning, NLDError, PriorError, ShapeError, TimeGridError

SE = 5


def deviation(count: np.ndarray, share: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Counts against binomial probabilities, in standard errors."""
    return abs(count / total - share) / np.sqrt(share * (1 - share) / total)


def switches(data: xr.Dataset) -> np.ndarray:
    """How often each state follows each."""
    states, size = data["states"].to_numpy(), data.sizes["state"]
    pairs = size * states[:, :-1] + states[:, 1:]
    return np.bincount(pairs.ravel(), minlength=size**2).reshape(size, size)


@pytest.mark.parametrize("transition", [None, asymmetric_transition(), [[0.9, 0.1], [0.4, 0.6]]])
def test_states_switch_with_the_stated_probabilities(transition: object) -> None:
    data = three_state(400, 100, seed=1, transition=transition)
    count, chain = switches(data), data["transition"].to_numpy()
    assert deviation(count, chain, count.sum(1, keepdims=True)).max() < SE
    slower = chain + 0.2 * (np.eye(len(chain)) - chain)
    assert deviation(count, slower, count.sum(1, keepdims=True)).max() > SE


def test_a_switch_that_cannot_happen_does_not() -> None:
    circle = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]])
    assert (switches(three_state(100, 50, seed=2, transition=circle))[circle == 0] == 0).all()


@pytest.mark.parametrize("occupancy", [(1 / 3, 1 / 3, 1 / 3), (0.5, 0.3, 0.2), (0.1, 0.9)])
def test_occupancy_is_the_stationary_law(occupancy: tuple[float, ...]) -> None:
    data = three_state(500, 100, seed=3, transition=asymmetric_transition(occupancy), first_state=None)
    np.testing.assert_allclose(data["occupancy"], occupancy, atol=1e-12)
    np.testing.assert_allclose(data["occupancy"] @ data["transition"], occupancy, atol=1e-12)
    for state, share in enumerate(occupancy):
        visits = (data["states"] == state).mean("time").to_numpy()
        assert abs(visits.mean() - share) < SE * visits.std(ddof=1) / np.sqrt(500)
        first = (data["states"][:, 0] == state).to_numpy()
        assert deviation(first.sum(), np.array(share), np.array(500)) < SE


def test_the_default_is_the_papers_chain() -> None:
    data = three_state(50, 20)
    np.testing.assert_allclose(data["transition"], 0.025 + 0.925 * np.eye(3), atol=1e-15)
    np.testing.assert_allclose(data["dwell"], 20)
    assert (data["states"][:, 0] == 0).all()
    assert data["observations"].shape == (50, 20, 15)
    np.testing.assert_array_equal(data["time"], np.arange(20.0))


def test_mean_dwell_is_that_of_the_draws() -> None:
    """Complete visits, first and last of a sequence left out, in sequences long enough for the cut not to matter."""
    data = three_state(2, 40000, seed=4, transition=asymmetric_transition(mean_switch=0.2), channels=1)
    for state, wanted in enumerate(data["dwell"].to_numpy()):
        visits = np.concatenate([complete_visits(states, state) for states in data["states"].to_numpy()])
        assert abs(visits.mean() - wanted) < SE * visits.std(ddof=1) / np.sqrt(len(visits))


def complete_visits(states: np.ndarray, state: int) -> np.ndarray:
    borders = np.flatnonzero(np.diff(states)) + 1
    return np.diff(borders)[states[borders[:-1]] == state]


def test_each_state_has_its_mean_and_its_full_covariance() -> None:
    data = three_state(200, 200, seed=5, channels=6)
    for state in range(3):
        drawn = data["observations"].to_numpy()[data["states"].to_numpy() == state]
        mean, spread = data["means"][state].to_numpy(), data["covariances"][state].to_numpy()
        variance = np.diagonal(spread)
        assert (abs(drawn.mean(0) - mean) / np.sqrt(variance / len(drawn))).max() < SE
        error = np.sqrt((np.outer(variance, variance) + spread**2) / len(drawn))
        assert (abs(np.cov(drawn.T) - spread) / error).max() < SE
        assert (abs(np.cov(drawn.T) - np.diag(variance)) / error).max() > SE


@pytest.mark.parametrize("parameter_seed", range(5))
def test_random_parameters_have_the_papers_scale(parameter_seed: int) -> None:
    data = three_state(1, 20, parameter_seed=parameter_seed)
    spread = data["covariances"].to_numpy()
    deviations = np.sqrt(np.diagonal(spread, axis1=1, axis2=2))
    np.testing.assert_allclose(deviations.mean(1), 0.5)
    correlation = spread / deviations[:, :, None] / deviations[:, None, :]
    typical = np.sqrt(np.square(correlation[:, ~np.eye(15, dtype=bool)]).mean())
    assert 0.1 < typical < 0.3
    assert np.linalg.cond(spread).max() < 100


def test_random_means_are_normal_with_deviation_two_fifths() -> None:
    means = three_state(1, 20, transition=asymmetric_transition((0.1,) * 10), channels=400)["means"].to_numpy()
    square = np.square(means / 0.4)
    assert abs(square.mean() - 1) < SE * np.sqrt(2 / means.size)
    assert abs(means.mean()) < SE * 0.4 / np.sqrt(means.size)


def test_given_parameters_are_used_and_say_how_many_channels() -> None:
    means, covariances = np.array([[-5.0, 0.0], [5.0, 0.0]]), np.tile(0.01 * np.eye(2), (2, 1, 1))
    chain = [[0.5, 0.5], [0.5, 0.5]]
    data = three_state(20, 30, transition=chain, means=means, covariances=covariances)
    np.testing.assert_array_equal(data["means"], means)
    np.testing.assert_array_equal(data["covariances"], covariances)
    np.testing.assert_array_equal(data["observations"][..., 0] > 0, data["states"] == 1)
    assert three_state(2, 20, transition=chain, covariances=covariances)["means"].shape == (2, 2)


def test_seeds_of_parameters_and_draws_are_apart() -> None:
    base = three_state(3, 30, seed=6, parameter_seed=6)
    xr.testing.assert_identical(base, three_state(3, 30, seed=6, parameter_seed=6))
    drawn, made = three_state(3, 30, seed=7, parameter_seed=6), three_state(3, 30, seed=6, parameter_seed=7)
    np.testing.assert_array_equal(base["means"], drawn["means"])
    np.testing.assert_array_equal(base["covariances"], drawn["covariances"])
    assert (base["states"] != drawn["states"]).any()
    np.testing.assert_array_equal(base["states"], made["states"])
    assert (base["means"] != made["means"]).all()


def test_the_same_number_seeds_two_streams() -> None:
    """Noise and means of seed 0 are unrelated; a shared stream would repeat the very same normal numbers."""
    data = three_state(30, 30)
    noise = np.random.default_rng((switching.DRAW_STREAM, 0)).standard_normal(45)
    means = np.random.default_rng((switching.PARAMETER_STREAM, 0)).standard_normal(45)
    assert not np.intersect1d(noise, means).size
    assert data.attrs["seed"] == data.attrs["parameter_seed"] == 0


@pytest.mark.parametrize("simulate", [three_state, ornstein_uhlenbeck])
def test_a_simulation_goes_through_the_door(simulate: Callable[..., xr.Dataset]) -> None:
    times, x = as_tensors(simulate(sequences=4, steps=30))
    assert times.shape == (30,)
    assert x.shape[:2] == (4, 30)


@pytest.mark.parametrize("occupancy", [(0.5, 0.3, 0.2), (0.7, 0.1, 0.1, 0.1)])
def test_asymmetric_chains_are_reversible_with_the_stated_rate(occupancy: tuple[float, ...]) -> None:
    chain = asymmetric_transition(occupancy, mean_switch=0.04)
    flow = np.array(occupancy)[:, None] * chain
    np.testing.assert_allclose(chain.sum(1), 1)
    np.testing.assert_allclose(flow, flow.T)
    np.testing.assert_allclose(1 - np.trace(flow), 0.04)


GOOD = np.array([[0.9, 0.1], [0.2, 0.8]])
UNIT = np.tile(np.eye(2), (2, 1, 1))

IMPOSSIBLE: dict[str, tuple[Callable[[], object], type[NLDError], str]] = {
    "no sequences": (
        lambda: three_state(0, 20),
        ShapeError,
        "a data set needs a sequence and 2 steps or more: got 0 and 20",
    ),
    "one step": (lambda: ornstein_uhlenbeck(3, 1), ShapeError, "got 3 and 1. Ask for more."),
    "transition not square": (
        lambda: three_state(transition=GOOD[:1]),
        ShapeError,
        "transition must be (state, state) of 2 states or more: got (1, 2).",
    ),
    "one state": (lambda: three_state(transition=[[1.0]]), ShapeError, "got (1, 1)"),
    "rows of transition": (
        lambda: three_state(transition=[[0.9, 0.1], [0.2, 0.7]]),
        PriorError,
        "rows of transition must sum to one: row 1 sums to 0.9. Divide by it.",
    ),
    "columns instead of rows": (lambda: three_state(transition=GOOD.T), PriorError, "row 0 sums to 1.1"),
    "negative probability": (
        lambda: three_state(transition=[[1.2, -0.2], [0.2, 0.8]]),
        PriorError,
        "transition must hold probabilities: got 1.2 at row 0, column 0. Correct it.",
    ),
    "probability missing": (lambda: three_state(transition=GOOD * np.nan), PriorError, "got nan at row 0, column 0"),
    "states apart": (
        lambda: three_state(transition=np.kron(np.eye(2), GOOD)),
        PriorError,
        "transition must have one stationary law: some states are never left. Link them.",
    ),
    "absorbing state": (lambda: three_state(transition=[[1.0, 0.0], [0.2, 0.8]]), PriorError, "never left"),
    "first state": (
        lambda: three_state(first_state=3),
        PriorError,
        "first_state must be one of 0…2: got 3. Or None for any.",
    ),
    "means of other states": (
        lambda: three_state(transition=GOOD, means=np.zeros((3, 4))),
        ShapeError,
        "means must be (2, 4) for 2 states: got (3, 4). Give one per state.",
    ),
    "means not finite": (
        lambda: three_state(transition=GOOD, means=[[0.0, np.inf], [1.0, 2.0]]),
        PriorError,
        "means must be finite",
    ),
    "covariances of other channels": (
        lambda: three_state(transition=GOOD, means=np.zeros((2, 4)), covariances=UNIT),
        ShapeError,
        "covariances must be (2, 4, 4) for 2 states: got (2, 2, 2).",
    ),
    "means without channels": (lambda: three_state(means=[0.0, 1.0, 2.0]), ShapeError, "got (3,)"),
    "covariance not symmetric": (
        lambda: three_state(transition=GOOD, covariances=UNIT + np.array([[0, 0.1], [0, 0]])),
        PriorError,
        "covariances must be symmetric and positive definite: state 0 is not. Correct it.",
    ),
    "covariance not positive": (
        lambda: three_state(transition=GOOD, covariances=[np.eye(2), np.diag([1.0, 0.0])]),
        PriorError,
        "state 1 is not",
    ),
    "covariance missing": (
        lambda: three_state(transition=GOOD, covariances=UNIT * np.nan),
        PriorError,
        "state 0 is not",
    ),
    "occupancy": (
        lambda: asymmetric_transition((0.5, 0.3)),
        PriorError,
        "occupancy must be positive and sum to one: got [0.5, 0.3]. Divide it by its sum.",
    ),
    "occupancy of nothing": (lambda: asymmetric_transition((1.0, 0.0)), PriorError, "got [1.0, 0.0]"),
    "switching too often": (
        lambda: asymmetric_transition(mean_switch=0.9),
        PriorError,
        "0.9 makes state 2 leave with probability 1.16. Give a value nearer to zero",
    ),
    "switching never": (lambda: asymmetric_transition(mean_switch=0.0), PriorError, "0.0 makes state"),
    "rate": (
        lambda: ornstein_uhlenbeck(rate=[1.0, -2.0]),
        PriorError,
        "rate must be positive: got [1.0, -2.0]. Give a number above zero.",
    ),
    "temperature": (lambda: ornstein_uhlenbeck(temperature=0.0), PriorError, "temperature must be positive: got 0.0."),
    "noise": (lambda: ornstein_uhlenbeck(noise=np.nan), PriorError, "noise must be positive: got nan."),
    "interval": (lambda: ornstein_uhlenbeck(interval=np.inf), PriorError, "interval must be positive: got inf."),
    "intervals": (
        lambda: ornstein_uhlenbeck(2, 5, interval=[0.1, 0.2]),
        ShapeError,
        "interval must be a number or 4 numbers: got shape (2,). Count it.",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_laws_are_refused_in_a_sentence(name: str) -> None:
    make, kind, message = IMPOSSIBLE[name]
    with pytest.raises(kind) as caught:
        make()
    assert message in str(caught.value)


def test_ornstein_uhlenbeck_has_its_moments() -> None:
    """Stationary variance T/k, correlation e^{−kΔ} over unequal intervals, noise on top."""
    rate, temperature, noise, interval = np.array([0.5, 3.0]), 0.7, 0.4, np.array([0.05, 1.0, 0.3])
    data = ornstein_uhlenbeck(20000, 4, 8, rate=rate, temperature=temperature, noise=noise, interval=interval)
    path, variance = data["path"].to_numpy(), temperature / rate
    np.testing.assert_allclose(np.diff(data["time"]), interval)
    error = variance * np.sqrt(2 / len(path))
    assert (abs(np.square(path).mean(0) - variance) / error).max() < SE
    for k, decay in enumerate(np.exp(-rate * interval[:, None])):
        product = path[:, k] * path[:, k + 1] / variance
        assert (abs(product.mean(0) - decay) / (product.std(0) / np.sqrt(len(path)))).max() < SE
    residual = (data["observations"] - data["path"]).to_numpy()
    assert abs(np.square(residual).mean() / noise**2 - 1) < SE * np.sqrt(2 / residual.size)


def test_an_euler_step_would_be_seen() -> None:
    """The variance that Euler–Maruyama would settle at, T/(k(1 − kΔ/2)), is outside the tolerance above."""
    path = ornstein_uhlenbeck(20000, 4, 9, rate=3.0, interval=0.1)["path"].to_numpy()
    euler = 1 / 3 / (1 - 3 * 0.1 / 2)
    assert (abs(np.square(path).mean(0) - euler) / (euler * np.sqrt(2 / len(path)))).min() > SE


def test_ornstein_uhlenbeck_repeats_with_its_seed() -> None:
    xr.testing.assert_identical(ornstein_uhlenbeck(3, 5, seed=1), ornstein_uhlenbeck(3, 5, seed=1))
    assert (ornstein_uhlenbeck(3, 5, seed=1)["path"] != ornstein_uhlenbeck(3, 5, seed=2)["path"]).all()


def test_the_contents_page_is_complete() -> None:
    assert set(__all__) >= {"as_tensors", "load", "save", "three_state", "ornstein_uhlenbeck"}
    assert all(getattr(datasets, name).__doc__ for name in __all__)


# Pieces


def recordings():
    """Two recordings of 7 and 5 observations, one apart; the first pauses for 50 after its fourth."""
    times = np.array([[0.0, 1, 2, 3, 53, 54, 55], [0, 1, 2, 3, 4, np.nan, np.nan]])
    x = np.where(np.isnan(times), np.nan, times)[..., None] + 100 * np.arange(2)[:, None, None]
    data = datasets.from_arrays(times, x, np.where(np.isnan(times), -1, np.arange(7) % 3))
    return data.assign_coords(sequence=["a", "b"], channel=["level"])


def test_sequences_are_cut_at_pauses_and_to_length():
    cut = datasets.cut(recordings(), length=3, pause=10.0)
    assert cut["sequence"].values.tolist() == ["a/0", "a/1", "a/2", "b/0", "b/1"]
    assert cut["recording"].values.tolist() == ["a", "a", "a", "b", "b"]
    nan = np.nan
    expected = [[0, 1, nan], [2, 3, nan], [53, 54, 55], [0, 1, 2], [3, 4, nan]]
    np.testing.assert_array_equal(cut["times"], expected)
    np.testing.assert_array_equal(cut["observations"][..., 0], np.array(expected) + np.array([[0, 0, 0, 100, 100]]).T)
    np.testing.assert_array_equal(cut["states"][2], [1, 2, 0])
    assert cut["channel"].values.tolist() == ["level"]


def test_what_needs_no_cut_stays_whole():
    data = datasets.ornstein_uhlenbeck(3, 20)
    cut = datasets.cut(data, length=20)
    np.testing.assert_array_equal(cut["observations"], data["observations"])
    np.testing.assert_array_equal(cut["times"], np.tile(data["time"], (3, 1)))


def test_a_lone_observation_between_pauses_is_dropped():
    times = np.array([[0.0, 1, 2, 100, 200, 201, 202]])
    with pytest.warns(DoubtfulDataWarning, match=r"alone between pauses of 10 or more: 1\."):
        cut = datasets.cut(datasets.from_arrays(times, times[..., None]), pause=10.0)
    np.testing.assert_array_equal(cut["times"], [[0, 1, 2], [200, 201, 202]])


def test_cuts_that_leave_nothing_are_refused():
    with pytest.raises(ShapeError, match=r"a piece needs 2 observations or more: got length=1\."):
        datasets.cut(recordings(), length=1)
    with pytest.raises(TimeGridError, match=r"every time between observations exceeds 0\.5: nothing is left\."):
        datasets.cut(recordings(), pause=0.5)


def test_a_long_pause_is_doubted():
    with pytest.warns(DoubtfulDataWarning, match=r"sequence 0 pauses for 50 times the usual interval after 3\.0"):
        as_tensors(recordings())
    as_tensors(datasets.cut(recordings()))
