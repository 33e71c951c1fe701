"""The riboswitch in its tweezers: does the fitted equation hop as often as the trace does?

python tests/benchmarks/riboswitch.py FOLDER --out docs/evidence/instruments
python tests/benchmarks/riboswitch.py FOLDER --only "linker and bead, D 6"
python tests/benchmarks/riboswitch.py FOLDER --table

FOLDER holds `riboswitch_tweezers.npz`, which may not be copied into the project: extension in nm every millisecond, cut
into pieces of 200. Two models, both in nm and kT, with a molecule in U(q) = c q² + Σ w φ(q):

* one axis: the trace is q, in white noise;
* linker and bead: U(q, b) = U(q) + ½ κ (b − q)², constant force; the trace is b, in white noise. κ and the friction of
  the bead are learned.

Each is solved exactly, by a filter on a grid of q and b, and maximised. No guide and no particle is in that, so what it
says of the relaxation is the model's and not the fit's. The second model looks at every fourth piece, since one
evaluation takes seconds, and the molecule's D is given, 6 nm²/ms, because the trace tells it only from below. The price
is what the log-likelihood loses where the rates are those of a hidden Markov model of the same trace, per transition.
The answer of `READ` is put into the library's model, a guide is fitted to it, and `transitions.balance` says what it
counts, and its own price: the path KL. Last, both models are fitted by `nld.fit`. One file per row; what has a file is
not made again.
"""

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyro.distributions as dist
import torch
import xarray as xr
from known.recordings import riboswitch
from pyro.nn import PyroSample
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import eigsh
from torch import Tensor

import pyro_nld as nld
from pyro_nld.fitting.posterior import Posterior
from pyro_nld.fitting.transitions import balance
from pyro_nld.kinetics import markov

LENGTH, CLOCK, CENTRE, PIECE = 3.75, 10.0, 706.35, 200  # nm and ms, the library's units; nm, between both wells; values
THERMAL = 4.11  # pN nm, kT at 298 K
KNOTS, WIDTH = (-2.4, 2.8, 14), 0.45  # of the Gaussians of U, in units of LENGTH
MOLECULE, BEAD, SPLIT = (696.0, 718.0, 40), (694.0, 721.0, 34), 2  # the grids, nm; steps of each in a millisecond
STRIDE = 4  # every so many pieces are looked at with the bead
REFERENCE = {"low": 26.0, "high": 119.0}  # ms that the states are held, by a Gaussian hidden Markov model of the trace
STEP = 1e-3  # of differences
FLAT = 1e-5  # of ‖w‖² beside the log-likelihood per value
ITERATIONS, GUIDE_STEPS, FIT_STEPS = 30, 200, 300
EXACT = ("one axis", "one axis, same pieces", "linker and bead, D 6")
READ = ("one axis",)  # also by the library: a guide is fitted, transitions are counted and balanced
FITTED = ("one axis, fitted", "linker and bead, fitted")


class Molecule(nld.Potential):
    """U(q) = ½ c q² + w · φ(q), with Gaussians φ on a row of knots; q in units of LENGTH from CENTRE."""

    latent = 1

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(*KNOTS))
        self.weight = torch.nn.Parameter(torch.zeros(KNOTS[-1]))

    @property
    def coefficients(self) -> torch.nn.Parameter:
        return self.weight

    def features(self, z: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((z - self.knots) / WIDTH).square())

    def forward(self, z: Tensor) -> Tensor:
        return self.features(z) @ self.weight + 0.45 * (z[..., 0] - 0.45).square()


class Linked(nld.Potential):
    """U(q, b) = U(q) + ½ κ (b − q)²; balance may change what is linear in the molecule's coefficients."""

    latent, coefficients = 2, property(lambda self: self.molecule.coefficients)

    def __init__(self, molecule: nld.Potential, link: object) -> None:
        super().__init__()
        self.molecule = molecule
        self.link = link

    def forward(self, z: Tensor) -> Tensor:
        return self.molecule(z[..., :1]) + self.link / 2 * (z[..., 1] - z[..., 0]).square()

    def features(self, z: Tensor) -> Tensor:
        return self.molecule.features(z[..., :1])


