"""Which process runs on which node, with which argv, ports and environment. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path

from benchmark.server.settings import Ports, ports_from
from launcher.deployment.paths import RunDir
from launcher.deployment.programs import Programs
from launcher.deployment.spec import Deployment
from launcher.deployment.surroundings import node_folder, Required, required, scratch_options
from launcher.errors import UsageError
from launcher.system.files import private_folder


class Role(StrEnum):
    ENVOY = "envoy"
    SERVER = "server"
    LOAD = "load"


@dataclass(frozen=True)
class Node:
    """`name` is Slurm's; `address` is where Envoy connects to."""

    name: str
    address: str
    cores: int = 1


@dataclass(frozen=True)
class Process:
    """`variables` are the user's, whose values are secret. `folder` is where it runs, None for the
    launcher's own; `scratch` is made for it and removed after it."""

    name: str
    role: Role
    node: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    ports: tuple[int, ...]
    log: Path
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    scratch: Path | None = None
    required: Required = field(default_factory=Required)


@dataclass(frozen=True)
class ServerAddress:
    name: str
    address: str
    control_port: int
    worker_ports: tuple[int, ...]


@dataclass(frozen=True)
class Envoy:
    name: str
    admin_port: int
    config: Path
    admin_socket: Path


@dataclass(frozen=True)
class Placement:
    """`envoy_threads` counts the threads of each Envoy process; `envoy_node` is None without Envoy.
    `app_sessions` is how many sessions the app allows in a worker, None if any number or unknown;
    `reported` is how many places the servers report once they are ready."""

    deployment: Deployment
    envoy_node: str | None
    envoys: tuple[Envoy, ...]
    servers: tuple[ServerAddress, ...]
    client_nodes: tuple[Node, ...]
    envoy_threads: int
    ports: Ports
    processes: tuple[Process, ...] = field(default=())
    app_sessions: int | None = None
    reported: int | None = None

    @property
    def url(self) -> str:
        node, port = self.envoy_node, self.deployment.envoy_port
        if node is None:
            node, port = self.servers[0].name, self.deployment.server_port
        return f"http://{node}:{port}"

    @property
    def admin_urls(self) -> tuple[str, ...]:
        return tuple(f"http://{self.envoy_node}:{envoy.admin_port}" for envoy in self.envoys)

    @property
    def places(self) -> int:
        """The places of a worker."""
        requested = self.deployment.max_concurrent_envs
        return requested if self.app_sessions is None else min(requested, self.app_sessions)

    @property
    def capacity(self) -> int:
        return self.endpoints * self.places if self.reported is None else self.reported

    @property
    def endpoints(self) -> int:
        return sum(len(server.worker_ports) for server in self.servers)

    @property
    def workers_per_node(self) -> int:
        """The workers of the smallest server, where nodes differ."""
        return min(len(server.worker_ports) for server in self.servers)

    @property
    def connection(self) -> dict[str, str]:
        return {
            "OPENENV_URL": self.url,
            "ENVOY_NODE": self.envoy_node or "",
            "WORKER_NODES": " ".join(server.name for server in self.servers),
            "NUM_WORKERS": str(len(self.servers)),
            "WORKERS_PER_NODE": str(self.workers_per_node),
            "CLIENT_NODES": " ".join(node.name for node in self.client_nodes),
            "CAPACITY": str(self.capacity),
        }


