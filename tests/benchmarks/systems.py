"""Known systems, fitted by the recipe of a new user with no knob turned, and what is read from them beside the truth.

    python tests/benchmarks/systems.py --out runs/systems --data-folder FOLDER
    python tests/benchmarks/systems.py --out runs/systems --system ring --system trend --seeds 5
    python tests/benchmarks/systems.py --out runs/systems --read --again --rows docs/evidence/systems

The first command makes all data, fits every system on three seeds (those without states on five), reads every fit and
writes the table: about three minutes a fit on one core. It can be stopped and given again: fits and rows that are there
are kept. With --again every fit is read anew by the code as it is now; with --read nothing is fitted. Real recordings
are not part of this repository: without --data-folder they are left out.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

from known import recordings
from known.criteria import Reading, judge
from tqdm import tqdm

import pyro_nld as nld
from pyro_nld import runs
from pyro_nld.io.files import write_atomically

ROOT = Path(__file__).parents[2]
CHANNELS = 4  # of which levels are kept in a row
COLUMNS = {
    "states": "states",
    "shares": "shares",
    "dwell": "dwell",
    "label_dwell": "dwell of labels",
    "relaxation": "relaxation",
    "prior": "prior's",
    "agreement": "labels %",
    "believed": "times",
    "barriers_believed": "barriers",
    "choice": "axes, decoder",
}
"""What a row holds, and what the table calls it."""


# Fit


def data_file(name: str, seed: int, folder: Path, data_folder: Path | None) -> Path:
    """The data of a system, written once."""
    file = folder / "data" / (f"{name}_{seed}.nc" if name in recordings.SYSTEMS else f"{name}.nc")
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        nld.datasets.save(recordings.made(name, seed, data_folder), file)
    return file


def fit(name: str, seed: int, folder: Path, data_folder: Path | None, budget: str, limit: float) -> str:
    """Run the recipe; the reason if it fails, else nothing. A run directory that is finished is left alone."""
    run, data = folder / "runs" / f"{name}_{seed}", data_file(name, seed, folder, data_folder)
    if (run / "summary.json").is_file():
        return ""
    command = [
        sys.executable,
        "inference/fit.py",
        "models/my_data.py",
        "--data",
        data.resolve(),
        "--out",
        run.resolve(),
    ]
    command += ["--seed", str(seed), "--budget", budget]
    command += ["--resume"] if (run / "config.json").is_file() else []
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    try:
        ended = subprocess.run(command, cwd=ROOT, env=environment, timeout=60 * limit, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} minutes"
    return "" if ended.returncode == 0 else ended.stderr.strip().splitlines()[-1]


# Read


def read(name: str, seed: int, folder: Path, data_folder: Path | None) -> dict:
    """One row: what the present code says of a fit, and which criteria that meets."""
    run = runs.load(folder / "runs" / f"{name}_{seed}")
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        landscape = runs.read_landscape(run)
        segments = nld.segment(run.fit, wells=landscape)
    said = [text for text in landscape.attrs.values() if isinstance(text, str) and " " in text]  # sentences
    said += [str(one.message) for one in warned if issubclass(one.category, UserWarning)]
    reading = Reading(landscape, segments, recordings.made(name, seed, data_folder), tuple(dict.fromkeys(said)))
    fitted = runs.summary.read_json(run.path / "summary.json")
    choice = run.config["choice"] or {}
    return told(reading) | {
        "choice": " ".join(str(choice[key]) for key in ("latent", "decoder") if key in choice) or None,
        "candidates": choice.get("candidates"),
        "criteria": [criterion._asdict() for criterion in judge(name, reading)],
        "steps": fitted["steps"],
        "fit_seconds": fitted["seconds"],
        "read_seconds": time.perf_counter() - started,
    }


def told(reading: Reading) -> dict:
    """The numbers of a reading, and every minimum that was found, for a file."""
    landscape = reading.landscape
    found = {
        "states": reading.number,
        "shares": reading.shares,
        "levels": reading.levels[:, :CHANNELS],
        "dwell": reading.dwell,
        "label_dwell": reading.label_dwell,
        "relaxation": reading.relaxation(),
        "prior": reading.relaxation("simulated"),
        "agreement": reading.agreement() if "states" in reading.truth else None,
        "believed": bool(landscape.attrs["kinetics_agree"]),
        "barriers_believed": bool(landscape.attrs["barriers_agree"]),
        "curvature_step": landscape.attrs["max_curvature_step"],
        "said": list(reading.said),
    }
    beside = [name for name, one in landscape.items() if one.dims in (("minimum",), ("state",)) and name not in found]
    return found | {
        name: landscape[name].values for name in beside if str(name).startswith(("minimum_", "visit", "time_share"))
    }


# Rows and the table


def row(name: str, seed: int, args: argparse.Namespace) -> dict | None:
    """The row of a system and seed, from disk where it is there; None where there is none and none can be made."""
    file = args.rows / "rows" / name / f"{seed}.json"
    finished = (args.out / "runs" / f"{name}_{seed}" / "summary.json").is_file()
    possible = (name in recordings.SYSTEMS or args.data_folder is not None) and (finished or not args.read)
    if not possible or (file.is_file() and not args.again):
        return runs.summary.read_json(file) if file.is_file() else None
    failed = fit(name, seed, args.out, args.data_folder, args.budget, args.minutes)
    made = {"system": name, "seed": seed, "failed": failed}
    if not failed:
        try:
            made |= read(name, seed, args.out, args.data_folder)
        except nld.FitError as error:  # nothing could be read: that is a result
            made["failed"] = str(error)
    file.parent.mkdir(parents=True, exist_ok=True)
    runs.summary.write_json(file, made)
    return runs.summary.read_json(file)


def table(rows: list[dict]) -> str:
    """All systems, then every seed: none is left out."""
    systems: dict[str, list[dict]] = {}
    for one in rows:
        systems.setdefault(one["system"], []).append(one)
    parts = [
        "# States of known systems",
        "Fitted by `inference/fit.py models/my_data.py` with its default budget and no other option; nothing is chosen "
        "per system by hand. Shares are those of the labels, dwell is that of visits as they are told, dwell of "
        "labels is counted here from the labels alone, prior's is the relaxation of the fitted prior. The last yes and "
        "no are the verdicts on the prior's times and on its barriers.",
        _markdown(
            ["system", "seeds", "all criteria met", "states found", "missed (times)"], map(_summary, systems.values())
        ),
        "## Every seed",
        _markdown(["system", "seed", *COLUMNS.values(), "missed: found (wanted)"], map(_one, rows)),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(rows: list[dict]) -> list[str]:
    missed: dict[str, int] = {}
    for one in rows:
        for name in _missed(one):
            missed[name] = missed.get(name, 0) + 1
    met = sum(not one["failed"] and not _missed(one) for one in rows)
    states = " ".join(str(one.get("states", "–")) for one in rows)
    counted = ", ".join(f"{name} ({count})" for name, count in missed.items())
    return [rows[0]["system"], str(len(rows)), f"{met} of {len(rows)}", states, counted or "–"]


def _missed(row: dict) -> dict[str, str]:
    if row["failed"]:
        return {"failed": row["failed"]}
    wrong = [one for one in row["criteria"] if not one["met"]]
    return {one["name"]: f"{one['found']} ({one['wanted']})" for one in wrong}


def _one(row: dict) -> list[str]:
    missed = "; ".join(f"{name}: {text}" for name, text in _missed(row).items())
    return [row["system"], str(row["seed"]), *(_shown(row.get(name), name) for name in COLUMNS), missed or "–"]


def _shown(value: object, name: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join("–" if entry is None else f"{entry:.3g}" for entry in value) or "–"
    return f"{100 * value:.1f}" if name == "agreement" else f"{value}"


def _markdown(head: list[str], rows: object) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def main() -> None:
    """Fit, read, and write the table anew after each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of data and run directories")
    parser.add_argument("--rows", type=Path, help="folder of rows and table.md; --out when left out")
    parser.add_argument("--data-folder", type=Path, help="folder of the real recordings, .npz")
    parser.add_argument("--system", action="append", help="which; repeat for several; all when left out")
    parser.add_argument("--seeds", type=int, default=3, help="of systems with states")
    parser.add_argument("--null-seeds", type=int, default=5, help="of systems without")
    parser.add_argument("--budget", choices=["smoke", "default", "full"], default="default", help="how long to fit")
    parser.add_argument(
        "--minutes", type=float, default=12.0, help="after which a fit is stopped, and counts as failed"
    )
    parser.add_argument("--read", action="store_true", help="fit nothing")
    parser.add_argument("--again", action="store_true", help="read fits again that have a row")
    args = parser.parse_args()
    args.rows = args.rows or args.out
    args.rows.mkdir(parents=True, exist_ok=True)
    names = [*recordings.SYSTEMS, *recordings.RECORDINGS]
    if unknown := sorted(set(args.system or []) - set(names)):
        parser.error(f"no system is called {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = [name for name in names if not args.system or name in args.system]
    jobs = [
        (name, seed) for seed in range(max(args.seeds, args.null_seeds)) for name in chosen
        if seed < (args.null_seeds if name in recordings.NULLS else args.seeds)
    ]  # fmt: skip
    rows = {}
    for name, seed in tqdm(jobs, desc="fits", unit="fit"):
        rows[name, seed] = row(name, seed, args)
        made = [rows[place] for place in sorted(rows, key=lambda place: (names.index(place[0]), place[1]))]
        text = table([one for one in made if one is not None])
        write_atomically(args.rows / "table.md", lambda file, text=text: file.write_text(text))
    print(f"Wrote {args.rows / 'table.md'}.")


if __name__ == "__main__":
    main()
