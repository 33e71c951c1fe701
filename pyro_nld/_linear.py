"""Small matrices by the million: products with vectors, and recursions of them with their gradient."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def matvec(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix times vector, `(*batch, row, column)` and `(*batch, column)`."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def recursion(
    initial: Float[Tensor, "block n 1"], matrix: Float[Tensor, "time block n n"], shift: Float[Tensor, "time block n 1"]
) -> Float[Tensor, "time block n 1"]:
    """All z_k of z_{k+1} = A_k z_k + b_k, without z₀."""
    return _Recursion.apply(initial, matrix, shift)


class _Recursion(torch.autograd.Function):
    """One fused operation per step, each way."""

    @staticmethod
    def forward(ctx: Any, initial: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
        path, state = torch.empty_like(shift), initial
        for a, b, out in zip(matrix.unbind(0), shift.unbind(0), path.unbind(0), strict=True):
            state = _apply(a, state, b, out)
        ctx.save_for_backward(initial, matrix, path)
        return path

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        initial, matrix, path = ctx.saved_tensors
        adjoint = grad.contiguous().clone()
        transposed, each = matrix.mT.unbind(0), adjoint.unbind(0)
        for k in range(len(each) - 1, 0, -1):
            _apply(transposed[k], each[k], each[k - 1], each[k - 1])
        origins = torch.cat([initial.unsqueeze(0), path[:-1]])
        return transposed[0] @ each[0], adjoint * origins.mT, adjoint


def _apply(matrix: Tensor, state: Tensor, shift: Tensor, out: Tensor) -> Tensor:
    """out ← shift + A state."""
    return (torch.addcmul if matrix.shape[-1] == 1 else torch.baddbmm)(shift, matrix, state, out=out)
