"""How rates between cores answer to a change of the landscape, from the committors of a simulated chain.

With q_k(z), the probability that the next core of a path from z is that of state k, the flux of paths from core i to
core j is ν_ij = −∫ Σ_a (T/γ_a) ∂_a q_i ∂_a q_j e^{−U/T} dz / Z, and the rate is k_ij = ν_ij / ⟨q_i⟩. Committors make
these integrals stationary, so that their own change drops out of the derivative. For U = w · φ(z) + …

    ∂ log k_ij / ∂w = −(E_react[φ] − E_i[φ]) / T,

where E_react weights points of the equilibrium by −Σ_a ∂_a q_i ∂_a q_j / γ_a, and E_i by q_i. The change of q_i in
⟨q_i⟩ is neglected; in a double well of 3 kT this costs some per cent of the derivative. With momenta, q is averaged
over them: the derivative is then that of a dividing surface, which the flux crosses where q is near ½.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot

SAMPLE = 40_000  # points that committors are learned from
RIDGE = 1e-4  # precision of a regression's coefficients, per point
ITERATIONS = 60  # of L-BFGS

Features = Callable[[Tensor], Tensor]
"""Functions of a position: `(point, latent)` to `(point, …)`."""


def next_cores(labels: Int[Tensor, "*batch time"]) -> Int[Tensor, "*batch time"]:
    """The core that a path is in or enters next; −1 where the path ends before.

    Parameters
    ----------
    labels: of cores, −1 between them.

    Examples
    --------
    >>> from pyro_nld.kinetics.reactive import next_cores
    >>> next_cores(torch.tensor([0, -1, -1, 1, -1])).tolist()
    [0, 1, 1, 1, -1]
    """
    length = labels.shape[-1]
    place = torch.where(labels >= 0, torch.arange(length, device=labels.device), length)
    following = place.flip(-1).cummin(-1).values.flip(-1)
    core = labels.gather(-1, following.clamp(max=length - 1))
    return torch.where(following < length, core, -1)


def committors(
    points: Float[Tensor, "point latent"], met: Int[Tensor, "point"], features: Features, states: int
) -> Features:
    """q(z) = softmax(a + B z + C φ(z)), the regression of the core met next on the position: `(point, state)`.

    Parameters
    ----------
    points: of a simulated chain. met: the core that it met next. features: φ. states: how many.

    Returns
    -------
    A function of points `(point, latent)`.
    """
    few = torch.linspace(0, len(points) - 1, min(len(points), SAMPLE)).long()
    chosen, target = points[few], one_hot(met[few], states).double()

    def inputs(z: Tensor) -> Tensor:
        return torch.cat([z, features(z)], -1).double()

    with torch.no_grad():
        raw = inputs(chosen)
        mean, scale = raw.mean(0), raw.std(0).clamp(min=1e-9)
        design = (raw - mean) / scale
    weight = torch.zeros(design.shape[-1], states, dtype=torch.float64, requires_grad=True)
    offset = target.mean(0).clamp(min=1e-6).log().requires_grad_()
    optimizer = torch.optim.LBFGS([weight, offset], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        cross = -(target * log_softmax(design @ weight + offset, -1)).sum(-1).mean()
        value = cross + RIDGE * weight.square().sum() / 2
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    learned, constant = weight.detach(), offset.detach()
    return lambda z: torch.softmax((inputs(z) - mean) / scale @ learned + constant, -1)


def response(
    points: Float[Tensor, "point latent"],
    committor: Features,
    features: Features,
    mobility: Float[Tensor, "latent"],
    temperature: float,
) -> Float[Tensor, "state to coefficient"]:
    """∂ log k_ij / ∂w, see the head of this module; 0 on the diagonal, and where no path leads from one to the other.

    Parameters
    ----------
    points: of the chain's equilibrium. committor: from `committors`. features: φ. mobility: 1/γ of every axis.
    temperature: T, in the unit of U.
    """
    z = points.detach().requires_grad_()
    with torch.enable_grad():
        q = committor(z)
        slope = torch.stack([torch.autograd.grad(one.sum(), z, retain_graph=True)[0] for one in q.unbind(-1)], -1)
    q, slope = q.detach(), slope.double() * mobility.double().sqrt().unsqueeze(-1)
    with torch.no_grad():
        phi = features(points).double()
    states = q.shape[-1]
    inside = (q.T @ phi) / q.sum(0).unsqueeze(-1)
    found = torch.zeros(states, states, phi.shape[-1], dtype=torch.float64)
    for i in range(states):
        for j in range(states):
            flux = -(slope[..., i] * slope[..., j]).sum(-1)
            if i != j and float(flux.sum()) > 0:
                flux = flux.clamp(min=0)
                found[i, j] = -((flux @ phi) / flux.sum() - inside[i]) / temperature
    return found
