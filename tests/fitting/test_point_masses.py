"""A few axes solved on a lattice: evidence and smoother beside Kalman's, and expectation maximisation that climbs."""

import copy
import math
import warnings

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from polynomials import Polynomial

import pyro_nld as nld
from pyro_nld.dynamics.potentials import hessian
from pyro_nld.fitting import exact, lattices, observed_information, trainer
from pyro_nld.fitting.lattices import obstacle
from pyro_nld.fitting.point_masses import Lattice

RATE, TEMPERATURE, NOISE, SUBSTEPS = 1.5, 0.7, 0.6, 3
BARRIER = 2.0


def harmonic(start="normal"):
    prior = nld.OverdampedLangevin(nld.Quadratic([RATE]), TEMPERATURE)
    return nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), SUBSTEPS, 1.0, start)


def irregular():
    """Two clocks, an end, and values that are missing."""
    x, times = torch.randn(4, 9, 1, generator=torch.Generator().manual_seed(0)), torch.arange(9.0).repeat(4, 1)
    times = times * torch.tensor([[0.3], [0.5], [0.3], [0.5]])
    x[1, 3:5] = torch.nan
    times[2, 7:] = x[2, 7:] = torch.nan
    return times, x


def kalman(times, x):
    """The same chain of Euler's steps as matrices: between observations their product."""
    h = np.nan_to_num(np.diff(times.numpy())) / SUBSTEPS
    step = 1 - RATE * h
    a = step**SUBSTEPS
    q = sum(2 * TEMPERATURE * h * step ** (2 * k) for k in range(SUBSTEPS))
    one = np.ones((1, 1))
    model = nld.oracles.LinearGaussian(np.zeros(1), one, a[..., None, None], q[..., None, None], one, NOISE**2 * one)
    return nld.oracles.kalman(x.numpy(), model)


def test_evidence_and_smoother_are_kalmans():
    times, x = irregular()
    wanted, line = kalman(times, x), Lattice.line(harmonic(), {}, -7.0, 7.0, 200)
    found, there = line.explained(times, x), times.isfinite().numpy()
    assert found.log_evidence.numpy() == pytest.approx(wanted["log_evidence"].values, abs=1e-6)
    mean, covariance = (wanted[f"smoothed_{name}"].values for name in ("mean", "covariance"))
    off = (found.drawn[..., 0].numpy() - mean[..., 0]) / np.sqrt(covariance[..., 0, 0])
    assert off[:, there].mean() == pytest.approx(0.0, abs=0.5)
    assert off[:, there].std() == pytest.approx(1.0, abs=0.3)


def test_an_outlier_that_no_path_reaches_costs_once():
    """The filter has single precision, where the probability of such a jump is 0."""
    times, x = irregular()
    line = Lattice.line(harmonic(), {}, -7.0, 7.0, 200)
    line.model.likelihood.noise_scale = torch.tensor(0.05).double()
    plain = line.explained(times, x)
    x[0, 4] = 6.5
    line.forget()
    found = line.explained(times, x)
    assert 50 < float(plain.log_evidence[0] - found.log_evidence[0]) < 300
    assert torch.equal(found.log_evidence[1:], plain.log_evidence[1:])
    assert bool(found.drawn.isfinite().all())
    assert float((found.drawn[0, 0, 6:, 0] - x[0, 6:, 0]).abs().max()) < 0.3


def test_moves_count_every_interval_of_its_length():
    times, x = irregular()
    found = Lattice.line(harmonic(), {}, -7.0, 7.0, 100).explained(times, x)
    assert found.gaps.tolist() == pytest.approx([0.3, 0.5], rel=0.01)
    assert [float(one.sum()) for one in found.moves] == pytest.approx([8 + 6, 16], abs=1e-5)
    assert float(found.first.sum()) == pytest.approx(4.0)


def test_coarseness_is_curvature_times_step():
    found = Lattice.line(harmonic(), {}, -7.0, 7.1, 100).coarseness(torch.tensor(0.3))
    assert found.tolist() == pytest.approx([RATE * 0.3 / SUBSTEPS], rel=1e-3)


