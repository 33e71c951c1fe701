"""Markov chains with known rates, for what is counted."""

import numpy as np


def chain(matrix, sequences, steps, seed):
    """States of a Markov chain, `(sequence, time)`."""
    draw = np.random.default_rng(seed)
    edges = np.asarray(matrix).cumsum(-1)
    states = np.zeros((sequences, steps), int)
    for k in range(1, steps):
        states[:, k] = (draw.random((sequences, 1)) > edges[states[:, k - 1]]).sum(-1)
    return states


def clock(states, interval=1.0):
    return np.broadcast_to(interval * np.arange(states.shape[-1], dtype=float), states.shape)
