"""Model selection by held-out evidence: how many latent axes, a straight or a bent decoder, how many substeps.

Short fits see three quarters of the data, and are judged by the bound on the evidence of the rest. What is chosen is
the simplest candidate within two standard errors of the best, of those whose positions show the slow processes that
counting finds in the data and that some candidate shows, and that have a place for every piece that some candidate has
one for: a rare state hardly moves the mean of the bound, or moves it so far that its standard error holds anything.
Pieces that no candidate has a place for are left out for the same reason. The rule of one standard error (L. Breiman et
al., Classification and Regression Trees, 1984, §3.4.3) takes the fits as certain; short ones scatter by another.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from .._typing import Array
from ..errors import DataError, FitError
from ..io.memory import recognised
from ..io.series import as_tensors, cut, from_arrays
from ..io.validation import check_rows
from ..kinetics.partition import Where, cells_of
from ..landscape.step_size import LIMIT
from .draws import inference_mode
from .jobs import one_thread
from .lead import slow_coordinates
from .particles import particle_posterior
from .posterior import Pair, Posterior
from .schedule import Schedule
from .training import train

AXES = (1, 2, 3, 4, 5, 6)
DECODERS = ("straight", "bent")
LEFT_OUT = (1, "straight")  # a plane seen along straight lines contains it, and shows what is rare beside the line
LEAD = 0.3  # share of the steps of a short fit in which slow coordinates lead, as in the recipes
PIECE = 30  # observations in a piece, at most
HALF, BATCH = 15, 16  # of these in what short fits learn from, and how many per step: small steps, and many
FEWEST, SHORTEST = 12, 10  # pieces, and observations in one: below that nothing is held out
EVERY, AT_ONCE = 4, 2  # one out of so many is held out, two neighbours at a time: what is seen stays long
MOST = 64  # pieces that are judged
DRAWS = 4  # of the bound of each
SHOWN = 0.25  # less of a slow coordinate than another candidate shows, which is too little
SEEN = 0.5  # of a slow coordinate, below which it is not shown, and another axis may be worth it
LOST = 2.0  # nats per observed value below another candidate, at which a piece has no place in a model
ERRORS = 2.0  # standard errors over pieces within which candidates are alike
GROWTH = 2.0  # of the curvature of the stiffest minimum, from a short fit to the whole one
SHORT_SUBSTEPS = 5  # of short fits
SUBSTEPS = (8, 20)  # fewest and most of the whole fit: beyond that it takes too long
UNTRIED = {"latent": 2, "decoder": "straight", "substeps": 8}  # where there are too few data to hold any out

Build = Callable[[xr.Dataset, Mapping[str, Any]], Pair]


class _Score(NamedTuple):
    """What a short fit gives: the bound of every held-out piece, and the substeps that a longer fit will need."""

    bound: Array
    substeps: int
    shown: Array  # of every slow coordinate of the data, the share that the positions tell


def select(
    build: Build,
    data: object,
    *,
    latent: int | Iterable[int] | None = None,
    decoder: str | Iterable[str] | None = None,
    substeps: int | None = None,
    steps: int = 1280,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Choose latent axes, decoder and substeps by the evidence of sequences held out, in short fits.

    Candidates are tried from the simplest on: fewer axes before more, straight before bent. Another axis is tried as
    long as the last one has raised the held-out bound by more than two standard errors. A candidate that predicts worse
    than the same without its last axis is fitted once more, from another seed. Substeps are those that keep
    curvature × step below 0.2, were the landscape of the chosen short fit half as curved again.

    Parameters
    ----------
    build: makes (model, guide) from data and `{"latent": …, "decoder": "straight" or "bent", "substeps": …}`.
    data: whatever `as_tensors` takes. A quarter of the pieces of at most 30 observations is held out.
    latent, decoder, substeps: given, it is kept; several are candidates; None: 1 to 6 axes, both decoders (a single
        channel needs no bent one, since a landscape can be stretched instead), but not one axis with a straight
        decoder: the second axis holds what the first cannot, as states of .6 % of the time, of which pieces held out
        have too few to tell; 8 to 20 substeps.
    steps: gradient steps of a short fit. seed: of weights and draws; the caller's generators are left as they were.
    progress: show a bar.

    Returns
    -------
    By `candidate`: `latent`, `decoder`, `heldout`, the held-out bound in nats per observed value of the pieces that
    some candidate has a place for, its standard `error` over these, `gap`, what it lacks to the best, `shown`, the
    least share that its positions tell of a slow coordinate of the data, and `lost`, the number of pieces to which
    another candidate gives two nats per value more. Attrs: what was chosen, `latent`, `decoder`, `substeps`, its
    `heldout_elbo_per_observation` of all pieces, and a `message`. With fewer than 120 observations there are no
    candidates; then two axes, a straight decoder and 8 substeps are taken, unless others are given.

    Raises
    ------
    DataError: `latent`, `decoder` or `substeps` is not one that can be. FitError: every short fit failed.

    Notes
    -----
    The bound is that of a short fit of a part of the data, and of the guide it has. It ranks hypotheses. The fit that
    follows is longer, sees all data, and predicts better than that.

    Examples
    --------
    One hypothesis alone, a harmonic well, gets its held-out bound, and the substeps that it needs:

    >>> def build(data, choice):
    ...     q = choice["latent"]
    ...     motion = nld.OverdampedLangevin(nld.Quadratic(torch.ones(q)))
    ...     likelihood = nld.Gaussian(nld.LinearDecoder(q, data.sizes["channel"]))
    ...     model = nld.LatentLangevin(motion, likelihood, choice["substeps"])
    ...     return model, nld.AmortizedGuide(model, nld.GRUEncoder(data.sizes["channel"], size=4, hidden=4))
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=12, steps=12)
    >>> found = nld.select(build, data, latent=1, steps=2, progress=False)
    >>> found.attrs["latent"], found.attrs["decoder"], found.attrs["substeps"], found.sizes["candidate"]
    (1, 'straight', 8, 1)
    """
    axes, shapes, fixed = _checked(latent, decoder, substeps)
    found = recognised(data)
    series = found if isinstance(found, xr.Dataset) else from_arrays(*as_tensors(found, whole=False))
    if decoder is None and series.sizes["channel"] == 1:
        shapes = DECODERS[:1]
    pieces = _pieces(series)
    if pieces is None:
        return _untried(axes if latent is not None else (), shapes if decoder is not None else (), fixed)
    at_once = min(AT_ONCE, pieces.sizes["sequence"] // FEWEST)
    held = np.arange(pieces.sizes["sequence"]) // at_once % EVERY == EVERY - 1
    seen, apart = pieces.isel(sequence=~held), pieces.isel(sequence=np.flatnonzero(held)[:: -(-held.sum() // MOST)])
    times, x = check_rows(*as_tensors(apart, whole=False))
    observed = x.isfinite().sum((1, 2)).double().numpy()
    slow = slow_coordinates(*check_rows(*as_tensors(seen, whole=False)))
    tried: dict[tuple[int, str], _Score] = {}
    with tqdm(desc="choosing", disable=not progress, unit="fit") as bar:
        for q in axes:
            for shape in shapes:
                if (q, shape) == LEFT_OUT and latent is None:
                    continue
                choice = {"latent": q, "decoder": shape, "substeps": fixed or SHORT_SUBSTEPS}
                with suppress(FitError):  # a candidate that cannot be fitted is none
                    tried[q, shape] = _short_fit(build, seen, (times, x), choice, steps, seed, slow)
                    if _went_astray(tried, observed, q, shape):
                        again = _short_fit(build, seen, (times, x), choice, steps, seed + 1, slow)
                        tried[q, shape] = max(tried[q, shape], again, key=lambda one: one.bound.sum())
                bar.update()
            missed = tried and (np.max([one.shown for one in tried.values()], 0) < SEEN).any() and q <= slow.shape[-1]
            if not (missed or _worth_another_axis(tried, observed, q)):
                break
    return _chosen(tried, observed, fixed, steps)


def _checked(
    latent: int | Iterable[int] | None, decoder: str | Iterable[str] | None, substeps: int | None
) -> tuple[tuple[int, ...], tuple[str, ...], int | None]:
    """Axes and decoders to try, in order, and the substeps where they are given."""
    axes = AXES if latent is None else (latent,) if isinstance(latent, int) else tuple(sorted(latent))
    shapes = DECODERS if decoder is None else (decoder,) if isinstance(decoder, str) else tuple(decoder)
    if not axes or not all(isinstance(q, int) and q > 0 for q in axes):
        raise DataError(f"latent must be 1, 2, … or several of them: got {latent}. Leave it None to choose.")
    if not shapes or set(shapes) - set(DECODERS):
        raise DataError(f'decoder must be "straight", "bent" or both: got {decoder!r}. Leave it None to choose.')
    if substeps is not None and not (isinstance(substeps, int) and substeps > 0):
        raise DataError(f"substeps must be 1, 2, …: got {substeps}. Leave it None to choose.")
    return axes, tuple(shape for shape in DECODERS if shape in shapes), substeps


def _pieces(series: xr.Dataset) -> xr.Dataset | None:
    """Sequences in pieces of nearly equal length, as many as can be held out from; None if there are too few."""
    seen = int(series["observations"].notnull().any("channel").sum())
    length = min(PIECE, seen // FEWEST)
    if length < SHORTEST:
        return None
    pieces = cut(series, length)
    return pieces if pieces.sizes["sequence"] >= FEWEST else None


def _short_fit(
    build: Build,
    seen: xr.Dataset,
    apart: tuple[Tensor, Tensor],
    choice: Mapping[str, Any],
    steps: int,
    seed: int,
    slow: Tensor,
) -> _Score:
    """Fit a candidate to what it may see, and judge it by the rest."""
    with one_thread(), torch.random.fork_rng(), pyro.get_param_store().scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the fit that follows, the same is said once
        torch.manual_seed(seed)
        model, guide = build(seen, choice)
        model.most_substeps = None  # all candidates are judged with the same steps
        schedule = Schedule(steps=steps, batch_size=BATCH, lead=LEAD)
        train(model, guide, check_rows(*as_tensors(cut(seen, HALF))), schedule, seed=seed, progress=False)
        times, x = check_rows(*as_tensors(seen))
        with inference_mode(seed):
            drawn = [particle_posterior(model, guide, *apart, particles=1).log_evidence for _ in range(DRAWS)]
        bound = torch.stack(drawn).double().mean(0).numpy()
        few = slice(None, None, max(1, len(x) // 100))
        needed = 0
        with suppress(FitError):
            coarse = Posterior(model, guide, times[few], x[few]).discretisation()["max_curvature_step"]
            needed = math.ceil(GROWTH * choice["substeps"] * coarse / LIMIT)
        positions = Posterior(model, guide, times, x).positions()[0]
    if not np.isfinite(bound).all():
        raise FitError("the held-out bound is not finite. Use more substeps.")
    return _Score(bound, needed, _shown(positions.numpy(), slow.numpy(), seed))


def _shown(positions: Array, slow: Array, seed: int) -> Array:
    """The share of the variance of each slow coordinate that lies between small cells of the positions."""
    there = np.asarray(np.isfinite(slow).all(-1) & np.isfinite(positions).all(-1))
    if slow.shape[-1] == 0 or not there.any():
        return np.ones(slow.shape[-1])
    cell, value = cells_of(positions, there, seed)[there], slow[there] - slow[there].mean(0)
    count = np.bincount(cell)
    sums = np.stack([np.bincount(cell, one) for one in value.T])
    return np.asarray((sums**2 / np.maximum(count, 1)).sum(1) / (value**2).sum(0))


def _worth_another_axis(tried: Mapping[tuple[int, str], _Score], observed: Array, latent: int) -> bool:
    """Whether the last axis raised the bound by more than two standard errors; the first is always worth it."""
    if not tried or {q for q, _ in tried} == {latent}:
        return True
    told = _telling(tried, observed)
    fewer = [one.bound[told] for (q, _), one in tried.items() if q < latent]
    with_it = [one.bound[told] for (q, _), one in tried.items() if q == latent]
    if not with_it:
        return False
    best, count = max(with_it, key=np.sum), observed[told]
    return _mean(best, count) > max(_mean(one, count) for one in fewer) + ERRORS * _error(best, count)


def _went_astray(tried: Mapping[tuple[int, str], _Score], observed: Array, latent: int, shape: str) -> bool:
    """Whether a candidate predicts worse than the same without its last axis, which it contains, by two errors."""
    fewer, told = tried.get((latent - 1, shape)), _telling(tried, observed)
    if fewer is None:
        return False
    bound, count = tried[latent, shape].bound[told], observed[told]
    return _mean(bound, count) < _mean(fewer.bound[told], count) - ERRORS * _error(bound, count)


def _telling(tried: Mapping[tuple[int, str], _Score], observed: Array) -> Where:
    """The pieces that some candidate has a place for: the rest tell of chance, and would hide what these tell."""
    by_piece = np.array([one.bound for one in tried.values()]) / np.maximum(observed, 1)
    some = (by_piece >= np.median(by_piece, 1, keepdims=True) - LOST).any(0)
    return np.asarray(some if some.any() else ~some)


def _chosen(tried: Mapping[tuple[int, str], _Score], observed: Array, fixed: int | None, steps: int) -> xr.Dataset:
    if not tried:
        raise FitError("no short fit gave a finite bound. Look for extreme values in the data, or give substeps.")
    names, told = list(tried), _telling(tried, observed)
    bounds, count = np.array([one.bound for one in tried.values()])[:, told], observed[told]
    held = np.array([_mean(one, count) for one in bounds])
    error = np.array([_error(one, count) for one in bounds])
    shown = np.array([one.shown for one in tried.values()])
    by_piece = bounds / np.maximum(count, 1)
    lost = (by_piece < by_piece.max(0) - LOST).sum(1)
    enough = ((shown >= shown.max(0) - SHOWN) | (shown.max(0) < SEEN)).all(1)
    fit_for = enough if enough.any() else ~enough  # none shows all: the bound alone decides
    fit_for = fit_for & (lost == lost[fit_for].min())
    best = int(np.where(fit_for, held, -np.inf).argmax())
    place = int(np.flatnonzero((held >= held[best] - ERRORS * error[best]) & fit_for)[0])
    latent, decoder = names[place]
    substeps = fixed or int(np.clip(tried[names[place]].substeps, *SUBSTEPS))
    words = f"{latent} latent {'axis' if latent == 1 else 'axes'}, a {decoder} decoder, {substeps} substeps"
    rule = "the best" if place == best else "the simplest within two standard errors of the best"
    those = "candidates" if fit_for.all() else f"candidates, {fit_for.sum()} of which show every slow process and piece"
    nowhere = "" if told.all() else f" In {(~told).sum()} of {len(told)} pieces all of them fail; these are left out."
    message = (
        f"{words}: {rule} of {len(names)} {those}, {held[place]:.4f} ± {error[place]:.4f} nats per observed value "
        f"held out from fits of {steps} steps.{nowhere}"
    )
    return xr.Dataset(
        {
            "latent": ("candidate", [q for q, _ in names]),
            "decoder": ("candidate", [shape for _, shape in names]),
            "heldout": ("candidate", held),
            "error": ("candidate", error),
            "gap": ("candidate", held[best] - held),
            "shown": ("candidate", shown.min(1, initial=1.0)),
            "lost": ("candidate", lost),
        },
        attrs={"latent": latent, "decoder": decoder, "substeps": substeps, "message": message}
        | {"heldout_elbo_per_observation": _mean(tried[names[place]].bound, observed)},
    )


def _untried(axes: tuple[int, ...], shapes: tuple[str, ...], fixed: int | None) -> xr.Dataset:
    """What is given, and otherwise a plane seen along straight lines."""
    choice = dict(UNTRIED)
    choice |= {"latent": axes[0]} if axes else {}
    choice |= {"decoder": shapes[0]} if shapes else {}
    choice |= {"substeps": fixed} if fixed else {}
    message = (
        f"Nothing was held out, because there are fewer than {FEWEST * SHORTEST} observations: "
        f"{choice['latent']} latent axes, a {choice['decoder']} decoder, {choice['substeps']} substeps."
    )
    names = ("latent", "decoder", "heldout", "error", "gap", "shown", "lost")
    empty = {name: ("candidate", np.zeros(0)) for name in names}
    return xr.Dataset(empty, attrs=choice | {"heldout_elbo_per_observation": np.nan, "message": message})


def _mean(bound: Array, observed: Array) -> float:
    """Per observed value."""
    return float(bound.sum() / observed.sum())


def _error(bound: Array, observed: Array) -> float:
    """Standard error of that ratio over pieces."""
    rest = bound - _mean(bound, observed) * observed
    return float(np.sqrt(len(bound) * np.square(rest).sum() / max(len(bound) - 1, 1)) / observed.sum())
