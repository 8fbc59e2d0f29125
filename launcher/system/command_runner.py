"""`python -m launcher.system.command_runner FD COMMAND...` runs a command that must not outlive the
launcher.

FD is the reading end of a pipe whose writing end only the launcher holds: it closes however the
launcher exits. Then, at SIGTERM, and when the command itself exits, the command and its descendants
are terminated. The exit code is the command's, as a shell reports it.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

import psutil

from benchmark.server.process import adopt_orphans, die_with_parent
from launcher.system.process import shell_code
from launcher.system.signals import STOP_SIGNALS, WakeupPipe

GRACE_SECONDS = 2.0


def main() -> int:
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    adopt_orphans()
    wakeup = WakeupPipe()
    wakeup.catch(STOP_SIGNALS)
    runner = os.getpid()
    try:
        running = subprocess.Popen(command, preexec_fn=lambda: die_with_parent(runner))  # noqa: PLW1509
    except OSError as failure:
        print(f"error: cannot run {command[0]!r}: {failure.strerror}", file=sys.stderr)
        return 126
    pidfd = os.pidfd_open(running.pid)
    while True:
        ready, _, _ = select.select([pidfd, lifeline, wakeup.fileno()], [], [])
        # Ctrl-C in a terminal reaches the command too, which may exit in its own time.
        if ready != [wakeup.fileno()] or set(wakeup.drain()) != {signal.SIGINT}:
            return shell_code(_terminate(running))


def _terminate(command: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + GRACE_SECONDS
    for process in _descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(GRACE_SECONDS)
    others = [process for process in _descendants() if process.pid != command.pid]
    psutil.wait_procs(others, max(0.0, deadline - time.monotonic()))
    for process in _descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return command.wait()


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


if __name__ == "__main__":
    sys.exit(main())