class Exact:
    """p(trace | U, D, noise, κ, τ) on a grid, both axes jumping between neighbours in detailed balance."""

    def __init__(self, x: Tensor, bead: bool, diffusion: float | None) -> None:
        self.x, self.bead = x, bead
        self.molecule = Molecule().double()
        self.q, self.b = (torch.linspace(*grid, dtype=torch.float64) for grid in (MOLECULE, BEAD))
        start = {"diffusion": diffusion or 1.5, "noise": 1.2 if bead else 1.8, "link": 0.95 / THERMAL, "lag": 0.9}
        self.log = {name: torch.tensor(math.log(value), dtype=torch.float64) for name, value in start.items()}
        self.free = ["noise", *(["link", "lag"] if bead else []), *([] if diffusion else ["diffusion"])]
        for name in self.free:
            self.log[name].requires_grad_()

    def value(self, name: str) -> Tensor:
        """A quantity: D in nm²/ms, noise in nm, link in kT/nm², lag in ms."""
        return self.log[name].exp()

    def energy(self) -> Tensor:
        """U, kT, `(q, b)`; of one axis `(q, 1)`."""
        alone = self.molecule(((self.q - CENTRE) / LENGTH).unsqueeze(-1)).unsqueeze(-1)
        return alone + self.value("link") / 2 * (self.q.unsqueeze(-1) - self.b).square() if self.bead else alone

    def generators(self) -> tuple[Tensor, Tensor]:
        """Rates of the molecule `(b, q, q)` and of the bead `(q, b, b)`, per millisecond."""
        energy = self.energy()
        return (
            _hops(energy.T, self.q, self.value("diffusion")),
            _hops(energy, self.b, 1 / (self.value("link") * self.value("lag"))),
        )

    def log_likelihood(self) -> Tensor:
        """log p, summed over all pieces, each of which begins in equilibrium."""
        hop, swing = self.generators()
        noise, law = self.value("noise"), torch.softmax(-self.energy().flatten(), 0).view(len(self.q), -1)
        seen = self.b if self.bead else self.q
        molecule = torch.matrix_exp(hop / (SPLIT if self.bead else 1))
        half = torch.matrix_exp(swing / (2 * SPLIT)) if self.bead else None
        full = None if half is None else half @ half
        at = law.unsqueeze(1).expand(-1, len(self.x), -1)  # (q, piece, b)
        total = torch.zeros((), dtype=torch.float64)
        for step in range(self.x.shape[1]):
            if step:
                at = at if half is None else at @ half
                for part in range(SPLIT if self.bead else 1):
                    at = (at.permute(2, 1, 0) @ molecule).permute(2, 1, 0)
                    if half is not None:
                        at = at @ (half if part == SPLIT - 1 else full)
            log = -0.5 * ((self.x[:, step, None] - seen) / noise).square()
            most = log.amax(1, keepdim=True).detach()
            told = (log - most).exp()
            at = at * (told if self.bead else told.T.unsqueeze(-1))
            sums = at.sum((0, 2))
            at = at / sums.unsqueeze(-1)
            total = total + (sums.log() + most[:, 0]).sum()
        return total - self.x.numel() * (noise.log() + 0.5 * math.log(2 * math.pi))

    def maximise(self) -> dict[str, float]:
        """Fit all that is free, and say what was found."""
        learned = [self.molecule.weight, *(self.log[name] for name in self.free)]
        search = torch.optim.LBFGS(learned, max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            off = -self.log_likelihood() / self.x.numel() + FLAT * self.molecule.weight.square().sum()
            off.backward()
            return off

        search.step(loss)
        with torch.no_grad():
            found = {"log_likelihood": float(self.log_likelihood()) / self.x.numel()} | self.told()
        return found | self.price(learned)

    def price(self, learned: list[Tensor]) -> dict[str, float]:
        """½ δᵀ (S H⁻¹ Sᵀ)⁻¹ δ: log-likelihood lost, to second order, where the rates are those of the reference.

        δ is the change of both log rates, S their derivative by all that was learned, and H the information of the
        trace on it; both by differences.
        """
        count = sum(value.numel() for value in learned)
        start = torch.nn.utils.parameters_to_vector(learned).detach()

        def at(place: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                torch.nn.utils.vector_to_parameters(place, learned)
                rates = -torch.tensor([self.told()[f"dwell_{state}"] for state in REFERENCE]).double().log()
            loss = -self.log_likelihood()
            return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, learned)]), rates

        slope, rates = at(start)
        moved = [at(start + STEP * one) for one in torch.eye(count, dtype=torch.float64)]
        at(start)
        information = torch.stack([(there - slope) / STEP for there, _ in moved])
        value, vector = torch.linalg.eigh((information + information.T) / 2)
        covariance = (vector / value.clamp(min=1.0)) @ vector.T
        response = torch.stack([(there - rates) / STEP for _, there in moved], -1)
        off = -torch.tensor(list(REFERENCE.values())).double().log() - rates
        nats = float(off @ torch.linalg.solve(response @ covariance @ response.T, off)) / 2
        transitions = 2 * self.x.numel() / sum(REFERENCE.values())
        return {"price": nats / transitions, "transitions": transitions}

    def told(self) -> dict[str, float]:
        """Numbers of the molecule and its instrument, and the slowest relaxation of both together."""
        found = {name: float(self.value(name)) for name in ("diffusion", "noise")}
        if self.bead:
            link, lag = float(self.value("link")), float(self.value("lag"))
            found |= {"link": THERMAL * link, "lag": lag, "bead": THERMAL * link * lag}
        relaxation, law = self.slowest()
        return found | shape(self.molecule) | dwells(relaxation, law, self.q.numpy(), self.molecule)

    def slowest(self) -> tuple[float, np.ndarray]:
        """The relaxation in ms, and the share of time of every place of the molecule."""
        hop, swing = (part.numpy() for part in self.generators())
        places = len(self.q), hop.shape[0]
        rates = np.zeros((*places, *places))
        for b in range(places[1]):
            rates[:, b, :, b] += hop[b]
        if self.bead:
            for q in range(places[0]):
                rates[q, :, q, :] += swing[q]
        law = torch.softmax(-self.energy().flatten(), 0).numpy()
        root = np.sqrt(law)
        even = root[:, None] * rates.reshape(2 * (law.size,)) / root
        slow = eigsh(csc_matrix(-(even + even.T) / 2), 2, sigma=-1e-6, return_eigenvectors=False)
        return 1 / float(slow.max()), law.reshape(places).sum(1)


