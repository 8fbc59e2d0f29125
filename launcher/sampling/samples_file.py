"""samples.jsonl: whole lines are appended, and those of one cell read back."""

import errno
import os
from pathlib import Path

import orjson

from launcher.sampling.sample import Sample

TAIL_BYTES = 4096


class SamplesFile:
    """Raises OSError when the file cannot be opened. Without a path, it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._fd = path, -1
        self.size = 0
        if path is not None:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self.size = _drop_partial_line(self._fd)

    def append(self, lines: bytes) -> None:
        """Writes all of the lines or none of them. Raises OSError."""
        if self._path is None or not lines:
            return
        if (written := os.write(self._fd, lines)) < len(lines):
            os.ftruncate(self._fd, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += written

    def read(self, start: int, end: int) -> list[Sample]:
        """The samples between two sizes of the file. Raises OSError or ValueError."""
        if self._path is None:
            return []
        with self._path.open("rb") as file:
            file.seek(start)
            return [orjson.loads(line) for line in file.read(end - start).splitlines()]

    def close(self) -> None:
        if self._path is not None:
            os.close(self._fd)


def _drop_partial_line(fd: int) -> int:
    """Removes a last line that a killed launcher left incomplete; seeks to the end and returns it."""
    size = os.fstat(fd).st_size
    start = max(0, size - TAIL_BYTES)
    end = start + os.pread(fd, size - start, start).rfind(b"\n") + 1
    os.ftruncate(fd, end)
    return os.lseek(fd, end, os.SEEK_SET)
