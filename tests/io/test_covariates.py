"""Covariates of a Dataset: their axes, and what is refused."""

import numpy as np
import pytest
import torch

import pyro_nld as nld


def data():
    return nld.io.from_arrays([0.0, 0.5, 1.0], np.zeros((2, 3, 1)))


def test_axes_come_in_the_order_of_the_observations():
    values = np.arange(12.0).reshape(2, 2, 3)
    found = nld.io.covariates(data().assign(covariates=(("input", "sequence", "time"), values)))
    assert found.dtype == torch.get_default_dtype()
    np.testing.assert_array_equal(found, np.moveaxis(values, 0, -1))


@pytest.mark.parametrize(
    ("given", "got"), [({}, "none"), ({"covariates": (("sequence", "time"), np.ones((2, 3)))}, "time")]
)
def test_a_dataset_without_them_is_refused(given, got):
    with pytest.raises(nld.DataError, match=rf"covariates are a variable of the Dataset with the axes .*: got .*{got}"):
        nld.io.covariates(data().assign(given))


ROWS = "trial,time,force,level\na,0,0.5,1\na,1,-0.5,7\na,2,0.25,3\nb,0,1.5,9\nb,1,2.5,5\n"
ACTING = [[0.5, -0.5, 0.25], [1.5, 2.5, 0.0]]


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "pulled.csv"
    file.write_text(ROWS)
    return file


def test_a_column_that_acts_is_no_channel(table):
    found = nld.load(table, covariates="force")
    assert found["channel"].values.tolist() == ["level"]
    assert found["input"].values.tolist() == ["force"]
    np.testing.assert_array_equal(nld.io.covariates(found)[..., 0], ACTING)  # 0 after the end of a sequence
    assert "acting force, " in found.attrs["read_as"]
    assert nld.load(table)["channel"].values.tolist() == ["force", "level"]  # nobody said so
    both = nld.load(table, channels="level", covariates=["force"])
    np.testing.assert_array_equal(both["covariates"], found["covariates"])


def test_a_gap_in_what_acts_is_refused_with_its_row(table):
    table.write_text(ROWS.replace("-0.5", ""))
    with pytest.raises(nld.DataError, match="a covariate has no gaps: force has one in row 3"):
        nld.load(table, covariates="force")


def test_they_stay_in_files_and_in_pieces(table, tmp_path):
    found = nld.load(table, covariates="force")
    for suffix in (".nc", ".npz"):
        nld.save(found, tmp_path / f"again{suffix}")
        np.testing.assert_array_equal(nld.load(tmp_path / f"again{suffix}")["covariates"], found["covariates"])
    long = data().assign(covariates=(("sequence", "time", "input"), np.arange(6.0).reshape(2, 3, 1)))
    longer = nld.io.from_arrays(np.arange(6.0), np.zeros((1, 6, 1)))
    longer = longer.assign(covariates=(("sequence", "time", "input"), np.arange(6.0).reshape(1, 6, 1)))
    np.testing.assert_array_equal(nld.io.cut(longer, 3)["covariates"], long["covariates"])
    np.testing.assert_array_equal(nld.io.joined(nld.io.cut(longer, 3))["covariates"], longer["covariates"])


def test_arrays_of_another_shape_and_wide_tables_are_refused(tmp_path):
    np.savez(
        tmp_path / "bad.npz", times=np.arange(3.0), observations=np.zeros((2, 3, 1)), covariates=np.zeros((2, 4, 1))
    )
    with pytest.raises(nld.ShapeError, match=r"must be \(sequence, time, input\) with 2 sequences and 3 times: got"):
        nld.load(tmp_path / "bad.npz")
    (tmp_path / "wide.csv").write_text("force,0.0,0.5,1.0\n1,1,2,3\n2,3,4,5\n")
    with pytest.raises(nld.DataError, match="covariates are columns of a long table"):
        nld.load(tmp_path / "wide.csv", time="columns", covariates="force")
