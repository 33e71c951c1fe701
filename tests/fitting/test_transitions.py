"""Rates from transitions: a double well that a fit has bent makes the transitions of the data again."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from polynomials import INTERVAL, NOISE, SEQUENCES, TIMES, Polynomial, follower, recording

import pyro_nld as nld
from pyro_nld.dynamics.stationary import StationaryLaw
from pyro_nld.fitting import discrepancy, em, transitions
from pyro_nld.fitting.em import COEFFICIENT_PRECISION
from pyro_nld.fitting.transitions import balance
from pyro_nld.landscape import occupancies

TRUE, TILT = [0.0, -2.0, 0.5], 0.3
BENT = [TILT, -2.5, 0.6]  # tilted, and a higher ridge


def quartic(coefficients):
    """U(z) = a z + b z² + c z⁴."""
    return Polynomial((1, 2, 4), coefficients)


def shares(weight):
    """Of exp(−U) left and right of the ridge, by quadrature; the left first."""
    line = torch.linspace(-4, 4, 8001, dtype=torch.float64).unsqueeze(-1)
    height = quartic(weight).features(line) @ torch.as_tensor(weight, dtype=torch.float64)
    ridge, density = 3000 + int(height[3000:5000].argmax()), torch.exp(-height)
    left = float(density[:ridge].sum() / density.sum())
    return np.array([left, 1 - left])


@pytest.fixture(scope="module")
def trained():
    """Long paths between two equal wells, and a guide that follows them."""
    times, z, x = recording(quartic(TRUE))
    potential = quartic(TRUE)
    potential.weight.requires_grad_(False)  # held while the guide learns
    model, guide = follower(potential)
    with pytest.warns(nld.DoubtfulFitWarning, match="curvature"):
        fit = nld.fit(model, guide, (times, x), nld.Schedule(steps=200, batch_size=16), progress=False)
    return fit, z


def with_weight(fit, weight):
    """The fit with this potential."""
    with torch.no_grad():
        fit.model.dynamics.potential.weight.copy_(torch.as_tensor(weight))
    fit.forget()
    return fit


@pytest.fixture
def bent(trained):
    fit, z = trained
    return with_weight(fit, BENT), z


@pytest.fixture(scope="module")
def found_once(trained):
    """What the balance of the bent landscape says, and the coefficients that it finds."""
    fit = with_weight(trained[0], BENT)
    found = balance(fit)
    return found, fit.model.dynamics.potential.weight.detach().clone()


@pytest.fixture
def balanced(trained, found_once):
    """The bent landscape after its balance, and what that says."""
    found, weight = found_once
    return with_weight(trained[0], weight), found


def log_rates(fit, wells, seed=7):
    """Of a long run of the fitted chain between the cores of given states, left to right and back."""
    with torch.no_grad():
        counts = nld.kinetics.simulated(
            fit.dynamics, fit.model.integrator, wells, fit.encoded(400), interval=INTERVAL, substeps=1, intervals=2000,
            seed=seed,
        )  # fmt: skip
    return apart(counts["exits"] / counts["time"])


def apart(rate):
    """Logarithms of the two rates."""
    return np.log(between(rate))


def between(square):
    """The two values off the diagonal."""
    return square.values[~np.eye(2, dtype=bool)]


def test_the_chain_makes_the_transitions_of_the_data(bent, found_once):
    fit, z = bent
    wells = fit.metastable()
    before = log_rates(fit, wells)
    found, weight = found_once
    with_weight(fit, weight)
    after, wanted = log_rates(fit, wells), apart(found["counted"])
    assert abs(before - wanted).max() > 0.25
    # Two runs, the one within balance a quarter as long: they were .10 apart.
    np.testing.assert_allclose(apart(found["before"]), before, atol=0.15)
    np.testing.assert_allclose(after, wanted, atol=0.08)
    np.testing.assert_allclose(after, apart(found["after"]), atol=0.08)
    left = float((z < 0).double().mean())  # a well-mixed path: the share of time is the same, up to noise
    np.testing.assert_allclose(shares(weight.double().numpy())[0], left, atol=0.05)
    assert found.attrs["transitions"] > 100
    assert found.attrs["log_likelihood_gain"] > 0


def test_what_has_learned_exactly_pays_no_more_than_the_error_of_the_counts_asks_for(trained, found_once):
    found = balance(with_weight(trained[0], BENT), exact=True)
    fewest = between(found["transitions"]).min()
    np.testing.assert_allclose(apart(found["after"]), apart(found["counted"]), atol=0.04 + 1 / np.sqrt(fewest))
    assert found.attrs["path_kl"] <= found_once[0].attrs["path_kl"]


def test_what_is_told_belongs_together(bent, found_once):
    """Shares of time are those of the rates; the price is that of the change."""
    fit, _ = bent
    before, metric = torch.tensor(BENT), transitions._information(fit, fit.encoded())
    found, weight = found_once
    change = (weight - before).double()
    assert found.attrs["path_kl"] == pytest.approx(float(change @ metric @ change) / 2, rel=0.05)
    rate = found["after"].values
    expected = rate[1, 0] / (rate[0, 1] + rate[1, 0])
    np.testing.assert_allclose(found["share_after"][0], expected)
    assert found["transitions"].sum() == pytest.approx(found.attrs["transitions"])


def test_the_change_is_the_one_that_paths_notice_least():
    """Of two coefficients with the same effect on rates, the one that paths know less of moves."""
    slope = torch.zeros(2, 2, 2, dtype=torch.float64)
    slope[0, 1] = slope[1, 0] = torch.tensor([1.0, 1.0])
    counts = counted([[0.0, 2000.0], [2000.0, 0.0]], [1000.0, 1000.0])
    metric = discrepancy.WEIGHTS[0] * torch.diag(torch.tensor([30.0, 10.0], dtype=torch.float64))
    change = discrepancy.solve(torch.zeros(2, dtype=torch.float64), metric, slope, torch.zeros(2, 2).double(), counts)
    np.testing.assert_allclose(change.sum(), np.log(2), atol=0.01)
    np.testing.assert_allclose(change[1] / change[0], 3, rtol=1e-3)


@pytest.mark.parametrize("number", [0, 1, 10, 1000])
def test_few_transitions_pull_little(number):
    """The rate is that of n transitions, and of one more at the rate of the fit."""
    slope = torch.zeros(2, 2, 1, dtype=torch.float64)
    slope[0, 1] = 1.0
    time = 100.0
    counts = counted([[0.0, number], [0.0, 0.0]], [time, time])._replace(prior=torch.ones(2, 2).double())
    change = discrepancy.solve(
        torch.zeros(1, dtype=torch.float64), 1e-6 * torch.eye(1).double(), slope, torch.zeros(2, 2).double(), counts
    )
    np.testing.assert_allclose(change.exp(), (number + 1) / (time + 1), rtol=1e-3)


def test_counts_are_met_and_no_more_is_paid():
    """150 transitions where a hundred are expected: a quarter of a nat is left open, which costs paths less."""
    slope = torch.zeros(2, 2, 1, dtype=torch.float64)
    slope[0, 1] = 1.0
    nothing, expected, time = torch.zeros(1).double(), torch.zeros(2, 2).double(), 100.0
    few = counted([[0.0, 150.0], [0.0, 0.0]], [time, time])
    least = float(few.misfit(expected + slope @ torch.tensor([1.5]).double().log()))
    for information in (10.0, 1e4, 1e3):
        metric = information * torch.eye(1).double()
        change = discrepancy.cheapest(nothing, metric, slope, expected, few)
        left = float(few.misfit(expected + slope @ change)) - least
        assert 0.0 <= left < discrepancy.MET + 0.1  # of the smallest weight itself
    assert float(few.misfit(expected)) - least > 5
    exactly = discrepancy.solve(nothing, discrepancy.WEIGHTS[0] * metric, slope, expected, few)
    assert float(change.square() / exactly.square()) < 0.95
    same = counted([[0.0, 100.0], [0.0, 0.0]], [time, time])
    assert float(discrepancy.cheapest(nothing, metric, slope, expected, same).abs()) < 1e-6


def test_a_dwell_time_is_met_more_closely_than_one_of_its_ways_out():
    """State 0 is left 150 times for a hundred one way, and twice for nine the other."""
    slope = torch.zeros(3, 3, 2, dtype=torch.float64)
    slope[0, 1, 0] = slope[0, 2, 1] = 1.0
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[0, 2] = math.log(0.09)
    counts = counted([[0.0, 150.0, 2.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [100.0, 1.0, 1.0])
    nothing, metric = torch.zeros(2).double(), 1e4 * torch.eye(2).double()
    change = discrepancy.cheapest(nothing, metric, slope, expected, counts)
    best = expected + slope @ discrepancy.solve(nothing, discrepancy.WEIGHTS[0] * metric, slope, expected, counts)
    found = expected + slope @ change
    assert float((counts.of_states(found) - counts.of_states(best))[0]) < discrepancy.MET
    left = (counts.of_each(found) - counts.of_each(best))[:2]  # to either of the others
    assert left[0] < left[1] < discrepancy.INSIDE
    assert float((counts.of_states(expected) - counts.of_states(best))[0]) > 5


def test_the_covariance_is_that_of_repeated_data():
    """Counts and the fit before are drawn anew and balanced; one that forgot either part of the noise fails."""
    draw = np.random.default_rng(0)
    slope = torch.zeros(2, 2, 3, dtype=torch.float64)
    slope[0, 1], slope[1, 0] = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.3, -1.0, 0.4])
    information = torch.tensor([[300.0, 50.0, 0.0], [50.0, 200.0, 30.0], [0.0, 30.0, 250.0]], dtype=torch.float64)
    metric, truth = discrepancy.WEIGHTS[0] * information, torch.zeros(2, 2, dtype=torch.float64)
    time = torch.tensor([400.0, 900.0], dtype=torch.float64)
    root = torch.linalg.cholesky(torch.linalg.inv(information))
    found = []
    for _ in range(REPEATS := 200):
        fit = root @ torch.as_tensor(draw.standard_normal(3))
        exits = draw.poisson(time.numpy()[:, None] * (1 - np.eye(2)))
        counts, log_rate = counted(exits, time), truth + slope @ fit
        change = discrepancy.solve(torch.zeros(3, dtype=torch.float64), metric, slope, log_rate, counts)
        found.append((fit + change).numpy())
    expected = discrepancy.covariance_of(
        information, slope, truth, counted(time[:, None] * (1 - torch.eye(2)), time)
    ).numpy()
    scale = np.linalg.inv(np.linalg.cholesky(expected))
    spread = np.cov(scale @ np.array(found).T)  # the identity, up to 1/√n
    np.testing.assert_allclose(spread, np.eye(3), atol=5 * np.sqrt(2 / REPEATS))
    rates = slope[~torch.eye(2, dtype=torch.bool)].numpy()
    np.testing.assert_allclose(np.diag(rates @ expected @ rates.T), [1 / 400, 1 / 900], rtol=0.05)  # Poisson's errors


def test_what_a_run_keeps_of_it(found_once):
    found, _ = found_once
    kept = transitions.record(found)
    assert kept["transitions"] == found.attrs["transitions"]
    assert kept["covariance"].shape == (3, 3)
    assert bool((torch.linalg.eigvalsh(kept["covariance"]) > 0).all())
    assert transitions.record(None) == {}


def test_a_balanced_landscape_has_intervals_that_hold_the_truth(balanced, monkeypatch):
    """U = −2 z² + ½ z⁴ has barriers of 2 kT; the bent one, before it is balanced, of 2.3 and 2.9."""
    fit, found = balanced
    run = fit.runs[0] | {"balance": transitions.record(found)}
    monkeypatch.setattr(fit, "runs", [run])
    with pytest.warns(nld.DoubtfulFitWarning, match="curvature"):
        landscape = fit.landscape()
    low, high = (between(landscape[f"barrier_{end}"]) for end in ("low", "high"))
    assert (low < 2.0).all()
    assert (high > 2.0).all()
    fewest = found["transitions"].values.sum(-1).min()
    assert ((high - low) / (2 * 1.645) < 3 / np.sqrt(fewest)).all()
    dwell = landscape["dwell"].sel(route="simulated").values
    ends = [landscape[f"dwell_{end}"].sel(route="simulated").values for end in ("low", "high")]
    assert (ends[0] < dwell).all()
    assert (ends[1] / ends[0] > np.exp(2 * 1.645 / np.sqrt(2 * fewest))).all()  # of the data, not of a long simulation


def counted(exits, time):
    exits, time = (torch.as_tensor(values, dtype=torch.float64) for values in (exits, time))
    return discrepancy.Counts(exits, time, torch.zeros(len(time), dtype=torch.float64), 1.0)


def test_sequences_that_start_in_equilibrium_say_more(bent):
    """Where they start is counted beside transitions, with the law of the rates."""
    fit, z = bent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.model, "equilibrium", StationaryLaw(1))
        counts = transitions._counted(fit, fit.metastable(), 0)
    left = float((z[:, 0, 0] < 0).sum())
    assert float(counts.begun.sum()) == SEQUENCES
    assert min(abs(counts.begun - left)) < 2
    rate = torch.tensor([[1.0, 0.2], [0.6, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(discrepancy.stationary(rate.log()), torch.tensor([0.75, 0.25]).double())
    alone = counts._replace(begun=torch.zeros(2, dtype=torch.float64))
    expected = -(counts.begun @ torch.tensor([0.75, 0.25]).double().log())
    torch.testing.assert_close(counts.misfit(rate.log()) - alone.misfit(rate.log()), expected)


def test_the_information_is_that_of_an_euler_path(bent):
    """Σ h φ'²/(2 γ T), over all steps."""
    fit, _ = bent
    points = fit.encoded()
    slope = torch.cat([torch.ones_like(points), 2 * points, 4 * points**3], -1).double()
    steps = SEQUENCES * (TIMES - 1)
    expected = steps * (slope.T @ slope) / len(points) * INTERVAL / 2
    expected = expected + COEFFICIENT_PRECISION * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(transitions._information(fit, points), expected, rtol=1e-3, atol=1e-3)


