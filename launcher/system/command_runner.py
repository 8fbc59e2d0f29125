"""`python -m launcher.system.command_runner FD COMMAND...` runs a command that ends with the launcher.

FD is the reading end of a pipe that only the launcher holds open: it closes however the launcher
ends. The command and everything that it started is then ended, as it is by SIGTERM, and when the
command itself has ended. The exit code is the command's.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

import psutil

from benchmark.server.process import die_with_parent
from launcher.system.reaper import adopt_orphans

GRACE_SECONDS = 2.0


def main() -> int:
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    adopt_orphans()
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    tether = os.getpid()
    try:
        running = subprocess.Popen(command, preexec_fn=lambda: die_with_parent(tether))  # noqa: PLW1509
    except OSError as failure:
        print(f"error: cannot run {command[0]!r}: {failure.strerror}", file=sys.stderr)
        return 126
    pidfd = os.pidfd_open(running.pid)
    ended = False
    while not ended:
        ready, _, _ = select.select([pidfd, lifeline, reading], [], [])
        # A terminal's Ctrl-C has reached the command too: it may end in its own time.
        only_interrupted = ready == [reading] and set(os.read(reading, 64)) == {signal.SIGINT}
        ended = not only_interrupted
    code = _end(running)
    return code if code >= 0 else 128 - code


def _end(command: "subprocess.Popen[bytes]") -> int:
    """Ends the command and all that it started; the command's exit code."""
    deadline = time.monotonic() + GRACE_SECONDS
    for process in _below():
        _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(GRACE_SECONDS)
    others = [process for process in _below() if process.pid != command.pid]
    psutil.wait_procs(others, max(0.0, deadline - time.monotonic()))
    for process in _below():
        _signal(process, signal.SIGKILL)
    return command.wait()


def _below() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    sys.exit(main())
