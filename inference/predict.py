"""Forecast with a run: what each sequence shows next, in which state it will be, and how sure.

python inference/predict.py runs/first --data mine.npz --horizon 20
"""

from pathlib import Path
from typing import Annotated

import typer

from pyro_nld import forecast, plots, runs, tables
from pyro_nld.runs import command_line


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by inference/fit.py.")],
    horizon: Annotated[float, typer.Option(help="How far ahead, in the data's unit of time.")],
    data: Annotated[Path | None, typer.Option(help="Data to continue; the run's own when left out.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Futures per sequence.")] = 100,
    show: Annotated[int, typer.Option(min=0, help="The sequence to draw a figure of.")] = 0,
    time: command_line.Time = None,
    sequence: command_line.Sequences = None,
    channels: command_line.Channels = None,
    missing: command_line.Missing = None,
) -> None:
    """Continue every sequence from its end; write forecast.nc and figures/forecast.png into RUN."""
    with command_line.noted(), runs.claimed(run):
        loaded = runs.load(run)
        series = loaded.data
        if data is not None:
            series = runs.more_data(loaded, data, reading=command_line.reading(time, sequence, channels, missing))
            command_line.tell(series)
        predicted = forecast(loaded.fit, horizon, series, draws=draws, wells=runs.recorded_landscape(loaded))
        picture = plots.forecast(predicted, series, show)
        runs.write_dataset(run / "forecast.nc", predicted)
        plots.save(picture, run / "figures" / "forecast.png")
    print(tables.futures(predicted))
    print(f"Wrote {run / 'forecast.nc'} (mean, sd, quantiles, probability) and figures/forecast.png.")


if __name__ == "__main__":
    command_line.run(main)
