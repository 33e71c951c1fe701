"""The price of one gradient step, against the same model stepped by torchsde's `sdeint` as the paper does.

    python tests/benchmarks/gradient_step.py
    python tests/benchmarks/gradient_step.py --batch 16 --length 50 --repeats 5 --threads 1

Prints one table. Its rows are timed in one process and in turns, so that whatever else the machine does slows all of
them alike; a step is the loss, its gradient, clipping and Adam. The references take one Euler step per observation,
carry the path KL ½‖u‖² as an extra state, and are differentiated through the solver.

There are two. The first is the paper's way: the control reads state and context in the solver's loop, and the path KL
is torchsde's (`logqp=True`), which evaluates the prior's drift a second time. The second is the best that can be done
with a solver: contexts are projected once before the loop and the prior's drift is evaluated once per step. It has the
very modules of this library's model, and before anything is timed the two are checked to have the same likelihood and
path KL.

The last column is the share of the floating-point limit that a row reaches: what its products of matrices would take
at the speed of one large product, over what the step takes.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Annotated

import pyro
import torch
import torchsde
import typer
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

import pyro_nld as nld
from pyro_nld.fitting.trainer import Trainer
from pyro_nld.io.validation import check_rows

LATENT, CHANNELS, CONTEXT, HIDDEN = 3, 15, 128, 256
TIME_UNIT = 8.0  # a step of 1/8 is exact in binary: the solver's clock stays on the observations
AGREEMENT = 5  # standard errors

Pair = tuple[nld.LatentLangevin, nld.AmortizedGuide]
Data = tuple[Tensor, Tensor]
Networks = Callable[[Tensor], Callable[[int, Tensor], Tensor]]


def default(substeps: int) -> Pair:
    """This library's defaults."""
    prior = nld.OverdampedLangevin(nld.NeuralPotential(LATENT))
    likelihood = nld.Gaussian(nld.MLPDecoder(LATENT, CHANNELS))
    model = nld.LatentLangevin(prior, likelihood, substeps, TIME_UNIT)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(CHANNELS))


def paper_sized(context: int = CONTEXT, hidden: int = HIDDEN) -> Pair:
    """The paper's networks and sizes, one step per observation."""
    prior = nld.OverdampedLangevin(nld.ResidualPotential(LATENT))
    likelihood = nld.Gaussian(nld.MLPDecoder(LATENT, CHANNELS))
    model = nld.LatentLangevin(prior, likelihood, 1, TIME_UNIT)
    encoder = nld.GRUEncoder(CHANNELS, size=context, hidden=context, causal=True)
    return model, nld.AmortizedGuide(model, encoder, nld.NeuralControl(hidden=hidden))


