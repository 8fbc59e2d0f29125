"""A result folder while an experiment writes it: raw.jsonl, summary.csv, run.json."""

import json
import os
import time
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import rows as row_tables
from analysis.summary import summarise
from launcher.errors import RecordingFailed, UsageError
from launcher.rundir import write_atomically

RAW, SUMMARY, RUN = "raw.jsonl", "summary.csv", "run.json"
SYNC_SECONDS = 0.5


class Recording:
    """Rows go to disk as they come; every line in raw.jsonl is whole, whatever happens."""

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        """Raises `UsageError` when the folder holds results already or cannot be written."""
        self.folder = folder
        self.run = run
        self.summary = pd.DataFrame()
        self.rows = 0
        for name in (RAW, SUMMARY, RUN):
            if (folder / name).exists():
                raise UsageError(
                    f"{folder} already holds results ({name}); choose a new --output-dir"
                )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._raw = (folder / RAW).open("xb", buffering=0)
            self._whole = 0
            self._save_run(status="running", started=_now(), cells=[])
        except OSError as failure:
            raise UsageError(f"cannot write to {folder}: {failure.strerror}") from None
        self._cell: list[bytes] = []
        self._waiting: list[bytes] = []
        self._synced = time.monotonic()

    def note_load(self, pids: dict[str, int]) -> None:
        self._save_run(placement=self.run["placement"] | {"load": pids})

    def take(self, line: bytes) -> None:
        self._cell.append(line)
        self._waiting.append(line)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Raises `RecordingFailed` when the disk takes no more; what it took stays whole."""
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
        self.flush()
        line = summarise(row_tables.table(self._cell))
        self._cell.clear()
        parts = [part for part in (self.summary, line) if not part.empty]
        self.summary = pd.concat(parts, ignore_index=True)
        cells = [*self.run["cells"], details]
        try:
            write_atomically(self.folder / SUMMARY, self.summary.to_csv(index=False))
            self._save_run(cells=cells)
        except OSError as failure:
            raise RecordingFailed(
                f"cannot write {self.folder / SUMMARY}: {failure.strerror}; {RAW} is whole"
            ) from None
        return dict(line.iloc[0])

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The summary's lines."""
        return [dict(line) for _, line in self.summary.iterrows()]

    def close(self, status: str) -> None:
        try:
            self.flush()
        finally:
            self._raw.close()
            self._try_save_run(status)

    def _try_save_run(self, status: str) -> None:
        try:
            self._save_run(status=status, ended=_now(), rows=self.rows)
        except OSError as failure:
            raise RecordingFailed(
                f"cannot write {self.folder / RUN}: {failure.strerror}; {RAW} is whole"
            ) from None

    def _keep_whole_lines(self, written: bytes) -> None:
        end = written.rfind(b"\n") + 1
        os.ftruncate(self._raw.fileno(), self._whole + end)
        self._whole += end
        self.rows += written[:end].count(b"\n")
        self._waiting.clear()

    def _save_run(self, **changes: Any) -> None:
        self.run |= changes
        write_atomically(self.folder / RUN, json.dumps(self.run, indent=1, default=str))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
