"""z_{k+1} = A_k z_k + b_k for many small matrices A_k at once, with its gradient, and products of such matrices."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

COMPOSED = 4  # largest number of rows for which products of matrices are cheaper than a loop over steps


def matvec(matrix: Tensor, vector: Tensor) -> Tensor:
    """A v for A `(*batch, row, column)` and v `(*draw, *batch, column)`: all draws share the matrices."""
    draws = vector.shape[: max(0, vector.dim() + 1 - matrix.dim())]
    product = matrix @ as_columns(vector.unsqueeze(-1), len(draws))
    return product.movedim(-1, 0).reshape(*draws, *product.shape[:-1])


def as_columns(vectors: Tensor, draws: int) -> Tensor:
    """Draws as columns, `(*draw, *batch, n, 1)` to `(*batch, n, draw)`, so that one product serves all of them."""
    return vectors.reshape(-1, *vectors.shape[draws:-1]).movedim(0, -1)


def recursion(
    initial: Float[Tensor, "block n draw"],
    matrix: Float[Tensor, "time block n n"],
    shift: Float[Tensor, "time block n draw"],
) -> Float[Tensor, "time block n draw"]:
    """z_{k+1} = A_k z_k + b_k: all z_k except z₀."""
    return _Recursion.apply(initial, matrix, shift)


def along(
    initial: Float[Tensor, "block n"],
    jacobian: Float[Tensor, "time block n n"],
    landed: Float[Tensor, "time block n"],
) -> Float[Tensor, "time block n"]:
    """The path z_{k+1} = f_k(z_k), known already, as a function of z₀ and of what the f_k depend on.

    `landed` is f_k(z_k) out of fixed states z_k, and `jacobian` is ∂f_k/∂z there. To first order a path is a recursion
    of these matrices, so that its gradient needs no loop over steps.
    """
    return _Along.apply(initial, jacobian, landed)


class _Along(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, initial: Tensor, jacobian: Tensor, landed: Tensor) -> Tensor:
        ctx.save_for_backward(jacobian)
        return landed.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor]:
        (jacobian,) = ctx.saved_tensors
        adjoint = _adjoint(jacobian, grad.unsqueeze(-1))
        return (jacobian[0].mT @ adjoint[0]).squeeze(-1), None, adjoint.squeeze(-1)


class _Recursion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, initial: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
        path = _scan(initial, matrix, shift)
        ctx.save_for_backward(initial, matrix, path)
        return path

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        initial, matrix, path = ctx.saved_tensors
        adjoint = _adjoint(matrix, grad)
        origins = torch.cat([initial.unsqueeze(0), path[:-1]])
        outer = adjoint * origins.mT if origins.shape[-1] == 1 else adjoint @ origins.mT
        return matrix[0].mT @ adjoint[0], outer, adjoint


def _adjoint(matrix: Tensor, grad: Tensor) -> Tensor:
    """The adjoint of a recursion is the recursion of the transposed matrices, backwards."""
    grad = grad.contiguous()
    adjoint = _scan(grad[-1], matrix[1:].mT.flip(0), grad[:-1].flip(0)).flip(0)
    return torch.cat([adjoint, grad[-1:]])


def _scan(initial: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """The recursion in runs of about √time steps, all runs at once.

    First the steps of every run are composed, (A_k … A_1, b_k + A_k b_{k−1} + …); then the runs are joined. That takes
    2 √time consecutive operations instead of one per step. For small matrices their number determines the cost.
    """
    time, blocks, n, draws = shift.shape
    run = math.isqrt(time) if n <= COMPOSED else 1
    runs = time // run
    if run < 2:
        return _strung(initial, matrix, shift)
    head = slice(0, runs * run)
    # (step of a run, run · block, …): the same step of all runs is one operation
    steps, offsets = (
        part[head].unflatten(0, (runs, run)).transpose(0, 1).reshape(run, runs * blocks, n, -1)
        for part in (matrix, shift)
    )
    maps = [(steps[0], offsets[0])]
    for a, b in zip(steps[1:].unbind(0), offsets[1:].unbind(0), strict=True):
        before = maps[-1]
        maps.append((_product(a, before[0]), _apply(a, before[1], b)))
    composed, moved = (torch.stack(part) for part in zip(*maps, strict=True))
    ends = _strung(initial, composed[-1].view(runs, blocks, n, -1), moved[-1].view(runs, blocks, n, draws))
    starts = torch.cat([initial.unsqueeze(0), ends[:-1]]).view(runs * blocks, n, draws)
    inside = _apply(composed.flatten(0, 1), starts.repeat(run, 1, 1), moved.flatten(0, 1))
    path = inside.view(run, runs, blocks, n, draws).transpose(0, 1).reshape(runs * run, blocks, n, draws)
    rest = slice(runs * run, None)
    return torch.cat([path, _strung(ends[-1], matrix[rest], shift[rest])])


def _strung(initial: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """The recursion, one step after the other."""
    # A function that Pyro's JitTrace_ELBO compiles cannot write in place.
    if torch.jit.is_tracing() and len(shift):  # type: ignore[attr-defined]
        states = [initial]
        for a, b in zip(matrix.unbind(0), shift.unbind(0), strict=True):
            states.append(_apply(a, states[-1], b))
        return torch.stack(states[1:])
    path, state = torch.empty_like(shift), initial
    for a, b, out in zip(matrix.unbind(0), shift.unbind(0), path.unbind(0), strict=True):
        state = _apply(a, state, b, out)
    return path


def _product(one: Tensor, other: Tensor) -> Tensor:
    return one * other if one.shape[-1] == 1 else torch.bmm(one, other)


def _apply(matrix: Tensor, state: Tensor, shift: Tensor, out: Tensor | None = None) -> Tensor:
    """out ← shift + A state."""
    return (torch.addcmul if matrix.shape[-1] == 1 else torch.baddbmm)(shift, matrix, state, out=out)
