"""Strings of images between two minima, let down the gradient and kept evenly spaced."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..dynamics.potentials import Energy, gradient, hessian

IMAGES = 25  # points of a string between two minima
BEND = 0.3  # how far a bent string starts from the chord, relative to its length: a way around what lies on the chord


def pass_heights(potential: Energy, centres: Tensor, steps: int = 300, *, around: bool = False) -> Tensor:
    """Highest energy on a string between every two minima, `(minimum, minimum)`: strings let down, evenly spaced.

    Parameters
    ----------
    around: whether bent strings are tried as well, and the lowest of three counts: the chord of a circle is no way.
    """
    first, second = torch.triu_indices(len(centres), len(centres), 1)
    share = torch.linspace(0, 1, IMAGES, dtype=centres.dtype).view(-1, 1)
    strings = centres[first].unsqueeze(1) * (1 - share) + centres[second].unsqueeze(1) * share
    pairs = len(first)
    if around:
        first, second, strings = first.repeat(3), second.repeat(3), bent(centres[first], centres[second], IMAGES)
    stiff = float(torch.linalg.eigvalsh(hessian(potential, centres)).max())
    with torch.no_grad():
        for _ in range(steps):
            moved = strings - 0.2 / stiff * gradient(potential, strings)
            moved[:, 0], moved[:, -1] = centres[first], centres[second]
            strings = evenly_spaced(moved, share.squeeze(-1))
        top = potential(strings).amax(1).view(-1, pairs).amin(0)
    height = torch.full((len(centres), len(centres)), torch.inf, dtype=centres.dtype)
    first, second = first[:pairs], second[:pairs]
    height[first, second] = height[second, first] = top
    return height


def evenly_spaced(strings: Tensor, share: Tensor) -> Tensor:
    """Strings `(string, image, latent)` with their images spread evenly along the arc again."""
    arc = torch.nn.functional.pad(strings.diff(dim=1).norm(dim=-1).cumsum(1), (1, 0))
    arc = arc / arc[:, -1:]
    upper = torch.searchsorted(arc, share.expand(len(arc), -1).contiguous()).clamp(1, strings.shape[1] - 1)
    low, high = arc.gather(1, upper - 1), arc.gather(1, upper)
    weight = ((share - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).unsqueeze(-1)

    def at(index: Tensor) -> Tensor:
        return strings.gather(1, index.unsqueeze(-1).expand(-1, -1, strings.shape[-1]))

    return at(upper - 1) * (1 - weight) + at(upper) * weight


def bent(start: Tensor, end: Tensor, images: int) -> Tensor:
    """Three strings for every pair: without the bent ones, a hill between two wells would hide the ways around it."""
    share = torch.linspace(0, 1, images, dtype=start.dtype).view(-1, 1)
    chord = end - start
    random = torch.randn(chord.shape, generator=torch.Generator().manual_seed(0), dtype=chord.dtype)
    across = random - (random * chord).sum(-1, keepdim=True) / chord.square().sum(-1, keepdim=True) * chord
    bow = BEND * chord.norm(dim=-1, keepdim=True) * across / across.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    straight = start.unsqueeze(1) + share * chord.unsqueeze(1)
    return torch.cat([straight + sign * (math.pi * share).sin() * bow.unsqueeze(1) for sign in (0, 1, -1)])


def relaxed(potential: Energy, strings: Tensor, rounds: int = 8, steps: int = 25) -> Tensor:
    """Strings `(string, image, latent)` let down −∇U, evenly spaced, ends fixed; each image as fast as is stable."""
    share = torch.linspace(0, 1, strings.shape[1], dtype=strings.dtype)
    ends = strings[:, [0, -1]]
    for _ in range(rounds):
        rate = 0.5 / hessian(potential, strings).norm(dim=(-2, -1)).clamp(min=1e-12).unsqueeze(-1)
        for _ in range(steps):
            spacing = strings.diff(dim=1).norm(dim=-1).mean(1).view(-1, 1, 1)
            move = rate * gradient(potential, strings)
            strings = strings - move * (spacing / move.norm(dim=-1, keepdim=True).clamp(min=1e-300)).clamp(max=1)
            strings[:, [0, -1]] = ends
            strings = evenly_spaced(strings, share)
    return strings
