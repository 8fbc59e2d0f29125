"""A deployment that a Slurm job holds: submitted from a login node, followed through its files."""

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from launcher.deployment.paths import RunDir
from launcher.deployment.programs import check_images, programs
from launcher.deployment.spec import Deployment, SLURM_OPTIONS
from launcher.deployment.state import DeploymentState, DeploymentStatus, Entry, FINAL_STATES
from launcher.errors import (
    DeploymentEnded,
    DeploymentFailed,
    LauncherError,
    StartFailed,
    UsageError,
)
from launcher.lifecycle.user_command import Beside
from launcher.lifecycle.watchers import BEAT_SECONDS
from launcher.slurm import commands
from launcher.system.files import check_writable, remove, write_atomically
from launcher.system.process import indented, tail
from launcher.system.signals import Interrupted, interruptible

POLL_SECONDS = 0.1
QUEUE_SECONDS = 2.0
HELD_SECONDS = 5.0
FILES_SECONDS = 5.0
END_POLL_SECONDS = 0.5
STOP_SECONDS = 20.0
FAILURES = {
    DeploymentStatus.FAILED: DeploymentFailed,
    DeploymentStatus.ENDED: DeploymentEnded,
}


def script(rundir: RunDir) -> str:
    """The batch script: it becomes the launcher, so that signals for it reach the launcher."""
    launcher = (sys.executable, "-P", "-m", "launcher.lifecycle.batch_holder", str(rundir.request))
    return f"#!/bin/sh\nexec {shlex.join(launcher)}\n"


def sbatch_argv(deployment: Deployment, rundir: RunDir) -> tuple[str, ...]:
    """A job that is never started again from the top, and that outlives one of its nodes."""
    options = [
        f"--{name.replace('_', '-')}={value}"
        for name in SLURM_OPTIONS
        if (value := getattr(deployment, name)) is not None
    ]
    return (
        *("sbatch", "--parsable", f"--job-name=openenv-{deployment.name}"),
        f"--nodes={deployment.nodes + deployment.client_nodes}",
        *("--ntasks-per-node=1", "--no-requeue", "--no-kill", "--open-mode=append"),
        f"--chdir={Path.cwd()}",
        f"--output={escaped(str(rundir.batch_log))}",
        *options,
        *deployment.sbatch,
        str(rundir.job_script),
    )


def submission(deployment: Deployment) -> tuple[tuple[str, ...], Path, str]:
    """What `run` submits: the argv, and the batch script with its text."""
    rundir = RunDir(deployment.folder.absolute(), deployment.name)
    return sbatch_argv(deployment, rundir), rundir.job_script, script(rundir)


def escaped(path: str) -> str:
    """As sbatch takes a file name: a percent sign begins a pattern, a backslash ends patterns."""
    return path.replace("%", "%%")


def request(deployment: Deployment, *, attached: bool) -> str:
    return json.dumps({"deployment": json.loads(deployment.as_given()), "attached": attached})


def run(
    deployment: Deployment,
    report: Callable[[str], None],
    on_ready: Callable[[dict[str, str]], None],
    command: Sequence[str] | None = None,
    *,
    detach: bool = False,
) -> int:
    """Has a Slurm job hold the deployment: until Ctrl-C or `command` ends, or, with `detach`, beyond
    this process once it is ready. The exit code is that of `command`, or 0.

    Raises `UsageError`, `SlurmFailed`, and what has ended the deployment.
    """
    if command is not None and shutil.which(command[0]) is None:
        raise UsageError(f"cannot run {command[0]!r}: no such program")
    front = JobFront(deployment, report)
    leave = False
    with interruptible() as no_more:
        try:
            front.submit(attached=not detach)
            connection = front.wait_ready()
            leave = detach
            on_ready(connection)
            return 0 if detach else front.hold(command, connection)
        except Interrupted as signal:
            report(f"stopping: {signal}")
            return 0 if command is None and front.was_ready else 128 + signal.number
        finally:
            no_more()
            if not leave:
                front.stop()


