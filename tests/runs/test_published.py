"""Published checkpoints: read exactly, as a second reader says that knows nothing of this library, or refused.

The state dicts are made here, with the authors' keys and layout.
"""

import sys
import warnings

import numpy as np
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.nn.functional import softplus

import pyro_nld as nld

LATENT, CHANNELS, CONTEXT, HIDDEN = 2, 5, 6, 7
FEATURES, WIDTH = 4, 9
QUANTITIES = {"_beta": 0.3, "_gamma": 0.8, "_i_mass": 1.9}


class Energy(nn.Module):
    """The authors' network, in plain torch."""

    def __init__(self, inner):
        super().__init__()
        self.in_block = nn.Sequential(nn.Linear(LATENT, WIDTH), nn.CELU(), nn.Linear(WIDTH, FEATURES))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(FEATURES + LATENT, WIDTH), nn.Tanh(), nn.Linear(WIDTH, FEATURES))
            if inner
            else nn.Sequential(nn.Linear(FEATURES + LATENT, FEATURES), nn.Tanh())
            for _ in range(3)
        )
        self.out_block = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.CELU(), nn.Linear(WIDTH, 1))
        self._quadratic_term = nn.Parameter(torch.tensor(0.4))

    def forward(self, z):
        h = self.in_block(z)
        for block in self.blocks:
            h = h + block(torch.cat([h, z], -1))
        return self.out_block(h).squeeze(-1) + softplus(self._quadratic_term) * z.square().sum(-1)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(CHANNELS, HIDDEN, batch_first=True)
        self.lin = nn.Linear(HIDDEN, CONTEXT)


class Published(nn.Module):
    """All their modules under their names; `drift` is written down from the paper's eq. 16 and 18."""

    def __init__(self, overdamped, inner=True):
        super().__init__()
        state = LATENT if overdamped else 2 * LATENT
        self.overdamped = overdamped
        self.energy_landscape, self.encoder = Energy(inner), Encoder()
        self.qz0_net = nn.Linear(CONTEXT + CHANNELS, 2 * state)
        control = nn.Sequential(
            nn.Linear(state + CONTEXT + CHANNELS, HIDDEN), nn.Softplus(), nn.Linear(HIDDEN, HIDDEN), nn.Softplus(),
            nn.Linear(HIDDEN, LATENT),
        )  # fmt: skip
        self.add_module("f_net" if overdamped else "control_network", control)
        self.projector = nn.Linear(LATENT, CHANNELS)
        self.pz0_mean, self.pz0_logstd = nn.Parameter(torch.randn(1, state)), nn.Parameter(torch.randn(1, state))
        self._beta = nn.Parameter(torch.tensor(QUANTITIES["_beta"]))
        if overdamped:
            self.register_buffer("gamma", torch.tensor([[0.7, 1.6]]))
            self.register_buffer("_diffusion", torch.ones(1, LATENT))
        else:
            self._gamma = nn.Parameter(torch.full((1, LATENT), QUANTITIES["_gamma"]))
            self._i_mass = nn.Parameter(torch.full((1, LATENT), QUANTITIES["_i_mass"]))
            self.register_buffer("_fixed_diffusion", torch.ones(1, LATENT))

    def contexts(self, x):
        return torch.cat([self.encoder.lin(self.encoder.gru(x)[0]), x], -1)

    def slope(self, q):
        leaf = q.detach().requires_grad_()
        return torch.autograd.grad(self.energy_landscape(leaf).sum(), leaf)[0]

    def drift(self, z, context):
        """The posterior's, at states `(…, state)` on their way to the observation that has this context."""
        if self.overdamped:
            return -self.slope(z) / self.gamma + self.f_net(torch.cat([z, context], -1))
        q, p = z.chunk(2, -1)
        velocity = softplus(self._i_mass) * p
        push = self.control_network(torch.cat([z, context], -1))
        return torch.cat([velocity, -self.slope(q) - softplus(self._gamma) * velocity + push], -1)


@pytest.fixture(params=["overdamped", "underdamped"])
def theirs(request):
    torch.manual_seed(5)
    return Published(request.param == "overdamped")


def written(tmp_path, state):
    path = tmp_path / "model.pt"
    torch.save(state, path)
    return path


def series(sequences=3, length=6):
    return torch.arange(float(length)), torch.randn(sequences, length, CHANNELS)


def posterior(model, guide, times, x):
    """The guide's path law and a path of it, with its start in front."""
    sites = poutine.trace(guide).get_trace(times, x).nodes
    return sites["z"]["fn"], torch.cat([sites["z0"]["value"].unsqueeze(-2), sites["z"]["value"]], -2), sites["z0"]["fn"]


