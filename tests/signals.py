"""Series with a known answer, and series that no stationary Langevin process makes."""

import numpy as np
from scipy.signal import lfilter


def autoregressive(draw, length, time, channels=1):
    """Gaussian, of correlation time `time` in observations, variance 1, `(length, channels)`."""
    lag = np.exp(-1 / time)
    shocks = np.sqrt(1 - lag**2) * draw.standard_normal((length + int(10 * time), channels))
    return lfilter([1.0], [1.0, -lag], shocks, axis=0)[-length:]


def markov(draw, transition, length):
    """States of a chain `(length,)`."""
    cumulative, chance = np.cumsum(transition, 1), draw.random(length)
    states = np.empty(length, int)
    states[0] = draw.integers(len(transition))
    for at in range(1, length):
        states[at] = np.searchsorted(cumulative[states[at - 1]], chance[at])
    return states


def telegraph(draw, length, dwell=(20.0, 20.0), noise=0.2, levels=(0.0, 1.0)):
    """Two levels in Gaussian noise `(length, 1)`, and the states."""
    leave = 1 / np.asarray(dwell)
    states = markov(draw, np.array([[1 - leave[0], leave[0]], [leave[1], 1 - leave[1]]]), length)
    return np.asarray(levels)[states][:, None] + noise * draw.standard_normal((length, 1)), states


def ring(draw, length, time=30.0, noise=0.1):
    """Diffusion on a circle, seen as cosine and sine."""
    angle = np.cumsum(np.sqrt(2 / time) * draw.standard_normal(length))
    return np.stack([np.cos(angle), np.sin(angle)], 1) + noise * draw.standard_normal((length, 2))


def well(draw, force, length, interval, substeps=10):
    """dx = f(x) dt + √2 dW seen every `interval`, `(length, 1)`."""
    step = interval / substeps
    kicks = np.sqrt(2 * step) * draw.standard_normal((length, substeps))
    x, seen = 0.0, np.empty((length, 1))
    for at in range(length):
        for kick in kicks[at]:
            x += step * force(x) + kick
        seen[at] = x
    return seen


def rows(*series):
    """Sequences `(sequence, time, channel)` and times, an observation a unit."""
    x = np.stack(series)
    return x, np.tile(np.arange(float(x.shape[1])), (len(x), 1))