def test_where_the_turns_run_out_the_best_of_what_was_simulated_is_kept(bent, monkeypatch):
    """After one turn that is the fit itself; a second is better, and the step that it asks for is not taken."""
    weight = bent[0].model.dynamics.potential.weight
    before = weight.detach().clone()
    monkeypatch.setattr(transitions, "CLOSE", 0.0)
    monkeypatch.setattr(transitions, "TURNS", 1)
    assert balance(bent[0]).attrs["path_kl"] == 0
    assert torch.equal(weight, before)
    monkeypatch.setattr(transitions, "TURNS", 2)
    found = balance(bent[0])
    off = [abs(apart(found[when]) - apart(found["counted"])).max() for when in ("before", "after")]
    assert off[1] < off[0] / 2
    assert not torch.equal(weight, before)


def test_a_response_that_is_wrong_does_not_lead_astray(bent, monkeypatch):
    """Rates that answer four times as strongly as was thought: steps are too long, and what is worse is taken back."""
    response = transitions._Chain.response
    monkeypatch.setattr(transitions._Chain, "response", lambda chain, fit: 0.25 * response(chain, fit))
    monkeypatch.setattr(transitions, "FURTHEST", 0.5)
    found = balance(bent[0])
    off = [abs(apart(found[when]) - apart(found["counted"])).max() for when in ("before", "after")]
    assert off[1] < off[0] / 4


