"""Limits the logs of processes that print without end.

A process keeps its log open, for appending, so the log is shortened in place: its beginning and its end stay.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import TextIO

INTERVAL_SECONDS = 1.0
MAX_BYTES, KEPT_BYTES = 64 << 20, 8 << 20
# A line is cut if it is longer than this where the log is cut.
MAX_LINE = 64 << 10


class LogLimit:
    """Shortens logs that have become longer than `MAX_BYTES`."""

    def __init__(self) -> None:
        self._removed: dict[Path, int] = {}
        self._next_check = 0.0

    def add(self, log: Path) -> None:
        self._removed.setdefault(log, 0)

    def check(self) -> None:
        """At most once in `INTERVAL_SECONDS`."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + INTERVAL_SECONDS
        for log, removed in list(self._removed.items()):
            with contextlib.suppress(OSError):
                if log.stat().st_size > MAX_BYTES:
                    self._removed[log] = shorten(log, KEPT_BYTES, removed)


def shorten(log: Path, kept: int, removed: int = 0) -> int:
    """Replaces all but the first and the last `kept` bytes by a line that names how much was removed, also
    `removed` earlier; returns the sum. What is written within the same instant may be lost."""
    with log.open("r+b", buffering=0) as file, log.open("ab", buffering=0) as end:
        start = _line_start(file.fileno(), kept)
        size = os.fstat(file.fileno()).st_size
        tail_at = _line_start(file.fileno(), size - kept)
        tail = os.pread(file.fileno(), size - tail_at, tail_at)
        tail += os.pread(file.fileno(), kept, size)  # written meanwhile
        removed += os.fstat(file.fileno()).st_size - start - len(tail)
        file.truncate(start)
        note = f"[{removed:,} bytes of output were removed here, to limit the size of this log]\n"
        end.write(note.encode() + tail)
    return removed


def skip_cut(file: TextIO) -> None:
    """Moves a reader that is beyond the end of a log, which has been shortened, to the note."""
    descriptor = file.fileno()
    if os.fstat(descriptor).st_size < os.lseek(descriptor, 0, os.SEEK_CUR):
        file.seek(_line_start(descriptor, KEPT_BYTES))


def _line_start(file: int, offset: int) -> int:
    """The start of the first line after `offset`, or `offset` itself."""
    return offset + os.pread(file, MAX_LINE, offset).find(b"\n") + 1
