"""A result folder while an experiment writes it: raw.jsonl, summary.csv, run.json."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, UTC
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from analysis.results.file_names import LOGS, RAW, RUN, SAMPLES, SUMMARY
from analysis.rows.parser import table
from analysis.rows.schema import unfinished
from launcher.errors import RecordingFailed, UsageError
from launcher.experiment.grid import Cell
from launcher.experiment.resume import Before, lock
from launcher.system.files import write_atomically

SYNC_SECONDS = 0.5
FAILED_SHOWN = 20

Judge = Callable[[dict[str, Any], list[dict[str, Any]]], dict[str, Any] | None]


class Recording:
    """Rows go to disk as they come; every line in raw.jsonl is whole, whatever happens."""

    def __init__(self, folder: Path, run: dict[str, Any], before: Before | None = None) -> None:
        """`before` is what the folder holds of the same run. Raises `UsageError` when it holds
        results without that, or cannot be written."""
        self.folder = folder
        self.logs = folder / LOGS
        self.samples = folder / SAMPLES
        self.run = _begun(run, before)
        self.lines: dict[Cell, dict[str, Any]] = before.lines if before else {}
        self.attempts: dict[Cell, int] = before.attempts if before else {}
        self.rows = before.rows if before else 0
        self._cell: dict[int, bytes] = {}
        self._constant: dict[str, Any] = {}
        self._waiting: list[bytes] = []
        self._whole = before.whole if before else 0
        self._synced = time.monotonic()
        try:
            if before is None:
                _check_new(folder)
            self.logs.mkdir(parents=True, exist_ok=True)
            self._raw = before.file if before else (folder / RAW).open("ab", buffering=0)
            if before is None:
                lock(self._raw, folder)
            os.ftruncate(self._raw.fileno(), self._whole)
            self._save_run()
            if before is not None:
                self._write_summary()
        except OSError as failure:
            raise UsageError(f"cannot write to {folder}: {failure.strerror}") from None

    @property
    def run_file(self) -> Path:
        return self.folder / RUN

    @property
    def sitting(self) -> dict[str, Any]:
        """The part of run.json for this time that the experiment was begun or gone on with."""
        return dict(self.run["sittings"][-1])

    def note_load(self, pids: dict[str, int | None]) -> None:
        self._save_run(placement=self.run["placement"] | {"load": pids})

    def begin_cell(self, cell: Cell, constant: dict[str, Any]) -> dict[str, Any]:
        """What all rows of the attempt have in common: `constant`, and which attempt it is."""
        self._cell.clear()
        self.attempts[cell] = self.attempts.get(cell, 0) + 1
        self._constant = constant | {"attempt": self.attempts[cell]}
        self._save_run(begun=self.begun + 1)
        return self._constant

    @property
    def begun(self) -> int:
        """How many attempts were begun, in all sittings; the number of the last one."""
        return int(self.run["begun"])

    def take(self, line: bytes) -> None:
        self._cell[orjson.loads(line)["request_id"]] = line
        self._waiting.append(line)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.flush()

    def write_off(self, error_type: str, message: str) -> None:
        """A row for every session of the cell that has none."""
        for request_id in range(self._constant["batch_size"]):
            if request_id not in self._cell:
                constant = self._constant
                self.take(unfinished(constant, request_id, None, error_type, message))

    def flush(self) -> None:
        """Raises `RecordingFailed` when the disk takes no more; what it took stays whole."""
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
                "are whole; free some space, then go on with --resume"
            ) from None
        self._whole += len(text)
        self.rows += len(self._waiting)
        self._waiting.clear()
        self._synced = time.monotonic()

    def end_cell(
        self, cell: Cell, facts: dict[str, Any], judge: Judge = lambda *_: None
    ) -> dict[str, Any]:
        """Writes the cell's summary; returns its line. `facts` are for run.json; `judge` says what
        bound the cell, from its line and some rows that failed."""
        from analysis.cells import summary

        self.flush()
        facts = asdict(cell) | {"attempt": self.attempts[cell]} | facts
        rows = table(self._cell.values())
        line = summary.cell(rows, facts)
        facts["bound"] = judge(line, self._some_failed())
        self.lines[cell] = summary.cell(rows, facts) if facts["bound"] else line
        # Facts first: a cell without them is run again.
        self._save_run(cells=[*self.run["cells"], facts])
        self._write_summary()
        return self.lines[cell]

    def _some_failed(self) -> list[dict[str, Any]]:
        failed = (line for line in self._cell.values() if b'"success":false' in line)
        return [orjson.loads(line) for line in islice(failed, FAILED_SHOWN)]

    def _write_summary(self) -> None:
        from analysis.cells.summary import as_csv

        try:
            write_atomically(self.folder / SUMMARY, as_csv(self.in_order))
        except OSError as failure:
            raise RecordingFailed(
                f"cannot write {self.folder / SUMMARY}: {failure.strerror}; {RAW} is whole"
            ) from None

    @property
    def in_order(self) -> list[dict[str, Any]]:
        """The lines of the cells in the order in which those first began."""
        return [self.lines[cell] for cell in self.attempts if cell in self.lines]

    def close(self, status: str, error: str | None = None) -> None:
        try:
            self.flush()
        finally:
            self._raw.close()
            ended = {"status": status, "error": error, "ended": _now()}
            sitting = self.sitting | ended | {"cells_done": len(self.lines)}
            sittings = [*self.run["sittings"][:-1], sitting]
            self._save_run(**ended, rows=self.rows, sittings=sittings)

    def _keep_whole_lines(self, written: bytes) -> None:
        end = written.rfind(b"\n") + 1
        os.ftruncate(self._raw.fileno(), self._whole + end)
        self._whole += end
        self.rows += written[:end].count(b"\n")
        self._waiting.clear()

    def _save_run(self, **changes: Any) -> None:
        self.run |= changes
        try:
            write_atomically(self.folder / RUN, json.dumps(self.run, indent=1, default=str))
        except OSError as failure:
            raise RecordingFailed(
                f"cannot write {self.folder / RUN}: {failure.strerror}; {RAW} is whole"
            ) from None


def _check_new(folder: Path) -> None:
    for name in (RAW, SUMMARY, RUN, LOGS, SAMPLES):
        if (folder / name).exists():
            raise UsageError(
                f"{folder} already holds results ({name}); choose a new --output-dir, or go on with "
                "them with --resume"
            )


def _begun(run: dict[str, Any], before: Before | None) -> dict[str, Any]:
    """run.json as another sitting begins."""
    sitting = {"started": _now(), "status": "running", "error": None, "url": run["grid"]["url"]}
    sitting |= {name: run[name] for name in ("versions", "arguments", "machine", "limits")}
    sitting |= {"placement": run["placement"]}
    if before is None:
        return run | {
            "status": "running",
            "started": _now(),
            "sittings": [sitting],
            "cells": [],
            "begun": 0,
        }
    old = before.run
    kept = ("run_id", "started", "cells", "begun", "arguments")
    sittings = [*map(_over, old.get("sittings", [])), sitting]
    again = {"status": "running", "error": None, "ended": None, "sittings": sittings}
    return old | run | {key: old[key] for key in kept} | again


def _over(sitting: dict[str, Any]) -> dict[str, Any]:
    """One that could not say how it ended was killed."""
    return sitting | {"status": "killed"} if sitting["status"] == "running" else sitting


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
