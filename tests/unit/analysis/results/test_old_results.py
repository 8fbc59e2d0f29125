"""Results that version 0.1.0 wrote are still read, reported, compared and resumed.

Its run.json holds texts where this version has codes, and its summary.csv words reasons differently.
"""

import json
import shutil
from pathlib import Path

import orjson
import pytest

from analysis.compare.compare import compare
from analysis.report.report import write
from analysis.results.folder import load
from analysis.rows.fields import EXPECTED
from analysis.scaling.criterion import Criterion
from launcher.experiment.grid import Cell
from launcher.experiment.resume import reopen

OLD = Path(__file__).parents[3] / "helpers" / "old_results"
SMALL, LARGE = Cell("ws", 4, 0.2, 1), Cell("ws", 10, 0.2, 1)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_old_results_are_read_without_a_warning(old: Path) -> None:
    results = load(old)
    assert results.warnings == []
    assert results.summary["valid"].tolist() == [False, True]
    assert results.summary["reasons"].tolist() == [
        "the deployment changed during the cell: server-1 on 127.0.0.3 was replaced (pid 5, then 9)",
        "",
    ]
    assert results.summary["bound"].tolist() == ["", "admission cap"]


def test_the_rows_of_old_results_have_every_expected_column() -> None:
    rows = [orjson.loads(line) for line in (OLD / "raw.jsonl").read_bytes().splitlines()]
    assert all(set(row) >= EXPECTED for row in rows)
    assert len(rows) == 14


def test_a_report_of_old_results_keeps_their_summary(old: Path, tmp_path: Path) -> None:
    before = (old / "summary.csv").read_bytes()
    report = write([old], tmp_path / "report", Criterion())
    assert (report.cells, report.invalid) == (2, 1)
    assert [warning for warning in report.warnings if "summary.csv" in warning] == []
    assert (old / "summary.csv").read_bytes() == before


def test_old_results_are_compared(old: Path) -> None:
    compared = compare(load(old), load(OLD))
    assert compared.changes


def test_old_results_are_resumed_with_their_valid_and_invalid_cells(old: Path) -> None:
    recorded = reopen(old)
    recorded.file.close()
    assert {cell: line["valid"] for cell, line in recorded.lines.items()} == {
        SMALL: False,
        LARGE: True,
    }
    assert recorded.attempts == {SMALL: 1, LARGE: 1}
    assert recorded.rows == 14


def test_a_cell_that_old_results_do_not_finish_is_run_again(old: Path) -> None:
    run = json.loads((old / "run.json").read_text())
    run["cells"][1]["interrupted"] = True
    (old / "run.json").write_text(json.dumps(run))
    recorded = reopen(old)
    recorded.file.close()
    assert (list(recorded.lines), recorded.attempts) == ([SMALL], {SMALL: 1, LARGE: 1})
