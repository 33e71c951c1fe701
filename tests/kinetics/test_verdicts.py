"""The verdict on a table of cases whose answer is known, more than half of them built to mislead.

The "fitted" prior of a case is written down, not fitted, so that it is known whether its kinetics are the data's.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr
from angles import Circle

import pyro_nld as nld
from pyro_nld import kinetics, landscape
from pyro_nld.kinetics import verdicts
from pyro_nld.landscape import saddles

DOUBLE = nld.Tilted(nld.DoubleWell(3.0), [0.2])
TRIPLE = nld.GaussianWells([[-1.4, 0.0], [1.4, 0.0], [0.0, 1.9]], [0.45, 0.33, 0.22], 0.55)
INTERVAL, SUBSTEPS = 0.05, 8


class Case(NamedTuple):
    prior: nld.OverdampedLangevin | nld.UnderdampedLangevin
    positions: torch.Tensor  # (sequence, time, latent), what the posterior says of the data
    times: np.ndarray
    substeps: int = SUBSTEPS


def walk(dynamics, sequences, steps, interval=INTERVAL, fine=SUBSTEPS, seed=0):
    """Positions of a chain that starts in its wells, at looks `interval` apart."""
    torch.manual_seed(seed)
    latent = dynamics.latent
    wells = wells_of(dynamics)
    place = torch.as_tensor(wells["position"].values).float().repeat(sequences, 1)[:sequences]
    grid = nld.dynamics.paths.refine(interval * torch.arange(float(steps)), fine)
    start = torch.cat([place, torch.zeros(sequences, dynamics.state - latent)], -1)
    path = nld.LangevinPath(dynamics, integrator(dynamics), start, grid).sample()[:, fine - 1 :: fine, :latent]
    return path, np.broadcast_to(interval * np.arange(float(steps - 1)), (sequences, steps - 1))


def wells_of(dynamics):
    starts = 1.5 * torch.randn(200, dynamics.latent, generator=torch.Generator().manual_seed(0))
    return landscape.minima(dynamics.potential, starts, temperature=float(dynamics.temperature))


def integrator(dynamics):
    return nld.integrators.default_integrator(dynamics)


def judged(case: Case) -> verdicts.Verdict:
    """What `Fit.landscape` does with a fit."""
    prior, wells = case.prior, wells_of(case.prior)
    temperature = float(prior.temperature)
    passes = saddles.saddles(prior.potential, wells, temperature=temperature)
    interval = float(np.nanmedian(np.diff(case.times)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nld.DoubtfulFitWarning)
        check = landscape.discretisation(prior, integrator(prior), wells, interval / case.substeps, case.substeps)
    story = wells.merge(passes).assign_attrs(check)
    labels = kinetics.cores(prior.potential, wells, case.positions, temperature).numpy()
    counts = kinetics.count(labels, case.times, wells.sizes["state"])
    simulated = kinetics.simulated(
        prior, integrator(prior), wells, case.positions[:, 0].repeat(1600, 1)[:1600], interval=interval,
        substeps=case.substeps, intervals=1200, seed=1,
    )  # fmt: skip
    routes = {"counted": kinetics.by_counting(counts), "simulated": kinetics.by_counting(simulated)}
    routes["eyring_kramers"] = kinetics.eyring_kramers(prior, wells, passes)
    if prior.state <= 2 and prior.state == prior.latent:
        routes["exact"] = kinetics.exact(prior, wells, interval)
    return verdicts.kinetics(story, counts, kinetics.joined(routes))


def own_double_well():
    prior = nld.OverdampedLangevin(DOUBLE)
    return Case(prior, *walk(prior, 300, 2000))


def own_triple_well():
    prior = nld.OverdampedLangevin(TRIPLE)
    return Case(prior, *walk(prior, 300, 2000, seed=2))


def own_momenta():
    prior = nld.UnderdampedLangevin(DOUBLE, friction=2.0, mass=0.2)
    return Case(prior, *walk(prior, 900, 2000, seed=3))


def own_in_twenty_axes():
    prior = nld.OverdampedLangevin(nld.DoubleWell(3.0, latent=20, stiffness=2.0))
    return Case(prior, *walk(prior, 200, 2000, seed=4))


def ragged():
    prior = nld.OverdampedLangevin(DOUBLE)
    path, times = walk(prior, 300, 3000, seed=5)
    times = np.where(np.arange(times.shape[1]) < np.linspace(600, 2900, 300)[:, None], times, np.nan)
    return Case(prior, path, times)


def instant_switching():
    """A Markov chain that jumps from well to well; the prior has wells in the right places, and holds them too long."""
    draw = np.random.default_rng(6)
    flips = draw.random((60, 2000)) < 0.02
    side = torch.as_tensor(1.0 - 2 * (flips.cumsum(1) % 2)).float()
    positions = side.unsqueeze(-1) + 0.2 * torch.randn(60, 2000, 1, generator=torch.Generator().manual_seed(6))
    return Case(nld.OverdampedLangevin(nld.DoubleWell(4.0)), positions, np.tile(INTERVAL * np.arange(2000.0), (60, 1)))


def too_coarse_a_look():
    prior = nld.OverdampedLangevin(nld.DoubleWell(1.5))
    return Case(prior, *walk(prior, 60, 300, interval=1.0, fine=64, seed=7), substeps=64)


def too_coarse_a_step():
    prior = nld.OverdampedLangevin(DOUBLE)
    return Case(prior, *walk(prior, 300, 2000, seed=8), substeps=1)


def one_well():
    prior = nld.OverdampedLangevin(nld.Quadratic([4.0]))
    return Case(prior, *walk(prior, 20, 300, seed=9))


def never_visited_twice():
    prior = nld.OverdampedLangevin(nld.DoubleWell(6.5))
    return Case(prior, *walk(prior, 8, 400, seed=10))


def drifting():
    """The bias turns over halfway, while the prior has the average one."""
    early, late = (nld.OverdampedLangevin(nld.Tilted(nld.DoubleWell(3.0), [slope])) for slope in (0.6, -0.6))
    (first, times), (second, _) = walk(early, 60, 2000, seed=11), walk(late, 60, 2000, seed=12)
    long = np.broadcast_to(INTERVAL * np.arange(2.0 * times.shape[1]), (60, 2 * times.shape[1]))
    return Case(nld.OverdampedLangevin(nld.DoubleWell(2.8)), torch.cat([first, second], 1), long)


def too_short_to_tell():
    """The prior is the data's own, but so few exits would agree with one that is 25 % off as well."""
    prior = nld.OverdampedLangevin(DOUBLE)
    return Case(prior, *walk(prior, 20, 1000, seed=14))


