"""`python -m launcher.system.reaper FD COMMAND...` runs a command and kills all its descendants when
it or the agent exits.

The processes of a container outlive the Apptainer that started them, so killing that is not enough.
FD is the reading end of a pipe whose writing end only the agent holds: it closes however the agent
exits. SIGTERM is passed on to the command alone. The exit code or the signal is the command's.
"""

import os
import select
import signal
import subprocess
import sys

from benchmark.server.process import (
    adopt_orphans,
    die_with_parent,
    exit_like,
    kill_descendants,
    raise_descriptor_limit,
)
from launcher.system.signals import WakeupPipe


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


if __name__ == "__main__":
    main()
