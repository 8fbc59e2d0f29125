"""Holds one deployment, from what was asked to the last process stopped."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from launcher import balancer, http, registry
from launcher.balancer import DESCRIPTORS_PER_SESSION
from launcher.deployment import Deployment
from launcher.errors import LauncherError, UsageError
from launcher.limits import limits, SPARE_DESCRIPTORS
from launcher.placement import place, Placement, Process
from launcher.rundir import check_writable, read_json, remove, RunDir, to_env_file, write_atomically
from launcher.runtimes.base import Runtime
from launcher.runtimes.local import LocalRuntime
from launcher.signals import Interrupted
from launcher.supervisor import Report, Supervisor

STOP_MARGIN = 2.5


def plan(deployment: Deployment) -> tuple[Placement, str | None]:
    """What `up` would start, and Envoy's configuration when there is an Envoy. Starts nothing."""
    if not deployment.local:
        raise UsageError("only this machine is served so far: add --local")
    rundir = RunDir(deployment.folder.absolute(), deployment.name)
    nodes = LocalRuntime().nodes(deployment)
    envoy = balancer.program()
    placement = place(deployment, nodes, len(os.sched_getaffinity(0)), rundir, envoy)
    if placement.envoy_node is None:
        return placement, None
    return placement, balancer.render(placement, rundir.admin_socket)


