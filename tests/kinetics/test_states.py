"""States: what must be two and what must be one, whatever minima a potential has."""

import numpy as np
import pytest
import torch
from chains import chain

import pyro_nld as nld
from pyro_nld import kinetics
from pyro_nld.kinetics import states
from pyro_nld.kinetics.visits import joined

TWO = nld.DoubleWell(barrier=3.0, half_distance=1.0)


def read(potential, positions, times=None, min_barrier=0.0, **options):
    """The states of a potential, as positions `(sequence, time, latent)` tell them."""
    x = torch.as_tensor(np.asarray(positions, float))[None]
    times = np.tile(np.arange(float(x.shape[2])), (x.shape[1], 1)) if times is None else times
    starts = x[0][torch.as_tensor(np.isfinite(times))][:: max(1, times.size // 1500)]
    wells = nld.landscape.minima(potential, starts, min_barrier=min_barrier)
    return kinetics.metastable(potential, wells, x, times, **options)


def levels(which, noise=0.2, seed=0):
    """Positions of a signal that is −1 or 1, in white noise."""
    which = np.atleast_2d(which)
    return (2.0 * which - 1 + noise * np.random.default_rng(seed).standard_normal(which.shape))[..., None]


def switching(leave, back, length, seed):
    return chain([[1 - leave, leave], [back, 1 - back]], 1, length, seed)


def diffusing(force, length, interval, seed, fine=5, latent=1):
    random, z, h = np.random.default_rng(seed), np.zeros(latent), interval / fine
    noise = np.sqrt(2 * h) * random.standard_normal((length, fine, latent))
    path = np.empty((length, latent))
    for step in range(length):
        for kick in noise[step]:
            z = z + force(z) * h + kick
        path[step] = z
    return path[None]


def bumpy(height, width=0.5):
    """A harmonic well with a bump in its middle: two minima, one state."""
    return lambda z: 0.5 * (z**2).sum(-1) + height * torch.exp(-(z**2).sum(-1) / width)


def wavy(height, length, latent=1, flat=False):
    """A well, or nearly none, with waves in it."""
    floor = 1e-3 if flat else 0.5
    return lambda z: floor * (z**2).sum(-1) + height * torch.cos(2 * np.pi * z / length).sum(-1)


# What is there


def test_two_wells_behind_half_a_kt_are_states():
    """The ratio of the first two relaxation times of this well is 5.5; a barrier of 1 kT joins what is two."""
    well = nld.DoubleWell(barrier=0.5, half_distance=1.0)
    path = diffusing(lambda z: -2 * z * (z**2 - 1), 20_000, 0.05, 1)
    found = read(well, path)
    assert found.sizes["state"] == 2
    assert ((found["persistence"] > 4) & (found["persistence"] < 8)).all()
    np.testing.assert_allclose(found["minimum_barrier"], 0.5, atol=0.01)
    assert nld.landscape.minima(well, torch.tensor([[-1.0], [1.0]])).sizes["state"] == 1
    shuffled = np.random.default_rng(0).permuted(path, axis=1)
    assert read(well, shuffled).sizes["state"] == 1


@pytest.mark.parametrize("dwell", [5.0, 21.7])
def test_a_telegraph_signal_has_two_states(dwell):
    which = switching(1 / dwell, 1 / dwell, 20_000, 1)
    found = read(TWO, levels(which, 0.3))
    assert found.sizes["state"] == 2
    true = kinetics.visits(which, np.arange(20_000.0)[None], 2)["visit_mean"].values
    np.testing.assert_allclose(sorted(found["minimum_dwell"].values), sorted(true), rtol=0.03)
    assert (found["minimum_into"] == -1).all()
    assert (found["minimum_reason"] == "").all()


def test_a_rare_state_is_found():
    """Open for .6 % of the time, three observations at a time, 34 times or so."""
    which = switching(0.0019, 0.3, 20_000, 4)
    found = read(TWO, levels(which))
    assert found.sizes["state"] == 2
    assert 25 < float(found["switches"][1]) / 2 < 45
    assert float(found["share"][1]) == pytest.approx(which.mean(), abs=5e-4)


def test_seven_switches_are_enough():
    which = np.repeat(np.arange(8) % 2, [500, 300, 900, 200, 800, 400, 1200, 300])
    found = read(TWO, levels(which))
    assert found.sizes["state"] == 2
    assert float(found["persistence_low"].min()) > 50


def test_hops_between_levels_that_decay_within_a_visit_are_states():
    """A climate that jumps warm and cools: the place in a state is remembered as long as the state is held."""
    random, visits, path = np.random.default_rng(3), 60, []
    for number in range(visits):
        length = int(random.integers(40, 100))
        path.append((number % 2) * 3.0 - 1.5 + np.linspace(0.6, -0.6, length) * (1 if number % 2 else -1))
    held = (np.concatenate(path) + 0.25 * random.standard_normal(sum(map(len, path))))[None, :, None]
    found = read(TWO, held / 1.5)
    assert found.sizes["state"] == 2
    assert float(found["persistence"].min()) < 3 < float(found["hopping"].min())
    assert float(found["switches"][0]) == pytest.approx(visits, abs=2)
    assert float(found["crossing"].max()) < 5
    once = read(TWO, held[:, :600] / 1.5)  # of ten visits the density tells nothing
    assert once.sizes["state"] == 1
    assert float(once["minimum_hopping"].max()) == 0


def test_recordings_that_never_connect_keep_their_states():
    which = np.repeat([[0], [1]], 200, 1)
    assert read(TWO, levels(which)).sizes["state"] == 2


def test_pieces_are_read_as_the_recording_they_were_cut_from():
    positions = levels(switching(0.01, 0.02, 6000, 2))
    whole = read(TWO, positions)
    paths, times = positions.reshape(30, 200, 1), np.arange(6000.0).reshape(30, 200)
    order = kinetics.recordings(times)
    back = np.moveaxis(joined(np.moveaxis(paths, -1, 0), order), 0, -1)
    pieces = read(TWO, back, joined(times, order))
    np.testing.assert_allclose(pieces["minimum_dwell"], whole["minimum_dwell"])


# What is not


def ring(length, seed):
    random = np.random.default_rng(seed)
    angle = np.cumsum(0.2 * random.standard_normal(length))
    return (np.stack([np.cos(angle), np.sin(angle)], -1) + 0.05 * random.standard_normal((length, 2)))[None]


def walk(seed):
    steps = np.cumsum(np.random.default_rng(seed).standard_normal(6000))
    return ((steps - steps.mean()) / steps.std())[None, :, None]


def circling(axes):
    turn = 2 * np.pi * np.arange(3000) / 50
    noise = 0.1 * np.random.default_rng(0).standard_normal((3000, 2))
    return (np.stack([np.sin(turn), np.cos(turn)], -1) + noise)[None, :, :axes]


def rim(z):
    """A circle with five shallow minima."""
    return 5 * ((z**2).sum(-1) - 1) ** 2 + 0.2 * torch.cos(5 * torch.atan2(z[..., 1], z[..., 0]))


RANDOM = np.random.default_rng(7)
TREND = np.linspace(-1.7, 1.7, 4000)[None, :, None] + 0.2 * RANDOM.standard_normal((1, 4000, 1))
NOTHING = {
    "harmonic, split": (bumpy(1.0), diffusing(lambda z: -z, 20_000, 0.05, 2)),
    "harmonic, split, seen seldom": (bumpy(1.0), diffusing(lambda z: -z, 20_000, 0.5, 2, 20)),
    "harmonic, waves": (wavy(0.3, 1.0), diffusing(lambda z: -z, 10_000, 0.1, 3)),
    "harmonic, waves, plane": (wavy(0.3, 1.5, 2), diffusing(lambda z: -z, 10_000, 0.1, 4, latent=2)),
    "quartic, split": (bumpy(0.6), diffusing(lambda z: -(z**3), 20_000, 0.1, 5)),
    "white noise": (wavy(0.3, 1.0), RANDOM.standard_normal((1, 6000, 1))),
    "white noise of two levels": (TWO, levels(RANDOM.random(6000) < 0.5)),
    "white noise of a rare level": (TWO, levels(RANDOM.random(6000) < 0.03)),
    "alternating": (TWO, levels((np.arange(3000) % 2 == 0) ^ (RANDOM.random(3000) < 0.1))),
    "ring": (rim, ring(8000, 1)),
    "walk": (wavy(0.1, 1.0, flat=True), walk(1)),
    "another walk": (wavy(0.1, 0.8, flat=True), walk(2)),
    "trend": (wavy(0.1, 1.0, flat=True), TREND),
    "sine": (TWO, circling(1)),
    "sine, plane": (rim, circling(2)),
}


@pytest.mark.parametrize("system", NOTHING)
def test_false_minima_are_no_states(system):
    potential, path = NOTHING[system]
    found = read(potential, path)
    assert found.sizes["minimum"] > 1
    assert found.sizes["state"] == 1
    gone = found["minimum_into"].values >= 0
    assert gone.sum() == found.sizes["minimum"] - 1
    assert set(found["minimum_reason"].values[gone]) <= {"persistence", "visits", "sampling"}
    assert np.isnan(found["persistence"].values).all()


@pytest.mark.parametrize("interval", [0.25, 0.5, 1.0])
def test_a_well_cut_in_two_is_one_state_whatever_there_is_beside_it(interval):
    """Half of the time is spent in another well, which is cut, too: of all that is outside one half, most is there."""
    split = bumpy(1.0)
    path = diffusing(lambda z: -z, 8000, interval, 2, 10)
    both = np.concatenate([levels(switching(0.01, 0.01, 8000, 3)), path], -1)
    found = read(lambda z: TWO(z[..., :1]) + split(z[..., 1:]), both)
    assert found.sizes["minimum"] == 4
    assert found.sizes["state"] == 2
    gone = found["minimum_into"].values >= 0
    assert (found["minimum_persistence"].values[gone] < 3).all()


def test_why_a_minimum_is_none():
    potential, path = NOTHING["alternating"]
    assert set(read(potential, path)["minimum_reason"].values) == {"", "sampling"}
    once = np.repeat([0, 1], [700, 300])
    assert set(read(TWO, levels(once))["minimum_reason"].values) == {"", "visits"}
    potential, path = NOTHING["harmonic, split"]
    assert set(read(potential, path)["minimum_reason"].values) == {"", "persistence"}


# The tree


def three_levels():
    """Three levels, of which the first two exchange a hundred times as often."""
    hop = np.array([[0.9, 0.099, 0.001], [0.099, 0.9, 0.001], [0.001, 0.001, 0.998]])
    which = chain(hop, 1, 20_000, 1)
    noise = 0.25 * np.random.default_rng(1).standard_normal(which.shape)
    return nld.GaussianWells([[0.0], [2.0], [4.0]], widths=0.7), (2.0 * which + noise)[..., None]


def test_a_minimum_says_what_keeps_it():
    potential, path = three_levels()
    loose, tight, none = (read(potential, path, min_persistence=value) for value in (3.0, 30.0, 1e6))
    assert [found.sizes["state"] for found in (loose, tight, none)] == [3, 2, 1]
    place, state = tight["minimum_position"].values[:, 0], tight["minimum_state"].values
    assert state[np.abs(place - 2).argmin()] == state[place.argmin()] != state[place.argmax()]
    joined = tight["minimum_into"].values >= 0
    assert joined.sum() == 1
    keep = float(tight["minimum_kept"].values[joined].item())
    assert read(potential, path, min_persistence=keep * 0.999).sizes["state"] == 3
    assert read(potential, path, min_persistence=keep * 1.001).sizes["state"] == 2
    np.testing.assert_allclose(np.sort(loose["minimum_kept"].values), np.sort(tight["minimum_kept"].values))


def test_nothing_is_asked_of_minima_when_all_are_kept():
    potential, path = NOTHING["harmonic, waves"]
    found = read(potential, path, min_persistence=0.0)
    assert found.sizes["state"] == found.sizes["minimum"] > 2
    assert (found["minimum_kept"] < 3).sum() == found.sizes["minimum"] - 1


def test_minima_that_a_barrier_joins_stay_together():
    potential, path = three_levels()
    found = read(potential, path, min_barrier=1e3)
    assert found.sizes["state"] == 1
    assert sorted(found["minimum_reason"].values) == ["", "barrier", "barrier"]
    assert sorted(found["minimum_kept"].values)[:2] == [0, 0]


def test_one_minimum_is_one_state():
    found = read(nld.Quadratic([1.0]), RANDOM.standard_normal((1, 500, 1)))
    assert found.sizes["state"] == found.sizes["minimum"] == 1
    assert float(found["share"][0]) == 1
    assert int(kinetics.cores(nld.Quadratic([1.0]), found, torch.tensor([[5.0]]))) == 0


def test_a_tree_can_be_cut_elsewhere():
    potential, path = three_levels()
    tables = read(potential, path)
    times = np.arange(20_000.0)[None]
    grown = states.tree(torch.as_tensor(path)[None], times, tables)
    stages = [states.cut(grown, value) for value in (0.0, 3.0, 30.0, 1e9)]
    assert stages == sorted(stages)
    assert stages[0] == 0
    assert stages[-1] == grown.sizes["stage"] - 1
    assert len(np.unique(grown["group"].values[-1])) == 1
    first = np.sort(grown["relaxation"].values[0])
    assert first[-1] == pytest.approx(1 / 0.003, rel=0.4)  # out .002, in .001; 40 switches or so