def drift_of(path, origins):
    """From a force to a drift, by hand."""
    force, dynamics = path.force(origins), path.dynamics
    if dynamics.state == LATENT:
        return force / dynamics.friction
    velocity = origins[..., LATENT:] / dynamics.mass
    return torch.cat([velocity, force - dynamics.friction * velocity], -1)


@pytest.mark.parametrize("substeps", [1, 3])
def test_the_posterior_drift_is_theirs(theirs, tmp_path, substeps):
    model, guide = nld.published.load(written(tmp_path, theirs.state_dict()), substeps=substeps)
    times, x = series()
    path, z, _ = posterior(model, guide, times, x)
    context = theirs.contexts(x)[:, 1:].repeat_interleave(substeps, 1)
    torch.testing.assert_close(drift_of(path, z[:, :-1]), theirs.drift(z[:, :-1], context))
    earlier = theirs.contexts(x)[:, :-1].repeat_interleave(substeps, 1)
    assert not torch.allclose(drift_of(path, z[:, :-1]), theirs.drift(z[:, :-1], earlier), atol=1e-3)


def test_start_noise_and_decoder_are_theirs(theirs, tmp_path):
    model, guide = nld.published.load(written(tmp_path, theirs.state_dict()))
    times, x = series()
    _, z, first = posterior(model, guide, times, x)
    loc, log_scale = theirs.qz0_net(theirs.contexts(x)[:, 0]).chunk(2, -1)
    torch.testing.assert_close(first.base_dist.loc, loc)
    torch.testing.assert_close(first.base_dist.scale, log_scale.exp())
    torch.testing.assert_close(model.initial_loc, theirs.pz0_mean[0, :LATENT])
    torch.testing.assert_close(model.initial_scale, theirs.pz0_logstd[0, :LATENT].exp())
    friction = theirs.gamma if theirs.overdamped else softplus(theirs._gamma)
    spread = 2 / softplus(theirs._beta) * (1 / friction if theirs.overdamped else friction)
    torch.testing.assert_close(model.dynamics.diffusion(z)[0, 0, -LATENT:], spread.sqrt()[0])
    assert float(model.time_unit) == pytest.approx(10.0)
    likelihood = model.likelihood(z[..., :LATENT])
    torch.testing.assert_close(likelihood.loc, theirs.projector(z[..., :LATENT]))
    assert float(likelihood.scale.min()) == float(likelihood.scale.max()) == 0.5


@pytest.mark.parametrize("inner", [True, False])
def test_the_landscape_is_theirs(tmp_path, inner):
    theirs = Published(True, inner)
    model, _ = nld.published.load(written(tmp_path, theirs.state_dict()))
    q = torch.randn(20, LATENT)
    torch.testing.assert_close(model.dynamics.potential(q), theirs.energy_landscape(q))
    torch.testing.assert_close(model.dynamics.potential.gradient(q), theirs.slope(q))


def test_an_encoder_that_ran_backward_sees_the_future_alone(tmp_path):
    theirs = Published(True)
    _, guide = nld.published.load(written(tmp_path, theirs.state_dict()), online=False)
    assert not guide.encoder.causal
    times, x = series()
    expected = torch.cat([theirs.encoder.lin(theirs.encoder.gru(x.flip(1))[0]).flip(1), x], -1)
    valid = torch.ones(x.shape[:2], dtype=torch.bool)
    torch.testing.assert_close(guide.encoder(x, times.diff().expand(3, -1), valid), expected)
    valid[1, 4:] = False  # a shorter sequence is read as if it were alone
    short = guide.encoder(x[1:2, :4], times.diff()[:3].expand(1, -1), valid[1:2, :4])
    torch.testing.assert_close(guide.encoder(x, times.diff().expand(3, -1), valid)[1, :4], short[0])


def test_what_was_not_learned_is_stored_as_it_is(tmp_path):
    path = written(tmp_path, Published(False).state_dict())
    fixed = nld.published.load(path, learned=())[0].dynamics
    assert fixed.temperature.item() == pytest.approx(1 / QUANTITIES["_beta"])
    assert not list(fixed.named_parameters(recurse=False))
    learned = nld.published.load(path)[0].dynamics
    assert learned.temperature.item() == pytest.approx(1 / np.log1p(np.exp(QUANTITIES["_beta"])))
    np.testing.assert_allclose(learned.mass.detach(), 1 / np.log1p(np.exp(QUANTITIES["_i_mass"])), rtol=1e-6)
    with pytest.raises(nld.CheckpointError, match="learned names _beta, _gamma, _i_mass: got beta"):
        nld.published.load(path, learned=("beta",))


