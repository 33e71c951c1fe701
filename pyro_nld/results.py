"""`Fit`: a fitted model and guide, and the Datasets that are read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pyro
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from . import attractors, kinetics, landscape, occupancies, saddles, verdicts
from ._checks import FitError, ShapeError, check_rows
from ._modules import fixed
from ._series import as_tensors
from .dynamics import Dynamics, OverdampedLangevin
from .guide import PATH_SITES, AmortizedGuide
from .inference_data import Results, to_inference_data
from .model import LatentLangevin
from .objective import TERMS, evaluate, paired_traces, terms_of

CHUNK = 256  # sequences encoded at a time: bounds the memory of reading a large data set
PATHS = 4  # posterior draws counted for kinetics
CHAINS = 400  # chains that sample exp(−U/T), and that run the fitted prior
LOOKS = (300, 2000)  # fewest and most observation intervals that the fitted prior is run for
PATH_NUMBERS = 2_000_000  # latent path values kept in the posterior group before it is cut to the first sequences


class Fit:
    """A fitted model and guide with the data they were fitted on.

    Made by `fit`, or by hand after plain Pyro SVI: `Fit(model, guide, times, x)`.

    Parameters
    ----------
    model, guide: fitted; read, never changed.
    times, x: the data.
    history: terms of the loss per observed value, gradient norm, learning rate and seconds, by `step`.
    runs: one entry per restart.
    """

    def __init__(
        self,
        model: LatentLangevin,
        guide: AmortizedGuide,
        times: Tensor,
        x: Tensor,
        history: xr.Dataset | None = None,
        runs: list[dict] | None = None,
    ) -> None:
        self.model, self.guide = model, guide
        self.times, self.x = check_rows(times, x)
        self.history = xr.Dataset(coords={"step": []}) if history is None else history
        self.runs = runs or []
        with _reading(0):
            if guide.others.prototype_trace is None:  # it has met no data yet
                guide(self.times, self.x, 1)
            self.medians = {
                name: value.detach() for name, value in guide.others.median(self.times[:1], self.x[:1]).items()
            }

    @property
    def dynamics(self) -> Dynamics:
        """The prior's dynamics with every random quantity fixed at its posterior median; model's unit of time."""
        return fixed(self.model.dynamics, self.medians)

    @property
    def has_landscape(self) -> bool:
        """Whether the prior's force is −∇U."""
        return hasattr(self.model.dynamics, "potential")

    @property
    def potential(self) -> Callable[[Tensor], Tensor]:
        """U: `(*batch, latent)` to `(*batch,)`, at the posterior median of whatever is random in it.

        Raises
        ------
        FitError: the model has no landscape.
        """
        if not self.has_landscape:
            raise FitError(attractors.NO_LANDSCAPE)
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

        Parameters
        ----------
        data: what to encode; the data of the fit when None.
        draws: number of draws.
        seed: of the draws.
        """
        times, x = self.series(data)
        with _reading(seed):
            return torch.stack([torch.cat([part.positions for part in self._draw(times, x)]) for _ in range(draws)])

    def encoded(self, limit: int = 20_000, seed: int = 0) -> Tensor:
        """Points `(point, latent)` of one posterior draw at existing observation times: where to look for wells."""
        points = self.positions(seed=seed)[0][self.times.isfinite()]
        chosen = np.random.default_rng(seed).permutation(len(points))[:limit]
        return points[chosen]

    def decode(self, points: Tensor) -> Tensor:
        """Channel means at latent points, `(point, latent)` to `(point, channel)`, in the data's unit."""
        with torch.no_grad():
            decoder = fixed(self.model.likelihood, self.medians).decoder
            return decoder(points.to(decoder.loc.dtype))

    def landscape(self, seed: int = 0, min_barrier: float = 1.0) -> xr.Dataset:
        """Everything read from the landscape, in one Dataset: `wells`, then saddles, barriers, kinetics, the verdict.

        Parameters
        ----------
        seed: of posterior draws and simulations.
        min_barrier: see `landscape.minima`, kT.

        Returns
        -------
        The variables of `wells`; `occupancy_sampled (state)`, the share of draws of exp(−U/T) in each basin, with
        `occupancy_rhat` and `occupancy_ess (state)` of its chains; the variables of `saddles.saddles`, and
        `saddle_committor (saddle)`, the probability to go on to the second of its states, near ½ where it is the
        bottleneck; rates, dwell, passage and relaxation times by `route`, see `kinetics`, in the user's unit of time,
        with the visits counted, and timescales `implied (route, lag, mode)`, lags in observations;
        attrs `kinetics_agree` (1 or 0) and `messages`, the verdict, one message per line.

        Raises
        ------
        FitError: the model has no landscape, or no minimum was found.

        Warns
        -----
        DoubtfulFitWarning: the curvature of a well times the step exceeds the limit.
        """
        dynamics, wells = self.dynamics, self.wells(seed, min_barrier)
        passes = saddles.saddles(dynamics.potential, wells, temperature=self.temperature)
        counts, routes = self._routes(dynamics, wells, passes, seed)
        story = xr.merge([wells, passes, routes, counts.drop_vars("exits").drop_dims("lag")], combine_attrs="drop")
        starts = self.encoded(limit=CHAINS, seed=seed)
        sampled = occupancies.sampled(dynamics.potential, wells, starts, self.temperature, seed)
        story = story.assign(dict(sampled) | self._committed(dynamics, wells, passes, seed)).assign_attrs(wells.attrs)
        verdict = verdicts.kinetics(story, counts, routes)
        said = {"kinetics_agree": int(verdict.agree), "messages": "\n".join(verdict.messages)}
        return story.assign_attrs(said | {"interval": counts.attrs["interval"]})

    def wells(self, seed: int = 0, min_barrier: float = 1.0) -> xr.Dataset:
        """The states: minima, energies, curvatures, occupancies, decoded means, and whether the step was fine enough.

        Parameters
        ----------
        seed: of the posterior draw that the search starts from.
        min_barrier: see `landscape.minima`, kT.

        Returns
        -------
        The variables of `landscape.minima`; `occupancy_energy`, `occupancy_harmonic`, `occupancy_data` (state);
        `decoded` (state, channel), the channels' means at the minima, in the data's unit; attrs `temperature`,
        `time_unit`, `max_curvature_step` and what `landscape.discretisation` says of it.

        Warns
        -----
        DoubtfulFitWarning: the curvature of a well times the step exceeds the limit.
        """
        potential, points = self.potential, self.encoded(seed=seed)
        wells = landscape.minima(potential, points, temperature=self.temperature, min_barrier=min_barrier)
        shares = landscape.occupancy(wells, self.temperature, self.basins(wells, points))
        return self._described(wells.assign({f"occupancy_{route}": shares[route] for route in shares}))

    def attractors(self, seed: int = 0) -> xr.Dataset:
        """The states of a model that needs no landscape: stable points of rest, and what of `wells` holds here too.

        Parameters
        ----------
        seed: of the posterior draw that the search starts from.

        Returns
        -------
        The variables of `attractors.rest_points`, decay and turning per user's unit of time; `occupancy_data (state)`,
        the share of encoded data that the force leads to each; `decoded`; attrs as for `wells`.

        Raises
        ------
        FitError: nothing comes to rest.
        """
        points = self.encoded(seed=seed)
        found = attractors.rest_points(self.dynamics, points)
        shares = attractors.occupancy(self.basins(found, points), found)
        in_unit = {name: found[name] / self.time_unit for name in ("decay", "turning")}
        return self._described(found.assign(in_unit | {"occupancy_data": shares}))

    def states(self, seed: int = 0) -> xr.Dataset:
        """`wells` of a landscape; `attractors` where there is none."""
        return self.wells(seed) if self.has_landscape else self.attractors(seed)

    def basins(self, states: xr.Dataset, points: Tensor) -> Tensor:
        """The state that each point `(*batch, latent)` is led to, −1 for none; see `landscape` and `attractors`.

        Parameters
        ----------
        states: from `wells`, `attractors` or `states`.
        """
        if "dent_position" in states:  # wells
            return landscape.basins(self.potential, states, points)
        return attractors.basins(self.dynamics, states, points)

    def _found(self, points: Tensor) -> xr.Dataset:
        if self.has_landscape:
            return landscape.minima(self.potential, points, temperature=self.temperature)
        return attractors.rest_points(self.dynamics, points)

    def _described(self, states: xr.Dataset) -> xr.Dataset:
        """With the channels' means there, the units, and whether the step was fine enough."""
        decoded = self.decode(torch.as_tensor(states["position"].values))
        units = {"temperature": self.temperature, "time_unit": self.time_unit, "substeps": self.model.substeps}
        found = states.assign(decoded=(("state", "channel"), decoded.numpy()))
        return found.assign_attrs(units | self.discretisation(states))

    def _committed(
        self, dynamics: Dynamics, wells: xr.Dataset, passes: xr.Dataset, seed: int
    ) -> dict[str, tuple[str, np.ndarray]]:
        """The committor of every saddle, by shooting."""
        shares = np.full(passes.sizes["saddle"], np.nan)
        for place, (source, target) in enumerate(passes["saddle_states"].values.tolist()):
            start = torch.as_tensor(passes["saddle_position"].values[[place]]).to(self.x.dtype)
            shares[place] = kinetics.committor(
                dynamics, self.model.integrator, wells, start, source, target, step=self.step, seed=seed
            )
        return {"saddle_committor": ("saddle", shares)}

    def _routes(
        self, dynamics: Dynamics, wells: xr.Dataset, passes: xr.Dataset, seed: int
    ) -> tuple[xr.Dataset, xr.Dataset]:
        """Counts on posterior paths, and the kinetics by every route that applies, in the user's time."""
        paths, times = self.positions(draws=PATHS, seed=seed), self.times.numpy()
        labels = kinetics.cores(dynamics.potential, wells, paths, self.temperature).numpy()
        counts = kinetics.count(labels, times, wells.sizes["state"])
        routes = {"counted": kinetics.by_counting(counts)}
        interval = counts.attrs["interval"]
        dwell = routes["counted"]["dwell"].values
        longest = dwell[np.isfinite(dwell)].max(initial=0.0)
        looks = int(np.clip(20 * longest / interval, *LOOKS))
        chain = kinetics.simulated(
            dynamics, self.model.integrator, wells, self.encoded(limit=CHAINS, seed=seed),
            interval=interval / self.time_unit, substeps=self.model.substeps, intervals=looks, seed=seed,
        )  # fmt: skip
        own = {"simulated": kinetics.by_counting(chain)}
        own["eyring_kramers"] = kinetics.eyring_kramers(dynamics, wells, passes)
        if isinstance(dynamics, OverdampedLangevin) and dynamics.latent <= 2:
            own["exact"] = kinetics.exact(dynamics, wells)
        routes |= {name: kinetics.in_unit(route, self.time_unit) for name, route in own.items()}
        return counts, kinetics.joined(routes)

    def discretisation(self, wells: xr.Dataset | None = None) -> dict[str, float | int]:
        """Whether the steps were fine enough for the landscape, see `landscape.discretisation`.

        Parameters
        ----------
        wells: from `landscape.minima` or `attractors.rest_points`; found from a few encoded points when None.
        """
        if wells is None:
            wells = self._found(self.encoded(limit=500))
        return landscape.discretisation(self.dynamics, self.model.integrator, wells, self.step, self.model.substeps)

    def elbo(self, data: object = None, draws: int = 3, seed: int = 0) -> dict[str, float]:
        """The ELBO of a data set and its terms, averaged over draws, and `per_observation` (per observed value)."""
        times, x = self.series(data)
        with _reading(seed):
            return evaluate(self.model, self.guide, times, x, draws)

    def inference_data(self, draws: int = 100, seed: int = 0) -> Results:
        """The posterior as ArviZ reads it.

        Parameters
        ----------
        draws: posterior draws of the globals and of the latent path at the observation times.
        seed: of the draws.

        Returns
        -------
        Groups `posterior` (globals; `z (chain, draw, sequence, time, latent)`), `sample_stats` (terms of the ELBO per
        draw, of the sequences kept), `observed_data` (`x`, NaN where missing), `constant_data` (`times`). `z` is NaN
        after the end of a sequence. Only as many sequences are kept as fit into 2·10⁶ numbers of `z`.
        """
        size = draws * self.times.shape[1] * self.model.dynamics.latent
        kept = max(1, min(len(self.x), PATH_NUMBERS // size))
        times, x = self.times[:kept], self.x[:kept]
        with _reading(seed):
            drawn = [self._scored(times, x) for _ in range(draws)]
        return to_inference_data(_groups(drawn, times, x))

    def series(self, data: object = None) -> tuple[Tensor, Tensor]:
        """`data`, or the data of the fit, as checked tensors: times `(sequence, time)` and x."""
        if data is None:
            return self.times, self.x
        times, x = as_tensors(data, dtype=self.x.dtype, whole=False)
        if x.shape[-1] != self.x.shape[-1]:
            raise ShapeError(
                f"the data need the channels of the fit: expected {self.x.shape[-1]}, got {x.shape[-1]}. "
                "Give the same channels in the same order."
            )
        return check_rows(times, x)

    def _draw(self, times: Tensor, x: Tensor) -> Iterator[_Part]:
        """One joint draw: globals once, then paths of all sequences, a chunk at a time."""
        guide = self.guide
        for chunk in torch.arange(len(x)).split(CHUNK):
            traces = paired_traces(self.model, guide, times[chunk], x[chunk])
            sites = {name: site["value"] for name, site in traces[1].nodes.items() if site["type"] == "sample"}
            yield _Part(sites, self.model.observed_positions(sites["z0"], sites["z"]), traces)
            guide = poutine.replay(self.guide, trace=_of_globals(traces[1]))

    def _scored(self, times: Tensor, x: Tensor) -> _Draw:
        """One joint draw with the terms of its bound."""
        parts: list[_Part] = []
        terms = dict.fromkeys(TERMS, torch.zeros(()))
        for part in self._draw(times, x):
            # Globals are the same in every chunk and count once.
            counted = {
                name: value for name, value in terms_of(*part.traces).items() if name != "global_kl" or not parts
            }
            terms |= {name: terms[name] + value for name, value in counted.items()}
            parts.append(part)
        z = torch.where(times.isfinite().unsqueeze(-1), torch.cat([part.positions for part in parts]), torch.nan)
        return _Draw({name: parts[0].sites[name] for name in self.medians}, z, terms)


class _Part(NamedTuple):
    """A joint draw for a chunk of the sequences: values by site, positions at the observation times, both traces."""

    sites: dict[str, Tensor]
    positions: Tensor
    traces: tuple[poutine.Trace, poutine.Trace]


class _Draw(NamedTuple):
    """A joint draw for all sequences; `z` is NaN after the end of a sequence."""

    globals: dict[str, Tensor]
    z: Tensor
    terms: dict[str, Tensor]


def _of_globals(trace: poutine.Trace) -> poutine.Trace:
    kept = trace.copy()
    for name in set(PATH_SITES) & set(trace.nodes):
        kept.remove_node(name)
    return kept


@contextmanager
def _reading(seed: int) -> Iterator[None]:
    """No gradients, randomness of our own, and a parameter store that cannot be another model's."""
    with torch.no_grad(), torch.random.fork_rng(), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        yield


def _groups(drawn: list[_Draw], times: Tensor, x: Tensor) -> dict[str, xr.Dataset]:
    axes = {name: [f"{name}_dim_{i}" for i in range(value.dim())] for name, value in drawn[0].globals.items()}
    posterior = {name: _stack([draw.globals[name] for draw in drawn], dims) for name, dims in axes.items()}
    posterior["z"] = _stack([draw.z for draw in drawn], ["sequence", "time", "latent"])
    statistics = {name: _stack([draw.terms[name] for draw in drawn], []) for name in TERMS}
    observed = {"x": (("sequence", "time", "channel"), x.cpu().numpy())}
    constant = {"times": (("sequence", "time"), times.cpu().numpy())}
    return {
        "posterior": xr.Dataset(posterior),
        "sample_stats": xr.Dataset(statistics),
        "observed_data": xr.Dataset(observed),
        "constant_data": xr.Dataset(constant),
    }


def _stack(values: list[Tensor], dims: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    return ("chain", "draw", *dims), torch.stack(values).unsqueeze(0).cpu().numpy()
