"""The guide: it fits every model it is given, whatever is random in it, and learns with every estimator of Pyro."""

import copy
import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.contrib.autoname import scope
from pyro.infer import SVI, JitTrace_ELBO, Predictive, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoGuideList,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.nn import PyroModule, PyroSample
from pyro.optim import ClippedAdam
from torch import nn

import pyro_nld as nld
from pyro_nld.fitting import draws
from pyro_nld.fitting import elbo as elbo_of
from pyro_nld.guide import amortized

TIMES, CHANNELS, SEQUENCES, SUBSTEPS = torch.tensor([0.0, 0.3, 0.5, 1.1]), 3, 4, 2
DYNAMICS = {"overdamped": nld.OverdampedLangevin, "underdamped": nld.UnderdampedLangevin}
CONTROLS = {"affine": nld.AffineControl, "neural": lambda: nld.NeuralControl(hidden=8)}
ELBOS = {"Trace": Trace_ELBO, "TraceMeanField": TraceMeanField_ELBO, "Path": nld.PathELBO, "Renyi": RenyiELBO}
QUANTITIES = {
    "number": lambda: 0.8,
    "distribution": lambda: dist.LogNormal(-0.2, 0.2),
    "parameter": lambda: nn.Parameter(torch.tensor(0.8)),
}


def observations(sequences=SEQUENCES):
    x = torch.randn(sequences, len(TIMES), CHANNELS, generator=torch.Generator().manual_seed(3))
    x[1, 2, 0] = math.nan
    return x


def build(dynamics="overdamped", control="affine", causal=False, potential=None, noise=None, **given):
    potential = nld.NeuralPotential(2, hidden=(5,)) if potential is None else potential
    likelihood = nld.Gaussian(nld.MLPDecoder(2, CHANNELS, hidden=(5,)), noise)
    model = nld.LatentLangevin(DYNAMICS[dynamics](potential, **given), likelihood, substeps=SUBSTEPS)
    encoder = nld.GRUEncoder(CHANNELS, size=6, hidden=6, causal=causal)
    return model, nld.AmortizedGuide(model, encoder, control=CONTROLS[control]())


def traces(model, guide, *args):
    drawn = poutine.trace(guide).get_trace(*args)
    return drawn, poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args)


def learns(model, guide, elbo, *args):
    """One step of SVI: the loss is finite, and every parameter of both gets a finite gradient."""
    pyro.clear_param_store()
    loss = elbo.loss_and_grads(model, guide, *args)
    assert math.isfinite(loss)
    for module in (model, guide):
        for name, parameter in module.named_parameters():
            if name == "dynamics.potential.output.bias":
                continue  # the energy's zero, which no force feels
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name
            parameter.grad = None


# ---------------------------------------------------------------- everything with everything


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "two-sided"])
@pytest.mark.parametrize("kind", QUANTITIES)
def test_every_kind_of_physics_learns_with_every_estimator(dynamics, control, causal, kind):
    given = {name: QUANTITIES[kind]() for name in DYNAMICS[dynamics].quantities}
    model, guide = build(dynamics, control, causal, noise=QUANTITIES[kind](), **given)
    guide(TIMES, observations())
    for elbo in ELBOS.values():
        learns(model, guide, elbo(num_particles=2), TIMES, observations())
        learns(model, guide, elbo(num_particles=3, vectorize_particles=True), TIMES, observations())


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("elbo", ELBOS)
def test_subsamples_learn_with_every_estimator(dynamics, control, elbo):
    model, guide = build(dynamics, control, temperature=dist.LogNormal(0.0, 0.2))
    guide(TIMES, observations())
    learns(model, guide, ELBOS[elbo](num_particles=2), TIMES, observations(), 2)
    learns(model, guide, ELBOS[elbo](num_particles=2, vectorize_particles=True), TIMES, observations(), 2)


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("elbo", ELBOS)
def test_random_weights_of_potential_and_decoder_learn(dynamics, control, elbo):
    model, guide = build(dynamics, control, temperature=dist.LogNormal(0.0, 0.2))
    layers = [*model.dynamics.potential.layers, model.dynamics.potential.output, *model.likelihood.decoder.layers]
    for layer in layers:
        for name in ("weight", "bias"):
            shape = getattr(layer, name).shape
            setattr(layer, name, PyroSample(dist.Normal(torch.zeros(shape), 0.3).to_event(len(shape))))
    guide(TIMES, observations())
    learns(model, guide, ELBOS[elbo](num_particles=2), TIMES, observations())
    learns(model, guide, ELBOS[elbo](num_particles=5, vectorize_particles=True), TIMES, observations())
    names = {name for name in guide.others.prototype_trace.stochastic_nodes if name.endswith(("weight", "bias"))}
    assert len(names) == 2 * len(layers)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("autoguide", [AutoNormal, AutoMultivariateNormal, AutoLowRankMultivariateNormal, AutoDelta])
