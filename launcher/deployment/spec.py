"""Deployment: what the user asked for. One strict model, filled from flags, one YAML file and the
runbook's environment variables, in that order of strength."""

import difflib
import ipaddress
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
    ValidationError,
    ValidationInfo,
)

from benchmark.server.settings import (
    DEFAULT_APP,
    DEFAULT_MAX_CONCURRENT_ENVS,
    DEFAULT_PORT,
)
from launcher.errors import UsageError

DEFAULT_NAME = "openenv"
DEFAULT_ADMIN_PORT = 9901
RESERVED = ("load", "samples")
"""Slurm steps beside a deployment's have these names."""

CORES = "SLURM_CPUS_PER_TASK"

VARIABLES: dict[str, tuple[str, ...]] = {
    "workers_per_node": ("WORKERS_PER_NODE", "WORKERS", CORES),
    "max_concurrent_envs": ("MAX_CONCURRENT_ENVS",),
    "server_port": ("OPENENV_PORT", "PORT"),
    "envoy_port": ("ENVOY_PORT",),
    "runtime": ("USE_CONTAINER",),
    "images": ("OPENENV_IMAGES",),
}
"""The runbook's variable, or variables, behind a field; the first one that is set counts."""

USE_CONTAINER = {"true": "apptainer", "1": "apptainer", "yes": "apptainer"} | dict.fromkeys(
    ("false", "0", "no"), "venv"
)

SLURM_OPTIONS = (
    "partition",
    "time",
    "cpus_per_task",
    "mem",
    "account",
    "qos",
    "constraint",
    "nodelist",
    "exclude",
    "reservation",
)
"""Fields that go to sbatch as they are, by the same names."""


