"""Read the landscape of a run: states, occupancies three ways, decoded means, curvature × step.

python inference/landscape.py runs/first
"""

from pathlib import Path
from typing import Annotated

import typer

from pyro_nld import plots, runs, segment, tables
from pyro_nld.command_line import recipe


@recipe
def main(run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")]) -> None:
    """Find the states of RUN, print what they are, and write landscape.nc, summary.json and figures."""
    loaded = runs.load(run)
    fit, data = loaded.fit, loaded.data
    story = fit.landscape()
    runs.record_landscape(run, story)
    segments = segment(fit, wells=story)
    truth = tables.score(segments, data["states"], data.get("occupancy")) if "states" in data else None
    first = fit.positions()[0, 0][fit.times[0].isfinite()]
    pictures = {
        "energy": plots.energy(fit.potential, story, fit.encoded(), first, fit.temperature),
        "segmentation": plots.segmentation(segments, data["observations"], None if truth is None else truth["states"]),
    }
    for name, figure in pictures.items():
        plots.save(figure, run / "figures" / f"{name}.png")
    print(tables.states(story, truth))
    print(tables.findings(story, truth))
    print("figures: " + ", ".join(str(file) for file in sorted((run / "figures").glob("*.png"))))


if __name__ == "__main__":
    typer.run(main)
