"""An angle that is seen as its cosine and sine."""

import torch

import pyro_nld as nld


class Circle(nld.Decoder):
    """(cos θ, sin θ)."""

    fixes_gauge = True

    def __init__(self):
        super().__init__(latent=1, channels=2, standardise=False)

    def decode(self, q):
        return torch.cat([q.cos(), q.sin()], -1)
