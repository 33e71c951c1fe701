"""What acts on a system from outside, a stimulus or a force, at the times of the observations."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .._typing import Array
from ..errors import DataError, ShapeError

AXES = ("sequence", "time", "input")


def with_covariates(data: xr.Dataset, values: Array) -> xr.Dataset:
    """The Dataset with the variable `covariates`.

    Parameters
    ----------
    data: with observations. values: u, `(sequence, time, input)`.

    Raises
    ------
    ShapeError: values are not one number or more for every observation.
    """
    sizes = tuple(data.sizes[axis] for axis in AXES[:2])
    if np.ndim(values) != 3 or np.shape(values)[:2] != sizes:
        raise ShapeError(
            f"covariates must be (sequence, time, input) with {sizes[0]} sequences and {sizes[1]} times: got "
            f"{np.shape(values)}. Give one for every observation."
        )
    return data.assign(covariates=(AXES, np.asarray(values, float)))


def covariates(data: xr.Dataset, dtype: torch.dtype | None = None) -> Tensor:
    """u `(sequence, time, input)`: what acts on every sequence at its observation times, the variable `covariates`.

    Parameters
    ----------
    data: a Dataset with `covariates`, whose axes are those of its observations but for the last, in any order.
    dtype: of the result; torch's default when not given.

    Raises
    ------
    DataError: there is no such variable, or its axes are others.

    Examples
    --------
    >>> data = nld.datasets.ornstein_uhlenbeck(sequences=2, steps=4)
    >>> data["covariates"] = ("sequence", "time", "input"), np.ones((2, 4, 1))
    >>> nld.io.covariates(data).shape
    torch.Size([2, 4, 1])
    """
    found = data.get("covariates")
    if found is None or set(found.dims) != set(AXES):
        raise DataError(
            f"covariates are a variable of the Dataset with the axes {AXES}: got "
            f"{'none' if found is None else found.dims}. Add it: data['covariates'] = ({AXES}, values)."
        )
    return torch.as_tensor(found.transpose(*AXES).values, dtype=dtype or torch.get_default_dtype())