def half_the_barrier():
    """Wells in the right places, passed too easily."""
    path, times = walk(nld.OverdampedLangevin(nld.DoubleWell(3.0)), 60, 2000, seed=13)
    return Case(nld.OverdampedLangevin(nld.DoubleWell(2.2)), path, times)


def visits_between_looks():
    """Seven observations in a relaxation time: the prior, looked at as often, misses as many visits as the data."""
    prior = nld.OverdampedLangevin(nld.DoubleWell(1.5))
    return Case(prior, *walk(prior, 150, 1500, interval=0.16, fine=32, seed=15), substeps=32)


HONEST = [own_double_well, own_triple_well, own_momenta, own_in_twenty_axes, ragged]
MISLEADING = {
    instant_switching: "longer than the data do",
    too_coarse_a_look: "visits between observations are missed",
    one_well: "There is one state",
    never_visited_twice: "No transition between states 0 and 1 was ever seen",
    drifting: "not stationary",
    too_short_to_tell: "or record longer",
    half_the_barrier: "shorter than the data do",
}


@pytest.mark.parametrize("case", HONEST, ids=lambda case: case.__name__)
def test_an_honest_case_is_believed(case):
    verdict = judged(case())
    assert verdict.agree, verdict.messages
    assert "within" in verdict.messages[0]
    assert verdict.barriers_agree, verdict.barrier_messages


def test_visits_that_data_and_prior_miss_alike_are_told_beside_a_yes():
    verdict = judged(visits_between_looks())
    assert verdict.agree, verdict.messages
    assert any("how long a visit lasts depends on how often one looks" in said for said in verdict.messages)


