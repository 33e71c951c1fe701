"""Whether data hop: they are seldom between two levels, and cross in less time than it takes to diffuse.

Persistence compares how long a state is held with how long the place in it is remembered. Where levels drift or decay
within a visit, as the climate did that jumped warm and cooled, both are long, and yet the system hops.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .._typing import Array

ENOUGH = 20  # entries and exits of a state from which the density between states is judged
FLAT = 1.5  # of exp(dip): a dip of .7 kT is worth a persistence of 3
CROSSINGS = 2.0  # mean crossings that a unit of persistence is worth


def hopping(dwell: float, crossing: float, dip: float, switches: float) -> dict[str, float]:
    """What clear hops are worth in units of persistence: min(1.5 exp(dip), dwell/(2 crossing)).

    Of two sides that are no states one has less than 2: diffusion over a flat box has no dip, and holds its halves for
    3.75 crossings; a sine has a dip of 1.3 kT, and holds its sides for 2.

    Parameters
    ----------
    dwell: mean time from a core to another. crossing: the part of it after the core was last left.
    dip: kT, see `dip`. switches: entries and exits; where there are fewer than 20, hops are worth 0.

    Examples
    --------
    >>> from pyro_nld.kinetics import hops
    >>> round(hops.hopping(dwell=1385.0, crossing=154.0, dip=0.94, switches=41.0)["hopping"], 1)  # an ice core
    3.8
    """
    worth = 0.0
    if switches >= ENOUGH and crossing > 0:
        worth = min(FLAT * math.exp(dip), dwell / crossing / CROSSINGS)
    return {"crossing": crossing, "dip": dip, "hopping": worth}


def crossing(core: NDArray[np.integer], left: NDArray[np.bool_]) -> float:
    """Mean number of observations from the last one in a core to the first one in another; NaN where none was left.

    Parameters
    ----------
    core: of every observation, −1 outside of cores. left: after which ones another core is entered, `(point − 1,)`.
    """
    last = np.maximum.accumulate(np.where(core >= 0, np.arange(len(core)), 0))
    place = np.flatnonzero(left)
    return float((place + 1 - last[place]).mean()) if len(place) else math.nan


def dips(tables: xr.Dataset) -> Array:
    """How far the density of the data dips between every two minima, kT: `(minimum, to_minimum)`, 0 on the diagonal.

    Parameters
    ----------
    tables: from `memberships.between`.
    """
    resistance = np.diff(tables["core_committor"].values, axis=-1)  # 1/p between two knots
    found = np.zeros(resistance.shape[:2])
    for i, j in zip(*np.where(~np.eye(len(found), dtype=bool)), strict=True):
        row = resistance[i, j]
        top = int(row.argmax())
        found[i, j] = np.log(row[top] / max(row[: top + 1].min(), row[top:].min(), 1e-12))
    return found


def shallowest(found: Array, inside: NDArray[np.bool_]) -> float:
    """The least dip between a minimum inside a group and one outside, kT; NaN where none is outside.

    Every pair counts: on a ring the line between two minima far apart goes through the empty middle, and the data go
    round it, over their neighbours.

    Parameters
    ----------
    found: from `dips`. inside: which minima are in the group.

    Examples
    --------
    >>> from pyro_nld.kinetics import hops
    >>> around = np.array([[0.0, 0.3, 5.8], [0.3, 0.0, 0.2], [5.8, 0.2, 0.0]])
    >>> hops.shallowest(around, np.array([True, False, False]))
    0.3
    """
    between = found[inside][:, ~inside]
    return float(between.min()) if between.size else math.nan