def test_a_sequence_that_starts_in_equilibrium_knows_its_law():
    times, x = irregular()
    x[:, 1:] = torch.nan  # one observation: N(0, T/k + noise²)
    found = Lattice.line(harmonic("equilibrium"), {}, -7.0, 7.0, 200).evidence(times, x)
    law = dist.Normal(0.0, math.sqrt(TEMPERATURE / RATE + NOISE**2))
    assert found.numpy() == pytest.approx(law.log_prob(x[:, 0, 0]).numpy(), abs=1e-5)


def double_well(sequences=60, steps=60):
    truth = nld.DoubleWell(BARRIER)
    return truth, nld.datasets.langevin_wells(truth, sequences, steps, 0, interval=0.1, noise=0.3)


def pair(friction=1.0, noise=None, latent=1, substeps=10):
    torch.manual_seed(0)
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=latent, hidden=(16, 16)), 1.0, friction)
    decoder = nld.IdentityDecoder(1) if latent == 1 else nld.LinearDecoder(latent, 1)
    model = nld.LatentLangevin(prior, nld.Gaussian(decoder, noise), substeps, 1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=16, hidden=16))


def found_barrier(potential):
    """The energy at the pass above that of the deeper well."""
    with torch.no_grad():
        energy = potential(torch.linspace(-2.0, 2.0, 401).unsqueeze(-1))
    return float(energy[200] - energy.min())