def _hops(energy: Tensor, places: Tensor, diffusion: Tensor) -> Tensor:
    """Rates between neighbours on a grid, D/δ² exp(−ΔU/2), `(row, place, place)` for energies `(row, place)`."""
    if energy.shape[-1] < len(places):  # the bead of one axis, which has none
        return torch.zeros(len(energy), 1, 1, dtype=energy.dtype)
    rise, pace = energy.diff(dim=-1) / 2, diffusion / (places[1] - places[0]).square()
    rates = torch.diag_embed(pace * (-rise).exp(), 1) + torch.diag_embed(pace * rise.exp(), -1)
    return rates - torch.diag_embed(rates.sum(-1))


def shape(molecule: nld.Potential) -> dict[str, float]:
    """The two deepest minima of U in nm, and the barrier above each in kT; NaN where there is one minimum."""
    line = torch.linspace(-2.4, 2.8, 1041).to(next(molecule.parameters()))
    with torch.no_grad():
        energy = molecule(line.unsqueeze(-1)).double().numpy()
    inside = energy[1:-1]
    dips = 1 + np.flatnonzero((inside < energy[:-2]) & (inside < energy[2:]))
    if len(dips) < 2:
        return dict.fromkeys(("low", "high", "barrier_low", "barrier_high"), math.nan)
    low, high = sorted(dips[np.argsort(energy[dips])[:2]])
    top = energy[low:high].max()
    return {
        "low": CENTRE + LENGTH * float(line[low]),
        "high": CENTRE + LENGTH * float(line[high]),
        "barrier_low": float(top - energy[low]),
        "barrier_high": float(top - energy[high]),
    }


