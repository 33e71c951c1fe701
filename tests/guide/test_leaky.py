"""Leaky averages: those of a loop over times, forgotten at rates that the data can be right about."""

import math

import pytest
import torch

import pyro_nld as nld

CHANNELS = 2


def batch(times=23):
    draw = torch.Generator().manual_seed(6)
    x = torch.randn(3, times, CHANNELS, generator=draw, dtype=torch.float64)
    gaps = 0.05 + torch.rand(3, times - 1, generator=draw, dtype=torch.float64)
    return x, gaps, torch.ones(3, times, dtype=torch.bool)


def looped(averages, features, before, after):
    """One time after the other, in both directions."""
    new, raw = averages.gates(features).chunk(2, -1)
    rate = averages.rates * torch.nn.functional.softplus(raw)
    half, found = rate.shape[-1] // 2, []
    for part, gap, order in ((slice(half), before, 1), (slice(half, None), after, -1)):
        h, states = torch.zeros_like(new[:, 0, part]), []
        for i in range(new.shape[1])[::order]:
            keep = (-gap[:, i] * rate[:, i, part]).exp()
            h = keep * h + (1 - keep) * new[:, i, part]
            states.append(h)
        found.append(torch.stack(states[::order], 1))
    return torch.cat(found, -1)


def test_the_averages_are_those_of_a_loop():
    averages = nld.LeakyEncoder(CHANNELS, hidden=5).double().averages[0]
    features = torch.randn(3, 23, 2 * CHANNELS + 1, dtype=torch.float64)
    before, after = torch.rand(2, 3, 23, 1, dtype=torch.float64)
    found = averages(features, before, after, torch.ones(3, 23, 1, dtype=torch.bool))
    expected = looped(averages, features, before, after)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    swapped = looped(averages, features, after, before)
    assert not torch.allclose(found, swapped)


def test_gradients_are_those_of_differences():
    encoder = nld.LeakyEncoder(CHANNELS, size=3, hidden=4).double()
    _, gaps, valid = batch(7)
    valid[1, 4:] = False
    x = batch(7)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: encoder(x, gaps, valid)[valid], (x,))


def kalman_gain(rate, noise, gap):
    """Of the steady filter of an Ornstein–Uhlenbeck process of variance 1, seen through noise every `gap`."""
    keep, variance = math.exp(-2 * rate * gap), 1.0
    for _ in range(1000):
        predicted = keep * variance + 1 - keep
        variance = predicted * noise / (predicted + noise)
    return predicted / (predicted + noise)


@pytest.mark.parametrize("unit", [1.0, 60.0])
def test_one_average_is_the_steady_filter_of_an_ornstein_uhlenbeck_process(unit):
    """c = A h + b of one layer holds the exact filter, Σ ((1 − K) e^{−kΔ})^j K x_{i−j}; time has any unit."""
    rate, noise, gap = 1.3 / unit, 0.5, 0.2 * unit
    x = torch.randn(1, 300, 1, dtype=torch.float64)
    gain, expected = kalman_gain(rate, noise, gap), [torch.zeros((), dtype=torch.float64)]
    for value in x[0, :, 0]:
        before = math.exp(-rate * gap) * expected[-1]
        expected.append(before + gain * (value - before))
    averages = nld.LeakyEncoder(1, hidden=1, causal=True).double().averages[0]
    lost = -math.log((1 - gain) * math.exp(-rate * gap))
    with torch.no_grad():
        averages.gates.weight.zero_()
        averages.gates.weight[0, 0] = gain / -math.expm1(-lost)
        averages.gates.bias.copy_(torch.tensor([0.0, math.log(math.expm1(lost / gap / float(averages.rates)))]))
        gaps = torch.full_like(x, gap)
        found = averages(torch.cat([x, torch.ones_like(x), gaps.log()], -1), gaps, gaps, x > -math.inf)
    torch.testing.assert_close(found[0, :, 0], torch.stack(expected[1:]))


def test_a_guide_with_it_comes_near_the_exact_evidence():
    """In a harmonic well, in nats per observation; after two steps it is far away."""
    data = nld.datasets.ornstein_uhlenbeck(sequences=40, steps=30, rate=1.0, noise=0.3, seed=0)
    evidence = float(nld.oracles.ornstein_uhlenbeck_posterior(data)["log_evidence"].sum())
    gaps = []
    for steps in (2, 150):
        torch.manual_seed(0)
        prior = nld.OverdampedLangevin(nld.Quadratic([1.0]), temperature=1.0)
        model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.3), substeps=2, time_unit=1.0)
        guide = nld.AmortizedGuide(model, nld.LeakyEncoder(1, size=16, hidden=16))
        schedule = nld.Schedule(steps=steps, learning_rate=0.01)
        fit = nld.fit(model, guide, data, schedule, progress=False)
        gaps.append((evidence - fit.elbo()["total"]) / (40 * 30))
    assert 0 < gaps[1] < 0.05 < gaps[0] / 3
