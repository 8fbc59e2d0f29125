"""Writes a result folder: raw.jsonl, summary.csv, run.json."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, UTC
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from analysis.results.file_names import LOGS, RAW, RUN, SAMPLES, SUMMARY
from analysis.rows.error_types import ErrorType
from analysis.rows.parser import table
from analysis.rows.schema import unfinished
from launcher.errors import RecordingFailed, UsageError
from launcher.experiment.grid import Cell
from launcher.experiment.load_processes import CellEnded
from launcher.experiment.resume import RecordedRun
from launcher.system.files import write_atomically
from launcher.system.signals import Interrupted

SYNC_SECONDS = 0.5
MAX_FAILED_ROWS = 20

# Finds what bound a cell, from its line, its entry in run.json and some failed rows.
Judge = Callable[[dict[str, Any], dict[str, Any], list[dict[str, Any]]], dict[str, Any] | None]


class RunStatus(StrEnum):
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    KILLED = "killed"

    @classmethod
    def after(cls, failure: BaseException | None) -> "RunStatus":
        if isinstance(failure, (Interrupted, KeyboardInterrupt)):
            return cls.INTERRUPTED
        return cls.COMPLETE if failure is None else cls.FAILED


def outcome(failure: BaseException | None) -> dict[str, Any]:
    """The end of a run, for run.json and experiment.json."""
    error = None if failure is None else str(failure)
    return {"status": RunStatus.after(failure), "error": error, "ended": now()}


@dataclass
class AttemptFacts:
    """The entry of an attempt in run.json. `load` is None when the attempt was interrupted."""

    shares_node: bool
    max_lag: float
    load: CellEnded | None = None
    replaced: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        facts = asdict(self)
        load = facts.pop("load")
        return {"interrupted": load is None, **facts, **(load or {})}


class Recording:
    """Writes rows as they arrive; raw.jsonl never holds part of a row, even when the disk is full."""

    def __init__(self, folder: Path, run: dict[str, Any], recorded: RecordedRun) -> None:
        """Raises `UsageError` when the folder is not writable."""
        self.folder, self.run_file = folder, folder / RUN
        self.logs, self.samples = folder / LOGS, folder / SAMPLES
        self.run = _with_sitting(run, recorded.run)
        self.lines, self.attempts = recorded.lines, recorded.attempts
        self.rows, self._size, self._raw = recorded.rows, recorded.size, recorded.file
        self._cell: dict[int, bytes] = {}
        self._failed: list[dict[str, Any]] = []
        self._constant: dict[str, Any] = {}
        self._waiting: list[bytes] = []
        self._synced = time.monotonic()
        try:
            self.logs.mkdir(exist_ok=True)
            os.ftruncate(self._raw.fileno(), self._size)
            self._save_run()
            if recorded.run:
                self._write_summary()
        except OSError as failure:
            raise UsageError(f"cannot write to {folder}: {failure.strerror}") from None

    def note_load(self, pids: dict[str, int | None]) -> None:
        self._save_run(placement=self.run["placement"] | {"load": pids})

    def start_cell(self, cell: Cell, constant: dict[str, Any]) -> dict[str, Any]:
        """Returns what all rows of the attempt have in common: `constant` and the attempt's number."""
        self._cell.clear()
        self._failed.clear()
        self.attempts[cell] = self.attempts.get(cell, 0) + 1
        self._constant = constant | {"attempt": self.attempts[cell]}
        self._save_run(begun=self.started + 1)
        return self._constant

    @property
    def started(self) -> int:
        """How many attempts were started, by this launcher and earlier ones: the last one's number."""
        return int(self.run["begun"])

    def take(self, line: bytes) -> None:
        row = orjson.loads(line)
        self._cell[row["request_id"]] = line
        if not row["success"] and len(self._failed) < MAX_FAILED_ROWS:
            self._failed.append(row)
        self._waiting.append(line)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.flush()

    def write_interrupted_rows(self, message: str) -> None:
        """Writes a failed row for every session of the cell without a row."""
        for request_id in range(self._constant["batch_size"]):
            if request_id not in self._cell:
                error_type = ErrorType.INTERRUPTED
                self.take(unfinished(self._constant, request_id, None, error_type, message))

    def flush(self) -> None:
        """Raises `RecordingFailed` when the disk is full; whole rows stay."""
        if not self._waiting:
            return
        text = b"".join(line + b"\n" for line in self._waiting)
        written = 0
        try:
            while written < len(text):
                written += self._raw.write(text[written:]) or 0
            os.fsync(self._raw.fileno())
        except OSError as failure:
            self._keep_whole_lines(text[:written])
            raise RecordingFailed(
                f"cannot write {self.folder / RAW}: {failure.strerror}; the {self.rows} rows in it "
                "are whole; free some space, then continue with --resume"
            ) from None
        self._keep_whole_lines(text)
        self._synced = time.monotonic()

    def end_cell(
        self, cell: Cell, facts: AttemptFacts, judge: Judge = lambda *_: None
    ) -> dict[str, Any]:
        """Writes the cell's summary and its entry in run.json; returns its summary line."""
        from analysis.cells import summary

        self.flush()
        entry = asdict(cell) | {"attempt": self.attempts[cell]} | facts.as_dict()
        rows = table(self._cell.values())
        line = summary.cell(rows, entry)
        entry["bound"] = judge(line, entry, self._failed)
        self.lines[cell] = summary.cell(rows, entry) if entry["bound"] else line
        # Before the summary, because a cell without an entry is repeated.
        self._save_run(cells=[*self.run["cells"], entry])
        self._write_summary()
        return self.lines[cell]

    def _write_summary(self) -> None:
        from analysis.cells.summary import as_csv

        save(self.folder / SUMMARY, as_csv(self.in_order))

    @property
    def in_order(self) -> list[dict[str, Any]]:
        """The lines of the cells in the order of their first attempts."""
        return [self.lines[cell] for cell in self.attempts if cell in self.lines]

    def close(self, failure: BaseException | None = None) -> None:
        try:
            self.flush()
        finally:
            self._raw.close()
            ended = outcome(failure)
            *earlier, sitting = self.run["sittings"]
            sitting |= ended | {"cells_done": len(self.lines)}
            self._save_run(**ended, rows=self.rows, sittings=[*earlier, sitting])

    def _keep_whole_lines(self, written: bytes) -> None:
        end = written.rfind(b"\n") + 1
        os.ftruncate(self._raw.fileno(), self._size + end)
        self._size += end
        self.rows += written[:end].count(b"\n")
        self._waiting.clear()

    def _save_run(self, **changes: Any) -> None:
        self.run |= changes
        save(self.run_file, json.dumps(self.run, indent=1, default=str))


