"""`python -m launcher.system.reaper FD COMMAND...` runs a command and kills all its descendants when
it or the agent exits.

The processes of a container outlive the Apptainer that started them, so killing that is not enough.
FD is the reading end of a pipe whose writing end only the agent holds: it closes however the agent
exits. SIGTERM is passed on to the command alone. The exit code or the signal is the command's.
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
from launcher.system.signals import WakeupPipe

PR_SET_CHILD_SUBREAPER = 36


def reaper_argv(lifeline: int) -> tuple[str, ...]:
    return sys.executable, "-P", "-m", "launcher.system.reaper", str(lifeline)


def main() -> None:
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    adopt_orphans()
    wakeup = WakeupPipe()
    wakeup.catch([signal.SIGTERM])
    reaper = os.getpid()

    def prepare() -> None:
        die_with_parent(reaper)
        raise_descriptor_limit()

    try:
        running = subprocess.Popen(command, preexec_fn=prepare)  # noqa: PLW1509 - no threads
    except OSError as failure:
        sys.exit(f"error: cannot run {command[0]}: {failure.strerror}")
    pidfd = os.pidfd_open(running.pid)
    while True:
        ready, _, _ = select.select([pidfd, lifeline, wakeup.fileno()], [], [])
        if pidfd in ready or lifeline in ready:
            break
        wakeup.drain()
        running.send_signal(signal.SIGTERM)
    code = running.poll()
    kill_descendants()
    exit_like(running.wait() if code is None else code)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent has exited (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_descendants(spared: Collection[int] = ()) -> None:
    """Kills all children with their descendants, except for the children `spared`."""
    import psutil

    while strays := [child for child in psutil.Process().children() if child.pid not in spared]:
        for stray in strays:
            with contextlib.suppress(psutil.NoSuchProcess):
                descendants = stray.children(recursive=True)
                os.kill(stray.pid, signal.SIGKILL)  # only this process waits for it: it exists
                os.waitpid(stray.pid, 0)
                for process in descendants:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()


def exit_like(code: int) -> None:
    """Exits with the code, or by the signal, by which the command exited."""
    if code < 0:
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
