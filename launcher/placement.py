"""Placement: which process runs on which node, with which argv, ports and environment. Pure."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from benchmark.server.settings import Ports, ports_from
from launcher.deployment import Deployment
from launcher.rundir import RunDir


class Role(StrEnum):
    ENVOY = "envoy"
    SERVER = "server"
    LOAD = "load"


@dataclass(frozen=True)
class Process:
    """One process of a deployment, ready to be started by any runtime."""

    name: str
    role: Role
    node: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    ports: tuple[int, ...]
    log: Path


@dataclass(frozen=True)
class ServerAddress:
    """A server as Envoy sees it: one endpoint for each of its workers."""

    name: str
    address: str
    control_port: int
    worker_ports: tuple[int, ...]


@dataclass(frozen=True)
class Placement:
    deployment: Deployment
    envoy_node: str | None
    servers: tuple[ServerAddress, ...]
    workers_per_node: int
    envoy_threads: int
    ports: Ports
    processes: tuple[Process, ...] = field(default=())

    @property
    def url(self) -> str:
        node, port = self.envoy_node, self.deployment.envoy_port
        if node is None:
            node, port = self.servers[0].address, self.deployment.server_port
        return f"http://{node}:{port}"

    @property
    def admin_url(self) -> str | None:
        return f"http://{self.envoy_node}:{self.deployment.admin_port}" if self.envoy_node else None

    @property
    def capacity(self) -> int:
        """Places of all workers together."""
        return len(self.servers) * self.workers_per_node * self.deployment.max_concurrent_envs

    @property
    def endpoints(self) -> int:
        return len(self.servers) * self.workers_per_node

    @property
    def connection(self) -> dict[str, str]:
        """What clients need to know, as `openenv-connection.env` says it."""
        return {
            "OPENENV_URL": self.url,
            "ENVOY_NODE": self.envoy_node or "",
            "WORKER_NODES": " ".join(server.name for server in self.servers),
            "NUM_WORKERS": str(len(self.servers)),
            "WORKERS_PER_NODE": str(self.workers_per_node),
        }


def place(
    deployment: Deployment, nodes: Sequence[str], cores: int, rundir: RunDir, envoy: Path
) -> Placement:
    """Puts Envoy on the first node and a server on each of the others; a single node gets a server
    and no Envoy. `cores` are those of this machine; `envoy` is the path of Envoy's program."""
    envoy_node, server_nodes = (nodes[0], nodes[1:]) if len(nodes) > 1 else (None, nodes)
    workers = deployment.workers_per_node or max(1, cores // len(server_nodes))
    threads = deployment.envoy_threads or max(1, cores // 2)
    ports = ports_from(deployment.server_port)
    own = tuple(ports.own(index) for index in range(workers))
    servers = tuple(ServerAddress(node, node, ports.control, own) for node in server_nodes)
    processes = [
        _server(deployment, server, number, workers, ports, rundir)
        for number, server in enumerate(servers, 1)
    ]
    if envoy_node is not None:
        processes.insert(0, _envoy(deployment, envoy_node, threads, rundir, envoy))
    return Placement(deployment, envoy_node, servers, workers, threads, ports, tuple(processes))


def _server(
    deployment: Deployment,
    server: ServerAddress,
    number: int,
    workers: int,
    ports: Ports,
    rundir: RunDir,
) -> Process:
    name = f"server-{number}"
    argv = (sys.executable, "-P", "-m", "benchmark.server", "--host", server.address)
    return Process(
        name,
        Role.SERVER,
        server.name,
        (*argv, "--app", deployment.app, "--drain", f"{deployment.drain:g}"),
        {
            "WORKERS": str(workers),
            "PORT": str(ports.shared),
            "MAX_CONCURRENT_ENVS": str(deployment.max_concurrent_envs),
            "NODE_NAME": server.name,
        },
        tuple(ports.all(workers)),
        rundir.log(name),
    )


def _envoy(
    deployment: Deployment, node: str, threads: int, rundir: RunDir, program: Path
) -> Process:
    config = rundir.envoy_config.absolute()
    argv = (str(program), "--config-path", str(config), "--concurrency", str(threads))
    return Process(
        "envoy",
        Role.ENVOY,
        node,
        (*argv, "--disable-hot-restart", "--log-level", "warning"),
        {},
        (deployment.envoy_port, deployment.admin_port),
        rundir.log("envoy"),
    )