class Up:
    """One deployment while it is held by this process."""

    def __init__(self, deployment: Deployment, report: Report) -> None:
        self.deployment = deployment
        self.rundir = RunDir(deployment.folder.absolute(), deployment.name)
        self.placement, self._envoy_config = plan(deployment)
        self._events: list[dict[str, Any]] = []
        self._status = "starting"
        self._ready_at: float | None = None
        self._say = report
        self._runtime: Runtime = LocalRuntime()
        self._supervisor = Supervisor(
            self._runtime.start, self._report, self._save, deployment.drain + STOP_MARGIN
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
        with self._only_one():
            self._prepare()
            with self._supervisor.signals:
                try:
                    return self._serve(on_ready, command, lifeline)
                except Interrupted as signal:
                    self._status = "stopping"
                    self._report(f"stopping: {signal}")
                    return 0 if command is None else 128 + signal.number
                except LauncherError as failure:
                    self._status = "failed"
                    self._report(str(failure).partition("\n")[0], quiet=True)
                    raise
                finally:
                    self._stop()

    def _serve(
        self,
        on_ready: Callable[[Placement], None],
        command: Sequence[str] | None,
        lifeline: int | None,
    ) -> int:
        for process in self.placement.processes:
            self._supervisor.start(process)
        self._save()
        deadline = time.monotonic() + self.deployment.ready_timeout
        with self._supervisor.tied_to(lifeline):
            self._supervisor.wait_ready(self._missing, deadline)
        self._status, self._ready_at = "ready", time.time()
        write_atomically(self.rundir.connection, to_env_file(self.placement.connection))
        self._report(f"ready: {self.placement.url}", quiet=True)
        on_ready(self.placement)
        if command is None:
            self._supervisor.hold()
            return 0
        return self._run_beside(command)

    def _run_beside(self, command: Sequence[str]) -> int:
        tied, lifeline = os.pipe()
        argv = (sys.executable, "-P", "-m", "launcher.tether", str(tied), *command)
        environment = os.environ | self.placement.connection
        tether = subprocess.Popen(argv, env=environment, pass_fds=(tied,))
        os.close(tied)
        try:
            self._supervisor.hold(tether)
        except BaseException:
            os.close(lifeline)  # the command ends while the servers do
            self._supervisor.stop()
            tether.wait()
            raise
        os.close(lifeline)
        code = tether.wait()
        return code if code >= 0 else 128 - code

    def _missing(self) -> str | None:
        """What still keeps the deployment from being ready; None when Envoy itself counts every
        worker of every server healthy."""
        try:
            if self.placement.admin_url is None:
                server = self.placement.servers[0]
                url = f"http://{server.address}:{server.control_port}/ready"
                http.get(url, 1.0)
                return None
            backends = balancer.backends(self.placement.admin_url)
        except (OSError, ValueError):
            return (
                "Envoy does not answer" if self.placement.admin_url else "the server is not ready"
            )
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
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"deployment {self.deployment.name!r} is already up; end it with "
                    f"`launcher down {self.deployment.name}` or choose another --name"
                ) from None
            yield

    def _prepare(self) -> None:
        rundir = self.rundir
        before = read_json(rundir.state) or {}
        if registry.holder_alive(before):
            raise UsageError(
                f"{rundir.folder} is in use by deployment {before.get('name')!r}; choose another --dir"
            )
        self._runtime.check_ports(self.placement.processes)
        rundir.create()
        if rundir.connection.exists():
            self._say(f"removed {rundir.connection.name} of a deployment that is gone")
        remove([rundir.connection, rundir.admin_socket])
        remove(rundir.folder.glob("benchmark-env-server-*.log"))
        remove([rundir.log("envoy")])
        rundir.launcher_log.write_text("")
        if self._envoy_config is not None:
            write_atomically(rundir.envoy_config, self._envoy_config)
        entry = {"folder": str(rundir.folder), "drain": self.deployment.drain}
        write_atomically(rundir.entry, json.dumps(entry | registry.identity()))
        self._save()

    def _stop(self) -> None:
        remove([self.rundir.connection])
        self._supervisor.stop()
        if self._status != "failed":
            self._status = "stopped"
        self._save()
        remove([self.rundir.admin_socket])
        if self._status != "failed":  # a failed one stays listed until `down` or the next `up`
            remove([self.rundir.entry])

    def _report(self, event: str, *, quiet: bool = False) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._events.append({"time": moment, "event": event})
        with contextlib.suppress(OSError), self.rundir.launcher_log.open("a") as log:
            log.write(f"{moment} {event}\n")
        if not quiet:
            self._say(event)
        self._save()

    def _save(self) -> None:
        state = {
            "name": self.deployment.name,
            "status": self._status,
            "url": self.placement.url,
            "admin_url": self.placement.admin_url,
            **registry.identity(),
            "ready_at": self._ready_at,
            "folder": str(self.rundir.folder),
            "connection": self.placement.connection,
            "capacity": self.placement.capacity,
            "envoy_sessions": limits().descriptors // DESCRIPTORS_PER_SESSION - SPARE_DESCRIPTORS,
            "envoy_threads": self.placement.envoy_threads,
            "deployment": self.deployment.model_dump(mode="json"),
            "processes": [self._describe(process) for process in self.placement.processes],
            "servers": [asdict(server) for server in self.placement.servers],
            "events": self._events,
        }
        # A folder that is full or was removed does not end a deployment that serves.
        with contextlib.suppress(OSError):
            write_atomically(self.rundir.state, json.dumps(state, indent=1))

    def _describe(self, process: Process) -> dict[str, Any]:
        child = self._supervisor.children.get(process.name)
        return {
            "name": process.name,
            "role": process.role,
            "node": process.node,
            "pid": child.popen.pid if child else None,
            "restarts": child.restarts if child else 0,
            "log": str(process.log),
        }


def detach(deployment: Deployment, report: Report) -> dict[str, Any]:
    """Holds the deployment in a process of its own; returns its connection when it is ready.

    Raises what `Up.run` would raise. Until then the two are tied: when this process ends, so does
    the other.
    """
    rundir = RunDir(deployment.folder.absolute(), deployment.name)
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as output:
        holder = subprocess.Popen(
            [sys.executable, "-P", "-m", "launcher.detached", str(writing)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        assert holder.stdin is not None
        holder.stdin.write(deployment.model_dump_json().encode() + b"\n")
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
        except KeyboardInterrupt:
            holder.terminate()
            holder.wait()
            raise
        holder.wait()
        output.seek(0)
        said = output.read().decode(errors="replace")
    raise LauncherError(
        f"the launcher of {deployment.name!r} ended before it was ready; see {rundir.folder}\n{said}"
    )
