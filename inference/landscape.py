"""Read the landscape of a run: found, occupancies, barriers, how long states last, and whether to believe that.

python inference/landscape.py runs/first
"""

from pathlib import Path
from typing import Annotated, Any

import typer

import pyro_nld as nld
from pyro_nld import command_line


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by fit.")],
    min_persistence: Annotated[float, typer.Option(min=0, help=command_line.PERSISTENCE)] = 3.0,
    min_barrier: Annotated[float, typer.Option(min=0, help=command_line.BARRIER)] = 0.0,
) -> None:
    """Find the states of RUN, print what they are, and write landscape.nc, summary.json and figures.

    A model without a landscape (a generic neural SDE) has attractors and lines of flow; the rest is said to be missing.
    """
    with command_line.noted() as warned, nld.runs.claimed(run):
        loaded = nld.runs.load(run)
        fit = loaded.fit
        found = nld.runs.read_landscape(loaded, min_persistence=min_persistence, min_barrier=min_barrier)
        data = nld.datasets.joined(loaded.data)
        segments = nld.datasets.joined(nld.segment(fit, wells=found), loaded.data)
        truth = nld.tables.score(segments, data)
        pictures = {"segmentation": nld.plots.segmentation(segments, data, truth)}
        pictures |= _of_landscape(fit, found) if fit.has_landscape else _of_force(fit, found)
        for name, figure in pictures.items():
            nld.plots.save(figure, run / "figures" / f"{name}.png")
        nld.runs.record_landscape(run, fit, found, warned)
    print(nld.tables.landscape(found, truth) if fit.has_landscape else nld.tables.attractors(found, truth))
    print("figures: " + ", ".join(str(file) for file in sorted((run / "figures").glob("*.png"))))


def _of_landscape(fit: "nld.Fit", landscape: Any) -> dict[str, Any]:
    points, first = fit.encoded(), fit.positions()[0, 0][fit.times[0].isfinite()]
    return nld.plots.gallery(fit.dynamics.rest_force, fit.potential, points, landscape, fit.temperature) | {
        "energy": nld.plots.energy(fit.potential, landscape, points, first, fit.temperature),
        "passes": nld.plots.passes(landscape),
        "dwell": nld.plots.dwell(landscape),
        "rates": nld.plots.rates(landscape),
        "timescales": nld.plots.timescales(landscape),
    }


def _of_force(fit: "nld.Fit", attractors: Any) -> dict[str, Any]:
    return nld.plots.gallery(fit.dynamics.rest_force, None, fit.encoded(), attractors)


if __name__ == "__main__":
    command_line.run(main)
