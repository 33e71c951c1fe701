"""A covariate that acts on the force: in which steps, on which sequences, however a path is drawn or scored."""

import math
from pathlib import Path

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import nn

import pyro_nld as nld
from pyro_nld.runs.model_files import build as build_pair
from pyro_nld.runs.model_files import load_model_file

SEQUENCES, SUBSTEPS = 4, 3
TIMES = torch.tensor([0.0, 0.1, 0.3, 0.4, 0.6])
PULL = torch.randn(SEQUENCES, len(TIMES), 2, generator=torch.Generator().manual_seed(1))


class Pulled(nn.Module):
    """½ z² − a u₁ z, with a learned; u₂ does nothing."""

    def __init__(self, coupling=0.7):
        super().__init__()
        self.coupling = nn.Parameter(torch.tensor(coupling))

    def forward(self, z, u):
        return (z.square() / 2 - self.coupling * u[..., :1] * z).sum(-1)


def build(pull=PULL, control=None, **given):
    motion = nld.DrivenLangevin(Pulled(), 1, pull, **given)
    model = nld.LatentLangevin(motion, nld.Gaussian(nld.IdentityDecoder(1), 0.1), substeps=SUBSTEPS, time_unit=1.0)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4), control)


def test_a_path_follows_the_pull_of_its_sequence_and_interval():
    """The density by hand: every step of an interval under the value of u at its beginning."""
    model, _ = build(temperature=0.3)
    chosen = torch.tensor([3, 1])
    trace = poutine.trace(model).get_trace(TIMES, torch.randn(SEQUENCES, len(TIMES), 1), subsample=chosen)
    z = torch.cat([trace.nodes["z0"]["value"].unsqueeze(1), trace.nodes["z"]["value"]], 1)[..., 0]
    h = (TIMES.diff() / SUBSTEPS).repeat_interleave(SUBSTEPS)
    pull = PULL[chosen, :-1, 0].repeat_interleave(SUBSTEPS, -1)
    loc = z[:, :-1] + h * (0.7 * pull - z[:, :-1])
    expected = dist.Normal(loc, (0.6 * h).sqrt()).log_prob(z[:, 1:]).sum(-1)
    site = trace.nodes["z"]
    torch.testing.assert_close(site["fn"].log_prob(site["value"]), expected, rtol=1e-4, atol=1e-4)


def test_drawn_paths_follow_it_too():
    """The mean of a harmonic path under a constant pull is that of the exact recursion."""
    pull = torch.full((3000, 5, 2), 2.0)
    model, _ = build(pull, temperature=0.1)
    given = poutine.condition(model, {"z0": torch.zeros(3000, 1)})
    with torch.no_grad():
        z = poutine.trace(given).get_trace(TIMES.expand(3000, -1)).nodes["z"]["value"][..., -1, 0]
    expected = 0.0
    for h in (TIMES.diff() / SUBSTEPS).repeat_interleave(SUBSTEPS).tolist():
        expected += h * (1.4 - expected)
    assert abs(float(z.mean()) - expected) < 5 * float(z.std()) / math.sqrt(len(z))
    assert abs(expected) > 0.3


@pytest.mark.parametrize("control", [None, "neural"])
def test_every_estimator_learns_the_coupling(control):
    x = torch.randn(SEQUENCES, len(TIMES), 1)
    many = nld.PathELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    for elbo in (Trace_ELBO(), nld.PathELBO(path_stride=3), many):
        pyro.clear_param_store()
        model, guide = build(control=control and nld.NeuralControl(hidden=4), temperature=dist.LogNormal(0.0, 0.2))
        coupling = model.dynamics.potential.energy.coupling
        svi, before = SVI(model, guide, Adam({"lr": 0.01}), elbo), float(coupling.detach())
        svi.step(TIMES, x)
        svi.step(TIMES, x, 2)
        svi.step(TIMES[:4], x[:2, :4], subsample=torch.tensor([2, 0]), size=SEQUENCES)
        assert float(coupling.detach()) != before


def test_a_landscape_is_read_under_the_stimulus_of_rest():
    z = torch.randn(5, 1)
    for rest, slope in ((None, 0.0), ([2.0, 9.0], 1.4)):
        motion = nld.DrivenLangevin(Pulled(), 1, PULL, rest=rest)
        torch.testing.assert_close(motion.landscape(z), (z.square() / 2 - slope * z).sum(-1))
        torch.testing.assert_close(motion.force(z), slope - z)


