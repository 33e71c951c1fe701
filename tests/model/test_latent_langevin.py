"""The model: its sites, its joint density, its units, and every tool of Pyro it has to work with."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, Importance, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroSample
from pyro.optim import Adam
from torch import nn

import pyro_nld as nld
from pyro_nld.nn import condition_on

TIMES = torch.tensor([0.0, 0.3, 0.5, 1.1])
SEQUENCES, SUBSTEPS, CHANNELS = 3, 2, 4
DYNAMICS = {
    "overdamped": lambda **given: nld.OverdampedLangevin(nld.DoubleWell(barrier=0.3, latent=2), **given),
    "underdamped": lambda **given: nld.UnderdampedLangevin(nld.DoubleWell(barrier=0.3, latent=2), **given),
}
CONTROLS = {"affine": nld.AffineControl, "neural": lambda: nld.NeuralControl(hidden=8)}
ALL = {"temperature": dist.LogNormal(0.0, 0.2), "friction": dist.Gamma(20.0, 20.0)}


@pytest.fixture(params=DYNAMICS, ids=list(DYNAMICS))
def make(request):
    return DYNAMICS[request.param]


def build(make, noise=0.3, **given):
    return nld.LatentLangevin(make(**given), nld.Gaussian(nld.LinearDecoder(2, CHANNELS), noise), substeps=SUBSTEPS)


def amortised(model, control="affine"):
    return nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6, hidden=6), CONTROLS[control]())


def observations(sequences=SEQUENCES):
    return torch.randn(sequences, len(TIMES), CHANNELS, generator=torch.Generator().manual_seed(2))


# ---------------------------------------------------------------- sites


def test_sites_shapes_plates_and_names_of_axes(make):
    model = build(make, **ALL, noise=dist.LogNormal(-1.0, 0.1))
    trace = poutine.trace(model).get_trace(TIMES, observations())
    state, steps = model.dynamics.state, SUBSTEPS * (len(TIMES) - 1)
    shapes = {"z0": (state,), "z": (steps, state), "x": (len(TIMES), CHANNELS)}
    axes = {"z0": ["latent"], "z": ["time", "latent"], "x": ["time", "channel"]}
    for name, shape in shapes.items():
        site = trace.nodes[name]
        assert site["value"].shape == (SEQUENCES, *shape)
        assert site["fn"].batch_shape == (SEQUENCES,)
        assert site["fn"].event_shape == shape
        assert site["infer"]["event_dims"] == axes[name]
        assert [frame.name for frame in site["cond_indep_stack"]] == ["sequence"]
    for name in ("temperature", "friction", "noise_scale"):
        assert trace.nodes[name]["value"].shape == ()
        assert trace.nodes[name]["cond_indep_stack"] == ()
    assert [name for name, site in trace.nodes.items() if site.get("is_observed")] == ["x"]


def test_positions_at_the_observations_are_every_so_many_steps(make):
    model = build(make)
    state = model.dynamics.state
    z0, z = torch.full((1, state), -1.0), torch.arange(6.0).view(1, 6, 1).expand(1, 6, state)
    assert model.observed_positions(z0, z)[0].tolist() == [[-1.0] * 2, [1.0] * 2, [3.0] * 2, [5.0] * 2]


def test_the_joint_density_is_the_product_of_its_parts(make):
    """Path by hand, with the scheme's own formulas, from the draws of the model."""
    model = nld.LatentLangevin(
        make(temperature=0.7, friction=1.3), nld.Gaussian(nld.IdentityDecoder(2), 0.3), substeps=2, time_unit=1.0
    )
    x = torch.randn(SEQUENCES, len(TIMES), 2)
    trace = poutine.trace(model).get_trace(TIMES, x)
    z0, z = trace.nodes["z0"]["value"], trace.nodes["z"]["value"]
    before, h = torch.cat([z0.unsqueeze(1), z[:, :-1]], 1), (TIMES.diff() / 2).repeat_interleave(2).unsqueeze(-1)
    force = -nld.DoubleWell(barrier=0.3, latent=2).gradient(before[..., :2])
    if model.dynamics.state == 2:
        steps = dist.Normal(before + h / 1.3 * force, (2 * 0.7 * h / 1.3).sqrt()).log_prob(z)
    else:
        decay = torch.exp(-1.3 * h)
        weight = (1 - decay) / (1.3 * h)
        mean = decay * before[..., 2:] + weight * h * force
        steps = dist.Normal(mean, (2 * 0.7 * weight * (1 - decay)).sqrt()).log_prob(z[..., 2:])
        torch.testing.assert_close(z[..., :2], before[..., :2] + h * z[..., 2:])
    start = torch.cat([torch.ones(2), torch.full((model.dynamics.state - 2,), math.sqrt(0.7))])
    q = torch.cat([z0[:, None, :2], z[:, 1::2, :2]], 1)
    expected = dist.Normal(0.0, start).log_prob(z0).sum() + steps.sum() + dist.Normal(q, 0.3).log_prob(x).sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)


