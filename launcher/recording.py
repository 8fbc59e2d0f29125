"""A result folder while an experiment writes it: raw.jsonl, summary.csv, run.json."""

import json
import os
import time
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

import orjson

from analysis import rows as row_tables
from launcher.errors import RecordingFailed, UsageError
from launcher.rundir import write_atomically

RAW, SUMMARY, RUN, LOGS = "raw.jsonl", "summary.csv", "run.json", "logs"
SYNC_SECONDS = 0.5


class Recording:
    """Rows go to disk as they come; every line in raw.jsonl is whole, whatever happens."""

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        """Raises `UsageError` when the folder holds results already or cannot be written."""
        self.folder = folder
        self.logs = folder / LOGS
        self.run = run | {"status": "running", "started": _now(), "cells": []}
        self.lines: list[dict[str, Any]] = []
        self.rows = 0
        self._cell: dict[int, bytes] = {}
        self._constant: dict[str, Any] = {}
        self._waiting: list[bytes] = []
        self._whole = 0
        self._synced = time.monotonic()
        try:
            for name in (RAW, SUMMARY, RUN, LOGS):
                if (folder / name).exists():
                    raise UsageError(
                        f"{folder} already holds results ({name}); choose a new --output-dir"
                    )
            self.logs.mkdir(parents=True)
            self._raw = (folder / RAW).open("xb", buffering=0)
            self._save_run()
        except OSError as failure:
            raise UsageError(f"cannot write to {folder}: {failure.strerror}") from None

    def note_load(self, pids: dict[str, int | None]) -> None:
        self._save_run(placement=self.run["placement"] | {"load": pids})

    def begin_cell(self, constant: dict[str, Any]) -> None:
        """`constant` is what all rows of the cell have in common."""
        self._cell.clear()
        self._constant = constant

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
                self.take(row_tables.unfinished(constant, request_id, None, error_type, message))

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
                "are whole; free some space and run the grid into a new --output-dir"
            ) from None
        self._whole += len(text)
        self.rows += len(self._waiting)
        self._waiting.clear()
        self._synced = time.monotonic()

    def end_cell(self, details: dict[str, Any]) -> dict[str, Any]:
        """Writes the cell's summary; returns its line."""
        from analysis.summary import as_csv, cell

        self.flush()
        self.lines.append(cell(row_tables.table(self._cell.values())))
        try:
            write_atomically(self.folder / SUMMARY, as_csv(self.lines))
        except OSError as failure:
            raise RecordingFailed(
                f"cannot write {self.folder / SUMMARY}: {failure.strerror}; {RAW} is whole"
            ) from None
        self._save_run(cells=[*self.run["cells"], details])
        return self.lines[-1]

    def close(self, status: str, error: str | None = None) -> None:
        try:
            self.flush()
        finally:
            self._raw.close()
            self._save_run(status=status, error=error, ended=_now(), rows=self.rows)

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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
