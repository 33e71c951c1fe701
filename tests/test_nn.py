"""Parts meet Pyro: what may stand for a physical quantity, under which name, in which shape, and what is refused."""

import copy
import itertools
from functools import partial

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.nn import PyroParam, PyroSample
from pyro.optim import Adam
from torch import nn
from torch.distributions import constraints

import pyro_nld as nld
from pyro_nld.nn import Dense, at_values, condition_on, draw_latents, evaluating, versions

TIMES, X = torch.arange(5.0), torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))

KINDS = {
    "number": lambda: 0.7,
    "tensor": lambda: torch.tensor([0.7, 0.9]),
    "distribution": lambda: dist.LogNormal(-0.4, 0.1),
    "sample": lambda: PyroSample(dist.LogNormal(torch.full((2,), -0.4), 0.1).to_event(1)),
    "parameter": lambda: nn.Parameter(torch.tensor(0.7)),
    "constrained": lambda: PyroParam(torch.tensor([0.7, 0.9]), constraints.positive),
}
RANDOM, LEARNED = {"distribution", "sample"}, {"parameter", "constrained"}
QUANTITIES = ["temperature", "friction", "mass", "noise_scale"]


def model(**quantities):
    noise = quantities.pop("noise_scale", 0.3)
    dynamics = nld.UnderdampedLangevin(nld.Quadratic([1.0, 2.0]), **quantities)
    return nld.LatentLangevin(dynamics, nld.Gaussian(nld.IdentityDecoder(2), noise), substeps=2, time_unit=1.0)


def owner(model, name):
    return model.likelihood if name == "noise_scale" else model.dynamics


def stored(part, name):
    """In which of PyTorch's and Pyro's drawers a quantity lies."""
    drawers = {
        "number": part._buffers,
        "learned": {key.removesuffix("_unconstrained"): None for key in part._parameters},
        "random": part._pyro_samples,
    }
    return [drawer for drawer, names in drawers.items() if name in names]


def drawer(kind):
    return "random" if kind in RANDOM else "learned" if kind in LEARNED else "number"


# ---------------------------------------------------------------- swapping


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["constructor", "attribute"])
def test_a_quantity_is_a_number_a_distribution_or_a_parameter(name, kind, by):
    built = model(**{name: KINDS[kind]()}) if by == "constructor" else model()
    if by == "attribute":
        setattr(owner(built, name), name, KINDS[kind]())
    trace = poutine.trace(built).get_trace(TIMES, X)
    trace.compute_log_prob()
    site = trace.nodes.get(name)
    assert (None if site is None else site["type"]) == {"random": "sample", "learned": "param"}.get(drawer(kind))
    read = trace.nodes[name]["value"] if site else getattr(owner(built, name), name)
    assert bool((read > 0).all())
    if kind not in RANDOM:
        given = KINDS[kind]()
        torch.testing.assert_close(read.detach(), torch.as_tensor(getattr(given, "init_value", given)).detach())


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(KINDS, 2)))
def test_a_swap_leaves_nothing_of_the_old_quantity(old, new):
    dynamics = nld.OverdampedLangevin(nld.Quadratic([1.0, 2.0]), temperature=KINDS[old]())
    dynamics.temperature = KINDS[new]()
    assert stored(dynamics, "temperature") == [drawer(new)]


def test_a_swap_draws_no_random_number():
    dynamics = nld.OverdampedLangevin(nld.Quadratic([1.0]), temperature=dist.LogNormal(0.0, 1.0))
    before = torch.get_rng_state()
    dynamics.temperature = 2.0
    dynamics.temperature = dist.Gamma(2.0, 2.0)
    assert bool((torch.get_rng_state() == before).all())


def test_a_learned_quantity_moves_and_stays_positive():
    built = model(temperature=nn.Parameter(torch.tensor(0.7)))
    optimizer = torch.optim.SGD(built.parameters(), lr=0.01)
    poutine.trace(built).get_trace(TIMES, X).log_prob_sum().neg().backward()
    optimizer.step()
    moved = built.dynamics.temperature.item()
    assert moved != pytest.approx(0.7)
    assert moved > 0


def test_a_parameter_is_copied_so_that_two_models_do_not_share_it():
    value = nn.Parameter(torch.tensor(0.7))
    first, second = model(temperature=value), model(temperature=value)
    assert first.dynamics.temperature_unconstrained is not second.dynamics.temperature_unconstrained


# ---------------------------------------------------------------- names


