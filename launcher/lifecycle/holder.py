"""Holds one deployment, from what was asked to the last process stopped."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from launcher.deployment.paths import RunDir, to_env_file
from launcher.deployment.placement import Placement, Process
from launcher.deployment.spec import Deployment
from launcher.deployment.state import (
    DeploymentState,
    DeploymentStatus,
    Entry,
    EnvoyState,
    Event,
    FAILED_STATES,
    ProcessState,
)
from launcher.envoy import admin
from launcher.envoy.capacity import envoy_sessions
from launcher.errors import DeploymentEnded, LauncherError, UsageError
from launcher.lifecycle import registry
from launcher.lifecycle.supervisor import Report, Supervisor
from launcher.lifecycle.user_command import Beside
from launcher.lifecycle.watchers import Attached, Backends
from launcher.planning.capacity import check_placement
from launcher.planning.plan import plan
from launcher.runtimes.nodes import nodes_for, runtime_for
from launcher.slurm.allocation import allocation
from launcher.system import http
from launcher.system.debug_log import log_command
from launcher.system.files import (
    check_writable,
    lock,
    make_private_folder,
    remove,
    write_atomically,
)
from launcher.system.machine import limits, machine
from launcher.system.signals import Interrupted

logger = logging.getLogger(__name__)

STOP_MARGIN = 2.5


class Up:
    """One deployment while it is held by this process."""

    def __init__(
        self,
        deployment: Deployment,
        report: Report,
        *,
        own_job: bool = False,
        attached: bool = False,
    ) -> None:
        """`own_job`: the Slurm job is there for this deployment alone. `attached`: it ends when its
        folder's beat stops."""
        self._own_job = own_job
        self.deployment = deployment
        self.rundir = RunDir(deployment.folder.absolute(), deployment.name)
        allocated, here = allocation(), machine()
        nodes = nodes_for(deployment, allocated)
        planned = plan(deployment, nodes, here.limits)
        check_placement(planned.placement, deployment.sessions, here)
        self.placement = planned.placement
        self._runtime = runtime_for(deployment, allocated, nodes, own_job=own_job)
        self._programs, self._envoy_configs = planned.programs, planned.envoy_configs
        self._events: list[Event] = []
        self._error: str | None = None
        self._status = DeploymentStatus.STARTING
        self._ready_at: float | None = None
        self._say = report
        self._runtime.log = self._log
        self._watches = self._to_watch(attached=attached)
        self._supervisor = Supervisor(
            self._runtime,
            self._report,
            self._save,
            deployment.drain + STOP_MARGIN,
            one_for_all=deployment.local,
        )

    def run(
        self,
        on_ready: Callable[[Placement], None],
        command: Sequence[str] | None = None,
        lifeline: int | None = None,
    ) -> int:
        """Starts, holds and stops the deployment. The exit code: that of `command`, or 0 when a
        signal ended it.

        The end of the pipe `lifeline` ends a deployment that is not ready yet.

        Raises `PortTaken`, `StartFailed`, `DeploymentFailed` and `UsageError`; nothing is left
        running whichever way it ends.
        """
        if command is not None and shutil.which(command[0]) is None:
            raise UsageError(f"cannot run {command[0]!r}: no such program")
        with self._only_one(), self._supervisor.signals:
            try:
                self._check_folder()
                self._runtime.prepare(
                    self.placement.processes, self._programs.files, self.rundir.folder
                )
                self._claim()
                return self._held(on_ready, command, lifeline)
            except Interrupted as signal:
                return 0 if command is None else 128 + signal.number
            finally:
                self._runtime.close()

    def _held(
        self,
        on_ready: Callable[[Placement], None],
        command: Sequence[str] | None,
        lifeline: int | None,
    ) -> int:
        try:
            return self._serve(on_ready, command, lifeline)
        except Interrupted as signal:
            self._status = DeploymentStatus.STOPPING
            self._report(f"stopping: {signal}")
            if termination := self._runtime.termination():
                raise self._failed(DeploymentEnded(str(termination))) from None
            raise
        except LauncherError as failure:
            raise self._failed(failure) from None
        finally:
            self._stop()

    def _failed(self, failure: LauncherError) -> LauncherError:
        ended = isinstance(failure, DeploymentEnded)
        self._status = DeploymentStatus.ENDED if ended else DeploymentStatus.FAILED
        self._error = str(failure)
        self._report(str(failure).partition("\n")[0], quiet=True)
        return failure

    def _serve(
        self,
        on_ready: Callable[[Placement], None],
        command: Sequence[str] | None,
        lifeline: int | None,
    ) -> int:
        if self.placement.envoy_node is None:
            self._report(f"Node: {self.placement.servers[0].name}")
        for process in self.placement.processes:
            self._supervisor.start(process)
        self._save()
        deadline = time.monotonic() + self.deployment.ready_timeout
        with self._supervisor.tied_to(lifeline):
            self._supervisor.wait_ready(self._missing, deadline)
        self._status, self._ready_at = DeploymentStatus.READY, time.time()
        write_atomically(self.rundir.connection, to_env_file(self.placement.connection))
        self._report(f"ready: {self.placement.url}", quiet=True)
        on_ready(self.placement)
        if command is None:
            self._supervisor.hold(look=self._look)
            return 0
        return self._run_beside(command)

    def _to_watch(self, *, attached: bool) -> list[Backends | Attached]:
        watches: list[Backends | Attached] = []
        if self.placement.envoys and not self.deployment.local:
            admin_urls, expected = self.placement.admin_urls, self.placement.endpoints
            watches.append(Backends(admin_urls, expected, self._report))
        if attached:
            watches.append(Attached(self.rundir.beat, self.deployment.silence_timeout))
        return watches

    def _look(self) -> None:
        for watch in self._watches:
            watch.look()

    @property
    def _job(self) -> str | None:
        job = self._runtime.describe().get("job")
        return None if job is None else str(job)

    def _run_beside(self, command: Sequence[str]) -> int:
        beside = Beside(command, self.placement.connection)
        try:
            self._supervisor.hold(beside.popen, self._look)
        except BaseException:
            beside.cut()  # the command ends while the servers do
            self._supervisor.stop()
            beside.wait()
            raise
        return beside.end()

    def _missing(self) -> str | None:
        """What still keeps the deployment from being ready; None when every Envoy process itself
        counts every worker of every server healthy."""
        for watch in self._watches:
            if isinstance(watch, Attached):
                watch.look()
        if not self.placement.envoys:
            return self._missing_server()
        found = (self._missing_for(admin_url) for admin_url in self.placement.admin_urls)
        return next((missing for missing in found if missing is not None), None)

    def _missing_server(self) -> str | None:
        server = self.placement.servers[0]
        try:
            http.get(f"http://{server.address}:{server.control_port}/ready", 1.0)
        except (OSError, ValueError):
            return "the server is not ready"
        return None

    def _missing_for(self, admin_url: str) -> str | None:
        """As one Envoy process sees it."""
        try:
            if admin.healthy(admin_url) == self.placement.endpoints:
                return None
            backends = admin.backends(admin_url)
        except (OSError, ValueError):
            return "Envoy does not answer"
        sick = sorted({backend.node for backend in backends if not backend.healthy})
        if sick:
            return f"Envoy counts {', '.join(sick)} as not healthy"
        if len(backends) < self.placement.endpoints:
            return f"Envoy knows {len(backends)} of {self.placement.endpoints} workers"
        return None

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        check_writable(self.rundir.lock.parent)
        with self.rundir.lock.open("w") as held:
            lock(
                held,
                f"deployment {self.deployment.name!r} is already up; end it with "
                f"`launcher down {self.deployment.name}` or choose another --name",
            )
            yield

    def _check_folder(self) -> None:
        before = registry.read_state(self.rundir.folder)
        if registry.holder_alive(before):
            raise UsageError(
                f"{self.rundir.folder} is in use by deployment {before.name!r}; choose "
                "another --dir"
            )

    def _claim(self) -> None:
        rundir = self.rundir
        make_private_folder()
        rundir.create()
        if rundir.connection.exists():
            self._say(f"removed {rundir.connection.name} of a deployment that is gone")
        remove([rundir.connection, *rundir.admin_sockets])
        for left in ("benchmark-env-server-*.log", "benchmark-env-envoy*.log"):
            remove(rundir.folder.glob(left))
        remove(rundir.folder.glob("envoy-config-generated*.yaml"))
        rundir.launcher_log.write_text("")
        for path, text in self._envoy_configs.items():
            write_atomically(path, text)
        entry = Entry(
            name=self.deployment.name,
            folder=rundir.folder,
            drain=self.deployment.drain,
            job=self._job,
            own_job=self._own_job,
            begun=time.time(),
            **registry.identity(),
        )
        entry.save(rundir.entry)
        self._save()

    def _stop(self) -> None:
        remove([self.rundir.connection])
        self._supervisor.stop()
        if self._status not in FAILED_STATES:
            self._status = DeploymentStatus.STOPPED
        self._save()
        remove(self.rundir.admin_sockets)
        if self._status not in FAILED_STATES:  # those stay listed until `down` or the next `up`
            remove([self.rundir.entry])

    def _report(self, event: str, *, quiet: bool = False) -> None:
        self._events.append(Event(self._log(event), event, quiet))
        if not quiet:
            self._say(event)
        self._save()

    def _log(self, line: str) -> str:
        """The time that it is logged with."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(OSError), self.rundir.launcher_log.open("a") as log:
            log.write(f"{moment} {line}\n")
        return moment

    def _save(self) -> None:
        placement = self.placement
        state = DeploymentState(
            name=self.deployment.name,
            status=self._status,
            url=placement.url,
            admin_url=placement.admin_url,
            envoys=tuple(
                EnvoyState(envoy.name, url, str(envoy.admin_socket))
                for envoy, url in zip(placement.envoys, placement.admin_urls, strict=True)
            ),
            **registry.identity(),
            error=self._error,
            job=self._job,
            slurm=dict(self._runtime.describe()),
            ready_at=self._ready_at,
            folder=self.rundir.folder,
            connection=placement.connection,
            client_nodes={node.name: node.cores for node in placement.client_nodes},
            capacity=placement.capacity,
            envoy_sessions=envoy_sessions(limits().descriptors, max(1, len(placement.envoys))),
            envoy_threads=placement.envoy_threads,
            deployment=placement.deployment,
            command=self.deployment.command,
            processes=tuple(self._describe(process) for process in placement.processes),
            servers=placement.servers,
            events=tuple(self._events),
        )
        # A folder that is full or was removed does not end a deployment that serves.
        with contextlib.suppress(OSError):
            state.save(self.rundir.state)

    def _describe(self, process: Process) -> ProcessState:
        child = self._supervisor.children.get(process.name)
        return ProcessState(
            process.name,
            process.role,
            process.node,
            child.handle.pid if child else None,
            child.restarts if child else 0,
            child.given_up if child else False,
            process.ports,
            str(process.log),
        )


def detach(deployment: Deployment, report: Report) -> dict[str, Any]:
    """Holds the deployment in a process of its own; returns its connection when it is ready.

    Raises what `Up.run` would raise. Until then the two are tied: when this process ends, so does
    the other.
    """
    rundir = RunDir(deployment.folder.absolute(), deployment.name)
    reading, writing = os.pipe()
    argv = (sys.executable, "-P", "-m", "launcher.lifecycle.detached", str(writing))
    log_command(logger, argv)
    with tempfile.TemporaryFile() as output:
        holder = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        assert holder.stdin is not None
        holder.stdin.write(deployment.as_given().encode() + b"\n")
        holder.stdin.flush()
        try:
            with os.fdopen(reading) as answers:
                for line in answers:
                    answer = json.loads(line)
                    if "event" in answer:
                        report(answer["event"])
                    elif "error" in answer:
                        holder.wait()
                        failure = LauncherError(answer["error"])
                        failure.exit_code = answer["exit_code"]
                        raise failure
                    else:
                        return dict(answer)
        except (KeyboardInterrupt, Interrupted):
            holder.terminate()
            holder.wait()
            raise
        holder.wait()
        output.seek(0)
        said = output.read().decode(errors="replace")
    raise LauncherError(
        f"the launcher of {deployment.name!r} ended before it was ready; see {rundir.folder}\n{said}"
    )
