"""Do 90 % intervals of a temperature hold the true one? A gauge-fixed double well, before and after correction.

    python tests/benchmarks/temperature.py --simulations 100 --out runs/temperature
    python tests/benchmarks/temperature.py --simulations 100 --out runs/temperature --fixed 0.8
    python tests/benchmarks/temperature.py --simulations 100 --out runs/temperature --learned --steps 300
    python tests/benchmarks/temperature.py --simulations 100 --out runs/temperature --learned --exact 10

Each simulation draws T from its prior (or takes --fixed), draws 16 short sequences of a double well at it, and fits
T. Landscape and noise are known, so that all that is unknown has a prior and ranks must be uniform; with --learned the
landscape is a network, of which the interval of T knows nothing, unless --exact rounds on the line of point masses end
the fit: the width is then that with the last layer unknown. Encoder and control start from those of one fit to
other data, which saves most of the steps. Prints one line per simulation and the coverage of both routes: the guide's
own interval, and the one by particles (`corrections.posterior`). A study that was stopped goes on.
"""

import argparse
import math
import warnings
from functools import partial
from pathlib import Path

import pyro.distributions as dist
import torch
import xarray as xr

import pyro_nld as nld
from pyro_nld.checks import calibration

NOISE, SUBSTEPS, OBSERVATIONS, INTERVAL = 0.2, 3, 20, 0.1
PRIOR = dist.LogNormal(math.log(0.8), 0.5)


def build(data: xr.Dataset, learned: bool = False, trained: dict | None = None):
    """The landscape on the data's own axis; two-sided guide, its encoder and control as `trained`."""
    potential = nld.NeuralPotential(latent=1, hidden=(16,)) if learned else double_well()
    prior = nld.OverdampedLangevin(potential, temperature=PRIOR)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), substeps=SUBSTEPS, time_unit=1.0)
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=16, hidden=16), nld.AffineControl(hidden=32))
    if trained is not None:
        guide.load_state_dict(trained, strict=False)
    return model, guide


def double_well() -> nld.Tilted:
    """Two wells, 1.6 deep and 4 apart, one a little deeper."""
    return nld.Tilted(nld.DoubleWell(barrier=1.6, half_distance=2.0), [0.15])


def trained_guide(reference: nld.Fit, schedule: nld.Schedule) -> dict:
    """Encoder, control and first state of a guide fitted to data of its own, without its temperature."""
    torch.manual_seed(0)
    model, guide = build(None)
    nld.fit(model, guide, calibration.simulate(reference, 10**6)[1], schedule, progress=False)
    return {name: value for name, value in guide.state_dict().items() if not name.startswith("others")}


def known(sequences: int, temperature: float | None) -> nld.Fit:
    """The truth, as a reference: a tilted double well, and starts that spread over both wells."""
    prior = nld.OverdampedLangevin(double_well(), temperature=PRIOR)
    model = nld.LatentLangevin(prior, nld.Gaussian(nld.IdentityDecoder(1), NOISE), substeps=SUBSTEPS, time_unit=1.0)
    model.initial_scale = torch.tensor([2.0])
    guide = nld.AmortizedGuide(model, nld.GRUEncoder(1, size=4, hidden=4))
    times = (INTERVAL * torch.arange(float(OBSERVATIONS))).expand(sequences, -1)
    guide(times, torch.zeros(sequences, OBSERVATIONS, 1))
    reference = nld.Fit(model, guide, times, torch.zeros(sequences, OBSERVATIONS, 1))
    if temperature is not None:
        prior.temperature = dist.Uniform(temperature * (1 - 1e-6), temperature * (1 + 1e-6))
    return reference


def main() -> None:
    """Print a line per simulation, then what they amount to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100, help="gradient steps of each fit")
    parser.add_argument("--particles", type=int, default=512)
    parser.add_argument("--learned", action="store_true", help="learn the landscape, a network, as well")
    parser.add_argument("--exact", type=int, default=0, help="rounds on the line of point masses that end each fit")
    parser.add_argument("--fixed", type=float, help="the true temperature; drawn from its prior when left out")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    args.out.mkdir(parents=True, exist_ok=True)
    file, rows = args.out / "calibration.nc", []
    if file.is_file():
        done = xr.load_dataset(file, engine="h5netcdf")
        rows = [done.isel(simulation=[place]) for place in range(done.sizes["simulation"])]
    reference, schedule = (
        known(args.sequences, args.fixed),
        nld.Schedule(steps=args.steps, learning_rate=3e-2, exact=args.exact),
    )
    trained = trained_guide(known(2 * args.sequences, None), nld.Schedule(steps=300))
    started = partial(build, learned=args.learned, trained=trained)
    for seed in range(len(rows), args.simulations):
        one = calibration.repeat(started, reference, seed, schedule, particles=args.particles)
        rows.append(one.expand_dims("simulation"))
        xr.concat(rows, "simulation").to_netcdf(file, engine="h5netcdf")
        one = one.isel(quantity=0)
        said = [
            f"{name} {found['centre']:.3f} [{found['low']:.3f}, {found['high']:.3f}] rank {found['rank']}"
            for name in one["route"].values
            for found in [{key: value.item() for key, value in one.sel(route=name).data_vars.items()}]
        ]
        print(f"{seed}: T {float(one['truth']):.3f}, {', '.join(said)}", flush=True)
    table = xr.concat(rows, "simulation")
    judged = calibration.judge(table)
    for route in table["route"].values:
        chosen = judged.sel(route=route).isel(quantity=0)
        print(
            f"{route}: coverage {float(chosen['coverage']):.3f} ({float(chosen['coverage_low']):.3f} to "
            f"{float(chosen['coverage_high']):.3f}), p of uniform ranks {float(chosen['p']):.3g}"
        )
    print(judged.attrs["message"])


if __name__ == "__main__":
    main()
