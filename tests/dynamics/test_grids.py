"""Fine grids: steps between observation times, and a random part of them that speaks for all."""

import math

import torch

from pyro_nld.dynamics.grids import refine, stratify


def test_strata_speak_for_every_step():
    torch.manual_seed(0)
    strata = stratify(11, 4)
    assert strata.weight.tolist() == [4, 4, 3]
    assert all(4 * i <= k < 4 * i + w for i, (k, w) in enumerate(zip(strata.chosen, strata.weight, strict=True)))


def test_refining_ragged_times():
    times = torch.tensor([[0.0, 1.0, 3.0, 4.0], [0.0, 2.0, math.nan, math.nan]])
    fine = refine(times, 2)
    torch.testing.assert_close(fine.h[0, :, 0], torch.tensor([0.5, 0.5, 1.0, 1.0, 0.5, 0.5]))
    assert fine.valid[1].tolist() == [True, True, False, False, False, False]
    assert bool((fine.h > 0).all())
