"""Saddles between the wells of a landscape: where they are, which states they join, how high the way over them is.

Strings relaxed between minima only suggest where to look. What counts is certified on its own: a saddle is a point with
∇U = 0 and one negative eigenvalue of ∇²U, and it joins the two states that its two sides flow down to.

Examples
--------
The barrier of a double well is 3 kT from either side:

>>> U = nld.DoubleWell(3.0)
>>> wells = nld.landscape.minima(U, torch.linspace(-2.0, 2.0, 100).unsqueeze(-1))
>>> found = nld.saddles.saddles(U, wells, temperature=1.0)
>>> found.sizes["saddle"], found["barrier"].values[0, 1].round(3).item()
(1, 3.0)
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import xarray as xr
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from ..dynamics.potentials import Energy, gradient, hessian, in_double
from ..errors import DoubtfulFitWarning, ShapeError
from .charts import Chart, chart
from .minima import FLAT
from .strings import BEND, bent, evenly_spaced, relaxed

PAIRS = 300  # of minima between which strings are drawn at most
STRINGS = 256  # relaxed at a time
KICK = 1e-3  # distance from a saddle at which its sides start to flow, relative to the spread of the minima
STRIDE = 0.03  # of a descent, relative to the distance from the nearest minimum
NEAR = 0.01  # distance from a minimum, relative to its nearest neighbour's, at which a descent has arrived


def saddles(potential: Energy, wells: xr.Dataset, *, temperature: float = 1.0, images: int = 41) -> xr.Dataset:
    """Points with ∇U = 0 and exactly one negative eigenvalue of ∇²U that join two states, and the ways over them.

    Three strings, one straight and two bent, relax downhill between every two minima of different states; where there
    are more than 300 such pairs, between the nearest and along a tree that spans all. Each top of a string starts a
    Newton search up the softest mode and down all others.

    Parameters
    ----------
    potential: U. Saddles of a module are found in a float64 copy.
    wells: from `landscape.minima`. temperature: T, in the unit of U.
    images: points of a string and of a path, odd, at least 5.

    Returns
    -------
    Dataset over `saddle`, by increasing energy: `saddle_position (saddle, latent)`, `saddle_energy`,
    `saddle_gradient_norm`, `saddle_curvature (saddle, latent)` (eigenvalues of ∇²U, ascending, the first negative),
    `saddle_states (saddle, end)` (ascending), `saddle_path (saddle, image, latent)` (from the first state's minimum
    along the steepest descent over the saddle, which is the middle image, to the second's; evenly spaced on either
    side), `saddle_path_energy (saddle, image)`; over `(state, to)`: `barrier` (of the lowest saddle between them, seen
    from `state`, in kT; NaN where there is none) and `pass_energy` (least highest energy of all routes; the minimum's
    own on the diagonal; NaN where there is no route). attrs: `unassigned_saddles`, those
    that are left out because they lead to none of the wells. Saddles inside one state are left out too.

    Raises: ShapeError, images is even or below 5.
    Warns: DoubtfulFitWarning, no route joins some of the states, although on a confining landscape there is one.
    Not checked: whether there are saddles that no string leads to.
    Source: E, Ren, Vanden-Eijnden, Journal of Chemical Physics 126:164103, 2007 (strings).
    """
    if images < 5 or images % 2 == 0:
        raise ShapeError(f"images must be odd and at least 5: got {images}. The middle one of a path is its saddle.")
    if round_axes := chart(potential, wells["minimum_position"].values, temperature):
        lifted = round_axes.states(wells)
        return round_axes.passes_back(saddles(round_axes, lifted, temperature=temperature, images=images))
    exact = in_double(potential)
    with torch.no_grad():
        story = _described(exact, wells, _candidates(exact, wells, images), temperature, images)
    lone = np.flatnonzero(np.isnan(story["pass_energy"].values).any(1))
    if len(lone):
        warnings.warn(
            f"no route was found between some of the states {lone.tolist()}; {story.attrs['unassigned_saddles']} "
            "saddles lead to unknown minima. Search minima from more starts, or give more images.",
            DoubtfulFitWarning,
            stacklevel=2,
        )
    return story


def follow(potential: Energy, wells: xr.Dataset, passes: xr.Dataset, *, temperature: float = 1.0) -> xr.Dataset:
    """The saddles of another potential that Newton's method finds from those of `passes`.

    Parameters
    ----------
    potential: U. wells: its minima. passes: from `saddles` of a similar potential. temperature: T, in the unit of U.

    Returns
    -------
    As `saddles`, with paths of 5 images; saddles that are new, and that none of the old ones leads to, are missing.
    """
    if round_axes := chart(potential, wells["minimum_position"].values, temperature):
        before = passes.assign(
            saddle_position=(
                ("saddle", "axis"),
                round_axes.circles.lift(torch.as_tensor(passes["saddle_position"].values)).numpy(),
            )
        )
        return round_axes.passes_back(follow(round_axes, round_axes.states(wells), before, temperature=temperature))
    exact, old = in_double(potential), torch.as_tensor(passes["saddle_position"].values)
    minima, _ = _minima(wells)
    reach = BEND * (minima - minima.mean(0)).norm(dim=-1).max().clamp(min=1e-9).expand(len(old), 1)
    with torch.no_grad():
        return _described(exact, wells, _climbed(exact, old, reach), temperature, images=5)


def disconnectivity(story: xr.Dataset) -> list[tuple[float, frozenset[int]]]:
    """Which states are one at which energy: as U rises, the lowest saddle between two groups of states joins them.

    story: from `saddles`. Returns (energy, all states of the group from there on), by increasing energy; one fewer
    than there are states if all are joined. Source: Becker, Karplus, Journal of Chemical Physics 106:1495–1517, 1997.
    """
    ends = story["saddle_states"].values
    group = {state: frozenset({state}) for state in ends.ravel().tolist()}
    joins = []
    for energy, (first, second) in zip(story["saddle_energy"].values.tolist(), ends.tolist(), strict=True):
        if second not in group[first]:
            united = group[first] | group[second]
            group |= dict.fromkeys(united, united)
            joins.append((energy, united))
    return joins


# Where to look


def _candidates(potential: Energy, wells: xr.Dataset, images: int) -> Tensor:
    """Where searches end that start from tops of strings, `(candidate, latent)`."""
    minima, owner = _minima(wells)
    apart = torch.cdist(minima, minima)
    tree = torch.as_tensor(minimum_spanning_tree(apart.numpy()).toarray())
    first, second = (owner.unsqueeze(1) < owner).nonzero().unbind(1)
    nearest = torch.where((tree + tree.T) > 0, 0.0, apart)[first, second].argsort(stable=True)[:PAIRS]
    strings = bent(minima[first[nearest]], minima[second[nearest]], images)
    return torch.cat([_climbed(potential, *_tops(potential, some)) for some in strings.split(STRINGS)])


def _minima(wells: xr.Dataset) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(wells["minimum_position"].values), torch.as_tensor(wells["minimum_state"].values)


def _tops(potential: Energy, strings: Tensor) -> tuple[Tensor, Tensor]:
    """Images of relaxed strings above their neighbours, `(top, latent)`, and their distance from them, `(top, 1)`."""
    strings = relaxed(potential, strings)
    rise = potential(strings).diff(dim=1)
    top = (rise[:, :-1] > 0) & (rise[:, 1:] <= 0)
    return strings[:, 1:-1][top], strings.diff(dim=1).norm(dim=-1, keepdim=True)[:, 1:][top]


def _climbed(potential: Energy, points: Tensor, reach: Tensor, steps: int = 100) -> Tensor:
    """Newton's method with moves up to `reach`: along the lowest mode uphill, along all others downhill."""
    for _ in range(steps):
        along, value, vector = _modes(potential, points)
        move = -along / value.abs().clamp(min=1e-3 * value.abs().amax(-1, keepdim=True))
        move[:, 0] *= -1
        length = move.norm(dim=-1, keepdim=True)
        points = points + _turned(vector, move * (reach / length.clamp(min=1e-300)).clamp(max=1))
        if bool((length < 1e-9 * reach).all()):
            break
    return points


