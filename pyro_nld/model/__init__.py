"""The joint density: decoders, likelihoods, and the model of latent Langevin dynamics."""

from .decoders import Decoder, IdentityDecoder, LinearDecoder, MLPDecoder, OrthonormalDecoder
from .likelihoods import Gaussian, Likelihood
from .latent_langevin import LatentLangevin

__all__ = [
    "Decoder", "IdentityDecoder", "LinearDecoder", "MLPDecoder", "OrthonormalDecoder", "Gaussian", "Likelihood",
    "LatentLangevin",
]  # fmt: skip