class Deployment(BaseModel):
    """One `launcher up`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default=DEFAULT_NAME, description="name, for status, logs and down")
    local: bool = Field(default=False, description="run on this machine, without Slurm")
    nodes: int = Field(
        default=3,
        ge=1,
        le=100_000,
        description="nodes: one for Envoy, the others for servers; 1 serves without Envoy "
        "[default in an allocation: all of its nodes]",
    )
    client_nodes: int = Field(
        default=0, ge=0, le=100_000, description="nodes more, for the load of grid and ui"
    )
    runtime: Literal["apptainer", "venv"] | None = Field(
        default=None,
        description="apptainer (images) or venv (this Python environment) "
        "[env: USE_CONTAINER=true|false; default: apptainer on Slurm, venv with --local]",
    )
    images: Path | None = Field(
        default=None,
        description="folder of the images [env: OPENENV_IMAGES; default: that of `launcher build`]",
    )
    image: Path | None = Field(
        default=None, description="image of the servers, when it is not server.sif of that folder"
    )
    sessions: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="sessions that are to be open at once: chooses --workers-per-node, "
        "--max-concurrent-envs and --envoy-processes where they are not given",
    )
    workers_per_node: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="uvicorn workers of each server "
        "[env: WORKERS_PER_NODE, WORKERS, SLURM_CPUS_PER_TASK; default: the node's cores]",
    )
    max_concurrent_envs: int = Field(
        default=DEFAULT_MAX_CONCURRENT_ENVS,
        ge=1,
        le=10_000_000,
        description="sessions each worker holds [env: MAX_CONCURRENT_ENVS]",
    )
    app: str = Field(default=DEFAULT_APP, description="ASGI app to serve, as module:attribute")
    server_port: int = Field(
        default=DEFAULT_PORT,
        ge=1,
        le=60_000,
        description="port of the servers [env: OPENENV_PORT, PORT]",
    )
    envoy_port: int = Field(
        default=DEFAULT_PORT, ge=1, le=65_535, description="port of the URL [env: ENVOY_PORT]"
    )
    admin_port: int = Field(
        default=DEFAULT_ADMIN_PORT,
        ge=1,
        le=65_535,
        description="port of Envoy's read-only pages; of several Envoy processes the first, the others "
        "have those after it",
    )
    envoy_processes: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Envoy processes that share the URL; each holds half as many sessions as it may "
        "have descriptors [default: as many as --sessions needs, else 1]",
    )
    envoy_threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="worker threads of each Envoy process [default: half of the cores, shared among "
        "the processes]",
    )
    local_address: str = Field(
        default="127.0.0.2",
        description="loopback address of the first local node; the others follow it",
    )
    dir: Path | None = Field(
        default=None,
        description="folder for the connection file, the configuration and the logs "
        "[default: here; ./NAME for a deployment with a name]",
    )
    ready_timeout: float = Field(
        default=120.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds until every server must be healthy",
    )
    drain: float = Field(
        default=2.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="seconds that open sessions get to end when the deployment stops",
    )
    silence_timeout: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds without a sign of life of its launcher, or of whoever waits beside it, "
        "after which a deployment on Slurm ends by itself",
    )
    partition: str | None = Field(default=None, description="Slurm partition")
    time: str | None = Field(default=None, description="time limit of the Slurm job, as 2:00:00")
    cpus_per_task: int | None = Field(
        default=None, ge=1, le=65_536, description="cores of each node"
    )
    mem: str | None = Field(default=None, description="memory of each node, as 100G")
    account: str | None = Field(default=None, description="Slurm account")
    qos: str | None = Field(default=None, description="Slurm quality of service")
    constraint: str | None = Field(default=None, description="features that the nodes must have")
    nodelist: str | None = Field(default=None, description="nodes that must be among them")
    exclude: str | None = Field(default=None, description="nodes that must not be among them")
    reservation: str | None = Field(default=None, description="Slurm reservation")
    sbatch: tuple[str, ...] = Field(
        default=(), description="any other option of sbatch, as --sbatch=--gres=gpu:1; repeatable"
    )

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError("a name is made of letters, digits, '.', '_' and '-'")
        if name in RESERVED:
            raise ValueError("the launcher has Slurm steps of that name itself")
        return name

    @field_validator("app")
    @classmethod
    def _app_is_importable_string(cls, app: str) -> str:
        if not re.fullmatch(r"[\w.]+:[\w.]+", app):
            raise ValueError("an app is written module:attribute")
        return app

    @field_validator("time", "mem", mode="before")
    @classmethod
    def _yaml_reads_times_as_numbers(cls, value: Any) -> Any:
        if isinstance(value, int):
            raise ValueError("write it in quotes in a YAML file, as '2:00:00' or '100G'")
        return value

    @field_validator("sbatch")
    @classmethod
    def _sbatch_takes_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not option.startswith("-"):
                raise ValueError(f"{option!r} is no option; write --sbatch=--gres=gpu:1")
        return options

    @field_validator("local_address")
    @classmethod
    def _local_address_is_loopback(cls, address: str) -> str:
        try:
            known = ipaddress.IPv4Address(address)
        except ValueError:
            raise ValueError("it is no address such as 127.0.0.2") from None
        if not known.is_loopback:
            raise ValueError("it is outside the loopback range 127.0.0.0/8")
        return address

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name != "local":
            raise ValueError("yes and no are no values for it")
        return value

    @model_validator(mode="after")
    def _nodes_and_ports_fit(self) -> "Deployment":
        last = ipaddress.IPv4Address(self.local_address) + (self.nodes - 1)
        if self.local and not last.is_loopback:
            raise ValueError(
                f"{self.nodes} local nodes from {self.local_address} on do not fit into 127.0.0.0/8: "
                "lower --nodes or --local-address"
            )
        if self.envoy_port == self.admin_port:
            raise ValueError(f"--envoy-port and --admin-port are both {self.envoy_port}")
        return self

    def node_address(self, index: int) -> str:
        return str(ipaddress.IPv4Address(self.local_address) + index)

    @property
    def folder(self) -> Path:
        return self.dir or (Path() if self.name == DEFAULT_NAME else Path(self.name))

    @property
    def servers(self) -> int:
        return max(1, self.nodes - 1)

    @property
    def in_containers(self) -> bool:
        return self.runtime == "apptainer" or (self.runtime is None and not self.local)

    def absolute(self) -> "Deployment":
        """The same deployment for a process that runs elsewhere."""
        paths = {"dir": self.folder.absolute()}
        paths |= {
            name: path.absolute() for name in ("image", "images") if (path := getattr(self, name))
        }
        return self.model_copy(update=paths)

    @property
    def command(self) -> str:
        """What to type for it."""
        words = ["launcher", "up"]
        for name, value in self.model_dump(mode="json", exclude_unset=True).items():
            flag = f"--{name.replace('_', '-')}"
            if isinstance(value, list):
                words += [f"{flag}={one}" for one in value]
            elif value is not None and value is not False:
                words += [flag] if value is True else [flag, str(value)]
        return shlex.join(words)

    def as_given(self) -> str:
        """JSON of what was asked for, without the defaults."""
        return self.model_dump_json(exclude_unset=True)


def read_deployment(
    flags: Mapping[str, Any],
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Deployment:
    """The deployment that flags, `file` (YAML) and environment ask for together.

    Raises `UsageError`, which names the flag, key or variable that is wrong.
    """
    values: dict[str, tuple[Any, str]] = {}
    for field, names in VARIABLES.items():
        for name in names:
            if environment.get(name):
                value = environment[name]
                if name == "USE_CONTAINER":
                    value = USE_CONTAINER.get(value.lower(), value)
                values[field] = value, f"variable {name}"
                break
    for key, value in (read_yaml(file) if file else {}).items():
        values[key] = value, f"key {key!r} in {file}"
    for field, value in flags.items():
        if value is not None and value != ():
            values[field] = value, f"--{field.replace('_', '-')}"
    if "sessions" in values and values.get("workers_per_node", ("", ""))[1] == f"variable {CORES}":
        del values["workers_per_node"]  # the node's cores, which nobody chose for these sessions
    try:
        return Deployment(**{field: value for field, (value, _) in values.items()})
    except ValidationError as failure:
        raise UsageError(_explain(failure, values)) from None


def read_yaml(file: Path) -> dict[str, Any]:
    """Raises `UsageError` for a file that cannot be read, is no YAML mapping, or has a key that
    no deployment knows."""
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as failure:
        raise UsageError(f"cannot read {file}: {failure.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as failure:
        where = " ".join(str(failure).split())
        raise UsageError(f"{file} is not valid YAML: {where}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{file} must hold 'key: value' lines, not a {type(content).__name__}")
    content = {str(key).replace("-", "_"): value for key, value in content.items()}
    for key in content:
        if key not in Deployment.model_fields:
            raise UsageError(f"{file}: unknown key {key!r}{_nearest(str(key))}")
    return content


def _nearest(key: str) -> str:
    close = difflib.get_close_matches(
        key.replace("-", "_"), Deployment.model_fields, n=1, cutoff=0.0
    )
    return f"; did you mean {close[0]!r}?" if close else ""


def _explain(failure: ValidationError, values: Mapping[str, tuple[Any, str]]) -> str:
    problem = failure.errors()[0]
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not problem["loc"]:
        return message
    value, origin = values[str(problem["loc"][0])]
    return f"{origin}: {value!r} {'' if message.startswith('should') else 'is wrong: '}{message}"
