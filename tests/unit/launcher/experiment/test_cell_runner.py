"""What follows from the line of a cell: whether it is repeated, accepted, or ends the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.cells.reasons import Finding, Findings, Reason
from launcher.errors import LoadFailed, PreflightFailed, ResultInvalid
from launcher.experiment.cell_runner import CellRunner, ProgressListener
from launcher.experiment.grid import Cell, Grid
from launcher.experiment.grid_run import open_recording
from launcher.experiment.load_placement import LoadPlacement
from launcher.experiment.target import Target

CELL = Cell("ws", 2, 1.0, 1)
LOST = Finding(Reason.SESSIONS_LOST, {"lost": 1, "batch": 2})
LATE = Finding(Reason.LOAD_LATE, {"lags": "load-1", "limit": 1.0})
MISSED = Finding(Reason.HOSTS_MISSED, {"reached": 1, "expected": 2})
SHARED = Finding(Reason.NODE_SHARED)


def line(*reasons: Finding, lost: int = 0) -> dict[str, Any]:
    return {
        "valid": not reasons,
        "reasons": Findings(reasons),
        "lost": lost,
        "batch_size": 2,
        "wait_seconds": 1.0,
        "repetition": 1,
    }


class Events(ProgressListener):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.ended: list[Cell] = []
        self.started: list[tuple[int, int]] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def cell_started(self, cell: Cell, number: int, of: int, left: float | None) -> None:
        self.started.append((number, of))

    def cell_ended(self, cell: Cell, line: dict[str, Any]) -> None:
        self.ended.append(cell)


class ScriptedRunner(CellRunner):
    """Takes the lines of attempts from a list instead of running a load."""

    attempts: list[dict[str, Any]]

    def _attempt(self, cell: Cell) -> dict[str, Any]:
        result = self.attempts.pop(0)
        self._recording.attempts[cell] = 1
        self._recording.lines[cell] = result
        return result


@contextmanager
def scripted(
    folder: Path, *attempts: dict[str, Any], **fields: Any
) -> Iterator[tuple[ScriptedRunner, Events]]:
    grid = Grid("http://127.0.0.1:9", (2,), (1.0,), folder / "new", **fields)
    placement = LoadPlacement(Target(grid.url), ("127.0.0.1",))
    events = Events()
    with ScriptedRunner(
        grid, placement, open_recording(grid, placement), events, grid.cells
    ) as runner:
        runner.attempts = list(attempts)
        yield runner, events


def test_valid_cell_is_run_once(tmp_path: Path) -> None:
    with scripted(tmp_path, line(), line(SHARED), require_valid=True) as (runner, events):
        assert runner.run(CELL)["valid"]
        assert runner.run(CELL)["valid"]
        runner.check_valid()
        assert (events.warnings, events.ended, events.started) == ([], [CELL], [(1, 1)])


@pytest.mark.parametrize("reasons", [(LATE,), (SHARED, LATE)])
def test_cell_is_repeated_once_when_a_reason_is_transient(
    reasons: tuple[Finding, ...], tmp_path: Path
) -> None:
    with scripted(tmp_path, line(*reasons), line(LATE), line()) as (runner, events):
        assert not runner.run(CELL)["valid"]
        assert events.warnings == [
            f"{CELL}: INVALID: {Findings(reasons)}; repeating it once",
        ]
        assert len(runner.attempts) == 1


def test_cell_is_not_repeated_when_no_reason_is_transient(tmp_path: Path) -> None:
    with scripted(tmp_path, line(SHARED), line()) as (runner, events):
        assert not runner.run(CELL)["valid"]
        assert events.warnings == []


def test_cell_is_not_repeated_when_the_deployment_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Target, "is_running", lambda _: False)
    with scripted(tmp_path, line(LATE), line()) as (runner, _):
        assert not runner.run(CELL)["valid"]


def test_run_ends_when_the_repeated_cell_lost_sessions_again(tmp_path: Path) -> None:
    lost = line(LOST, lost=1)
    with (
        pytest.raises(LoadFailed, match="the load generator lost 1 of 2 sessions; the cell is"),
        scripted(tmp_path, lost, lost) as (runner, events),
    ):
        runner.run(CELL)
    assert events.ended == [CELL]


def test_missed_hosts_end_the_run_only_when_they_are_required(tmp_path: Path) -> None:
    with scripted(tmp_path, line(MISSED)) as (runner, events):
        runner.run(CELL)
        assert events.warnings == [
            f"{CELL}: traffic reached 1 of 2 hosts; the result is invalid",
        ]
    with (
        pytest.raises(PreflightFailed, match="traffic reached 1 of 2 hosts; the result is invalid"),
        scripted(tmp_path / "other", line(MISSED), require_hosts=True) as (runner, _),
    ):
        runner.run(CELL)


def test_check_valid_accepts_invalid_cells_unless_all_must_be_valid(tmp_path: Path) -> None:
    with scripted(tmp_path, line(SHARED)) as (runner, _):
        runner.run(CELL)
        runner.check_valid()


def test_check_valid_names_the_first_invalid_cell(tmp_path: Path) -> None:
    other = replace(CELL, repetition=2)
    invalid = line(SHARED) | {"repetition": 2}
    with (
        pytest.raises(ResultInvalid) as raised,
        scripted(tmp_path, line(), invalid, require_valid=True) as (runner, _),
    ):
        runner.run(CELL)
        runner.run(other)
        runner.check_valid()
    assert str(raised.value) == (
        "1 of 2 cell(s) are INVALID; the first is batch 2 × wait 1 s, repetition 2: "
        "the load generator shared a node with the deployment"
    )