@pytest.mark.parametrize("case", MISLEADING, ids=lambda case: case.__name__)
def test_a_misleading_case_is_not_and_is_told_why(case):
    verdict = judged(case())
    assert not verdict.agree
    assert any(MISLEADING[case] in message for message in verdict.messages), verdict.messages
    assert not verdict.barriers_agree
    assert case is one_well or verdict.barrier_messages[0].startswith("A barrier is as sure as the times")


def test_a_step_that_is_too_coarse_speaks_against_barriers():
    assert any("chain and landscape disagree" in said for said in judged(too_coarse_a_step()).barrier_messages)


def routes_of(exits=10_000.0, old=(1.0, 1.0), **dwell):
    """Routes of two states; old visits end so many times as often as young ones, counted and simulated."""
    parts = {name: kinetics.of_rates(np.array([[np.nan, 1 / a], [1 / b, np.nan]])) for name, (a, b) in dwell.items()}
    routes = kinetics.joined(parts)
    known = {"exits": exits, "ageing": np.nan, "ageing_error": 2 / np.sqrt(exits) if exits else np.inf}
    routes = routes.assign({name: xr.full_like(routes["dwell"], value) for name, value in known.items()})
    for name, times in zip(("counted", "simulated"), old, strict=True):
        routes["ageing"].loc[{"route": name}] = np.log(times)
    return routes


STORY = xr.Dataset({"barrier": (("state", "to"), [[np.nan, 5.0], [5.0, np.nan]])}, attrs={"ok": 1})


def steady(exits=200.0, dwell=50.0):
    """Counts of two steady states, looked at every unit of time."""
    half = np.full((2, 2), exits / 2)
    time = np.full(2, exits * dwell)
    return xr.Dataset(
        {
            "exits": (("state", "to"), [[0.0, exits], [exits, 0.0]]),
            "time": ("state", time),
            "sparse_exits": ("state", [exits, exits]),
            "sparse_time": ("state", time),
            "half_exits": (("half", "state"), half),
            "half_time": (("half", "state"), np.stack([time / 2, time / 2])),
        },
        attrs={"interval": 1.0, "draws": 1},
    )


def test_routes_that_agree_are_believed():
    verdict = verdicts.kinetics(STORY, steady(), routes_of(counted=(50, 50), simulated=(54, 47)))
    assert verdict.agree
    assert "within 8 %; at most 11 %" in verdict.messages[0]


@pytest.mark.parametrize(("exits", "agree"), [(100.0, False), (240.0, False), (270.0, True)])
def test_a_yes_counts_the_error_of_the_counts(exits, agree):
    """log 1.08 + 1.645 √(2/exits) ≤ log 1.25 from 254 exits on."""
    verdict = verdicts.kinetics(STORY, steady(exits), routes_of(exits, counted=(50, 50), simulated=(54, 50)))
    assert verdict.agree == agree
    said = verdict.messages[0]
    assert agree or ("as long as the data do within 8 %" in said and "exits it may as well be off by" in said), said


@pytest.mark.parametrize(
    ("simulated", "words"), [((70, 50), "state 0 1.40 times longer"), ((50, 35), "state 1 1.43 times shorter")]
)
def test_a_prior_that_is_off_is_not(simulated, words):
    verdict = verdicts.kinetics(STORY, steady(), routes_of(counted=(50, 50), simulated=simulated))
    assert not verdict.agree
    assert words in verdict.messages[0]


def test_states_that_share_a_cause_share_a_sentence():
    few = steady(exits=12.0).assign(exits=(("state", "to"), [[0.0, 12.0], [7.0, 0.0]]))
    said = verdicts.kinetics(STORY, few, routes_of(12.0, counted=(50, 50), simulated=(70, 35))).messages
    assert said == [
        "States 0 and 1 were left 12 and 7 times: too few for a dwell time (at least 30 exits are needed). Record "
        "longer, or read the interval.",
        "The fitted prior holds state 0 1.40 times longer and state 1 1.43 times shorter than the data do: trust the "
        "counted dwell time. States that switch at once are not Langevin; otherwise use more substeps, a two-sided "
        "guide, or a longer fit.",
    ]


def test_states_without_a_transition_are_said_in_one_sentence():
    """Nothing was seen in 100 units of time: the rate is below −log .05/100, at 95 %."""
    none = steady(exits=0.0).assign(time=("state", [100.0, 200.0]))
    routes = routes_of(0.0, counted=(np.inf, np.inf), simulated=(np.inf, 50), exact=(20, np.inf))
    (said,) = verdicts.kinetics(STORY, none, routes).messages
    assert said == (
        "No transition between states 0 and 1 was ever seen: their relative depth and all times are unknown, except "
        "that dwell times are longer than 33.4 and 66.8. Record until there are transitions."
    )


