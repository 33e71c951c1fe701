"""Samplers: moments of Gaussians, a double well by quadrature, weights of wells beyond barriers, broken versions."""

import math
from functools import partial

import arviz as az
import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import quad
from torch.distributions import MultivariateNormal

import pyro_nld as nld
from pyro_nld.errors import FitError, PriorError, ShapeError
from pyro_nld.landscape import samplers
from pyro_nld.landscape.samplers import Mixture, hmc, mala

CENTRE = torch.tensor([1.0, -2.0, 0.5])
STIFFNESS = torch.tensor([[4.0, 1.0, 0.0], [1.0, 1.0, 0.2], [0.0, 0.2, 0.1]])
GAUSSIAN = nld.Quadratic(STIFFNESS, CENTRE)
WELLS = nld.GaussianWells([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]], [0.6, 0.3, 0.1], [0.5, 0.7, 0.6])
BOTH = pytest.mark.parametrize("sampler", [mala, hmc])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ess(values: xr.DataArray) -> np.ndarray:
    return az.ess(values.to_dataset(name="f"))["f"].values


def errors(values: xr.DataArray, exact) -> np.ndarray:
    """How far the mean over chains and draws is from the truth, in Monte-Carlo standard errors."""
    mean, sd = values.mean(("chain", "draw")).values, values.std(("chain", "draw")).values
    return np.abs(mean - exact) / (sd / np.sqrt(ess(values)))


def worst_moment(run: xr.Dataset, temperature: float = 1.0) -> float:
    """The worst of all first and second moments of the Gaussian T K⁻¹, in standard errors."""
    offset = run["position"] - CENTRE.double().numpy()
    squares = offset * offset.rename(latent="other")
    covariance = temperature * np.linalg.inv(STIFFNESS.double().numpy())
    exact = xr.DataArray(covariance, dims=("latent", "other")).transpose(*squares.dims[2:])
    return max(errors(offset, 0.0).max(), errors(squares, exact.values).max())


def shares(run: xr.Dataset) -> xr.DataArray:
    """Which well a draw belongs to, `(chain, draw, state)`."""
    distance = np.linalg.norm(run["position"].values[..., None, :] - WELLS.centres.numpy(), axis=-1)
    return xr.DataArray(np.eye(3)[distance.argmin(-1)], dims=("chain", "draw", "state"))


def harmonic(weights=(1.0, 1.0, 1.0)) -> Mixture:
    return Mixture(torch.tensor(weights), WELLS.centres, 0.36 * torch.eye(2).expand(3, 2, 2))


def in_wells(chains_per_well):
    return WELLS.centres.repeat(chains_per_well, 1) + 0.5 * normal(3 * chains_per_well, 2)


# Moments


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@BOTH
def test_moments_of_a_gaussian(sampler, temperature):
    run = sampler(GAUSSIAN, CENTRE + normal(20, 3), temperature=temperature, draws=800, warmup=300)
    assert worst_moment(run, temperature) < 5
    assert run.attrs["temperature"] == temperature


@pytest.mark.parametrize(("leaps", "persistence"), [(1, 0.9), (3, 0.0), (8, 0.8)])
def test_moments_at_other_settings(leaps, persistence):
    run = hmc(GAUSSIAN, CENTRE + normal(20, 3), leaps=leaps, persistence=persistence, warmup=300)
    assert worst_moment(run) < 5


def always(chains, stay, go, log_ratio):
    chains.state = go
    return log_ratio.clamp(max=0).exp()


def never_turning(chains, stay, go, log_ratio, choose=samplers._Chains._choose):
    return choose(chains, stay._replace(momentum=-stay.momentum), go, log_ratio)


def test_whoever_accepts_everything_is_seen(monkeypatch):
    monkeypatch.setattr(samplers._Chains, "_choose", always)
    assert worst_moment(mala(GAUSSIAN, CENTRE + normal(20, 3))) > 10