# ---------------------------------------------------------------- time and units


def test_the_unit_of_time_comes_from_the_first_data_and_stays():
    model = build(DYNAMICS["overdamped"])
    model(TIMES, observations())
    assert float(model.time_unit) == pytest.approx(3.0)  # ten median intervals
    model(2 * TIMES, 50 * observations())
    assert float(model.time_unit) == pytest.approx(3.0)
    assert bool((model.likelihood.decoder.scale < 10).all())


def test_a_look_at_the_prior_takes_no_units():
    model = build(DYNAMICS["overdamped"])
    once = model.batch(TIMES.unsqueeze(0)).gaps
    model(TIMES)
    assert math.isnan(model.time_unit)
    torch.testing.assert_close(once, TIMES.diff().unsqueeze(0) / 3.0)  # for the look itself, ten median intervals


def test_a_given_unit_of_time_is_kept():
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(nld.IdentityDecoder(1)), substeps=2, time_unit=2.0
    )
    batch = model.batch(TIMES.unsqueeze(0))
    torch.testing.assert_close(batch.gaps[0], TIMES.diff() / 2)
    torch.testing.assert_close(batch.grid.h[0, :, 0], (TIMES.diff() / 4).repeat_interleave(2))


@pytest.mark.parametrize("unit", [60.0, 0.001])
def test_the_users_unit_of_time_does_not_matter(make, unit, seed):
    def score(times):
        torch.manual_seed(seed)
        return poutine.trace(build(make, **ALL)).get_trace(times, observations()).log_prob_sum()

    torch.testing.assert_close(score(unit * TIMES), score(TIMES), rtol=1e-4, atol=1e-3)


def test_times_of_each_sequence_are_its_own(make):
    model = build(make)
    rows = torch.stack([TIMES, 2 * TIMES, TIMES + 5.0])
    with torch.no_grad():
        model(TIMES, observations())
    trace = poutine.trace(model).get_trace(rows, observations())
    h = trace.nodes["z"]["fn"].grid.h
    torch.testing.assert_close(h[1], 2 * h[0])
    torch.testing.assert_close(h[2], h[0], rtol=1e-5, atol=1e-6)


def test_nothing_after_the_end_of_a_sequence_counts(make):
    model = build(make)
    rows = TIMES.repeat(2, 1)
    rows[1, 2:] = math.nan
    x = observations(2)
    x[1, 2:] = math.nan
    trace = poutine.trace(model).get_trace(rows, x)
    before = trace.log_prob_sum()
    changed = trace.nodes["z"]["value"].clone()
    changed[1, SUBSTEPS:] += 3.0
    latents = {"z": changed, "z0": trace.nodes["z0"]["value"]}
    torch.testing.assert_close(
        poutine.trace(poutine.condition(model, latents)).get_trace(rows, x).log_prob_sum(), before
    )


# ---------------------------------------------------------------- Pyro's handlers


def test_condition_reaches_the_path(make):
    model = poutine.condition(build(make, **ALL), {"temperature": torch.tensor(2.0)})
    trace = poutine.trace(model).get_trace(TIMES, observations())
    assert trace.nodes["temperature"]["is_observed"]
    assert float(trace.nodes["z"]["fn"].latents["temperature"]) == 2.0
    assert noise_of_steps(trace) == pytest.approx(
        2 * noise_of_steps(poutine.trace(build(make, temperature=0.5)).get_trace(TIMES, observations())), rel=1e-5
    )


def noise_of_steps(trace):
    """The noise of a path's first step at friction 1."""
    path = trace.nodes["z"]["fn"]
    with condition_on(path.dynamics, path.latents | {"friction": torch.tensor(1.0)}):
        return float(path.transitions(trace.nodes["z"]["value"]).scale[0, 0, 0])


def test_conditioning_on_the_data_is_observing_them(make):
    model = build(make)
    rows, x = TIMES.expand(SEQUENCES, -1), observations()
    model(rows, x)
    pyro.set_rng_seed(0)
    observed = poutine.trace(model).get_trace(rows, x).log_prob_sum()
    pyro.set_rng_seed(0)
    trace = poutine.trace(poutine.condition(model, {"x": x})).get_trace(rows)
    assert trace.nodes["x"]["is_observed"]
    torch.testing.assert_close(trace.log_prob_sum(), observed)


