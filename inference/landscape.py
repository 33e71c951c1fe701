"""Read the landscape of a run: found, occupancies, barriers, how long states last, and whether to believe that.

python inference/landscape.py runs/first
"""

from pathlib import Path
from typing import Annotated

import typer
import xarray as xr
from matplotlib.figure import Figure

from pyro_nld import Fit, datasets, plots, runs, segment, tables


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")],
    min_persistence: Annotated[float, typer.Option(min=0, help=runs.command_line.PERSISTENCE)] = 3.0,
    min_barrier: Annotated[float, typer.Option(min=0, help=runs.command_line.BARRIER)] = 0.0,
) -> None:
    """Find the states of RUN, print what they are, and write landscape.nc, summary.json and figures.

    A model without a landscape (a generic neural SDE) has attractors and lines of flow; the rest is said to be missing.
    """
    with runs.command_line.noted() as warned, runs.claimed(run):
        loaded = runs.load(run)
        fit = loaded.fit
        found = runs.read_landscape(loaded, min_persistence=min_persistence, min_barrier=min_barrier)
        segments, data = datasets.joined(segment(fit, wells=found), loaded.data), datasets.joined(loaded.data)
        truth = tables.score(segments, data)
        pictures = {"segmentation": plots.segmentation(segments, data, truth)}
        pictures |= _of_landscape(fit, found) if fit.has_landscape else _of_force(fit, found)
        for name, figure in pictures.items():
            plots.save(figure, run / "figures" / f"{name}.png")
        runs.record_landscape(run, fit, found, warned)
    print(tables.landscape(found, truth) if fit.has_landscape else tables.attractors(found, truth))
    print("figures: " + ", ".join(str(file) for file in sorted((run / "figures").glob("*.png"))))


def _of_landscape(fit: Fit, landscape: xr.Dataset) -> dict[str, Figure]:
    points, first = fit.encoded(), fit.positions()[0, 0][fit.times[0].isfinite()]
    return plots.gallery(fit.dynamics.rest_force, fit.potential, points, landscape, fit.temperature) | {
        "energy": plots.energy(fit.potential, landscape, points, first, fit.temperature),
        "passes": plots.passes(landscape),
        "dwell": plots.dwell(landscape),
        "rates": plots.rates(landscape),
        "timescales": plots.timescales(landscape),
    }


def _of_force(fit: Fit, attractors: xr.Dataset) -> dict[str, Figure]:
    return plots.gallery(fit.dynamics.rest_force, None, fit.encoded(), attractors)


if __name__ == "__main__":
    runs.command_line.run(main)
