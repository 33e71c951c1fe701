"""Hidden Markov chains observed through one Gaussian per state, among them the benchmark of the paper.

A Dataset holds `observations(sequence, time, channel)`, NaN where missing; the coordinate `time` when all sequences
share their times, otherwise `times(sequence, time)`, NaN after the end of a ragged sequence; and, where known,
`states(sequence, time)`, -1 where not. Truths of a simulation are variables beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .._typing import Array, Numbers
from ..errors import PriorError, ShapeError
from ..io.series import from_arrays

PARAMETER_STREAM, DRAW_STREAM = 1, 0
"""First words of the seeds, so that one seed gives parameters and draws different streams."""

COLUMNS_PER_ROW = 2
"""Random covariances are A Aᵀ, with this many columns of A per row. With 1 they are nearly singular, and a state can be
recognised by its narrowest direction alone. With 2 the channels have typical correlations of 0.2."""


def three_state(
    sequences: int = 1000,
    steps: int = 200,
    seed: int = 0,
    *,
    parameter_seed: int = 0,
    transition: Numbers | None = None,
    means: Numbers | None = None,
    covariances: Numbers | None = None,
    channels: int = 15,
    first_state: int | None = 0,
) -> xr.Dataset:
    """sₜ₊₁ ~ P(sₜ, ·),  xₜ ~ N(mean(sₜ), covariance(sₜ)):  the paper's three-state switching data, or any such chain.

    Parameters
    ----------
    sequences: number of sequences.
    steps: number of observations in each, one per unit of time.
    seed: of states and noise.
    parameter_seed: of those means and covariances that are not given.
    transition: P, `(state, state)`, whose rows sum to one. When None there are three states, and a state switches to
        each of the others with probability 0.025.
    means: `(state, channel)`; drawn from N(0, 0.4²) when None.
    covariances: `(state, channel, channel)`; when None, random and full, with a mean standard deviation of 0.5.
    channels: number of channels, where neither means nor covariances say it.
    first_state: of all sequences; when None they start in the stationary law.

    Returns
    -------
    Dataset with `states` and the truths transition(state, next_state), initial, occupancy (stationary), dwell (mean,
    in units of time) by state, means, covariances.

    Raises
    ------
    PriorError: impossible probabilities or covariances. ShapeError: parameters of different sizes.

    References
    ----------
    Koop et al., Neural Langevin Dynamics, PMLR 233:130–137, 2024, section 5.

    Examples
    --------
    >>> data = nld.datasets.three_state(sequences=10, steps=50)
    >>> data["dwell"].values.round(6).tolist()  # 1/(1 − 0.95) steps
    [20.0, 20.0, 20.0]
    """
    require_counts(sequences, steps)
    chain = _transition(asymmetric_transition((1 / 3,) * 3) if transition is None else transition)
    loc, spread = _emission(len(chain), channels, parameter_seed, means, covariances)
    initial = _initial(chain, first_state)
    random = np.random.default_rng((DRAW_STREAM, seed))
    states = _walk(chain, initial, random.random((sequences, steps)))
    x = random.standard_normal((sequences, steps, loc.shape[-1]))
    for state, root in enumerate(np.linalg.cholesky(spread)):
        x[states == state] = loc[state] + x[states == state] @ root.T
    return (
        from_arrays(np.arange(float(steps)), x, states)
        .assign(
            transition=(("state", "next_state"), chain),
            initial=("state", initial),
            occupancy=("state", _stationary(chain)),
            dwell=("state", 1 / (1 - chain.diagonal())),
            means=(("state", "channel"), loc),
            covariances=(("state", "channel", "other_channel"), spread),
        )
        .assign_attrs(
            description="hidden Markov chain observed through one Gaussian per state",
            seed=seed,
            parameter_seed=parameter_seed,
        )
    )


def asymmetric_transition(occupancy: Sequence[float] = (0.5, 0.3, 0.2), mean_switch: float = 0.05) -> Array:
    """P(i, j) = c·π(j) for j ≠ i:  a reversible chain with the stationary law π.

    Parameters
    ----------
    occupancy: π, positive, sums to one.
    mean_switch: probability per step of leaving the state, averaged over π; it determines c.

    Raises
    ------
    PriorError: π is not a probability, or the chain cannot switch that often.

    Examples
    --------
    >>> chain = nld.datasets.asymmetric_transition([0.5, 0.3, 0.2])
    >>> (np.array([0.5, 0.3, 0.2]) @ chain).round(6).tolist()  # π P = π
    [0.5, 0.3, 0.2]
    """
    law = np.asarray(occupancy, float)
    if law.ndim != 1 or len(law) < 2 or not (law > 0).all() or not np.isclose(law.sum(), 1):
        raise PriorError(f"occupancy must be positive and sum to one: got {law.tolist()}. Divide it by its sum.")
    chain = np.tile(mean_switch / (1 - np.square(law).sum()) * law, (len(law), 1))
    np.fill_diagonal(chain, 0)
    leave = chain.sum(1)
    if not 0 < leave.min() <= leave.max() < 1:
        raise PriorError(
            f"mean_switch must let every state be kept or left: {mean_switch} makes state {leave.argmax()} leave with "
            f"probability {leave.max():.3g}. Give a value nearer to zero, and above it."
        )
    return chain + np.diag(1 - leave)


def require_counts(sequences: int, steps: int) -> None:
    """Refuse a data set without a sequence, or with fewer than two steps."""
    if sequences < 1 or steps < 2:
        raise ShapeError(f"a data set needs a sequence and 2 steps or more: got {sequences} and {steps}. Ask for more.")


def _transition(transition: Numbers) -> Array:
    chain = np.asarray(transition, float)
    if chain.ndim != 2 or chain.shape[0] != chain.shape[1] or len(chain) < 2:
        raise ShapeError(
            f"transition must be (state, state) of 2 states or more: got {chain.shape}. Give each a row and column."
        )
    if not ((chain >= 0) & (chain <= 1)).all():
        row, column = np.argwhere(~((chain >= 0) & (chain <= 1)))[0]
        raise PriorError(
            f"transition must hold probabilities: got {chain[row, column]} at row {row}, column {column}. Correct it."
        )
    row = int(np.abs(chain.sum(1) - 1).argmax())
    if not np.isclose(chain[row].sum(), 1):
        raise PriorError(f"rows of transition must sum to one: row {row} sums to {chain[row].sum():.6g}. Divide by it.")
    if chain.diagonal().max() == 1 or np.linalg.matrix_rank(chain - np.eye(len(chain))) < len(chain) - 1:
        raise PriorError("transition must have one stationary law: some states are never left. Link them.")
    return chain


def _stationary(chain: Array) -> Array:
    """π with π P = π and Σπ = 1."""
    balance = np.vstack([chain.T - np.eye(len(chain)), np.ones(len(chain))])
    law: Array = np.linalg.lstsq(balance, np.append(np.zeros(len(chain)), 1))[0]
    return law


def _initial(chain: Array, first_state: int | None) -> Array:
    if first_state is None:
        return _stationary(chain)
    if not 0 <= first_state < len(chain):
        raise PriorError(f"first_state must be one of 0…{len(chain) - 1}: got {first_state}. Or None for any.")
    certain: Array = np.eye(len(chain))[first_state]
    return certain


def _emission(
    states: int, channels: int, seed: int, means: Numbers | None, covariances: Numbers | None
) -> tuple[Array, Array]:
    """Means and covariances. Those that are not given are drawn, each from its own stream."""
    given = means if means is not None else covariances
    channels = channels if given is None else np.shape(given)[-1]
    loc_stream, spread_stream = np.random.default_rng((PARAMETER_STREAM, seed)).spawn(2)
    loc = 0.4 * loc_stream.standard_normal((states, channels)) if means is None else np.asarray(means, float)
    spread = _covariances(states, channels, spread_stream) if covariances is None else np.asarray(covariances, float)
    for name, part, shape in (
        ("means", loc, (states, channels)),
        ("covariances", spread, (states, channels, channels)),
    ):
        if part.shape != shape:
            raise ShapeError(f"{name} must be {shape} for {states} states: got {part.shape}. Give one per state.")
    if not np.isfinite(loc).all():
        raise PriorError("means must be finite: got NaN or infinity. Correct them.")
    _require_covariance(spread)
    return loc, spread


def _covariances(states: int, channels: int, random: np.random.Generator) -> Array:
    """Full covariances with mean marginal standard deviation 0.5."""
    a = random.standard_normal((states, channels, COLUMNS_PER_ROW * channels))
    spread: Array = a @ a.mT
    scale = 0.5 / np.sqrt(np.diagonal(spread, axis1=1, axis2=2)).mean(1)
    spread *= np.square(scale)[:, None, None]
    return spread


def _require_covariance(spread: Array) -> None:
    for state, matrix in enumerate(spread):
        if not np.allclose(matrix, matrix.T) or not np.linalg.eigvalsh(matrix)[0] > 0:
            raise PriorError(f"covariances must be symmetric and positive definite: state {state} is not. Correct it.")


def _walk(chain: Array, initial: Array, uniform: Array) -> NDArray[np.int64]:
    """States from uniform numbers, by cumulative probabilities."""
    states = np.empty(uniform.shape, np.int64)
    states[:, 0] = np.searchsorted(initial.cumsum()[:-1], uniform[:, 0], side="right")
    below = chain.cumsum(1)[:, :-1]
    for t in range(1, uniform.shape[1]):
        states[:, t] = (uniform[:, t, None] >= below[states[:, t - 1]]).sum(1)
    return states