def test_do_cuts_the_prior_off(make):
    trace = poutine.trace(poutine.do(build(make, **ALL), {"temperature": torch.tensor(2.0)})).get_trace(TIMES)
    assert float(trace.nodes["z"]["fn"].latents["temperature"]) == 2.0
    assert float(trace.nodes["temperature"]["value"]) != 2.0  # the prior still draws, and nothing listens


def test_do_moves_the_path(make):
    steps = SUBSTEPS * (len(TIMES) - 1)
    z = torch.linspace(0, 1, steps).view(1, steps, 1).expand(1, steps, make().state)
    model = build(make)
    mean = poutine.trace(poutine.do(model, {"z": z})).get_trace(TIMES).nodes["x"]["fn"].base_dist.base_dist.loc
    torch.testing.assert_close(mean[0, 1:], model.likelihood.decoder(z[0, SUBSTEPS - 1 :: SUBSTEPS, :2]))


def test_scale_and_mask_multiply_and_remove(make):
    model, x = build(make), observations()
    model(TIMES, x)

    def score(handled):
        pyro.set_rng_seed(0)
        trace = poutine.trace(handled).get_trace(TIMES, x)
        trace.compute_log_prob()
        return torch.stack([trace.nodes[name]["log_prob"] for name in ("z0", "z", "x")])

    plain, keep = score(model), torch.tensor([True, False, True])
    torch.testing.assert_close(score(poutine.scale(model, scale=0.25)), 0.25 * plain)
    torch.testing.assert_close(score(poutine.mask(model, mask=keep)), torch.where(keep, plain, 0.0))


@pytest.mark.parametrize("size", [2, 3, None])
def test_the_plate_scales_a_subsample_and_the_rest_is_not_scaled(make, size):
    model = build(make, **ALL)
    trace = poutine.trace(model).get_trace(TIMES, observations(6), size)
    assert trace.nodes["x"]["value"].shape[0] == (size or 6)
    for name in ("z0", "z", "x"):
        assert float(trace.nodes[name]["scale"]) == 6 / (size or 6)
    assert float(trace.nodes["temperature"]["scale"]) == 1.0


def test_a_subsample_holds_the_rows_it_says():
    model = build(DYNAMICS["overdamped"])
    x, rows = observations(6), TIMES * torch.arange(1.0, 7.0).unsqueeze(-1)
    trace = poutine.trace(model).get_trace(rows, x, 2)
    index = trace.nodes["sequence"]["value"]
    torch.testing.assert_close(trace.nodes["x"]["value"], x[index])
    torch.testing.assert_close(trace.nodes["z"]["fn"].grid.h, model.batch(rows[index]).grid.h)


# ---------------------------------------------------------------- Pyro's inference


@pytest.mark.parametrize("parallel", [False, True])
def test_prior_predictive(make, parallel):
    model = build(make, **ALL, noise=dist.LogNormal(-1.0, 0.1))
    drawn = Predictive(model, num_samples=5, parallel=parallel)(TIMES.expand(SEQUENCES, -1))
    assert drawn["x"].shape == (5, SEQUENCES, len(TIMES), CHANNELS)
    assert drawn["z"].shape == (5, SEQUENCES, SUBSTEPS * (len(TIMES) - 1), model.dynamics.state)
    assert drawn["temperature"].flatten().shape == (5,)
    assert len(drawn["temperature"].unique()) == 5