@pytest.mark.parametrize(("overdamped", "confinement"), [(True, 4.0), (False, 20.0)])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # one well has nothing to mix
def test_a_loaded_model_is_read_like_any_other(tmp_path, monkeypatch, overdamped, confinement):
    """Landscape, kinetics and segmentation; stiff enough, it gets the warning that published models deserve."""
    monkeypatch.setattr(sys.modules["pyro_nld.results.fit"], "CHAINS", 40)
    monkeypatch.setattr(sys.modules["pyro_nld.kinetics.routes"], "LOOKS", (50, 100))
    state = Published(overdamped).state_dict() | {"energy_landscape._quadratic_term": torch.tensor(confinement)}
    fit = nld.Fit(*nld.published.load(written(tmp_path, state)), *series(20, 30))
    with pytest.warns(nld.DoubtfulFitWarning, match=r"curvature × step is .* Use substeps="):
        landscape = fit.landscape() if overdamped else fit.wells()
    assert 0.2 < landscape.attrs["max_curvature_step"] < 2
    assert not overdamped or {"simulated", "counted", "eyring_kramers"} <= set(landscape["route"].values)
    segments = nld.segment(fit, wells=landscape, online=True, draws=3)
    assert segments.attrs["online"]
    assert np.isfinite(fit.elbo()["total"])
    assert landscape.attrs["time_unit"] == pytest.approx(10.0)  # ten observations


def test_it_can_be_fitted_on(tmp_path):
    model, guide = nld.published.load(written(tmp_path, Published(True).state_dict()))
    before = model.dynamics.temperature.item()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nld.DoubtfulFitWarning)
        nld.fit(model, guide, series(20, 30), nld.Schedule(steps=3, batch_size=8), progress=False)
    assert model.dynamics.temperature.item() != before
    assert not bool(guide.encoder.loc.any())  # still in the data's own units


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


def altered(state, **changes):
    return {key: value for key, value in (state | changes).items() if value is not None}


WRONG = {
    "a key is absent": (
        {"encoder.lin.bias": None},
        r"encoder\.lin\.bias must be a tensor: got nothing",
    ),
    "a shape is wrong": (
        {"encoder.lin.bias": torch.zeros(3)},
        r"encoder\.lin\.bias must be \(6,\): got \(3,\)",
    ),
    "the encoder does not fit the control": (
        {"encoder.lin.weight": torch.zeros(9, HIDDEN), "encoder.lin.bias": torch.zeros(9)},
        r"f_net\.0\.weight must be \(7, 16\): got \(7, 13\)",
    ),
    "no axes": ({"projector.weight": torch.zeros(3)}, r"projector\.weight must be a tensor with 2 axes"),
    "empty": ({"projector.weight": torch.zeros(0, 2)}, r"projector\.weight must be .* empty: got \(0, 2\)"),
    "not finite": ({"pz0_mean": torch.tensor([[0.0, torch.nan]])}, r"pz0_mean must be finite .* nan at \(0, 1\)"),
    "integers": ({"pz0_mean": torch.zeros(1, 2, dtype=torch.int64)}, r"pz0_mean must be .* got torch\.int64"),
    "no tensor": ({"pz0_mean": [0.0, 0.0]}, "pz0_mean must be a tensor of real numbers: got list"),
    "not positive": ({"gamma": torch.tensor([[1.0, -1.0]])}, r"gamma must be positive: got \[1\.0, -1\.0\]"),
    "a bounded control": ({"f_net.5.p": torch.ones(())}, r"f_net\.5\.p is no part of a published model"),
    "another model": ({"h_net.in_block.0.weight": torch.ones(1, 1)}, r"h_net\.in_block\.0\.weight is no part"),
    "a block too many": (
        {"energy_landscape.blocks.7.0.weight": torch.ones(1, 1)},
        r"energy_landscape\.blocks\.7\.0\.weight is no part",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=list(WRONG))
def test_what_does_not_fit_is_refused(tmp_path, case):
    changes, message = WRONG[case]
    path = written(tmp_path, altered(Published(True).state_dict(), **changes))
    with pytest.raises(nld.CheckpointError, match=r"^model\.pt: " + message):
        nld.published.load(path)


def test_what_is_hostile_is_never_executed(tmp_path, capsys):
    for content in (Hostile(), {"pz0_mean": Hostile()}, [1, 2]):
        with pytest.raises(nld.CheckpointError, match=r"^model\.pt .*state dict"):
            nld.published.load(written(tmp_path, content))
    (tmp_path / "noise.pt").write_bytes(b"\x80no checkpoint")
    with pytest.raises(nld.CheckpointError, match=r"^noise\.pt is no checkpoint"):
        nld.published.load(tmp_path / "noise.pt")
    assert capsys.readouterr().out == ""
