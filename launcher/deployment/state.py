"""The content of `openenv-deployment.json`, whose keys are the names of the fields."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter, ValidationError

from launcher.deployment.placement import Role, ServerAddress
from launcher.deployment.spec import Deployment
from launcher.system.files import read_json, write_atomically


class DeploymentStatus(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    ENDED = "ended"
    # Never written: the launcher exited without a final status, or its folder was removed.
    GONE = "gone"
    NO_FILES = "without its files"


LIVE_STATES = (DeploymentStatus.STARTING, DeploymentStatus.READY, DeploymentStatus.STOPPING)
FAILED_STATES = (DeploymentStatus.FAILED, DeploymentStatus.ENDED)
FINAL_STATES = (DeploymentStatus.STOPPED, *FAILED_STATES)


@dataclass(frozen=True)
class ProcessState:
    """`restarts` counts recent replacements. `given_up`: it exited too often and is not replaced."""

    name: str
    role: Role
    node: str
    pid: int | None = None
    restarts: int = 0
    given_up: bool = False
    ports: tuple[int, ...] = ()
    log: str = ""


@dataclass(frozen=True)
class EnvoyState:
    name: str
    admin_url: str
    admin_socket: str


@dataclass(frozen=True)
class Event:
    """`time` is in UTC. `quiet`: recorded only, because the user learns of it in another way."""

    time: str
    event: str
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The launcher process that holds something, and the Slurm job that it runs in, if any."""

    name: str = ""
    job: str | None = None
    host: str | None = None
    pid: int | None = None
    pid_created: float | None = None

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """None when the file does not exist, is not complete, or does not fit."""
        content = read_json(path)
        return None if content is None else cls.from_dict(content)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self | None:
        """Ignores unknown keys. None when the content does not fit."""
        try:
            loaded: Self = cls._adapter().validate_python(dict(content))
            return loaded
        except ValidationError:
            return None

    def as_dict(self) -> dict[str, Any]:
        return dict(self._adapter().dump_python(self, mode="json", by_alias=True))

    def save(self, path: Path) -> None:
        write_atomically(path, json.dumps(self.as_dict(), indent=1))

    @classmethod
    @cache
    def _adapter(cls) -> TypeAdapter[Any]:
        return TypeAdapter(cls)


@dataclass(frozen=True, kw_only=True)
class Entry(Holder):
    """A deployment's entry in the user's list. `started` is in seconds since the epoch; `own_job`: the
    Slurm job exists for this deployment alone."""

    folder: Path
    drain: float = 0.0
    own_job: bool = False
    started: Annotated[float, Field(alias="begun")] = 0.0


@dataclass(frozen=True, kw_only=True)
class DeploymentState(Holder):
    status: DeploymentStatus = DeploymentStatus.NO_FILES
    url: str = ""
    admin_url: str | None = None
    envoys: tuple[EnvoyState, ...] = ()
    error: str | None = None
    slurm: dict[str, Any] = field(default_factory=dict)
    ready_at: float | None = None
    folder: Path = Path()
    connection: dict[str, str] = field(default_factory=dict)
    client_nodes: dict[str, int] = field(default_factory=dict)
    capacity: int = 0
    envoy_sessions: int = 0
    envoy_threads: int = 1
    deployment: Deployment = field(default_factory=Deployment)
    command: str = ""
    processes: tuple[ProcessState, ...] = ()
    servers: tuple[ServerAddress, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def admin_urls(self) -> list[str]:
        return [envoy.admin_url for envoy in self.envoys]

    @property
    def server_names(self) -> list[str]:
        return [process.name for process in self.processes if process.role is Role.SERVER]
