"""A model and its guide: what may be fitted and read, and the covariates of a driven model, which go with the data."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import xarray as xr

from ..errors import DataError, FitError
from ..guide.amortized import AmortizedGuide
from ..io.covariates import covariates
from ..io.memory import recognised
from ..model.latent_langevin import LatentLangevin


def check_pair(model: object, guide: object) -> None:
    """Refuse what cannot be fitted by `fit`, or read.

    Raises
    ------
    FitError: the model is wrapped in a handler, or the guide is no `AmortizedGuide`, or that of another model.
    """
    if not isinstance(model, LatentLangevin):
        raise FitError(
            f"a fit needs the model itself: expected a LatentLangevin, got {type(model).__name__}. Fit the bare model, "
            "or use plain SVI with the handler around it."
        )
    if not isinstance(guide, AmortizedGuide):
        raise FitError(
            f"a fit needs posterior paths: expected an AmortizedGuide, got {type(guide).__name__}. Use "
            "nld.AmortizedGuide(model, nld.GRUEncoder(channels)); an autoguide of the whole model serves SVI alone."
        )
    if guide.model is not model:
        raise FitError("the guide belongs to another model. Make it anew: nld.AmortizedGuide(model, encoder).")


def copied(model: LatentLangevin, guide: AmortizedGuide) -> tuple[LatentLangevin, AmortizedGuide]:
    """Copies of a model and its guide, in PyTorch's mode of evaluation: dropout is off."""
    twins = copy.deepcopy((model, guide))
    for twin in twins:
        twin.eval()
    return twins


def drive(model: LatentLangevin, data: object) -> None:
    """Give a driven model the covariates of `data`; any other model, and data without names, are left alone.

    Parameters
    ----------
    model: whose dynamics may be a `DrivenLangevin`. data: a Dataset with `covariates`, or arrays.

    Raises
    ------
    DataError: a Dataset lacks them.
    """
    found = recognised(data)
    if hasattr(model.dynamics, "covariates") and isinstance(found, xr.Dataset):
        if "covariates" not in found:
            raise DataError(
                "a stimulus acts in this model: expected data with the variable covariates(sequence, time, input), got "
                f"{', '.join(map(str, found.data_vars))}. Add it, or read it with nld.load(file, covariates=…)."
            )
        like = model.dynamics.covariates
        model.dynamics.covariates = covariates(found, like.dtype).to(like.device)


@contextmanager
def under(model: LatentLangevin, data: object) -> Iterator[None]:
    """Inside this context, a driven model has the covariates of other data; afterwards again its own.

    Parameters
    ----------
    model: whose dynamics may be a `DrivenLangevin`. data: the other data; None for those of the model.

    Raises
    ------
    DataError: the data lack covariates.
    """
    kept = getattr(model.dynamics, "covariates", None)
    if data is None or kept is None:
        yield
        return
    found = recognised(data)
    if not isinstance(found, xr.Dataset):
        raise DataError(
            f"a stimulus acts in this model: expected a Dataset with covariates, got {type(found).__name__}, which "
            "holds none. Give a Dataset with the variable covariates(sequence, time, input)."
        )
    drive(model, found)
    try:
        yield
    finally:
        model.dynamics.covariates = kept