def test_site_names_of_physics_are_bare_and_those_of_weights_are_not():
    potential = nld.NeuralPotential(2, hidden=(3,))
    potential.layers[0].weight = PyroSample(dist.Normal(torch.zeros(3, 2), 1.0).to_event(2))
    potential.output.bias = PyroSample(dist.Normal(torch.zeros(1), 1.0).to_event(1))
    decoder = nld.LinearDecoder(2, 2)
    decoder.map.weight = PyroSample(dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
    prior = nld.UnderdampedLangevin(potential, *(dist.LogNormal(0.0, 0.1) for _ in range(3)))
    likelihood = nld.Gaussian(decoder, dist.LogNormal(0.0, 0.1))
    trace = poutine.trace(nld.LatentLangevin(prior, likelihood)).get_trace(TIMES, X)
    assert set(trace.stochastic_nodes) - {"z0", "z", "sequence"} == {
        *QUANTITIES,
        "dynamics.potential.layers.0.weight",
        "dynamics.potential.output.bias",
        "likelihood.decoder.map.weight",
    }


@pytest.mark.parametrize("make", [nld.NeuralPotential, nld.ResidualPotential])
def test_every_layer_of_a_network_may_be_random(make):
    potential = make(2)
    layers = [part for part in potential.modules() if isinstance(part, Dense)]
    for layer in layers:
        layer.weight = PyroSample(dist.Normal(torch.zeros_like(layer.weight), 1.0).to_event(2))
    built = nld.LatentLangevin(nld.OverdampedLangevin(potential), nld.Gaussian(nld.IdentityDecoder(2)))
    trace = poutine.trace(built).get_trace(TIMES, X)
    assert sum(name.endswith("weight") for name in trace.stochastic_nodes) == len(layers)


def test_a_part_may_be_looked_at_before_it_becomes_part_of_a_model():
    potential = nld.NeuralPotential(2)
    potential(torch.zeros(4, 2))
    nld.LatentLangevin(nld.OverdampedLangevin(potential), nld.Gaussian(nld.IdentityDecoder(2)))(TIMES, X)


# ---------------------------------------------------------------- drawing, conditioning, fixing


def test_latents_are_drawn_once_and_outside_the_plate():
    built = model(temperature=dist.LogNormal(0.0, 1.0), mass=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    trace = poutine.trace(built).get_trace(TIMES, X)
    path = trace.nodes["z"]["fn"]
    for name, shape in {"temperature": (), "mass": (2,)}.items():
        assert trace.nodes[name]["value"].shape == shape
        assert trace.nodes[name]["cond_indep_stack"] == ()
        assert path.latents[name] is trace.nodes[name]["value"]


def test_a_path_is_scored_under_the_values_that_drew_it_also_later():
    built = model(temperature=dist.LogNormal(0.0, 1.0))
    path = poutine.trace(built).get_trace(TIMES, X).nodes["z"]["fn"]
    value = path.sample()
    scores = [path.log_prob(value) for _ in range(2)]
    torch.testing.assert_close(*scores, rtol=0, atol=0)


def test_holding_declares_no_site_and_forgets():
    built = model(temperature=dist.LogNormal(0.0, 1.0))
    with poutine.trace() as handler, condition_on(built, {"temperature": torch.tensor(5.0)}):
        assert float(built.dynamics.temperature) == 5.0
    assert "temperature" not in handler.trace.nodes
    assert float(built.dynamics.temperature) != 5.0


def test_drawing_draws_everything_below():
    built = model(temperature=dist.LogNormal(0.0, 1.0), noise_scale=dist.LogNormal(0.0, 1.0))
    with built._pyro_context:
        assert set(draw_latents(built)) == {"temperature", "noise_scale"}


def test_fixing_gives_a_copy_of_plain_numbers():
    potential = nld.NeuralPotential(2, hidden=(3,))
    potential.output.weight = PyroSample(dist.Normal(torch.zeros(1, 3), 1.0).to_event(2))
    built = nld.LatentLangevin(
        nld.OverdampedLangevin(potential, temperature=dist.LogNormal(0.0, 1.0)), nld.Gaussian(nld.IdentityDecoder(2))
    )
    built(TIMES, X)
    values = {"temperature": torch.tensor(0.4), "dynamics.potential.output.weight": torch.tensor([[1.0, 2.0, 3.0]])}
    twin = at_values(built.dynamics, values)
    assert float(twin.temperature) == pytest.approx(0.4)
    assert twin.potential.output.weight.tolist() == [[1.0, 2.0, 3.0]]
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    points = torch.randn(4, 2)
    torch.testing.assert_close(twin.potential(points), twin.potential(points), rtol=0, atol=0)
    assert stored(built.dynamics, "temperature") == ["random"]
    assert built.dynamics.potential.raw_confinement.requires_grad


def test_models_copy():
    built = model(temperature=dist.LogNormal(0.0, 1.0))
    twin = copy.deepcopy(built)
    assert "temperature" in poutine.trace(twin).get_trace(TIMES, X).nodes


# ---------------------------------------------------------------- alignment under vectorised particles

PER_AXIS = dist.LogNormal(torch.zeros(2), 0.5).to_event(1)


@pytest.mark.parametrize(
    "quantities",
    [
        {"temperature": dist.LogNormal(0.0, 0.5)},
        {"friction": PER_AXIS, "mass": dist.LogNormal(0.0, 0.5)},
        {"temperature": dist.LogNormal(0.0, 0.5), "mass": PER_AXIS, "noise_scale": PER_AXIS},
        {"mass": torch.tensor([0.5, 2.0]), "temperature": dist.LogNormal(0.0, 0.5)},
        {"noise_scale": dist.LogNormal(0.0, 0.5), "friction": torch.tensor([0.5, 2.0])},
        {
            "friction": PyroSample(lambda self: dist.LogNormal(self.temperature, 0.1)),
            "temperature": dist.LogNormal(0.0, 0.5),
        },
        {
            "temperature": dist.LogNormal(0.0, 0.5),
            "mass": PyroSample(
                lambda self: dist.LogNormal(self.temperature.unsqueeze(-1) + torch.zeros(2), 0.1).to_event(1)
            ),
        },
    ],
    ids=["scalar", "per-axis", "both", "beside numbers per axis", "likelihood", "dependent", "dependent per axis"],
)
@pytest.mark.parametrize("particles", [3, 4], ids=["as many as sequences", "more than sequences"])
def test_particles_at_once_equal_particles_one_by_one(quantities, particles, seed):
    """Three sequences: a shape that broadcasts by accident shows where the numbers of particles and sequences agree."""
    built = model(**quantities)
    with pyro.plate("particles", particles, dim=-2):
        together = poutine.trace(built).get_trace(TIMES, X)
    together.compute_log_prob()
    names = ["z0", "z", "x", *(name for name in quantities if name in together.nodes)]
    for i in range(particles):
        values = {name: together.nodes[name]["value"][i] for name in names if name != "x"}
        globals_ = {name: value[0] for name, value in values.items() if name not in ("z0", "z")}
        alone = poutine.trace(poutine.condition(built, values | globals_)).get_trace(TIMES, X)
        alone.compute_log_prob()
        for name in names:
            expected = together.nodes[name]["log_prob"][i]
            torch.testing.assert_close(alone.nodes[name]["log_prob"].expand_as(expected), expected)


def test_a_prior_per_axis_needs_no_to_event():
    built = model(friction=dist.LogNormal(torch.zeros(2), 0.5))
    trace = poutine.trace(built).get_trace(TIMES, X)
    assert trace.nodes["friction"]["fn"].event_shape == (2,)
    assert trace.nodes["friction"]["fn"].batch_shape == ()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (-1.0, "temperature must be positive and finite: got -1.0. Give a value above zero."),
        (0, "temperature must be positive and finite: got 0.0. Give a value above zero."),
        (float("nan"), "temperature must be positive and finite: got nan. Give a value above zero."),
        (
            torch.tensor([1.0, -2.0]),
            "temperature must be positive and finite: got [1.0, -2.0]. Give a value above zero.",
        ),
        (
            nn.Parameter(torch.tensor(-1.0)),
            "temperature must be positive and finite: got -1.0. Give a value above zero.",
        ),
        (
            PyroParam(torch.tensor(-1.0), constraints.positive),
            "temperature must be positive and finite: got -1.0. Give a value above zero.",
        ),
        (
            PyroParam(torch.tensor(1.0)),
            "temperature is positive, so its parameter needs the constraint positive: got Real(). "
            "Use PyroParam(value, constraints.positive) or nn.Parameter(value).",
        ),
        (
            dist.Normal(0.0, 1.0),
            "temperature is positive, so its prior needs positive support: got Normal on Real(). "
            "Use for example LogNormal or Gamma.",
        ),
        (
            PyroSample(dist.Normal(0.0, 1.0)),
            "temperature is positive, so its prior needs positive support: got Normal on Real(). "
            "Use for example LogNormal or Gamma.",
        ),
        (
            dist.Uniform(-1.0, 1.0),
            "temperature is positive, so its prior needs positive support: got Uniform on "
            "Interval(lower_bound=-1.0, upper_bound=1.0). Use for example LogNormal or Gamma.",
        ),
    ],
)
@pytest.mark.parametrize("by", ["constructor", "attribute"])
def test_impossible_quantities(value, sentence, by):
    dynamics = nld.OverdampedLangevin(nld.Quadratic([1.0]))
    give = dynamics.__init__ if by == "constructor" else partial(setattr, dynamics, "temperature")
    arguments = (nld.Quadratic([1.0]), value) if by == "constructor" else (value,)
    with pytest.raises(nld.PriorError) as caught:
        give(*arguments)
    assert str(caught.value) == sentence
    assert by == "constructor" or stored(dynamics, "temperature") == ["number"]


