"""The sources of a sampler, as the files of the deployment and of the run name them now."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.deployment.paths import RunDir
from launcher.deployment.state import DeploymentState
from launcher.sampling.sample import SampleKind, Source
from launcher.sampling.targets import (
    deployment_targets,
    joined,
    load_targets,
    server_target,
    Targets,
)
from launcher.slurm.allocation import Allocation
from launcher.system import http
from launcher.system.files import read_json

PAGE_SECONDS = 0.5


class Sources:
    def __init__(self, state: DeploymentState | None, run_file: Path | None, url: str) -> None:
        self._state_file = RunDir(state.folder, state.name).state if state else None
        self._run_file = run_file
        self._modified = self._modification_times()
        self._state = state or DeploymentState()
        self._run: Mapping[str, Any] = (read_json(run_file) if run_file else None) or {}
        self.allocated: Allocation | None = None
        if self._state.job:
            self.allocated = Allocation.from_dict(self._state.slurm["allocation"])
        self._standalone = {} if state else _responding(server_target(url))

    def reload(self) -> bool:
        """Reads the files again; returns whether they were written since the last time."""
        modified = self._modification_times()
        if modified == self._modified:
            return False
        self._modified = modified
        if self._state_file:
            self._state = DeploymentState.load(self._state_file) or self._state
        if self._run_file:
            self._run = read_json(self._run_file) or self._run
        return True

    @property
    def nodes(self) -> list[str]:
        if self.allocated is None:
            return []
        names = [process.node for process in self._state.processes]
        return list(dict.fromkeys([*names, *self._state.client_nodes]))

    @property
    def machine(self) -> str | None:
        """The name of this machine if it is sampled: always without a job, otherwise when load runs
        here and it is not a node of the job."""
        name = os.uname().nodename
        if self.allocated is None:
            return name
        return name if self.here and name not in self.nodes else None

    @property
    def here(self) -> Targets:
        load = load_targets(self._run, here=True)
        if self.allocated is not None:
            return load
        return joined(self._standalone, deployment_targets(self._state), load)

    @property
    def remote(self) -> Targets:
        if self.allocated is None:
            return {}
        return joined(deployment_targets(self._state), load_targets(self._run, here=False))

    @property
    def expected(self) -> set[Source]:
        machines = [*self.nodes, *([self.machine] if self.machine else [])]
        processes: set[Source] = {
            (node, SampleKind.PROCESS, name)
            for node, target in joined(self.here, self.remote).items()
            for name in target.get("processes", {})
        }
        return processes | {(node, SampleKind.NODE, "") for node in machines}

    def _modification_times(self) -> list[int]:
        return [_modified_at(file) for file in (self._state_file, self._run_file)]


def _modified_at(file: Path | None) -> int:
    try:
        return file.stat().st_mtime_ns if file else 0
    except OSError:
        return 0


def _responding(targets: Targets) -> Targets:
    """The targets whose control port answers; an OpenEnv server that is not ours has none."""
    responding: Targets = {}
    for node, target in targets.items():
        try:
            page = http.get_json(target["places"]["server-1"], PAGE_SECONDS)
        except (OSError, ValueError):
            continue
        if isinstance(page, dict) and "max_sessions" in page:
            responding[node] = target
    return responding