def worst_after_one_move() -> float:
    """The worst of E[o p] and E[p²] − 1, o = z − m, in standard errors, after one move of exact draws of z and p."""
    starts = CENTRE.double() + normal(100_000, 3).double() @ torch.linalg.cholesky(STIFFNESS.double().inverse()).T
    chains = samplers._Chains(GAUSSIAN, starts, 1.0, 1, 0.9, None, 0)
    chance = chains._move(1.0)
    assert 0.3 < float(chance.mean()) < 0.9
    offset, p = chains.state.position - CENTRE, chains.state.momentum
    zero = torch.cat([(offset.unsqueeze(-1) * p.unsqueeze(-2)).flatten(1), p.square() - 1], -1)
    return float((zero.mean(0) / zero.std(0)).abs().max()) * math.sqrt(len(starts))


def test_a_move_leaves_positions_and_momenta_independent(monkeypatch):
    """Who is rejected and does not turn round breaks that: momenta would point away from the centre."""
    assert worst_after_one_move() < 5
    monkeypatch.setattr(samplers._Chains, "_choose", never_turning)
    assert worst_after_one_move() > 20


def test_one_leap_is_mala(monkeypatch):
    """The energy error of a leap is the ratio of densities of proposals written out."""
    seen = []
    monkeypatch.setattr(samplers._Chains, "_choose", lambda chains, *move: seen.append(move) or move[-1])
    starts = CENTRE + normal(20, 3)
    samplers._Chains(GAUSSIAN, starts, 2.0, 1, 0.0, None, 0)._move(1.5)
    ((stay, go, log_ratio),) = seen
    old, new, scale = stay.position, go.position, 1.5 * starts.double().std(0, correction=0)
    exact = nld.Quadratic(STIFFNESS, CENTRE).double()

    def log_proposal(there, here):
        drift = -0.5 * scale**2 * exact.gradient(here) / 2.0
        return MultivariateNormal(here + drift, scale_tril=scale.diag()).log_prob(there)

    written = (exact(old) - exact(new)) / 2.0 + log_proposal(old, new) - log_proposal(new, old)
    torch.testing.assert_close(log_ratio, written)


@BOTH
def test_a_tilted_double_well_by_quadrature(sampler):
    potential, temperature = nld.Tilted(nld.DoubleWell(barrier=2.0), [0.9]), 1.5

    def integral(f):
        return quad(lambda z: f(z) * math.exp(-(2 * (z**2 - 1) ** 2 + 0.9 * z) / temperature), -4, 4)[0]

    norm = integral(lambda z: 1.0)
    run = sampler(potential, normal(40, 1), temperature=temperature, draws=700, warmup=300)
    z = run["position"].isel(latent=0)
    right = integral(lambda z: float(z > 0)) / norm
    assert 0.2 < right < 0.3
    assert errors((z > 0).astype(float), right) < 5
    assert errors(z, integral(lambda z: z) / norm) < 5
    assert errors(z**2, integral(lambda z: z * z) / norm) < 5
    assert errors((z > 0).astype(float), 0.5) > 10


def test_a_network_is_sampled_in_float64():
    """U of a network by quadrature; the network itself stays in float32."""
    torch.manual_seed(3)
    network = nld.NeuralPotential(1)
    run = mala(network, normal(20, 1), warmup=300)
    grid = torch.linspace(-8, 8, 4001).unsqueeze(-1)
    density = torch.exp(-network(grid).detach()).double().numpy()
    exact = (density * grid.squeeze(-1).numpy()).sum() / density.sum()
    assert errors(run["position"], exact).item() < 5
    assert run["position"].dtype == np.float64
    assert next(network.parameters()).dtype == torch.float32


# Jumps


@BOTH
def test_jumps_recover_the_weights(sampler):
    run = sampler(WELLS, in_wells(8), draws=400, warmup=200, jumps=harmonic())
    assert errors(shares(run), WELLS.weights.double().numpy()).max() < 5
    assert float(run["jump_acceptance"].min()) > 0.2
    assert float(az.rhat(run[["position"]])["position"].max()) < 1.05


