"""Where the load of a grid or of the web page runs: on the client nodes of the deployment that it
loads, or here."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.deployment.placement import Process, Role
from launcher.deployment.programs import Installed, Programs, programs
from launcher.deployment.spec import Deployment
from launcher.experiment.target import deployment_at, is_loopback, shares_node
from launcher.planning.sizing import load_workers, MIN_LOAD_WORKERS
from launcher.runtimes.base import Runtime
from launcher.runtimes.local import LocalRuntime
from launcher.runtimes.slurm import SlurmRuntime
from launcher.slurm.allocation import address_of, Allocation
from launcher.system.limits import limits

HERE = "127.0.0.1"


@dataclass(frozen=True)
class LoadPlace:
    """`nodes` has the node of each load worker; the master is on the first."""

    nodes: tuple[str, ...]
    shares_node: bool
    deployment: Deployment | None = None
    allocated: Allocation | None = None
    spoils: bool = False
    """Whether the load runs on a node that it measures although there are others."""

    @property
    def here(self) -> bool:
        return self.allocated is None

    @property
    def machines(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.nodes))

    @property
    def story(self) -> str:
        workers = f"{len(self.nodes)} load worker(s)"
        if not self.here:
            return f"{workers} on client node(s) {' '.join(self.machines)}"
        sharing = ", which it shares with what is measured" if self.shares_node else ""
        return f"{workers} on {os.uname().nodename}{sharing}"

    def runtime(self) -> Runtime:
        if self.allocated is None or self.deployment is None:
            return LocalRuntime()
        silence = self.deployment.silence_timeout
        return SlurmRuntime(self.allocated, self.machines, "openenv-load", silence)

    def programs(self) -> Programs:
        if self.deployment is None or self.here or not self.deployment.in_containers:
            return Installed("", sys.executable)
        return programs(self.deployment)

    @property
    def master_bind(self) -> str:
        return HERE if self.here else "0.0.0.0"

    @property
    def master_address(self) -> str:
        return HERE if self.here else address_of(self.nodes[0])


def load_place(url: str, workers: int | None, sessions: int = 0) -> LoadPlace:
    """`workers` is how many load workers are wanted; when that is left open, one a core, or as many
    as `sessions` at once need."""
    state = deployment_at(url)
    clients: Mapping[str, int] = state.get("client_nodes", {}) if state else {}
    if state is None or not clients or state.get("job") is None:
        cores = {HERE: max(MIN_LOAD_WORKERS, len(os.sched_getaffinity(0)))}
        count = workers or load_workers(sessions, cores, limits())
        shares = shares_node(url, state)
        spoils = shares and not (state["deployment"]["local"] if state else is_loopback(url))
        return LoadPlace((HERE,) * count, shares, spoils=spoils)
    needed = load_workers(sessions, clients, limits())
    if workers is None and needed <= sum(clients.values()):
        nodes = [node for node, cores in clients.items() for _ in range(cores)]
    else:
        names = list(clients)
        count = workers or needed
        nodes = sorted((names[i % len(names)] for i in range(count)), key=names.index)
    return LoadPlace(
        tuple(nodes),
        False,
        Deployment.model_validate(state["deployment"]),
        Allocation.from_dict(state["slurm"]["allocation"]),
    )


def load_process(
    place: LoadPlace, name: str, node: str, argv: tuple[str, ...], logs: Path
) -> Process:
    """A process of Locust's; `argv` is what follows the Python interpreter."""
    tools = place.programs()
    command, environment = tools.command("locust", (tools.python, *argv), {}, ())
    return Process(name, Role.LOAD, node, command, environment, (), logs / f"{name}.log")