def test_shares_that_are_known_make_rates_better():
    """Exits of a reversible chain: with its law, estimates are those of fluxes, and their noise is smaller."""
    draw = np.random.default_rng(0)
    share, flux = np.array([0.2, 0.3, 0.5]), np.array([[0, 3.0, 1.0], [3.0, 0, 2.0], [1.0, 2.0, 0]])
    rate, found = torch.as_tensor(flux / share[:, None]), []
    for _ in range(200):
        time = 100 * share * draw.uniform(0.8, 1.2, 3)  # not in the law itself
        exits = draw.poisson(rate.numpy() * time[:, None])
        chain = transitions._Chain(torch.zeros(0), torch.zeros(0), *map(torch.as_tensor, (exits, time)))
        found.append([chain.rate(torch.as_tensor(share)).numpy(), chain.rate().numpy()])
        balanced = share[:, None] * found[-1][0]
        np.testing.assert_allclose(balanced, balanced.T)
    pairs = ~np.eye(3, dtype=bool)
    with_law, alone = np.log(np.array(found)[:, :, pairs]).transpose(1, 0, 2)
    np.testing.assert_allclose(with_law.mean(0), np.log(rate.numpy()[pairs]), atol=0.02)
    np.testing.assert_allclose(with_law.std(0), alone.std(0) / np.sqrt(2), rtol=0.25)