@pytest.fixture(scope="module", autouse=True)
def _short_guides():
    """The guide follows in a few steps: what these tests ask of is the prior."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "GUIDE_STEPS", (3, 3))
        yield


@pytest.fixture(scope="module")
def learned():
    """Sixty sequences of a double well, noise and friction begun far off, and a guide that hardly learned."""
    truth, data = double_well()
    model, guide = pair(dist.LogNormal(0.0, 1.0), torch.nn.Parameter(torch.tensor([0.5])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nld.DoubtfulFitWarning)  # of steps that are coarse at the stiffest minimum
        fit = nld.fit(model, guide, data, nld.Schedule(steps=60, batch_size=16, exact=8), progress=False)
    return truth, fit


def test_rounds_climb_above_the_truth(learned):
    truth, fit = learned
    told, values = fit.runs[0]["exact"], fit.x.numel()
    assert told == sorted(told)
    assert len(told) > 2
    model, _ = pair(noise=0.3)
    model.dynamics.potential = truth
    known = float(Lattice.line(model, {}, -3.0, 3.0, 200).evidence(fit.times, fit.x).sum()) / values
    assert known < told[-1] < known + 20 / values  # as far above it as some free parameters bring


def test_a_well_that_is_narrower_than_the_steps_can_tell_costs_evidence():
    """Between the points it would cost nothing otherwise."""

    def wiggled(z):
        return nld.DoubleWell(BARRIER)(z) - 0.05 * torch.exp(-0.5 * ((z[..., 0] - 0.01) / 0.01).square())

    wiggled.latent, costs = 1, []
    for potential in (nld.DoubleWell(BARRIER), wiggled):
        prior = nld.OverdampedLangevin(potential)
        model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.3), 10, 1.0)
        guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))
        times, x = torch.arange(5.0).repeat(2, 1) * 0.1, torch.zeros(2, 5, 1)
        line = Lattice.line(model, {}, -2.0, 2.0, 101)
        costs.append(exact._Learner(line, model, guide, x)._coarse(line.explained(times, x)).item())
    assert costs[0] == pytest.approx(0.0, abs=1e-6)
    assert costs[1] > 100


def test_rounds_find_what_the_guide_hides(learned):
    _, fit = learned
    assert 0.5 < found_barrier(fit.potential) / BARRIER < 1.5
    assert float(fit.dynamics.friction) == pytest.approx(1.0, abs=0.1)
    assert fit.model.likelihood.noise_scale.item() == pytest.approx(0.3, rel=0.05)


def test_where_nothing_but_the_prior_learns_the_evidence_itself_is_climbed(monkeypatch):
    """A bead hides its molecule: rounds creep, for they hold what the last one believed of it."""

    def model(molecule):
        motion = nld.OverdampedLangevin(Linked(molecule), 1.0, torch.tensor([1.0, BEAD]))
        scheme, seen = nld.ExponentialEuler([0.0, LINK]), nld.Gaussian(Second(), 0.1)
        return nld.LatentLangevin(motion, seen, 6, 1.0, "equilibrium", integrator=scheme)

    times, heights = torch.arange(40.0).mul(0.05).repeat(60, 1), []
    truth = model(nld.DoubleWell(BARRIER))
    begun = nld.LatentLangevin(truth.dynamics, truth.likelihood, 6, 1.0, integrator=truth.integrator)
    with torch.no_grad():
        x = begun(times)
    spacing = torch.tensor([0.19, 0.15])
    ends = (torch.arange(-end, end, width) for end, width in zip((2.4, 2.7), spacing.tolist(), strict=True))
    points = torch.cartesian_prod(*ends)
    points = points[(points[:, 0] - points[:, 1]).abs() < 1.1]
    for first in (2, 100):
        monkeypatch.setattr(exact, "FIRST", first)
        torch.manual_seed(0)
        one = model(nld.NeuralPotential(1, (8, 8)))
        guide = nld.AmortizedGuide(one, nld.GRUEncoder(1, size=8, hidden=8))
        learner = exact._Learner(Lattice(one, {}, points, spacing), one, guide, x)
        heights.append(exact._climb(learner, times, x, 9)[0])
    assert all(one == sorted(one) for one in heights)
    assert heights[0][-1] > heights[1][-1] + 1


def test_a_round_that_goes_too_far_is_taken_back(learned, monkeypatch):
    _, fit = learned
    monkeypatch.setattr(exact, "LONGER", 1000.0)
    model, guide = copy.deepcopy((fit.model, fit.guide))
    with torch.no_grad():
        model.likelihood.noise_scale_unconstrained += 0.3
    told, _ = exact.learn(model, guide, fit.times, fit.x, rounds=3)
    assert told == sorted(told)
    assert len(told) > 2


@pytest.mark.filterwarnings("ignore:curvature:pyro_nld.DoubtfulFitWarning")
def test_steps_become_finer_where_the_landscape_became_more_curved(monkeypatch):
    monkeypatch.setattr(trainer, "REFINE_AT", ())  # not on the way
    _, data = double_well(sequences=20, steps=20)
    model, guide = pair(noise=0.3, substeps=2)
    model.most_substeps = 30
    fit = nld.fit(model, guide, data, nld.Schedule(steps=20, exact=2), progress=False)
    assert fit.model.substeps > 2
    assert len(fit.runs[0]["exact"]) > 1


def test_some_sequences_stand_for_many(learned, monkeypatch):
    _, fit = learned
    _, all_of_them = exact.learn(*copy.deepcopy((fit.model, fit.guide)), fit.times, fit.x, rounds=0)
    monkeypatch.setattr(exact, "MANY", fit.x.numel() // 2)
    torch.manual_seed(0)
    _, half = exact.learn(*copy.deepcopy((fit.model, fit.guide)), fit.times, fit.x, rounds=0)
    assert float(half.trace() / all_of_them.trace()) == pytest.approx(1.0, abs=0.2)


CURVATURES, SEEN = [1.5, 0.7], torch.tensor([[1.0, 0.3], [-0.4, 1.0], [0.5, 0.5]])


class Three(nld.Decoder):
    """Two axes seen in three channels, which mix them."""

    def __init__(self):
        super().__init__(latent=2, channels=3, standardise=False)

    def decode(self, q):
        return q @ SEEN.to(q).T


def plane(noise, substeps, gap, wide):
    """A model of two harmonic axes, a lattice whose cells are `wide` steps, data, and Kalman's filter for them."""
    prior = nld.OverdampedLangevin(nld.Quadratic(CURVATURES), TEMPERATURE)
    model = nld.LatentLangevin(prior, nld.Gaussian(Three(), noise), substeps, 1.0, "equilibrium")
    k, h = np.array(CURVATURES), gap / substeps
    spacing, ends = wide * math.sqrt(2 * TEMPERATURE * h), 4 * np.sqrt(TEMPERATURE / k)
    points = torch.cartesian_prod(*(torch.arange(-end, end, spacing, dtype=torch.float64) for end in ends))
    lattice = Lattice(model, {}, points, torch.full((2,), spacing), lattices.PARTS[1])
    draw, sequences, steps = np.random.default_rng(0), 6, 15
    z, x = draw.normal(size=(sequences, 2)) * np.sqrt(TEMPERATURE / k), []
    for _ in range(steps):
        x.append(z @ SEEN.numpy().T + noise * draw.normal(size=(sequences, 3)))
        for _ in range(substeps):
            z = (1 - k * h) * z + math.sqrt(2 * TEMPERATURE * h) * draw.normal(size=z.shape)
    shrunk = (1 - k * h) ** substeps
    spread = sum(2 * TEMPERATURE * h * (1 - k * h) ** (2 * n) for n in range(substeps))
    every = (sequences, steps - 1, 2, 2)
    chain = (np.broadcast_to(np.diag(part), every) for part in (shrunk, spread))
    known = nld.oracles.LinearGaussian(
        np.zeros(2), np.diag(TEMPERATURE / k), *chain, SEEN.double().numpy(), noise**2 * np.eye(3)
    )
    x = np.stack(x, 1)
    times = torch.arange(steps).mul(gap).repeat(sequences, 1)
    return lattice, times, torch.as_tensor(x).float(), nld.oracles.kalman(x, known)


