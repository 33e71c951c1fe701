"""How counted transitions pull at a landscape: the least change of w that makes them.

n transitions tell a rate with an error of 1/√n. What is asked of a change is no more than that: it is the one that
paths notice least of all with which the counts are as probable as they could be, up to that error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import functional

OWN = 1.0  # transitions that the rates of the fit before it was balanced are worth beside those of the data
WEIGHTS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)  # of the path KL, of which the largest is taken that meets the counts
MET = 0.25  # nats by which all exits of a state may be less probable than they could be: .7 standard deviations
INSIDE = 1.35  # the same of those to another state: the 90 % interval, for two or three transitions ask for anything
NEWTON = 50  # iterations, at most


class Counts(NamedTuple):
    """What was counted: `exits (state, to)`, `time (state)` in the model's unit, sequences `begun (state)`."""

    exits: Tensor
    time: Tensor
    begun: Tensor
    interval: float
    prior: Tensor | None = None  # rates before, each worth OWN transitions

    def misfit(self, log_rate: Tensor) -> Tensor:
        """−log P(counts), up to a constant.

        Parameters
        ----------
        log_rate: `(state, to)`, per unit of the model's time; the diagonal is not used.
        """
        found = self.of_each(log_rate).sum()
        return found - self.begun @ stationary(log_rate).log() if self.begun.any() else found

    def of_each(self, log_rate: Tensor) -> Tensor:
        """The part of every pair of states, `(pair,)`, without the starts.

        Parameters
        ----------
        log_rate: as for `misfit`.
        """
        apart = ~torch.eye(len(self.time), dtype=torch.bool)
        exits, time = self.exits, self.time.unsqueeze(-1)
        if self.prior is not None:
            exits, time = exits + OWN, time + OWN / self.prior
        return (time * log_rate.exp() - exits * log_rate)[apart]

    def of_states(self, log_rate: Tensor) -> Tensor:
        """The same for all exits of every state together, `(state,)`: what dwell times tell.

        Parameters
        ----------
        log_rate: as for `misfit`.
        """
        apart = ~torch.eye(len(self.time), dtype=torch.bool)
        left = (log_rate.exp() * apart).sum(-1)
        return self.time * left - self.exits.sum(-1) * left.log()


def stationary(log_rate: Tensor) -> Tensor:
    """π with π Q = 0: `markov.stationary` for tensors, of which the solver takes derivatives.

    Parameters
    ----------
    log_rate: `(state, to)`; the diagonal is not used.
    """
    rate = log_rate.exp() * ~torch.eye(len(log_rate), dtype=torch.bool)
    flow = (rate - torch.diag(rate.sum(-1))).T
    system = torch.cat([flow[:-1], torch.ones_like(flow[:1])])
    return torch.linalg.solve(system, torch.eye(len(rate), dtype=rate.dtype)[-1])


def cheapest(
    change: Tensor,
    metric: Tensor,
    slope: Tensor,
    log_rate: Tensor,
    counts: Counts,
    weights: Sequence[float] = WEIGHTS,
) -> Tensor:
    """The change Δw that counts ask for, at the largest weight λ of the path KL with which they are met.

    Met means that all exits of each state together are as probable as with the smallest weight, up to a quarter of a
    nat, and those to each other state within their 90 % interval: the discrepancy principle, by which nothing is bent
    for what is within the noise of a count. A total would be spent on the rarest.

    Parameters
    ----------
    change: where the log rates are, `(coefficient,)`. metric: N, the information of all paths on w.
    slope: ∂ log k/∂w `(state, to, coefficient)`. log_rate: `(state, to)`. weights: λ, from the smallest.

    References
    ----------
    V. A. Morozov, Soviet Mathematics Doklady 7:414–417, 1966.
    """
    found = [solve(change, weight * metric, slope, log_rate, counts) for weight in weights]
    rates = [log_rate + slope @ (one - change) for one in found]
    to_each, from_each = ([of(one) for one in rates] for of in (counts.of_each, counts.of_states))
    met = [
        bool((to <= to_each[0] + INSIDE).all() and (away <= from_each[0] + MET).all())
        for to, away in zip(to_each, from_each, strict=True)
    ]
    return next(one for one, enough in zip(reversed(found), reversed(met), strict=True) if enough)


def solve(change: Tensor, metric: Tensor, slope: Tensor, log_rate: Tensor, counts: Counts) -> Tensor:
    """The change of w of the least ½ Δwᵀ N Δw + misfit, log rates being linear in it: Newton's method.

    Parameters
    ----------
    change, slope, log_rate: as for `cheapest`. metric: N, with its weight.
    """
    found = change.clone()

    def rates_of(value: Tensor) -> Tensor:
        return log_rate + slope @ (value - change)

    def objective(value: Tensor) -> float:
        return float(0.5 * value @ metric @ value + counts.misfit(rates_of(value)))

    flat = slope.flatten(0, 1)
    for _ in range(NEWTON):
        theta = rates_of(found)
        slopes = functional.jacobian(counts.misfit, theta).flatten()
        curvature = functional.hessian(counts.misfit, theta).reshape(2 * slopes.shape)
        value, vector = torch.linalg.eigh(curvature)
        curvature = (vector * value.clamp(min=0)) @ vector.T  # shares of time make it indefinite far from the solution
        downhill = metric @ found + flat.T @ slopes
        step = torch.linalg.solve(metric + flat.T @ curvature @ flat, downhill)
        size, now = 1.0, objective(found)
        while size > 1e-6 and not objective(found - size * step) <= now:
            size /= 2
        found = found - size * step
        if float((slope @ step).abs().max()) * size < 1e-4:
            break
    return found


def covariance_of(metric: Tensor, slope: Tensor, log_rate: Tensor, counts: Counts) -> Tensor:
    """The sampling covariance of the minimiser: counts have their own noise, and the rest is the fit's before.

    With C the information of the counts and N that of all steps, w minimises ½ Δwᵀ λN Δw + misfit. Its answer to a
    change of either is (C + λN)⁻¹; the noise that they put in is C for the counts and λ²N for the fit. λ is the
    smallest weight here: with a larger one the fit before would count as if it had no error but that of its data.

    Parameters
    ----------
    metric, slope, log_rate: as for `cheapest`.
    """
    flat = slope.flatten(0, 1)
    value, vector = torch.linalg.eigh(functional.hessian(counts.misfit, log_rate).reshape(2 * (flat.shape[0],)))
    told = flat.T @ (vector * value.clamp(min=0)) @ vector.T @ flat
    least = WEIGHTS[0] * metric
    answer = torch.linalg.inv(told + least)
    return answer @ (told + WEIGHTS[0] * least) @ answer
