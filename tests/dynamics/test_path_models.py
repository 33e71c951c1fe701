"""Which sequences a batch holds: random ones, chosen ones, or those of a loader."""

import pytest
import torch

import pyro_nld as nld
from pyro_nld.dynamics.path_models import Rows


def test_the_plate_speaks_for_all():
    for rows, given, size, numbers in (
        (Rows(), 5, 5, [0, 1, 2, 3, 4]),
        (Rows(subsample=torch.tensor([4, 1])), 5, 5, [4, 1]),
        (Rows(size=12), 3, 12, [0, 1, 2]),
        (Rows(subsample=torch.tensor([7, 11, 2]), size=12), 3, 12, [7, 11, 2]),
    ):
        with rows.plate(given) as index:
            assert index.tolist() == numbers
            assert rows.of(given, index).tolist() == (numbers if rows.size is None else [0, 1, 2])
        assert rows.plate(given).size == size


@pytest.mark.parametrize("rows", [Rows(2, size=9), Rows(subsample=torch.arange(2), size=9), Rows(size=2)])
def test_contradictions_are_refused(rows):
    with pytest.raises(nld.ShapeError, match="with a size, the given sequences are the batch: got 3 sequences out of"):
        rows.plate(3)