@BOTH
def test_chains_stay_in_their_wells_without_jumps(sampler):
    starts = in_wells(4)
    run = sampler(WELLS, starts, draws=200, warmup=200)
    home = torch.cdist(starts, WELLS.centres).argmin(1).numpy()
    np.testing.assert_array_equal(shares(run).mean("draw"), np.eye(3)[home])
    assert float(az.rhat(run[["position"]], method="split")["position"].max()) > 5
    assert run["jump_acceptance"].isnull().all()


def test_jumps_that_forget_their_own_density_are_seen(monkeypatch):
    monkeypatch.setattr(samplers.MultivariateNormal, "log_prob", lambda self, z: z.sum(-1).expand(-1, 3) * 0.0)
    run = mala(WELLS, in_wells(8), draws=400, warmup=200, jumps=harmonic((8.0, 1.0, 1.0)))
    assert errors(shares(run), WELLS.weights.double().numpy()).max() > 10


@pytest.mark.parametrize("weights", [(8.0, 1.0, 1.0), (0.1, 0.1, 0.8)])
def test_weights_of_the_proposal_leave_no_trace(weights):
    run = mala(WELLS, in_wells(8), draws=400, warmup=200, jumps=harmonic(weights))
    assert errors(shares(run), WELLS.weights.double().numpy()).max() < 5


def test_jumps_from_the_target_itself_are_always_accepted():
    spread = WELLS.widths.square().view(3, 1, 1) * torch.eye(2)
    run = mala(WELLS, in_wells(4), draws=50, jumps=Mixture(WELLS.weights, WELLS.centres, spread))
    np.testing.assert_allclose(run["jump_acceptance"], 1.0, atol=1e-5)


# Health


@pytest.mark.parametrize(("sampler", "goal"), [(mala, 0.57), (hmc, 0.8)])
@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_the_step_reaches_its_goal_in_any_unit(sampler, goal, unit):
    """In units of a thousandth and of ten thousand, from starts far narrower than the target."""
    potential = nld.Quadratic(STIFFNESS / unit**2, CENTRE * unit)
    acceptance = sampler(potential, unit * (CENTRE + 0.1 * normal(20, 3)), draws=300)["acceptance"]
    # Robbins–Monro's last gains are 125^-0.6 = 0.06, on means of 20 chances with sd < 0.5; of those, the mean is taken.
    assert float(acceptance.mean()) == pytest.approx(goal, abs=0.03)


@pytest.mark.parametrize(("sampler", "share"), [(mala, 0.05), (hmc, 0.2)])
def test_a_healthy_run(sampler, share):
    spread = STIFFNESS.inverse().diagonal().sqrt()
    run = sampler(GAUSSIAN, CENTRE + spread * normal(20, 3), draws=1000)
    assert float(az.rhat(run[["position"]])["position"].max()) < 1.05
    assert ess(run["position"]).min() > share * 20 * 1000


def test_energies_and_temperature_count_by_their_ratio_alone():
    hot = mala(nld.Quadratic(4 * STIFFNESS, CENTRE), starts := CENTRE + normal(5, 3), temperature=4.0, draws=50)
    xr.testing.assert_allclose(hot["position"], mala(GAUSSIAN, starts, draws=50)["position"])


def test_trajectories_of_one_length_are_seen(monkeypatch):
    """On twenty axes, all trajectories of one length swing from side to side and hardly change |z|."""
    potential = nld.Quadratic(torch.logspace(0, 1.7, 20))
    starts = normal(16, 20) * torch.logspace(0, -0.85, 20)

    def squares():
        return ess(hmc(potential, starts, warmup=300)["position"] ** 2).min() / 8_000

    drawn = squares()
    monkeypatch.setattr(samplers, "JITTER", 0.0)
    assert drawn > 0.1
    assert squares() < 0.03


