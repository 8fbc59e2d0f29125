"""Deployments of this user: which are up, where their files are, and what they last said."""

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from launcher.deployment.paths import deployments_folder, from_env_file, RunDir
from launcher.deployment.spec import DEFAULT_NAME
from launcher.errors import DeploymentNotFound, LauncherError
from launcher.slurm import commands
from launcher.system import http
from launcher.system.files import read_json, remove

READY_SECONDS = 2.0
BEGIN_SECONDS = 30.0
SAD = ("failed", "ended")
"""How a deployment ends that was not asked to."""


@dataclass(frozen=True)
class Known:
    """A deployment that is listed, alive or not. `entry` is what its launcher wrote into the list;
    `state`, in the run folder, can be gone with that folder."""

    rundir: RunDir
    entry: dict[str, Any]
    state: dict[str, Any]

    @property
    def alive(self) -> bool:
        return holder_alive(self.entry)

    @property
    def job(self) -> str | None:
        """The Slurm job that the deployment runs in."""
        return self.entry.get("job")

    @property
    def job_story(self) -> str | None:
        """What Slurm says of that job; None without one, or when Slurm has forgotten it."""
        if self.job is None:
            return None
        try:
            job = commands.job(self.job)
        except LauncherError as failure:
            return str(failure)
        return None if job.state == commands.UNKNOWN else f"job {job.id}: {job.description}"

    @property
    def own_job(self) -> bool:
        """Whether that job is there for this deployment alone."""
        return bool(self.entry.get("own_job"))

    @property
    def status(self) -> str:
        """starting, ready, stopping, stopped or failed as the launcher wrote it; `gone` when the
        launcher ended without a word."""
        status = str(self.state.get("status", "without its files"))
        return status if self.alive or status in ("stopped", *SAD) else "gone"


def holder_alive(state: dict[str, Any]) -> bool:
    """Whether the launcher that wrote `state` still runs, as far as this machine or Slurm can tell."""
    if state.get("host") != socket.gethostname():
        over = state.get("status") in ("stopped", *SAD)
        return bool(state.get("job")) and not over and step_alive(state)
    try:
        process = psutil.Process(int(state["pid"]))
        return bool(
            abs(process.create_time() - float(state["pid_created"])) < 1
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, KeyError, ValueError):
        return False


def step_alive(state: dict[str, Any]) -> bool:
    """Whether the deployment's Slurm step runs, or its job waits for its turn."""
    try:
        job = commands.job(state["job"])
        if not job.active:
            return False
        return job.state != "RUNNING" or step_of(state) is not None or _just_begun(state)
    except LauncherError:
        return True  # nobody knows: Slurm does not answer


def step_of(state: dict[str, Any]) -> str | None:
    """The id of the Slurm step that holds the agents of a deployment."""
    return commands.steps(state["job"]).get(f"openenv-{state['name']}")


def _just_begun(state: dict[str, Any]) -> bool:
    return time.time() - float(state.get("begun", 0)) < BEGIN_SECONDS


def identity() -> dict[str, Any]:
    """What tells this process from every other, on every machine."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_created": psutil.Process().create_time(),
    }


def known(name: str) -> Known | None:
    entry = read_json(deployments_folder() / f"{name}.json")
    if entry is None:
        return None
    folder = Path(entry["folder"])
    return Known(RunDir(folder, name), entry, read_state(folder))


def read_state(folder: Path) -> dict[str, Any]:
    """What the deployment of the folder last wrote; empty when there is nothing."""
    return read_json(RunDir(folder, "").state) or {}


def usual_name() -> str:
    """Of the deployment whose folder this is; else the name that a deployment has by default."""
    name = read_state(Path()).get("name")
    found = known(name) if isinstance(name, str) else None
    here = found is not None and found.rundir.folder == Path().absolute()
    return name if here and isinstance(name, str) else DEFAULT_NAME


def all_known() -> list[Known]:
    names = sorted(path.stem for path in deployments_folder().glob("*.json"))
    return [found for name in names if (found := known(name)) is not None]


def find(name: str) -> Known:
    """Raises `DeploymentNotFound`."""
    found = known(name)
    if found is None:
        others = ", ".join(other.rundir.name for other in all_known()) or "none"
        raise DeploymentNotFound(
            f"no deployment named {name!r} is up; known deployments: {others}. Start one with: "
            f"launcher up{'' if name == 'openenv' else f' --name {name}'}"
        )
    return found


def gone(found: Known) -> DeploymentNotFound:
    return DeploymentNotFound(
        f"deployment {found.rundir.name!r} is gone: its launcher ended without stopping it; clean up "
        f"with `launcher down {found.rundir.name}`, then start it again"
    )


def forget(found: Known) -> None:
    """Removes what a deployment that is gone left behind."""
    remove([found.rundir.connection, *found.rundir.admin_sockets, found.rundir.entry])


def connection(folder: Path) -> dict[str, str] | None:
    """What `openenv-connection.env` in the folder says; None without one.

    Raises `DeploymentNotFound` when the deployment that wrote it is gone.
    """
    rundir = RunDir(folder, "")
    try:
        values = from_env_file(rundir.connection.read_text())
    except OSError:
        return None
    state = read_state(folder)
    known_here = state.get("job") or state.get("host", socket.gethostname()) == socket.gethostname()
    if known_here and not holder_alive(state):
        raise DeploymentNotFound(
            f"{rundir.connection} was left by a deployment that is gone, or copied from another "
            "folder; remove it, or give --url"
        )
    return values


def admin_urls(state: dict[str, Any]) -> list[str]:
    """Of the Envoy processes of a deployment."""
    return [envoy["admin_url"] for envoy in state.get("envoys", [])]


def places(state: dict[str, Any]) -> dict[str, Any]:
    """Used and free places of each server that answers, by the name of its process."""
    found = {}
    names = [
        process["name"] for process in state.get("processes", []) if process["role"] == "server"
    ]
    for name, server in zip(names, state.get("servers", []), strict=True):
        with contextlib.suppress(http.Unreachable, ValueError):
            url = f"http://{server['address']}:{server['control_port']}/ready"
            found[name] = http.get_json(url, READY_SECONDS)
    return found


def uptime(state: dict[str, Any]) -> float | None:
    """Seconds since the deployment was ready."""
    ready_at = state.get("ready_at")
    return None if ready_at is None else max(0.0, time.time() - float(ready_at))