def dwells(relaxation: float, law: np.ndarray, q: np.ndarray, molecule: nld.Potential) -> dict[str, float]:
    """Relaxation, and how long each of two states is held: 1/λ over the share of the other."""
    found = shape(molecule)
    between = (q > found["low"]) & (q < found["high"])
    if not between.any():
        return {"relaxation": relaxation}
    share = float(law[: np.flatnonzero(between)[law[between].argmin()]].sum())
    return {
        "relaxation": relaxation,
        "share_low": share,
        "dwell_low": relaxation / (1 - share),
        "dwell_high": relaxation / share,
    }


def place(axis: int, latent: int) -> Callable[[Tensor], Tensor]:
    """The decoder: one axis in nm."""

    def decode(q: Tensor) -> Tensor:
        return CENTRE + LENGTH * q[..., axis : axis + 1]

    decode.latent, decode.channels = latent, 1
    return decode


def pair(
    potential: nld.Potential, friction: object, noise: object, substeps: int
) -> tuple[nld.LatentLangevin, nld.AmortizedGuide]:
    """The library's model and guide; the last axis is seen."""
    latent = potential.latent
    prior = nld.OverdampedLangevin(potential, 1.0, friction)
    seen = nld.Gaussian(place(latent - 1, latent), noise)
    model = nld.LatentLangevin(prior, seen, substeps, time_unit=CLOCK)
    return model, nld.AmortizedGuide(model, nld.GRUEncoder(1, size=32, hidden=32))


def schedule(steps: int, rate: float = 0.02) -> nld.Schedule:
    """Of every fit here."""
    return nld.Schedule(steps=steps, batch_size=32, learning_rate=rate)


