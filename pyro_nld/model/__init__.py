"""The joint density of paths and data: decoders, likelihoods, and the model of latent Langevin dynamics.

Examples
--------
A particle in a double well, observed at 41 times with a noise of 0.1, in 5 steps of the integrator per interval:

>>> import pyro
>>> prior = nld.OverdampedLangevin(nld.DoubleWell(barrier=3.0))
>>> model = nld.model.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), 0.1), substeps=5, time_unit=1.0)
>>> trace = pyro.poutine.trace(model).get_trace(torch.linspace(0.0, 4.0, 41))
>>> {name: tuple(trace.nodes[name]["value"].shape) for name in ("z0", "z", "x")}
{'z0': (1, 1), 'z': (1, 200, 1), 'x': (1, 41, 1)}
"""

from .decoders import Decoder, IdentityDecoder, LinearDecoder, MLPDecoder, OrthonormalDecoder
from .likelihoods import Gaussian, Likelihood, LogNormal, StudentT
from .covariances import CorrelatedGaussian, VaryingGaussian
from .discrete import Bernoulli, Categorical, NegativeBinomial, Poisson
from .channels import Channels
from .latent_langevin import LatentLangevin

__all__ = [
    "Decoder", "IdentityDecoder", "LinearDecoder", "MLPDecoder", "OrthonormalDecoder", "Gaussian", "Likelihood",
    "LogNormal", "StudentT", "CorrelatedGaussian", "VaryingGaussian", "Bernoulli", "Categorical", "NegativeBinomial",
    "Poisson", "Channels", "LatentLangevin",
]  # fmt: skip
