"""Processes that a measurement starts, and their use of CPU and memory."""

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
    """A figure could not be measured; the one-line message gives the reason."""


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds of some processes."""

    user: float = 0.0
    system: float = 0.0

    def __add__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.user + other.user, self.system + other.system)

    def __sub__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.user - other.user, self.system - other.system)

    @property
    def total(self) -> float:
        return self.user + self.system

    def per_session(self, sessions: int) -> dict[str, float]:
        """Microseconds per session."""
        share = 1e6 / sessions
        return {
            "cpu_us": self.total * share,
            "user_us": self.user * share,
            "system_us": self.system * share,
        }


def cpu(pids: Iterable[int]) -> CpuTime:
    """The CPU time of these processes without their children; those that have exited count as 0."""
    used = CpuTime()
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += CpuTime(int(fields[11]) / TICKS, int(fields[12]) / TICKS)
    return used


def tree(pid: int) -> list[int]:
    """The pids of the process and all its descendants."""
    pids = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                pids += tree(int(child))
    return pids


def trees(pids: Iterable[int]) -> list[int]:
    return sorted({each for pid in pids for each in tree(pid)})


def memory(pids: Iterable[int]) -> int:
    """The proportional set size in bytes: the memory that would be freed if the processes exited."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def wait_until_still(pids: Iterable[int]) -> None:
    """Returns when the processes no longer use CPU, or after `STILL_SECONDS`."""
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
    """Runs a process in a process group of its own, which is killed at the end of the `with` block."""
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
    """Sends SIGTERM, waits up to `END_SECONDS`, then sends SIGKILL to the process group."""
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
    """Returns the first true result of `holds`. Raises `NotMeasured` at the timeout, or as soon as `process`
    exits."""
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
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"not within {seconds:.0f} s: the end of {' '.join(argv)}") from None
    try:
        return dict(json.loads(output.strip().splitlines()[-1]))
    except (IndexError, ValueError):
        code = process.returncode
        raise NotMeasured(f"exit code {code} without a result of {' '.join(argv)}") from None