def fitted(kind: str, data: xr.Dataset) -> dict[str, float]:
    """The library's own fit: of one axis, or of both, begun with the molecule that one axis finds."""
    torch.manual_seed(0)
    molecule = nld.NeuralPotential(1, hidden=(32, 32))
    noise = dist.LogNormal(math.log(2.0), 0.5)
    alone = nld.fit(*pair(molecule, dist.LogNormal(0.0, 1.0), noise, 5), data, schedule(FIT_STEPS), progress=False)
    if kind == FITTED[0]:
        return read(alone)
    again = nld.NeuralPotential(1, hidden=(32, 32))
    again.load_state_dict(alone.potential.state_dict())
    link = PyroSample(dist.LogNormal(math.log(4.0), 1.0))  # kT/LENGTH²: 1.2 pN/nm within a factor of three
    friction = dist.LogNormal(torch.tensor([0.0, -0.5]), torch.ones(2)).to_event(1)
    both = pair(Linked(again, link), friction, noise, 5)
    for rate, learned in ((0.02, False), (0.005, True)):
        for weight in again.parameters():
            weight.requires_grad_(learned)
        fit = nld.fit(*both, data, schedule(FIT_STEPS // 2, rate), progress=False)
        both = fit.model, fit.guide
        again = fit.model.dynamics.potential.molecule
    return read(fit)


def told_by_library(exact: Exact, data: xr.Dataset) -> dict[str, float]:
    """What the library counts and asks for where the model is the grid's and the guide alone is fitted."""
    torch.manual_seed(0)
    molecule = Molecule()
    molecule.load_state_dict({name: value.float() for name, value in exact.molecule.state_dict().items()})
    molecule.weight.requires_grad_(False)
    friction, potential = [LENGTH**2 / CLOCK / float(exact.value("diffusion"))], molecule
    if exact.bead:
        link = float(exact.value("link")) * LENGTH**2
        friction.append(link * float(exact.value("lag")) / CLOCK)
        potential = Linked(molecule, link)
    substeps = 10 if exact.bead else 5
    fit = nld.fit(
        *pair(potential, torch.tensor(friction), float(exact.value("noise")), substeps),
        data, schedule(GUIDE_STEPS), progress=False,
    )  # fmt: skip
    fit.model.dynamics.potential.coefficients.requires_grad_(True)
    return read(fit)


def read(fit: nld.Fit) -> dict[str, float]:
    """Times of a fit as they are, those counted on its paths, and the price of having them agree."""
    post = Posterior(fit.model, fit.guide, fit.times, fit.x)
    potential, friction = post.dynamics.potential, np.atleast_1d(post.dynamics.friction.detach().numpy())
    found = {"bound": fit.runs[0]["elbo"] / fit.x.numel(), "diffusion": float(LENGTH**2 / CLOCK / friction[0])}
    if "noise_scale" in post.medians:
        found["noise"] = float(post.medians["noise_scale"])
    if potential.latent == 2:
        link = float(potential.link)
        found |= {"link": THERMAL * link / LENGTH**2, "lag": CLOCK * float(friction[1]) / link}
        found["bead"] = found["link"] * found["lag"]
    found |= shape(getattr(potential, "molecule", potential))
    balanced = balance(post)
    if balanced is None:
        return found
    low = int(np.argmin(balanced["share_counted"].values))
    for route in ("counted", "before", "after"):
        rate = balanced[route].values
        found |= {
            f"relaxation_{route}": float(markov.relaxation(rate)[0]),
            f"dwell_low_{route}": 1 / float(np.nansum(rate[low])),
            f"dwell_high_{route}": 1 / float(np.nansum(rate[1 - low])),
        }
    found["transitions"] = balanced.attrs["transitions"]
    return found | {"price": balanced.attrs["path_kl"] / balanced.attrs["transitions"]}


def row(kind: str, pieces: xr.Dataset) -> dict[str, float]:
    """All numbers of a row."""
    began = time.perf_counter()
    if kind in FITTED:
        return fitted(kind, pieces) | {"seconds": time.perf_counter() - began}
    _, _, diffusion = kind.partition(", D ")
    x = torch.as_tensor(pieces["observations"].values[:: 1 if kind == "one axis" else STRIDE, :, 0])
    exact = Exact(x, bool(diffusion), float(diffusion) if diffusion else None)
    found = {"values": x.numel()} | exact.maximise()
    if kind in READ:
        found |= {f"library_{key}": value for key, value in told_by_library(exact, pieces).items()}
    return found | {"seconds": time.perf_counter() - began}


def main(folder: Path, out: Path, only: str | None, table: bool) -> None:
    """Make what has no file yet, then print the rows."""
    rows = out / "riboswitch"
    rows.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    pieces = None if table else nld.io.series.cut(riboswitch("steady", folder), PIECE)
    for kind in () if table else (*EXACT, *FITTED):
        file = rows / f"{kind.replace(', ', '_').replace(' ', '-')}.json"
        if file.exists() or only not in (None, kind):
            continue
        file.write_text(json.dumps(row(kind, pieces), indent=1) + "\n")
        print(file, flush=True)
    for file in sorted(rows.glob("*.json")):
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in json.loads(file.read_text()).items())
        print(f"{file.stem}: {numbers}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where riboswitch_tweezers.npz is")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/instruments"), help="where the rows are kept")
    parser.add_argument("--only", help="make this row alone")
    parser.add_argument("--table", action="store_true", help="only print the rows there are")
    main(**vars(parser.parse_args()))