def test_any_autoguide_serves_the_globals(control, autoguide):
    model, _ = build(temperature=dist.LogNormal(0.0, 0.2), noise=dist.LogNormal(-1.0, 0.2))
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6), CONTROLS[control](), autoguide=autoguide)
    guide(TIMES, observations())
    for elbo in (Trace_ELBO(), nld.PathELBO(), nld.PathELBO(num_particles=3, vectorize_particles=True)):
        learns(model, guide, elbo, TIMES, observations())


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("elbo", ELBOS)
def test_plain_svi_lowers_the_loss(dynamics, control, elbo, seed):
    pyro.set_rng_seed(seed)
    model, guide = build(dynamics, control, temperature=dist.LogNormal(0.0, 0.5))
    svi = SVI(model, guide, ClippedAdam({"lr": 0.03}), ELBOS[elbo](num_particles=2, vectorize_particles=True))
    losses = torch.tensor([svi.step(TIMES, observations()) for _ in range(20)])
    assert float(losses[-5:].mean()) < float(losses[:5].mean())


@pytest.mark.parametrize("quantity", ["temperature", "friction"])
def test_a_positive_quantity_starts_at_the_median_of_its_prior(quantity):
    """Not at 1, which is twenty standard deviations from here."""
    model, guide = build(**{quantity: dist.LogNormal(math.log(0.02), 0.2)})
    guide(TIMES, observations())
    assert guide.others.median()[quantity].item() == pytest.approx(0.02, rel=0.3)
    other = "friction" if quantity == "temperature" else "temperature"
    setattr(model.dynamics, other, dist.LogNormal(math.log(50.0), 0.2))  # random from now on: a guide made anew
    guide(TIMES, observations())
    assert guide.others.median()[other].item() == pytest.approx(50.0, rel=0.3)


def test_a_given_autoguide_starts_where_it_wants():
    model, _ = build(temperature=dist.LogNormal(math.log(0.02), 0.2))
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=6), autoguide=AutoNormal)
    guide(TIMES, observations())
    assert guide.others.median()["temperature"].item() == pytest.approx(1.0)


# ---------------------------------------------------------------- it matches its model


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("control", CONTROLS)
def test_sites_match_those_of_the_model(dynamics, control):
    model, guide = build(dynamics, control, temperature=dist.LogNormal(0.0, 0.2), friction=dist.Gamma(9.0, 9.0))
    drawn, replayed = traces(model, guide, TIMES, observations())
    latent = {name for name in replayed.stochastic_nodes if name != "sequence"}
    assert latent == {"z0", "z", "temperature", "friction"}
    for name in latent:
        assert drawn.nodes[name]["value"] is replayed.nodes[name]["value"]
        assert drawn.nodes[name]["fn"].event_shape == replayed.nodes[name]["fn"].event_shape
        assert drawn.nodes[name]["fn"].batch_shape == replayed.nodes[name]["fn"].batch_shape


def test_the_posterior_path_runs_on_the_priors_noise_as_drawn():
    """Same T, γ, M: otherwise the KL is infinite in the limit of small steps."""
    model, guide = build("underdamped", temperature=dist.LogNormal(0.0, 0.2), mass=dist.LogNormal(0.0, 0.2))
    drawn, replayed = traces(model, guide, TIMES, observations())
    for name in ("temperature", "mass"):
        mine, theirs = (trace.nodes["z"]["fn"].latents[name] for trace in (drawn, replayed))
        assert mine is theirs


def test_draws_of_the_globals_are_independent_of_the_plate():
    model, guide = build(temperature=dist.LogNormal(0.0, 0.2))
    drawn, _ = traces(model, guide, TIMES, observations())
    assert drawn.nodes["temperature"]["value"].shape == ()
    assert drawn.nodes["temperature"]["cond_indep_stack"] == ()


def test_the_guide_does_not_own_the_models_parameters():
    model, guide = build()
    assert not {id(p) for p in model.parameters()} & {id(p) for p in guide.parameters()}


