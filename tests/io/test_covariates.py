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
