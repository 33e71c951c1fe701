"""Read the landscape of a run: states, occupancies, barriers, how long states last, and whether to believe that.

python inference/landscape.py runs/first
"""

from pathlib import Path
from typing import Annotated

import typer

from pyro_nld import command_line, plots, runs, segment, tables


def main(run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")]) -> None:
    """Find the states of RUN, print what they are, and write landscape.nc, summary.json and figures."""
    with command_line.noted() as warned, runs.claimed(run):
        loaded = runs.load(run)
        fit, data = loaded.fit, loaded.data
        story = fit.landscape()
        segments = segment(fit, wells=story)
        truth = tables.score(segments, data)
        points, first = fit.encoded(), fit.positions()[0, 0][fit.times[0].isfinite()]
        pictures = plots.gallery(fit.dynamics.force, fit.potential, points, story, fit.temperature) | {
            "energy": plots.energy(fit.potential, story, points, first, fit.temperature),
            "segmentation": plots.segmentation(segments, data["observations"], truth),
            "passes": plots.passes(story),
            "dwell": plots.dwell(story),
            "rates": plots.rates(story),
        }
        for name, figure in pictures.items():
            plots.save(figure, run / "figures" / f"{name}.png")
        runs.record_landscape(run, fit, story, warned)
    print(tables.states(story, truth))
    print(tables.findings(story, truth))
    print()
    print(tables.transitions(story))
    print(tables.verdict(story))
    print("figures: " + ", ".join(str(file) for file in sorted((run / "figures").glob("*.png"))))


if __name__ == "__main__":
    command_line.run(main)
