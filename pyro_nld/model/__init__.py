"""The joint density: decoders, likelihoods, and the model of latent Langevin dynamics."""

from .decoders import Decoder
from .decoders import IdentityDecoder
from .decoders import LinearDecoder
from .decoders import MLPDecoder
from .decoders import OrthonormalDecoder
from .likelihoods import Gaussian
from .likelihoods import Likelihood
from .latent_langevin import LatentLangevin

__all__ = [
    "Decoder",
    "IdentityDecoder",
    "LinearDecoder",
    "MLPDecoder",
    "OrthonormalDecoder",
    "Gaussian",
    "Likelihood",
    "LatentLangevin",
]
