"""The landscape draw by draw: closed forms at every draw's temperature, and minima that move with random weights."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from pyro.nn import PyroSample

import pyro_nld as nld
from pyro_nld.fitting import draws
from pyro_nld.nn import at_values
from pyro_nld.results import ensemble

UNIT = 5.0
HEAT = torch.linspace(0.6, 1.6, 3)
CENTRES = [[-1.2, -0.7], [1.2, -0.7], [0.0, 1.3]]


def draw(z, **values):
    nothing = torch.zeros(0)
    return draws.Draw(values, z, {}, nothing, nothing, nothing, nothing)


def modelled(potential, latent, **given):
    dynamics = nld.OverdampedLangevin(potential, **given)
    return nld.LatentLangevin(dynamics, nld.Gaussian(nld.IdentityDecoder(latent), 0.3), time_unit=UNIT)


def told(potential, starts, temperature=1.0):
    wells = nld.landscape.minima(potential, starts, temperature=temperature)
    return xr.merge([wells, nld.saddles.saddles(potential, wells, temperature=temperature)], combine_attrs="drop")


@pytest.fixture(scope="module")
def hot():
    """Three wells at five temperatures; z stands at the minima, and nowhere after the end."""
    potential = nld.GaussianWells(CENTRES, [0.5, 0.3, 0.2], 0.5)
    model = modelled(potential, 2, temperature=dist.LogNormal(0.0, 0.3))
    landscape = told(potential, torch.tensor(CENTRES).repeat(20, 1))
    z = torch.as_tensor(landscape["position"].values).float().unsqueeze(0).repeat(2, 1, 1)
    z[1, 2] = math.nan
    return model, landscape, ensemble.read(model, [draw(z, temperature=heat) for heat in HEAT], landscape)


def test_heights_scale_with_the_draws_temperature(hot):
    _, landscape, reading = hot
    energy, heat = landscape["energy"].values, HEAT.double().numpy()[:, None]
    np.testing.assert_allclose(reading["depth"], (energy - energy.min()) / heat, rtol=1e-6)
    climb = landscape["pass_energy"].values - energy[:, None]
    np.testing.assert_allclose(reading["barrier"], climb / heat[..., None], rtol=1e-6)
    assert (np.diagonal(reading["barrier"].values, axis1=1, axis2=2) == 0).all()


def test_occupancies_and_rates_are_those_of_the_landscape_at_that_temperature(hot):
    model, landscape, reading = hot
    for place, heat in enumerate(HEAT.tolist()):
        expected = nld.landscape.occupancy(landscape, heat)["harmonic"]
        np.testing.assert_allclose(reading["occupancy"][place], expected, rtol=1e-6)
        dynamics = nld.OverdampedLangevin(model.dynamics.potential, heat)
        route = nld.kinetics.eyring_kramers(dynamics, landscape, landscape)
        np.testing.assert_allclose(reading["rate"][place], np.nan_to_num(route["rate"]) / UNIT, rtol=1e-5)
        np.testing.assert_allclose(reading["dwell"][place], route["dwell"] * UNIT, rtol=1e-5)
    assert (np.diff(reading["dwell"].values, axis=0) < 0).all()  # hotter is faster


def test_every_position_has_its_basin_and_none_after_the_end(hot):
    _, _, reading = hot
    np.testing.assert_array_equal(reading["basin"][:, 0], np.tile([0.0, 1.0, 2.0], (3, 1)))
    np.testing.assert_array_equal(reading["basin"][:, 1], np.tile([0.0, 1.0, np.nan], (3, 1)))


def test_minima_are_shown_in_the_datas_unit(hot):
    _, landscape, reading = hot
    np.testing.assert_allclose(reading["decoded"], np.tile(landscape["position"], (3, 1, 1)), rtol=1e-6)


class Leaning(nld.Potential):
    """(z² − 1)² · B + b z with a random slope b; both wells are there while |b| < 8 B/(3√3)."""

    latent, barrier = 1, 3.0

    def __init__(self):
        super().__init__()
        self.slope = PyroSample(dist.Normal(0.0, 1.0))

    def forward(self, z):
        slope = self.slope
        slope = slope.reshape(*slope.shape, *(1,) * max(0, z.dim() - 1 - slope.dim()))
        return self.barrier * (z[..., 0].square() - 1).square() + slope * z[..., 0]


def roots(slope):
    """Left minimum, saddle, right minimum of a leaning double well, by its cubic."""
    found = np.roots([4 * Leaning.barrier, 0, -4 * Leaning.barrier, slope])
    return np.sort(found[np.abs(found.imag) < 1e-9].real)


def height(z, slope):
    return Leaning.barrier * (z**2 - 1) ** 2 + slope * z


@pytest.fixture(scope="module")
def leaning():
    """Draws of a random landscape; in the last, the slope is so steep that the right well is gone."""
    model = modelled(Leaning(), 1, temperature=0.5)
    name = "dynamics.potential.slope"
    with torch.no_grad():
        model(torch.arange(3.0))  # names the sites
    slopes = [-1.0, 2.0, 6.0]
    middle = at_values(model.dynamics, {name: torch.tensor(0.1)})
    landscape = told(middle.potential, torch.tensor([[-1.0], [1.0], [-0.9]]), 0.5)
    z = torch.tensor([[[-1.0], [1.0]]])
    with torch.no_grad():
        return slopes, ensemble.read(model, [draw(z, **{name: torch.tensor(slope)}) for slope in slopes], landscape)


def test_minima_and_barriers_follow_random_weights(leaning):
    slopes, reading = leaning
    for place, slope in enumerate(slopes[:2]):
        left, top, right = roots(slope)
        np.testing.assert_allclose(reading["minimum"][place, :, 0], [left, right], atol=1e-6)
        climbs = [height(top, slope) - height(end, slope) for end in (left, right)]
        barrier = reading["barrier"][place].values
        np.testing.assert_allclose([barrier[0, 1], barrier[1, 0]], np.array(climbs) / 0.5, rtol=1e-6)
        ends = np.array([height(left, slope), height(right, slope)])
        np.testing.assert_allclose(reading["depth"][place], (ends - ends.min()) / 0.5, atol=1e-6)
    np.testing.assert_array_equal(reading["basin"][:2, 0], np.tile([0.0, 1.0], (2, 1)))


def test_a_state_that_is_gone_has_no_numbers(leaning):
    _, reading = leaning
    lost = reading.isel(draw=2)
    assert len(roots(6.0)) == 1
    for name in ("depth", "occupancy", "minimum", "decoded"):
        assert bool(np.isnan(lost[name][1]).all())
        assert bool(np.isfinite(lost[name][0]).all())
    assert float(lost["occupancy"][0]) == 1.0
    assert np.isnan(lost["barrier"].values[[0, 1, 1], [1, 0, 1]]).all()
    np.testing.assert_array_equal(lost["basin"], [[0.0, 0.0]])  # all is one basin, under its old name


# ---------------------------------------------------------------- chains


def permuted(reading, order):
    """The same chain as if its states had been found in another order."""
    return ensemble.renumber(reading, np.asarray(order))


def test_chains_are_matched_by_what_their_channels_show(hot):
    _, _, reading = hot
    for order in ([1, 2, 0], [2, 1, 0], [0, 1, 2]):
        both = ensemble.together([reading, permuted(reading, order)], reading, np.ones(2))
        for name, values in both.items():
            np.testing.assert_array_equal(values[1], values[0], err_msg=name)
    unmatched = permuted(reading, [1, 2, 0])
    assert not np.allclose(unmatched["occupancy"], reading["occupancy"])


def test_channels_count_in_their_own_spread():
    """In plain units the loud channel would match the states the wrong way round."""
    reference = np.array([[0.0, 0.0], [40.0, 1.0]])
    found = np.array([[30.0, 0.05], [10.0, 0.95]])
    assert ensemble.match(found, reference, np.array([100.0, 0.5])).tolist() == [0, 1]
    assert ensemble.match(found, reference, np.array([1.0, 1.0])).tolist() == [1, 0]


def test_a_chain_with_other_states_has_no_numbers(hot):
    _, _, reading = hot
    fewer = reading.isel(state=slice(2), to=slice(2))
    both = ensemble.together([fewer, None, reading], reading, np.ones(2))
    assert both.sizes["chain"] == 3
    assert all(bool(np.isnan(values[:2]).all()) for values in both.data_vars.values())
    np.testing.assert_array_equal(both["occupancy"][2], reading["occupancy"])
