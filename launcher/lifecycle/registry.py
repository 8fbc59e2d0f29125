"""The deployments of this user: which are up, where their files are, and their last state."""

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from launcher.deployment.paths import deployments_folder, from_env_file, RunDir
from launcher.deployment.spec import DEFAULT_NAME, Deployment
from launcher.deployment.state import DeploymentState, DeploymentStatus, Entry, FINAL_STATES, Holder
from launcher.errors import DeploymentNotFound, LauncherError, UsageError
from launcher.slurm import commands
from launcher.system import http
from launcher.system.files import remove

READY_SECONDS = 2.0
# How long a running job may take until its Slurm step appears.
STEP_SECONDS = 30.0


@dataclass(frozen=True)
class Known:
    """A listed deployment, alive or not. `state` is empty when the run folder was removed."""

    rundir: RunDir
    entry: Entry
    state: DeploymentState

    @property
    def alive(self) -> bool:
        return holder_alive(self.entry)

    @property
    def job_description(self) -> str | None:
        """Slurm's view of the job; None without a job, or when Slurm no longer knows it."""
        if self.entry.job is None:
            return None
        try:
            job = commands.job(self.entry.job)
        except LauncherError as failure:
            return str(failure)
        return None if job.state == commands.UNKNOWN else f"job {job.id}: {job.description}"

    @property
    def status(self) -> DeploymentStatus:
        """The status that the launcher wrote; `GONE` if it exited without writing a final one."""
        status = self.state.status
        return status if self.alive or status in FINAL_STATES else DeploymentStatus.GONE


def holder_alive(holder: Holder | None) -> bool:
    """Whether the launcher still runs, as far as this machine or Slurm can tell."""
    if holder is None:
        return False
    if holder.host != socket.gethostname():
        final = isinstance(holder, DeploymentState) and holder.status in FINAL_STATES
        return bool(holder.job) and not final and step_alive(holder)
    if holder.pid is None or holder.pid_created is None:
        return False
    try:
        process = psutil.Process(holder.pid)
        return bool(
            abs(process.create_time() - holder.pid_created) < 1
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, ValueError):
        return False


def step_alive(holder: Holder) -> bool:
    """Whether the deployment's Slurm step is running, or its job is still queued."""
    try:
        job = commands.job(str(holder.job))
        if not job.active:
            return False
        recent = isinstance(holder, Entry) and time.time() - holder.started < STEP_SECONDS
        return job.state != "RUNNING" or step_of(holder) is not None or recent
    except LauncherError:
        return True  # Slurm does not answer


def step_of(holder: Holder) -> str | None:
    return commands.steps(str(holder.job)).get(f"openenv-{holder.name}")


def identity() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_created": psutil.Process().create_time(),
    }


def enter(deployment: Deployment, job: str | None, own_job: bool, **identity: Any) -> None:
    rundir = deployment.rundir
    head = {"name": deployment.name, "job": job, "folder": rundir.folder, **identity}
    entry = Entry(**head, drain=deployment.drain, own_job=own_job, started=time.time())
    entry.save(rundir.entry)


def known(name: str) -> Known | None:
    entry = Entry.load(deployments_folder() / f"{name}.json")
    if entry is None:
        return None
    return Known(RunDir(entry.folder, name), entry, read_state(entry.folder))


def read_state(folder: Path) -> DeploymentState:
    return DeploymentState.load(RunDir(folder, "").state) or DeploymentState()


def usual_name() -> str:
    name = read_state(Path()).name
    listed = known(name) if name else None
    here = listed is not None and listed.rundir.folder == Path().absolute()
    return name if here else DEFAULT_NAME


def all_known() -> list[Known]:
    names = sorted(path.stem for path in deployments_folder().glob("*.json"))
    return [listed for name in names if (listed := known(name)) is not None]


def find(name: str) -> Known:
    listed = known(name)
    if listed is None:
        others = ", ".join(other.rundir.name for other in all_known()) or "none"
        raise DeploymentNotFound(
            f"no deployment named {name!r} is up; known deployments: {others}. Start one with: "
            f"launcher up{'' if name == DEFAULT_NAME else f' --name {name}'}"
        )
    return listed


def gone(listed: Known) -> DeploymentNotFound:
    return DeploymentNotFound(
        f"deployment {listed.rundir.name!r} is gone: its launcher was killed; run `launcher down "
        f"{listed.rundir.name}`, then start it again"
    )


def already_up(name: str) -> str:
    return (
        f"deployment {name!r} is already up; stop it with `launcher down {name}` or choose another "
        "--name"
    )


def check_unused(folder: Path) -> None:
    state = read_state(folder)
    if holder_alive(state):
        raise UsageError(f"{folder} is in use by deployment {state.name!r}; choose another --dir")


def forget(listed: Known) -> None:
    rundir = listed.rundir
    remove([rundir.connection, rundir.variables, *rundir.admin_sockets, rundir.entry])


def connection(folder: Path) -> dict[str, str] | None:
    """The variables in the folder's connection file; None without one. Raises `DeploymentNotFound`
    when the deployment that wrote it is gone."""
    rundir = RunDir(folder, "")
    try:
        values = from_env_file(rundir.connection.read_text())
    except OSError:
        return None
    state = read_state(folder)
    known_here = state.job or state.host in (None, socket.gethostname())
    if known_here and not holder_alive(state):
        raise DeploymentNotFound(
            f"{rundir.connection} was left by a deployment that is gone, or copied from another "
            "folder; remove it, or give --url"
        )
    return values


def places(state: DeploymentState) -> dict[str, Any]:
    pages = {}
    for name, server in zip(state.server_names, state.servers, strict=True):
        with contextlib.suppress(http.Unreachable, ValueError):
            url = f"http://{server.address}:{server.control_port}/ready"
            pages[name] = http.get_json(url, READY_SECONDS)
    return pages


def uptime(state: DeploymentState) -> float | None:
    return None if state.ready_at is None else max(0.0, time.time() - state.ready_at)