@pytest.mark.parametrize(("noise", "wide", "allowed"), [(0.3, 1.2, 0.01), (0.1, 1.2, 0.01), (0.1, 1.5, 0.02)])
def test_two_axes_are_kalmans_too_though_cells_are_wider_than_what_data_leave_open(noise, wide, allowed):
    lattice, times, x, wanted = plane(noise, 10, 0.3, wide)
    found = lattice.explained(times, x)
    off = found.log_evidence.numpy() - wanted["log_evidence"].values
    assert abs(off).mean() / x.shape[1] < allowed  # nats per observation of three channels
    mean, covariance = (wanted[f"smoothed_{name}"].values for name in ("mean", "covariance"))
    off = (found.drawn[0].numpy() - mean) / np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    assert off.mean((0, 1)) == pytest.approx([0.0, 0.0], abs=0.3)
    assert off.std((0, 1)) == pytest.approx([1.0, 1.0], abs=0.3)


def test_coarseness_of_two_axes_is_that_of_the_stiffer_one():
    lattice, *_ = plane(0.3, 3, 0.3, 1.0)
    found = lattice.coarseness(torch.tensor(0.3))
    assert found.tolist() == pytest.approx([CURVATURES[0] * 0.1] * len(found), rel=1e-3)
    assert len(found) > 0


WELL, LINK, BEAD = 1.5, 20.0, 0.1


class Linked(nld.Potential):
    """A molecule, here in a harmonic well, and a bead that a stiff spring holds to it."""

    latent = 2

    def __init__(self, molecule=None):
        super().__init__()
        self.molecule = molecule or nld.Quadratic([WELL])

    def forward(self, z):
        return self.molecule(z[..., :1]) + 0.5 * LINK * (z[..., 1] - z[..., 0]).square()


class Second(nld.Decoder):
    """The second axis alone is seen."""

    def __init__(self):
        super().__init__(latent=2, channels=1, standardise=False)

    def decode(self, q):
        return q[..., 1:]