def save(file: Path, text: str) -> None:
    """Raises `RecordingFailed`."""
    try:
        write_atomically(file, text)
    except OSError as failure:
        raise RecordingFailed(
            f"cannot write {file}: {failure.strerror}; the rows in {RAW} are whole"
        ) from None


def _with_sitting(run: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """run.json with one more sitting: each start of the launcher on a run is a sitting.
    `recorded` is its content so far, empty for a new run."""
    status = {"status": RunStatus.RUNNING, "error": None}
    names = ("versions", "arguments", "machine", "limits", "placement")
    facts = {name: run[name] for name in names}
    sitting = {"started": now(), **status, "url": run["grid"]["url"], **facts}
    sittings = [*map(_ended, recorded.get("sittings", [])), sitting]
    new = {"started": now(), "cells": [], "begun": 0, **run}
    kept = ("run_id", "started", "cells", "begun", "arguments")
    kept_values = {name: recorded.get(name, new[name]) for name in kept}
    return recorded | run | kept_values | status | {"ended": None, "sittings": sittings}


def _ended(sitting: dict[str, Any]) -> dict[str, Any]:
    """An earlier sitting; one that recorded no end was killed."""
    killed = sitting["status"] == RunStatus.RUNNING
    return sitting | {"status": RunStatus.KILLED} if killed else sitting


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
