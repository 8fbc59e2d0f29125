"""The merged logs of a deployment."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from launcher.lifecycle.registry import Known
from launcher.system.log_limit import skip_cut

POLL_SECONDS = 0.2
ALIVE_SECONDS = 2.0


def lines(listed: Known, follow: bool) -> Iterator[tuple[str, str]]:
    """Yields (process, line) pairs: the lines of each log and, with `follow`, further lines until the
    deployment ends."""
    paths = {"job": listed.rundir.batch_log, "launcher": listed.rundir.launcher_log}
    paths |= {process.name: Path(process.log) for process in listed.state.processes}
    opened: dict[str, TextIO] = {}
    alive, next_check = True, 0.0
    try:
        while True:
            if time.monotonic() >= next_check:
                alive, next_check = listed.alive, time.monotonic() + ALIVE_SECONDS
            for name, path in paths.items():
                if name not in opened and path.exists():
                    opened[name] = path.open(errors="replace")
                if name in opened:
                    skip_cut(opened[name])
                    for line in opened[name]:
                        yield name, line.rstrip("\n")
            if not follow or not alive:
                return
            time.sleep(POLL_SECONDS)
    finally:
        for file in opened.values():
            file.close()