def linked(noise, substeps=6, gap=0.05):
    """A bead that forgets within a step, seen sharply; and Kalman's filter for the chain of its exact spring."""
    prior = nld.OverdampedLangevin(Linked(), 1.0, torch.tensor([1.0, BEAD]))
    scheme, seen = nld.ExponentialEuler([0.0, LINK]), nld.Gaussian(Second(), noise)
    model = nld.LatentLangevin(prior, seen, substeps, 1.0, "equilibrium", integrator=scheme)
    stiff, h = np.array([[WELL + LINK, -LINK], [-LINK, LINK]]), gap / substeps
    left = math.exp(-LINK * h / BEAD)
    step = np.eye(2) - np.diag([h, (1 - left) / LINK]) @ stiff
    kick = np.diag([2 * h, (1 - left**2) / LINK])
    powers = [np.linalg.matrix_power(step, k) for k in range(substeps + 1)]
    spread = sum(power @ kick @ power.T for power in powers[:-1])
    draw, sequences, steps = np.random.default_rng(0), 8, 30
    z, places, x = draw.multivariate_normal([0, 0], np.linalg.inv(stiff), sequences), [], []
    for _ in range(steps):
        places.append(z)
        x.append(z[:, 1:] + noise * draw.normal(size=(sequences, 1)))
        z = z @ powers[-1].T + draw.multivariate_normal([0, 0], spread, sequences)
    chain = (np.broadcast_to(part, (sequences, steps - 1, 2, 2)) for part in (powers[-1], spread))
    seen = np.array([[0.0, 1.0]])
    known = nld.oracles.LinearGaussian(np.zeros(2), np.linalg.inv(stiff), *chain, seen, noise**2 * np.eye(1))
    x, places = np.stack(x, 1), torch.as_tensor(np.stack(places, 1)).flatten(0, 1)
    times = torch.arange(steps).mul(gap).repeat(sequences, 1)
    return model, places, times, torch.as_tensor(x).float(), nld.oracles.kalman(x, known)["log_evidence"].values


def test_cells_are_no_wider_than_what_is_seen_of_an_axis(monkeypatch):
    """Wider ones have the density of the data over their parts, which is as if the noise were larger."""
    model, places, times, x, wanted = linked(noise=0.1)
    found = []
    for smooth in (lattices.SMOOTH, math.inf):
        monkeypatch.setattr(lattices, "SMOOTH", smooth)
        lattice = lattices._cells(model, {}, places, times, x)
        found.append(abs(lattice.evidence(times, x).numpy() - wanted).mean() / x.shape[1])
    assert found[0] < 0.005  # nats per value
    assert found[1] > 5 * found[0]


def test_cells_that_would_be_too_many_are_wider_and_have_parts(monkeypatch):
    model, places, times, x, wanted = linked(noise=0.1)
    close = lattices._cells(model, {}, places, times, x)
    monkeypatch.setattr(lattices, "CELLS", len(close.points) - 1)
    wide = lattices._cells(model, {}, places, times, x)
    assert [len(lattice.inside) for lattice in (close, wide)] == [1, lattices.PARTS[1] ** 2]
    off = abs(wide.evidence(times, x).numpy() - wanted).mean() / x.shape[1]
    assert off < 0.02  # nats per value


def test_coarseness_beside_a_known_spring_is_what_is_beyond_it():
    model, places, times, x, _ = linked(noise=0.3)
    found = lattices._cells(model, {}, places, times, x).coarseness(torch.tensor(0.05))
    wells = nld.landscape.minima(Linked(), torch.tensor([[0.3, 0.1], [-0.2, 0.3]]))
    with pytest.warns(nld.DoubtfulFitWarning, match="0.575"):  # by Euler's steps it would be 1.8
        told = nld.landscape.discretisation(model.dynamics, model.integrator, wells, 0.05 / 6, 6)
    assert found.tolist() == pytest.approx([told["max_curvature_step"]] * len(found), rel=1e-3)
    assert len(found) > 0


class Notched(nld.Potential):
    """A bowl with a notch at a place, as wide as a step of its chain and turned against the axes."""

    def __init__(self, place):
        super().__init__()
        self.latent = 2
        self.place = torch.as_tensor(place)
        self.turned = torch.tensor([[4.0, 3.0], [-1.2, 1.6]]).double()

    def forward(self, z):
        away = (z - self.place.to(z)) @ self.turned.to(z).mT
        return 0.5 * z.square().sum(-1) - 0.6 * torch.exp(-away.square().sum(-1))


