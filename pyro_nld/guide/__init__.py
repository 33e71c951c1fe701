"""The posterior: what encodes the data, what steers the path, and the guide that holds both."""

from .encoders import Encoder, GRUEncoder
from .controls import AffineControl, Control, NeuralControl
from .amortized import AmortizedGuide

__all__ = [
    "Encoder", "GRUEncoder", "AffineControl", "Control", "NeuralControl", "AmortizedGuide",
]  # fmt: skip
