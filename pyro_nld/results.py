"""`Fit`: a fitted model and guide, and the Datasets that are read from them."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from . import draws as joint
from . import ensemble, kinetics, landscape, saddles, samplers, verdicts
from ._checks import DataError, DoubtfulFitWarning, FitError, ShapeError, check_rows
from ._modules import fixed
from ._series import as_tensors, channel_moments
from .draws import AXES, reading
from .dynamics import Dynamics, OverdampedLangevin
from .guide import AmortizedGuide
from .inference_data import Results, convergence, to_inference_data
from .model import LatentLangevin
from .objective import evaluate
from .observations import IdentityDecoder
from .potentials import hessian, in_double

GROUPS = (
    "posterior", "posterior_predictive", "prior", "log_likelihood", "sample_stats", "observed_data", "constant_data",
)  # fmt: skip
"""What `Fit.inference_data` makes unless asked for more or less, by the names that ArviZ knows."""

PREDICTED = {"posterior_predictive", "prior_predictive"}
LANDSCAPE = {"basin", "decoded", "depth", "occupancy", "barrier", "rate", "dwell"}
"""Variables that do not depend on the unit and the direction of the latent axes."""

PATHS = 4  # posterior draws counted for kinetics
CHAINS = 400  # chains that sample exp(−U/T), and that run the fitted prior
LOOKS = (300, 2000)  # fewest and most observation intervals that the fitted prior is run for
NUMBERS = 2_000_000  # values of a path, or of predicted data, that are kept before sequences are left out


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
        with reading(0):
            self.medians = {
                name: value.detach() for name, value in guide.others.median(self.times[:1], self.x[:1]).items()
            }

    @property
    def dynamics(self) -> Dynamics:
        """The prior's dynamics with every random quantity fixed at its posterior median; model's unit of time."""
        return fixed(self.model.dynamics, self.medians)

    @property
    def potential(self) -> Callable[[Tensor], Tensor]:
        """U: `(*batch, latent)` to `(*batch,)`, at the posterior median of whatever is random in it."""
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

        def drawn() -> Tensor:
            return torch.cat([part.positions for part in joint.parts(self.model, self.guide, times, x)])

        with reading(seed):
            return torch.stack([drawn() for _ in range(draws)])

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
        `occupancy_rhat` and `occupancy_ess (state)` of its chains; the variables of `saddles.saddles`; rates, dwell
        times and relaxation times by `route`, see `kinetics`, in the user's unit of time, with the visits counted;
        attrs `kinetics_agree` (1 or 0) and `messages`, the verdict, one message per line.

        Warns
        -----
        DoubtfulFitWarning: the curvature of a well times the step exceeds the limit.
        """
        dynamics, wells = self.dynamics, self.wells(seed, min_barrier)
        passes = saddles.saddles(dynamics.potential, wells, temperature=self.temperature)
        counts, routes = self._routes(dynamics, wells, passes, seed)
        story = xr.merge([wells, passes, routes, counts.drop_vars("exits")], combine_attrs="drop")
        story = story.assign(self._sampled(dynamics, wells, seed)).assign_attrs(wells.attrs)
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
        dynamics, points = self.dynamics, self.encoded(seed=seed)
        wells = landscape.minima(dynamics.potential, points, temperature=self.temperature, min_barrier=min_barrier)
        labels = landscape.basins(dynamics.potential, wells, points)
        shares = landscape.occupancy(wells, self.temperature, labels)
        check = self.discretisation(wells)
        decoded = self.decode(torch.as_tensor(wells["position"].values))
        found = {f"occupancy_{route}": shares[route] for route in shares} | {
            "decoded": (("state", "channel"), decoded.numpy())
        }
        units = {"temperature": self.temperature, "time_unit": self.time_unit, "substeps": self.model.substeps}
        return wells.assign(found).assign_attrs(units | check)

    def _sampled(self, dynamics: Dynamics, wells: xr.Dataset, seed: int) -> dict[str, object]:
        """Occupancies by sampling, with jumps between the harmonic wells so that chains mix."""
        minima = torch.as_tensor(wells["dent_position"].values)
        wide = self.temperature * torch.linalg.inv(hessian(in_double(dynamics.potential), minima))
        jumps = samplers.Mixture(torch.ones(len(minima)), minima, wide)
        starts = self.encoded(limit=CHAINS, seed=seed)
        drawn = samplers.mala(dynamics.potential, starts, temperature=self.temperature, jumps=jumps, seed=seed)
        labels = landscape.basins(dynamics.potential, wells, torch.as_tensor(drawn["position"].values).to(starts))
        inside = (labels.unsqueeze(-1) == torch.arange(wells.sizes["state"])).double().numpy()
        mixing = convergence(xr.DataArray(inside, dims=("chain", "draw", "state")))
        shares = inside.mean((0, 1))
        return {
            "occupancy_sampled": ("state", shares / shares.sum()),
            "occupancy_rhat": ("state", mixing["rhat"].values),
            "occupancy_ess": ("state", mixing["ess"].values),
        }

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
        wells: from `landscape.minima`; found from a few encoded points when None.
        """
        dynamics = self.dynamics
        if wells is None:
            wells = landscape.minima(dynamics.potential, self.encoded(limit=500), temperature=self.temperature)
        return landscape.discretisation(dynamics, self.model.integrator, wells, self.step, self.model.substeps)

    def elbo(self, data: object = None, draws: int = 3, seed: int = 0) -> dict[str, float]:
        """The ELBO of a data set and its terms, averaged over draws, and `per_observation` (per observed value)."""
        times, x = self.series(data)
        with reading(seed):
            return evaluate(self.model, self.guide, times, x, draws)

    def restarts(self) -> list[Fit]:
        """Every run of the fit as a fit of its own, in the order they were made; this one in the place of the best."""
        best = best_run(self.runs) if self.runs else 0
        return [self if place == best else self._of_run(run) for place, run in enumerate(self.runs or [{}])]

    def inference_data(
        self,
        draws: int = 100,
        seed: int = 0,
        *,
        groups: Iterable[str] = GROUPS,
        particles: int = 1,
        states: bool | xr.Dataset = True,
    ) -> Results:
        """The posterior as ArviZ reads it: one chain per restart, the states of all of them in one numbering.

        Parameters
        ----------
        draws: joint draws per chain.
        seed: of the draws.
        groups: which to make, see Returns; without prior_predictive, which needs a simulation, unless asked for.
        particles: paths per sequence and draw that integrate the path out of `evidence`.
        states: whether to read the landscape of every draw; or `landscape()`, not to search it again.

        Returns
        -------
        posterior: globals by site; `z (chain, draw, sequence, time, latent)`, NaN after the end of a sequence; and
            `ensemble.read` of its states, numbered as in `wells()`: `basin`, `minimum`, `decoded`, `depth`,
            `occupancy`, `barrier`, `rate`, `dwell`. One chain per run; chains are matched to the best by what the
            channels show at their minima, NaN in one with another number of states. The attribute `gauge_free` of a
            variable says (1 or 0) whether chains can be compared in it: the latent axes of a free decoder are every
            run's own, and r̂ of z means nothing.
        prior: as many draws of the same globals, in one chain.
        prior_predictive, posterior_predictive: `x (chain, draw, sequence, time, channel)`, new data, NaN where nothing
            was observed.
        log_likelihood: `x (chain, draw, observation)`, log p(x_t | z_t) over the channels observed, at `at_sequence`
            and `at_time (observation)`; `evidence (chain, draw, sequence)`, log p̂(x_s | globals).
        sample_stats: terms of the ELBO, of the sequences kept; `log_weight (chain, draw, sequence)`, log p(x_s, z_s |
            globals) − log q(z_s | x_s, globals).
        observed_data: `x`, NaN where missing. constant_data: `times`; `mask`, 1 where a value was observed.
        As many sequences are kept, the first, as fit into 2·10⁶ values of z, and of x where it is predicted.

        Raises
        ------
        DataError: there is no such group.

        Notes
        -----
        `az.loo` and `az.compare` want `var_name="evidence"`, with `particles` of 16 or more. What is to be predicted
        is a new sequence, which has a path of its own: given the path it was fitted with, a sequence explains itself,
        and no weights can undo that (Merkle, Furr, Rabe-Hesketh, Psychometrika 84:802, 2019). p̂ is unbiased, its
        logarithm too small, the less so the more particles; with one it is `log_weight`, the integrand of the ELBO.
        `var_name="x"` leaves out one time of a sequence otherwise known: how well gaps are filled. Neither forgets what
        was learned without a prior (networks, mostly): compare such models on sequences held out.
        """
        asked = set(groups)
        if unknown := sorted(asked - set(GROUPS) - PREDICTED):
            every = ", ".join([*GROUPS, "prior_predictive"])
            raise DataError(f"groups must be among {every}: got {', '.join(unknown)}. Leave that out.")
        chains = self.restarts()
        width = max(self.model.dynamics.latent, self.x.shape[-1] if asked & PREDICTED else 0)
        kept = max(1, NUMBERS // (len(chains) * draws * self.times.shape[1] * width))
        times, x = self.times[:kept], self.x[:kept]
        shared = {"times": (("sequence", "time"), times.numpy()), "mask": (AXES, x.isfinite().numpy().astype("int8"))}
        found = {"observed_data": xr.Dataset({"x": (AXES, x.numpy())}), "constant_data": xr.Dataset(shared)}
        with reading(seed):
            drawn = [
                [joint.posterior(chain.model, chain.guide, times, x, self.medians, particles) for _ in range(draws)]
                for chain in chains
            ]
            found |= joint.of_posterior(self.model, drawn, x)
            if asked & {"prior", "prior_predictive"}:
                predicted = x if "prior_predictive" in asked else None
                found |= joint.of_prior(self.model, self.medians, draws, times, predicted)
            if "posterior" in asked and states is not False:
                found["posterior"] = found["posterior"].assign(self._ensemble(chains, drawn, states).data_vars)
        self._mark_gauge(found["posterior"])
        return to_inference_data({name: group for name, group in found.items() if name in asked})

    def _of_run(self, run: dict) -> Fit:
        """Another run of the same fit, in copies of model and guide."""
        model, guide = copy.deepcopy((self.model, self.guide))
        guide.refine(run["substeps"])
        model.load_state_dict(run["model"])
        guide.load_state_dict(run["guide"])
        return Fit(model, guide, self.times, self.x, runs=[run])

    def _ensemble(
        self, chains: Sequence[Fit], drawn: Sequence[Sequence[joint.Draw]], states: bool | xr.Dataset
    ) -> xr.Dataset:
        """What every chain's draws say of the states, in this fit's numbering; nothing where this fit has none."""
        readings = [
            chain._read(draws, states if chain is self else True) for chain, draws in zip(chains, drawn, strict=True)
        ]
        own = readings[chains.index(self)]
        scale = channel_moments(self.x)[1].numpy()
        return xr.Dataset() if own is None else ensemble.together(readings, own, scale)

    def _read(self, draws: Sequence[joint.Draw], states: bool | xr.Dataset) -> xr.Dataset | None:
        """`ensemble.read`; None where there is no minimum, or no potential. What is doubtful, `landscape` says."""
        with warnings.catch_warnings(), suppress(FitError):
            warnings.simplefilter("ignore", DoubtfulFitWarning)
            if hasattr(self.model.dynamics, "potential"):
                story = states if isinstance(states, xr.Dataset) else self._minima_and_saddles()
                return ensemble.read(self.model, draws, story)
        return None

    def _minima_and_saddles(self) -> xr.Dataset:
        wells = self.wells()
        passes = saddles.saddles(self.potential, wells, temperature=self.temperature)
        return xr.merge([wells, passes], combine_attrs="drop")

    def _mark_gauge(self, posterior: xr.Dataset) -> None:
        decoder = self.model.likelihood.decoder
        free = LANDSCAPE | set(self.model.likelihood.quantities)
        if decoder.fixes_gauge:
            free |= set(self.model.dynamics.quantities)
        if isinstance(decoder, IdentityDecoder):
            free |= {"z", "minimum"}
        for name, values in posterior.items():
            values.attrs["gauge_free"] = int(name in free)

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


def best_run(runs: Sequence[dict]) -> int:
    """The number of the run of highest ELBO among `Fit.runs`."""
    bounds = [run["elbo"] if math.isfinite(run["elbo"]) else -math.inf for run in runs]
    return int(np.argmax(bounds))
