"""The lead: what paths are drawn to, where, and that nothing of it is left in a fit that goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyro_nld as nld
from pyro_nld.fitting.lead import FREE, SCALE, Lead


def rare(seed: int, frames: int = 6000) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Noise without memory; for 5 % of the time, in visits of 50, the first channel is 3 or −3 in place of about 0."""
    draw = np.random.default_rng(seed)
    state = np.zeros(frames, bool)
    for begin in np.linspace(400, frames - 400, frames // 1000).astype(int):
        state[begin : begin + 50] = True
    x = draw.standard_normal((frames, 2))
    x[:, 0] = np.where(state, 3 * np.sign(x[:, 0]) + 0.3 * x[:, 0], x[:, 0])
    return torch.arange(float(frames))[None], torch.as_tensor(x).float()[None], state


def pair(decoder, latent=2, substeps=4):
    prior = nld.OverdampedLangevin(nld.NeuralPotential(latent), friction=None)
    model = nld.LatentLangevin(prior, nld.Gaussian(decoder), substeps)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(2, 8, 8))


def test_a_rare_state_that_is_no_direction_is_a_coordinate():
    times, x, state = rare(0)
    found = Lead(pair(nld.MLPDecoder(2, 2))[0], times, x).coordinates
    assert found.shape == (1, 6000, 1)
    inside, outside = found[0, state, 0].mean(), found[0, ~state, 0].mean()
    assert abs(inside - outside) > 1.5  # of 2 between the ends
    assert found.abs().max() < 10


def test_pieces_of_a_recording_are_led_as_the_whole():
    times, x, _ = rare(1)
    whole = Lead(pair(nld.MLPDecoder(2, 2))[0], times, x).coordinates
    parts = Lead(pair(nld.MLPDecoder(2, 2))[0], times.view(60, 100), x.view(60, 100, 2)).coordinates
    torch.testing.assert_close(parts.flatten(0, 1), whole[0])


def test_a_straight_decoder_and_white_noise_are_not_led():
    times, x, _ = rare(0)
    assert Lead(pair(nld.LinearDecoder(2, 2))[0], times, x).coordinates.shape[-1] == 0
    white = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert Lead(pair(nld.MLPDecoder(2, 2))[0], times, white).coordinates.shape[-1] == 0


@pytest.mark.parametrize("subsample", [None, 3])
def test_the_weight_is_that_of_what_positions_do_not_tell(subsample):
    """By numpy's least squares, from the trace of the guide; a batch speaks for all sequences."""
    times, x, _ = rare(0)
    times, x = times.view(12, 500), x.view(12, 500, 2)
    model, guide = pair(nld.MLPDecoder(2, 2))
    x[2, 7] = torch.nan
    lead = Lead(model, times, x)
    with lead:
        trace = nld.fitting.elbo.paired_traces(model, guide, times, x, subsample)[1]
    path, first = trace.nodes["z"]["value"], trace.nodes["z0"]["value"]
    at = torch.cat([first[:, None], path[:, 3::4]], 1).detach().double()
    s = lead.coordinates[slice(None) if subsample is None else lead._chosen].double().numpy()
    known = np.isfinite(s).all(-1)
    design = np.column_stack([at.numpy()[known], np.ones(known.sum())])
    left = s[known] - design @ np.linalg.lstsq(design, s[known])[0]
    expected = -(np.clip(np.abs(left) - FREE, 0, None) ** 2).sum() / (2 * SCALE**2) * (12 / len(at))
    assert lead.log_weight().item() == pytest.approx(expected, rel=1e-4)


def test_the_gradient_knows_that_the_linear_function_moves_with_the_path():
    """By finite differences."""
    times, x, _ = rare(0)
    model, _ = pair(nld.MLPDecoder(2, 2))
    lead = Lead(model.double(), times.double(), x.double())
    z = torch.randn(1, 4 * 5999, 2, dtype=torch.float64)

    def weight(path):
        lead._path = torch.zeros(1, 2, dtype=torch.float64), path
        return lead.log_weight()

    along = torch.randn_like(z)
    (slope,) = torch.autograd.grad(weight(z.requires_grad_()), z)
    with torch.no_grad():
        found = (weight(z + 1e-5 * along) - weight(z - 1e-5 * along)) / 2e-5
    assert float((slope * along).sum()) == pytest.approx(float(found), rel=1e-4)


def test_the_weight_falls_to_zero_and_a_fit_without_it_is_unchanged():
    schedule = nld.Schedule(steps=10, lead=0.5)
    assert [schedule.lead_weight(step) for step in (0, 1, 5, 9)] == [1.0, 0.8, 0.0, 0.0]
    assert nld.Schedule(steps=10).lead_weight(0) == 0


@pytest.mark.filterwarnings("ignore:curvature:pyro_nld.errors.DoubtfulFitWarning")  # sixty steps
def test_a_led_fit_gives_the_rare_state_an_axis():
    times, x, state = rare(2)
    times, x = times.view(60, 100), x.view(60, 100, 2)
    schedule = nld.Schedule(steps=60, lead=1.0, learning_rate=0.02)

    def apart(fit):
        z = fit.positions(draws=4).mean(0).flatten(0, 1).numpy()
        z = np.linalg.solve(np.linalg.cholesky(np.cov(z.T)), z.T).T  # in standard deviations of any direction
        return float(np.linalg.norm(z[state].mean(0) - z[~state].mean(0)))

    torch.manual_seed(0)
    led = nld.fit(*pair(nld.MLPDecoder(2, 2)), (times, x), schedule, progress=False)
    assert apart(led) > 1.0
    torch.manual_seed(0)
    alone = nld.fit(*pair(nld.MLPDecoder(2, 2)), (times, x), nld.Schedule(steps=60, learning_rate=0.02), progress=False)
    assert apart(alone) < 0.5