class PosteriorSDE:
    """(z, ∫½‖u‖²) under the controlled drift, as torchsde wants it."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, dynamics: nld.OverdampedLangevin, control: Callable[[int, Tensor], Tensor], h: float) -> None:
        self.dynamics, self.control, self.step = dynamics, control, h

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        z = y[:, :LATENT]
        push = self.control(round(float(t) / self.step), z)
        u = push / self.amplitude(z)
        drift = self.dynamics.drift(z.unsqueeze(-2)).squeeze(-2) + push
        return torch.cat([drift, 0.5 * u.square().sum(-1, keepdim=True)], -1)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return nn.functional.pad(self.amplitude(y[:, :LATENT]), (0, 1))

    def amplitude(self, z: Tensor) -> Tensor:
        return self.dynamics.diffusion(z.unsqueeze(-2)).squeeze(-2)


class PapersSDE(PosteriorSDE):
    """The controlled drift f, the prior's drift h and the diffusion g, from which torchsde's `logqp` makes the KL."""

    def f(self, t: Tensor, z: Tensor) -> Tensor:
        return self.h(t, z) + self.control(round(float(t) / self.step), z)

    def h(self, t: Tensor, z: Tensor) -> Tensor:
        return self.dynamics.drift(z.unsqueeze(-2)).squeeze(-2)

    def g(self, t: Tensor, z: Tensor) -> Tensor:
        return self.amplitude(z)


class Reference:
    """The model of `pair` stepped by torchsde; `networks` turns contexts into the control at step k and state z."""

    def __init__(self, pair: Pair, data: Data, networks: Networks, extra: nn.Module | None = None) -> None:
        self.model, self.guide = pair
        self.times, self.x = check_rows(*data)
        self.batch = self.model.batch(self.times)
        self.networks = networks
        self.parameters = [p for part in (*pair, extra or nn.Module()) for p in part.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3)

    def terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log likelihood, path KL, initial KL, each `(sequence,)`."""
        contexts = self.guide.encoder(self.x, self.batch.gaps, self.batch.valid)
        first = self.guide._first(contexts[:, 0])
        h = float(self.batch.gaps[0, 0])
        path, path_kl = self.solve(self.networks(contexts), first.rsample(), h, h * torch.arange(self.x.shape[1]))
        likelihood = self.model.likelihood(path.transpose(0, 1)).log_prob(self.x).sum((-2, -1))
        return likelihood, path_kl, kl_divergence(first, self.model.initial().base_dist).sum(-1)

    def solve(self, control: Callable, start: Tensor, h: float, clock: Tensor) -> tuple[Tensor, Tensor]:
        """A posterior path `(time, sequence, latent)` and its KL `(sequence,)`."""
        sde = PosteriorSDE(self.model.dynamics, control, h)
        path = torchsde.sdeint(sde, nn.functional.pad(start, (0, 1)), clock, method="euler", dt=h)
        return path[..., :LATENT], path[-1, :, -1]

    def advance(self) -> None:
        """One gradient step."""
        likelihood, path_kl, initial_kl = self.terms()
        loss = (path_kl + initial_kl - likelihood).sum() / self.x.numel()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()


class PapersReference(Reference):
    """The model stepped as in the paper."""

    def solve(self, control: Callable, start: Tensor, h: float, clock: Tensor) -> tuple[Tensor, Tensor]:
        """A posterior path `(time, sequence, latent)` and its KL `(sequence,)`."""
        sde = PapersSDE(self.model.dynamics, control, h)
        path, path_kl = torchsde.sdeint(sde, start, clock, method="euler", dt=h, logqp=True)
        return path, path_kl.sum(0)


def papers_way(data: Data, context: int = CONTEXT, hidden: int = HIDDEN) -> Reference:
    """A network of state and context, evaluated on both at every step."""
    layers = [nn.Linear(LATENT + context, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, LATENT)]
    network = nn.Sequential(layers[0], nn.Softplus(), layers[1], nn.Softplus(), layers[2])

    def networks(contexts: Tensor) -> Callable[[int, Tensor], Tensor]:
        return lambda k, z: network(torch.cat([z, contexts[:, k + 1]], -1))

    return PapersReference(paper_sized(context, hidden), data, networks, network)


def contexts_before(pair: Pair, data: Data) -> Reference:
    """The same modules as this library's model: what differs is who steps."""
    model, guide = pair
    gaps = model.batch(check_rows(*data)[0]).gaps

    def networks(contexts: Tensor) -> Callable[[int, Tensor], Tensor]:
        projected = guide.control.plan(contexts, gaps).projected
        return lambda k, z: guide.control.respond(projected[:, k], z)

    return Reference(pair, data, networks)


class Ours:
    """This library's own training step, in a parameter store of its own."""

    def __init__(self, pair: Pair, data: Data) -> None:
        self.pair, self.data, self.store = pair, data, None
        with self.own_store():
            pair[1](*data)
            self.trainer = Trainer(*pair, check_rows(*data), nld.Schedule(steps=10**6, batch_size=len(data[1])))

    def own_store(self) -> object:
        """Pyro keeps parameters by name, and the rows share their names."""
        return pyro.get_param_store().scope(self.store)

    def terms(self) -> tuple[Tensor, Tensor]:
        """Log likelihood and path KL, each `(sequence,)`."""
        model, guide = self.pair
        with self.own_store():
            posterior = poutine.trace(guide).get_trace(*self.data)
            prior = poutine.trace(poutine.replay(model, trace=posterior)).get_trace(*self.data)
        path, x = posterior.nodes["z"], prior.nodes["x"]
        return x["fn"].log_prob(x["value"]), path["fn"].kl_along(prior.nodes["z"]["fn"], path["value"])

    def advance(self) -> None:
        """One gradient step."""
        with self.own_store() as self.store:
            self.trainer.advance()


