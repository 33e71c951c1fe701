"""`Fit`: a fitted model and guide, and the Datasets that are read from them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from .. import kinetics, landscape
from ..errors import Amount, Count, DataError, FitError, Whole, checked
from ..fitting import draws as joint
from ..fitting.draws import AXES, inference_mode
from ..fitting.optimizers import Factory
from ..fitting.pairs import check_pair, copied, drive
from ..fitting.posterior import CHAINS, Posterior
from ..fitting.processes import Fabric
from ..fitting.schedule import Schedule
from ..fitting.settling import best_run, history_dataset
from ..fitting.training import Callback, train
from ..guide.amortized import AmortizedGuide
from ..io.inference_data import Results, to_inference_data
from ..io.memory import recognised
from ..io.series import as_tensors, channel_moments
from ..io.validation import check_rows
from ..kinetics import verdicts
from ..kinetics.states import PERSISTENT
from ..landscape import attractors, occupancies, saddles
from ..model.latent_langevin import LatentLangevin
from ..nn import Described, counted, numbers
from . import ensemble, intervals
from .groups import GROUPS, NUMBERS, PREDICTED, of_posterior, of_prior
from .naming import named


class Fit(Described, Posterior):
    """A fitted model and guide with the data they were fitted on: a snapshot, which no later fit of them changes.

    Made by `fit`, or by hand after plain Pyro SVI: `Fit(model, guide, times, x)`.

    Parameters
    ----------
    model, guide: fitted; copied. times, x: the data.
    history: terms of the loss per observed value, gradient norm, learning rate and seconds, by `step`.
    runs: one entry per restart.
    about: names, units and origins of the data, as coordinates and attributes, where they have any.

    Examples
    --------
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=10, rate=4.0)  # a harmonic well, U″ = 4
    >>> motion, likelihood = nld.OverdampedLangevin(nld.Quadratic([4.0])), nld.Gaussian(nld.IdentityDecoder(1))
    >>> model = nld.LatentLangevin(motion, likelihood, substeps=4, time_unit=1.0)
    >>> guide = nld.AmortizedGuide(model, nld.GRUEncoder(1))
    >>> fit = nld.fit(model, guide, data, nld.Schedule(steps=2), progress=False)
    >>> round(fit.wells()["curvature"].item(), 2)
    4.0
    """

    def __init__(
        self,
        model: LatentLangevin,
        guide: AmortizedGuide,
        times: Tensor,
        x: Tensor,
        history: xr.Dataset | None = None,
        runs: list[dict] | None = None,
        about: xr.Dataset | None = None,
    ) -> None:
        check_pair(model, guide)
        if guide.others.prototype_trace is None:  # a copy made before it has met data would lack what it guides
            with inference_mode(0):
                guide(*check_rows(times, x), 1)
        super().__init__(*copied(model, guide), times, x, about)
        self.history, self.runs = xr.Dataset(coords={"step": []}) if history is None else history, runs or []
        self._states: int | None = None  # as many as were found when somebody looked

    def _facts(self) -> dict[str, object]:
        """What is known without a computation."""
        sizes = map(counted, self.x.shape, ("sequence", "time", "channel"))
        facts: dict[str, object] = {"data": f"= {' × '.join(sizes)}"}
        if steps := self.history.sizes["step"]:
            late = max(1, steps // 20)
            last = self.history.isel(step=slice(-late, None)).mean()
            elbo = float(last["log_likelihood"] - last["path_kl"] - last["initial_kl"] - last["global_kl"])
            seconds, runs = float(self.history["seconds"][-1]), counted(len(self.runs), "run")
            facts["steps"] = f"= {steps} in {seconds:.0f} s, {runs}"
            facts["ELBO"] = f"= {elbo:.4g} per observed value, mean of the last {counted(late, 'step')}"
        for name, median in vars(self).get("medians", {}).items():
            if "." not in name:  # a physical quantity, no weight
                facts[name] = f"= {numbers(median)}, posterior median"
        facts["states"] = "not read yet" if self._states is None else f"= {self._states}"
        return facts | {"model": self.model, "guide": self.guide}

    @partial(checked, error=FitError)
    def landscape(self, seed: Whole = 0, min_persistence: Amount = PERSISTENT, min_barrier: Amount = 0.0) -> xr.Dataset:
        """Everything read from the landscape, in one Dataset: `wells`, then saddles, barriers, kinetics, the verdict.

        Parameters
        ----------
        seed: of posterior draws and simulations. min_persistence, min_barrier: see `wells`.

        Returns
        -------
        The variables of `wells`; `occupancy_sampled (state)`, the share of draws of exp(−U/T) in each basin, with
        `occupancy_rhat` and `occupancy_ess (state)` of its chains; the variables of `saddles.saddles`, and
        `saddle_committor (saddle)`, the probability to go on to the second of its states, near ½ where it is the
        bottleneck; rates, dwell, passage and relaxation times and the shares of time they imply by `route`, see
        `kinetics`, in the user's unit of time, with 90 % intervals of what was counted, the visits, and timescales
        `implied (route, lag, mode)`, lags in observations; `level (state, channel)`, the means of the observations of
        each state, beside `decoded`, what its minimum shows; the variables of `kinetics.visits` for the labels of
        `segment`; those of `processes`, slow ones that no pair of states carries; attrs `kinetics_agree` and
        `barriers_agree`, the verdicts, `bent_axes` (1 or 0), `messages` and `barrier_messages`, one per line. Where
        rates were balanced, attrs `balance_path_kl`, `balance_transitions`, and 90 % intervals, see `intervals.given`.

        Raises
        ------
        FitError: the model has no landscape, or no minimum was found.

        Warns
        -----
        DoubtfulFitWarning: the curvature of a well times the step exceeds the limit.
        """
        dynamics, wells = self.dynamics, self.wells(seed, min_persistence, min_barrier)
        passes = saddles.saddles(dynamics.potential, wells, temperature=self.temperature)
        starts = self.encoded(limit=CHAINS, seed=seed)
        integrator, substeps = self.model.integrator, self.model.substeps
        counts, routes = kinetics.routes(
            dynamics, integrator, wells, passes, *self.recorded(seed), starts,
            substeps=substeps, time_unit=self.time_unit, seed=seed,
        )  # fmt: skip
        label = kinetics.most_probable(self.probability(wells, seed=seed))
        visits = kinetics.visits(label, self.times.numpy(), wells.sizes["state"])
        parts = [wells, passes, routes, visits, counts.drop_vars("exits").drop_dims("lag")]
        found = xr.merge([*parts, self.processes(label, seed)], combine_attrs="drop_conflicts")
        level = (("state", "channel"), kinetics.levels(label, self.x.numpy(), wells.sizes["state"]))
        sampled = occupancies.sampled(dynamics.potential, wells, starts, self.temperature, seed)
        committed = kinetics.saddle_committors(dynamics, integrator, wells, passes, step=self.step, seed=seed)
        said = wells.attrs | {f"balance_{name}": value for name, value in self.balance.items() if name != "covariance"}
        said["bent_axes"] = int(self.dynamics.latent > 1 and self.model.likelihood.decoder.bends)
        found = found.assign(dict(sampled) | {"saddle_committor": committed, "level": level}).assign_attrs(said)
        judged = verdicts.kinetics(found, counts, routes).attrs()
        found = found.assign_attrs(judged | {"interval": counts.attrs["interval"]})
        return named(intervals.given(self, found, self.balance.get("covariance"), seed), self.about)

    @property
    def balance(self) -> dict[str, float | Tensor]:
        """What `fitting.balance` said of itself, if the schedule asked for it: `path_kl`, `covariance`, …"""
        return dict(self.runs[best_run(self.runs)].get("balance", {})) if self.runs else {}

    @partial(checked, error=FitError)
    def wells(self, seed: Whole = 0, min_persistence: Amount = PERSISTENT, min_barrier: Amount = 0.0) -> xr.Dataset:
        """The states: minima, energies, curvatures, occupancies, decoded means, and whether the step was fine enough.

        Parameters
        ----------
        seed: of the posterior draws that the search starts from.
        min_persistence: minima are states of their own if it takes so many times longer to forget whether the system
            was there than to forget where in it; the others join a neighbour, see `kinetics.metastable`. 0 keeps all.
        min_barrier: kT; minima that are less deep join a neighbour whatever their persistence, see `landscape.minima`.

        Returns
        -------
        The variables of `kinetics.metastable`; `occupancy_energy`, `occupancy_harmonic`, `occupancy_anharmonic`,
        `occupancy_data` (state); `decoded` (state, channel), the channels' means at the states' deepest minima, and
        `minimum_decoded (minimum, channel)`, those at all, in the data's unit; attrs `temperature`, `time_unit`,
        `min_persistence`, `min_barrier`, `max_curvature_step` and what `landscape.discretisation` says of it.

        Warns
        -----
        DoubtfulFitWarning: the curvature of a well times the step exceeds the limit.
        """
        wells = self.metastable(seed, min_persistence, min_barrier)
        shares = landscape.occupancy(wells, self.temperature, potential=self.potential)
        shares = shares.assign(data=wells["share"] / wells["share"].sum())
        decoded = self.decode(torch.as_tensor(wells["minimum_position"].values)).numpy()
        wells = wells.assign({f"occupancy_{route}": shares[route] for route in shares})
        found = self._described(wells.assign(minimum_decoded=(("minimum", "channel"), decoded)))
        return found.assign_attrs(min_persistence=min_persistence, min_barrier=min_barrier)

    def attractors(self, seed: int = 0) -> xr.Dataset:
        """The states of a model that needs no landscape: stable points of rest, and what of `wells` holds here too.

        Parameters
        ----------
        seed: of the posterior draw that the search starts from.

        Returns
        -------
        The variables of `attractors.rest_points`, decay and angular frequency per user's unit of time;
        `occupancy_data (state)`, the share of encoded data that the force leads to each; `decoded`; attrs as
        for `wells`.

        Raises
        ------
        FitError: nothing comes to rest.
        """
        points = self.encoded(seed=seed)
        found = attractors.rest_points(self.dynamics, points)
        shares = attractors.occupancy(self.basins(found, points), found)
        in_unit = {name: found[name] / self.time_unit for name in ("decay", "angular_frequency")}
        return self._described(found.assign(in_unit | {"occupancy_data": shares}))

    def states(self, seed: int = 0) -> xr.Dataset:
        """`wells` of a landscape; `attractors` where there is none."""
        return self.wells(seed) if self.has_landscape else self.attractors(seed)

    def _described(self, states: xr.Dataset) -> xr.Dataset:
        """With the channels' means there, the units, and whether the step was fine enough."""
        self._states = states.sizes["state"]
        decoded = self.decode(torch.as_tensor(states["position"].values))
        units = {"temperature": self.temperature, "time_unit": self.time_unit, "substeps": self.model.substeps}
        found = states.assign(decoded=(("state", "channel"), decoded.numpy()))
        return named(found.assign_attrs(units | self.discretisation(states)), self.about)

    def restarts(self) -> list[Fit]:
        """Every run of the fit as a fit of its own, in the order they were made; this one in the place of the best."""
        best = best_run(self.runs) if self.runs else 0
        return [self if place == best else self._of_run(run) for place, run in enumerate(self.runs or [{}])]

    @partial(checked, error=FitError)
    def inference_data(
        self,
        draws: Count = 100,
        seed: Whole = 0,
        *,
        groups: Iterable[str] = GROUPS,
        particles: Count = 1,
        states: bool | xr.Dataset = True,
    ) -> Results:
        """The posterior as ArviZ reads it: one chain per restart, the states of all of them in one numbering.

        Parameters
        ----------
        draws: joint draws per chain.
        seed: of the draws.
        groups: which to make, see Returns; without prior_predictive, which needs a simulation, unless asked for.
        particles: paths per sequence and draw that integrate the path out of the log likelihood.
        states: whether to read the landscape of every draw; or `landscape()` or `wells()`, not to search it again. The
            rule by which minima are states there holds for the other runs, too.

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
            was observed, and where a path of the prior explodes.
        log_likelihood: `x (chain, draw, sequence)`, log p̂(x_s | globals): a sequence is what can be left out.
        sample_stats: terms of the ELBO, of the sequences kept; `log_weight (chain, draw, sequence)`, log p(x_s, z_s |
            globals) − log q(z_s | x_s, globals); `log_prob (chain, draw, observation)`, log p(x_t | z_t) over the
            channels observed, at `at_sequence` and `at_time (observation)`.
        observed_data: `x`, NaN where missing. constant_data: `times`; `mask`, 1 where a value was observed.
        As many sequences are kept, the first, as fit into 2·10⁶ values of z, and of x where it is predicted.

        Raises
        ------
        DataError: there is no such group.

        Notes
        -----
        `az.loo` and `az.compare` take the result as it is; give them `particles` of 16 or more. What is to be predicted
        is a new sequence, which has a path of its own: given the path it was fitted with, a sequence explains itself,
        and no weights can undo that (Merkle, Furr, Rabe-Hesketh, Psychometrika 84:802, 2019). p̂ is unbiased, its
        logarithm too small, the less so the more particles; with one it is `log_weight`, the integrand of the ELBO.
        In place of it, `log_prob` leaves out one time of a sequence otherwise known: how well gaps are filled. Neither
        forgets what was learned without a prior (networks, mostly): compare such models on sequences held out.
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
        with inference_mode(seed):
            drawn = [
                [joint.posterior(chain.model, chain.guide, times, x, self.medians, particles) for _ in range(draws)]
                for chain in chains
            ]
            found |= of_posterior(self.model, drawn, x)
            if asked & {"prior", "prior_predictive"}:
                predicted = x if "prior_predictive" in asked else None
                found |= of_prior(self.model, self.medians, draws, times, predicted)
            if "posterior" in asked and states is not False:
                found["posterior"] = found["posterior"].assign(self.ensemble(chains, drawn, states).data_vars)
        free = ensemble.gauge_free(self.model)
        for name, values in found["posterior"].items():
            values.attrs["gauge_free"] = int(name in free)
        return to_inference_data({name: named(group, self.about) for name, group in found.items() if name in asked})

    def _of_run(self, run: dict) -> Fit:
        """Another run of the same fit, in copies of model and guide."""
        model, guide = copy.deepcopy((self.model, self.guide))
        guide.refine(run["substeps"])
        model.load_state_dict(run["model"])
        guide.load_state_dict(run["guide"])
        return Fit(model, guide, self.times, self.x, runs=[run])

    def ensemble(
        self, chains: Sequence[Fit], drawn: Sequence[Sequence[joint.Draw]], states: bool | xr.Dataset
    ) -> xr.Dataset:
        """What every chain's draws say of the states, in this fit's numbering; nothing where this fit has none."""
        given = states.attrs if isinstance(states, xr.Dataset) else {}
        rule = {name: given[name] for name in ("min_persistence", "min_barrier") if name in given}
        own = states if isinstance(states, xr.Dataset) else None
        readings = [
            ensemble.of_fit(chain, draws, own if chain is self else None, rule)
            for chain, draws in zip(chains, drawn, strict=True)
        ]
        first = readings[chains.index(self)]
        scale = channel_moments(self.x)[1].numpy()
        return xr.Dataset() if first is None else ensemble.together(readings, first, scale)


@partial(checked, error=FitError)
def fit(
    model: LatentLangevin,
    guide: AmortizedGuide,
    data: object,
    schedule: Schedule | None = None,
    *,
    seed: Whole = 0,
    restarts: Count = 1,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    every: Count = 100,
    progress: bool = True,
    optimizer: Factory | None = None,
    callbacks: Sequence[Callback] = (),
    dtype: torch.dtype | None = None,
    n_jobs: int | None = None,
    device: str | torch.device | Fabric | None = None,
) -> Fit:
    """Maximise the ELBO of `model` and `guide` on `data` with Adam, in place, and return what there is to read.

    Parameters
    ----------
    model, guide: what to fit; trained in place (with restarts, they end as the best one).
    data: whatever `as_tensors` takes; a Dataset with `observations`, and `covariates` of a `DrivenLangevin`.
    schedule: steps, batch size, rates, annealing.
    seed: of all randomness in here; the caller's generators are left as they were.
    restarts: independent runs; the one of highest ELBO is kept, the others stand in `Fit.runs`.
    checkpoint: file to keep the state of the fit in, written atomically `every` so many steps and at the end.
    resume: go on from `checkpoint` when it exists, as if never stopped, to the bit on the same machine.
    progress: show a bar with the current ELBO per observed value.
    optimizer: in place of Adam, one of Pyro, `pyro.optim.ClippedAdam({"lr": 0.003})`, or a callable that makes one of
        torch from parameters, `torch.optim.AdamW`. The schedule multiplies its own learning rate where it has one.
    callbacks: called after every step with the number of steps done and the row of the history; True ends the run.
    dtype: of data and parameters, which are converted in place; that of torch by default.
    device: of the gradient steps, "cuda" or a Fabric of Lightning, see `fitting.devices` and `fitting.processes`.
    n_jobs: restarts at once, see `fitting.jobs.side_by_side`, callbacks with them; Ctrl-C is then raised again.

    Raises
    ------
    DataError, ShapeError, TimeGridError, CheckpointError: the data or the checkpoint cannot be used.
    FitError: the loss stays non-finite, there is no run to do, or one of the parts is of another kind.

    Notes
    -----
    Ctrl-C keeps the last checkpoint and is raised again; without a checkpoint it ends the fit early, with a warning.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=10, interval=0.3, noise=0.5)
    >>> motion, likelihood = nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(nld.IdentityDecoder(1), 0.5)
    >>> model = nld.LatentLangevin(motion, likelihood, substeps=2, time_unit=1.0)
    >>> guide, schedule = nld.AmortizedGuide(model, nld.GRUEncoder(1)), nld.Schedule(20, learning_rate=0.05, anneal=0.0)
    >>> fit = nld.fit(model, guide, data, schedule, progress=False)
    >>> exact = float(nld.oracles.ornstein_uhlenbeck_posterior(data)["log_evidence"].sum()) / 100  # Kalman's filter
    >>> -float(fit.history["loss"][0]) < fit.elbo()["per_observation"] < exact, round(exact, 1)  # nats per value
    (True, -1.3)
    """
    check_pair(model, guide)
    found = recognised(data)
    series = as_tensors(found, dtype)
    drive(model, found)
    model.to(dtype=dtype)
    guide.to(dtype=dtype)
    runs = train(
        model, guide, series, schedule or Schedule(), seed=seed, restarts=restarts, checkpoint=checkpoint, every=every,
        resume=resume, progress=progress, optimizer=optimizer, callbacks=callbacks, n_jobs=n_jobs, device=device,
    )  # fmt: skip
    about = xr.Dataset(coords=found.coords, attrs=found.attrs) if isinstance(found, xr.Dataset) else None
    result = Fit(model, guide, *series, history_dataset(runs[best_run(runs)]["history"]), runs, about)
    with suppress(FitError):  # a fit without states is the reader's to judge
        result.discretisation()  # warns when the steps were too coarse for the landscape
    return result
