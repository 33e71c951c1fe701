"""A known stimulus that acts on the force: the landscape changes with it, interval by interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from ..errors import PriorError, ShapeError
from ..nn import one_draw_at_a_time
from .equations import OverdampedLangevin, Position, State
from .potentials import Potential, gradient
from .quantities import Quantity

DrivenEnergy = Callable[[Tensor, Tensor], Tensor]
"""U(z, u): positions `(*batch, latent)` and stimuli `(*batch, input)` to energies `(*batch,)`."""


class AtRest(Potential):
    """U(z, u₀), the landscape under a stimulus that stays.

    Parameters
    ----------
    energy: U(z, u). latent: axes of z. rest: u₀, `(input,)`.
    """

    def __init__(self, energy: DrivenEnergy, latent: int, rest: Tensor) -> None:
        super().__init__()
        self.energy, self.latent = energy, latent
        self.register_buffer("rest", rest)

    def forward(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """U(z, u₀), energy."""
        return self.energy(z, self.rest)


class DrivenLangevin(OverdampedLangevin):
    """dz = −γ⁻¹ ∇U(z, u(t)) dt + √(2 T γ⁻¹) dW: a covariate u, known at the observation times, acts on the force.

    From one observation to the next u keeps the value of the first. What is read of a landscape (`potential`, states,
    barriers, rates) is that under u₀.

    Parameters
    ----------
    energy: U(z, u), maps positions `(*batch, latent)` and stimuli `(*batch, input)` to `(*batch,)`: any function or
        module. latent: number of axes of z.
    covariates: u of every sequence at its observation times, `(sequence, time, input)`; see `io.covariates`.
    temperature, friction: as for `OverdampedLangevin`. rest: u₀, one number per input; zero when None.

    Raises
    ------
    PriorError: covariates are no finite numbers of that shape.

    Examples
    --------
    A force u that pulls at a particle in a harmonic well:

    >>> pull = torch.tensor([[[0.0], [2.0], [2.0]]])  # one sequence, three times, one input
    >>> prior = nld.DrivenLangevin(lambda z, u: (z.square() / 2 - u * z).sum(-1), latent=1, covariates=pull)
    >>> prior.force_under(torch.ones(1, 2, 1), prior.drive(torch.tensor([0]), 1, 2)).flatten().tolist()
    [-1.0, 1.0]
    >>> prior.force(torch.ones(1, 1)).item()  # without it
    -1.0
    """

    def __init__(
        self,
        energy: DrivenEnergy,
        latent: int,
        covariates: Tensor,
        temperature: Quantity = 1.0,
        friction: Quantity | None = 1.0,
        rest: Sequence[float] | None = None,
    ) -> None:
        if covariates.dim() != 3 or not bool(covariates.isfinite().all()):
            raise PriorError(
                f"covariates are finite numbers (sequence, time, input): got shape {tuple(covariates.shape)} with "
                f"{int((~covariates.isfinite()).sum())} that are not finite. Fill gaps before."
            )
        level = covariates.new_zeros(covariates.shape[-1]) if rest is None else covariates.new_tensor(rest)
        super().__init__(AtRest(energy, latent, level), temperature, friction)
        self.register_buffer("covariates", covariates)

    def force_under(self, z: State, drive: Tensor | None) -> Position:
        """−∇U(z, u)."""
        if drive is None:
            return self.force(z)
        energy = self.potential.energy
        return -one_draw_at_a_time(self.potential, lambda q: gradient(lambda p: energy(p, drive), q), z)

    def drive(self, number: Tensor, size: int, intervals: int) -> Tensor:
        """u of these sequences, `(sequence, interval, input)`.

        Raises
        ------
        ShapeError: the covariates are those of other sequences.
        """
        sequences, times = self.covariates.shape[:2]
        if size != sequences or intervals >= times:
            raise ShapeError(
                f"covariates are those of {sequences} sequences at {times} times: got {size} sequences at "
                f"{intervals + 1}. Give those of these data, dynamics.covariates = nld.io.covariates(data)."
            )
        return self.covariates[number, :intervals]
