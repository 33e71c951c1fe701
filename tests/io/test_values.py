"""What stands beside the times of a table: channels, and their logarithms."""

import numpy as np
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
