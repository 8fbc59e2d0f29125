"""Processes that a measurement starts, and what they use."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.perf.machine import ROOT

TICKS = os.sysconf("SC_CLK_TCK")
END_SECONDS = 20.0
STILL_SECONDS = 3.0


class NotMeasured(Exception):
    """Why a figure could not be measured, in a line."""


@dataclass(frozen=True)
class Used:
    """CPU seconds of some processes."""

    user: float = 0.0
    system: float = 0.0

    def __add__(self, other: "Used") -> "Used":
        return Used(self.user + other.user, self.system + other.system)

    def __sub__(self, other: "Used") -> "Used":
        return Used(self.user - other.user, self.system - other.system)

    @property
    def total(self) -> float:
        return self.user + self.system

    def each(self, sessions: int) -> dict[str, float]:
        """Microseconds a session."""
        share = 1e6 / sessions
        return {
            "cpu_us": self.total * share,
            "user_us": self.user * share,
            "system_us": self.system * share,
        }


def cpu(pids: Iterable[int]) -> Used:
    """Of these processes, without their children; those that are gone count nothing."""
    used = Used()
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += Used(int(fields[11]) / TICKS, int(fields[12]) / TICKS)
    return used


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def trees(pids: Iterable[int]) -> list[int]:
    return sorted({each for pid in pids for each in tree(pid)})


def memory(pids: Iterable[int]) -> int:
    """Bytes: what the processes would give back if they ended (proportional set size)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def until_still(pids: Iterable[int]) -> None:
    """Returns when the processes have stopped working, or after some seconds."""
    pids, deadline = list(pids), time.monotonic() + STILL_SECONDS
    before = cpu(pids)
    while time.monotonic() < deadline:
        time.sleep(0.15)
        now = cpu(pids)
        if (now - before).total <= 0.01:
            return
        before = now


@contextlib.contextmanager
def running(
    argv: list[str], log: Path, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """A process and its children, in a group of their own that is ended with the block."""
    with log.open("ab") as output:
        defaults: dict[str, Any] = {"stdout": output, "stderr": output, "cwd": ROOT, "text": True}
        process: subprocess.Popen[str] = subprocess.Popen(
            argv,
            env=os.environ | dict(environment or {}),
            start_new_session=True,
            **(defaults | options),
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """SIGTERM, patience, then SIGKILL for all of its group."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def wait_for(holds: Callable[[], Any], seconds: float, what: str, process: Any = None) -> Any:
    """What `holds` returns as soon as that is true. Raises `NotMeasured`, at once when the process that
    it waits for has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if value := holds():
                return value
        if process is not None and process.poll() is not None:
            raise NotMeasured(f"exit code {process.returncode} before {what}")
        time.sleep(0.02)
    raise NotMeasured(f"not within {seconds:.0f} s: {what}")


def get_json(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return json.loads(answer.read())


def output_of(argv: list[str], seconds: float, log: Path) -> dict[str, Any]:
    """The last line of a command's output, as JSON. Raises `NotMeasured`."""
    with running(argv, log, stdout=subprocess.PIPE) as process:
        return last_line(process, seconds, argv)


def last_line(process: subprocess.Popen[str], seconds: float, argv: list[str]) -> dict[str, Any]:
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"not within {seconds:.0f} s: the end of {' '.join(argv)}") from None
    try:
        return dict(json.loads(said.strip().splitlines()[-1]))
    except (IndexError, ValueError):
        code = process.returncode
        raise NotMeasured(f"exit code {code} without a result of {' '.join(argv)}") from None
