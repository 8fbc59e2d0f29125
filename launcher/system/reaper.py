"""`python -m launcher.system.reaper FD COMMAND...`: runs a command whose whole tree must end when the
agent does.

A container's processes outlive the Apptainer that started them, so it is not enough to end that. FD
is the reading end of a pipe that only the agent holds open: when it closes, however the agent has
ended, all that the command has started is killed. SIGTERM goes to the command alone. Ends as the
command does.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Collection

from benchmark.server.process import die_with_parent, raise_descriptor_limit

PR_SET_CHILD_SUBREAPER = 36


def guard_argv(lifeline: int) -> tuple[str, ...]:
    return sys.executable, "-P", "-m", "launcher.system.reaper", str(lifeline)


def main() -> None:
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    adopt_orphans()
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGTERM, lambda *_: None)
    guard = os.getpid()

    def prepare() -> None:
        die_with_parent(guard)
        raise_descriptor_limit()

    try:
        running = subprocess.Popen(command, preexec_fn=prepare)  # noqa: PLW1509 - no threads
    except OSError as failure:
        sys.exit(f"error: cannot run {command[0]}: {failure.strerror}")
    pidfd = os.pidfd_open(running.pid)
    while True:
        ready, _, _ = select.select([pidfd, lifeline, reading], [], [])
        if pidfd in ready or lifeline in ready:
            break
        os.read(reading, 64)
        running.send_signal(signal.SIGTERM)
    code = running.poll()
    end_all_below()
    end_as(running.wait() if code is None else code)


def adopt_orphans() -> None:
    """Whatever this process's children start stays below it, also when its own parent has ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_all_below(spare: Collection[int] = ()) -> None:
    """Kills all children but some, and all that is below those."""
    import psutil

    while strays := [child for child in psutil.Process().children() if child.pid not in spare]:
        for stray in strays:
            with contextlib.suppress(psutil.NoSuchProcess):
                below = stray.children(recursive=True)
                os.kill(stray.pid, signal.SIGKILL)  # nobody else waits for it: it is there
                os.waitpid(stray.pid, 0)
                for process in below:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()


def end_as(code: int) -> None:
    """With the exit code, or by the signal, that ended the command."""
    if code < 0:
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
