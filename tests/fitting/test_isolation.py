"""What a fit keeps to itself, and what it leaves as it was."""

import torch

from pyro_nld.fitting.isolation import without_denormals

SMALL = torch.tensor(1e-300, dtype=torch.float64)


def product():
    return float(SMALL * 1e-10)


def test_numbers_below_the_smallest_normal_one_are_zero_inside_and_kept_afterwards():
    assert product() > 0
    with without_denormals():
        assert product() == 0
        with without_denormals():
            assert product() == 0
        assert product() == 0  # the inner one leaves what it found
    assert product() > 0


def test_they_are_kept_after_an_error():
    try:
        with without_denormals():
            raise ValueError
    except ValueError:
        pass
    assert product() > 0
