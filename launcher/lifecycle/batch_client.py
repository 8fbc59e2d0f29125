"""The submitting side of a deployment that a Slurm batch job holds: follows it through its files."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from launcher.deployment.programs import check_images, programs
from launcher.deployment.spec import Deployment
from launcher.deployment.state import DeploymentState, DeploymentStatus, FINAL_STATES
from launcher.errors import (
    DeploymentEnded,
    DeploymentFailed,
    LauncherError,
    StartFailed,
    UsageError,
)
from launcher.lifecycle import registry
from launcher.lifecycle.batch_job import request, stop_job, submission, wait_ended
from launcher.lifecycle.user_command import check_command, UserCommand
from launcher.lifecycle.watchers import HEARTBEAT_SECONDS
from launcher.slurm import commands
from launcher.system.files import check_writable, remove, write_atomically, write_private
from launcher.system.process import indented, tail
from launcher.system.signals import Interrupted, interruptible

POLL_SECONDS = 0.1
# How often Slurm is asked for the job, before and after the deployment is ready.
QUEUED_SECONDS, READY_SECONDS = 2.0, 5.0
FILES_SECONDS = 5.0
FAILURES = {DeploymentStatus.FAILED: DeploymentFailed, DeploymentStatus.ENDED: DeploymentEnded}


def run(
    deployment: Deployment,
    report: Callable[[str], None],
    on_ready: Callable[[dict[str, str]], None],
    command: Sequence[str] | None = None,
    *,
    detach: bool = False,
) -> int:
    """Submits a Slurm job that holds the deployment, until Ctrl-C or until `command` exits; with
    `detach`, returns as soon as the deployment is ready. Returns the exit code of `command`, or 0.

    Raises `UsageError`, `SlurmFailed`, and whatever ended the deployment.
    """
    check_command(command)
    client = BatchClient(deployment, report)
    keep = False
    with interruptible() as ignore_signals:
        try:
            client.submit(attached=not detach)
            connection = client.wait_ready()
            keep = detach
            on_ready(connection)
            return 0 if detach else client.hold(command, connection)
        except Interrupted as signal:
            report(f"stopping: {signal}")
            return 0 if command is None and client.was_ready else 128 + signal.number
        finally:
            ignore_signals()
            if not keep:
                client.stop()


class BatchClient:
    def __init__(self, deployment: Deployment, report: Callable[[str], None]) -> None:
        self.deployment, self._report = deployment, report
        self.rundir = deployment.rundir
        self.job_id: str | None = None
        self._secrets: list[Path] = []  # files that this client has written
        self.was_ready = False
        self._events_reported = 0
        self._last_progress = ""
        self._last_heartbeat = 0.0
        self._envoy_node = ""

    def submit(self, *, attached: bool) -> None:
        """Raises `UsageError`, and `SlurmFailed` with the output of sbatch."""
        rundir, deployment = self.rundir, self.deployment
        known = registry.known(deployment.name)
        if known is not None and known.alive:
            raise UsageError(registry.already_up(deployment.name))
        registry.check_unused(rundir.folder)
        check_images(programs(deployment).files)
        check_writable(rundir.folder)
        check_writable(rundir.entry.parent)
        remove([rundir.state, rundir.connection, rundir.batch_log, rundir.variables])
        argv, job_script, text = submission(deployment)
        write_atomically(job_script, text)
        write_atomically(rundir.request, request(deployment.absolute(), attached=attached))
        if variables := deployment.variables:
            self._secrets = [rundir.variables]
            write_private(rundir.variables, json.dumps(variables))
        if attached:
            rundir.heartbeat.touch()
        self.job_id = commands.submit(argv)
        registry.enter(deployment, self.job_id, own_job=True)
        self._report(f"Slurm job {self.job_id} submitted")

    def wait_ready(self) -> dict[str, str]:
        """The connection of the ready deployment. Raises whatever ended it before."""
        for state in self._states():
            if state.status is DeploymentStatus.READY:
                self.was_ready = True
                self._envoy_node = state.connection["ENVOY_NODE"]
                return state.connection
        raise AssertionError

    def hold(self, argv: Sequence[str] | None, connection: dict[str, str]) -> int:
        """Returns the exit code of the command. Raises whatever ended the deployment."""
        command = UserCommand(argv, connection) if argv else None
        try:
            for _ in self._states():
                if command is not None and command.popen.poll() is not None:
                    break
        finally:
            code = 0
            if command is not None:
                command.terminate()
                code = command.wait()
        return code

    def stop(self) -> None:
        remove(self._secrets)
        if self.job_id is None:
            return
        remove([self.rundir.heartbeat])
        try:
            active = commands.job(self.job_id).active
        except commands.SlurmFailed as failure:
            self._report(
                f"Slurm job {self.job_id} may still be running; end it with scancel: {failure}"
            )
            return
        if not active:  # its files are kept, because they explain why
            wait_ended(self.job_id)
            return
        stop_job(self.job_id, self.deployment.drain)
        remove([self.rundir.connection])
        if self._state().status not in FAILURES:  # one that failed stays listed
            remove([self.rundir.entry])

    def _state(self) -> DeploymentState:
        """The last state that the launcher in the job wrote; an empty one before."""
        state = DeploymentState.load(self.rundir.state)
        return state if state and state.job == self.job_id else DeploymentState()

    def _states(self) -> Iterator[DeploymentState]:
        """Yields the state repeatedly and reports progress. Raises whatever ended the deployment."""
        asked = float("-inf")
        while True:
            self._beat()
            state = self._state()
            self._report_events(state)
            if state.status in FINAL_STATES:
                raise self._failure(state)
            if time.monotonic() - asked >= (READY_SECONDS if self.was_ready else QUEUED_SECONDS):
                asked = time.monotonic()
                self._check_job()
            yield state
            time.sleep(POLL_SECONDS)

    def _report_events(self, state: DeploymentState) -> None:
        for event in state.events[self._events_reported :]:
            if not event.quiet:
                self._report(event.event)
        self._events_reported = max(self._events_reported, len(state.events))

    def _check_job(self) -> None:
        try:
            job = commands.job(str(self.job_id))
        except commands.SlurmFailed as failure:
            # Slurm's controller may be restarting; the deployment keeps running.
            self._report_once(str(failure))
            return
        if job.ended:
            self._wait_for_files()
            raise self._failure(self._state(), job)
        self._check_envoy_node(job)
        if not self.was_ready:
            on = f" on {job.nodes}" if job.state == "RUNNING" else ""
            self._report_once(f"job {job.id}: {job.description}{on}")

    def _check_envoy_node(self, job: commands.Job) -> None:
        """Raises `DeploymentFailed` when Slurm took the node of Envoy and the launcher from the job."""
        node = self._envoy_node
        if not node or job.state != "RUNNING" or job.nodes in ("", "(null)"):
            return
        with contextlib.suppress(commands.SlurmFailed):
            if node in commands.hostnames(job.nodes):
                return
            commands.cancel(job.id)
            raise DeploymentFailed(f"node {node}, which ran Envoy and the launcher, has failed")

    def _wait_for_files(self) -> None:
        """On a shared file system the last files of a job appear late, and after a listing of their
        folder."""
        deadline = time.monotonic() + FILES_SECONDS
        while time.monotonic() < deadline:
            names = [path.name for path in self.rundir.folder.iterdir()]
            if self.rundir.batch_log.name in names or self._state().status in FAILURES:
                return
            time.sleep(POLL_SECONDS)

    def _report_once(self, progress: str) -> None:
        if progress != self._last_progress:
            self._last_progress = progress
            self._report(progress)

    def _failure(self, state: DeploymentState, job: commands.Job | None = None) -> LauncherError:
        if state.status in FAILURES:
            failure = FAILURES[state.status] if state.ready_at else StartFailed
            return failure(state.error or f"the deployment has {state.status}")
        if state.status is DeploymentStatus.STOPPED:
            return DeploymentEnded(f"{self.deployment.name} was stopped")
        what = f"Slurm job {self.job_id} ended: {job.description if job else 'reason unknown'}"
        if state.host is not None:
            what += (
                f"; its launcher on {state.host} reported nothing, because it was killed or its node "
                "failed"
            )
        if job is not None and job.state == "FAILED" and not self.rundir.batch_log.exists():
            return UsageError(
                f"{what}; it wrote nothing to {self.rundir.folder}, which its nodes may not share; "
                "choose a folder on a shared file system (--dir, or run from there)"
            )
        log = indented(tail(self.rundir.batch_log))
        if f"{sys.executable}:" in log:
            what += f"; {sys.prefix} must be in a folder that its nodes share"
        return (DeploymentEnded if state.ready_at else StartFailed)(
            f"{what}; the end of {self.rundir.batch_log}:\n{log or '  nothing'}"
        )

    def _beat(self) -> None:
        heartbeat = self.rundir.heartbeat
        if heartbeat.exists() and time.monotonic() - self._last_heartbeat > HEARTBEAT_SECONDS:
            self._last_heartbeat = time.monotonic()
            os.utime(heartbeat)