def test_a_prior_swapped_before_the_first_call_needs_nothing_else():
    model, guide = build()
    model.dynamics.temperature = dist.LogNormal(0.0, 0.2)
    model.likelihood.noise_scale = PyroSample(dist.LogNormal(torch.zeros(CHANNELS), 0.2).to_event(1))
    learns(model, guide, nld.PathELBO(), TIMES, observations())
    assert set(guide.others.median(TIMES, observations())) == {"temperature", "noise_scale"}


@pytest.mark.parametrize("elbo", ELBOS)
def test_a_prior_swapped_later_needs_nothing_else_either(elbo):
    """Number to distribution, to another support, to a number again."""
    model, guide = build(noise=dist.LogNormal(-1.0, 0.2))
    estimator = ELBOS[elbo](num_particles=2)
    learns(model, guide, estimator, TIMES, observations())
    for prior, latent in [
        (dist.LogNormal(0.0, 0.2), {"temperature", "noise_scale"}),
        (dist.Uniform(0.5, 2.0), {"temperature", "noise_scale"}),
        (0.7, {"noise_scale"}),
    ]:
        model.dynamics.temperature = prior
        learns(model, guide, estimator, TIMES, observations())
        assert set(guide.others.median(TIMES, observations())) == latent


def test_an_autoguide_is_kept_while_the_priors_stay():
    model, guide = build(temperature=dist.LogNormal(0.0, 0.2))
    guide(TIMES, observations())
    others = guide.others
    model.dynamics.temperature = dist.LogNormal(0.5, 0.1)  # other numbers, the same support
    for pair in ((model, guide), copy.deepcopy((model, guide))):
        before = {name: value.clone() for name, value in pair[1].others.state_dict().items()}
        pair[1](TIMES, observations())
        assert all(torch.equal(value, before[name]) for name, value in pair[1].others.state_dict().items())
    assert guide.others is others


def test_a_model_of_ones_own_site_gets_its_posterior_from_the_autoguide():
    class Shifted(nld.LatentLangevin):
        """A model with one more latent, outside the plate."""

        def forward(self, times, x=None, subsample_size=None):
            shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
            return super().forward(times, None if x is None else x - shift, subsample_size)

    dynamics = nld.OverdampedLangevin(nld.NeuralPotential(2))
    model = Shifted(dynamics, nld.Gaussian(nld.MLPDecoder(2, CHANNELS)), substeps=SUBSTEPS)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS))
    guide(TIMES, observations())
    for elbo in (Trace_ELBO(), nld.PathELBO()):
        learns(model, guide, elbo, TIMES, observations())
    assert list(guide.others.median(TIMES, observations())) == ["shift"]


# ---------------------------------------------------------------- data and units


def test_units_come_from_the_first_data_for_the_model_too():
    model, guide = build()
    guide(TIMES, observations())
    units = guide.encoder.scale.clone(), model.likelihood.decoder.scale.clone(), float(model.time_unit)
    guide(7 * TIMES, 100 * observations())
    torch.testing.assert_close(guide.encoder.scale, units[0], rtol=0, atol=0)
    torch.testing.assert_close(model.likelihood.decoder.scale, units[1], rtol=0, atol=0)
    assert float(model.time_unit) == units[2]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("unit", [60.0, 1e-3])
def test_the_users_unit_of_time_does_not_matter(control, unit, seed):
    def draw(times):
        pyro.set_rng_seed(seed)
        _, guide = build("underdamped", control)
        return poutine.trace(guide).get_trace(times, observations()).nodes["z"]["value"]

    torch.testing.assert_close(draw(unit * TIMES), draw(TIMES), rtol=1e-4, atol=1e-4)


def test_units_are_taken_anew_until_something_was_learned():
    model, guide = build()
    guide(TIMES, observations())
    units = guide.encoder.scale.clone(), model.likelihood.decoder.scale.clone(), float(model.time_unit)
    guide.take_units(2 * TIMES, 100 * observations())
    torch.testing.assert_close(guide.encoder.scale, 100 * units[0])
    torch.testing.assert_close(model.likelihood.decoder.scale, 100 * units[1])
    assert float(model.time_unit) == pytest.approx(2 * units[2])
    with torch.no_grad():
        next(model.parameters()).add_(0.1)  # as an optimiser does
        next(guide.control.parameters()).add_(0.1)
    guide.take_units(TIMES, observations())
    torch.testing.assert_close(guide.encoder.scale, 100 * units[0])
    torch.testing.assert_close(model.likelihood.decoder.scale, 100 * units[1])
    assert float(model.time_unit) == pytest.approx(2 * units[2])


