"""Axis words and the tensor types built from them; jaxtyping executes the annotations under pytest.

| axis | runs over |
|---|---|
| `sequence` | independent recordings |
| `time` | observation times, or the integrator's fine grid between them |
| `channel` | what is observed at each time |
| `latent` | position axes of the hidden state |
| `state` | all axes of the hidden state: `latent` overdamped, twice that underdamped; in results, the wells |
| `*batch` | anything to the left: particles, sequences |
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Series = Float[Tensor, "sequence time channel"]
"""Observations x; NaN where nothing was measured."""

Times = Float[Tensor, "time"] | Float[Tensor, "sequence time"]
"""Observation times, shared or one row per sequence; a ragged row ends in NaN."""

Observed = Bool[Tensor, "sequence time channel"]
"""True where a value was measured."""

Points = Float[Tensor, "*batch latent"]
"""Positions q in the landscape."""

Energies = Float[Tensor, "*batch"]
"""U at such points."""

Path = Float[Tensor, "*batch time state"]
"""Whole hidden paths z on the fine grid."""

Array = NDArray[np.floating]
"""Real numbers, out of a Dataset."""

Numbers = ArrayLike | float | int
"""What NumPy turns into an array; plain numbers are named because a check at run time takes `complex` literally."""
