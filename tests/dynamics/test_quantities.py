"""Quantities per group of sequences: their sites, who has which, hierarchies, and what is refused."""

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.nn import PyroSample
from pyro.optim import Adam

import pyro_nld as nld

TIMES = torch.linspace(0.0, 1.0, 6).expand(5, -1)
GROUP = [0, 1, 0, 2, 1]
PRIOR = dist.LogNormal(0.0, 0.5)
DYNAMICS = {
    "overdamped": lambda **given: nld.OverdampedLangevin(nld.Quadratic([1.0, 2.0]), **given),
    "underdamped": lambda **given: nld.UnderdampedLangevin(nld.Quadratic([1.0, 2.0]), **given),
}


def build(dynamics):
    return nld.LatentLangevin(dynamics, nld.Gaussian(nld.IdentityDecoder(2), 0.2), substeps=2, time_unit=1.0)


def scores(trace):
    trace.compute_log_prob()
    return {name: trace.nodes[name]["log_prob"] for name in ("z0", "z", "x")}


@pytest.mark.parametrize("kind", DYNAMICS)
@pytest.mark.parametrize("name", ["temperature", "friction"])
@pytest.mark.parametrize("particles", [None, 2, 5])
def test_a_sequence_has_the_quantity_of_its_group(kind, name, particles):
    """The density of each sequence is that of a model with this one value, whoever shares the batch."""
    grouped = build(DYNAMICS[kind](**{name: nld.PerGroup(PRIOR, GROUP)}))
    if particles is None:
        trace = poutine.trace(grouped).get_trace(TIMES)
    else:
        with pyro.plate("particle", particles, dim=-2):
            trace = poutine.trace(grouped).get_trace(TIMES)
    assert [frame.name for frame in trace.nodes[name]["cond_indep_stack"]][-1:] == [f"{name}_group"]
    values, together = trace.nodes[name]["value"], scores(trace)
    assert values.shape == ((3,) if particles is None else (particles, 3))
    at = () if particles is None else (-1,)
    for sequence, group in enumerate(GROUP):
        alone = build(DYNAMICS[kind](**{name: float(values[(*at, group)])}))
        given = {site: trace.nodes[site]["value"][at][sequence : sequence + 1] for site in ("z0", "z")}
        x = trace.nodes["x"]["value"][at][sequence : sequence + 1]
        for site, score in scores(poutine.trace(poutine.condition(alone, given)).get_trace(TIMES[:1], x)).items():
            torch.testing.assert_close(score[0], together[site][at][sequence], rtol=1e-4, atol=1e-4)


def test_a_batch_keeps_its_groups():
    model = build(DYNAMICS["overdamped"](temperature=nld.PerGroup(PRIOR, GROUP)))
    x = poutine.trace(model).get_trace(TIMES).nodes["x"]["value"]
    values = torch.tensor([0.5, 1.0, 4.0])
    chosen = torch.tensor([3, 1])
    batch = poutine.trace(poutine.condition(model, {"temperature": values}))
    by_loader = batch.get_trace(TIMES[chosen], x[chosen], subsample=chosen, size=5).nodes
    by_number = batch.get_trace(TIMES, x, subsample=chosen).nodes
    for nodes in (by_loader, by_number):
        assert nodes["z"]["fn"].latents["temperature"].tolist() == [4.0, 1.0]
        assert torch.equal(nodes["x"]["value"], x[chosen])
        assert nodes["x"]["scale"] == 5 / 2
        assert nodes["temperature"]["scale"] == 1
    with pytest.raises(nld.ShapeError, match="temperature has groups of 5 sequences: got 2"):
        model(TIMES[chosen], x[chosen])


def test_a_prior_of_the_groups_may_depend_on_one_for_all():
    dynamics = DYNAMICS["overdamped"](temperature=nld.PerGroup(lambda part: dist.LogNormal(part.level, 0.1), GROUP))
    dynamics.level = PyroSample(dist.Normal(2.0, 0.1))
    trace = poutine.trace(build(dynamics)).get_trace(TIMES)
    level, site = trace.nodes["dynamics.level"], trace.nodes["temperature"]
    assert (level["value"].shape, site["value"].shape) == ((), (3,))
    expected = dist.LogNormal(level["value"], 0.1).log_prob(site["value"])
    torch.testing.assert_close(site["fn"].log_prob(site["value"]), expected)


def test_the_guide_knows_groups_and_hyperpriors_and_they_learn():
    dynamics = DYNAMICS["overdamped"](temperature=nld.PerGroup(lambda part: dist.LogNormal(part.level, 0.1), GROUP))
    dynamics.level = PyroSample(dist.Normal(2.0, 0.1))
    model = build(dynamics)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=4, hidden=4))
    x = torch.randn(5, 6, 2)
    for elbo in (Trace_ELBO(), nld.PathELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)):
        svi = SVI(model, guide, Adam({"lr": 0.05}), elbo)
        svi.step(TIMES, x)
        before = guide.others.locs.temperature.detach().clone()
        svi.step(TIMES, x, 3)
        svi.step(TIMES[:2], x[:2], subsample=torch.arange(2), size=5)
        assert before.shape == (3,)
        assert bool((guide.others.locs.temperature != before).all())


def test_a_swap_to_one_value_forgets_the_groups():
    model = build(DYNAMICS["overdamped"](temperature=nld.PerGroup(PRIOR, GROUP)))
    model.dynamics.temperature = PRIOR
    assert poutine.trace(model).get_trace(TIMES[:2]).nodes["temperature"]["value"].shape == ()
    assert "temperature_group" not in model.state_dict()


@pytest.mark.parametrize(
    ("prior", "group", "sentence"),
    [
        (dist.LogNormal(torch.zeros(2), 1.0), [0, 1], r"a prior per group is of one number: got shape \(2,\)"),
        (PRIOR, [0, 2], r"numbered from 0 without a gap, one for every sequence: got \[0, 2\]"),
        (PRIOR, torch.tensor([[0, 1]]), r"numbered from 0 without a gap, one for every sequence: got \[0, 1\]"),
    ],
)
def test_groups_are_numbered_and_priors_of_one_number(prior, group, sentence):
    with pytest.raises(nld.PriorError, match=sentence):
        nld.PerGroup(prior, group)