class JobFront:
    """The submitting side of one deployment."""

    def __init__(self, deployment: Deployment, report: Callable[[str], None]) -> None:
        self.deployment, self._report = deployment, report
        self.rundir = RunDir(deployment.folder.absolute(), deployment.name)
        self.job_id: str | None = None
        self._told = 0
        self._slurm_story = ""
        self._beaten = 0.0
        self.was_ready = False
        self._envoy_node = ""

    def submit(self, *, attached: bool) -> None:
        """Raises `UsageError`, and `SlurmFailed` with what sbatch said."""
        from launcher.lifecycle import registry

        rundir, deployment = self.rundir, self.deployment
        found = registry.known(deployment.name)
        if found is not None and found.alive:
            raise UsageError(
                f"deployment {deployment.name!r} is already up; end it with `launcher down "
                f"{deployment.name}` or choose another --name"
            )
        if registry.holder_alive(registry.read_state(rundir.folder)):
            raise UsageError(f"{rundir.folder} is in use by a deployment; choose another --dir")
        check_images(programs(deployment).files)
        check_writable(rundir.folder)
        check_writable(rundir.entry.parent)
        remove([rundir.state, rundir.connection, rundir.batch_log])
        argv, job_script, text = submission(deployment)
        write_atomically(job_script, text)
        write_atomically(rundir.request, request(deployment.absolute(), attached=attached))
        if attached:
            rundir.beat.touch()
        self.job_id = commands.submit(argv)
        entry = Entry(
            name=deployment.name,
            folder=rundir.folder,
            drain=deployment.drain,
            job=self.job_id,
            own_job=True,
            begun=time.time(),
        )
        entry.save(rundir.entry)
        self._report(f"Slurm job {self.job_id} submitted")

    def wait_ready(self) -> dict[str, str]:
        """The connection, once the deployment is ready. Raises what has ended it."""
        for state in self._states():
            if state.status is DeploymentStatus.READY:
                self.was_ready = True
                self._envoy_node = state.connection["ENVOY_NODE"]
                return state.connection
        raise AssertionError

    def hold(self, command: Sequence[str] | None, connection: dict[str, str]) -> int:
        """Until the command has ended; its exit code. Raises what has ended the deployment."""
        beside = Beside(command, connection) if command else None
        try:
            for _ in self._states():
                if beside is not None and beside.popen.poll() is not None:
                    break
        finally:
            code = beside.end() if beside else 0
        return code

    def stop(self) -> None:
        """Ends the job: by its launcher where it runs, and by Slurm where that is not enough."""
        if self.job_id is None:
            return
        remove([self.rundir.beat])
        try:
            active = commands.job(self.job_id).active
        except commands.SlurmFailed as failure:
            self._report(f"job {self.job_id} may still be there; end it with scancel: {failure}")
            return
        if not active:
            wait_ended(self.job_id, STOP_SECONDS)
            return  # its files say why
        end(self.job_id, self.deployment.drain)
        remove([self.rundir.connection])
        if self._state().status not in FAILURES:  # those stay listed
            remove([self.rundir.entry])

    def _state(self) -> DeploymentState:
        """What the deployment last said of itself."""
        state = DeploymentState.load(self.rundir.state)
        return state if state and state.job == self.job_id else DeploymentState()

    def _states(self) -> Iterator[DeploymentState]:
        """What the deployment says of itself, again and again; reports what is new. Raises what has
        ended it, once it has ended."""
        asked = -QUEUE_SECONDS
        while True:
            self._beat()
            state = self._state()
            self._tell(state)
            if state.status in FINAL_STATES:
                raise self._failure(state)
            if time.monotonic() - asked >= (HELD_SECONDS if self.was_ready else QUEUE_SECONDS):
                asked = time.monotonic()
                self._ask_slurm()
            yield state
            time.sleep(POLL_SECONDS)

    def _tell(self, state: DeploymentState) -> None:
        for event in state.events[self._told :]:
            if not event.quiet:
                self._report(event.event)
        self._told = max(self._told, len(state.events))

    def _ask_slurm(self) -> None:
        try:
            job = commands.job(str(self.job_id))
        except commands.SlurmFailed as failure:  # it may be restarting; the deployment goes on
            self._tell_once(str(failure))
            return
        if job.ended:
            self._await_files()
            raise self._failure(self._state(), job)
        self._check_first_node(job)
        if not self.was_ready:
            on = f" on {job.nodes}" if job.state == "RUNNING" else ""
            self._tell_once(f"job {job.id}: {job.description}{on}")

    def _check_first_node(self, job: commands.Job) -> None:
        envoy = self._envoy_node
        if not envoy or job.state != "RUNNING" or job.nodes in ("", "(null)"):
            return
        with contextlib.suppress(commands.SlurmFailed):
            if envoy in commands.hostnames(job.nodes):
                return
            commands.cancel(job.id)  # its launcher is no more there to be asked
            raise DeploymentFailed(f"{envoy}, the node of Envoy and of the launcher, has died")

    def _await_files(self) -> None:
        """What a job writes last is seen late on a shared file system, until its folder is read."""
        deadline = time.monotonic() + FILES_SECONDS
        while time.monotonic() < deadline:
            names = [path.name for path in self.rundir.folder.iterdir()]
            if self.rundir.batch_log.name in names or self._state().status in FAILURES:
                return
            time.sleep(POLL_SECONDS)

    def _tell_once(self, story: str) -> None:
        if story != self._slurm_story:
            self._slurm_story = story
            self._report(story)

    def _failure(self, state: DeploymentState, job: commands.Job | None = None) -> LauncherError:
        status = state.status
        if status in FAILURES:
            text = state.error or f"the deployment has {status}"
            failed = FAILURES[status] if state.ready_at else StartFailed
            return failed(text)
        if status is DeploymentStatus.STOPPED:
            return DeploymentEnded(f"{self.deployment.name} was stopped")
        how = f"Slurm job {self.job_id} ended: {job.description if job else 'nobody knows why'}"
        if state.host is not None:
            how += (
                f", without a word of its launcher on {state.host}: it was killed, or its node died"
            )
        if job is not None and job.state == "FAILED" and not self.rundir.batch_log.exists():
            return UsageError(
                f"{how}, and has written nothing to {self.rundir.folder}: do its nodes share it? "
                "Choose a folder on a shared file system (--dir, or run from there)"
            )
        log = indented(tail(self.rundir.batch_log))
        if f"{sys.executable}:" in log:
            how += f"; {sys.prefix} must be in a folder that its nodes share"
        return (DeploymentEnded if state.ready_at else StartFailed)(
            f"{how}; the end of {self.rundir.batch_log}:\n{log or '  nothing'}"
        )

    def _beat(self) -> None:
        if self.rundir.beat.exists() and time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = time.monotonic()
            os.utime(self.rundir.beat)


def end(job_id: str, drain: float) -> None:
    """Ends a job that holds a deployment: by its launcher where it runs, and by Slurm where it waits
    or where that is not enough. Raises `DeploymentFailed` when the job does not end."""
    if commands.job(job_id).state == "RUNNING":
        commands.signal_batch(job_id, "INT")
        if wait_ended(job_id, STOP_SECONDS + drain) or not commands.job(job_id).active:
            return  # or COMPLETING: Slurm itself may take a minute after its controller was away
    commands.cancel(job_id)
    if not wait_ended(job_id, STOP_SECONDS) and commands.job(job_id).active:
        raise DeploymentFailed(
            f"Slurm job {job_id} has not ended after scancel; see: squeue -j {job_id}"
        )


def wait_ended(job_id: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if commands.job(job_id).ended:
            return True
        time.sleep(END_POLL_SECONDS)
    return False
