"""Transition paths of a fit: units, levels, committors, and the figure."""

import numpy as np
import pytest
import torch
from angles import Circle

import pyro_nld as nld


@pytest.fixture(scope="module")
def known():
    """A double well that nothing was fitted to: its guide is new, its prior the true one."""
    torch.manual_seed(0)
    dynamics = nld.OverdampedLangevin(nld.DoubleWell(2.0), temperature=1.0, friction=1.0)
    times = 0.1 * torch.arange(200.0).expand(8, -1)
    starts = torch.tensor([[-1.0], [1.0]]).repeat(4, 1)
    z = nld.kinetics.chain(dynamics, nld.EulerMaruyama(), starts, interval=0.1, substeps=10, intervals=200)
    x = z + 0.02 * torch.randn_like(z)
    model = nld.LatentLangevin(dynamics, nld.Gaussian(nld.IdentityDecoder(1), 0.02), substeps=10, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=8, hidden=8))
    schedule = nld.Schedule(steps=60, learning_rate=0.02)
    return nld.fit(model, guide, (times, x), schedule, progress=False)


def test_passages_are_told_in_the_units_of_the_data(known):
    found = nld.results.transition_paths(known, chains=20)
    assert found["number"].values.sum() > 20
    middle = found["decoded"].isel(state=0, to=1, share=10).item()
    assert abs(middle) < 0.5
    assert 0.05 < found["duration"].isel(state=0, to=1).item() < 1.5
    along = found["committor"].isel(state=0, to=1).values
    assert along[0] < 0.3
    assert along[-1] > 0.7
    assert (np.diff(along) > -0.05).all()
    waits = found["first_passage"].isel(state=0, to=1).values
    assert (np.diff(waits[np.isfinite(waits)]) > 0).all()
    figure = nld.plots.passages(found)
    assert [axes.get_title() for axes in figure.axes[:1]] == ["states 0 and 1"]


def test_one_state_has_no_passages(known):
    with pytest.raises(nld.FitError, match="transition paths need two states: got 1"):
        nld.results.transition_paths(known, known.wells(min_persistence=1e9))


class Wells(nld.Potential):
    """U(θ) = −1.5 cos 2θ − 0.8 sin θ: wells at 0 and π, and the way over π/2 is the lower one."""

    latent, periods = 1, (2 * np.pi,)

    def forward(self, z):
        angle = z[..., 0]
        return -1.5 * torch.cos(2 * angle) - 0.8 * torch.sin(angle)


def test_a_tube_on_a_circle_goes_the_lower_way_round():
    torch.manual_seed(0)
    data = nld.datasets.langevin_wells(Wells(), 20, 100, 0, interval=0.1, noise=0.1, decoder=Circle())
    prior = nld.OverdampedLangevin(Wells(), temperature=1.0, friction=1.0)
    model = nld.LatentLangevin(prior, nld.Gaussian(Circle(), 0.1), substeps=5, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=8, hidden=8))
    fit = nld.fit(model, guide, data, nld.Schedule(steps=60, learning_rate=0.02), progress=False)
    found = nld.results.transition_paths(fit, chains=30)
    height = found["decoded"].sel(share=0.5)[..., 1]  # sin θ half-way
    level = found["decoded"].isel(channel=0)
    for state, to in ((0, 1), (1, 0)):
        assert height.isel(state=state, to=to).item() > 0.7
        assert found["tube_share"].isel(state=state, to=to).item() > 0.7  # e^1.6 = 5 to 1
        along = found["committor"].isel(state=state, to=to).values
        assert along[0] < 0.3
        assert along[-1] > 0.7
        assert level.isel(state=state, to=to)[0].item() * level.isel(state=state, to=to)[-1].item() < -0.2
