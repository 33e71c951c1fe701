"""The generator on a grid against quadrature: equilibrium, committor, passage times, spectrum."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.integrate import cumulative_trapezoid

import pyro_nld as nld
from pyro_nld.kinetics import generators

GRID = np.linspace(-3.0, 3.0, 60_001)


def double_well(temperature=1.0, friction=1.0, slope=0.3):
    return nld.OverdampedLangevin(nld.Tilted(nld.DoubleWell(3.0), [slope]), temperature, friction)


def energy(x, slope=0.3):
    return 3.0 * (x**2 - 1) ** 2 + slope * x


def on_a_line(temperature=1.0, friction=1.0):
    return generators.generator(double_well(temperature, friction), [-3.0], [3.0])


def test_the_weights_are_those_of_boltzmann():
    grid = on_a_line(temperature=0.7)
    density = np.exp(-energy(GRID) / 0.7)
    exact = (density * (GRID > 0)).sum() / density.sum()
    assert (grid.weight * (grid.centres[:, 0] > 0)).sum() == pytest.approx(exact, rel=1e-3)


def test_hops_keep_detailed_balance():
    grid = on_a_line()
    flow = grid.rates.multiply(grid.weight[:, None])
    assert abs(flow - flow.T).max() < 1e-9 * abs(flow).max()
    assert abs(grid.rates.sum(1)).max() < 1e-6 * abs(grid.rates).max()


def test_a_committor_is_the_integral_of_resistance():
    """q(x) = ∫ₐˣ exp(U/T) / ∫ₐᵇ exp(U/T)."""
    grid = on_a_line()
    x = grid.centres[:, 0]
    q = generators.committor(grid, x < -1, x > 1)
    resistance = cumulative_trapezoid(np.exp(energy(GRID)) * (np.abs(GRID) < 1), GRID, initial=0)
    exact = np.interp(x, GRID, resistance / resistance[-1])
    assert np.abs(q - exact).max() < 3e-3


@pytest.mark.parametrize(("temperature", "friction"), [(1.0, 1.0), (0.6, 2.5)])
def test_a_passage_time_is_the_double_integral(temperature, friction):
    """τ(−1 → 1) = (γ/T) ∫₋₁¹ exp(U(y)/T) ∫₋∞ʸ exp(−U(z)/T) dz dy."""
    grid = on_a_line(temperature, friction)
    x = grid.centres[:, 0]
    time = generators.passage_time(grid, x > 1)
    inner = cumulative_trapezoid(np.exp(-energy(GRID) / temperature), GRID, initial=0)
    outer = cumulative_trapezoid(np.exp(energy(GRID) / temperature) * inner, GRID, initial=0)
    exact = friction / temperature * (np.interp(1.0, GRID, outer) - np.interp(-1.0, GRID, outer))
    assert np.interp(-1.0, x, time) == pytest.approx(exact, rel=5e-3)


def test_a_harmonic_well_relaxes_at_multiples_of_its_rate():
    dynamics = nld.OverdampedLangevin(nld.Quadratic([2.0]), temperature=0.5, friction=1.5)
    times = generators.relaxation_times(generators.generator(dynamics, [-3.0], [3.0], 1000), 3)
    np.testing.assert_allclose(times, 0.75 / np.arange(1, 4), rtol=1e-3)


def test_axes_with_frictions_of_their_own():
    dynamics = nld.OverdampedLangevin(nld.Quadratic([1.0, 1.0]), friction=torch.tensor([1.0, 3.0]))
    times = generators.relaxation_times(generators.generator(dynamics, [-4.0, -4.0], [4.0, 4.0], 80), 2)
    np.testing.assert_allclose(times, [3.0, 1.5], rtol=1e-2)


def test_two_axes_know_what_one_knows():
    """The slowest process of a double well with a harmonic second axis is that of the double well alone."""
    flat = nld.OverdampedLangevin(nld.DoubleWell(3.0, latent=2, stiffness=4.0))
    wide = generators.relaxation_times(generators.generator(flat, [-2.2, -3.0], [2.2, 3.0]), 1)
    line = generators.relaxation_times(
        generators.generator(nld.OverdampedLangevin(nld.DoubleWell(3.0)), [-2.2], [2.2]), 1
    )
    assert wide[0] == pytest.approx(line[0], rel=1e-2)


def test_dwell_between_cores_is_the_passage_time_averaged_over_entries():
    """With two cores a dwell ends at the other core's edge, and begins at one's own."""
    grid = on_a_line()
    x = grid.centres[:, 0]
    core = np.where(x < -0.8, 0, np.where(x > 0.8, 1, -1))
    dwell, rates = generators.core_kinetics(grid, core, 2)
    there, back = generators.passage_time(grid, core == 1), generators.passage_time(grid, core == 0)
    assert dwell[0] == pytest.approx(there[core == 0][-1], rel=1e-2)
    assert dwell[1] == pytest.approx(back[core == 1][0], rel=1e-2)
    assert rates[0, 1] == pytest.approx(1 / dwell[0])


def test_who_looks_rarely_sees_longer_visits():
    """As rare looks at a path with steps a hundred times as fine; often enough, it is as if one never looked away."""
    dynamics = nld.OverdampedLangevin(nld.Tilted(nld.DoubleWell(1.5), [0.2]))
    grid = generators.generator(dynamics, [-3.0], [3.0], cells=500)
    x = grid.centres[:, 0]
    core = np.where(x < -0.7, 0, np.where(x > 0.7, 1, -1))
    always, _ = generators.core_kinetics(grid, core, 2)
    np.testing.assert_allclose(generators.seen_dwell(grid, core, 2, 1e-4), always, rtol=2e-2)
    seen = generators.seen_dwell(grid, core, 2, 0.5)
    assert (seen > 1.3 * always).all()
    path = nld.kinetics.chain(
        dynamics, nld.EulerMaruyama(), torch.zeros(2000, 1), interval=0.5, substeps=100, intervals=200
    )[:, 20:, 0].numpy()
    labels = np.where(path < -0.7, 0, np.where(path > 0.7, 1, -1))
    times = np.broadcast_to(0.5 * np.arange(path.shape[1]), path.shape)
    counted = nld.kinetics.by_counting(nld.kinetics.count(labels, times, 2))["dwell"].values
    np.testing.assert_allclose(seen, counted, rtol=0.03)


def test_a_place_from_which_no_core_is_reached_and_a_core_that_no_cell_has():
    """Far behind it nobody is reached: states last as without that place, and one without a cell has no time."""
    line = nld.OverdampedLangevin(nld.GaussianWells([[-1.0], [1.0], [9.0]], [0.3, 0.3, 0.4], 0.4))
    alone = nld.OverdampedLangevin(nld.GaussianWells([[-1.0], [1.0]], [0.5, 0.5], 0.4))
    grids = [generators.generator(one, [-3.0], [high], cells=500) for one, high in ((line, 12.0), (alone, 12.0))]
    x = grids[0].centres[:, 0]
    core = np.where(abs(x + 1) < 0.3, 0, np.where(abs(x - 1) < 0.3, 1, -1))
    with_it, without = (generators.seen_dwell(grid, core, 2, 0.1) for grid in grids)
    np.testing.assert_allclose(with_it, without, rtol=1e-3)
    dwell = generators.seen_dwell(grids[1], core, 3, 0.1)
    np.testing.assert_allclose(dwell[:2], without)
    assert np.isnan(dwell[2])


def test_who_looks_rarely_and_always_sees_a_state_has_a_chain_of_two():
    """With cores everywhere, P alone tells: two cells that are left at rates a and b."""
    a, b, interval = 0.5, 1.5, 0.7
    rates = sparse.csr_matrix(np.array([[-a, a], [b, -b]]))
    grid = generators.Generator(np.zeros((2, 1)), np.array([b, a]) / (a + b), rates, (2,))
    left = 1 - np.exp(-(a + b) * interval)
    exact = interval / (np.array([a, b]) / (a + b) * left)
    np.testing.assert_allclose(generators.seen_dwell(grid, np.array([0, 1]), 2, interval), exact)


def test_three_cores_share_their_exits():
    wells = nld.OverdampedLangevin(nld.GaussianWells([[-1.5, 0.0], [1.5, 0.0], [0.0, 2.0]], [0.5, 0.3, 0.2], 0.5))
    grid = generators.generator(wells, [-4.0, -3.0], [4.0, 4.5])
    far = np.linalg.norm(grid.centres[:, None] - np.array([[-1.5, 0.0], [1.5, 0.0], [0.0, 2.0]]), axis=-1)
    core = np.where(far.min(1) < 0.6, far.argmin(1), -1)
    dwell, rates = generators.core_kinetics(grid, core, 3)
    flow = np.array([0.5, 0.3, 0.2])[:, None] * rates
    np.testing.assert_allclose(np.nan_to_num(flow), np.nan_to_num(flow.T), rtol=0.03)
    np.testing.assert_allclose(np.nansum(rates, 1), 1 / dwell)


def test_the_processes_of_cores_are_not_those_inside_one_of_them():
    """Three wells on a line; the slowest process leaves the rare one on the right, which has no core of its own."""
    line = nld.OverdampedLangevin(nld.GaussianWells([[-1.5], [0.0], [2.2]], [0.45, 0.45, 0.1], 0.35))
    grid = generators.generator(line, [-3.5], [4.0])
    x = grid.centres[:, 0]
    slow, fast = generators.relaxation_times(grid, 2)
    assert slow > 2 * fast
    three = np.where(abs(x + 1.5) < 0.3, 0, np.where(abs(x) < 0.3, 1, np.where(abs(x - 2.2) < 0.3, 2, -1)))
    np.testing.assert_allclose(generators.core_relaxation_times(grid, three, 3), [slow, fast])
    merged = np.where(three == 2, 1, three)
    assert generators.core_relaxation_times(grid, merged, 2) == pytest.approx([fast])
    assert generators.core_relaxation_times(grid, np.where(x < 0, 0, -1), 1).tolist() == []


def test_passage_times_between_cores_are_those_of_the_rates():
    """Deep wells forget how they were entered, so that passage times are those of a chain with the same rates."""
    centres = [[-1.3, 0.0], [1.3, 0.0], [0.0, 1.8]]
    dynamics = nld.OverdampedLangevin(nld.GaussianWells(centres, [0.5, 0.3, 0.2], 0.4))
    wells = nld.landscape.minima(dynamics.potential, torch.tensor(centres))
    grid = generators.generator(dynamics, [-3.5, -2.2], [3.5, 4.0])
    core = nld.kinetics.cores(dynamics.potential, wells, torch.as_tensor(grid.centres)).numpy()
    passage = generators.core_passage_times(grid, core, 3)
    chain = nld.kinetics.passage_times(generators.core_kinetics(grid, core, 3)[1])
    apart = ~np.eye(3, dtype=bool)
    assert np.abs(passage[apart] / chain[apart] - 1).max() < 0.03
    assert np.abs(passage.T[apart] / chain[apart] - 1).max() > 0.1  # the other way round it is another time


def test_a_grid_of_three_axes_is_refused():
    dynamics = nld.OverdampedLangevin(nld.Quadratic([1.0, 1.0, 1.0]))
    with pytest.raises(nld.ShapeError, match="one or two axes and a lowest and highest corner: got 3 axes"):
        generators.generator(dynamics, [-1.0] * 3, [1.0] * 3)
    with pytest.raises(nld.ShapeError, match="corners"):
        generators.generator(double_well(), [1.0], [-1.0])
