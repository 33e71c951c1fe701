"""A finding: numbers that say what they mean, in attrs `verdict`, `ok` and `message`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import xarray as xr

from ..errors import DataError

VERDICTS = ("good", "doubtful", "bad")


def finding(variables: Mapping[str, object], verdict: str, message: str, **coords: object) -> xr.Dataset:
    """A Dataset that says what it means.

    Parameters
    ----------
    variables, coords: as for a Dataset. verdict: one of `VERDICTS`. message: for humans.
    """
    return xr.Dataset(
        dict(variables), coords=coords, attrs={"verdict": verdict, "ok": int(verdict == "good"), "message": message}
    )


def run_check(check: Callable[..., xr.Dataset], *arguments: object) -> xr.Dataset:
    """What a check finds; where the results lack what it needs, a finding that says so, with the verdict "skipped"."""
    try:
        return check(*arguments)
    except DataError as error:
        return finding({}, "skipped", str(error))


def graded(value: float, limits: tuple[float, float], high_is_good: bool = False) -> str:
    """The verdict on a number with two limits, doubtful beyond the first and bad beyond the second; bad when NaN."""
    value, limits = (-value, (-limits[0], -limits[1])) if high_is_good else (value, limits)
    return "good" if value <= limits[0] else "doubtful" if value <= limits[1] else "bad"