def test_shares_are_those_that_the_chain_has(bent):
    """Draws of exp(−U/T), and what the steps of Euler's chain change of it."""
    fit, _ = bent
    wells = fit.metastable()
    counts = transitions._counted(fit, wells, 0)
    chain = transitions._Chain.of(fit, wells, counts, fit.encoded(400), 0)
    drawn = float(chain.shares(fit, wells, 0)[0])
    shift = transitions._shift(fit, fit.encoded(), (fit.encoded()[:, 0] > 0).long(), 2)
    expected = np.log(shares(BENT)[0] / shares(BENT)[1]) + float(shift[0] - shift[1])
    assert abs(np.log(drawn / (1 - drawn)) - expected) < 0.1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.model, "integrator", nld.Leapfrog())  # whose shift is not known
        assert chain.shares(fit, wells, 0) is None
    with pytest.MonkeyPatch.context() as patch:  # nor with a friction that depends on the position
        varying = nld.VariableFrictionLangevin(fit.dynamics.potential, torch.ones_like)
        patch.setitem(vars(fit), "dynamics", varying)
        assert chain.shares(fit, wells, 0) is None


def test_draws_that_do_not_mix_are_not_believed(bent, monkeypatch):
    fit, _ = bent
    wells = fit.metastable()
    chain = transitions._Chain.of(fit, wells, transitions._counted(fit, wells, 0), fit.encoded(400), 0)
    monkeypatch.setattr(occupancies, "draws", lambda potential, wells, starts, *rest: starts[:, None].expand(-1, 9, -1))
    assert chain.shares(fit, wells, 0) is None


