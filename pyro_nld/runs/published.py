"""The models that the authors published with the paper, read as models of this library.

Their conventions differ from ours and are translated here:

| theirs | ours |
|---|---|
| `_beta`, β | temperature T = 1/β |
| `_i_mass`, 1/M | mass M |
| learned β, γ, 1/M are stored before their softplus | positive parameters |
| control f: a difference of drifts; with momenta, of forces | a difference of forces: γ f; with momenta, f |
| the control sees the context and observation that come next | the far end of `NeuralControl`'s interval |
| standard deviations of q(z₀) are stored as logarithms | the same, before a softplus |
| path KL without the ½ (their training loss) | with it: the ELBO of a loaded model is a bound |
| Δt = h = 0.1, whatever the data's unit | ten observation intervals are the unit of time |
| observation noise: a setting, not in the file | `noise_scale` |
| plain Euler steps for momenta, start law of momenta stored | `Leapfrog` under the same drift, momenta start thermal |

Examples
--------
A file whose networks are zero is a harmonic well, U = c ‖z‖², at T = 1/β. Here β = 2 and c = 1:

>>> import tempfile
>>> sizes = {
...     "energy_landscape.in_block.0": (8, 2), "energy_landscape.in_block.2": (4, 8),
...     "energy_landscape.out_block.0": (8, 4), "energy_landscape.out_block.2": (1, 8), "projector": (5, 2),
...     "encoder.lin": (6, 3), "qz0_net": (4, 11), "f_net.0": (7, 13), "f_net.2": (7, 7), "f_net.4": (2, 7),
... }
>>> state = {f"encoder.gru.{name}": value for name, value in torch.nn.GRU(5, 3).state_dict().items()}
>>> state |= {f"{name}.weight": torch.zeros(size) for name, size in sizes.items()}
>>> state |= {f"{name}.bias": torch.zeros(size[0]) for name, size in sizes.items()}
>>> state |= {"pz0_mean": torch.zeros(2), "pz0_logstd": torch.zeros(2), "gamma": torch.ones(2)}
>>> state |= {"_beta": torch.tensor(2.0), "energy_landscape._quadratic_term": torch.tensor(1.0).expm1().log()}
>>> with tempfile.NamedTemporaryFile(suffix=".pt") as file:
...     torch.save(state, file.name)
...     model, guide = nld.published.load(file.name, learned=())
>>> model.dynamics.temperature.item(), round(model.dynamics.potential(torch.tensor([1.0, 2.0])).item(), 4)
(0.5, 5.0)

References
----------
Koop, Peletier, Portegies, Menkovski, Neural Langevin Dynamics, NLDL 2024, PMLR 233:130–137, and the code beside it.
"""

from __future__ import annotations

from collections.abc import Collection
from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..dynamics.equations import Dynamics, OverdampedLangevin, UnderdampedLangevin
from ..dynamics.neural_potentials import ResidualPotential
from ..dynamics.quantities import Quantity
from ..errors import CheckpointError
from ..guide.amortized import AmortizedGuide
from ..guide.controls import NeuralControl
from ..guide.encoders import Encoder
from ..io.files import read_plain
from ..model.decoders import LinearDecoder
from ..model.latent_langevin import LatentLangevin
from ..model.likelihoods import Gaussian

LEARNED = ("_beta", "_gamma", "_i_mass")
NOT_NEEDED = ("_diffusion", "_fixed_diffusion", "_energy_gradient.", "energy_gradient.")
"""Entries that repeat what other entries of the file contain."""

ENERGY = "energy_landscape"


def load(
    path: str | PathLike[str],
    *,
    online: bool = True,
    noise_scale: float = 0.5,
    substeps: int = 1,
    learned: Collection[str] = LEARNED,
) -> tuple[LatentLangevin, AmortizedGuide]:
    """Load a published state dict as model and guide. Their posterior drift is exactly that of the authors.

    `Fit(model, guide, times, x)` gives its landscape, kinetics and segmentation. Check its curvature × step.

    Parameters
    ----------
    path: file written by `torch.save(model.state_dict(), path)`; overdamped (`f_net`) or underdamped
        (`control_network`), of any sizes.
    online: whether the encoder runs forward in time, as in the segmentation of the paper, or backward. The file
        does not say it.
    noise_scale: of the observations, in the data's unit; the paper's setting.
    substeps: steps per observation interval; the paper takes one.
    learned: which of `_beta`, `_gamma`, `_i_mass` were learned; the others are stored as they are and stay fixed. The
        file does not say.

    Raises
    ------
    CheckpointError: the file holds something other than tensors; or a tensor is missing, is not finite, has another
        shape, or is not part of such a model. The message names the key.
    """
    file = _File(Path(path), learned)
    dynamics = _dynamics(file)
    channels = file.shape("projector.weight", 2)[0]
    decoder = LinearDecoder(dynamics.latent, channels)
    file.fill(decoder.map, "projector")
    model = LatentLangevin(dynamics, Gaussian(decoder, noise_scale), substeps)
    loc, log_scale = (dynamics.position(file.take(key, dynamics.state)) for key in ("pz0_mean", "pz0_logstd"))
    with torch.no_grad():
        model.initial_loc.copy_(loc)
    model.initial_scale = log_scale.exp()
    context, hidden = file.shape("encoder.lin.weight", 2)
    encoder = PublishedEncoder(channels, context, hidden, online)
    file.fill(encoder.recurrent, "encoder.gru")
    file.fill(encoder.output, "encoder.lin")
    guide = AmortizedGuide(model, encoder, _control(file, dynamics))
    _fill_control(file, guide)
    start = _Start(encoder.size, 2 * dynamics.state)
    file.fill(start.linear, "qz0_net")
    guide.initial = start
    file.refuse_the_rest()
    for part in (model, guide):
        part.adapted.fill_(True)  # the authors' networks read and write the data's own units
    return model, guide