@BOTH
def test_a_seed_gives_the_run_and_leaves_the_callers_random_state(sampler):
    starts = CENTRE + normal(4, 3)
    before = torch.get_rng_state()
    runs = [sampler(GAUSSIAN, starts, draws=20, warmup=20, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    xr.testing.assert_identical(runs[0], runs[1])
    assert not np.allclose(runs[0]["position"], runs[2]["position"])


@BOTH
def test_results_are_labelled_and_any_callable_will_do(sampler):
    run = sampler(lambda z: 0.5 * z.square().sum(-1), torch.zeros(2, 3), draws=7, warmup=3)
    assert run["position"].dims == ("chain", "draw", "latent")
    assert run.sizes == {"chain": 2, "draw": 7, "latent": 3}
    assert run["acceptance"].dims == run["jump_acceptance"].dims == ("chain",)
    assert run.attrs.keys() == {"step", "temperature"}


def test_who_starts_on_a_wall_comes_down(monkeypatch):
    """At 60 kT on a quartic wall, the step that suits all others is never accepted."""
    starts = torch.cat([normal(19, 1).clamp(-1.5, 1.5), torch.tensor([[2.5]])])
    assert float(mala(nld.DoubleWell(barrier=2.0), starts)["acceptance"].min()) > 0.3
    monkeypatch.setattr(samplers, "START", 1.0)
    assert float(mala(nld.DoubleWell(barrier=2.0), starts)["acceptance"].min()) < 0.01


def test_scale_is_the_spread_of_the_starts():
    starts = torch.tensor([[1.0, 5.0, 0.0], [3.0, 5.0, 6.0]]).double()
    assert samplers._scale(starts).tolist() == [1.0, 2.0, 3.0]
    assert samplers._scale(starts[:1]).tolist() == [1.0, 1.0, 1.0]


def test_nobody_goes_where_the_energy_is_no_number():
    run = mala(lambda z: 0.5 * z.square().sum(-1) + 0 * z.log().sum(-1), normal(20, 1).abs(), warmup=300)
    assert float(run["position"].min()) > 0
    assert errors(run["position"], math.sqrt(2 / math.pi)).item() < 5


# What is refused


def flat(z):
    return z.square().sum(-1)


def eye(states, latent):
    return torch.eye(latent).expand(states, latent, latent)


TWO, POINTS = torch.ones(2), torch.zeros(3, 2)
REFUSED = {
    "one point": (
        partial(mala, flat, torch.zeros(2)),
        ShapeError,
        "starts must be (chain, latent), not empty: got (2,). Reshape them.",
    ),
    "no point": (
        partial(hmc, flat, torch.zeros(0, 2)),
        ShapeError,
        "starts must be (chain, latent), not empty: got (0, 2). Reshape them.",
    ),
    "cold": (
        partial(mala, flat, POINTS, temperature=0.0),
        PriorError,
        "temperature must be positive and finite: got 0.0. Give it in the unit of U.",
    ),
    "lost": (
        partial(hmc, flat, torch.tensor([[0.0], [torch.inf]])),
        FitError,
        "every chain must start at a finite energy: chain 1 starts at inf. Drop that start, or move it.",
    ),
    "settings": (
        partial(hmc, flat, POINTS, persistence=1.0),
        FitError,
        "draws and leaps must be ≥ 1, warmup ≥ 0, persistence in [0, 1): got 500, 5, 500 and 1.0. Try the defaults.",
    ),
    "stuck": (
        partial(mala, lambda z: 1e8 * z.square().sum(-1), normal(5, 2), warmup=0),
        FitError,
        "chains accept 0.00% of their moves: no sample. Give more warmup, or starts near minima.",
    ),
    "jumps elsewhere": (
        partial(mala, flat, POINTS, jumps=Mixture(TWO, torch.zeros(2, 3), eye(2, 3))),
        ShapeError,
        "jumps need means (2, 2) and covariances (2, 2, 2): got (2, 3) and (2, 3, 3). Match the weights.",
    ),
    "a saddle": (
        partial(mala, flat, POINTS, jumps=Mixture(TWO, torch.zeros(2, 2), torch.stack([eye(1, 2)[0], -eye(1, 2)[0]]))),
        PriorError,
        "covariances of jumps must be positive definite: that of state 1 is not. Drop it.",
    ),
}


@pytest.mark.parametrize(("call", "error", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_said(call, error, sentence):
    with pytest.raises(error) as refusal:
        call()
    assert str(refusal.value) == sentence