def test_prior_predictive_has_the_moments_of_the_chain(seed):
    """One linear step after another: E x_k = aᵏ m, and its variance, 5 standard errors."""
    pyro.set_rng_seed(seed)
    stiffness, temperature, noise, h, n = 1.5, 0.8, 0.3, 0.1, 4000
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.Quadratic([stiffness]), temperature),
        nld.Gaussian(nld.IdentityDecoder(1), noise),
        substeps=2,
        time_unit=1.0,
    )
    with torch.no_grad():
        model.initial_loc.fill_(0.7)
    x = Predictive(model, num_samples=n, parallel=True)(2 * h * torch.arange(4.0))["x"][:, 0, :, 0]
    a = 1 - h * stiffness
    mean, variance = 0.7, 1.0
    for k in range(4):
        total = variance + noise**2
        assert abs(float(x[:, k].mean()) - mean) < 5 * math.sqrt(total / n)
        assert abs(float(x[:, k].var()) - total) < 5 * total * math.sqrt(2 / n)
        for _ in range(2):
            mean, variance = a * mean, a**2 * variance + 2 * temperature * h


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("parallel", [False, True])
def test_posterior_predictive(make, control, parallel):
    """Given data, `x` comes back as observed; replicates need `poutine.uncondition`."""
    model = build(make, **ALL)
    guide, x = amortised(model, control), observations()
    guide(TIMES, x)
    latents = Predictive(model, guide=guide, num_samples=4, parallel=parallel)(TIMES, x)
    torch.testing.assert_close(latents["x"].expand(4, *x.shape), x.expand(4, *x.shape))
    replicated = Predictive(poutine.uncondition(model), guide=guide, num_samples=4, parallel=parallel)(TIMES, x)["x"]
    assert replicated.shape == (4, *x.shape)
    assert bool((replicated.std(0) > 0).all())


def test_replicates_of_missing_values_are_draws():
    model = build(DYNAMICS["overdamped"])
    guide, x = amortised(model), observations()
    x[0, 1] = math.nan
    replicated = Predictive(poutine.uncondition(model), guide=guide, num_samples=4)(TIMES, x)["x"]
    assert bool((replicated[:, 0, 1].std(0) > 0).all())


@pytest.mark.parametrize("control", CONTROLS)
def test_importance_sampling(make, control):
    model = build(make, **ALL)
    guide, x = amortised(model, control), observations()
    guide(TIMES, x)
    posterior = Importance(model, guide, num_samples=10).run(TIMES, x)
    assert torch.isfinite(torch.stack(list(posterior.log_weights))).all()
    assert 1.0 <= float(posterior.get_ESS()) <= 10.0


def test_the_model_can_be_drawn(make):
    potential = nld.NeuralPotential(2, hidden=(3,))
    potential.output.weight = PyroSample(dist.Normal(torch.zeros(1, 3), 1.0).to_event(2))
    dynamics = make(**ALL)
    dynamics.potential = potential
    model = nld.LatentLangevin(dynamics, nld.Gaussian(nld.LinearDecoder(2, CHANNELS), dist.LogNormal(0.0, 1.0)))
    drawing = pyro.render_model(model, model_args=(TIMES, observations()), render_distributions=True).source
    for name in ("temperature", "friction", "noise_scale", "z0", "x"):
        assert f"{name} [label" in drawing
    for edge in ("temperature -> z", "friction -> z", "z0 -> z", "z -> x", "noise_scale -> x"):
        assert edge in drawing
    assert '"dynamics.potential.output.weight" -> z' in drawing
    assert "label=sequence" in drawing


# ---------------------------------------------------------------- precision, saving


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("control", CONTROLS)
def test_every_site_keeps_the_precision(make, control, dtype):
    torch.set_default_dtype(dtype)
    model = build(make, temperature=dist.LogNormal(0.0, 0.2), friction=nn.Parameter(torch.tensor(1.0)))
    guide = amortised(model, control)
    guide(TIMES.to(dtype), observations().to(dtype))
    trace = poutine.trace(
        poutine.replay(model, trace=poutine.trace(guide).get_trace(TIMES.to(dtype), observations().to(dtype)))
    )
    nodes = trace.get_trace(TIMES.to(dtype), observations().to(dtype)).nodes
    assert all(nodes[name]["value"].dtype == dtype for name in ("temperature", "z0", "z", "x"))


def test_a_saved_model_is_the_model(make, tmp_path):
    model = build(make, temperature=nn.Parameter(torch.tensor(0.8)))
    model(TIMES, observations())
    torch.save(model.state_dict(), tmp_path / "model.pt")
    twin = build(make, temperature=nn.Parameter(torch.tensor(0.1)))
    twin.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    scores = []
    for one in (model, twin):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        scores.append(poutine.trace(one).get_trace(TIMES, 2 * observations()).log_prob_sum())
    torch.testing.assert_close(*scores, rtol=0, atol=0)


# ---------------------------------------------------------------- what is refused


def test_a_step_needs_to_be_a_step():
    with pytest.raises(nld.ShapeError) as caught:
        nld.LatentLangevin(
            nld.OverdampedLangevin(nld.Quadratic([1.0])), nld.Gaussian(nld.IdentityDecoder(1)), substeps=0
        )
    assert str(caught.value) == "substeps must be a whole number of at least 1, or 'auto': got 0. Give such a number."