def test_a_narrow_minimum_of_two_axes_is_seen_wherever_it_lies_in_a_cell():
    spacing = torch.tensor([0.3, 0.3], dtype=torch.float64)
    places = torch.cartesian_prod(*[torch.arange(-6.0, 7.0).double()] * 2) * spacing
    found = []  # over what is true
    for place in np.random.default_rng(0).uniform(-0.15, 0.15, (40, 2)):
        model = nld.LatentLangevin(
            nld.OverdampedLangevin(Notched(place), 1.0, 1.0), nld.Gaussian(nld.IdentityDecoder(2), 0.3), 8, 1.0
        )
        truth = 0.01 * np.linalg.eigvalsh(hessian(Notched(place), torch.as_tensor(place))).max()
        seen = Lattice(model, {}, places, spacing, 1).coarseness(torch.tensor(0.08))
        found.append(max(seen.tolist(), default=0.0) / truth)
    assert min(found) > 0.6
    assert max(found) < 1.4


def test_what_leaves_the_lattice_is_lost():
    line = Lattice.line(harmonic(), {}, -1.0, 1.0, 50)
    rows = line.transition(torch.tensor(0.3)).sum(-1)
    assert rows.max() < 1
    assert rows[0] < rows[25]
    wide = Lattice.line(harmonic(), {}, -9.0, 9.0, 400).transition(torch.tensor(0.3)).sum(-1)
    assert wide[100:300].detach().numpy() == pytest.approx(np.ones(200), abs=1e-9)


def test_noise_is_no_wider_where_cells_are(learned):
    """Sixty-four cells and five parts of each for what a thousand points say; sixty-four points alone do not."""
    _, fit = learned
    sizes, found = ((1000, 1), (64, 5), (64, 1)), []
    for points, parts in sizes:
        line = Lattice.line(fit.model, {"friction": torch.ones(())}, -3.0, 3.0, points, parts)
        with torch.no_grad():
            line.model.likelihood.noise_scale_unconstrained.fill_(math.log(0.02))  # points are .1 apart
        found.append(float(line.evidence(fit.times[:5], fit.x[:5]).sum()) / fit.x[:5].numel())
    assert found[1] == pytest.approx(found[0], abs=0.02)
    assert found[2] < found[0] - 0.1


def test_two_axes_learn_as_one_does():
    """A double well beside a harmonic one, both seen; the friction begins at half of its value."""
    truth, there = nld.DoubleWell(BARRIER, latent=2, stiffness=4.0), {"interval": 0.1, "noise": 0.2}
    data = nld.datasets.langevin_wells(truth, 30, 40, 0, **there)
    torch.manual_seed(0)
    friction = torch.nn.Parameter(torch.full((2,), 0.5))
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=2, hidden=(16, 16)), 1.0, friction)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(2), 0.2), 8, 1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=16, hidden=16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nld.DoubtfulFitWarning)
        fit = nld.fit(model, guide, data, nld.Schedule(steps=60, batch_size=16, exact=6), progress=False)
    told = fit.runs[0]["exact"]
    assert told == sorted(told)
    assert len(told) > 2
    assert fit.dynamics.friction.tolist() == pytest.approx([1.0, 1.0], abs=0.15)  # .6 by the bound


def test_too_many_cells_are_refused_and_the_fit_stays_as_it_is(monkeypatch):
    _, data = double_well(sequences=4, steps=10)
    model, guide = pair(latent=2)
    monkeypatch.setattr(lattices, "CELLS", 10)
    with pytest.warns(nld.DoubtfulFitWarning, match="no exact rounds: 10 cells are too few"):
        fit = nld.fit(model, guide, data, nld.Schedule(steps=2, exact=2), progress=False)
    assert fit.runs[0]["exact"] == []
    with pytest.raises(nld.FitError, match="10 cells are too few for 2 latent axes"):
        exact.learn(model, guide, fit.times, fit.x)


