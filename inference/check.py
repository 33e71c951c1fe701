"""How far to trust a run: its data, optimisation, guide, what is identified, restarts, step, data drawn from the fit.

python inference/check.py runs/first

One line per check: good, doubtful or bad, what was found, and what to do about it.
"""

from pathlib import Path
from typing import Annotated

import typer

from pyro_nld import Fit, checks, diagnostics, plots, predictive_checks, replicates, runs, segment, tables
from pyro_nld.checks.findings import run_check
from pyro_nld.io.inference_data import group
from pyro_nld.kinetics.witness import processes

EVERY = ["posterior", "prior", "posterior_predictive", "prior_predictive", "log_likelihood", "sample_stats"]


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")],
    draws: Annotated[int, typer.Option(min=20, help="Posterior draws per restart.")] = 100,
    sequences: Annotated[int, typer.Option(min=2, help="Look at the first so many.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Check RUN, print a table, and write checks.nc, summary.json and figures."""
    with runs.command_line.noted() as warned, runs.claimed(run):
        loaded = runs.load(run)
        whole = loaded.fit
        fit = Fit(whole.model, whole.guide, whole.times[:sequences], whole.x[:sequences], whole.history, whole.runs)
        results = fit.inference_data(draws, seed, groups=[*EVERY, "observed_data", "constant_data"])
        posterior, observed = group(results, "posterior"), group(results, "observed_data")["x"]
        classes = predictive_checks.state_classes(observed, posterior["basin"]) if "basin" in posterior else None
        made = replicates.from_fit(fit, draws=draws, seed=seed)
        times = group(results, "constant_data")["times"]
        states = runs.recorded_landscape(loaded)
        label = segment(whole, wells=states)["label"].values
        found = {
            "data": checks.stationarity.of_data(loaded.data, label, whole.model.likelihood.discrete),
            "states": processes(whole.positions()[0].numpy(), whole.times.numpy(), label, whole.x.numpy()),
            "optimisation": diagnostics.optimisation(fit.history),
            "guide": run_check(diagnostics.guide, results),
            "evidence": run_check(diagnostics.evidence, results),
            "identifiability": run_check(diagnostics.identifiability, results),
            "restarts": run_check(diagnostics.agreement, results),
            "step": diagnostics.discretisation(states),
            "replicates": predictive_checks.posterior(observed, made, times, classes),
            "prior": run_check(predictive_checks.prior, results),
            "observations": run_check(predictive_checks.pit, results),
        }
        for name, figure in plots.checks(found, posterior, group(results, "prior")).items():
            plots.save(figure, run / "figures" / f"check_{name}.png")
        runs.record_checks(run, found, warned)
    print(tables.checks(found))
    print(f"Wrote {run / 'checks.nc'} and {len(list((run / 'figures').glob('check_*.png')))} figures.")


if __name__ == "__main__":
    runs.command_line.run(main)
