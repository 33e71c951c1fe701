"""The posterior: what encodes the data, what steers the path, and the guide that holds both."""

from .encoders import Encoder
from .encoders import GRUEncoder
from .controls import AffineControl
from .controls import Control
from .controls import NeuralControl
from .amortized import AmortizedGuide

__all__ = ["Encoder", "GRUEncoder", "AffineControl", "Control", "NeuralControl", "AmortizedGuide"]
