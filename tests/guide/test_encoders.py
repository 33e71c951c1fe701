"""Encoders: what a context may have seen, and what must not change it: padding, units, company."""

import math

import pytest
import torch

import pyro_nld as nld

CHANNELS, TIMES = 3, 12
MEMBERS = {
    "causal": lambda: nld.GRUEncoder(CHANNELS, size=5, hidden=6, causal=True),
    "two-sided": lambda: nld.GRUEncoder(CHANNELS, size=5, hidden=6),
    "leaky, causal": lambda: nld.LeakyEncoder(CHANNELS, size=5, hidden=6, causal=True),
    "leaky": lambda: nld.LeakyEncoder(CHANNELS, size=5, hidden=6),
}


@pytest.fixture(params=MEMBERS, ids=list(MEMBERS))
def encoder(request):
    torch.manual_seed(5)
    return MEMBERS[request.param]().double()


def batch(sequences=4):
    draw = torch.Generator().manual_seed(6)
    x = torch.randn(sequences, TIMES, CHANNELS, generator=draw, dtype=torch.float64)
    gaps = 0.05 + torch.rand(sequences, TIMES - 1, generator=draw, dtype=torch.float64)
    return x, gaps, torch.ones(sequences, TIMES, dtype=torch.bool)


def changed(contexts, others):
    """At which times any context differs."""
    return ((contexts - others).abs() > 1e-9).any(-1).any(0)


def test_one_context_per_observation(encoder):
    assert encoder(*batch()).shape == (4, TIMES, encoder.size)


@pytest.mark.parametrize("time", [0, 4, TIMES - 1])
def test_only_a_two_sided_encoder_sees_the_future(encoder, time):
    x, gaps, valid = batch()
    contexts = encoder(x, gaps, valid)
    x[:, time, 0] += 1.0
    moved = changed(encoder(x, gaps, valid), contexts)
    assert bool(moved[time:].all())
    assert bool(moved[:time].any()) == (not encoder.causal and time > 0)


@pytest.mark.parametrize("interval", [0, 4, TIMES - 2])
def test_a_later_interval_is_the_future_too(encoder, interval):
    x, gaps, valid = batch()
    contexts = encoder(x, gaps, valid)
    gaps[:, interval] *= 3.0
    moved = changed(encoder(x, gaps, valid), contexts)
    assert bool(moved[interval + 1 :].all())
    assert bool(moved[: interval + 1].any()) == (not encoder.causal)


def padded(lengths, total):
    """Sequences of the given lengths: NaN after their ends, and arbitrary positive gaps there."""
    x, gaps, _ = batch(len(lengths))
    wide = torch.full((len(lengths), total, CHANNELS), math.nan, dtype=torch.float64)
    far = torch.rand(len(lengths), total - 1, dtype=torch.float64) + 0.1
    for row, length in enumerate(lengths):
        wide[row, :length] = x[row, :length]
        far[row, : length - 1] = gaps[row, : length - 1]
    return wide, far, torch.arange(total) < torch.tensor(lengths).unsqueeze(-1)


def test_padding_does_not_colour_the_contexts(encoder):
    lengths = [5, 12, 2, 9]
    alone = [
        encoder(
            *(part[row : row + 1, :length] for part, length in zip(padded(lengths, 12), (n, n - 1, n), strict=True))
        )
        for row, n in enumerate(lengths)
    ]
    for total in (12, 20):
        together = encoder(*padded(lengths, total))
        for row, n in enumerate(lengths):
            torch.testing.assert_close(together[row, :n], alone[row][0])


def test_looking_at_the_padding_would_be_seen():
    torch.manual_seed(5)
    encoder = MEMBERS["two-sided"]().double()
    contexts = [encoder(x, gaps, torch.ones_like(valid)) for x, gaps, valid in (padded([5], 12), padded([5], 20))]
    assert bool(changed(contexts[0][:, :5], contexts[1][:, :5]).any())


def test_company_does_not_change_a_context(encoder):
    x, gaps, valid = batch()
    torch.testing.assert_close(encoder(x, gaps, valid)[1:2], encoder(x[1:2], gaps[1:2], valid[1:2]))


def test_missing_is_announced_and_is_not_zero(encoder):
    x, gaps, valid = batch()
    encoder.adapt(x)
    x[:, 3, 1] = encoder.loc[1]
    mean = encoder(x, gaps, valid)
    x[:, 3, 1] = math.nan
    missing = encoder(x, gaps, valid)
    assert bool(missing.isfinite().all())
    assert bool(changed(mean, missing)[3])


def test_a_time_without_any_value_is_still_a_time(encoder):
    x, gaps, valid = batch()
    x[:, 3] = math.nan
    assert bool(encoder(x, gaps, valid).isfinite().all())


def test_gradients_through_missing_values_are_finite(encoder):
    x, gaps, valid = batch()
    x[:, 3, 1] = math.nan
    encoder(x, gaps, valid).sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in encoder.parameters())


def test_units_of_the_channels_do_not_matter(encoder):
    x, gaps, valid = batch()
    x[:, 3, 1] = math.nan
    encoder.adapt(x)
    contexts = encoder(x, gaps, valid)
    other = x * torch.tensor([1e-3, 20.0, 1.0]) + torch.tensor([0.0, -4.0, 100.0])
    encoder.adapt(other)
    torch.testing.assert_close(encoder(other, gaps, valid), contexts)


def test_without_standardising_they_would(encoder):
    x, gaps, valid = batch()
    assert bool(changed(encoder(x, gaps, valid), encoder(20 * x, gaps, valid)).all())


def test_causality_reaches_the_states(seed):
    """The whole guide: with a causal encoder, positions up to time i do not change when x after i does."""
    data = torch.arange(8.0), torch.randn(2, 8, CHANNELS)
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(nld.NeuralPotential(2)), nld.Gaussian(nld.MLPDecoder(2, CHANNELS)), substeps=3
    )

    def positions(causal, x):
        torch.manual_seed(seed)
        guide = nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS, causal=causal))
        guide(*data)
        return nld.Fit(model, guide, *data).positions((data[0], x), draws=2, seed=1)

    later = data[1].clone()
    later[:, 5] += 1.0
    for causal in (True, False):
        moved = (positions(causal, later) - positions(causal, data[1])).abs().amax((0, 1, 3)) > 1e-6
        assert bool(moved[5:].all())
        assert bool(moved[:5].any()) == (not causal)
