"""`python -m launcher.system.reaper FD SCRATCH COMMAND...` runs a command and kills all its descendants
when it or the agent exits. Then it removes the folder SCRATCH, which it made with what a container's scratch
layer needs; "" means none.

The processes of a container outlive the Apptainer that started them, so killing that is not enough.
FD is the reading end of a pipe whose writing end only the agent holds: it closes however the agent
exits. SIGTERM is passed on to the command alone. The exit code or the signal is the command's.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from benchmark.server.process import (
    adopt_orphans,
    die_with_parent,
    exit_like,
    kill_descendants,
    raise_descriptor_limit,
)
from launcher.system.signals import WakeupPipe


def reaper_argv(lifeline: int, scratch: str | Path | None = None) -> tuple[str, ...]:
    folder = "" if scratch is None else str(scratch)
    return sys.executable, "-P", "-m", "launcher.system.reaper", str(lifeline), folder


def main() -> None:
    lifeline, scratch, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    adopt_orphans()
    wakeup = WakeupPipe()
    wakeup.catch([signal.SIGTERM])
    reaper = os.getpid()

    def prepare() -> None:
        die_with_parent(reaper)
        raise_descriptor_limit()

    try:
        make_scratch(scratch)
        running = subprocess.Popen(command, preexec_fn=prepare)  # noqa: PLW1509 - no threads
    except OSError as failure:
        sys.exit(f"error: cannot run {failure.filename or command[0]}: {failure.strerror}")
    pidfd = os.pidfd_open(running.pid)
    while True:
        ready, _, _ = select.select([pidfd, lifeline, wakeup.fileno()], [], [])
        if pidfd in ready or lifeline in ready:
            break
        wakeup.drain()
        running.send_signal(signal.SIGTERM)
    code = running.poll()
    kill_descendants()
    remove_scratch(scratch)
    exit_like(running.wait() if code is None else code)


def make_scratch(scratch: str) -> None:
    """Raises `OSError`."""
    remove_scratch(scratch)  # of a reaper that was killed
    for name in ("layer", "work") if scratch else ():
        Path(scratch, name).mkdir(parents=True, mode=0o700)


def remove_scratch(scratch: str) -> None:
    if scratch and Path(scratch).exists():
        for folder, names, _ in os.walk(scratch):
            for inner in (Path(folder, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)  # an overlay makes folders that nobody may enter
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