def test_what_has_no_lattice_is_told():
    times = torch.arange(5.0).repeat(2, 1)

    def told(prior, times=times, **given):
        seen = nld.Gaussian(nld.IdentityDecoder(prior.latent))
        return obstacle(nld.LatentLangevin(prior, seen, 2, 1.0, **given), times)

    well = nld.DoubleWell()
    assert told(nld.OverdampedLangevin(well)) == ""
    assert told(nld.UnderdampedLangevin(well)) == "momenta"
    assert told(nld.OverdampedLangevin(nld.Quadratic([1.0] * 4))) == "4 latent axes"
    assert told(nld.OverdampedLangevin(well), exposure=1.0) == "an exposure"
    many = torch.linspace(0.1, 9.0, 400).pow(3).cumsum(0).unsqueeze(0)
    assert told(nld.OverdampedLangevin(well), many) == "more than 200 different times between observations"
    groups = nld.PerGroup(dist.LogNormal(0.0, 1.0), [0, 1])
    assert told(nld.OverdampedLangevin(well, groups)) == "quantities of groups"


def test_steps_too_small_for_the_line_are_refused(monkeypatch):
    _, data = double_well(sequences=4, steps=10)
    model, guide = pair()
    fit = nld.fit(model, guide, data, nld.Schedule(steps=2), progress=False)
    monkeypatch.setattr(lattices, "MOST", 64)
    with pytest.raises(nld.FitError, match="64 points are too few for this axis"):
        lattices.lattice_of(model, guide, fit.times, fit.x)


def test_information_is_the_curvature_of_the_evidence(monkeypatch):
    data = nld.datasets.ornstein_uhlenbeck(300, 30, rate=1.0, interval=0.5, noise=0.7)
    times, x = nld.as_tensors(data)
    times = times.expand(len(x), -1)
    potential = Polynomial((2,), [0.5])  # w z²
    prior = nld.OverdampedLangevin(potential, 1.0)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.7), 10, 1.0, "equilibrium")
    line, step = Lattice.line(model, {}, -6.0, 6.0, 150), 0.02
    weight = line.model.dynamics.potential.weight
    found = observed_information.information(line, times, x, [weight.data]).item()
    monkeypatch.setattr(observed_information, "AT_A_TIME", 40 * 150)
    assert observed_information.information(line, times, x, [weight.data]).item() == pytest.approx(found, rel=1e-9)
    monkeypatch.setattr(observed_information, "PRODUCTS", 1e6)
    assert observed_information.information(line, times, x, [weight.data]) is None

    def height(w):
        with torch.no_grad():
            line.model.dynamics.potential.weight.fill_(w)
        return float(line.evidence(times, x).sum())

    curvature = -(height(0.5 + step) - 2 * height(0.5) + height(0.5 - step)) / step**2
    assert found == pytest.approx(curvature, rel=0.1)
    paths = 2 * 29 * len(x) * 0.5 / 1.0 + len(x) * 2  # Σ 2 h z²/T with ⟨z²⟩ = T/k = 1, and where sequences begin
    assert found < 0.7 * paths


@pytest.mark.filterwarnings("ignore:curvature:pyro_nld.DoubtfulFitWarning")
def test_widths_of_random_quantities_are_those_of_data_and_prior(learned):
    """With the landscape known, by differences of evidence and prior; with one to be learned, they are wider."""
    truth, fit = learned
    model, _ = pair(dist.LogNormal(0.0, 1.0), 0.3)
    model.dynamics.potential = truth
    widths, places = [], []
    for one in (model, copy.deepcopy(fit.model)):
        other = nld.AmortizedGuide(one, nld.GRUEncoder(1, size=16, hidden=16))
        nld.fit(one, other, (fit.times, fit.x), nld.Schedule(steps=40, exact=8), progress=False)
        widths.append(other.others.scales.friction.item())
        places.append(other.others.locs.friction.item())
    line = Lattice.line(model, {"friction": torch.ones(())}, -3.0, 3.0, 150)

    def height(log_friction):
        line.latents["friction"] = torch.tensor(log_friction).double().exp()
        return float(line.evidence(fit.times, fit.x).sum()) - 0.5 * log_friction**2

    curvature = -(height(places[0] + 0.03) - 2 * height(places[0]) + height(places[0] - 0.03)) / 0.03**2
    assert widths[0] == pytest.approx(curvature**-0.5, rel=0.1)
    assert widths[0] < widths[1] < 2 * widths[0]
