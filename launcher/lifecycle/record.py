"""The records of a launcher about the deployment that it holds: state file, events and its own log."""

import contextlib
import time
from collections.abc import Mapping

from launcher.deployment.placement import Placement, Process
from launcher.deployment.spec import Deployment
from launcher.deployment.state import (
    DeploymentState,
    DeploymentStatus,
    EnvoyState,
    Event,
    FAILED_STATES,
    ProcessState,
)
from launcher.envoy.capacity import envoy_sessions
from launcher.errors import DeploymentEnded, LauncherError
from launcher.lifecycle import registry
from launcher.lifecycle.supervisor import Child, Report
from launcher.runtimes.base import Runtime
from launcher.system.machine import limits


class Record:
    """`status`, `ready_at` and `placement` are set by the holder; `children` are those of its supervisor."""

    def __init__(
        self, deployment: Deployment, placement: Placement, runtime: Runtime, report: Report
    ) -> None:
        self._deployment, self.placement, self._runtime = deployment, placement, runtime
        self._rundir = deployment.rundir
        self._report = report
        self.status = DeploymentStatus.STARTING
        self.ready_at: float | None = None
        self.children: Mapping[str, Child] = {}
        self._events: list[Event] = []
        self._error: str | None = None

    @property
    def failed(self) -> bool:
        return self.status in FAILED_STATES

    def fail(self, failure: LauncherError) -> LauncherError:
        ended = isinstance(failure, DeploymentEnded)
        self.status = DeploymentStatus.ENDED if ended else DeploymentStatus.FAILED
        self._error = str(failure)
        self.event(str(failure).partition("\n")[0], quiet=True)
        return failure

    def event(self, text: str, *, quiet: bool = False) -> None:
        self._events.append(Event(self.log(text), text, quiet))
        if not quiet:
            self._report(text)
        self.save()

    def log(self, line: str) -> str:
        timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(OSError), self._rundir.launcher_log.open("a") as log:
            log.write(f"{timestamp} {line}\n")
        return timestamp

    def save(self) -> None:
        # A folder that is full or was removed does not end a deployment that serves.
        with contextlib.suppress(OSError):
            self._state().save(self._rundir.state)

    @property
    def job(self) -> str | None:
        job = self._runtime.describe().get("job")
        return None if job is None else str(job)

    def _state(self) -> DeploymentState:
        placement = self.placement
        return DeploymentState(
            name=self._deployment.name,
            status=self.status,
            url=placement.url,
            admin_url=next(iter(placement.admin_urls), None),
            envoys=tuple(
                EnvoyState(envoy.name, url, str(envoy.admin_socket))
                for envoy, url in zip(placement.envoys, placement.admin_urls, strict=True)
            ),
            **registry.identity(),
            error=self._error,
            job=self.job,
            slurm=dict(self._runtime.describe()),
            ready_at=self.ready_at,
            folder=self._rundir.folder,
            connection=placement.connection,
            client_nodes={node.name: node.cores for node in placement.client_nodes},
            capacity=placement.capacity,
            envoy_sessions=envoy_sessions(limits().descriptors, max(1, len(placement.envoys))),
            envoy_threads=placement.envoy_threads,
            deployment=placement.deployment,
            command=self._deployment.command,
            processes=tuple(self._process(process) for process in placement.processes),
            servers=placement.servers,
            events=tuple(self._events),
        )

    def _process(self, process: Process) -> ProcessState:
        child = self.children.get(process.name)
        return ProcessState(
            process.name,
            process.role,
            process.node,
            child.handle.pid if child else None,
            len(child.exits) if child else 0,
            child.given_up if child else False,
            process.ports,
            str(process.log),
        )