def test_covariates_of_other_data_are_refused():
    model, guide = build()
    with pytest.raises(nld.ShapeError, match="covariates are those of 4 sequences at 5 times: got 2 sequences at 5"):
        guide(TIMES, torch.zeros(2, len(TIMES), 1))
    with pytest.raises(nld.ShapeError, match="covariates are those of 4 sequences at 5 times: got 4 sequences at 6"):
        model(torch.arange(6.0).expand(4, -1))
    with pytest.raises(nld.PriorError, match=r"covariates are finite numbers .*: got shape \(4, 5, 2\) with 40 that"):
        nld.DrivenLangevin(Pulled(), 1, PULL * torch.nan)


def labelled(sequences=SEQUENCES, pull=PULL):
    x = torch.randn(sequences, len(TIMES), 1, generator=torch.Generator().manual_seed(2))
    data = nld.io.from_arrays(TIMES, x)
    return data.assign(covariates=(("sequence", "time", "input"), pull.numpy()))


@pytest.fixture(scope="module")
def driven_fit():
    """A model that was built with another stimulus: the fit takes that of the data."""
    model, guide = build(torch.zeros_like(PULL))
    return nld.fit(model, guide, labelled(), nld.Schedule(steps=2), progress=False)


def test_a_fit_takes_the_stimulus_of_its_data(driven_fit):
    torch.testing.assert_close(driven_fit.model.dynamics.covariates, PULL)
    with pytest.raises(nld.DataError, match=r"a stimulus acts in this model: expected data with .*got obs"):
        nld.fit(*build(), labelled().drop_vars("covariates"), nld.Schedule(steps=2), progress=False)


def test_other_data_are_read_under_their_own_stimulus(driven_fit):
    """The ELBO of two other sequences is that of a model with their stimulus; then the fit has its own again."""
    pull = PULL[:2] + 3.0
    other = labelled(2, pull)
    found = driven_fit.elbo(other, draws=1, seed=3)["total"]
    twin = nld.Fit(driven_fit.model, driven_fit.guide, *nld.as_tensors(labelled()))
    twin.model.dynamics.covariates = pull
    twin.times, twin.x = TIMES.expand(2, -1), nld.as_tensors(other)[1]
    expected = twin.elbo(draws=1, seed=3)["total"]
    assert found == pytest.approx(expected, rel=1e-6)
    assert found != pytest.approx(driven_fit.elbo(labelled(2, PULL[:2]), draws=1, seed=3)["total"], rel=1e-4)
    torch.testing.assert_close(driven_fit.model.dynamics.covariates, PULL)
    assert driven_fit.positions(other).shape == (1, 2, len(TIMES), 1)
    for lacking in (other.drop_vars("covariates"), nld.as_tensors(other)):
        with pytest.raises(nld.DataError, match="a stimulus acts in this model: expected "):
            driven_fit.positions(lacking)


def test_a_forecast_follows_the_stimulus_to_come(driven_fit):
    wells = driven_fit.wells()
    with pytest.raises(nld.ShapeError, match=r"its future must be known: .* = \(4, 3, 2\), .* got None"):
        nld.forecast(driven_fit, 0.3, wells=wells)
    ahead = [
        nld.forecast(driven_fit, 0.3, draws=200, wells=wells, covariates=torch.full((4, 3, 2), pull))["mean"].values
        for pull in (0.0, 50.0)
    ]
    coupling = float(driven_fit.dynamics.potential.energy.coupling)
    h, expected = 0.1 / SUBSTEPS, 0.0
    for _ in range(3 * SUBSTEPS):
        expected += h * (50 * coupling - expected)
    assert (ahead[1] - ahead[0])[:, -1].mean() == pytest.approx(expected, abs=5 * 0.6 * math.sqrt(2 / 800))


def test_a_stimulus_that_stays_is_one_number_per_input(driven_fit):
    wells = driven_fit.wells()
    each = nld.forecast(driven_fit, 0.3, draws=20, wells=wells, covariates=torch.tensor([1.0, -2.0]).expand(4, 3, 2))
    held = nld.forecast(driven_fit, 0.3, draws=20, wells=wells, covariates=[1.0, -2.0])
    assert held.identical(each)
    with pytest.raises(nld.ShapeError, match=r"or one number per input that stays, got \(3,\)"):
        nld.forecast(driven_fit, 0.3, wells=wells, covariates=[1.0, 2.0, 3.0])


def test_a_recipe_tries_a_driven_model_on_two_of_its_sequences():
    """With the stimulus of these two; the rest of the data is not looked at."""
    source = load_model_file(Path(__file__).parents[2] / "models" / "driven.py")
    data = source.simulate(0).isel(sequence=slice(5), time=slice(6))
    model, _ = build_pair(source, data, seed=0)
    assert model.dynamics.covariates.shape == (5, 6, 1)