def _modes(potential: Energy, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """∇U in the eigenbasis of ∇²U, the eigenvalues, ascending, and that basis."""
    value, vector = torch.linalg.eigh(hessian(potential, points))
    return _turned(vector.mT, gradient(potential, points)), value, vector


def _turned(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors.unsqueeze(-1)).squeeze(-1)


# What counts


def _certified(potential: Energy, points: Tensor, wells: xr.Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct saddles by energy, the descents `(saddle, end, point, latent)` from them, and the minima below."""
    minima, owner = _minima(wells)
    spread = (minima - minima.mean(0)).norm(dim=-1).max()
    along, value, vector = _modes(potential, points)
    flat = along.norm(dim=-1) < FLAT * value.abs().amax(-1).clamp(min=1.0)
    certified = flat & ((value < 0).sum(-1) == 1)
    if isinstance(potential, Chart):
        certified &= potential.holds(points)
    points, mode = points[certified], vector[certified][..., 0]
    order = potential(points).argsort(stable=True)
    new = ~(torch.cdist(points[order], points[order]) < 1e-4 * spread).tril(-1).any(1)
    start, kick = points[order[new]].unsqueeze(1).repeat(1, 2, 1), KICK * spread * mode[order[new]]
    trail, below = _descended(potential, (start + torch.stack([-kick, kick], 1)).flatten(0, 1), minima)
    trail = torch.cat([start.unsqueeze(2), trail.unflatten(0, (-1, 2))], 2)
    below = below.unflatten(0, (-1, 2))
    turn = owner[below].argsort(dim=1, stable=True)
    return start[:, 0], trail.take_along_dim(turn[..., None, None], 1), below.gather(1, turn)


def _descended(potential: Energy, start: Tensor, minima: Tensor, steps: int = 1000) -> tuple[Tensor, Tensor]:
    """Steepest descents `(side, point, latent)` and the minima they end in, `(side,)`; −1 where that is none of them.

    Every step is the flow of the local quadratic U, δz = −(1 − exp(−h∇²U)) (∇²U)⁻¹ ∇U, for the time h in which ‖∇U‖
    would cover a stride: stiff modes do not slow it down (Page, McIver, Journal of Chemical Physics 88:922, 1988).
    """
    gap = torch.cdist(minima, minima).fill_diagonal_(torch.inf).amin(1)
    trail = [start]
    for _ in range(steps):
        along, value, vector = _modes(potential, trail[-1])
        distance, nearest = torch.cdist(trail[-1], minima).min(1)
        below = torch.where((distance < NEAR * gap[nearest]) & (value[:, 0] > 0), nearest, -1)
        stride = STRIDE * distance.unsqueeze(1)
        time = stride / along.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        time = torch.minimum(time, 1 / (-value[:, :1]).clamp(min=1e-300))  # beside a saddle: ∇U grows on the way
        decay = torch.where((value * time).abs() < 1e-9, 1e-9, value * time)
        move = _turned(vector, along * time * torch.expm1(-decay) / decay)
        moving = (below < 0) & (move.norm(dim=-1) > 1e-3 * stride.squeeze(1))
        if not bool(moving.any()):
            break
        trail.append(trail[-1] + move * moving.unsqueeze(1))
    return torch.stack(trail, 1), below


def _paths(potential: Energy, trail: Tensor, minimum: Tensor, home: Tensor, images: int) -> Tensor:
    """From one state's minimum over the saddle to the other's, `(saddle, image, latent)`, out of its two descents."""
    tail = minimum.unsqueeze(2).repeat(1, 1, images, 1)
    if bool((elsewhere := (minimum != home).any(-1)).any()):  # another minimum of the state than its deepest
        tail[elsewhere] = relaxed(potential, bent(minimum[elsewhere], home[elsewhere], images).chunk(3)[0])
    share = torch.linspace(0, 1, images // 2 + 1, dtype=trail.dtype)
    first, second = (evenly_spaced(torch.cat([trail[:, end], tail[:, end]], 1), share) for end in (0, 1))
    return torch.cat([first.flip(1), second[:, 1:]], 1)


def _described(potential: Energy, wells: xr.Dataset, points: Tensor, temperature: float, images: int) -> xr.Dataset:
    """The Dataset of `saddles`."""
    minima, owner = _minima(wells)
    points, trail, below = _certified(potential, points, wells)
    known = (below >= 0).all(1)
    kept = known & (owner[below[:, 0]] != owner[below[:, 1]])
    points, trail, below = points[kept], trail[kept], below[kept]
    along, value, _ = _modes(potential, points)
    path = _paths(potential, trail, minima[below], torch.as_tensor(wells["position"].values)[owner[below]], images)
    energy = potential(points)
    variables = {
        "saddle_position": (("saddle", "latent"), points),
        "saddle_energy": ("saddle", energy),
        "saddle_gradient_norm": ("saddle", along.norm(dim=-1)),
        "saddle_curvature": (("saddle", "latent"), value),
        "saddle_states": (("saddle", "end"), owner[below]),
        "saddle_path": (("saddle", "image", "latent"), path),
        "saddle_path_energy": (("saddle", "image"), potential(path)),
    }
    story = xr.Dataset({name: (dims, value.numpy()) for name, (dims, value) in variables.items()})
    depth = wells["energy"].values
    direct, route = np.full((2, len(depth), len(depth)), np.nan)
    for height, (first, second) in zip(energy.flip(0).tolist(), story["saddle_states"].values[::-1], strict=True):
        direct[first, second] = direct[second, first] = height
    for height, united in reversed(disconnectivity(story)):
        route[np.ix_(list(united), list(united))] = height
    np.fill_diagonal(route, depth)
    story = story.assign(barrier=(("state", "to"), (direct - depth[:, None]) / temperature))
    return story.assign(pass_energy=(("state", "to"), route)).assign_attrs(unassigned_saddles=int((~known).sum()))
