"""The table of `gradient_step.py` on a card, beside the processor, after both were found to compute the same.

    python tests/benchmarks/gpu.py
    python tests/benchmarks/gpu.py --batch 1024 --repeats 20

Where there is no card it says so and ends well. Paths drawn on the processor are scored on both, in double precision:
the terms of the bound and its gradient must agree to a millionth. Then steps of a fit are timed in turns, in single
precision, each as `fit(device=…)` takes them; the time of a step ends when the card has finished it.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Annotated

import pyro
import torch
import typer
from gradient_step import Pair, default, paper_sized
from pyro import poutine
from torch import Tensor

import pyro_nld as nld
from pyro_nld.fitting.devices import usable
from pyro_nld.fitting.elbo import terms_of
from pyro_nld.fitting.processes import Crew
from pyro_nld.fitting.trainer import Trainer
from pyro_nld.io.validation import check_rows

AGREEMENT = 1e-6  # of what is compared, relative
MODELS: dict[str, Callable[[], Pair]] = {
    "the paper's networks": paper_sized,
    "defaults, 1 substep": lambda: default(1),
    "defaults, 5 substeps": lambda: default(5),
}


def terms(pair: Pair, times: Tensor, x: Tensor, drawn: poutine.Trace) -> Tensor:
    """The terms of the bound on given paths, and the norm of the gradient of every parameter."""
    model, guide = pair
    with pyro.get_param_store().scope():
        posterior = poutine.trace(poutine.replay(guide, trace=drawn)).get_trace(times, x)
        prior = poutine.trace(poutine.replay(model, trace=posterior)).get_trace(times, x)
        found = terms_of(prior, posterior)
        parameters = [*model.parameters(), *guide.parameters()]
        bound = found["log_likelihood"] - found["path_kl"] - found["initial_kl"]
        slopes = torch.autograd.grad(bound, parameters, allow_unused=True)
    norms = [slope.norm() for slope in slopes if slope is not None]
    return torch.stack([*(found[name] for name in ("log_likelihood", "path_kl", "initial_kl")), *norms]).detach().cpu()


def drawn_here(pair: Pair, times: Tensor, x: Tensor) -> poutine.Trace:
    """A draw of the guide."""
    with torch.no_grad(), pyro.get_param_store().scope():
        return poutine.trace(pair[1]).get_trace(times, x)


def moved(drawn: poutine.Trace, device: torch.device) -> poutine.Trace:
    """The same paths, there."""
    there = drawn.copy()
    for site in there.nodes.values():
        if isinstance(site.get("value"), Tensor):
            site["value"] = site["value"].to(device)
    return there


def disagreement(pair: Pair, times: Tensor, x: Tensor, device: torch.device) -> float:
    """The largest relative difference between what processor and card compute, in double precision."""
    here = copy.deepcopy(pair)
    for part in here:
        part.double()
    times, x = times.double(), x.double()
    drawn = drawn_here(here, times, x)
    expected = terms(here, times, x, drawn)
    for part in here:
        part.to(device)
    found = terms(here, times.to(device), x.to(device), moved(drawn, device))
    return float(((found - expected).abs() / expected.abs().clamp(min=1e-3 * float(expected.abs().max()))).max())


def seconds(pair: Pair, times: Tensor, x: Tensor, device: torch.device | None, repeats: int, warm: int) -> list[float]:
    """Of gradient steps."""
    with pyro.get_param_store().scope():
        pair[1](times, x, 1)
        trainer = Trainer(*pair, (times, x), nld.Schedule(steps=10**6, batch_size=len(x)), crew=Crew(device))
        spent = []
        for turn in range(warm + repeats):
            started = time.perf_counter()
            trainer.advance()  # it reads the loss, and so waits for the card
            if turn >= warm:
                spent.append(time.perf_counter() - started)
        trainer.come_home()
    return spent


def table(batch: int, length: int, repeats: int, warm: int, device: torch.device) -> str:
    """Markdown: every model on both, and how far they are apart."""
    times, x = check_rows(*nld.as_tensors(nld.datasets.three_state(batch, length, 0)))
    lines = ["| gradient step | processor, s | card, s | × | apart |", "|---|---|---|---|---|"]
    for name, make in MODELS.items():
        torch.manual_seed(0)
        pair = make()
        with pyro.get_param_store().scope():
            pair[1](times, x, 1)  # before it is copied: it takes its units, and finds its sites
        apart = disagreement(pair, times, x, device)
        if not apart < AGREEMENT:
            raise SystemExit(f"error: {name}: processor and card differ by {apart:.1e}")
        here, there = (
            statistics.median(seconds(copy.deepcopy(pair), times, x, place, repeats, warm)) for place in (None, device)
        )
        lines.append(f"| {name} | {here:.3f} | {there:.3f} | {here / there:.1f} | {apart:.0e} |")
    return "\n".join(lines)


def main(
    batch: Annotated[int, typer.Option(min=2, help="Sequences in a step.")] = 128,
    length: Annotated[int, typer.Option(min=2, help="Observations in a sequence.")] = 200,
    repeats: Annotated[int, typer.Option(min=1, help="Steps that count.")] = 7,
    warm: Annotated[int, typer.Option(min=1, help="Steps before them.")] = 2,
    device: Annotated[str, typer.Option(help="Of torch.")] = "cuda",
) -> None:
    """Compare, time, and print the table."""
    try:
        card = usable(device)
    except nld.FitError as error:
        print(f"Nothing was measured: {error}")
        return
    print(f"batch {batch} × {length}, {torch.get_num_threads()} threads, torch {torch.__version__}, {card}\n")
    print(table(batch, length, repeats, warm, card))


if __name__ == "__main__":
    typer.run(main)
