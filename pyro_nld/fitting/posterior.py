"""`Posterior`: a model and its guide with data, every random quantity at its posterior median."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from .._typing import Array
from ..dynamics.circles import circles_of
from ..dynamics.equations import Dynamics
from ..errors import NO_LANDSCAPE, DoubtfulDataWarning, FitError, ShapeError
from ..guide.amortized import AmortizedGuide
from ..io import doubts
from ..io.matching import matched
from ..io.memory import recognised
from ..io.series import as_tensors
from ..io.validation import check_rows
from ..kinetics import memberships, metastable, recordings, state_paths, witness
from ..kinetics.states import PERSISTENT
from ..kinetics.visits import joined, parted
from ..landscape import attractors, basins, chart, flows, minima, on_axes, step_size
from ..model.latent_langevin import LatentLangevin
from ..nn import at_values, group_count, random_parts
from . import draws as joint
from .draws import inference_mode
from .elbo import evaluate
from .pairs import check_pair, under

Pair = tuple[LatentLangevin, AmortizedGuide]
"""A model and its guide."""

PATHS = 4  # posterior draws counted for kinetics
DRAWS = 20  # and for the probability of a state
CHAINS = 400  # chains that sample exp(−U/T), and that run the fitted prior
MEDIAN_DRAWS = 1000  # of an autoguide without a median of its own
KEPT = 20_000_000  # values of drawn positions that are kept for the next reader


P = TypeVar("P", bound="Posterior")


class Posterior:
    """What a model and guide say of data: positions, the dynamics at the posterior median, the ELBO.

    Parameters
    ----------
    model, guide: read, never changed. Their numbers are taken at the first look and kept: after a change of either, ask
        `forget` to look anew.
    times, x: the data.
    about: names, units and origins of the data, as coordinates and attributes, where they have any.
    """

    def __init__(
        self, model: LatentLangevin, guide: AmortizedGuide, times: Tensor, x: Tensor, about: xr.Dataset | None = None
    ) -> None:
        check_pair(model, guide)
        self.model, self.guide, self.about = model, guide, about
        self.times, self.x = check_rows(times, x)
        self.group: int | None = None  # of whose quantities the dynamics is
        self._drawn: dict[tuple[int, int], Tensor] = {}
        with inference_mode(0):
            if guide.others.prototype_trace is None:  # it has met no data yet
                guide(self.times, self.x, 1)

    @cached_property
    def medians(self) -> dict[str, Tensor]:
        """The posterior median of every random quantity, by site."""
        first = self.times[:1], self.x[:1]
        with inference_mode(0):
            try:
                found = self.guide.others.median(*first)
            except NotImplementedError:  # some of Pyro's autoguides have none
                draws = [self.guide.others(*first) for _ in range(MEDIAN_DRAWS)]
                found = {name: torch.stack([draw[name] for draw in draws]).median(0).values for name in draws[0]}
        return {name: value.detach() for name, value in found.items()}

    @cached_property
    def dynamics(self) -> Dynamics:
        """The prior's dynamics with every random quantity fixed at its posterior median; model's unit of time."""
        grouped = [name for part, name in random_parts(self.model.dynamics) if group_count(part, name)]
        if grouped and self.group is None:
            raise FitError(
                f"{grouped[0]} has a value for each group of sequences: there is not one dynamics to read. "
                "Choose a group, fit.of_group(0)."
            )
        values = {name: self.medians[name][self.group] for name in grouped}
        return at_values(self.model.dynamics, self.medians | values)

    def of_group(self: P, group: int) -> P:
        """The same for one group of sequences, with the values that its quantities have; see `PerGroup`.

        Parameters
        ----------
        group: its number.

        Raises
        ------
        FitError: no quantity has groups, or no sequence is of this one.
        """
        twin = copy.copy(self)
        twin.model, twin.guide = copy.deepcopy((self.model, self.guide))
        found = [(part, f"{name}_group") for part, name in random_parts(twin.model) if group_count(part, name)]
        chosen = [(part.get_buffer(name) == group).cpu() for part, name in found]
        rows = torch.stack(chosen).all(0) if chosen else torch.zeros(len(self.x), dtype=torch.bool)
        if not bool(rows.any()):
            raise FitError(f"no sequence is of group {group}. Give the number of a group, see nld.PerGroup.")
        for part, name in found:
            part.register_buffer(name, part.get_buffer(name)[rows])
        twin.times, twin.x, twin.group, twin._drawn = self.times[rows], self.x[rows], group, {}
        if self.about is not None and "sequence" in self.about.sizes:
            twin.about = self.about.isel(sequence=rows.numpy())
        twin.forget()
        return twin

    def forget(self) -> None:
        """Read model and guide anew from now on, since one of them was changed."""
        self._drawn.clear()
        for name in ("medians", "dynamics"):
            self.__dict__.pop(name, None)

    @property
    def has_landscape(self) -> bool:
        """Whether the prior's force is −∇U."""
        return self.model.dynamics.landscape is not None

    @property
    def potential(self) -> Callable[[Tensor], Tensor]:
        """U: `(*batch, latent)` to `(*batch,)`, at the posterior median of whatever is random in it.

        Raises
        ------
        FitError: the model has no landscape.
        """
        if not self.has_landscape:
            raise FitError(NO_LANDSCAPE)
        return self.dynamics.potential

    @property
    def temperature(self) -> float:
        """Posterior median of T, in the unit of U."""
        return float(self.dynamics.temperature)

    @property
    def time_unit(self) -> float:
        """The model's unit of time in the user's."""
        return float(self.model.time_unit)

    @property
    def step(self) -> float:
        """The integrator's largest step h, in the model's unit of time."""
        gaps = self.times.diff()
        return float(gaps[gaps.isfinite()].max()) / self.time_unit / self.model.substeps

    def positions(self, data: object = None, draws: int = 1, seed: int = 0) -> Tensor:
        """Posterior draws of the positions at the observation times, `(draw, sequence, time, latent)`.

        Those of the fit's own data are drawn once per seed and number, and kept.

        Parameters
        ----------
        data: what to encode; the data of the fit when None.
        draws: number of draws.
        seed: of the draws.
        """
        if data is None and (draws, seed) in self._drawn:
            return self._drawn[draws, seed]
        times, x = self.series(data)
        with under(self.model, data), inference_mode(seed):
            drawn = joint.positions(self.model, self.guide, times, x, draws)
        if data is None and drawn.numel() + sum(kept.numel() for kept in self._drawn.values()) <= KEPT:
            self._drawn[draws, seed] = drawn
        return drawn

    def encoded(self, limit: int = 20_000, seed: int = 0) -> Tensor:
        """Points `(point, latent)` of one posterior draw at existing observation times: where to look for wells.

        On an axis that is a circle, the image that is nearest to zero.
        """
        points = flows.some(self.positions(seed=seed)[0][self.times.isfinite()], limit, seed)
        return points if (circles := circles_of(self.model.dynamics.landscape)) is None else circles.fold(points)

    def moves(self, limit: int = 10_000, seed: int = 0) -> Tensor:
        """Successive positions `(move, 2, latent)` of one posterior draw, from one observation time to the next."""
        positions, there = self.positions(seed=seed)[0], self.times.isfinite()
        pairs = torch.stack([positions[:, :-1], positions[:, 1:]], -2)
        return flows.some(pairs[there[:, :-1] & there[:, 1:]], limit, seed)

    def recorded(self, seed: int = 0) -> tuple[Tensor, Array]:
        """Posterior draws of whole recordings, sequences that are pieces of one put together again, and their times.

        Parameters
        ----------
        seed: of the draws.

        Returns
        -------
        Positions `(draw, recording, time, latent)` and times `(recording, time)`, NaN after the end of a recording.
        """
        times, paths = self.times.numpy(), self.positions(draws=PATHS, seed=seed)
        order = recordings(times)
        long = joined(np.moveaxis(paths.cpu().numpy(), -1, 0), order)
        return torch.as_tensor(np.moveaxis(long, 0, -1)), joined(times, order)

    def basins(self, states: xr.Dataset, points: Tensor) -> Tensor:
        """The state that each point `(*batch, latent)` is led to, −1 for none; see `landscape` and `attractors`.

        Parameters
        ----------
        states: from `wells`, `attractors` or `states`.
        """
        if self.has_landscape:  # attractors of −∇U are its minima
            return basins(self.potential, states, points)
        return attractors.basins(self.dynamics, states, points)

    def metastable(self, seed: int = 0, min_persistence: float = PERSISTENT, min_barrier: float = 0.0) -> xr.Dataset:
        """The minima of the landscape in groups that persist: the states, see `kinetics.metastable`.

        Parameters
        ----------
        seed: of the posterior draws.
        min_persistence: time after which a state is forgotten over the time after which the place in it is.
        min_barrier: see `landscape.minima`, kT; minima that it joins stay together.

        Raises
        ------
        FitError: the model has no landscape, or no minimum was found.
        """
        moves = self.moves(seed=seed) if min_barrier > 0 else None
        found = minima(
            self.potential, self.encoded(seed=seed), temperature=self.temperature, min_barrier=min_barrier, moves=moves
        )
        paths, times = self.recorded(seed)
        rule = partial(metastable, min_persistence=min_persistence, seed=seed)
        if round_axes := chart(self.potential, found["minimum_position"].values, self.temperature):
            lifted = round_axes.states(found)
            return on_axes(round_axes, rule(round_axes, lifted, round_axes.circles.lift(paths), times))
        return rule(self.potential, found, paths, times)

    def probability(self, states: xr.Dataset, data: object = None, draws: int = DRAWS, seed: int = 0) -> Array:
        """P(state at t | data), `(sequence, time, state)`: the share of posterior draws; NaN after the end.

        A path that turns back before it reaches the core of another state stays where it was, see
        `kinetics.state_paths`. With an encoder that sees the past alone nobody knows yet whether it will turn back: the
        state is then the one that holds the position best, for waiting until a core is reached costs accuracy (.4
        points of it on the paper's chain). Where no cores are known, as of attractors, the basin is the state.

        Parameters
        ----------
        states: from `metastable`, `Fit.wells` or `attractors`. data: the data of the fit when None. draws: how many.
        seed: of the draws.
        """
        positions, times = self.positions(data, draws, seed), self.series(data)[0].numpy()
        every, met = np.arange(states.sizes["state"]), np.zeros((*times.shape, states.sizes["state"]))
        for label in self._labels(states, positions, times):
            met += label[..., None] == every
        return np.where(np.isnan(times)[..., None], np.nan, met / len(positions))

    def _labels(self, states: xr.Dataset, positions: Tensor, times: Array) -> Iterator[NDArray[np.integer]]:
        """The state of every observation `(sequence, time)`, draw by draw: what one needs is many times its labels."""
        if "core_committor" not in states:
            yield from self.basins(states, positions).numpy()
            return
        order = recordings(times)
        if round_axes := chart(self.potential, states["minimum_position"].values, self.temperature):
            states, positions = round_axes.states(states), round_axes.circles.lift(positions)
        for drawn in positions:
            held = memberships(states, drawn)
            if self.guide.encoder.causal:
                yield held.argmax(-1).numpy()
            else:
                whole = joined(np.moveaxis(held.numpy(), -1, 0), order)
                yield parted(state_paths(np.moveaxis(whole, 0, -1)), order, times.shape, -1)

    def processes(self, label: NDArray[np.integer], seed: int = 0) -> xr.Dataset:
        """The slow processes in the data that no pair of states carries, see `kinetics.witness`.

        Parameters
        ----------
        label: state of every observation `(sequence, time)`, −1 where undecided. seed: of the posterior draw.

        Returns
        -------
        What `witness.processes` finds in whole recordings, its names and attrs with the prefix `process_`.
        """
        order, (positions, times) = recordings(self.times.numpy()), self.recorded(seed)
        if circles := circles_of(self.model.dynamics.landscape):
            positions = circles.lift(positions)
        x = np.moveaxis(joined(np.moveaxis(self.x.numpy(), -1, 0), order), 0, -1)
        about = xr.Dataset() if self.about is None else self.about
        channels = about["channel"].astype(str).values.tolist() if "channel" in about.coords else None
        found = witness.processes(positions[0].numpy(), times, joined(label, order, -1), x, channels, seed=seed)
        names = {name: f"process_{name}" for name in [*found.data_vars, "lag", "mode", "state_mode"]}
        said = {f"process_{name}": found.attrs[name] for name in ("verdict", "message")}
        return found.drop_vars("channel").rename(names).drop_attrs().assign_attrs(said)

    def decode(self, points: Tensor) -> Tensor:
        """What the channels are at latent points, `(point, latent)` to `(point, channel)`, in the data's unit.

        That is the mean of an observation there, or what `Likelihood.levels` says in its place.
        """
        with torch.no_grad():
            return at_values(self.model.likelihood, self.medians).levels(points.to(self.x.dtype))

    def discretisation(self, wells: xr.Dataset | None = None) -> dict[str, float | int]:
        """Whether the steps were fine enough for the landscape, see `landscape.discretisation`.

        Parameters
        ----------
        wells: from `landscape.minima` or `attractors.rest_points`; found from a few encoded points when None.
        """
        if wells is None:
            few = slice(None, None, max(1, len(self.x) // 100))  # a hundred sequences or so
            numbered = bool(self.guide.numbers(torch.arange(len(self.x))[few][:1], len(self.x) + 1))
            drawn = self.positions()[0][few] if numbered else self.positions((self.times[few], self.x[few]))[0]
            points = drawn[self.times[few].isfinite()]
            wells = self._found(flows.some(points, 500))
        return step_size.discretisation(self.dynamics, self.model.integrator, wells, self.step, self.model.substeps)

    def _found(self, points: Tensor) -> xr.Dataset:
        if self.has_landscape:
            return minima(self.potential, points, temperature=self.temperature, min_barrier=0.0)
        return attractors.rest_points(self.dynamics, points)

    def elbo(self, data: object = None, draws: int = 3, seed: int = 0) -> dict[str, float]:
        """The ELBO of a data set and its terms, averaged over draws, and `per_observation` (per observed value)."""
        times, x = self.series(data)
        with under(self.model, data), inference_mode(seed):
            return evaluate(self.model, self.guide, times, x, draws)

    def labels(self, data: object = None) -> xr.Dataset | None:
        """Names, units and origins of `data`, or of the data of the fit; None where they have none."""
        if data is None:
            return self.about
        found = recognised(data)
        if not isinstance(found, xr.Dataset):
            return self.about if self.about is None else self.about.drop_dims(["sequence", "time"], errors="ignore")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DoubtfulDataWarning)  # `series` says it
            found = found if self.about is None else matched(found, self.about)
        return xr.Dataset(coords=found.coords, attrs=found.attrs)

    def series(self, data: object = None) -> tuple[Tensor, Tensor]:
        """`data`, or the data of the fit, as checked tensors: times `(sequence, time)` and x.

        Channels with names are matched to those of the fit, see `matched`.

        Raises
        ------
        DataError, ShapeError, TimeGridError: as in `as_tensors`, and where channels of the fit are missing.

        Warns
        -----
        DoubtfulDataWarning: values lie far outside what was fitted.
        """
        if data is None:
            return self.times, self.x
        found = recognised(data)
        if isinstance(found, xr.Dataset) and self.about is not None:
            found = matched(found, self.about)
        times, x = as_tensors(found, dtype=self.x.dtype, whole=False)
        if x.shape[-1] != self.x.shape[-1]:
            raise ShapeError(
                f"the data need the channels of the fit: expected {self.x.shape[-1]}, got {x.shape[-1]}. "
                "Give the same channels in the same order."
            )
        names = list(map(str, range(x.shape[-1])))
        if self.about is not None and "channel" in self.about.coords:
            names = [str(name) for name in self.about["channel"].values]
        for doubt in doubts.outside(x.numpy(force=True), self.x.numpy(force=True), names):
            warnings.warn(doubt, DoubtfulDataWarning, stacklevel=2)
        return check_rows(times, x)
