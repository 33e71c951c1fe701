"""The paper's Table 1 in Markdown: what was printed, what is measured here, and every seed behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from pyro_nld.io.files import write_atomically

INTERVAL = 0.90
COLUMNS = {
    "l1_seen": "ℓ1 states seen",
    "l1_sampled": "ℓ1 sampled (a)",
    "l1_energy": "ℓ1 0th order (b)",
    "l1_harmonic": "ℓ1 2nd order (c)",
    "accuracy": "accuracy %",
    "spread": "sd over sequences %",
    "best": "exact posterior %",
    "elbo": "ELBO per value",
    "evidence": "evidence per value",
    "curvature_step": "curvature × step",
}
"""What a row of `reproduction` holds, and what a table calls it."""

PERCENT = ("accuracy", "spread", "best")
PRINTED = {
    "overdamped": ("0.047 ± 0.037", "0.051 ± 0.022", "0.040 ± 0.013", "92.6 ± 0.6", "1.6 ± 0.2"),
    "underdamped": ("0.072 ± 0.068", "0.041 ± 0.029", "0.021 ± 0.004", "82.2 ± 5.6", "3.6 ± 1.4"),
}
"""Table 1 of Koop et al., NLDL 2024: the best five of many runs, mean ± standard deviation over models."""


TOLD = (
    "What each tells: all label the data. A landscape adds depths, barriers, occupancies by energy and rates from "
    "them. A neural SDE (sde) adds where its force leads, how fast, and whether it turns: attractors and lines of "
    "flow. A hidden Markov model (hmm) adds a transition matrix, and has to be told the number of states."
)


def written(cells: Sequence[Sequence[dict]]) -> str:
    """The whole report.

    Parameters
    ----------
    cells: rows of `reproduction.run_cell`, one sequence per cell, one row per seed.
    """
    parts = [
        "# Table 1, reproduced",
        "Mean ± standard deviation over all seeds, the worst in brackets; no seed is left out. A fit that fails counts "
        "among the seeds and not among those with three wells. Exact posterior: how often the most probable state is "
        "right by the filter with the true parameters, or by the smoother beside labels that may use the future "
        "(two-sided). States seen: the error of occupancies counted from the true states of the same training data, "
        "which is the luck of the draw.",
        _table(["settings", "equation", "chain", "latent", "seeds", "three wells", "not finite", *COLUMNS.values()],
               [*map(_summary, cells), *(_printed(name) for name in _equations(cells))]),
        "## Ours and the paper's settings",
        _two_columns(cells),
        "## Side by side, on the same seeds",
        _side_by_side(cells),
        TOLD,
        "## Every seed",
        _table(["settings", "equation", "chain", "latent", "seed", "wells", *COLUMNS.values(), "failed"],
               [_one(row) for rows in cells for row in rows]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def write(path: Path, cells: Sequence[Sequence[dict]]) -> None:
    """Write the report to a file, atomically; cells without rows are left out."""
    text = written([rows for rows in cells if rows])
    write_atomically(path, lambda file: file.write_text(text))


def differences(ours: Sequence[dict], theirs: Sequence[dict], name: str) -> tuple[float, float, float]:
    """Mean of ours − theirs over the seeds both have, and its 90 % interval (Student's t); NaN where there are none."""
    mine, other = ({row["seed"]: _value(row, name) for row in rows} for rows in (ours, theirs))
    gaps = np.array([mine[seed] - other[seed] for seed in mine if seed in other])
    gaps = gaps[np.isfinite(gaps)]
    if not len(gaps):
        return float("nan"), float("nan"), float("nan")
    mean = float(gaps.mean())
    if len(gaps) < 2:
        return mean, float("nan"), float("nan")
    half = float(student.ppf(0.5 + INTERVAL / 2, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps)))
    return mean, mean - half, mean + half


