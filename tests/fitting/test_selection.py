"""Choosing a model: the simplest within two standard errors of the best, of candidates that are tried in order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyro_nld as nld
from pyro_nld.errors import DataError, FitError
from pyro_nld.fitting import selection

PIECES = 20  # that are held out of the recording below


def build(data, choice):
    """Harmonic, so that a few steps fit it."""
    q, channels = choice["latent"], data.sizes["channel"]
    motion = nld.OverdampedLangevin(nld.Quadratic(torch.ones(q)), friction=None)
    model = nld.LatentLangevin(motion, nld.Gaussian(nld.LinearDecoder(q, channels), 0.3), choice["substeps"])
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(channels, 8, 8))


def recording(channels: int = 2, steps: int = 2400) -> object:
    draw = np.random.default_rng(0)
    x = np.zeros((steps, channels))
    for t in range(1, steps):
        x[t] = 0.9 * x[t - 1] + draw.standard_normal(channels)
    return nld.io.from_arrays(np.arange(float(steps)), x[None])


@pytest.fixture
def short_fits(monkeypatch):
    """Held-out bounds by candidate, in nats per value, in place of fits; the candidates asked for are noted."""
    means, asked, shown = {}, [], {}
    monkeypatch.setattr(selection, "_short_fit", made(means, asked, shown, {}))
    return means, asked, shown


def made(means, asked, shown, lacking):
    """What stands in place of a short fit; `lacking`, by candidate: nats per value that its first piece lacks."""

    def fit(build, seen, apart, choice, steps, seed, slow):
        asked.append((choice["latent"], choice["decoder"]))
        observed = apart[1].isfinite().sum((1, 2)).double().numpy()
        wobble = np.where(np.arange(len(observed)) % 2, 1.0, -1.0)
        mean = means[asked[-1]]
        if mean is None:
            raise FitError("it fails")
        wobble[0] -= 10 * lacking.get(asked[-1], 0.0)
        return selection._Score(
            (mean + 0.1 * wobble) * observed,
            100 * choice["latent"] if mean > 0 else 0,
            shown.get(asked[-1], np.ones(0)),
        )

    return fit


def chosen(found):
    return found.attrs["latent"], found.attrs["decoder"]


def select(**given):
    return nld.select(build, recording(), steps=1, progress=False, **given)


def test_the_simplest_within_two_errors_of_the_best_is_chosen(short_fits):
    means, asked, _ = short_fits
    means |= {(1, "bent"): -2.0, (2, "straight"): -1.01, (2, "bent"): -1.0, (3, "straight"): -0.99, (3, "bent"): -1.1}
    found = select()
    assert found["error"].values == pytest.approx(0.1 / np.sqrt(PIECES - 1), rel=0.1)  # of ± 0.1 about the mean
    assert chosen(found) == (2, "straight")
    assert asked == [*means, (3, "bent")]  # which fell behind, and had another start; no fourth axis is worth it
    assert found["gap"].values.round(6).tolist() == [1.01, 0.02, 0.01, 0.0, 0.11]
    assert found.attrs["heldout_elbo_per_observation"] == pytest.approx(-1.01)
    assert found.attrs["message"] == (
        "2 latent axes, a straight decoder, 8 substeps: the simplest within two standard errors of the best of 5 "
        f"candidates, -1.0100 ± {found['error'].values[1]:.4f} nats per observed value held out from fits of 1 steps."
    )


def test_neighbours_are_held_out_together(monkeypatch):
    """A quarter of the pieces, in twos, so that what is seen stays long; singly where there are few."""
    for steps, length, held in ((2400, 30, [6, 7, 14, 15]), (240, 20, [3, 7, 11])):
        judged = []

        def fit(build, seen, apart, *_, judged=judged):
            judged.append(apart[0][:, 0])
            raise FitError("it was only to be seen what is held out")

        monkeypatch.setattr(selection, "_short_fit", fit)
        with pytest.raises(FitError, match="no short fit"):
            nld.select(build, recording(steps=steps), latent=1, decoder="bent", progress=False)
        assert (judged[0] / length)[: len(held)].tolist() == held


def test_what_is_given_is_kept(short_fits):
    means, asked, _ = short_fits
    means |= {(2, "bent"): 1.0, (2, "straight"): 2.0, (5, "bent"): 3.0}
    assert chosen(select(latent=2, decoder="bent")) == (2, "bent")
    assert asked == [(2, "bent")]
    assert chosen(select(latent=2)) == (2, "straight")
    assert select(latent=2).attrs["substeps"] == 20  # the landscape asks for 200: a fit would take too long
    assert select(latent=2, substeps=3).attrs["substeps"] == 3
    assert chosen(select(latent=(5, 2), decoder="bent")) == (5, "bent")


def test_a_candidate_that_misses_a_slow_process_which_another_shows_is_none(short_fits):
    """It may predict best: a rare state hardly moves the bound."""
    means, _, shown = short_fits
    means |= {(1, "bent"): 0.0, (2, "straight"): -0.5, (2, "bent"): -0.1, (3, "straight"): -0.5, (3, "bent"): -0.4}
    shown |= {name: np.array([0.9, 0.2]) for name in means} | {(2, "bent"): np.array([0.8, 0.9])}
    found = select()
    assert chosen(found) == (2, "bent")
    assert found["shown"].values.tolist() == [0.2, 0.2, 0.8]
    shown[2, "bent"] = np.array([0.8, 0.48])  # less than half of it is no more than chance: then the bound decides
    means[2, "bent"] = -0.6
    assert chosen(select()) == (1, "bent")


def test_a_candidate_without_a_place_for_a_piece_that_another_has_is_none(monkeypatch):
    """Its mean bound has then such an error that the simplest would be as good as the best."""
    means = {(1, "bent"): -1.0, (2, "straight"): -1.0, (2, "bent"): -1.0, (3, "straight"): -1.0, (3, "bent"): -1.0}
    for lacking, expected in ((30.0, (2, "straight")), (0.5, (1, "bent"))):
        monkeypatch.setattr(selection, "_short_fit", made(means, [], {}, {(1, "bent"): lacking}))
        found = select()
        assert chosen(found) == expected
        assert found["lost"].values.tolist() == [int(lacking > 2), *[0] * (found.sizes["candidate"] - 1)]


def test_a_piece_that_no_candidate_has_a_place_for_does_not_hide_what_the_others_tell(monkeypatch):
    """A rare state of which too little was seen: the error over all pieces would hold every candidate."""
    means = {(1, "bent"): -1.0, (2, "straight"): -1.0, (2, "bent"): -0.5, (3, "straight"): -1.0, (3, "bent"): -1.0}
    monkeypatch.setattr(selection, "_short_fit", made(means, asked := [], {}, dict.fromkeys(means, 30.0)))
    found = select()
    assert asked == [*means, (3, "bent")]  # the second axis was worth it, the third fell behind and had another start
    assert chosen(found) == (2, "bent")
    assert found["lost"].values.tolist() == [0] * 5
    assert found.attrs["message"].endswith(f"In 1 of {PIECES} pieces all of them fail; these are left out.")
    assert found.attrs["heldout_elbo_per_observation"] < found["heldout"].values[2] - 1  # of all pieces


def test_axes_are_added_while_a_slow_process_is_shown_by_none(short_fits, monkeypatch):
    means, asked, shown = short_fits
    means |= {(q, shape): -1.0 for q in range(1, 7) for shape in ("straight", "bent")}
    shown |= {name: np.array([0.1 * name[0]] * 4) for name in means}
    slow = torch.zeros(1, 1, 4)
    monkeypatch.setattr(selection, "slow_coordinates", lambda times, x: slow)
    select()
    assert max(q for q, _ in asked) == 5  # one more than there are processes; at five half of each is shown
    asked.clear()
    slow = torch.zeros(1, 1, 0)
    shown.clear()
    select()
    assert max(q for q, _ in asked) == 2  # there are none: the bound alone decides


def test_what_positions_show_is_the_variance_between_their_cells():
    draw = np.random.default_rng(0)
    positions = draw.uniform(-1, 1, (1, 5000, 1))
    slow = np.concatenate([np.sign(positions), draw.standard_normal((1, 5000, 1))], -1)
    found = selection._shown(positions, slow, 0)
    assert found[0] > 0.95
    assert found[1] < 5 * 40 / 5000
    assert selection._shown(positions, slow[..., :0], 0).shape == (0,)


def test_a_candidate_that_fails_is_none(short_fits):
    means, *_ = short_fits
    means |= {(1, "bent"): -1.0, (2, "straight"): None, (2, "bent"): None}
    assert chosen(select()) == (1, "bent")
    means[1, "bent"] = None
    with pytest.raises(FitError, match="no short fit gave a finite bound"):
        select(latent=1, decoder="bent")


def test_a_single_channel_needs_no_bent_decoder(short_fits):
    means, asked, _ = short_fits
    means |= {(2, "straight"): -1.0, (3, "straight"): -1.0}
    assert chosen(nld.select(build, recording(1), progress=False)) == (2, "straight")
    assert asked == list(means)  # and not one straight axis, unless it is asked for
    means[1, "straight"] = -1.0
    assert chosen(nld.select(build, recording(1), latent=(1, 2), progress=False)) == (1, "straight")


def test_too_few_observations_to_hold_any_out(short_fits):
    _, asked, _ = short_fits
    for data in (recording(steps=110), list(np.random.default_rng(0).normal(size=(5, 20, 1)))):
        found = nld.select(build, data, progress=False)
        assert chosen(found) == (2, "straight")
        assert found.sizes["candidate"] == 0
        assert "Nothing was held out" in found.attrs["message"]
        assert chosen(nld.select(build, data, latent=3, decoder="bent", substeps=4)) == (3, "bent")
    assert asked == []


def test_wrong_candidates_are_refused():
    for given, message in (
        ({"latent": 0}, "latent must be 1, 2, … or several of them: got 0"),
        ({"latent": ()}, "latent must be"),
        ({"decoder": "curly"}, '"straight", "bent" or both: got \'curly\''),
        ({"substeps": 0}, "substeps must be 1, 2, …: got 0"),
    ):
        with pytest.raises(DataError, match=message):
            select(**given)


def test_two_independent_channels_need_two_axes_and_the_choice_is_repeated():
    """Real fits: one axis cannot follow two channels that know nothing of each other."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    data = recording(steps=720)
    found = nld.select(build, data, latent=(1, 2), decoder="straight", steps=60, progress=False)
    assert torch.equal(before, torch.get_rng_state())
    assert chosen(found) == (2, "straight")
    assert found["gap"].values[0] > 5 * found["error"].values[1]
    torch.manual_seed(6)
    again = nld.select(build, data, latent=(1, 2), decoder="straight", steps=60, progress=False)
    np.testing.assert_array_equal(found["heldout"], again["heldout"])
