"""How far to trust a run: its data, optimisation, guide, what is identified, restarts, step, data drawn from the fit.

python inference/check.py runs/first

One line per check: good, doubtful or bad, what was found, and what to do about it.
"""

from pathlib import Path
from typing import Annotated

import typer

import pyro_nld as nld
from pyro_nld import command_line

EVERY = ["posterior", "prior", "posterior_predictive", "prior_predictive", "log_likelihood", "sample_stats"]


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by fit.")],
    draws: Annotated[int, typer.Option(min=20, help="Posterior draws per restart.")] = 100,
    sequences: Annotated[int, typer.Option(min=2, help="Look at the first so many.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Check RUN, print a table, and write checks.nc, summary.json and figures."""
    with command_line.noted() as warned, nld.runs.claimed(run):
        group, run_check, diagnostics = nld.inference_data.group, nld.checks.run_check, nld.diagnostics
        whole, states = (loaded := nld.runs.load(run)).fit, nld.runs.recorded_landscape(loaded)
        first, about = slice(sequences), whole.about
        about = None if about is None else about.isel(sequence=first, missing_dims="ignore")
        fit = nld.Fit(whole.model, whole.guide, whole.times[first], whole.x[first], whole.history, whole.runs, about)
        results = fit.inference_data(draws, seed, groups=[*EVERY, "observed_data", "constant_data"])
        posterior, drawn = group(results, "posterior"), (whole.positions()[0].numpy(), whole.times.numpy())
        prior = group(results, "prior") if "prior" in nld.inference_data.groups(results) else None
        observed, times = group(results, "observed_data")["x"], group(results, "constant_data")["times"]
        names = observed["channel"].astype(str).values.tolist()
        classes = nld.predictive_checks.state_classes(observed, posterior["basin"]) if "basin" in posterior else None
        made = nld.replicates.from_fit(fit, draws=draws, seed=seed).isel(sequence=slice(observed.sizes["sequence"]))
        label = nld.segment(whole, wells=states)["label"].values
        found = {
            "data": nld.checks.stationarity.of_data(loaded.data, label, whole.model.likelihood.discrete),
            "states": nld.kinetics.witness.processes(*drawn, label, whole.x.numpy(), names),
            "optimisation": diagnostics.optimisation(fit.history),
            "guide": run_check(diagnostics.guide, results),
            "evidence": run_check(diagnostics.evidence, results),
            "identifiability": run_check(diagnostics.identifiability, results),
            "restarts": run_check(diagnostics.agreement, results),
            "step": diagnostics.discretisation(states),
            "replicates": nld.predictive_checks.posterior(observed, made, times, classes),
            "prior": run_check(nld.predictive_checks.prior, results),
            "observations": run_check(nld.predictive_checks.pit, results),
        }
        for name, figure in (pictures := nld.plots.checks(found, posterior, prior)).items():
            nld.plots.save(figure, run / "figures" / f"check_{name}.png")
        nld.runs.record_checks(run, found, warned)
    print(f"{nld.tables.checks(found)}\nWrote {run / 'checks.nc'} and {len(pictures)} figures.")


if __name__ == "__main__":
    command_line.run(main)
