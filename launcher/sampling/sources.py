"""What a sampler looks at, as the files of the deployment and of the run say it now."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.deployment.paths import RunDir
from launcher.deployment.state import DeploymentState
from launcher.sampling.collector import Source
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

PROBE_SECONDS = 0.5


class Watched:
    def __init__(self, state: DeploymentState | None, run_file: Path | None, url: str) -> None:
        state_file = RunDir(state.folder, state.name).state if state else None
        self._files = {"state": state_file, "run": run_file}
        self._times = {name: _changed_at(file) for name, file in self._files.items()}
        self._state = state or DeploymentState()
        self._run: Mapping[str, Any] = (read_json(run_file) if run_file else None) or {}
        self.allocated: Allocation | None = None
        if self._state.job:
            self.allocated = Allocation.from_dict(self._state.slurm["allocation"])
        self._alone = {} if state else _answering(server_target(url))

    def changed(self) -> bool:
        """Reads again what has been written since."""
        times = {name: _changed_at(file) for name, file in self._files.items()}
        if times == self._times:
            return False
        self._times = times
        state, run = self._files["state"], self._files["run"]
        self._state = (DeploymentState.load(state) if state else None) or self._state
        self._run = (read_json(run) if run else None) or self._run
        return True

    @property
    def nodes(self) -> list[str]:
        """Of the Slurm job; none without one."""
        if self.allocated is None:
            return []
        names = [process.node for process in self._state.processes]
        return list(dict.fromkeys([*names, *self._state.client_nodes]))

    @property
    def machine(self) -> str | None:
        """The name of this one, where it is to be sampled."""
        name = os.uname().nodename
        if self.allocated is None:
            return name
        return name if self.here and name not in self.nodes else None

    @property
    def here(self) -> Targets:
        """On this machine."""
        load = load_targets(self._run, here=True)
        if self.allocated is not None:
            return load
        return joined(self._alone, deployment_targets(self._state), load)

    @property
    def there(self) -> Targets:
        """On the nodes of the Slurm job."""
        if self.allocated is None:
            return {}
        return joined(deployment_targets(self._state), load_targets(self._run, here=False))

    @property
    def sources(self) -> set[Source]:
        """Processes and machines."""
        machines = [*self.nodes, *([self.machine] if self.machine else [])]
        return {(node, "node", "") for node in machines} | {
            (node, "process", name)
            for node, target in joined(self.here, self.there).items()
            for name in target.get("processes", {})
        }


def _changed_at(file: Path | None) -> int:
    try:
        return file.stat().st_mtime_ns if file else 0
    except OSError:
        return 0


def _answering(targets: Targets) -> Targets:
    """Those whose control port is one; an OpenEnv server that is not ours has none."""
    found: Targets = {}
    for node, target in targets.items():
        try:
            page = http.get_json(target["places"]["server-1"], PROBE_SECONDS)
        except (OSError, ValueError):
            continue
        if isinstance(page, dict) and "max_sessions" in page:
            found[node] = target
    return found
