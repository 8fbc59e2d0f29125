import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.server.process import die_with_parent, raise_descriptor_limit
from launcher.system.debug_log import log_command

TAIL_BYTES, TAIL_LINES = 8192, 15


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    death_signal: int = signal.SIGKILL,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Starts a child in its own session, with its output in `log`. The kernel sends it `death_signal`
    when this process exits. `options` override those of Popen."""
    log_command(__name__, argv)
    parent = os.getpid()

    def prepare() -> None:
        die_with_parent(parent, death_signal)
        raise_descriptor_limit()

    with log.open("ab") as output:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        options = {"start_new_session": True, "env": os.environ | environment, **streams, **options}
        return subprocess.Popen(argv, preexec_fn=prepare, **options)  # noqa: PLW1509 - no threads


def stop(popen: subprocess.Popen[bytes], seconds: float, grace: float | None = None) -> int:
    """Waits for an exit, sends SIGTERM after `seconds`, and SIGKILL after `grace` more (by default as
    many); returns the exit code."""
    for send in (popen.terminate, popen.kill):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return popen.wait(seconds)
        send()
        seconds = seconds if grace is None else grace
    return popen.wait()


def describe_exit(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def shell_code(code: int) -> int:
    """An exit code as a shell reports it: 128 + the number of the signal."""
    return code if code >= 0 else 128 - code


def tail(log: Path) -> list[str]:
    """The last lines of a log; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return []


def indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


class ChildProcess:
    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.pid, self.stdin, self.stdout = popen.pid, popen.stdin, popen.stdout
        self.poll, self.wait, self.send_signal = popen.poll, popen.wait, popen.send_signal
        self.log = log
        self.pidfd, self._closed = os.pidfd_open(popen.pid), False

    def fileno(self) -> int | None:
        return None if self._closed else self.pidfd

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def describe_exit(self) -> str:
        return describe_exit(self.wait())

    def tail(self) -> str:
        return indented(tail(self.log))

    def close(self) -> None:
        if not self._closed:
            os.close(self.pidfd)
            self._closed = True
