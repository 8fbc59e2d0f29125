"""Deployment: the options of one `launcher up`, validated."""

import ipaddress
import json
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
    PrivateAttr,
    ValidationInfo,
)

from benchmark.server.settings import DEFAULT_APP, DEFAULT_MAX_CONCURRENT_ENVS, DEFAULT_PORT
from launcher.deployment.paths import RunDir
from launcher.deployment.surroundings import check_surroundings, node_folder, parse_bind
from launcher.deployment.values import (
    Binds,
    ContainerOptions,
    EnvoyCount,
    LoopbackAddress,
    Name,
    NamesOfVariables,
    OptionalSeconds,
    Port,
    Quoted,
    SbatchOptions,
    Seconds,
)
from launcher.deployment.variables import Variables
from launcher.errors import UsageError

DEFAULT_NAME = "openenv"
DEFAULT_ADMIN_PORT = 9901

# Fields that are passed to sbatch and salloc under the same names.
SLURM_OPTIONS = (
    *("partition", "time", "cpus_per_task", "mem", "account", "qos", "constraint"),
    *("nodelist", "exclude", "reservation"),
)


def option(default: Any, description: str, **limits: int) -> Any:
    return Field(default=default, description=description, **limits)  # type: ignore[call-overload]


class Deployment(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    # No field, so that values are part of nothing that is written: `env` has only the names.
    _variables: Variables | None = PrivateAttr(None)

    name: Name = option(DEFAULT_NAME, "The name of the deployment, for status, logs and down.")
    local: bool = option(False, "Run on this machine, without Slurm.")
    nodes: Annotated[int, Field(ge=1, le=100_000)] = option(
        3, "The number of nodes: one for Envoy, the others for servers; 1 means no Envoy."
    )
    client_nodes: Annotated[int, Field(ge=0, le=100_000)] = option(
        0, "The number of additional nodes that run the load of grid and ui."
    )
    runtime: Literal["apptainer", "venv"] | None = option(
        None,
        "Run the servers from images (apptainer, USE_CONTAINER=true) or from this Python "
        "environment (venv, USE_CONTAINER=false).",
    )
    images: Path | None = option(None, "The folder of the images.")
    image: Path | None = option(
        None, "The image of the servers: a file, or the name of one that `launcher build` built."
    )
    environment: Path | None = option(
        None,
        "The folder of the OpenEnv environment to serve, with openenv.yaml or a Dockerfile; servers in "
        "containers need the image that `launcher build FOLDER` builds.",
    )
    sessions: Annotated[int | None, Field(ge=1, le=1_000_000_000)] = option(
        None,
        "The number of sessions to hold at once; sets --workers-per-node, --max-concurrent-envs "
        "and --envoy-processes unless they are given.",
    )
    workers_per_node: int | None = option(
        None, "The number of uvicorn workers per server.", ge=1, le=4096
    )
    max_concurrent_envs: Annotated[int, Field(ge=1, le=10_000_000)] = option(
        DEFAULT_MAX_CONCURRENT_ENVS, "The number of sessions that each worker holds."
    )
    app: str = option(DEFAULT_APP, "The ASGI app to serve, as module:attribute.")
    env: NamesOfVariables = option(
        (),
        "A variable for the servers, as NAME=VALUE, or NAME for its value here, which keeps the value "
        "out of the history of the shell; repeatable.",
    )
    env_file: Path | None = option(None, "A file with variables for the servers, one a line.")
    service: tuple[str, ...] = option(
        (),
        "A shell command to run beside each server for its environment, such as a simulator; it ends "
        "with the server, which stops when it fails; repeatable.",
    )
    python: Path | None = option(
        None,
        "The Python that runs the servers, such as envs/finrl/bin/python, if the packages of the "
        "environment do not fit those of the launcher.",
    )
    workdir: str | None = option(
        None,
        "The working folder of the servers: in their image, or without containers on their node.",
    )
    gpus: int | None = option(
        None,
        "The number of GPUs per node, requested from Slurm and given to containers.",
        ge=1,
        le=64,
    )
    nv: bool = option(False, "Give containers the NVIDIA GPUs and libraries of their node.")
    bind: Binds = option(
        (), "A folder or file that containers see, as SRC:DST or SRC:DST:ro; repeatable."
    )
    writable: bool = option(
        False,
        "Give each container a scratch layer on the disk of its node, in which all folders can be "
        "written; it is removed with the server.",
    )
    container_option: ContainerOptions = option(
        (),
        "Any other option of `apptainer exec` for the servers, such as --container-option=--rocm; "
        "repeatable.",
    )
    strict_sessions: bool = option(
        False,
        "Refuse the first step of a session that was never reset, with an error that says why. Some "
        "clients reconnect by themselves and would otherwise step another, fresh environment.",
    )
    idle_timeout: OptionalSeconds = option(
        None, "How many seconds a session may be idle before its server closes it."
    )
    server_port: int = option(DEFAULT_PORT, "The port of the servers.", ge=1, le=60_000)
    envoy_port: Port = option(DEFAULT_PORT, "The port of the URL.")
    admin_port: Port = option(
        DEFAULT_ADMIN_PORT,
        "The port of Envoy's read-only admin pages; further Envoy processes use the ports after it.",
    )
    envoy_processes: EnvoyCount = option(
        None,
        "The number of Envoy processes that share the URL; each holds one session per two file "
        "descriptors.",
    )
    envoy_threads: EnvoyCount = option(None, "The number of worker threads per Envoy process.")
    local_address: LoopbackAddress = option(
        "127.0.0.2",
        "With --local: the loopback address of the first node; the others use the addresses after "
        "it.",
    )
    dir: Path | None = option(
        None, "The folder for the connection file, the configuration and the logs."
    )
    ready_timeout: Seconds = option(
        120.0, "How many seconds to wait until every server is healthy."
    )
    drain: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = option(
        2.0, "How many seconds open sessions have to finish when the deployment stops."
    )
    silence_timeout: Seconds = option(
        60.0,
        "A deployment on Slurm stops by itself after this many seconds without a heartbeat from its "
        "launcher.",
    )
    partition: str | None = option(None, "The Slurm partition.")
    time: Quoted = option(None, "The time limit of the Slurm job, such as 2:00:00.")
    cpus_per_task: int | None = option(None, "The number of cores per node.", ge=1, le=65_536)
    mem: Quoted = option(None, "The memory per node, such as 100G.")
    account: str | None = option(None, "The Slurm account.")
    qos: str | None = option(None, "The Slurm quality of service.")
    constraint: str | None = option(None, "The features that the nodes must have.")
    nodelist: str | None = option(None, "The nodes that Slurm must include.")
    exclude: str | None = option(None, "The nodes that Slurm must leave out.")
    reservation: str | None = option(None, "The Slurm reservation.")
    sbatch: SbatchOptions = option(
        (), "Any other option of sbatch, such as --sbatch=--gres=gpu:1; repeatable."
    )

    @field_validator("app")
    @classmethod
    def _app_is_module_and_attribute(cls, app: str) -> str:
        if not re.fullmatch(r"[\w.]+:[\w.]+", app):
            raise ValueError("write it as module:attribute")
        return app

    @field_validator("*", mode="before")
    @classmethod
    def _booleans_are_not_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("it does not accept yes or no")
        return value

    @model_validator(mode="after")
    def _addresses_and_ports_fit(self) -> "Deployment":
        last = ipaddress.IPv4Address(self.local_address) + (self.nodes - 1)
        if self.local and not last.is_loopback:
            raise ValueError(
                f"{self.nodes} local nodes starting at {self.local_address} do not fit into "
                "127.0.0.0/8; lower --nodes or --local-address"
            )
        if self.envoy_port == self.admin_port:
            raise ValueError(f"--envoy-port and --admin-port are both {self.envoy_port}")
        check_surroundings(self)
        return self

    def node_address(self, index: int) -> str:
        return str(ipaddress.IPv4Address(self.local_address) + index)

    @property
    def folder(self) -> Path:
        return self.dir or (Path() if self.name == DEFAULT_NAME else Path(self.name))

    @property
    def rundir(self) -> RunDir:
        return RunDir(self.folder.absolute(), self.name)

    @property
    def servers(self) -> int:
        return max(1, self.nodes - 1)

    @property
    def in_containers(self) -> bool:
        apart = not self.local or self.image is not None
        return self.runtime == "apptainer" or (self.runtime is None and apart)

    @property
    def variables(self) -> Variables:
        """Raises `UsageError` when the deployment was read from a file, without the values."""
        if self._variables is None and (self.env or self.env_file):
            raise UsageError("the values of --env and --env-file are not stored; give them again")
        return dict(self._variables or {})

    def with_variables(self, variables: Variables) -> "Deployment":
        copy = self.model_copy()
        given = variables or self.env or self.env_file
        copy._variables = dict(variables) if given else None
        return copy

    def absolute(self) -> "Deployment":
        """The same deployment with paths that hold in any working directory."""
        paths: dict[str, Any] = {"dir": self.folder.absolute()}
        names = ("image", "images", "environment", "env_file", "python")
        given = {name: path for name in names if (path := getattr(self, name))}
        paths |= {name: path.expanduser().absolute() for name, path in given.items()}
        if folder := node_folder(self):
            paths["workdir"] = str(folder)
        if self.bind:
            paths["bind"] = tuple(":".join(map(str, parse_bind(bind))) for bind in self.bind)
        return self.model_copy(update=paths)

    @property
    def command(self) -> str:
        argv = ["launcher", "up"]
        for name, value in self.model_dump(mode="json", exclude_unset=True).items():
            flag = f"--{name.replace('_', '-')}"
            if isinstance(value, list):
                argv += [f"{flag}={item}" for item in value]
            elif value is not None and value is not False:
                argv += [flag] if value is True else [flag, str(value)]
        return shlex.join(argv)

    def as_given(self) -> str:
        """JSON of the fields that were set explicitly."""
        return self.model_dump_json(exclude_unset=True)

    def with_secrets(self) -> str:
        """One line of JSON, with the values of the variables: for the eyes of our own process only."""
        return json.dumps([json.loads(self.as_given()), self.variables])

    @classmethod
    def from_secrets(cls, text: str) -> "Deployment":
        given, variables = json.loads(text)
        return cls.model_validate_json(json.dumps(given)).with_variables(variables)