class PublishedEncoder(Encoder):
    """c_i = (W h_i + b, x_i): a linear map of the state of a GRU, and the observation. It ignores masks and gaps.

    Parameters
    ----------
    channels: number of observed channels. context: features of the linear map. hidden: size of the state of the GRU.
    online: run the GRU forward in time; otherwise backward, from the last observation to the first.
    """

    def __init__(self, channels: int, context: int, hidden: int, online: bool) -> None:
        super().__init__(channels)
        self.size, self.causal = context + channels, online
        self.recurrent = nn.GRU(channels, hidden, batch_first=True)
        self.output = nn.Linear(hidden, context)

    def contexts(
        self, features: Float[Tensor, "sequence time feature"], valid: Bool[Tensor, "sequence time"]
    ) -> Float[Tensor, "sequence time context"]:
        """Contexts of observations that stand in the first of the features."""
        x = features[..., : self.channels]
        if self.causal:
            return torch.cat([self.output(self.recurrent(x)[0]), x], -1)
        # Each sequence is reversed within its own length, and its contexts are reversed back.
        last = valid.sum(-1, keepdim=True) - 1
        turned = (last - torch.arange(x.shape[1], device=x.device)).abs().unsqueeze(-1)
        contexts = self.output(self.recurrent(x.gather(1, turned.expand_as(x)))[0])
        return torch.cat([contexts.gather(1, turned.expand_as(contexts)), x], -1)


class _Start(nn.Module):
    """Mean and scale of q(z₀) for the guide, which takes a softplus where the authors take an exponential."""

    def __init__(self, size: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, outputs)

    def forward(self, context: Tensor) -> Tensor:
        loc, log_scale = self.linear(context).chunk(2, -1)
        scale = log_scale.exp()
        return torch.cat([loc, scale + torch.log(-torch.expm1(-scale))], -1)


class _File:
    """A state dict whose tensors are taken one by one, each checked."""

    def __init__(self, path: Path, learned: Collection[str]) -> None:
        self.name, self.learned = path.name, learned
        unknown = set(learned) - set(LEARNED)
        if unknown:
            raise CheckpointError(f"learned names {', '.join(LEARNED)}: got {', '.join(sorted(unknown))}. Correct it.")
        state = read_plain(path, "Only a plain state dict can be read.")
        if not isinstance(state, dict):
            raise CheckpointError(f"{self.name} must hold a state dict: got {type(state).__name__}. {REMEDY}")
        self.left = dict(state)

    def __contains__(self, key: str) -> bool:
        return key in self.left

    def shape(self, key: str, axes: int) -> tuple[int, ...]:
        """The shape of a tensor that says how large something is."""
        value = self._tensor(key)
        if value.dim() != axes or not value.numel():
            raise self._error(key, f"a tensor with {axes} axes, none of them empty", str(tuple(value.shape)))
        return tuple(value.shape)

    def take(self, key: str, *shape: int) -> Tensor:
        """A tensor, after whose leading axes of length 1 this shape must remain."""
        value = self._tensor(key)
        squeezed = value.reshape(value.shape[-len(shape) :] if shape else ()) if self._fits(value, shape) else None
        if squeezed is None or squeezed.shape != shape:
            raise self._error(key, str(shape), str(tuple(value.shape)))
        if not bool(value.isfinite().all()):
            place = tuple((~value.isfinite()).nonzero()[0].tolist())
            raise self._error(key, "finite numbers", f"{value[place].item()} at {place}")
        del self.left[key]
        return squeezed.to(torch.get_default_dtype())

    def fill(self, layer: nn.Module, prefix: str) -> None:
        """Set every parameter of a layer."""
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                parameter.copy_(self.take(f"{prefix}.{name}", *parameter.shape))

    def positive(self, key: str, *shape: int) -> Tensor:
        """A physical quantity, behind its softplus if it was learned."""
        value = self.take(key, *shape)
        value = softplus(value) if key in self.learned else value
        if not bool((value > 0).all()):
            raise self._error(key, "positive", str(value.tolist()))
        return value

    def quantity(self, key: str, value: Tensor) -> Quantity:
        """The quantity for a dynamics: a parameter where it was learned, otherwise a number."""
        return nn.Parameter(value) if key in self.learned else value

    def refuse_the_rest(self) -> None:
        """Check that every entry was used; an unknown entry would mean another kind of model."""
        for key in self.left:
            if not str(key).startswith(NOT_NEEDED):
                raise CheckpointError(f"{self.name}: {key} is no part of a published model. {REMEDY}")

    @staticmethod
    def _fits(value: Tensor, shape: tuple[int, ...]) -> bool:
        extra = value.dim() - len(shape)
        return extra >= 0 and all(size == 1 for size in value.shape[:extra])

    def _tensor(self, key: str) -> Tensor:
        value = self.left.get(key)
        if value is None:
            raise self._error(key, "a tensor", "nothing")
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise self._error(key, "a tensor of real numbers", kind)
        return value

    def _error(self, key: str, expected: str, got: str) -> CheckpointError:
        return CheckpointError(f"{self.name}: {key} must be {expected}: got {got}. {REMEDY}")