def test_a_guide_needs_data():
    _, guide = build()
    with pytest.raises(nld.DataError, match=r"a guide reads the data: got none. Give them to both, svi.step\(times, x"):
        guide(TIMES)


def test_training_needs_data():
    model, guide = build(temperature=dist.LogNormal(0.0, 0.5))
    for elbo in ELBOS.values():
        with pytest.raises(nld.DataError, match=r"Give them to both, svi.step\(times, x"):
            SVI(model, guide, ClippedAdam({"lr": 0.01}), elbo()).step(TIMES)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("seen", [True, False])
def test_new_times_alone_are_predicted_with_quantities_of_the_posterior(parallel, seen):
    """T is that of the guide, far from its prior; paths and observations are new, one for each draw."""
    model, guide = build(temperature=dist.LogNormal(0.0, 0.5))
    if seen:
        guide(TIMES, observations())
    else:
        with torch.no_grad(), poutine.mask(mask=False):
            guide(TIMES)  # an untrained guide takes its sites from the model
    with torch.no_grad():
        guide.others.locs.temperature.fill_(math.log(3.0))
        guide.others.scales.temperature = torch.tensor(1e-3)
    later = torch.arange(6.0).repeat(2, 1)
    drawn = Predictive(model, guide=guide, num_samples=5, parallel=parallel)(later)
    torch.testing.assert_close(drawn["temperature"].flatten(), torch.full((5,), 3.0), rtol=0.02, atol=0.0)
    assert drawn["z"].shape == (5, 2, 5 * SUBSTEPS, 2)
    assert drawn["x"].shape == (5, 2, 6, CHANNELS)
    assert len(drawn["x"].flatten().unique()) == 5 * 2 * 6 * CHANNELS
    one = Predictive(model, guide=guide, num_samples=3, parallel=parallel)(later[0])
    assert one["x"].shape == (3, 1, 6, CHANNELS)


@pytest.mark.parametrize("control", CONTROLS)
def test_extreme_but_legal_data_keep_everything_finite(control):
    """A constant channel, a time at which nothing was measured, a sequence with two times, an outlier."""
    model, guide = build(control=control)
    times, x = TIMES.repeat(SEQUENCES, 1), observations()
    x[:, :, 1], x[0, 1], x[3, 0, 0] = 4.0, math.nan, 1e4
    times[2, 2:], x[2, 2:] = math.nan, math.nan
    guide(times, x)
    learns(model, guide, nld.PathELBO(), times, x)


@pytest.mark.usefixtures("untyped")
def test_a_guide_is_made_of_the_bare_model():
    model = nld.LatentLangevin(nld.OverdampedLangevin(nld.DoubleWell()), nld.Gaussian(nld.IdentityDecoder(1)))
    for wrapped in (poutine.reparam(model, {}), poutine.mask(model, True), lambda times: model(times)):
        with pytest.raises(nld.FitError, match=r"a guide is made of the model itself: expected a LatentLangevin, got"):
            nld.AmortizedGuide(wrapped, nld.GRUEncoder(1))
    with pytest.raises(nld.ShapeError, match=r"the encoder must be an Encoder: got GRU. Give for example nld.GRUEnc"):
        nld.AmortizedGuide(model, torch.nn.GRU(1, 1))


def test_an_autoguide_that_leaves_out_a_site_is_refused():
    model, _ = build(temperature=dist.LogNormal(0.0, 0.5))
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS), autoguide=AutoGuideList)
    with pytest.raises(nld.FitError, match="every latent site needs a guide: AutoGuideList leaves out temperature"):
        guide(TIMES, observations())


# ---------------------------------------------------------------- latents of every sequence


class Offset(nld.Gaussian):
    """A recording has an offset of its own, drawn inside the plate `sequence`."""

    def forward(self, q):
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
        return dist.Normal(self.decoder(q) + offset[..., None, None], 0.3)


def offsets():
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.Quadratic([4.0, 4.0])), Offset(nld.IdentityDecoder(2)), substeps=2, time_unit=1.0
    )
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(2, size=6, hidden=6))