def require_agreement(ours: Ours, reference: Reference) -> None:
    """Refuse to time two models that are not the same."""
    with torch.no_grad():
        for name, mine, theirs in zip(("log likelihood", "path KL"), ours.terms(), reference.terms(), strict=False):
            off = (mine - theirs).mean() / ((mine - theirs).std() / len(mine) ** 0.5)
            if not abs(off) < AGREEMENT:
                raise SystemExit(f"error: the {name} of the reference is off by {off:.1f} standard errors")


def timed(rows: dict[str, Ours | Reference], repeats: int, warm: int) -> dict[str, list[float]]:
    """Seconds of `repeats` steps of every row, in turns, after some that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for turn in tqdm(range(warm + repeats), unit="turn"):
        for name, row in rows.items():
            started = time.perf_counter()
            row.advance()
            if turn >= warm:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def least_seconds(row: Ours | Reference, side: int = 1024, products: int = 20) -> float:
    """What all products of matrices of a step would take at the speed of one large product."""

    def in_place(_: Sequence[int], left: Sequence[int], right: Sequence[int], **others: object) -> int:
        return 2 * math.prod(left) * right[-1]

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: in_place}) as counted:
        row.advance()
    one, fastest = torch.randn(side, side), math.inf
    for _ in range(products):
        started = time.perf_counter()
        one @ one
        fastest = min(fastest, time.perf_counter() - started)
    return counted.get_total_flops() * fastest / (2 * side**3)


def table(seconds: dict[str, list[float]], targets: dict[str, str], least: dict[str, float]) -> str:
    """Markdown: seconds, the ratio to both references as the median over turns, and the share of the limit."""
    references = list(seconds)[:2]
    head = ["one gradient step", "seconds (median)", "min … max", *(f"× {name}" for name in references), "target"]
    head += ["share of the limit"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, own in seconds.items():
        ratios = [statistics.median(b / a for a, b in zip(own, seconds[r], strict=True)) for r in references]
        cells = [name, f"{statistics.median(own):.3f}", f"{min(own):.3f} … {max(own):.3f}"]
        share = f"{least[name] / statistics.median(own):.0%}"
        lines.append("| " + " | ".join([*cells, *(f"{r:.2f}" for r in ratios), targets.get(name, ""), share]) + " |")
    return "\n".join(lines)


def main(
    batch: Annotated[int, typer.Option(min=2, help="Sequences in a step.")] = 128,
    length: Annotated[int, typer.Option(min=2, help="Observations in a sequence.")] = 200,
    repeats: Annotated[int, typer.Option(min=5, help="Turns that count.")] = 7,
    warm: Annotated[int, typer.Option(min=1, help="Turns before them.")] = 2,
    threads: Annotated[int, typer.Option(min=0, help="Of torch; 0 leaves them as they are.")] = 0,
    seed: Annotated[int, typer.Option(help="Of data and weights.")] = 0,
) -> None:
    """Time all rows and print the table."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    data = nld.as_tensors(nld.datasets.three_state(batch, length, seed))
    pair = paper_sized()
    ours = Ours(pair, data)
    reference = contexts_before(copy.deepcopy(pair), data)
    require_agreement(ours, reference)
    rows = {
        "torchsde, as the paper": papers_way(data),
        "torchsde, at its best": reference,
        "this library, the paper's networks": ours,
        "this library, defaults, 1 substep": Ours(default(1), data),
        "this library, defaults, 5 substeps": Ours(default(5), data),
    }
    targets = dict(zip(list(rows)[2:], ("2.5", "8", "4"), strict=True))
    print(f"batch {batch} × {length} × {CHANNELS}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    seconds = timed(rows, repeats, warm)
    print(table(seconds, targets, {name: least_seconds(row) for name, row in rows.items()}))


if __name__ == "__main__":
    typer.run(main)
