"""The logs of a deployment, merged."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from launcher.registry import Known

POLL_SECONDS = 0.2


def lines(found: Known, follow: bool) -> Iterator[tuple[str, str]]:
    """(process, line) pairs: each log as it stands; with `follow` also what is added, until the
    deployment has ended."""
    paths = {"launcher": found.rundir.launcher_log}
    paths |= {process["name"]: Path(process["log"]) for process in found.state.get("processes", [])}
    opened: dict[str, TextIO] = {}
    pause = threading.Event()
    try:
        while True:
            alive = found.alive
            for name, path in paths.items():
                if name not in opened and path.exists():
                    opened[name] = path.open(errors="replace")
                if name in opened:
                    for line in opened[name]:
                        yield name, line.rstrip("\n")
            if not follow or not alive:
                return
            pause.wait(POLL_SECONDS)
    finally:
        for file in opened.values():
            file.close()
