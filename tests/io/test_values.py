"""What stands beside the times of a table: channels, their logarithms, and angles."""

import numpy as np
import pandas as pd
import pytest

import pyro_nld as nld


def test_the_logarithm_of_a_channel_has_its_name_and_unit(tmp_path):
    """Dust in an ice core spreads over decades: nothing there is Gaussian but its logarithm."""
    file = tmp_path / "core.csv"
    file.write_text("time (yr),dust (ppb),d18O\n0,100,-40\n20,1000,-42\n40,,-41\n")
    data = nld.load(file, log="dust")
    assert data["channel"].values.tolist() == ["log dust", "d18O"]
    assert data["unit"].values.tolist() == ["log(ppb)", ""]
    np.testing.assert_allclose(data["observations"][0, :, 0], [np.log(100), np.log(1000), np.nan])
    assert data.attrs["read_as"].endswith("channels log dust, d18O")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("d18O", r"the logarithm of d18O needs values above 0: got -40 in row 2. Leave it out of --log"),
        ("time", r"--log must name channels: time is none of dust, d18O. Leave it out."),
        ("ice", r"there is no column ice: it has time, dust, d18O. Name one of these."),
    ],
)
def test_what_has_no_logarithm_is_named(tmp_path, log, words):
    file = tmp_path / "core.csv"
    file.write_text("time,dust,d18O\n0,100,-40\n20,1000,-42\n40,10,-41\n")
    with pytest.raises(nld.DataError, match=words):
        nld.load(file, log=log)


# Angles


@pytest.mark.parametrize(("title", "half"), [("psi (deg)", 180.0), ("psi", 180.0), ("psi (rad)", np.pi)])
def test_an_angle_is_read_as_its_cosine_and_sine(tmp_path, title, half):
    file = tmp_path / "turns.csv"
    file.write_text(f"time,{title},r\n0,{half},1\n1,{-half / 2},2\n2,,3\n")
    data = nld.load(file, angle="psi")
    assert data["channel"].values.tolist() == ["cos psi", "sin psi", "r"]
    np.testing.assert_allclose(data["observations"][0, :2], [[-1.0, 0.0, 1.0], [0.0, -1.0, 2.0]], atol=1e-12)
    assert np.isnan(data["observations"].values[0, 2, :2]).all()


def test_what_is_no_channel_is_no_angle(tmp_path):
    file = tmp_path / "turns.csv"
    file.write_text("time,psi\n0,1\n1,2\n")
    with pytest.raises(nld.DataError, match=r"--angle must name channels: time is none of psi"):
        nld.load(file, angle="time")


def wrapped(turn, start, seed=0):
    """A diffusing angle."""
    walk = np.random.default_rng(seed).standard_normal(2000).cumsum() * turn / 30
    return (walk - start) % turn + start


@pytest.mark.parametrize(("turn", "start"), [(360.0, -180.0), (360.0, 0.0), (2 * np.pi, -np.pi), (2 * np.pi, 0.0)])
def test_an_angle_that_was_not_named_is_doubted(turn, start):
    other = np.random.default_rng(1).random(2000)
    table = pd.DataFrame({"t": np.arange(2000.0), "psi": wrapped(turn, start), "r": other})
    with pytest.warns(nld.DoubtfulDataWarning, match="channel psi .* from one end to the other") as warned:
        nld.datasets.from_table(table)
    assert len(warned) == 1
    nld.datasets.from_table(table, angle="psi")  # and is not doubted


@pytest.mark.parametrize("noise", [0.02, 0.1])
@pytest.mark.parametrize("levels", [(0.1, 6.0), (-170.0, 170.0), (5.0, 355.0)])
def test_levels_that_are_a_turn_apart_are_no_angle(levels, noise):
    """A signal that hops between two levels crosses no end: beyond it, it would have to go on as it does elsewhere."""
    draw = np.random.default_rng(0)
    low, high = levels
    x = np.where(draw.random(2000) < 0.5, low, high) + noise * (high - low) / 59 * draw.standard_normal(2000)
    nld.datasets.from_table(pd.DataFrame({"t": np.arange(2000.0), "x": x}))  # a warning is an error
