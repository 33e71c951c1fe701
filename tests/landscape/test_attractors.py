"""Attractors: those of a gradient are its minima and basins; a force with a known cycle, spiral or saddle shows it."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import pyro_nld as nld
from pyro_nld import plots
from pyro_nld.dynamics.forces import Force

WELLS = [[-1.5, 0.0], [1.5, 0.0], [0.0, 2.0]]
POTENTIAL = nld.GaussianWells(WELLS, widths=0.6)


class Written(Force):
    """A force written down."""

    latent = 2

    def __init__(self, rule, sees="position"):
        super().__init__()
        self.rule, self.sees = rule, sees

    def forward(self, z):
        return self.rule(z)


def downhill(z):
    return -POTENTIAL.gradient(z)


def spiral(z, rate=0.5, frequency=3.0):
    x, y = z.unbind(-1)
    return torch.stack([-rate * x - frequency * y, frequency * x - rate * y], -1)


def cycle(z):
    """Radius 1 draws everything in, the origin repels: Stuart and Landau's oscillator."""
    radius = z.square().sum(-1, keepdim=True)
    return z * (1 - radius) + torch.stack([-z[..., 1], z[..., 0]], -1)


def scattered(count=400, wide=2.0):
    return wide * torch.randn(count, 2, generator=torch.Generator().manual_seed(3))


def found(rule, friction=1.0, starts=None):
    dynamics = nld.OverdampedSDE(Written(rule), friction=friction)
    return dynamics, nld.attractors.rest_points(dynamics, scattered() if starts is None else starts)


def test_a_gradient_comes_to_rest_in_its_minima():
    dynamics, rest = found(downhill)
    minima = nld.landscape.minima(POTENTIAL, scattered())
    np.testing.assert_allclose(rest["position"], minima["position"], atol=1e-6)
    np.testing.assert_allclose(rest["share"], minima["share"], atol=1e-9)
    np.testing.assert_allclose(rest["decay"], minima["curvature"], rtol=1e-5)
    np.testing.assert_allclose(rest["angular_frequency"], 0.0, atol=1e-8)
    points = scattered(3000)
    mine = nld.attractors.basins(dynamics, rest, points)
    assert float((mine == nld.landscape.basins(POTENTIAL, minima, points)).float().mean()) > 0.999
    shares = nld.attractors.occupancy(mine, rest)
    np.testing.assert_allclose(shares, np.bincount(mine.numpy()) / 3000)


