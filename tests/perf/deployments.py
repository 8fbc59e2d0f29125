"""Deployments of the kit, as a user gets them from `launcher up --local`."""

import contextlib
import functools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.perf.grids import launcher, up_words
from tests.perf.processes import NotMeasured, running, trees, wait_for
from tests.perf.run import Run

READY_SECONDS = 120.0
STATE = "openenv-deployment.json"


@functools.cache
def chooses() -> bool:
    """Whether `up` takes how many sessions are wanted, and chooses the rest."""
    done = subprocess.run(launcher("up", "--help"), capture_output=True, text=True, check=False)
    return "--sessions" in done.stdout


def room_for(sessions: int) -> tuple[str, ...]:
    """The options of `up` for so many sessions at once."""
    if chooses():
        return ("--sessions", str(sessions))
    return ("--max-concurrent-envs", str(max(64, sessions)))


@dataclass
class Deployment:
    url: str
    folder: Path

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / STATE).read_text()))

    def pids(self, role: str) -> list[int]:
        """Of all processes of a role, with their children."""
        return trees(p["pid"] for p in self.state["processes"] if p["role"] == role and p["pid"])

    @property
    def workers(self) -> list[tuple[str, int]]:
        return [(s["address"], port) for s in self.state["servers"] for port in s["worker_ports"]]


@contextlib.contextmanager
def deployed(run: Run, name: str, nodes: int, *options: str) -> Iterator[Deployment]:
    words = up_words(run, name, nodes, "--drain", "0", *options)
    log = run.log(name)
    with running(launcher(*words), log, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().removeprefix("OPENENV_URL=")
        if not url:
            process.wait(READY_SECONDS)
            raise NotMeasured(f"exit code {process.returncode} of launcher up; see {log}")
        deployment = Deployment(url, run.folder / name)
        wait_for(
            lambda: deployment.state["status"] == "ready", 5, "the deployment says ready", process
        )
        yield deployment