def test_a_state_that_was_entered_and_never_left_is_said_apart():
    one = steady().assign(exits=(("state", "to"), [[0.0, 200.0], [0.0, 0.0]]))
    routes = routes_of(200.0, counted=(50, np.inf), simulated=(50, np.inf))
    routes["exits"].loc[{"route": "counted", "state": 1}] = 0.0
    said = verdicts.kinetics(STORY, one, routes).messages
    assert said[0].startswith("State 1 was never left: the dwell time is unknown, except that it is longer than ")
    assert not any(re.search(r"\binf|nan|–", one) for one in said)
    assert sum("state 1" in one.lower() for one in said) == 1


def test_a_prior_that_never_leaves_is_said_once():
    said = verdicts.kinetics(STORY, steady(), routes_of(counted=(50, 50), simulated=(np.inf, np.inf))).messages
    assert said == ["The fitted prior never left states 0 and 1 in simulation: trust the counted dwell time."]


def test_high_barriers_that_kramers_contradicts_are_doubted():
    routes = routes_of(counted=(50, 50), simulated=(50, 50), eyring_kramers=(300, 50))
    verdict = verdicts.kinetics(STORY, steady(), routes)
    assert verdict.agree  # times were simulated
    assert not verdict.barriers_agree
    assert "a saddle was missed" in verdict.barrier_messages[0]
    low = STORY.assign(barrier=STORY["barrier"] / 4)
    verdict = verdicts.kinetics(low, steady(), routes)
    assert verdict.barriers_agree
    assert "lowest barrier is 1.2 kT" in verdict.barrier_messages[1]


def test_visits_that_do_not_forget_are_mentioned():
    routes = routes_of(old=(0.25, 0.25), counted=(50, 50), simulated=(50, 50))
    verdict = verdicts.kinetics(STORY, steady(), routes)
    assert verdict.agree
    assert "dwell times are not exponential" in verdict.messages[1]


def test_another_law_of_dwell_times_is_a_reason_not_to_believe():
    routes = routes_of(old=(0.25, 1.0), counted=(50, 50), simulated=(50, 50))
    verdict = verdicts.kinetics(STORY, steady(), routes)
    assert not verdict.agree
    assert (
        "end 0.25 and 0.25 times as often as young ones in the data, and 1 and 1 times as often" in verdict.messages[0]
    )


@pytest.mark.parametrize(
    ("price", "exact", "agree"), [(40.0, 0.0, True), (4000.0, 0.0, False), (4.0, 1.0, True), (40.0, 1.0, False)]
)
def test_a_balanced_landscape_says_its_price(price, exact, agree):
    """Of 400 transitions; after exact rounds less is much, because nothing is left that a longer fit would find."""
    story = STORY.assign_attrs(balance_path_kl=price, balance_transitions=400.0, balance_exact=exact)
    verdict = verdicts.kinetics(story, steady(), routes_of(counted=(50, 50), simulated=(50, 50)))
    assert verdict.agree
    assert "by construction" in verdict.messages[1]
    assert verdict.barriers_agree == agree
    assert f"{price / 400:.2g} nats per transition" in verdict.barrier_messages[0]


@pytest.mark.parametrize(
    ("seen", "always", "exact", "said"),
    [
        (50.0, 50.0, 0.0, None),
        (35.0, 30.0, 1.0, "for one who looks as often: the steps are too long"),
        (50.0, 30.0, 0.0, "Visits to state 0 would be 1.67 times shorter for one who never looks away"),
        (50.0, 30.0, 1.0, None),  # its price tells how paths cross
    ],
)
def test_a_landscape_is_looked_at_as_often_as_its_chain(seen, always, exact, said):
    story = STORY.assign_attrs(balance_path_kl=1.0, balance_transitions=400.0, balance_exact=exact)
    routes = routes_of(counted=(50, 50), simulated=(50, 50), exact=(always, 50))
    routes["dwell_seen"] = xr.full_like(routes["dwell"], np.nan)
    routes["dwell_seen"].loc[{"route": "exact"}] = [seen, 50.0]
    verdict = verdicts.kinetics(story, steady(), routes)
    assert verdict.agree
    assert verdict.barriers_agree == (said is None)
    assert said is None or said in verdict.barrier_messages[0]