def test_a_scheme_that_cannot_be_steered_carries_no_posterior():
    with pytest.raises(nld.PriorError) as caught:
        nld.LatentLangevin(
            nld.UnderdampedLangevin(nld.Quadratic([1.0])),
            nld.Gaussian(nld.IdentityDecoder(1)),
            integrator=nld.BAOA(),
        )
    assert str(caught.value) == (
        "BAOA cannot carry a posterior: positions must follow from the noise alone. "
        "Use Leapfrog() for underdamped dynamics."
    )


@pytest.mark.parametrize(
    ("kind", "integrator", "sentence"),
    [
        (
            "overdamped",
            nld.Leapfrog(),
            "Leapfrog steps states of position and momentum: got OverdampedLangevin. "
            "Use EulerMaruyama(), or leave the integrator out.",
        ),
        (
            "underdamped",
            nld.EulerMaruyama(),
            "EulerMaruyama steps states of position alone: got UnderdampedLangevin. "
            "Use Leapfrog(), or leave the integrator out.",
        ),
    ],
)
def test_an_integrator_suits_its_dynamics(kind, integrator, sentence):
    with pytest.raises(nld.PriorError) as caught:
        nld.LatentLangevin(DYNAMICS[kind](), nld.Gaussian(nld.IdentityDecoder(2)), integrator=integrator)
    assert str(caught.value) == sentence


@pytest.mark.usefixtures("untyped")
def test_parts_in_each_others_place_are_named():
    dynamics, likelihood = DYNAMICS["overdamped"](), nld.Gaussian(nld.IdentityDecoder(2))
    with pytest.raises(nld.PriorError, match=r"dynamics must be a Dynamics: got DoubleWell. Give for example nld.Over"):
        nld.LatentLangevin(dynamics.potential, likelihood)
    with pytest.raises(nld.PriorError, match=r"likelihood must be a Likelihood: got IdentityDecoder. Give for example"):
        nld.LatentLangevin(dynamics, likelihood.decoder)
    with pytest.raises(nld.ShapeError, match=r"substeps must be .* at least 1, or .*: got .5."):
        nld.LatentLangevin(dynamics, likelihood, substeps="5")


@pytest.mark.parametrize(
    ("times", "x", "error"),
    [
        (TIMES.flip(0), observations(), nld.TimeGridError),
        (TIMES, observations().fill_(math.inf), nld.DataError),
        (TIMES[:1], None, nld.TimeGridError),
    ],
    ids=["order", "infinite", "one time"],
)
def test_bad_data_are_refused_at_the_door(times, x, error):
    model = build(DYNAMICS["overdamped"])
    with pytest.raises(error):
        model(times, x)
    assert math.isnan(model.time_unit)


@pytest.mark.parametrize("site", ["z0", "x"])
def test_values_of_several_sequences_need_a_row_of_times_each(make, site):
    model = build(make)
    values = poutine.trace(model).get_trace(TIMES, observations()).nodes
    given = poutine.condition(model, {site: values[site]["value"]})
    with pytest.raises(nld.ShapeError, match=rf"given for {site} are 3 sequences.* of 1. .*times.expand\(3, -1\)"):
        poutine.trace(given).get_trace(TIMES)
    assert poutine.trace(given).get_trace(TIMES.expand(3, -1)).nodes["x"]["value"].shape == (3, len(TIMES), CHANNELS)


def test_a_random_batch_is_no_larger_than_the_data():
    with pytest.raises(nld.ShapeError, match=r"subsample_size must be between 1 and .*: got 100 of 3."):
        build(DYNAMICS["overdamped"])(TIMES, observations(), 100)


# ---------------------------------------------------------------- samplers of Pyro on whole paths


def small(kind):
    given = {"temperature": dist.LogNormal(0.0, 0.5)}
    return nld.LatentLangevin(
        DYNAMICS[kind](**given), nld.Gaussian(nld.IdentityDecoder(2), 0.3), substeps=2, time_unit=1.0
    )


@pytest.mark.parametrize("method", ["NUTS", "AutoNormal"])
def test_samplers_that_move_positions_freely_serve_overdamped_paths_alone(method):
    x = torch.randn(2, len(TIMES), 2)

    def infer(model):
        if method == "NUTS":
            MCMC(NUTS(model, max_tree_depth=2), num_samples=2, warmup_steps=1, disable_progbar=True).run(TIMES, x)
        else:
            SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO()).step(TIMES, x)

    infer(small("overdamped"))
    pyro.clear_param_store()
    with pytest.raises(nld.FitError, match="positions of an underdamped path follow from its momenta"):
        infer(small("underdamped"))
