"""Names, units and dates of the data on every result: what a value belongs to, and in which unit it is.

Examples
--------
>>> import xarray as xr
>>> about = xr.Dataset(coords={"channel": ["force"], "unit": ("channel", ["pN"])}, attrs={"units": "s"})
>>> from pyro_nld.results.naming import named
>>> found = named(xr.Dataset({"decoded": (("state", "channel"), [[1.0]]), "dwell": ("state", [2.0])}), about)
>>> found["decoded"].sel(channel="force").item(), found["dwell"].attrs["units"], found["unit"].item()
(1.0, 's', 'pN')
"""

from __future__ import annotations

import xarray as xr

from ..io.matching import dates_of
from ..io.series import AXES

TIMES = {
    "dwell", "dwell_seen", "passage", "relaxation", "implied", "visit_mean", "visit_median", "visit_longest",
    "visit_duration", "time", "times", "lead", "memory", "minimum_dwell", "minimum_memory", "process_time",
    "process_low", "process_high", "process_partition", "process_states",
}  # fmt: skip
"""Variables of results that are times, in the unit of the data; those with `_low` and `_high` are their intervals."""

RATES = {"rate", "decay", "angular_frequency"}
ENERGIES = {"barrier", "barrier_low", "barrier_high", "minimum_barrier", "depth"}
"""Variables that are energies in units of kT."""

CLOCK = ("units", "time_origin")


def named(result: xr.Dataset, about: xr.Dataset | None) -> xr.Dataset:
    """A result with the names of channels and sequences, times that all sequences share, and units.

    Parameters
    ----------
    result: over any of sequence, time and channel. about: coordinates and attributes of the data, as `Fit.about`.

    Returns
    -------
    The same values. Coordinates of the data are added where the axes have the same length; where a coordinate `unit
    (channel)` is one for all channels, it is that of `decoded`. Where times count from a date, `date (sequence, time)`
    says when every observation was. A result of the first sequences alone has the names of these.
    """
    if about is not None and "sequence" in about.sizes and "sequence" in result.dims:
        about = about.isel(sequence=slice(result.sizes["sequence"]))
    result = result.assign({name: values.assign_attrs(units="kT") for name, values in _of(result, ENERGIES)})
    if about is None:
        return result
    fits = {axis for axis in AXES if axis in result.dims and about.sizes.get(axis) == result.sizes[axis]}
    coords = {
        name: values.variable
        for name, values in about.coords.items()
        if values.dims and set(values.dims) <= fits and name not in result.variables
    }
    result = result.assign_coords(coords)
    if unit := clock_unit(about):
        known = [(TIMES, unit), (RATES, f"1/{unit}")]
        result = result.assign({n: v.assign_attrs(units=u) for names, u in known for n, v in _of(result, names)})
        result = result.assign_attrs(
            {name: about.attrs[name] for name in CLOCK if name in about.attrs} | {"units": unit}
        )
    if "times" in result and result["times"].dims == AXES[:2]:
        dates = dates_of(about, result["times"].values)
        result = result if dates is None else result.assign_coords(date=(AXES[:2], dates))
    units = set(about["unit"].values.tolist()) - {""} if "unit" in about.coords else set()
    if len(units) == 1 and "unit" in result.coords:
        (unit,) = units
        result = result.assign({name: values.assign_attrs(units=unit) for name, values in _of(result, {"decoded"})})
    return result


def clock_unit(about: xr.Dataset) -> str:
    """The unit of time that data say, empty where they say none."""
    times = about["time"].attrs if "time" in about.coords else {}
    return str(about.attrs.get("units") or times.get("units") or "")


def _of(result: xr.Dataset, names: set[str]) -> list[tuple[str, xr.DataArray]]:
    every = {f"{name}{end}" for name in names for end in ("", "_low", "_high")}
    return [(str(name), values) for name, values in result.data_vars.items() if name in every]