@pytest.mark.parametrize(
    ("step", "seen", "said"),
    [
        (0.25, 50.0, None),
        (0.25, 35.0, "for one who looks as often: the steps are too long"),
        (0.25, np.nan, "Curvature × step is 0.250: chain and landscape disagree"),
        (0.5, 50.0, "Curvature × step is 0.500: chain and landscape disagree"),
    ],
)
def test_long_steps_are_a_doubt_unless_chain_and_landscape_were_compared(step, seen, said):
    story = STORY.assign_attrs(ok=0, max_curvature_step=step, substeps_needed=30)
    routes = routes_of(counted=(50, 50), simulated=(50, 50), exact=(50, 50))
    routes["dwell_seen"] = xr.full_like(routes["dwell"], np.nan)
    routes["dwell_seen"].loc[{"route": "exact"}] = [seen, 50.0]
    verdict = verdicts.kinetics(story, steady(), routes)
    assert verdict.barriers_agree == (said is None)
    assert any((said or "Curvature × step is 0.250, which is long, but") in one for one in verdict.barrier_messages)


def test_several_axes_that_a_decoder_bends_have_no_sure_barriers():
    verdict = verdicts.kinetics(
        STORY.assign_attrs(bent_axes=1), steady(), routes_of(counted=(50, 50), simulated=(50, 50))
    )
    assert verdict.agree
    assert not verdict.barriers_agree
    assert "half a kT" in verdict.barrier_messages[0]


def test_barriers_are_no_surer_than_times():
    """A prior that is cheap to make and holds a state too long."""
    story = STORY.assign_attrs(balance_path_kl=1.0, balance_transitions=400.0, ok=0, max_curvature_step=0.5)
    story = story.assign_attrs(substeps_needed=30)
    verdict = verdicts.kinetics(story, steady(), routes_of(counted=(50, 50), simulated=(70, 50)))
    assert not verdict.barriers_agree
    assert [said.split()[0] for said in verdict.barrier_messages] == ["A", "Curvature"]


def test_states_that_drift_inside_are_not_believed():
    story = STORY.assign(persistence=("state", [0.9, 9.0]), memory=("state", [640.0, 20.0]))
    story = story.assign_attrs(min_persistence=3.0)
    verdict = verdicts.kinetics(story, steady(), routes_of(counted=(50, 50), simulated=(50, 50)))
    assert not verdict.agree
    assert verdict.messages[0].startswith(
        "The place inside state 0 is remembered for 640, as long as the state is held"
    )


def circle(back):
    """Three states that are left 300 times for the next, and `back` times for the one before."""
    exits = np.array([[0.0, 300.0, back], [back, 0.0, 300.0], [300.0, back, 0.0]])
    return xr.Dataset({"exits": (("state", "to"), exits), "time": ("state", np.full(3, 15_000.0))})


def test_a_current_in_a_circle_is_said():
    (said,) = verdicts._current(circle(20.0))
    assert said.startswith(
        "More go from state 0 to 1 (300 against 20), 1 to 2 (300 against 20) and 2 to 0 (300 against 20)"
    )
    assert not verdicts._current(circle(290.0))


def test_sequences_that_all_begin_in_one_state_make_no_current():
    """The first state is left more often than it is come back to; rates know that."""
    exits = np.array([[0.0, 500.0, 300.0], [350.0, 0.0, 200.0], [210.0, 200.0, 0.0]])
    time = np.array([10_000.0, 7_000.0, 7_000.0])
    assert not verdicts._current(xr.Dataset({"exits": (("state", "to"), exits), "time": ("state", time)}))


def test_a_saddle_where_paths_do_not_decide_is_mentioned():
    story = STORY.assign(saddle_committor=("saddle", [0.02]), saddle_states=(("saddle", "end"), [[0, 1]]))
    verdict = verdicts.kinetics(story, steady(), routes_of(counted=(50, 50), simulated=(50, 50)))
    assert verdict.barriers_agree
    assert "The saddle between states 0 and 1 is not where paths decide" in " ".join(verdict.barrier_messages)