def _two_columns(cells: Sequence[Sequence[dict]]) -> str:
    columns: dict[tuple, dict[str, Sequence[dict]]] = {}
    for rows in cells:
        *place, settings = rows[0]["cell"]
        if settings in ("ours", "paper"):
            columns.setdefault(tuple(place), {})[settings] = rows
    names = [None, "l1_sampled", "l1_harmonic", "accuracy"]  # None: three wells
    head = [f"{'three wells' if n is None else COLUMNS[n]}: {who}" for n in names for who in ("ours", "paper's")]
    lines = [
        [*map(str, place), *(_cell(found.get(who), name) for name in names for who in ("ours", "paper"))]
        for place, found in sorted(columns.items())
    ]
    return _table(["equation", "chain", "latent", *head], lines)


def _cell(rows: Sequence[dict] | None, name: str | None) -> str:
    if rows is None:
        return ""
    return _three(rows) if name is None else _mean(_finished(rows), name)


def _side_by_side(cells: Sequence[Sequence[dict]]) -> str:
    lines = []
    for ours, theirs in product(cells, cells):
        (*place, mine), (*other, settings) = ours[0]["cell"], theirs[0]["cell"]
        if mine != "ours" or settings == "ours" or (other != place and (settings, other[1]) != ("hmm", place[1])):
            continue
        for name in ("accuracy", "elbo", "evidence"):
            mean, low, high = differences(ours, theirs, name)
            if np.isfinite(mean):
                interval = f"{_shown(name, low)} … {_shown(name, high)}" if np.isfinite(low) else "one seed"
                lines.append([*map(str, place), f"ours − {settings}", COLUMNS[name], _shown(name, mean), interval])
    if not lines:
        return "Nothing to compare: run the settings `ours` and another one on the same seeds."
    return _table(["equation", "chain", "latent", "difference", "of", "mean", "90 % interval"], lines)


def _summary(rows: Sequence[dict]) -> list[str]:
    equation, chain, latent, settings = rows[0]["cell"]
    finished = _finished(rows)
    broken = sum(row.get("not_finite", 0) for row in finished)
    place = [settings, equation, chain, str(latent), str(len(rows))]
    return [*place, _three(rows), str(broken), *(_mean(finished, name) for name in COLUMNS)]


def _finished(rows: Sequence[dict]) -> list[dict]:
    return [row for row in rows if not row["failed"]]


def _three(rows: Sequence[dict]) -> str:
    wells = [row["wells"] for row in _finished(rows) if row.get("wells") is not None]
    return f"{wells.count(3)} of {len(rows)}" if wells else "–"


def _mean(rows: Iterable[dict], name: str) -> str:
    values = np.array([_value(row, name) for row in rows])
    values = values[np.isfinite(values)]
    if not len(values):
        return "–"
    worst = values.min() if name in ("accuracy", "elbo", "evidence", "best") else values.max()
    spread = values.std(ddof=1) if len(values) > 1 else float("nan")
    around = f" ± {_shown(name, spread)}" if np.isfinite(spread) else ""
    return f"{_shown(name, values.mean())}{around} [{_shown(name, worst)}]"


def _one(row: dict) -> list[str]:
    equation, chain, latent, settings = row["cell"]
    found = [_shown(name, value) if np.isfinite(value := _value(row, name)) else "–" for name in COLUMNS]
    wells = "–" if row.get("wells") is None else str(row["wells"])
    return [settings, equation, chain, str(latent), str(row["seed"]), wells, *found, row["failed"]]


def _printed(equation: str) -> list[str]:
    values = list(PRINTED[equation])
    return ["as printed", equation, "symmetric", "2 to 10", "best 5", *["–"] * 3, *values, *["–"] * (len(COLUMNS) - 6)]


def _equations(cells: Sequence[Sequence[dict]]) -> list[str]:
    return [name for name in PRINTED if any(rows and rows[0]["cell"][0] == name for rows in cells)]


def _value(row: dict, name: str) -> float:
    value = row.get(name)
    return float("nan") if value is None else float(value)


def _shown(name: str, value: float) -> str:
    return f"{100 * value:.2f}" if name in PERCENT else f"{value:.4f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