def stationary_of_euler(weight, h):
    """The law of z' = z − h U'(z) + √(2h) ξ on a fine line, by powers of its transition matrix."""
    line = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    slope = weight[0] + 2 * weight[1] * line + 4 * weight[2] * line**3
    kernel = torch.exp(-((line[None] - (line - h * slope)[:, None]) ** 2) / (4 * h))
    kernel = kernel / kernel.sum(-1, keepdim=True)
    law = torch.linalg.matrix_power(kernel, 2**14)[600]
    return line, law / law.sum()


def test_the_shift_of_eulers_chain_is_that_of_its_own_law(trained, monkeypatch):
    """A tilted well is steeper on its deep side; both shares against the exact law of the chain."""
    fit = with_weight(trained[0], weight := [0.8, -2.0, 0.5])
    monkeypatch.setattr(type(fit), "step", 0.01)
    line, law = stationary_of_euler(weight, fit.step)
    density = torch.exp(-fit.potential(line.float().unsqueeze(-1)).detach().double())
    density, ridge = density / density.sum(), float(line[400 + int(density[400:900].argmin())])
    left = line < ridge
    exact = float(torch.log(law[left].sum() / law[~left].sum() / (density[left].sum() / density[~left].sum())))
    monkeypatch.setattr(transitions, "SLOPES", 200_000)
    drawn = line[torch.multinomial(density, 200_000, replacement=True)].float().unsqueeze(-1)
    shift = transitions._shift(fit, drawn, (drawn[:, 0] >= ridge).long(), 2)
    assert abs(exact) > 0.005
    assert float(shift[0] - shift[1]) == pytest.approx(exact, rel=0.3)
    monkeypatch.setattr(transitions, "SHIFT", abs(exact) / 2)
    assert transitions._shift(fit, drawn, (drawn[:, 0] >= ridge).long(), 2) is None


