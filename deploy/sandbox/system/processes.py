"""Process records in files, identified by pid and start time, because the kernel reuses pids."""

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    started: int  # clock ticks after boot

    def save(self, file: Path) -> None:
        draft = file.with_name(f"{file.name}.draft")
        draft.write_text(f"{self.pid} {self.started}\n")
        draft.rename(file)

    @property
    def alive(self) -> bool:
        state, started = _stat(self.pid)
        return started == self.started and state not in "ZX"

    def kill(self) -> None:
        """Sends SIGKILL and waits for the exit. The kernel kills all other processes of a PID
        namespace with its first one."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [])
        finally:
            os.close(descriptor)


def identify(pid: int) -> Process:
    return Process(pid, _stat(pid)[1])


def load(file: Path) -> Process | None:
    try:
        pid, started = map(int, file.read_text().split())
    except (OSError, ValueError):
        return None
    process = Process(pid, started)
    return process if process.alive else None


def _stat(pid: int) -> tuple[str, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", -1
    return fields[0], int(fields[19])
