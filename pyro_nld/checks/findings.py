"""A finding: a Dataset of numbers whose attrs `verdict`, `ok` and `message` say what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import xarray as xr

from ..errors import DataError

VERDICTS = ("good", "doubtful", "bad")


def finding(variables: Mapping[str, object], verdict: str, message: str, **coords: object) -> xr.Dataset:
    """A Dataset with a verdict and a message.

    Parameters
    ----------
    variables, coords: as for a Dataset. verdict: one of `VERDICTS`. message: what was found and what to do, in words.
    """
    return xr.Dataset(
        dict(variables), coords=coords, attrs={"verdict": verdict, "ok": int(verdict == "good"), "message": message}
    )


def run_check(check: Callable[..., xr.Dataset], *arguments: object) -> xr.Dataset:
    """The finding of a check. Where the results lack something that it needs, the verdict is "skipped"."""
    try:
        return check(*arguments)
    except DataError as error:
        return finding({}, "skipped", str(error))


def graded(value: float, limits: tuple[float, float], high_is_good: bool = False) -> str:
    """The verdict on a number: doubtful beyond the first limit, bad beyond the second limit or where it is NaN."""
    value, limits = (-value, (-limits[0], -limits[1])) if high_is_good else (value, limits)
    return "good" if value <= limits[0] else "doubtful" if value <= limits[1] else "bad"
