"""Writes experiment.json: the phases of a scaling experiment and their ceilings."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.results.file_names import EXPERIMENT
from launcher.deployment.spec import Deployment
from launcher.deployment.state import Holder
from launcher.errors import UsageError
from launcher.experiment.recorder import now, RunStatus, save
from launcher.lifecycle import registry
from launcher.system.files import check_writable, lock, read_json

LOCK = "experiment.lock"

# Caps that must be the same in all phases, or their ceilings are not comparable.
SAME_CAPS = ("max_concurrent_envs", "workers_per_node")


@dataclass(frozen=True)
class Phase:
    """`folder` is the folder of the phase's results."""

    servers: int
    deployment: Deployment
    folder: Path


@contextmanager
def experiment_lock(folder: Path) -> Iterator[None]:
    """Excludes other launchers, also on other nodes. Raises `UsageError`."""
    check_writable(folder)
    with (folder / LOCK).open("ab") as file:
        known = read_json(folder / EXPERIMENT) or {}
        where = f" in process {known['pid']} on {known['host']}" if "host" in known else ""
        lock(file, f"the experiment in {folder} is running{where}; wait until it has ended")
        yield


class Journal:
    """The content of experiment.json, saved with every change."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        """Raises `UsageError` when the folder holds another experiment, or this one is running."""
        self.folder = folder
        check_writable(folder)
        file = folder / EXPERIMENT
        recorded = read_json(file)
        if recorded is None and file.exists():
            raise UsageError(f"{file} cannot be read; choose a new --output-dir")
        if recorded is not None:
            _check_recorded(folder, recorded, resume=resume)
        base = {"started": now(), "phases": {}} if recorded is None else recorded
        self.content: dict[str, Any] = {**base, **settings, **registry.identity()}
        self.save(status=RunStatus.RUNNING, error=None, ended=None)

    def save(self, **changes: Any) -> None:
        """Raises `RecordingFailed`."""
        self.content |= changes
        save(self.folder / EXPERIMENT, json.dumps(self.content, indent=1, default=str))

    def save_phase(self, phase: Phase, **changes: Any) -> None:
        recorded = self.content["phases"].setdefault(str(phase.servers), {"servers": phase.servers})
        recorded |= {"folder": phase.folder.name, "nodes": phase.deployment.nodes, **changes}
        self.save()

    def is_complete(self, phase: Phase) -> bool:
        recorded = self.content["phases"].get(str(phase.servers), {})
        return bool(recorded.get("status") == RunStatus.COMPLETE)

    @property
    def folders(self) -> list[Path]:
        return [self.folder / phase["folder"] for phase in self.content["phases"].values()]

    @property
    def caveats(self) -> list[str]:
        """Limits on the comparison of the phases."""
        caveats = []
        for servers, phase in self.content["phases"].items():
            if phase["status"] != RunStatus.COMPLETE:
                caveats.append(
                    f"{servers} server(s): {phase['status']}, so the ceiling is not known yet"
                )
            if phase["nodes"] == 1 and len(self.content["phases"]) > 1:
                caveats.append(
                    "1 server was measured without Envoy; use --baseline envoy to measure it behind "
                    "Envoy"
                )
        return caveats

    @property
    def caps(self) -> dict[str, Any]:
        """The caps of the first complete phase; empty without one."""
        for phase in self.content["phases"].values():
            if phase.get("status") == RunStatus.COMPLETE:
                return {**phase["caps"], "servers": phase["servers"]}
        return {}


def check_same_caps(first: Mapping[str, Any], caps: Mapping[str, Any], servers: int) -> None:
    """Raises `UsageError` when `caps` differ from those of the first phase, where there is one."""
    for name in SAME_CAPS if first else ():
        if caps[name] != first[name]:
            flag = name.replace("_", "-")
            raise UsageError(
                f"{name} is {first[name]} with {first['servers']} server(s) and {caps[name]} with "
                f"{servers}: their ceilings cannot be compared; give --{flag} N"
            )


def _check_recorded(folder: Path, recorded: Mapping[str, Any], *, resume: bool) -> None:
    if not resume:
        raise UsageError(
            f"{folder} already holds an experiment ({recorded.get('status')}); continue it with "
            "--resume, or choose a new --output-dir"
        )
    holder = Holder.from_dict(recorded)
    if recorded.get("status") == RunStatus.RUNNING and registry.holder_alive(holder):
        raise UsageError(f"the experiment in {folder} is running in process {recorded['pid']}")