@pytest.mark.parametrize("case", [own_double_well, one_well], ids=lambda case: case.__name__)
def test_a_process_that_the_states_do_not_carry_is_a_reason_not_to_believe(case, monkeypatch):
    """Whatever the routes say of each other: a state that hides others has no one dwell time."""
    said = {"process_verdict": "doubtful", "process_message": "A process of 21 ms hops inside state 0."}
    judge = verdicts.kinetics
    monkeypatch.setattr(verdicts, "kinetics", lambda story, *rest: judge(story.assign_attrs(said), *rest))
    verdict = judged(case())
    assert not verdict.agree
    assert verdict.messages[0] == said["process_message"]


# An angle: along the line its wells repeat, as its cosine and sine they do not


class Turning(nld.Potential):
    """U = 1.5 cos 2θ: wells at ± π/2, two per turn."""

    latent = 1

    def forward(self, z):
        return 1.5 * (2 * z).cos().sum(-1)


@pytest.fixture(scope="module")
def angles():
    """Cosine and sine of an angle that goes round, γ = T = 1."""
    torch.manual_seed(0)
    times = 0.2 * torch.arange(61.0)
    motion = nld.OverdampedLangevin(Turning(), temperature=1.0, friction=1.0)
    grid = nld.dynamics.paths.refine(times, 10)
    path = nld.LangevinPath(motion, nld.integrators.default_integrator(motion), 3 * torch.randn(30, 1), grid).sample()
    theta = path[:, 9::10]
    return times[1:], torch.cat([theta.cos(), theta.sin()], -1) + 0.05 * torch.randn(30, 60, 2)


def fit_of(potential, decoder, data, **schedule):
    torch.manual_seed(0)
    motion = nld.OverdampedLangevin(potential, temperature=1.0, friction=1.0)
    model = nld.LatentLangevin(motion, nld.Gaussian(decoder, 0.1), substeps=4, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=16, hidden=16))
    return nld.fit(model, guide, data, nld.Schedule(**schedule), progress=False)


def test_an_angle_along_the_line_is_told():
    """Its wells come once per turn, and nothing but the decoder knows."""
    wells = landscape.minima(Turning(), torch.linspace(-6.0, 6.0, 100).unsqueeze(-1))
    shown = Circle()(torch.as_tensor(wells["minimum_position"].values)).numpy()
    wells = wells.assign(minimum_decoded=(("minimum", "channel"), shown))
    assert wells.sizes["minimum"] == 4
    told = verdicts.kinetics(wells.isel(state=[0]), xr.Dataset(), xr.Dataset()).messages[-1]
    apart = re.match(r"Minima \d+ and \d+ show the same in every channel, (\S+) apart", told)
    assert float(apart[1]) == pytest.approx(2 * math.pi, abs=0.01)


@pytest.mark.filterwarnings("ignore:curvature × step")
def test_cosine_and_sine_as_axes_have_every_well_once(angles):
    fit = fit_of(nld.NeuralPotential(2), nld.IdentityDecoder(2), angles, steps=200, learning_rate=0.02)
    found = fit.wells(min_persistence=0.0)
    wells = found["position"].values[found["occupancy_data"].values > 0.05]
    np.testing.assert_allclose(wells[wells[:, 1].argsort()], [[0.0, -1.0], [0.0, 1.0]], atol=0.25)
    told = verdicts.kinetics(found.isel(state=[0]), xr.Dataset(), xr.Dataset()).messages
    assert "show the same" not in " ".join(told)


@pytest.mark.parametrize(("third", "told"), [([0.0, 5.001], True), ([0.2, 5.0], False), ([0.0, 5.2], False)])
def test_minima_that_differ_in_one_channel_are_two(third, told):
    shown, place = [[0.0, 5.0], [1.0, 6.0], third], [[0.0], [1.0], [2.5]]
    arrays = {"minimum_decoded": (("minimum", "channel"), shown), "minimum_position": (("minimum", "latent"), place)}
    messages = verdicts.kinetics(xr.Dataset(arrays, coords={"state": [0]}), xr.Dataset(), xr.Dataset()).messages
    assert ("Minima 0 and 2 show the same in every channel, 2.5 apart" in " ".join(messages)) == told
