"""Forecast with a run: what each sequence shows next, in which state it will be, and how sure.

python inference/predict.py runs/first --data mine.npz --horizon 20
"""

from pathlib import Path
from typing import Annotated

import typer

import pyro_nld as nld
from pyro_nld import command_line


def main(
    run: Annotated[Path, typer.Argument(help="Run directory made by fit.")],
    horizon: Annotated[float, typer.Option(help="How far ahead, in the data's unit of time.")],
    data: Annotated[Path | None, typer.Option(help="Data to continue; the run's own when left out.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Futures per sequence.")] = 100,
    show: Annotated[int, typer.Option(min=0, help="The sequence to draw a figure of.")] = 0,
    time: command_line.Time = None,
    sequence: command_line.Sequences = None,
    channels: command_line.Channels = None,
    missing: command_line.Missing = None,
    log: command_line.Log = None,
    angle: command_line.Angle = None,
    covariates: command_line.Covariates = None,
    ahead: Annotated[str | None, typer.Option(help="The stimulus to come: numbers that stay, with commas.")] = None,
) -> None:
    """Continue every sequence from its end; write forecast.nc and figures/forecast.png into RUN."""
    with command_line.noted(), nld.runs.claimed(run):
        loaded = nld.runs.load(run)
        series = loaded.data
        if data is not None:
            reading = command_line.reading(time, sequence, channels, missing, log, angle, covariates)
            series = nld.runs.more_data(loaded, data, reading=reading)
            command_line.tell(series.attrs)
        wells, stimulus = nld.runs.recorded_landscape(loaded), command_line.numbers("--ahead", ahead)
        predicted = nld.forecast(loaded.fit, horizon, series, draws=draws, wells=wells, covariates=stimulus)
        picture = nld.plots.forecast(predicted, series, show)
        nld.runs.write_dataset(run / "forecast.nc", predicted)
        nld.plots.save(picture, run / "figures" / "forecast.png")
    print(nld.tables.futures(predicted))
    print(f"Wrote {run / 'forecast.nc'} (mean, sd, quantiles, probability) and figures/forecast.png.")


if __name__ == "__main__":
    command_line.run(main)
