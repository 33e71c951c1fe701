"""Evidence and posteriors of the globals (temperature, friction, …), corrected by particles; the fit is not changed.

The guide describes the exact posterior of paths only approximately. The ELBO therefore depends on a temperature in a
biased way: the interval of the guide is shifted and too narrow. Particles estimate log p(x | globals) without most of
this bias, and so the posterior of the globals can be found in the neighbourhood of the guide's.

Examples
--------
The evidence of a harmonic well in noise, which Kalman's filter gives exactly. The guide is hardly fitted:

>>> _ = torch.manual_seed(1)
>>> data = nld.datasets.ornstein_uhlenbeck(sequences=10, steps=3, interval=0.5, noise=1.0)
>>> motion = nld.OverdampedLangevin(nld.Quadratic([1.0]))
>>> likelihood = nld.Gaussian(nld.IdentityDecoder(1), 1.0)
>>> model = nld.LatentLangevin(motion, likelihood, substeps=4, time_unit=1.0, start="equilibrium")
>>> guide = nld.AmortizedGuide(model, nld.GRUEncoder(1))
>>> fit = nld.fit(model, guide, data, nld.Schedule(steps=5), progress=False)
>>> found = nld.corrections.log_evidence(fit, particles=1000)
>>> exact = nld.oracles.ornstein_uhlenbeck_posterior(data)["log_evidence"]
>>> f"log p(x) per sequence: {float(found.mean()):.1f}, exactly {float(exact.mean()):.1f}"
'log p(x) per sequence: -4.6, exactly -4.6'
>>> fit.elbo()["total"] / 10 < float(found.mean())  # the bound is below
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to
from torch.quasirandom import SobolEngine

from ..errors import FitError, PriorError
from ..fitting.draws import inference_mode
from ..fitting.pairs import under
from ..fitting.particles import particle_posterior
from ..fitting.quadratic import response_surface
from ..guide.amortized import PATH_SITES, of_globals
from .fit import Fit

CLOUD_WIDTH = 2.5  # of the points at which the evidence is estimated, in standard deviations of the present posterior
MOST_GLOBALS = 6  # numbers for which tens of points determine a quadratic response surface
CLOUD_ITERATIONS = 3  # at most; each cloud of points is centred on the posterior that the last one gave
NEAR_CENTRE = 1.0  # standard deviations between maximum and centre of the cloud up to which it need not be repeated
MOST_POINTS = 4096  # of one cloud


def log_evidence(
    fit: Fit, data: object = None, *, particles: int = 32, draws: int = 2, seed: int = 0, until: int | None = None
) -> xr.DataArray:
    """log mean p̂(x | globals) over draws of the globals, per sequence: a tighter bound on log p(x) than the ELBO.

    Parameters
    ----------
    fit: a fit. data: the sequences to score (Dataset or `(times, x)`); the data of the fit when None.
    particles: paths per sequence. draws: number of draws of globals and particles. seed: of both.
    until: score only the first so many observations of every sequence.

    Returns
    -------
    `(sequence)`, nats.
    """
    times, x = fit.series(data)
    times, x = times[:, :until], x[:, :until]
    with under(fit.model, data), inference_mode(seed):
        found = [particle_posterior(fit.model, fit.guide, times, x, particles).log_evidence for _ in range(draws)]
    mean = torch.stack(found).double().logsumexp(0) - np.log(draws)
    return xr.DataArray(mean.numpy(), dims="sequence")


def posterior(fit: Fit, *, points: int = 16, particles: int = 256, draws: int = 100, seed: int = 0) -> xr.Dataset:
    """p(globals | x) ∝ p(globals) Π_s p̂(x_s | globals), as a Gaussian in unconstrained coordinates.

    The log density is estimated at points around the guide's posterior, everywhere with the same random numbers. A
    quadratic response surface is fitted to it by least squares, which averages the noise of the particles. Where its
    maximum is far from the centre of the points, this is repeated around the maximum.

    Parameters
    ----------
    fit: a fit with random globals (temperature, friction, …).
    points: number of points for one global; with more globals it grows with the coefficients of the surface.
    particles: paths per sequence. draws: of the result. seed: of everything.

    Returns
    -------
    Draws `(chain, draw, …)` of every global, as in the group `posterior`; attrs `spread`, the root mean square residual
    of the surface (nats; a few are harmless), and `looks`, how often points were laid.

    Raises
    ------
    PriorError: no quantity is random. FitError: more than 6 numbers are random, or the density has no maximum near the
    guide's posterior.

    Not checked: that the posterior is nearly Gaussian, and that there are enough particles. On average log p̂ is too
    small by half its variance, most of all far from where the guide was trained. Too few particles therefore leave a
    part of the guide's bias (16 do in tests/benchmarks/temperature.py). Learned parameters, those of the landscape
    included, stay as they were fitted.
    """
    if not fit.medians:
        raise PriorError("no quantity is random, so there is no posterior to correct. Give the temperature a prior.")
    with inference_mode(seed):
        space = _Space.of(fit)
        if len(space.loc) > MOST_GLOBALS:
            raise FitError(
                f"a quadratic in {len(space.loc)} globals needs too many points: at most {MOST_GLOBALS}. Fix some."
            )
        loc, root = space.loc, space.root
        count = min(MOST_POINTS, points * (len(loc) + 1) * (len(loc) + 2) // 6)
        for looks in range(1, CLOUD_ITERATIONS + 1):  # noqa: B007
            places = loc + _cloud(count, len(loc)) @ root.mT
            height = torch.stack([space.log_density(fit, place, particles, seed) for place in places])
            top, spread = _gaussian(torch.linalg.solve(root, (places - loc).mT).mT, height)
            loc, root = loc + root @ top.loc, root @ top.root
            if float(top.loc.norm()) < NEAR_CENTRE:
                break
        chosen = loc + torch.randn(draws, len(loc), dtype=torch.float64) @ root.mT
        named = [space.named(place) for place in chosen]
    axes = {name: [f"{name}_dim_{i}" for i in range(value.dim())] for name, value in named[0].items()}
    values = {
        name: (("chain", "draw", *dims), torch.stack([one[name] for one in named]).unsqueeze(0).numpy())
        for name, dims in axes.items()
    }
    return xr.Dataset(values, attrs={"spread": spread, "looks": looks})


class _Top(NamedTuple):
    loc: Tensor  # (axis,)
    root: Tensor  # (axis, axis), of the covariance


class _Space(NamedTuple):
    """The globals in unconstrained coordinates, and the posterior of the guide in these coordinates."""

    sites: Mapping[str, dict]  # sites of the model by name, which give priors and shapes
    loc: Tensor
    root: Tensor

    @classmethod
    def of(cls, fit: Fit, draws: int = 200) -> _Space:
        times, x = fit.times[:1], fit.x[:1]
        trace = poutine.trace(of_globals(fit.model)).get_trace(times, x)
        sites = {name: trace.nodes[name] for name in fit.medians}
        drawn = [fit.guide.others(times, x) for _ in range(draws)]
        flat = torch.stack([_flat(sites, values) for values in drawn])
        covariance = torch.atleast_2d(torch.cov(flat.mT))
        return cls(sites, flat.mean(0), torch.linalg.cholesky(covariance))

    def named(self, place: Tensor) -> dict[str, Tensor]:
        """The values of the globals at a point, by site."""
        sizes = [site["value"].numel() for site in self.sites.values()]
        return {
            name: biject_to(site["fn"].support)(part.reshape(site["value"].shape).to(site["value"]))
            for (name, site), part in zip(self.sites.items(), place.split(sizes), strict=True)
        }

    def log_density(self, fit: Fit, place: Tensor, particles: int, seed: int) -> Tensor:
        """log p(globals) + log |d globals/d place| + Σ_s log p̂(x_s | globals), with common random numbers."""
        values, total = self.named(place), torch.zeros((), dtype=torch.float64)
        sizes = [site["value"].numel() for site in self.sites.values()]
        for (name, site), part in zip(self.sites.items(), place.split(sizes), strict=True):
            transform = biject_to(site["fn"].support)
            stretch = transform.log_abs_det_jacobian(part.reshape(site["value"].shape).to(site["value"]), values[name])
            total = total + site["fn"].log_prob(values[name]).sum() + stretch.sum()
        torch.manual_seed(seed)
        held = holding_globals(fit.guide, fit.times, fit.x, values)
        return total + particle_posterior(fit.model, held, fit.times, fit.x, particles).log_evidence.double().sum()


def holding_globals(guide: Callable, times: Tensor, x: Tensor, values: Mapping[str, Tensor]) -> Callable[..., object]:
    """The guide with its globals fixed at `values`; its paths stay random.

    Parameters
    ----------
    guide: as for any ELBO. times, x: checked data. values: of every random quantity of the model, by site.
    """
    trace = poutine.trace(guide).get_trace(times[:1], x[:1])
    for name in list(trace.nodes):
        if name in values:
            trace.nodes[name]["value"] = values[name]
        elif name in PATH_SITES or trace.nodes[name]["type"] != "sample":
            trace.remove_node(name)
    return poutine.replay(guide, trace=trace)


def _flat(sites: Mapping[str, dict], values: Mapping[str, Tensor]) -> Tensor:
    parts = [biject_to(site["fn"].support).inv(values[name]).flatten() for name, site in sites.items()]
    return torch.cat(parts).double()


def _cloud(count: int, axes: int) -> Tensor:
    """Quasi-random points `(count, axis)` from a wide Gaussian."""
    unit = SobolEngine(axes, scramble=True, seed=0).draw(count).double().clamp(1e-3, 1 - 1e-3)
    return CLOUD_WIDTH * torch.special.ndtri(unit)


def _gaussian(where: Tensor, height: Tensor) -> tuple[_Top, float]:
    """The Gaussian whose log density fits heights best, and the root mean square residual."""
    # weights fall with the distance, because a far point tells of the tail of the density and not of its maximum
    found = response_surface(where, height, torch.exp(-where.square().sum(-1) / (4 * CLOUD_WIDTH**2)))
    if found is None or bool((torch.linalg.eigvalsh(found.curvature) <= 0).any()):
        raise FitError("the evidence has no top near the guide's posterior. Fit longer, or use more particles.")
    covariance = torch.linalg.inv(found.curvature)
    residual = float(found.residual.square().mean().sqrt())
    return _Top(covariance @ found.slope, torch.linalg.cholesky(covariance)), residual