def place(
    deployment: Deployment,
    nodes: Sequence[Node],
    rundir: RunDir,
    programs: Programs,
    app_sessions: int | None = None,
) -> Placement:
    """Places Envoy on the first node and a server on every other one; the last `client_nodes` nodes
    stay free for the load. A single node gets a server and no Envoy."""
    split = len(nodes) - deployment.client_nodes
    serving, clients = nodes[:split], nodes[split:]
    envoy_node, server_nodes = (serving[0], serving[1:]) if split > 1 else (None, serving)
    ports = ports_from(deployment.server_port)
    servers = tuple(
        ServerAddress(
            node.name,
            node.address,
            ports.control,
            tuple(ports.own(i) for i in range(deployment.workers_per_node or node.cores)),
        )
        for node in server_nodes
    )
    processes = [
        _server(deployment, server, f"server-{number}", rundir, programs)
        for number, server in enumerate(servers, 1)
    ]
    threads = deployment.envoy_threads or 1
    envoys: tuple[Envoy, ...] = ()
    if envoy_node is not None:
        envoys = envoys_of(deployment, rundir)
        threads = deployment.envoy_threads or max(1, envoy_node.cores // 2 // len(envoys))
        place_envoy = partial(_envoy, deployment, envoy_node.name, threads, rundir, programs)
        processes[:0] = map(place_envoy, envoys)
    node = envoy_node.name if envoy_node else None
    return Placement(
        deployment,
        node,
        envoys,
        servers,
        tuple(clients),
        threads,
        ports,
        tuple(processes),
        app_sessions,
    )


def _server(
    deployment: Deployment, server: ServerAddress, name: str, rundir: RunDir, programs: Programs
) -> Process:
    ports = ports_from(deployment.server_port)
    host = server.address if deployment.local else "0.0.0.0"
    workers = len(server.worker_ports)
    scratch = rundir.scratch(name) if deployment.writable else None
    argv, environment = programs.command(
        "server",
        (
            *(*programs.modules, *_module(deployment), "--host", host),
            *("--app", deployment.app, "--drain", f"{deployment.drain:g}"),
            *_more_options(deployment),
        ),
        {
            "WORKERS": str(workers),
            "PORT": str(ports.shared),
            "MAX_CONCURRENT_ENVS": str(deployment.max_concurrent_envs),
            "NODE_NAME": server.name,
            **programs.python_path(),
        },
        options=(*programs.server_options, *(scratch_options(scratch) if scratch else ())),
    )
    return Process(
        name,
        Role.SERVER,
        server.name,
        argv,
        environment,
        tuple(ports.all(workers)),
        rundir.log(name),
        programs.variables(deployment.variables),
        node_folder(deployment),
        scratch,
        required(deployment),
    )


def _module(deployment: Deployment) -> tuple[str, ...]:
    services = [f"--service={command}" for command in deployment.service]
    return ("benchmark.server.beside", *services) if services else ("benchmark.server",)


def _more_options(deployment: Deployment) -> Iterator[str]:
    if deployment.gpus is not None:
        yield from ("--gpus", str(deployment.gpus))
    if deployment.strict_sessions:
        yield "--strict-sessions"
    if deployment.idle_timeout is not None:
        yield from ("--idle-timeout", f"{deployment.idle_timeout:g}")


def envoys_of(deployment: Deployment, rundir: RunDir) -> tuple[Envoy, ...]:
    """Raises `UsageError` when there are too few ports from the requested admin port on."""
    count = deployment.envoy_processes or 1
    free = (port for port in range(deployment.admin_port, 65_536) if port != deployment.envoy_port)
    ports = list(islice(free, count))
    if len(ports) < count:
        raise UsageError(
            f"--admin-port {deployment.admin_port} leaves {len(ports)} port(s) for the admin pages of "
            f"{count} Envoy processes; lower it"
        )
    names = ["envoy", *(f"envoy-{number}" for number in range(2, count + 1))]
    return tuple(
        Envoy(name, port, rundir.envoy_config(name).absolute(), rundir.admin_socket(name))
        for name, port in zip(names, ports, strict=True)
    )


def _envoy(
    deployment: Deployment,
    node: str,
    threads: int,
    rundir: RunDir,
    programs: Programs,
    envoy: Envoy,
) -> Process:
    name, ports = envoy.name, (deployment.envoy_port, envoy.admin_port)
    argv, environment = programs.command(
        "envoy",
        (
            *(programs.envoy, "--config-path", str(envoy.config), "--concurrency", str(threads)),
            *("--disable-hot-restart", "--log-level", "warning"),
        ),
        {},
        (envoy.config.parent, private_folder()),
    )
    return Process(name, Role.ENVOY, node, argv, environment, ports, rundir.log(name))