@pytest.mark.parametrize("elbo", ["Trace", "Path", "particles"])
def test_a_latent_of_every_sequence_is_guided_under_its_number(elbo):
    model, guide = offsets()
    x = torch.randn(5, len(TIMES), 2)
    chosen = {"Trace": Trace_ELBO(), "Path": nld.PathELBO()}
    many = nld.PathELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(model, guide, ClippedAdam({"lr": 0.1}), chosen.get(elbo, many))
    svi.step(TIMES, x, 1)
    before = guide.others.locs.offset.detach().clone()
    svi.step(TIMES, x[[3, 1]], subsample=torch.tensor([3, 1]), size=5)
    moved = (guide.others.locs.offset != before).tolist()
    assert before.shape == (5,)
    assert moved[3]
    assert moved[1]
    with pytest.raises(nld.FitError, match="a latent of every sequence was learned for 5 sequences: got 2"):
        guide(TIMES, x[:2])


def test_a_fit_reads_the_offsets_of_its_sequences_chunk_by_chunk(monkeypatch):
    """Whatever the chunks, draws are those of the posterior of each sequence by its number."""
    level = torch.tensor([-4.0, 4.0, 0.0, -2.0, 2.0])
    x = level[:, None, None] + 0.3 * torch.randn(5, 12, 2)
    model, guide = offsets()
    schedule = nld.Schedule(120, batch_size=3, learning_rate=0.05)
    fit = nld.fit(model, guide, (0.08 * torch.arange(12.0), x), schedule, progress=False)
    whole = fit.elbo(draws=20)
    monkeypatch.setattr(draws, "DRAW_CHUNK", 2)
    found = fit.inference_data(draws=40, states=False).posterior["offset"].mean(("chain", "draw")).values
    expected, spread = fit.medians["offset"], fit.guide.others.scales.offset.detach()
    assert np.corrcoef(expected, level)[0, 1] > 0.9
    assert bool((torch.as_tensor(found) - expected).abs().lt(5 * spread / 40**0.5).all())
    pieces = elbo_of.evaluate(fit.model, fit.guide, fit.times, fit.x, 20, chunk=2)
    assert pieces["total"] == pytest.approx(whole["total"], rel=0.1)


# ---------------------------------------------------------------- compiled, and two pairs at once


@pytest.mark.usefixtures("untyped")  # sizes are tensors while a function is compiled
@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("given", [{}, {"temperature": dist.LogNormal(0.0, 0.2)}], ids=["fixed", "random"])
def test_a_compiled_bound_has_the_loss_and_gradients_of_the_plain_one(control, given, seed):
    model, guide = build(control=control, **given)
    x = observations()
    guide(TIMES, x)

    def learned():
        return [*model.parameters(), *guide.parameters()]

    def found(elbo):
        for value in learned():
            value.grad = None
        pyro.set_rng_seed(seed)
        loss = elbo.loss_and_grads(model, guide, TIMES, x)
        return loss, [value.grad for value in learned()]

    compiled = JitTrace_ELBO(ignore_jit_warnings=True)
    found(compiled)  # compiling draws random numbers of its own
    (loss, gradients), (exact, expected) = found(compiled), found(Trace_ELBO())
    assert loss == pytest.approx(exact, rel=1e-4)
    for one, other in zip(gradients, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def pair(name):
    motion = nld.OverdampedLangevin(nld.NeuralPotential(2, hidden=(4,)), dist.LogNormal(0.0, 0.2), friction=None)
    model = nld.LatentLangevin(motion, nld.Gaussian(nld.LinearDecoder(2, CHANNELS)), substeps=2, name=name)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, size=4, hidden=4), name=name and f"{name}_guide")


def scoped(*parts):
    def both(*args):
        for prefix, part in zip("ab", parts, strict=True):
            with scope(prefix=prefix):
                part(*args)

    return both


def test_two_named_pairs_learn_in_one_svi():
    (one, first), (other, second) = pair("one"), pair("other")
    svi = SVI(scoped(one, other), scoped(first, second), ClippedAdam({"lr": 0.1}), Trace_ELBO())
    svi.step(TIMES, observations())
    parts = (one, other, first, second)
    before = [{name: value.clone() for name, value in part.named_parameters()} for part in parts]
    svi.step(TIMES, observations())
    for part, old in zip(parts, before, strict=True):
        still = [name for name, value in part.named_parameters() if torch.equal(value, old[name])]
        assert set(still) <= {"dynamics.potential.output.bias"}  # the zero of energy, which no force knows
    names = list(pyro.get_param_store().keys())
    assert {"one.dynamics.friction", "other.dynamics.friction"} <= set(names)
    trace = poutine.trace(one).get_trace(TIMES, observations())
    assert "temperature" in trace.nodes  # names of sites stay as they are


