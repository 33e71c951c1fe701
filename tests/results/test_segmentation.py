"""Segmentation: probabilities are shares of posterior draws, labels say when they are not sure, causality is kept."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.kinetics.memberships import between, memberships
from pyro_nld.kinetics.visits import joined, parted, recordings, state_paths

WELLS = [[-1.5, 0.0], [1.5, 0.0], [0.0, 2.0]]
SEQUENCES, TIMES = 4, 6


def data():
    """Positions near one well after another, plainly visible; one ragged sequence, one missing value."""
    draw = torch.Generator().manual_seed(0)
    states = torch.arange(SEQUENCES * TIMES).reshape(SEQUENCES, TIMES) // 5 % 3
    x = torch.tensor(WELLS)[states] + 0.1 * torch.randn(SEQUENCES, TIMES, 2, generator=draw)
    times = torch.arange(float(TIMES)).repeat(SEQUENCES, 1)
    times[1, 4:], x[1, 4:] = math.nan, math.nan
    x[2, 3, 1] = math.nan
    return times, x, states


def build(causal=False):
    wells = nld.GaussianWells(WELLS, widths=0.4)
    model = nld.LatentLangevin(
        nld.OverdampedLangevin(wells, temperature=1.0), nld.Gaussian(nld.IdentityDecoder(2), 0.1), substeps=4
    )
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(2, size=16, hidden=16, causal=causal))


@pytest.fixture
def fitted():
    times, x, _ = data()
    model, guide = build()
    guide(times, x)
    return nld.Fit(model, guide, times, x)


@pytest.fixture
def story():
    return nld.landscape.minima(nld.GaussianWells(WELLS, widths=0.4), torch.tensor(WELLS))


def nearest(story, centre):
    """The number that the well at `centre` got."""
    return int(np.linalg.norm(story["position"].to_numpy() - np.array(centre), axis=-1).argmin())


def draws_of(monkeypatch, fitted, positions):
    monkeypatch.setattr(fitted, "positions", lambda data=None, draws=1, seed=0: positions[:draws])


def test_probabilities_are_shares_of_draws(monkeypatch, fitted, story):
    """Ten draws, of which 7, 2 and 1 stand in the three wells: those are the probabilities, to the last digit."""
    where = torch.tensor([0] * 7 + [1] * 2 + [2])
    positions = torch.tensor(WELLS)[where].view(10, 1, 1, 2).expand(10, SEQUENCES, TIMES, 2)
    draws_of(monkeypatch, fitted, positions)
    found = nld.segment(fitted, draws=10, wells=story)
    for centre, share in zip(WELLS, (0.7, 0.2, 0.1), strict=True):
        np.testing.assert_allclose(found["probability"][0, :, nearest(story, centre)], share, rtol=1e-6)
    assert bool((found["label"][0] == nearest(story, WELLS[0])).all())


@pytest.mark.parametrize(("sure", "label"), [(0.5, True), (0.75, False)])
def test_it_abstains_where_it_is_not_sure(monkeypatch, fitted, story, sure, label):
    where = torch.tensor([0] * 7 + [1] * 3)
    draws_of(monkeypatch, fitted, torch.tensor(WELLS)[where].view(10, 1, 1, 2).expand(10, SEQUENCES, TIMES, 2))
    found = nld.segment(fitted, draws=10, wells=story, sure=sure)
    expected = nearest(story, WELLS[0]) if label else -1
    assert bool((found["label"][0] == expected).all())


@pytest.mark.parametrize("causal", [True, False])
def test_labels_of_one_draw_after_the_other_are_those_of_all_at_once(monkeypatch, causal, seed):
    """Only the memory differs: what one draw needs besides its positions, not what all of them need."""
    times, x, _ = data()
    pair = build(causal)
    pair[1](times, x)
    fit = nld.Fit(*pair, times, x)
    torch.manual_seed(seed)
    where = torch.randint(3, (8, SEQUENCES, TIMES))
    positions = torch.tensor(WELLS)[where] + 0.4 * torch.randn(8, SEQUENCES, TIMES, 2)
    tables = between(positions[0].flatten(0, 1), where[0].flatten(), torch.tensor(WELLS))
    states = tables.assign(minimum_state=("minimum", np.arange(3)), energy=("state", np.zeros(3)))
    draws_of(monkeypatch, fit, positions)
    held = memberships(states, positions)
    if causal:
        label = held.argmax(-1).numpy()
    else:
        order = recordings(times.numpy())
        whole = joined(np.moveaxis(held.numpy(), -1, 0), order)
        paths = state_paths(np.moveaxis(whole, 0, -1))
        label = parted(paths, order, tuple(times.shape), -1)
    expected = (label[..., None] == np.arange(3)).mean(0)
    found = fit.probability(states, draws=8)
    there = times.isfinite().numpy()
    np.testing.assert_array_equal(found[there], expected[there])
    assert len(np.unique(found[there])) > 3
    assert np.isnan(found[~there]).all()


def test_what_belongs_to_a_segmentation(fitted, story):
    found = nld.segment(fitted, draws=3, wells=story)
    assert found["probability"].dims == ("sequence", "time", "state")
    assert found["label"].dims == found["times"].dims == ("sequence", "time")
    assert dict(found.sizes) == {"sequence": SEQUENCES, "time": TIMES, "state": 3}
    assert found.attrs == {"online": 0, "draws": 3}
    np.testing.assert_array_equal(found["times"], data()[0])
    inside = found["probability"].where(found["times"].notnull(), drop=False).sum("state")
    assert bool((inside <= 1 + 1e-6).all())


def test_after_the_end_there_is_no_state(fitted, story):
    found = nld.segment(fitted, wells=story)
    ended = np.isnan(data()[0].numpy())
    assert bool(np.isnan(found["probability"].to_numpy()[ended]).all())
    assert bool((found["label"].to_numpy()[ended] == -1).all())
    assert bool(np.isfinite(found["probability"].to_numpy()[~ended]).all())


def test_the_same_seed_gives_the_same_segments(fitted, story):
    first, again, other = (nld.segment(fitted, wells=story, draws=5, seed=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(first, again)
    assert not first["probability"].equals(other["probability"])


def test_other_data_can_be_segmented(fitted, story):
    few = xr.Dataset(
        {"observations": (("sequence", "time", "channel"), np.zeros((1, 3, 2)))}, coords={"time": np.arange(3.0)}
    )
    found = nld.segment(fitted, few, wells=story)
    assert dict(found.sizes) == {"sequence": 1, "time": 3, "state": 3}
    with pytest.raises(nld.ShapeError):
        nld.segment(fitted, (torch.arange(3.0), torch.zeros(1, 3, 3)), wells=story)


def test_online_needs_an_encoder_that_sees_the_past_alone(fitted, story):
    with pytest.raises(nld.FitError) as caught:
        nld.segment(fitted, online=True, wells=story)
    assert str(caught.value) == (
        "online segmentation needs an encoder that sees the past alone: this fit's is two-sided. "
        "Fit again with causal=True in the encoder, or segment without online."
    )


def test_a_fit_finds_the_wells_and_who_stands_in_them(seed):
    """The whole way: fit a guide to a known landscape, find its wells, label what is plain to see."""
    torch.manual_seed(seed)
    times, x, states = data()
    model, guide = build(causal=True)
    with torch.no_grad():
        model.initial_scale_unconstrained.fill_(0.5)
    fitted = nld.fit(model, guide, (times, x), nld.Schedule(steps=150, learning_rate=0.03, anneal=0.0), progress=False)
    story = fitted.landscape(min_persistence=0.0)  # four switches do not tell which minima are come back to
    found = nld.segment(fitted, online=True, wells=story)
    assert found.attrs["online"] == 1
    assert story.sizes["state"] == 3
    assert fitted.wells().sizes["state"] == 1
    number = torch.tensor([nearest(story, centre) for centre in WELLS])
    seen = times.isfinite()
    right = torch.from_numpy(found["label"].to_numpy())[seen] == number[states][seen]
    assert float(right.float().mean()) > 0.9


def test_a_guide_that_learned_nothing_does_not(seed):
    """Negative control of the test above."""
    torch.manual_seed(seed)
    times, x, states = data()
    model, guide = build(causal=True)
    guide(times, x)
    fitted = nld.Fit(model, guide, times, x)
    story = nld.landscape.minima(model.dynamics.potential, torch.tensor(WELLS))
    number = torch.tensor([nearest(story, centre) for centre in WELLS])
    label = torch.from_numpy(nld.segment(fitted, wells=story)["label"].to_numpy())
    seen = times.isfinite()
    assert float((label[seen] == number[states][seen]).float().mean()) < 0.8


def test_the_future_does_not_change_online_segments(story):
    times, x, _ = data()
    model, guide = build(causal=True)
    guide(times, x)
    fitted = nld.Fit(model, guide, times, x)
    later = x.clone()
    later[:, 3:] *= -1
    later[1, 4:] = math.nan
    first, other = (nld.segment(fitted, (times, given), online=True, wells=story, draws=50) for given in (x, later))
    np.testing.assert_array_equal(first["probability"][:, :3], other["probability"][:, :3])
    assert not np.array_equal(first["probability"][:, 3:], other["probability"][:, 3:], equal_nan=True)


def test_a_table_has_one_row_per_observation():
    """In the order of the data; empty where undecided; pieces under the name of their recording."""
    times = np.array([[0.0, 1.0, 2.0], [5.0, 6.0, math.nan]])
    share = np.array([[[0.9, 0.1], [0.45, 0.55], [0.5, 0.5]], [[0.0, 1.0], [1.0, 0.0], [math.nan, math.nan]]])
    segments = xr.Dataset(
        {
            "probability": (("sequence", "time", "state"), share),
            "label": (("sequence", "time"), [[0, 1, -1], [1, 0, -1]]),
            "times": (("sequence", "time"), times),
        }
    )
    data = xr.Dataset(coords={"sequence": ["a/0", "a/1"], "recording": ("sequence", ["a", "a"])})
    rows = nld.results.segmentation.tabulated(segments, data)
    assert rows.columns.tolist() == ["sequence", "time", "state", "probability_0", "probability_1"]
    assert rows["sequence"].tolist() == ["a"] * 5
    assert rows["time"].tolist() == [0, 1, 2, 5, 6]
    assert rows["state"].fillna(-1).tolist() == [0, 1, -1, 1, 0]
    assert rows["probability_1"].tolist() == [0.1, 0.55, 0.5, 1.0, 0.0]
    assert nld.results.segmentation.tabulated(segments, xr.Dataset())["sequence"].tolist() == [0, 0, 0, 1, 1]
    exact = data.assign(times=(("sequence", "time"), times + 1e-9))
    assert nld.results.segmentation.tabulated(segments, exact)["time"].tolist() == [t + 1e-9 for t in (0, 1, 2, 5, 6)]
