"""Where the load workers run: on the client nodes of the deployment that they load, or here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.deployment.placement import Process, Role
from launcher.deployment.programs import Programs, programs
from launcher.deployment.spec import Deployment
from launcher.experiment.target import is_loopback, Target
from launcher.planning.sizing import load_workers, MIN_LOAD_WORKERS
from launcher.runtimes.base import Runtime
from launcher.runtimes.local import LocalRuntime
from launcher.runtimes.slurm import SlurmRuntime
from launcher.slurm.allocation import address_of, Allocation
from launcher.system.machine import limits

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class LoadPlacement:
    """`nodes` has the node of each load worker; the master runs on the first.

    `sharing_is_avoidable`: the load shares a node with the servers although it could run elsewhere.
    """

    target: Target
    nodes: tuple[str, ...]
    shares_node: bool = False
    sharing_is_avoidable: bool = False
    deployment: Deployment | None = None
    allocation: Allocation | None = None

    @property
    def is_local(self) -> bool:
        return self.allocation is None

    @property
    def machines(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.nodes))

    def __str__(self) -> str:
        workers = f"{len(self.nodes)} load worker(s)"
        if not self.is_local:
            return f"{workers} on client node(s) {' '.join(self.machines)}"
        sharing = ", which also runs what is measured" if self.shares_node else ""
        return f"{workers} on {os.uname().nodename}{sharing}"

    def runtime(self) -> Runtime:
        if self.allocation is None or self.deployment is None:
            return LocalRuntime()
        silence = self.deployment.silence_timeout
        return SlurmRuntime(self.allocation, self.machines, "openenv-load", silence)

    def programs(self) -> Programs:
        if self.deployment is None or self.is_local or not self.deployment.in_containers:
            return Programs()
        return programs(self.deployment)

    @property
    def master_bind(self) -> str:
        return LOOPBACK if self.is_local else "0.0.0.0"

    @property
    def master_address(self) -> str:
        return LOOPBACK if self.is_local else address_of(self.nodes[0])

    def process(self, name: str, node: str, arguments: tuple[str, ...], logs: Path) -> Process:
        """A Locust process; `arguments` follow the Python interpreter."""
        tools = self.programs()
        argv, environment = tools.command("locust", (tools.python, *arguments), {}, ())
        return Process(name, Role.LOAD, node, argv, environment, (), logs / f"{name}.log")


def place_load(target: Target, workers: int | None, sessions: int = 0) -> LoadPlacement:
    """The default for `workers` is one per core, or as many as `sessions` at once require."""
    state = target.state
    clients: Mapping[str, int] = state.client_nodes if state else {}
    if state is None or not clients or state.job is None:
        return _place_here(target, workers, sessions)
    return LoadPlacement(
        target,
        _spread(clients, workers, sessions),
        deployment=state.deployment,
        allocation=Allocation.from_dict(state.slurm["allocation"]),
    )


def _place_here(target: Target, workers: int | None, sessions: int) -> LoadPlacement:
    cores = {LOOPBACK: max(MIN_LOAD_WORKERS, len(os.sched_getaffinity(0)))}
    count = workers or load_workers(sessions, cores, limits())
    local = target.state.deployment.local if target.state else is_loopback(target.url)
    shares = target.shares_node
    return LoadPlacement(target, (LOOPBACK,) * count, shares, shares and not local)


def _spread(clients: Mapping[str, int], workers: int | None, sessions: int) -> tuple[str, ...]:
    """The node of each load worker; `clients` has the number of cores of each client node."""
    needed = load_workers(sessions, clients, limits())
    if workers is None and needed <= sum(clients.values()):
        return tuple(node for node, cores in clients.items() for _ in range(cores))
    names = list(clients)
    numbers = sorted(index % len(names) for index in range(workers or needed))
    return tuple(names[number] for number in numbers)
