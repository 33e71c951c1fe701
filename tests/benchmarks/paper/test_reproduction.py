"""The reproduction: a seed is measured against known truth, kept once, and told in a table that hides nothing."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from paper import reproduction, table
from paper.reproduction import SMALL, Cell
from programs import Programs

import pyro_nld as nld
from pyro_nld.runs import summary

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "models"
PROGRAM = str(ROOT / "tests" / "benchmarks" / "reproduce_paper.py")
SHORT = nld.Schedule(steps=3, batch_size=8)


def made(settings="ours", seed=0, latent=3, **values):
    row = {"cell": ["overdamped", "symmetric", latent, settings], "seed": seed, "steps": 3, "failed": "", "wells": 3}
    return row | {"not_finite": 0, "accuracy": 0.97, "spread": 0.01, "best": 0.98, "l1_harmonic": 0.02} | values


def test_the_cells_are_those_that_there_are():
    found = reproduction.cells(["overdamped", "underdamped"], ["symmetric"], [2, 3], reproduction.SETTINGS)
    assert len(found) == len(set(found)) == 4 + 4 + 4 + 2 + 1
    assert Cell("underdamped", "symmetric", 2, "sde") not in found
    assert Cell("any", "symmetric", 0, "hmm") in found
    with pytest.raises(nld.DataError, match="damped is none of overdamped, underdamped"):
        reproduction.cells(["damped"], ["symmetric"], [2], ["ours"])


@pytest.mark.parametrize("chain", ["symmetric", "asymmetric"])
def test_a_chain_has_the_occupancies_it_is_named_for(chain):
    data = reproduction.draw(Cell(chain=chain), (2, 5), 0)
    expected = {"symmetric": [1 / 3] * 3, "asymmetric": [0.5, 0.3, 0.2]}[chain]
    np.testing.assert_allclose(data["occupancy"], expected)
    assert (data["states"][:, 0] == 0).all()


@pytest.mark.parametrize("equation", ["overdamped", "underdamped"])
def test_the_papers_settings_are_the_papers(equation):
    cell = Cell(equation, latent=2, settings="paper")
    data = reproduction.draw(cell, SMALL.train, 0)
    model, guide = reproduction.build(cell, data, MODELS, 0)
    times, x = nld.as_tensors(data)
    assert np.isfinite(nld.PathELBO().loss(model, guide, times, x))
    assert model.substeps == 1
    assert guide.encoder.causal
    assert isinstance(guide.control, nld.NeuralControl)
    assert model.likelihood.noise_scale.item() == 0.5
    assert not model.likelihood.decoder.loc.any()
    learned = {name.removesuffix("_unconstrained") for name, _ in model.dynamics.named_parameters(recurse=False)}
    assert learned == {"overdamped": {"temperature"}, "underdamped": {"temperature", "friction", "mass"}}[equation]
    largest = max(layer.weight.abs().max().item() * layer.inputs**0.5 for layer in model.dynamics.potential.blocks)
    assert largest <= 0.2


def test_latent_axes_reach_every_model_file():
    for equation, settings in reproduction.FILES:
        cell = Cell(equation, latent=5, settings=settings)
        assert reproduction.build(cell, reproduction.draw(cell, (2, 5), 0), MODELS, 0)[0].dynamics.latent == 5


def test_what_there_is_not_is_refused():
    cell = Cell("underdamped", settings="sde")
    with pytest.raises(nld.DataError, match="no model is underdamped with the settings sde"):
        reproduction.build(cell, reproduction.draw(cell, (2, 5), 0), MODELS, 0)


def test_occupancies_of_seen_states_are_those_of_the_transitions_drawn():
    """0→1 twice of three, 1→0 once of three: shares 1/3, 2/3 in place of 1/2, 1/2."""
    states = np.array([[0, 1, 1, 1, 0, 0, 1]])
    data = xr.Dataset({"states": (("sequence", "time"), states), "occupancy": ("state", [0.5, 0.5])})
    assert reproduction.sampling_error(data) == pytest.approx(1 / 3)


def test_a_hidden_markov_model_is_measured_like_the_rest():
    row = reproduction.run_cell(
        Cell("any", "symmetric", 0, "hmm"), 0, SHORT, MODELS, sizes=reproduction.Sizes((60, 100), (20, 100))
    )
    assert row["best"] - 0.02 < row["accuracy"] <= 1
    assert np.isfinite(row["evidence"])


@pytest.mark.usefixtures("brief")
def test_one_seed_from_simulation_to_figures(tmp_path, monkeypatch):
    """Hardly fitted, so that nothing is known of the numbers but what they may be."""
    monkeypatch.setattr(reproduction, "STARTS", 20)
    cell = Cell(latent=2, settings="paper")
    row = reproduction.run_cell(cell, 0, SHORT, MODELS, sizes=SMALL, figures=tmp_path)
    assert row["cell"] == ["overdamped", "symmetric", 2, "paper"]
    assert row["failed"] == ""
    assert row["not_finite"] == 0
    assert 0 <= row["accuracy"] <= row["best"] <= 1
    assert all(0 <= row[name] <= 2 for name in ("l1_sampled", "l1_energy", "l1_harmonic"))
    assert np.isfinite([row["elbo"], row["evidence"], row["curvature_step"]]).all()
    assert row.keys() >= table.COLUMNS.keys()
    pictures = {path.stem for path in (tmp_path / cell.name).iterdir()}
    assert pictures == {"figure_2", "figure_2_flow", "figure_3"}


@pytest.mark.parametrize("settings", ["ours", "two-sided"])
def test_labels_that_may_use_the_future_are_judged_beside_the_smoother(settings, monkeypatch):
    monkeypatch.setattr(reproduction, "STARTS", 20)
    row = reproduction.run_cell(Cell(latent=2, settings=settings), 0, SHORT, MODELS, sizes=SMALL)
    new = reproduction.draw(Cell(), SMALL.test, 10_000)
    exact = nld.oracles.hmm_posterior(new, online=settings == "ours")["label"]
    assert row["best"] == float((exact == new["states"]).mean())


def test_a_fit_that_fails_stays_in_the_table(monkeypatch, tmp_path):
    def fails(*_, **__):
        raise nld.FitError("the loss stays non-finite")

    monkeypatch.setattr(reproduction.results, "fit", fails)
    row = reproduction.cached_row(Cell(), 0, tmp_path, SHORT, MODELS, SMALL, False)
    assert row["failed"] == "the loss stays non-finite"
    text = table.written([[row, made(seed=1)]])
    assert "| ours | overdamped | symmetric | 3 | 2 | 1 of 2 |" in text
    assert "the loss stays non-finite |" in text


def test_a_row_is_made_once_and_not_mixed_with_another_schedule(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(
        reproduction, "run_cell", lambda *args, **_: calls.append(args) or made(l1_sampled=float("nan"))
    )
    first = reproduction.cached_row(Cell(), 0, tmp_path, SHORT, MODELS, SMALL, False)
    assert reproduction.cached_row(Cell(), 0, tmp_path, SHORT, MODELS, SMALL, False) == first
    assert len(calls) == 1
    assert first["l1_sampled"] is None  # in the file; a dash in the table
    with pytest.raises(nld.RunDirectoryError, match=r"0\.json was made with 3 steps, not 4\. Use the same"):
        reproduction.cached_row(Cell(), 0, tmp_path, nld.Schedule(steps=4), MODELS, SMALL, False)


def test_rows_that_are_kept_are_tabled_by_cell_and_seed(tmp_path):
    for row in (made(seed=10), made(seed=9), made("hmm", 0, cell=["any", "symmetric", 0, "hmm"]), made("sde", 0)):
        folder = tmp_path / "rows" / Cell(*row["cell"]).name
        folder.mkdir(parents=True, exist_ok=True)
        summary.write_json(folder / f"{row['seed']}.json", row)
    cells = reproduction.rows_in(tmp_path)
    assert [[row["seed"] for row in rows] for rows in cells] == [[9, 10], [0], [0]]
    assert [rows[0]["cell"][3] for rows in cells] == ["ours", "sde", "hmm"]


def test_the_table_kept_is_of_the_rows_kept():
    evidence = MODELS.parent / "docs" / "evidence" / "paper"
    cells = reproduction.rows_in(evidence)
    assert len(cells) >= 4
    assert table.written(cells) == (evidence / "table.md").read_text()


def test_the_table_says_mean_spread_and_worst():
    text = table.written([[made(seed=k, accuracy=a, wells=w) for k, (a, w) in enumerate([(0.9, 3), (0.96, 2)])]])
    assert "1 of 2" in text
    assert "93.00 ± 4.24 [90.00]" in text
    assert "| as printed | overdamped |" in text
    assert "as printed | underdamped" not in text
    assert text.count("| ours | overdamped | symmetric | 3 | ") == 3  # the cell and its two seeds


def test_ours_and_the_papers_settings_stand_in_two_columns():
    cells = [[made(accuracy=0.97)], [made("paper", accuracy=0.5, wells=1)], [made(latent=5)], [made("sde", latent=7)]]
    text = table.written(cells)
    found = text.split("## Ours and the paper's settings")[1].split("## Side")[0].strip().splitlines()
    head, _, both, alone = [[cell.strip() for cell in line.strip("|").split("|")] for line in found]
    assert head[3:5] == ["three wells: ours", "three wells: paper's"]
    assert both[2:5] == ["3", "1 of 1", "0 of 1"]
    assert both[-2:] == ["97.00 [97.00]", "50.00 [50.00]"]
    assert alone[2:5] == ["5", "1 of 1", ""]


def test_differences_are_paired_by_seed():
    """Gaps of 1 and 3 points: mean 2, t of one degree of freedom at 95 % times 1 point."""
    ours = [made(seed=0, accuracy=0.90), made(seed=1, accuracy=0.98), made(seed=7, accuracy=0.1)]
    theirs = [made("sde", 1, accuracy=0.95), made("sde", 0, accuracy=0.89)]
    mean, low, high = table.differences(ours, theirs, "accuracy")
    assert mean == pytest.approx(0.02)
    assert high - mean == mean - low == pytest.approx(6.3138 * 0.01, rel=1e-4)
    assert np.isnan(table.differences(ours, theirs, "evidence")).all()
    text = table.written([ours, theirs])
    assert "| overdamped | symmetric | 3 | ours − sde | accuracy % | 2.00 | -4.31 … 8.31 |" in text
    hmm = [made("hmm", 0) | {"cell": ["any", "symmetric", 0, "hmm"]}]
    assert "ours − hmm" in table.written([ours, hmm])
    assert "Nothing to compare" in table.written([ours])


@pytest.fixture
def programs(tmp_path):
    return Programs(tmp_path)


def test_the_paper_is_reproduced_row_by_row(programs):
    command = (PROGRAM, "--out", "paper", "--settings", "hmm", "--chain", "symmetric", "--budget", "smoke")
    ended = programs.run(*command, "--seeds", "1")
    assert ended.code == 0, ended.err
    row = programs.folder / "paper" / "rows" / "any-symmetric-0-hmm" / "0.json"
    first = row.stat().st_mtime_ns
    assert programs.run(*command, "--seeds", "2").code == 0
    assert row.stat().st_mtime_ns == first  # kept
    text = (programs.folder / "paper" / "table.md").read_text()
    assert "| hmm | any | symmetric | 0 | 2 |" in text
    ended = programs.run(PROGRAM, "--out", "new", "--equation", "damped")
    assert ended.code == 1
    assert "damped is none of overdamped, underdamped" in ended.err.splitlines()[-1]
    assert not (programs.folder / "new").exists()
