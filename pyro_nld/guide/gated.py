"""A gated recurrent network over whole sequences, h_t = (1 − z_t) n_t + z_t h_{t−1}, with a backward pass of its own.

Of a step's gradient, only dh_t depends on the step after it. The rest is linear in dh_t: its factors, and the gradients
of all weights, are found for many steps at once. Both directions of a smoothing network are computed together.

    r = σ(W_r x + U_r h + b_r),   z = σ(W_z x + U_z h + b_z),   n = tanh(W_n x + b_n + r (U_n h + c_n))

Examples
--------
The same states as those of torch:

>>> from pyro_nld.guide.gated import gated_states
>>> network, x = torch.nn.GRU(2, 3, batch_first=True, bidirectional=True), torch.randn(4, 10, 2)
>>> bool(torch.isclose(gated_states(network, x, torch.ones(4, 10, dtype=torch.bool)), network(x)[0], atol=1e-6).all())
True
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

NUMBERS = 2**16  # of states whose factors are found at once: more would not stay in the cache of the processor


def gated_states(
    network: nn.GRU, features: Float[Tensor, "sequence time feature"], valid: Bool[Tensor, "sequence time"]
) -> Float[Tensor, "sequence time state"]:
    """The states of a GRU of one layer, forwards or in both directions, side by side; 0 after the end of a sequence.

    Parameters
    ----------
    network: its weights; `batch_first`, with biases.
    features: x. valid: which times exist; a sequence that is read backwards begins with its last valid one.

    Not checked: that the network has one layer, and biases. The result can be differentiated once.
    """
    directions = 1 + network.bidirectional
    ends = ["", "_reverse"][:directions]
    weights = [
        torch.stack([getattr(network, f"{name}_l0{end}") for end in ends])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    whole = bool(valid.all())
    length, steps = valid.sum(-1, keepdim=True), torch.arange(valid.shape[-1], device=valid.device)
    backwards = torch.where(steps < length, length - 1 - steps, steps).unsqueeze(-1)

    def reverse(series: Tensor) -> Tensor:
        return series.flip(1) if whole else series.gather(1, backwards.expand_as(series))

    inputs = [features, reverse(features)][:directions]
    states = _Gated.apply(torch.stack(inputs).transpose(1, 2), *weights).transpose(1, 2)
    found = states[0] if directions == 1 else torch.cat([states[0], reverse(states[1])], -1)
    return found if whole else torch.where(valid.unsqueeze(-1), found, 0.0)


class _Gated(torch.autograd.Function):
    """(direction, time, sequence, feature) to (direction, time, sequence, state), in the order that each is read."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> Tensor:
        directions, time, rows, _ = x.shape
        size = u.shape[-1]
        gates = x.new_empty(directions, time, rows, 2 * size)
        new, kept = (x.new_empty(directions, time, rows, size) for _ in range(2))
        states = x.new_zeros(directions, time + 1, rows, size)
        ours, theirs = slice(2 * size), slice(2 * size, None)
        of_gates, of_new = (b + c)[:, None, ours], b[:, None, theirs]
        for part in _parts(new):
            inputs = x[:, part].flatten(1, 2)
            gates[:, part] = torch.baddbmm(of_gates, inputs, w[:, ours].mT).view_as(gates[:, part])
            new[:, part] = torch.baddbmm(of_new, inputs, w[:, theirs].mT).view_as(new[:, part])
            for step in range(part.start, part.stop):
                h, n, inner = states[:, step], new[:, step], kept[:, step]
                r, z = gates[:, step].baddbmm_(h, u[:, ours].mT).sigmoid_().split(size, -1)
                torch.baddbmm(c[:, None, theirs], h, u[:, theirs].mT, out=inner)
                torch.lerp(n.addcmul_(r, inner).tanh_(), h, z, out=states[:, step + 1])
        ctx.save_for_backward(x, w, u, gates, new, kept, states)
        return states[:, 1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor]:
        x, w, u, gates, new, kept, states = ctx.saved_tensors
        directions, _, rows, size = new.shape
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        dw, du, db, dc = torch.zeros_like(w), torch.zeros_like(u), w.new_zeros(w.shape[:2]), w.new_zeros(w.shape[:2])
        later = new.new_zeros(directions, rows, size)  # what dh has from the step after it
        for part in reversed(_parts(new)):
            r, z = gates[:, part].split(size, -1)
            n, h = new[:, part], states[:, :-1][:, part]
            own = (1 - z) * (1 - n.square())
            turned = own * r
            # of dr, dz and dn, before their sigmoid and tanh; U meets dn times r
            factors = torch.stack([turned * (1 - r) * kept[:, part], (h - n) * z * (1 - z), turned], -2)
            for step in reversed(range(part.stop - part.start)):
                dh = later + grad[:, part][:, step]
                own[:, step].mul_(dh)
                back = factors[:, step].mul_(dh.unsqueeze(-2)).flatten(-2)
                later = torch.baddbmm(dh * z[:, step], back, u)
            flat = factors.flatten(-2).flatten(1, 2)
            du.baddbmm_(flat.mT, h.reshape(directions, -1, size))
            dc += flat.sum(1)
            flat[..., 2 * size :] = own.flatten(1, 2)
            dw.baddbmm_(flat.mT, x[:, part].flatten(1, 2))
            db += flat.sum(1)
            if dx is not None:
                dx[:, part] = (flat @ w).view_as(dx[:, part])
        return dx, dw, du, db, dc


def _parts(states: Tensor) -> list[slice]:
    """Runs of steps that stay in the cache of the processor."""
    directions, time, rows, size = states.shape
    length = max(1, NUMBERS // (directions * rows * size))
    return [slice(start, min(start + length, time)) for start in range(0, time, length)]