@pytest.mark.parametrize("value", ["warm", None, object()], ids=lambda value: type(value).__name__)
def test_what_is_no_quantity_at_all(value):
    dynamics = nld.OverdampedLangevin(nld.Quadratic([1.0]))
    with pytest.raises(nld.PriorError) as caught:
        dynamics.temperature = value
    kind = type(value).__name__
    assert str(caught.value) == f"temperature must be a positive number, a distribution, or a parameter: got {kind}."


@pytest.mark.parametrize(
    "prior",
    [
        dist.LogNormal(0.0, 1.0),
        dist.Gamma(2.0, 1.0),
        dist.HalfNormal(1.0),
        dist.Uniform(0.5, 2.0),
        dist.InverseGamma(3.0, 1.0),
        dist.LogNormal(torch.zeros(2), 1.0).to_event(1),
        dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.ExpTransform()),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_every_positive_prior_is_taken(prior):
    trace = poutine.trace(model(friction=prior)).get_trace(TIMES, X)
    assert torch.isfinite(trace.log_prob_sum())


def test_a_misspelt_quantity_is_refused_and_other_names_are_not():
    dynamics = nld.OverdampedLangevin(nld.Quadratic([1.0]))
    with pytest.raises(nld.PriorError) as caught:
        dynamics.temprature = 0.5
    assert str(caught.value) == (
        "OverdampedLangevin has no quantity temprature: expected one of temperature, friction. "
        "Did you mean temperature?"
    )
    dynamics.protocol = 3.0
    assert dynamics.protocol == 3.0


@pytest.mark.parametrize(
    "value",
    [torch.ones(2), dist.LogNormal(torch.zeros(2), 0.5), nn.Parameter(torch.ones(2))],
    ids=["numbers", "prior", "parameter"],
)
def test_a_quantity_has_one_value_or_one_for_each_axis(value):
    with pytest.raises(nld.PriorError) as caught:
        nld.OverdampedLangevin(nld.DoubleWell(), friction=value)
    assert str(caught.value) == (
        "friction needs one value, or one for each of 1 axes: got values of shape (2,). "
        "Give one number, or one for each axis."
    )
    nld.OverdampedLangevin(nld.DoubleWell(latent=2), friction=value)


# ---------------------------------------------------------------- frozen parameters, and modes


@pytest.mark.parametrize("frozen", ["potential", "decoder", "friction", "start"])
def test_a_frozen_parameter_does_not_learn(frozen):
    """Pyro's store would make it learn again. SVI moves all others, also without a random quantity in the dynamics."""
    dynamics = nld.OverdampedLangevin(nld.NeuralPotential(1, hidden=(4,)), friction=nn.Parameter(torch.ones(1)))
    whole = nld.LatentLangevin(dynamics, nld.Gaussian(nld.LinearDecoder(1, 2), 0.3), substeps=2)
    guide = nld.AmortizedGuide(whole, nld.GRUEncoder(2, size=4, hidden=4))
    held = {
        "potential": list(dynamics.potential.parameters()),
        "decoder": list(whole.likelihood.decoder.parameters()),
        "friction": [dynamics.friction_unconstrained],
        "start": [whole.initial_loc],
    }[frozen]
    for value in held:
        value.requires_grad_(False)
    before = {name: value.detach().clone() for name, value in whole.named_parameters()}
    svi = SVI(whole, guide, Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(2):
        svi.step(TIMES, X)
    for name, value in whole.named_parameters():
        is_held = any(value is each for each in held)
        assert value.requires_grad != is_held
        still = is_held or name == "dynamics.potential.output.bias"  # the zero of energy, which no force knows
        assert bool((value == before[name]).all()) == still, name


def test_evaluation_ends_where_it_began():
    net = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with evaluating(net):
        assert not any(part.training for part in net.modules())
    assert [part.training for part in net.modules()] == [True, True, False]


def test_versions_tell_whether_something_was_learned():
    net, other = nn.Linear(1, 1), nn.Linear(1, 1)
    before = versions(net)
    net(torch.ones(1))
    assert versions(net) == before != versions(other)
    with torch.no_grad():
        net.weight.add_(1.0)
    assert versions(net) != before
    assert versions(copy.deepcopy(other)) != versions(other)


def test_a_distribution_in_place_of_weights_is_the_prior_of_each():
    potential = nld.NeuralPotential(1, hidden=(4,))
    potential.output.weight = dist.Normal(0.0, 0.5)
    whole = nld.LatentLangevin(nld.OverdampedLangevin(potential), nld.Gaussian(nld.IdentityDecoder(1), 0.3))
    site = poutine.trace(whole).get_trace(TIMES).nodes["dynamics.potential.output.weight"]
    assert (site["fn"].batch_shape, site["fn"].event_shape) == ((), (1, 4))
    assert site["value"].unique().numel() == 4