def test_one_well_or_no_coefficients_change_nothing(bent, monkeypatch):
    fit, _ = bent
    with torch.no_grad():
        fit.model.dynamics.potential.weight.copy_(torch.tensor([0.0, 1.0, 0.1]))
    fit.forget()
    assert balance(fit) is None
    monkeypatch.setattr(Polynomial, "coefficients", property(lambda self: None))
    assert balance(fit) is None


def test_a_fit_can_end_with_it(bent, monkeypatch):
    """Once per run, after everything else; a run without wells ends all the same."""
    fit, z = bent
    seen = []

    def fake(fit, exact, known):
        assert not exact
        assert known is None
        seen.append(fit.model.dynamics.potential.output.weight.detach().clone())
        raise nld.FitError("no minimum was found")

    monkeypatch.setattr("pyro_nld.fitting.training.balance", fake)
    for name in ("learn_layers", "follow"):  # the M-step comes first, and how far it gets is not asked
        monkeypatch.setattr(em, name, partial(getattr(em, name), gradient_steps=5))
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(8,))), nld.Gaussian(nld.IdentityDecoder(1), NOISE)
    )
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
    data = (fit.times[:8, :20], z[:8, :20])
    schedule = nld.Schedule(steps=3, polish=1, balance=True)
    nld.fit(model, guide, data, schedule, restarts=2, progress=False)
    assert len(seen) == 2
    assert any(torch.equal(weight, model.dynamics.potential.output.weight) for weight in seen)


def counts_of(exits, time):
    return discrepancy.Counts(torch.as_tensor(exits), torch.as_tensor(time), torch.zeros(2), 1.0)


def told(slope, log_rate, counts):
    """The information Σ_ij t_i k_ij r_ij r_ijᵀ that counts hold with a response r."""
    weight = counts.time.unsqueeze(-1) * log_rate.exp() * ~torch.eye(2, dtype=torch.bool)
    return torch.einsum("ij,ija,ijb->ab", weight, slope, slope)


def test_no_response_tells_more_of_a_landscape_than_paths_do():
    """Along the first axis counts would tell nine times as much as the paths: a third of it is left, and all others."""
    generator = torch.Generator().manual_seed(0)
    counts = counts_of([[0.0, 40.0], [60.0, 0.0]], [400.0, 300.0])
    log_rate = torch.log(torch.tensor([[1.0, 0.1], [0.2, 1.0]])).double()
    axes = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    information = axes @ axes.T + torch.eye(5)
    root = torch.linalg.cholesky(information)
    first, second = torch.linalg.qr(axes)[0][:, :2].T @ root.T  # of length one in units of the information
    slope = torch.zeros(2, 2, 5, dtype=torch.float64)
    slope[0, 1], slope[1, 0] = 3 * first / 40**0.5, 0.5 * second / 60**0.5
    found = transitions._possible(slope, information, log_rate, counts)
    torch.testing.assert_close(found[0, 1], slope[0, 1] / 3)
    torch.testing.assert_close(found[1, 0], slope[1, 0])
    most = torch.linalg.eigvals(torch.linalg.solve(information, told(found, log_rate, counts))).real.max()
    assert float(most) == pytest.approx(1)
    small = slope / 4
    torch.testing.assert_close(transitions._possible(small, information, log_rate, counts), small)
