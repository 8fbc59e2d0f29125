"""Holds one deployment in this process: starts it, waits until it is ready, and stops it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from launcher.checks import app
from launcher.deployment.paths import to_env_file
from launcher.deployment.placement import Placement
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentStatus
from launcher.errors import DeploymentEnded, LauncherError
from launcher.lifecycle import readiness, registry
from launcher.lifecycle.record import Record
from launcher.lifecycle.supervisor import Report, Supervisor, Unready
from launcher.lifecycle.user_command import check_command, UserCommand
from launcher.lifecycle.watchers import BackendWatcher, HeartbeatWatcher
from launcher.planning.capacity import check_placement
from launcher.planning.plan import plan
from launcher.runtimes.nodes import nodes_for, runtime_for
from launcher.slurm.allocation import allocation
from launcher.system.files import (
    check_writable,
    lock,
    make_private_folder,
    remove,
    write_atomically,
)
from launcher.system.machine import machine
from launcher.system.signals import Interrupted

# Seconds that processes have to exit once their sessions are drained.
STOP_MARGIN = 2.5

OnReady = Callable[[Placement], None]
Command = Sequence[str] | None


class HeldDeployment:
    def __init__(
        self,
        deployment: Deployment,
        report: Report,
        *,
        own_job: bool = False,
        attached: bool = False,
    ) -> None:
        """`own_job`: the Slurm job exists for this deployment alone. `attached`: the deployment stops
        when its folder's heartbeat does. Raises `UsageError`."""
        self._own_job = own_job
        self.deployment = deployment
        self.rundir = deployment.rundir
        allocated, here = allocation(), machine()
        nodes = nodes_for(deployment, allocated)
        self._plan = plan(deployment, nodes, here.limits, app.sessions(deployment, report))
        self.placement = self._plan.placement
        check_placement(self.placement, deployment.sessions, here)
        self._runtime = runtime_for(deployment, allocated, nodes, own_job=own_job)
        self._report = report
        self._record = Record(deployment, self.placement, self._runtime, report)
        self._runtime.log = self._record.log
        self._heartbeat: HeartbeatWatcher | None = None
        self._backends: BackendWatcher | None = None
        if attached:
            timeout = deployment.silence_timeout
            self._heartbeat = HeartbeatWatcher(self.rundir.heartbeat, timeout)
        if self.placement.envoys and not deployment.local:
            self._backends = BackendWatcher(self.placement, self._record.event)
        self._supervisor = Supervisor(
            self._runtime,
            self._record.event,
            self._record.save,
            deployment.drain + STOP_MARGIN,
            one_for_all=deployment.local,
        )
        self._record.children = self._supervisor.children

    def run(self, on_ready: OnReady, command: Command = None, lifeline: int | None = None) -> int:
        """Starts, holds and stops the deployment. Returns the exit code of `command`, or 0 after a
        signal. Until the deployment is ready, the end of the pipe `lifeline` stops it.

        Raises `PortTaken`, `StartFailed`, `DeploymentFailed`, `DeploymentEnded` and `UsageError`; in
        every case all processes have been stopped.
        """
        check_command(command)
        with self._locked(), self._supervisor.signals:
            try:
                registry.check_unused(self.rundir.folder)
                self._runtime.prepare(
                    self.placement.processes, self._plan.programs.files, self.rundir.folder
                )
                self._write_files()
                return self._hold(on_ready, command, lifeline)
            except Interrupted as signal:
                return 0 if command is None else 128 + signal.number
            finally:
                self._runtime.close()

    def _hold(self, on_ready: OnReady, command: Command, lifeline: int | None) -> int:
        try:
            self._start(lifeline)
            on_ready(self.placement)
            if command is not None:
                return self._run_command(command)
            self._supervisor.hold(check=self._check)
            return 0
        except Interrupted as signal:
            self._record.status = DeploymentStatus.STOPPING
            self._record.event(f"stopping: {signal}")
            if termination := self._runtime.termination():
                raise self._record.fail(DeploymentEnded(termination)) from None
            raise
        except LauncherError as failure:
            raise self._record.fail(failure) from None
        finally:
            self._stop()

    def _start(self, lifeline: int | None) -> None:
        """Returns when the deployment is ready."""
        if self.placement.envoy_node is None:
            self._record.event(f"Node: {self.placement.servers[0].name}")
        for process in self.placement.processes:
            self._supervisor.start(process)
        self._record.save()
        deadline = time.monotonic() + self.deployment.ready_timeout
        with self._supervisor.tied_to(lifeline):
            cause = partial(readiness.cause, self.placement)
            self._supervisor.wait_ready(self._unready, deadline, cause)
        self._set_capacity(readiness.capacity(self.placement))
        self._record.status, self._record.ready_at = DeploymentStatus.READY, time.time()
        write_atomically(self.rundir.connection, to_env_file(self.placement.connection))
        self._record.event(f"ready: {self.placement.url}", quiet=True)

    def _set_capacity(self, reported: int) -> None:
        planned = self.placement.capacity
        self.placement = self._record.placement = replace(self.placement, reported=reported)
        if reported < planned:
            self._record.event(
                f"the servers have {reported:,} places, not {planned:,}, because the app allows no more; "
                "for more sessions use more --workers-per-node or --nodes"
            )

    def _unready(self) -> Unready | None:
        if self._heartbeat is not None:
            self._heartbeat.check()
        return readiness.unready(self.placement)

    def _check(self) -> None:
        for watcher in (self._backends, self._heartbeat):
            if watcher is not None:
                watcher.check()

    def _run_command(self, argv: Sequence[str]) -> int:
        command = UserCommand(argv, self.placement.connection)
        try:
            self._supervisor.hold(command.popen, self._check)
        except BaseException:
            # The command stops while the servers do.
            command.terminate()
            self._supervisor.stop()
            command.wait()
            raise
        command.terminate()
        return command.wait()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        check_writable(self.rundir.lock.parent)
        with self.rundir.lock.open("w") as file:
            lock(file, registry.already_up(self.deployment.name))
            yield

    def _write_files(self) -> None:
        rundir = self.rundir
        make_private_folder()
        check_writable(rundir.folder)
        if rundir.connection.exists():
            self._report(f"removed {rundir.connection.name} of a deployment that is gone")
        remove(rundir.leftovers())
        rundir.launcher_log.write_text("")
        for path, text in self._plan.envoy_configs.items():
            write_atomically(path, text)
        registry.enter(self.deployment, self._record.job, self._own_job, **registry.identity())
        self._record.save()

    def _stop(self) -> None:
        remove([self.rundir.connection])
        self._supervisor.stop()
        if not self._record.failed:
            self._record.status = DeploymentStatus.STOPPED
        self._record.save()
        remove(self.rundir.admin_sockets)
        if not self._record.failed:  # one that failed stays listed until `down` or the next `up`
            remove([self.rundir.entry])