def test_two_pairs_without_names_are_told():
    """They would share parameters in silence: also a model of the first name with a guide of its own."""
    (one, first), (other, second) = pair(""), pair("")
    for models, guides, kind in (
        ((one, other), (first, second), "AmortizedGuide"),
        ((one, other), (pair("one")[1], pair("other")[1]), "LatentLangevin"),
    ):
        svi = SVI(scoped(*models), scoped(*guides), ClippedAdam({"lr": 0.1}), Trace_ELBO())
        sentence = rf"two of {kind} in one program need two names: both are named ''.* {kind}\(…, name=\"a\"\)"
        with pytest.raises(nld.FitError, match=sentence):
            svi.step(TIMES, observations())
    pyro.clear_param_store()
    alone = SVI(one, first, ClippedAdam({"lr": 0.1}), Trace_ELBO())
    alone.step(TIMES, observations())
    SVI(other, second, ClippedAdam({"lr": 0.1}), Trace_ELBO()).step(TIMES, observations())  # another program
    parent = PyroModule("parent")
    parent.one, parent.other = pair("")[0], pair("")[0]  # names of their own, as parts
    poutine.trace(scoped(parent.one, parent.other)).get_trace(TIMES, observations())


def test_the_path_kl_is_known_under_a_scope():
    (one, first), (other, second) = pair("one"), pair("other")
    first(TIMES, observations())
    second(TIMES, observations())
    terms = nld.PathELBO().terms(scoped(one, other), scoped(first, second), TIMES, observations())
    assert float(terms["path_kl"].detach()) > 0
    assert float(terms["initial_kl"].detach()) > 0
    assert abs(float(terms["global_kl"].detach())) < 20  # of two temperatures alone


def test_the_globals_need_no_path_and_take_its_random_numbers(monkeypatch, seed):
    """The guide of the globals is made from a model whose paths stand still; what is drawn later is the same."""
    heat = dist.LogNormal(0.0, 0.5)
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.DoubleWell(), heat), nld.Gaussian(nld.IdentityDecoder(1), 0.3), substeps=7
    )
    series = nld.as_tensors(nld.datasets.ornstein_uhlenbeck(4, 10))
    model.adapt(*series)
    torch.manual_seed(seed)
    expected = poutine.trace(poutine.block(model, hide=amortized.PATH_SITES)).get_trace(*series)
    after = torch.randn(3)
    monkeypatch.setattr(nld.LangevinPath, "rsample", lambda *_: pytest.fail("a path was simulated"))
    torch.manual_seed(seed)
    found = poutine.trace(amortized.of_globals(model)).get_trace(*series)
    assert found.stochastic_nodes == expected.stochastic_nodes == ["temperature"]
    assert torch.equal(found.nodes["temperature"]["value"], expected.nodes["temperature"]["value"])
    assert torch.equal(torch.randn(3), after)


class Cosine(nld.Potential):
    """One well per turn of an angle."""

    latent, periods = 1, (2 * math.pi,)

    def forward(self, z):
        return -torch.cos(z[..., 0])


def ring(**given):
    motion = nld.OverdampedLangevin(Cosine())
    return nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1), 0.1), substeps=2, **given)


def test_the_guide_of_an_angle_begins_at_an_angle():
    """All directions of a context can be told apart from their neighbours: the first angle is that of a vector."""
    guide = nld.AmortizedGuide(ring(), nld.GRUEncoder(1, size=2, hidden=4))
    assert isinstance(guide.control, nld.CircularControl)
    with torch.no_grad():
        guide.initial.weight.zero_()
        guide.initial.bias.zero_()
        guide.initial.weight[0, 0] = guide.initial.weight[2, 1] = 1.0  # cosine and sine
        angle = torch.linspace(-3.1, 3.1, 20)
        loc = guide._first(torch.stack([angle.cos(), angle.sin()], -1)).mean
    torch.testing.assert_close(loc[:, 0], angle)


def test_equilibrium_on_a_line_that_covers_a_circle_is_refused():
    with pytest.raises(nld.PriorError, match=r'start="equilibrium" needs a density that can be normalised: .*"normal"'):
        ring(start="equilibrium")