REMEDY = "Give a state dict of the paper's overdamped or underdamped Langevin model."


def _potential(file: _File) -> ResidualPotential:
    width, latent = file.shape(f"{ENERGY}.in_block.0.weight", 2)
    features = file.shape(f"{ENERGY}.in_block.2.weight", 2)[0]
    blocks = next(count for count in range(len(file.left) + 1) if f"{ENERGY}.blocks.{count}.0.weight" not in file)
    deep = f"{ENERGY}.blocks.0.2.weight" in file
    inner = file.shape(f"{ENERGY}.blocks.0.0.weight", 2)[0] if deep else None
    potential = ResidualPotential(latent, features, width, blocks, inner=inner)
    for place in (0, 1):
        file.fill(potential.entry[place], f"{ENERGY}.in_block.{2 * place}")
        file.fill(potential.exit[place], f"{ENERGY}.out_block.{2 * place}")
    for layers, place in ((potential.blocks, 0), (potential.back, 2)):
        for number, layer in enumerate(layers):
            file.fill(layer, f"{ENERGY}.blocks.{number}.{place}")
    with torch.no_grad():
        potential.raw_confinement.copy_(file.take(f"{ENERGY}._quadratic_term"))
    return potential


def _dynamics(file: _File) -> Dynamics:
    potential = _potential(file)
    temperature = file.quantity("_beta", 1 / file.positive("_beta"))
    key = "gamma" if "gamma" in file else "_gamma"
    absent = "control_network.0.weight" not in file and key not in file
    friction = torch.ones(potential.latent) if absent else file.positive(key, potential.latent)
    if "control_network.0.weight" not in file:
        return OverdampedLangevin(potential, temperature, file.quantity(key, friction))
    mass = file.quantity("_i_mass", 1 / file.positive("_i_mass", potential.latent))
    return UnderdampedLangevin(potential, temperature, file.quantity(key, friction), mass)


def _control(file: _File, dynamics: Dynamics) -> NeuralControl:
    return NeuralControl(file.shape(f"{_network(dynamics)}.0.weight", 2)[0])


def _network(dynamics: Dynamics) -> str:
    return "f_net" if dynamics.state == dynamics.latent else "control_network"


def _fill_control(file: _File, guide: AmortizedGuide) -> None:
    """Linear–Softplus–Linear–Softplus–Linear on (z, context, x), copied into `NeuralControl`."""
    control, dynamics, size = guide.control, guide.model.dynamics, guide.encoder.size
    network, hidden = _network(dynamics), control.hidden
    first = file.take(f"{network}.0.weight", hidden, dynamics.state + size)
    with torch.no_grad():
        for unseen in (control.from_context.weight, control.from_clock.weight):
            unseen.zero_()
        control.from_state.weight.copy_(first[:, : dynamics.state])
        control.from_context.weight[:, size : 2 * size] = first[:, dynamics.state :]
        control.from_context.bias.copy_(file.take(f"{network}.0.bias", hidden))
        file.fill(control.inner, f"{network}.2")
        file.fill(control.outer, f"{network}.4")
        if network == "f_net":
            for part in (control.outer.weight.T, control.outer.bias):
                part.mul_(dynamics.friction)
