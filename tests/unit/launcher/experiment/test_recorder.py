"""The files of a result folder, written and resumed without a load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from launcher.errors import UsageError
from launcher.experiment.cell_runner import constants
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.load_processes import CellEnded
from launcher.experiment.recorder import AttemptFacts, Recording, RunStatus
from launcher.experiment.resume import create, RecordedRun, reopen
from launcher.system.signals import Interrupted
from tests.helpers.rows import row

LOAD = CellEnded("2026-03-01T12:00:00+00:00", "2026-03-01T12:00:05+00:00", {}, [])
SMALL, LARGE = Cell("ws", 1, 1.0, 1), Cell("ws", 2, 1.0, 1)


def facts(load: CellEnded | None = LOAD) -> AttemptFacts:
    return AttemptFacts(shares_node=False, max_lag=1.0, load=load)


def run_of(folder: Path) -> dict[str, Any]:
    grid = {"url": "http://n1:8000", "batches": [1, 2], "waits": [1.0]}
    described: dict[str, Any] = {"run_id": "run", "grid": grid, "arguments": ["grid"]}
    return described | {name: {} for name in ("versions", "machine", "limits", "placement", "caps")}


def record(recording: Recording, cell: Cell, *, sessions: int | None = None) -> dict[str, Any]:
    """Records an attempt with a row for each of `sessions`, by default the whole batch."""
    grid = Grid("http://n1:8000", (1, 2), (1.0,), recording.folder)
    constant = recording.start_cell(cell, constants(grid, cell, "run"))
    for number in range(cell.batch if sessions is None else sessions):
        recording.take(orjson.dumps(row(request_id=number) | constant))
    return recording.end_cell(cell, facts())


def saved(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text()))


def rows(folder: Path) -> list[Mapping[str, Any]]:
    return [orjson.loads(line) for line in (folder / "raw.jsonl").read_bytes().splitlines()]


def reopened(folder: Path) -> RecordedRun:
    recorded = reopen(folder)
    recorded.file.close()
    return recorded


def test_recording_saves_rows_facts_and_summary(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "new", run_of(tmp_path), create(tmp_path / "new"))
    assert saved(tmp_path / "new")["status"] == "running"
    line = record(recording, LARGE)
    recording.close()
    run = saved(tmp_path / "new")
    assert (line["successful"], len(rows(tmp_path / "new"))) == (2, 2)
    assert (run["status"], run["rows"], run["begun"], run["error"]) == ("complete", 2, 1, None)
    [entry] = run["cells"]
    assert (entry["batch"], entry["attempt"], entry["interrupted"]) == (2, 1, False)
    assert (entry["begun"], entry["ended"]) == (LOAD.begun, LOAD.ended)
    [sitting] = run["sittings"]
    assert (sitting["status"], sitting["cells_done"]) == ("complete", 1)


def test_resumed_recording_keeps_finished_cells_and_repeats_the_last(tmp_path: Path) -> None:
    recording = Recording(tmp_path, run_of(tmp_path), create(tmp_path))
    finished = record(recording, SMALL)
    recording.start_cell(LARGE, {"batch_size": 2})
    grid = Grid("http://n1:8000", (1, 2), (1.0,), tmp_path)
    constant = constants(grid, LARGE, "run") | {"attempt": 1}
    recording.take(orjson.dumps(row(request_id=0) | constant))
    recording.flush()
    recording._raw.close()  # as the kernel does when the launcher is killed
    with (tmp_path / "raw.jsonl").open("ab") as file:
        file.write(b'{"request_id": 1')

    recorded = reopen(tmp_path)
    assert (recorded.rows, recorded.attempts) == (2, {SMALL: 1, LARGE: 1})
    assert list(recorded.lines) == [SMALL]
    assert str(recorded.lines[SMALL]) == str(finished)  # NaN is not equal to itself
    resumed = Recording(tmp_path, run_of(tmp_path) | {"run_id": "other"}, recorded)
    record(resumed, LARGE)
    resumed.close(Interrupted(2))
    run = saved(tmp_path)
    assert [row["attempt"] for row in rows(tmp_path)] == [1, 1, 2, 2]
    assert [sitting["status"] for sitting in run["sittings"]] == ["killed", "interrupted"]
    assert (run["run_id"], run["begun"], run["error"]) == ("run", 3, "SIGINT")
    assert [line["batch_size"] for line in resumed.in_order] == [1, 2]


def test_interrupted_cell_has_a_row_for_every_session_and_is_repeated(tmp_path: Path) -> None:
    recording = Recording(tmp_path, run_of(tmp_path), create(tmp_path))
    grid = Grid("http://n1:8000", (2,), (1.0,), tmp_path)
    constant = recording.start_cell(LARGE, constants(grid, LARGE, "run"))
    recording.take(orjson.dumps(row(request_id=1) | constant))
    recording.write_interrupted_rows("the experiment ended")
    recording.end_cell(LARGE, facts(load=None))
    recording.close(Interrupted(15))
    found = {row["request_id"]: row["error_type"] for row in rows(tmp_path)}
    assert found == {1: None, 0: "INTERRUPTED"}
    assert saved(tmp_path)["cells"][0]["interrupted"] is True
    assert reopened(tmp_path).lines == {}


def test_reopen_repeats_a_cell_that_lost_sessions_of_the_load(tmp_path: Path) -> None:
    recording = Recording(tmp_path, run_of(tmp_path), create(tmp_path))
    grid = Grid("http://n1:8000", (2,), (1.0,), tmp_path)
    constant = recording.start_cell(LARGE, constants(grid, LARGE, "run"))
    lost = {"success": False, "error_type": "LOAD_WORKER_LOST", "error_message": "load-1"}
    for number in range(2):
        recording.take(orjson.dumps(row(request_id=number) | constant | lost))
    assert recording.end_cell(LARGE, facts())["lost"] == 2
    recording.close(ValueError())
    recorded = reopened(tmp_path)
    assert (recorded.lines, recorded.attempts) == ({}, {LARGE: 1})


def test_judge_sees_the_failed_rows_and_its_bound_is_saved(tmp_path: Path) -> None:
    recording = Recording(tmp_path, run_of(tmp_path), create(tmp_path))
    grid = Grid("http://n1:8000", (2,), (1.0,), tmp_path)
    constant = recording.start_cell(LARGE, constants(grid, LARGE, "run"))
    refused = {"success": False, "error_type": "CAPACITY_REACHED", "error_message": "full"}
    recording.take(orjson.dumps(row(request_id=0) | constant))
    recording.take(orjson.dumps(row(request_id=1) | constant | refused))
    seen = []

    def judge(line: dict[str, Any], entry: dict[str, Any], failed: Any) -> dict[str, Any]:
        seen.append((line["failed"], entry["attempt"], [each["request_id"] for each in failed]))
        return {"by": "ports", "evidence": "none left"}

    line = recording.end_cell(LARGE, facts(), judge)
    recording.close()
    assert seen == [(1, 1, [1])]
    assert line["bound"] == "ports"
    assert saved(tmp_path)["cells"][0]["bound"]["by"] == "ports"


def test_judge_sees_the_first_20_failed_rows_of_its_own_attempt(tmp_path: Path) -> None:
    recording = Recording(tmp_path, run_of(tmp_path), create(tmp_path))
    cell = Cell("ws", 30, 1.0, 1)
    grid = Grid("http://n1:8000", (30,), (1.0,), tmp_path)
    failed = {"success": False, "error_type": "TIMEOUT", "error_message": '"success":true'}
    seen = []

    def judge(line: dict[str, Any], entry: dict[str, Any], rows: Any) -> None:
        seen.append([each["request_id"] for each in rows])

    for first_failed in (0, 28):
        constant = recording.start_cell(cell, constants(grid, cell, "run"))
        for number in range(30):
            made = row(request_id=number, error_message='"success":false') | constant
            made |= failed if number >= first_failed else {}
            recording.take(json.dumps(made).encode())
        recording.end_cell(cell, facts(), judge)
    recording.close()
    assert seen == [list(range(20)), [28, 29]]


def test_create_refuses_a_folder_with_results(tmp_path: Path) -> None:
    Recording(tmp_path, run_of(tmp_path), create(tmp_path)).close()
    with pytest.raises(UsageError, match=r"already holds results \(raw.jsonl\).*--resume"):
        create(tmp_path)


def test_reopen_refuses_a_folder_that_another_launcher_writes(tmp_path: Path) -> None:
    recording = Recording(tmp_path, run_of(tmp_path), create(tmp_path))
    with pytest.raises(UsageError, match="another launcher is writing results"):
        reopen(tmp_path)
    recording.close()
    reopened(tmp_path)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (None, RunStatus.COMPLETE),
        (ValueError(), RunStatus.FAILED),
        (Interrupted(2), RunStatus.INTERRUPTED),
        (KeyboardInterrupt(), RunStatus.INTERRUPTED),
    ],
)
def test_status_after_a_failure(failure: BaseException | None, status: RunStatus) -> None:
    assert RunStatus.after(failure) is status
