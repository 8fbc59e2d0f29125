"""Deployments of the kit, as a user gets them from `launcher up --local`."""

import contextlib
import functools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.perf.grids import launcher, up_arguments
from tests.perf.processes import NotMeasured, running, trees, wait_for
from tests.perf.run import Run

READY_SECONDS = 120.0
STATE = "openenv-deployment.json"


@functools.cache
def up_accepts_sessions() -> bool:
    """Whether `up` accepts --sessions and chooses the other options itself."""
    done = subprocess.run(launcher("up", "--help"), capture_output=True, text=True, check=False)
    return "--sessions" in done.stdout


def capacity_options(sessions: int) -> tuple[str, ...]:
    """The options of `up` for this many concurrent sessions."""
    if up_accepts_sessions():
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
        """The pids of all processes of a role and their children."""
        return trees(p["pid"] for p in self.state["processes"] if p["role"] == role and p["pid"])

    @property
    def workers(self) -> list[tuple[str, int]]:
        return [(s["address"], port) for s in self.state["servers"] for port in s["worker_ports"]]


@contextlib.contextmanager
def deployed(run: Run, name: str, nodes: int, *options: str) -> Iterator[Deployment]:
    arguments = up_arguments(run, name, nodes, "--drain", "0", *options)
    log = run.log(name)
    with running(launcher(*arguments), log, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().removeprefix("OPENENV_URL=")
        if not url:
            process.wait(READY_SECONDS)
            raise NotMeasured(f"exit code {process.returncode} of launcher up; see {log}")
        deployment = Deployment(url, run.folder / name)
        wait_for(
            lambda: deployment.state["status"] == "ready", 5, "the deployment is ready", process
        )
        yield deployment
