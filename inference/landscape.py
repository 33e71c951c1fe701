"""Read the landscape of a run: states, occupancies, barriers, how long states last, and whether to believe that.

python inference/landscape.py runs/first
"""

from pathlib import Path
from typing import Annotated

import typer
import xarray as xr
from matplotlib.figure import Figure

from pyro_nld import Fit, datasets, plots, runs, segment, tables


def main(run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")]) -> None:
    """Find the states of RUN, print what they are, and write landscape.nc, summary.json and figures.

    A model without a landscape (a generic neural SDE) has attractors and lines of flow; the rest is said to be missing.
    """
    with runs.command_line.noted() as warned, runs.claimed(run):
        loaded = runs.load(run)
        fit = loaded.fit
        story = fit.landscape() if fit.has_landscape else fit.attractors()
        story = story.assign_coords(channel=loaded.data["channel"])  # its name
        segments, data = datasets.joined(segment(fit, wells=story), loaded.data), datasets.joined(loaded.data)
        truth = tables.score(segments, data)
        pictures = {"segmentation": plots.segmentation(segments, data, truth)}
        pictures |= _of_landscape(fit, story) if fit.has_landscape else _of_force(fit, story)
        for name, figure in pictures.items():
            plots.save(figure, run / "figures" / f"{name}.png")
        runs.record_landscape(run, fit, story, warned)
    print(_told(story, truth) if fit.has_landscape else tables.attractors(story, truth) + "\n" + tables.levels(story))
    print("figures: " + ", ".join(str(file) for file in sorted((run / "figures").glob("*.png"))))


def _told(story: xr.Dataset, truth: xr.Dataset | None) -> str:
    found = [tables.states(story, truth), tables.findings(story, truth), "", tables.levels(story), ""]
    if story.sizes["state"] > 1:
        found += [tables.transitions(story), "", tables.relaxations(story), ""]
    return "\n".join([*found, tables.verdict(story)])


def _of_landscape(fit: Fit, story: xr.Dataset) -> dict[str, Figure]:
    points, first = fit.encoded(), fit.positions()[0, 0][fit.times[0].isfinite()]
    return plots.gallery(fit.dynamics.rest_force, fit.potential, points, story, fit.temperature) | {
        "energy": plots.energy(fit.potential, story, points, first, fit.temperature),
        "passes": plots.passes(story),
        "dwell": plots.dwell(story),
        "rates": plots.rates(story),
        "timescales": plots.timescales(story),
    }


def _of_force(fit: Fit, story: xr.Dataset) -> dict[str, Figure]:
    return plots.gallery(fit.dynamics.rest_force, None, fit.encoded(), story)


if __name__ == "__main__":
    runs.command_line.run(main)
