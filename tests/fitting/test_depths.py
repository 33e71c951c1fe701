"""Depths from transitions: a double well that a fit has tilted stands upright again, and little else changes."""

import numpy as np
import pytest
import torch
from polynomials import INTERVAL, NOISE, SEQUENCES, TIMES, Polynomial, follower, recording

import pyro_nld as nld
from pyro_nld.dynamics.stationary import StationaryLaw
from pyro_nld.fitting import depths
from pyro_nld.fitting.depths import balance
from pyro_nld.fitting.em import COEFFICIENT_PRECISION

TRUE, TILT = [0.0, -2.0, 0.5], 0.3
TILTED = [TILT, *TRUE[1:]]


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
    potential = quartic(TILTED)
    potential.weight.requires_grad_(False)  # held while the guide learns
    model, guide = follower(potential)
    with pytest.warns(nld.DoubtfulFitWarning, match="curvature"):
        fit = nld.fit(model, guide, (times, x), nld.Schedule(steps=200, batch_size=16), progress=False)
    return fit, z


@pytest.fixture
def tilted(trained):
    fit, z = trained
    with torch.no_grad():
        fit.model.dynamics.potential.weight.copy_(torch.tensor(TILTED))
    fit.forget()
    return fit, z


def left_first(fit, values):
    wells = nld.landscape.minima(fit.potential, fit.encoded())
    return values[np.argsort(wells["position"].values[:, 0])]


def test_transitions_that_balance_are_the_shares_afterwards(tilted):
    fit, z = tilted
    before = shares(TILTED)
    assert before[0] > 0.6
    found = balance(fit)
    np.testing.assert_allclose(left_first(fit, found["before"].values), before, atol=0.01)
    np.testing.assert_allclose(found["after"], found["counted"], atol=2e-3)
    after = shares(fit.model.dynamics.potential.weight.detach().double().numpy())
    # Draws have an error of .006 here, and the ridge, which moves with the tilt, is worth .005.
    np.testing.assert_allclose(after, left_first(fit, found["counted"].values), atol=0.02)
    spent = float((z < 0).double().mean())  # a well-mixed path: the share of time is the same, up to noise
    np.testing.assert_allclose(after[0], spent, atol=0.04)
    np.testing.assert_allclose(after[0], 0.5, atol=0.06)


def test_sequences_that_start_in_equilibrium_say_more(tilted):
    """Their starts are counted beside transitions, and balanced depths follow both."""
    fit, _ = tilted
    asked = {}

    def law(exits, time, starts):
        asked.update(exits=exits, starts=starts)
        return np.array([0.45, 0.55])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.model, "equilibrium", StationaryLaw(1))
        patch.setattr(depths.markov, "reversible", law)
        found = balance(fit)
    ridge = np.sort(np.roots([4 * TRUE[2], 0, 2 * TRUE[1], TILT]).real)[1]  # of the potential before it is balanced
    left = float((fit.positions(draws=depths.PATHS)[:, :, 0, 0] < ridge).sum()) / depths.PATHS
    np.testing.assert_allclose(left_first(fit, asked["starts"]), [left, SEQUENCES - left], atol=1)
    assert asked["starts"].sum() == SEQUENCES
    np.testing.assert_allclose(found["after"], [0.45, 0.55], atol=2e-3)


def test_the_change_is_the_one_that_paths_notice_least(tilted):
    """Nothing but the tilt could be changed as well; it costs no less, for the same shares."""
    fit, _ = tilted
    weight = fit.model.dynamics.potential.weight
    before = weight.detach().clone()
    noticed = depths._information(fit, fit.encoded())
    found = balance(fit)
    change = (weight.detach() - before).double()
    assert found.attrs["path_kl"] == pytest.approx(float(change @ noticed @ change) / 2, rel=0.05)
    wanted = shares(weight.detach().double().numpy())
    slopes = np.linspace(-1, 1, 2001)
    tilt = slopes[np.argmin([abs(shares([slope, *TRUE[1:]])[0] - wanted[0]) for slope in slopes])] - TILT
    assert 0 < found.attrs["path_kl"] < 1.05 * float(tilt**2 * noticed[0, 0]) / 2


def test_the_information_is_that_of_an_euler_path(tilted):
    """Σ h φ'²/(2 γ T), over all steps."""
    fit, _ = tilted
    points = fit.encoded()
    slope = torch.cat([torch.ones_like(points), 2 * points, 4 * points**3], -1).double()
    steps = SEQUENCES * (TIMES - 1)
    expected = steps * (slope.T @ slope) / len(points) * INTERVAL / 2
    expected = expected + COEFFICIENT_PRECISION * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(depths._information(fit, points), expected, rtol=1e-3, atol=1e-3)


def test_too_few_transitions_change_nothing(tilted, monkeypatch):
    fit, _ = tilted
    before = fit.model.dynamics.potential.weight.clone()
    monkeypatch.setattr(depths, "ENOUGH", 1_000_000)
    with pytest.warns(nld.DoubtfulFitWarning, match=r"state \d was entered or left \d+ times, not 1000000"):
        assert balance(fit) is None
    assert torch.equal(fit.model.dynamics.potential.weight, before)


def test_a_state_without_draws_changes_nothing(tilted, monkeypatch):
    fit, _ = tilted
    before = fit.model.dynamics.potential.weight.clone()
    drawn = depths.occupancies.equilibrium

    def one_sided(*given):
        points, basins = drawn(*given)
        return points, torch.zeros_like(basins)

    monkeypatch.setattr(depths.occupancies, "equilibrium", one_sided)
    with pytest.warns(nld.DoubtfulFitWarning, match=r"not balanced: draws of exp\(−U/T\) do not reach the shares"):
        assert balance(fit) is None
    assert torch.equal(fit.model.dynamics.potential.weight, before)


def test_one_well_or_no_coefficients_change_nothing(tilted, monkeypatch):
    fit, _ = tilted
    with torch.no_grad():
        fit.model.dynamics.potential.weight.copy_(torch.tensor([0.0, 1.0, 0.1]))
    fit.forget()
    assert balance(fit) is None
    monkeypatch.setattr(Polynomial, "coefficients", property(lambda self: None))
    assert balance(fit) is None


def test_a_fit_can_end_with_it(tilted, monkeypatch):
    """Once per run, after everything else; a run without wells ends all the same."""
    fit, z = tilted
    seen = []

    def fake(fit):
        seen.append(fit.model.dynamics.potential.output.weight.detach().clone())
        raise nld.FitError("no minimum was found")

    monkeypatch.setattr("pyro_nld.fitting.training.balance", fake)
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(8,))), nld.Gaussian(nld.IdentityDecoder(1), NOISE)
    )
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
    data = (fit.times[:8, :20], z[:8, :20])
    schedule = nld.Schedule(steps=3, polish=1, balance=True)
    nld.fit(model, guide, data, schedule, restarts=2, progress=False)
    assert len(seen) == 2
    assert any(torch.equal(weight, model.dynamics.potential.output.weight) for weight in seen)
