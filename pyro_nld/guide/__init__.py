"""The posterior: encoders read the data, controls steer the path, and the guide holds both.

Examples
--------
>>> prior = nld.OverdampedLangevin(nld.NeuralPotential(latent=2))
>>> model = nld.LatentLangevin(prior, nld.Gaussian(nld.MLPDecoder(2, 15)), substeps=5)
>>> encoder = nld.guide.GRUEncoder(15, causal=True)
>>> online = nld.guide.AmortizedGuide(model, encoder, nld.guide.AffineControl())
>>> online.encoder.causal  # states can be read as the data come in
True
"""

from .encoders import Encoder, GRUEncoder
from .leaky import LeakyEncoder
from .controls import AffineControl, Control, NeuralControl
from .circular import CircularControl
from .amortized import AmortizedGuide

__all__ = [
    "Encoder", "GRUEncoder", "LeakyEncoder", "AffineControl", "Control", "NeuralControl", "CircularControl",
    "AmortizedGuide",
]  # fmt: skip