def test_a_spiral_says_how_fast_it_winds():
    """Eigenvalues −½ ± 3i over a friction of 2."""
    dynamics, rest = found(spiral, friction=2.0)
    np.testing.assert_allclose(rest["position"], [[0.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(rest["decay"], [[0.25, 0.25]])
    np.testing.assert_allclose(rest["angular_frequency"], [[1.5, 1.5]])
    assert nld.attractors.basins(dynamics, rest, scattered(50).view(5, 10, 2)).eq(0).all()


def test_momenta_make_a_well_ring():
    """q'' = −k q − γ q'/M: eigenvalues −γ/2M ± i √(k/M − γ²/4M²)."""
    dynamics = nld.UnderdampedSDE(Written(lambda z: -4.0 * z[..., :2], "both"), friction=1.0, mass=1.0)
    rest = nld.attractors.rest_points(dynamics, scattered(50))
    np.testing.assert_allclose(rest["decay"], [[0.5] * 4], rtol=1e-6)
    np.testing.assert_allclose(rest["angular_frequency"], [[math.sqrt(4 - 0.25)] * 4], rtol=1e-6)


def test_negative_friction_makes_a_well_unstable():
    push = Written(lambda z: -4.0 * z[..., :2] + 2.0 * z[..., 2:], "both")
    with pytest.raises(nld.FitError, match="no attractor was found"):
        nld.attractors.rest_points(nld.UnderdampedSDE(push, friction=1.0, mass=1.0), scattered(50))


def test_a_cycle_is_nowhere_at_rest():
    with pytest.raises(nld.FitError, match="no attractor was found: no start comes to rest"):
        found(cycle)


def test_what_ends_in_a_cycle_has_no_state():
    """Inside radius ½ the origin draws in, outside a cycle at radius 1 does."""

    def both(z):
        radius = z.norm(dim=-1, keepdim=True)
        return -z * (radius - 0.5) * (radius - 1.0) + torch.stack([-z[..., 1], z[..., 0]], -1)

    starts = torch.tensor([[0.1, 0.0], [0.3, 0.1], [0.9, 0.0], [1.5, 0.2]])
    dynamics, rest = found(both, starts=starts)
    assert rest.sizes["state"] == 1
    assert rest.attrs["unconverged_starts"] == pytest.approx(0.5)
    assert nld.attractors.basins(dynamics, rest, starts).tolist() == [0, 0, -1, -1]


def test_escape_is_an_error():
    with pytest.raises(nld.FitError, match="no attractor was found"):
        found(lambda z: z)


def swirl(z):
    """The wells with a rotation on top: it moves their points of rest and adds no depth."""
    return downhill(z) + 0.5 * torch.stack([-z[..., 1], z[..., 0]], -1)


@pytest.fixture(scope="module")
def fitted():
    """Plainly visible positions; the guide only needs to follow them."""
    draw = torch.Generator().manual_seed(0)
    states = torch.arange(120).reshape(8, 15) // 5 % 3
    x = torch.tensor(WELLS)[states] + 0.1 * torch.randn(8, 15, 2, generator=draw)
    times = torch.arange(15.0).repeat(8, 1)
    model = nld.LatentLangevin(
        nld.OverdampedSDE(Written(swirl)), nld.Gaussian(nld.IdentityDecoder(2), 0.1), substeps=4, time_unit=10.0
    )
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=16, hidden=16))
    return nld.fit(model, guide, (times, x), nld.Schedule(steps=60), progress=False), states


def test_a_fit_without_a_landscape_is_segmented_by_its_attractors(fitted):
    fit, states = fitted
    rest = fit.attractors()
    assert rest.sizes == {"state": 3, "latent": 2, "minimum": 3, "mode": 2, "channel": 2}
    assert float(rest["occupancy_data"].sum()) == pytest.approx(1.0)
    _, alone = found(swirl)
    np.testing.assert_allclose(np.sort(rest["position"], 0), np.sort(alone["position"], 0), atol=1e-5)
    np.testing.assert_allclose(np.sort(rest["decay"], 0) * 10, np.sort(alone["decay"], 0), rtol=1e-5)
    assert fit.discretisation() == {name: rest.attrs[name] for name in ("max_curvature_step", "ok", "substeps_needed")}
    label = nld.segment(fit, wells=rest)["label"].values
    assert (nld.tables.match(label, states.numpy(), 3)[label] == states.numpy()).mean() > 0.95


def test_and_says_what_it_lacks(fitted):
    fit, _ = fitted
    assert not fit.has_landscape
    for read in (lambda: fit.potential, fit.wells, fit.landscape):
        with pytest.raises(nld.FitError, match=r"force is no gradient: depths, barriers, .* cannot be read"):
            read()


def test_its_force_can_be_drawn(fitted):
    fit, _ = fitted
    pictures = plots.gallery(fit.dynamics.rest_force, None, fit.encoded(), fit.attractors())
    assert set(pictures) == {"arrows", "streamlines"}
    assert all(isinstance(figure, Figure) for figure in pictures.values())


def test_where_there_is_a_landscape_its_wells_are_the_attractors():
    model = nld.LatentLangevin(nld.OverdampedLangevin(POTENTIAL), nld.Gaussian(nld.IdentityDecoder(2), 0.1), substeps=4)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(2, size=4, hidden=4))
    fit = nld.Fit(model, guide, torch.arange(15.0), torch.tensor(WELLS).repeat(5, 1).expand(4, 15, 2))
    assert fit.has_landscape
    wells, rest = fit.wells(min_persistence=0.0), fit.attractors()  # these data hop at every observation
    assert "energy" in wells
    np.testing.assert_allclose(rest["position"], wells["position"], atol=1e-6)
    points = fit.encoded()
    led = nld.attractors.basins(fit.dynamics, rest, points)  # along the force, not down the landscape
    assert bool((led == fit.basins(wells, points)).all())


def test_too_coarse_a_step_is_seen_without_a_landscape():
    """Modulus of −½ ± 3i, times 0.1."""
    dynamics, rest = found(spiral)
    with pytest.warns(nld.DoubtfulFitWarning, match=r"curvature × step is 0.304"):
        nld.landscape.discretisation(dynamics, nld.EulerMaruyama(), rest, step=0.1)
