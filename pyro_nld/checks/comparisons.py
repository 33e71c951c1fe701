"""Model comparison: scores of held-out sequences, and their paired differences.

Examples
--------
Two hypotheses whose scores of the same 100 sequences differ by 1 ± 1.4 nats each:

>>> noise = np.random.default_rng(0).normal(size=(2, 100))
>>> import xarray as xr
>>> scores = xr.DataArray(noise - [[50.0], [51.0]], dims=("model", "sequence"), coords={"model": ["two wells", "one"]})
>>> nld.comparisons.comparison(scores).attrs["message"]
'two wells predicts best, by 113.2 ± 13.2 nats before one. Prefer it.'
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..errors import DataError, ShapeError
from .findings import finding


def comparison(scores: xr.DataArray) -> xr.Dataset:
    """Compare hypotheses by their total scores of the same sequences, and by paired differences to the best.

    Parameters
    ----------
    scores: log predictive density `(model, sequence)`, nats, of the same held-out sequences.

    Returns
    -------
    By `model`, best first: `total`, `difference` to the best (≤ 0), and its standard `error` from the differences of
    single sequences. The verdict is `doubtful` where the second best is within two standard errors.

    Raises
    ------
    DataError: a score is not finite. ShapeError: fewer than two models or sequences.
    """
    if scores.sizes.get("model", 0) < 2 or scores.sizes.get("sequence", 0) < 2:
        raise ShapeError(f"scores must be (model, sequence), two of each or more: got {dict(scores.sizes)}.")
    scores = scores.transpose("model", "sequence")
    if not np.isfinite(scores).all():
        model, sequence = np.argwhere(~np.isfinite(scores.values))[0]
        raise DataError(
            f"scores must be finite: got {scores.values[model, sequence]} for {scores['model'].values[model]} at "
            f"sequence {sequence}. Leave that model out."
        )
    total = scores.sum("sequence")
    scores = scores.isel(model=np.argsort(-total.values, kind="stable"))
    apart = scores - scores.isel(model=0)
    difference, error = apart.sum("sequence"), apart.std("sequence", ddof=1) * np.sqrt(scores.sizes["sequence"])
    best, second = (str(name) for name in scores["model"].values[:2])
    gap, unsure = 0.0 - float(difference[1]), float(error[1])
    distinguishable = gap > 2 * unsure
    message = f"{best} predicts best, by {gap:.1f} ± {unsure:.1f} nats before {second}. " + (
        "Prefer it." if distinguishable else "That is within two errors: more data are needed to tell them apart."
    )
    variables = {"total": scores.sum("sequence"), "difference": difference, "error": error}
    return finding(variables, "good" if distinguishable else "doubtful", message)


def leave_future_out(whole: xr.DataArray, head: xr.DataArray, values: xr.DataArray | None = None) -> xr.Dataset:
    """log p(x_tail | x_head) = log p(x) − log p(x_head): how well the first part of a sequence predicts the rest.

    Parameters
    ----------
    whole, head: log evidence `(sequence)` of whole sequences and of their first parts, from one fit: by
        `corrections.log_evidence`, or the log mean of `log_weight` over its draws.
    values: number of observed values in each tail, `(sequence)`.

    Returns
    -------
    `score (sequence)`; `total` and its standard `error`; `per_value` where `values` are given.
    """
    if whole.sizes != head.sizes:
        raise ShapeError(f"whole and head need the same sequences: got {dict(whole.sizes)} and {dict(head.sizes)}.")
    score = whole - head
    finite = bool(np.isfinite(score).all())
    total, error = float(score.sum()), float(score.std(ddof=1) * np.sqrt(score.size)) if finite else np.inf
    message = (
        f"The tails have log density {total:.1f} ± {error:.1f} given their pasts. Compare with another model's."
        if finite
        else "A tail has no density given its past: the fit has diverged there. Fit again with more substeps."
    )
    variables: dict[str, object] = {"score": score, "total": total, "error": error}
    if values is not None:
        variables["per_value"] = total / float(values.sum())
    return finding(variables, "good" if finite else "bad", message)
